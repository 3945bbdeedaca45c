"""Directions that are known on every model, to which a vector is held: refusal, and the letter of an answer.

Refusal is the vector of the preset of that name. The letter is what is read at "(A)" less what is read at "(B)" of
plain questions in both letter orders, in which what the answers say cancels. Both ship for the embedded model; on
another one they are made once, from a few dozen short texts.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from weakref import WeakKeyDictionary

import torch

from caa_core.data.pairs import ContrastPair, Dataset, read_pairs
from caa_core.data.presets import PRESETS, presets
from caa_core.errors import InputError
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.diagnostics import LETTER, REFUSAL, Known, Overlap
from caa_core.vectors.extraction import extract
from caa_core.vectors.methods import MEAN_DIFFERENCE
from caa_core.vectors.vector import SteeringVector, load_vector

QUESTIONS = 20
LETTER_FILE = PRESETS / "letter.safetensors"

_MADE: WeakKeyDictionary[SteerableModel, dict[str, SteeringVector]] = WeakKeyDictionary()


def letter_pairs() -> Dataset:
    """Questions in both letter orders, of which the earlier letter is the positive answer whatever it stands for."""
    questions = read_pairs(PRESETS / "knowledge.json", LETTER).first(QUESTIONS)
    both = questions.as_questions().in_both_letter_orders()
    return replace(both, name=LETTER, pairs=tuple(map(_earlier_first, both.pairs)))


def _earlier_first(pair: ContrastPair) -> ContrastPair:
    first, second = sorted((pair.positive, pair.negative))
    return replace(pair, positive=first, negative=second)


def at_hand(model: SteerableModel) -> Mapping[str, SteeringVector]:
    """Those that ship for these weights or were made on them before; what is lacking takes passes of the model."""
    found = _MADE.setdefault(model, {})
    for name, file in ((REFUSAL, presets()[REFUSAL].vector_file), (LETTER, LETTER_FILE)):
        if name not in found and file.exists() and not (ready := load_vector(file)).differences(model):
            found[name] = ready
    return found


def known_directions(model: SteerableModel) -> Generator[Progress, None, Mapping[str, SteeringVector]]:
    """All of them, those made that are lacking; without those whose texts the model cannot read. Yields `Progress`."""
    found = {**at_hand(model)}
    for name, pairs in ((REFUSAL, presets()[REFUSAL].dataset()), (LETTER, letter_pairs())):
        if name not in found:
            with suppress(InputError):
                found[name] = _MADE[model][name] = yield from extract(model, pairs, name=name)
    return found


@handed_over
def make(
    model: SteerableModel,
    dataset: Dataset,
    layers: Sequence[int] | None = None,
    name: str = "",
    read: ReadPosition = AUTOMATIC,
    method: str = MEAN_DIFFERENCE,
) -> Generator[Progress, None, SteeringVector]:
    """`extract`, with the known directions in the vector's diagnostics."""
    return (yield from extract(model, dataset, layers, name, read, method, know=layers_of))


def layers_of(model: SteerableModel) -> Generator[Progress, None, Known]:
    """All of them as directions, to which `extract` holds a vector's diagnostics. Yields `Progress`."""
    return {name: found.layers for name, found in (yield from known_directions(model)).items()}


def overlaps(vector: SteeringVector, known: Mapping[str, SteeringVector]) -> dict[str, dict[int, Overlap]]:
    """Cosines of a vector to directions by name and layer: of its pairs where its diagnostics have them, or else of the
    vector, beside random directions.
    """
    told: dict[str, dict[int, Overlap]] = {}
    for name, direction in known.items():
        layers = [layer for layer in vector.layers if layer in direction.layers]
        if direction.hidden_size == vector.hidden_size:
            told[name] = {layer: _by_chance(vector.at(layer), direction.at(layer)) for layer in layers}
    kept = vector.diagnostics.overlap if vector.diagnostics else {}
    return told | {name: dict(by_layer) for name, by_layer in kept.items()}


def _by_chance(vector: torch.Tensor, direction: torch.Tensor) -> Overlap:
    reach = random_cosine(len(vector))
    cosine = torch.cosine_similarity(vector.double(), direction.double(), dim=0)
    return Overlap(float(cosine), None, None, (-reach, reach), "random directions")


@cache
def random_cosine(size: int) -> float:
    """What 95% of cosines between a direction and random ones in so many dimensions lie within, either way."""
    from scipy.stats import beta  # a second of imports

    return float(beta.ppf(0.95, 0.5, (size - 1) / 2) ** 0.5)
