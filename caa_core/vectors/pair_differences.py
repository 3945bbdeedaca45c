"""What the two answers of pairs differ by, prompt by prompt: what controls from shuffled labels are made of.

Making a vector reads it, and each of its estimates asks for it, so what was read last is kept for each model.
"""

from collections.abc import Generator, Sequence
from copy import copy
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.activations import read_all
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.splits import prompts_of
from caa_core.vectors.vector import SteeringVector

# Prompts whose labels are shuffled.
MOST_PROMPTS = 200

# Numbers that may be read at all pairs and layers of one dataset, and that are kept of those that were read last
# (4 bytes each).
MOST_READ, MOST_KEPT = 300_000_000, 30_000_000

# By the pairs, and where they were read.
Read = tuple[tuple[ContrastPair, ...], str]
_READ: WeakKeyDictionary[SteerableModel, dict[Read, "PairDifferences"]] = WeakKeyDictionary()


def check_room(pairs: int, layers: int, hidden_size: int) -> None:
    """Raises InputError where keeping what is read at every pair would take too much memory."""
    if 2 * pairs * layers * hidden_size > MOST_READ:
        most = MOST_READ // (2 * layers * hidden_size)
        raise InputError(
            f"This method keeps what is read at every pair, which is too much for {pairs} pairs at {layers} layers: "
            f"use at most {most} pairs, or fewer layers."
        )


class PairDifferences:
    """Collects positive minus negative, summed over the pairs of a prompt: `value` is [layers, prompts, hidden_size].

    Of all that it is handed it takes the pairs of the first `MOST_PROMPTS` prompts.
    """

    def __init__(self, dataset: Dataset, layers: Sequence[int], hidden_size: int):
        self.layers, self._prompts = tuple(layers), torch.tensor(prompts_of(dataset.pairs))
        count = min(int(self._prompts.max()) + 1, MOST_PROMPTS)
        self.value = torch.zeros(len(layers), count, hidden_size, dtype=torch.float32)

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        prompts = self._prompts[pairs]
        there = prompts < MOST_PROMPTS
        self.value.index_add_(1, prompts[there], (positive - negative)[:, there])

    def at(self, layers: Sequence[int]) -> "PairDifferences":
        """The same at some of its layers."""
        found = copy(self)
        found.layers, found.value = tuple(layers), self.value[[self.layers.index(layer) for layer in layers]]
        return found

    def mean_with(self, signs: np.ndarray) -> torch.Tensor:
        """[layers, hidden_size]: the mean difference with labels exchanged where a prompt's sign is -1."""
        return torch.einsum("p,lph->lh", torch.from_numpy(signs).float(), self.value) / len(signs)


def to_keep(dataset: Dataset, layers: Sequence[int], hidden_size: int) -> PairDifferences | None:
    """What is to be handed all that is read of a dataset, so that it can be kept; None where that is too much."""
    prompts = len({*prompts_of(dataset.pairs)})
    fits = len(layers) * min(prompts, MOST_PROMPTS) * hidden_size <= MOST_KEPT
    return PairDifferences(dataset, layers, hidden_size) if fits else None


def keep(model: SteerableModel, dataset: Dataset, position: ReadPosition, read: PairDifferences | None) -> None:
    """Keep what was read at a dataset's pairs, beside what was read before as far as there is room."""
    if not read or read.value.numel() > MOST_KEPT:
        return
    kept, name = _READ.setdefault(model, {}), _name(dataset, position)
    kept.pop(name, None)
    kept[name] = read
    while sum(one.value.numel() for one in kept.values()) > MOST_KEPT:
        del kept[next(iter(kept))]


def differences_of(
    model: SteerableModel, vector: SteeringVector, layers: Sequence[int], own: Dataset
) -> Generator[Progress, None, PairDifferences]:
    """Of the vector's own pairs, read where it was, unless that was kept. Yields `Progress`."""
    read_at = vector.provenance.read_position
    position = ReadPosition.parse(read_at) if read_at else AUTOMATIC
    kept = _READ.get(model, {}).get(_name(own, position))
    if kept and {*layers} <= {*kept.layers}:
        return kept.at(layers)
    some = replace(own, pairs=tuple(own.pairs[i] for i in _taken(own)))
    read = PairDifferences(some, layers, model.hidden_size)
    check_room(read.value.shape[1], len(layers), model.hidden_size)
    yield from read_all(model, some, layers, position, read)
    keep(model, own, position, read)
    return read


def _taken(dataset: Dataset) -> list[int]:
    """The pairs of the first prompts, by number."""
    return [number for number, prompt in enumerate(prompts_of(dataset.pairs)) if prompt < MOST_PROMPTS]


def _name(dataset: Dataset, position: ReadPosition) -> Read:
    return dataset.pairs, str(position.of(dataset))
