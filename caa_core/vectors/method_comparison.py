"""Methods side by side: how far they agree, and how well each separates pairs that it was not made from."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.activations import read_all
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.extraction import DifferenceList, check_room
from caa_core.vectors.methods import METHODS
from caa_core.vectors.splits import parts, prompts_of

FOLDS = 10
MOST_PAIRS = 4000


@dataclass(frozen=True)
class Separation:
    """Area under the ROC curve of positive against negative answers of held-out pairs: its mean over `folds`.

    error: the standard error, with what it counts for that folds share the pairs which the directions were made from
    (the corrected resampled t-test of Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52,
    2003). prompts: how many were held out in all.
    """

    auc: float
    error: float
    folds: int
    prompts: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """A t interval over the folds, and never narrower than the exact one of as many coins: folds that are all
        perfect do not differ, which makes a few prompts no proof.
        """
        reach = float(student.ppf((1 + confidence) / 2, self.folds - 1)) * self.error
        exact = binomtest(round(self.auc * self.prompts), self.prompts).proportion_ci(confidence)
        low, high = min(self.auc - reach, exact.low), max(self.auc + reach, exact.high)
        return max(0.0, float(low)), min(1.0, float(high))

    @cached_property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.interval()[0]

    @cached_property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.interval()[1]


@dataclass(frozen=True)
class Comparison:
    """Methods by layer, on one set of pairs.

    num_pairs: a question in both letter orders is one.
    cosines: by two methods, their cosine at each layer, made from all pairs. separations: by method, at each layer, for
    pairs that the direction was not made from.
    """

    dataset: str
    num_pairs: int
    folds: int
    read_position: str
    layers: tuple[int, ...]
    cosines: dict[tuple[str, str], list[float]]
    separations: dict[str, list[Separation]]

    def best(self, method: str) -> tuple[Separation, list[int]]:
        """A method's separation whose interval begins highest, and the layers at which it does."""
        found = self.separations[method]
        best = max(found, key=lambda separation: separation.low)
        return best, [layer for layer, s in zip(self.layers, found, strict=True) if s.low == best.low]

    def surely(self, method: str) -> bool:
        """Whether the best of all layers is better than chance, at 95 % for all of them together (Bonferroni)."""
        return any(s.interval(1 - 0.05 / len(self.layers))[0] > 0.5 for s in self.separations[method])

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **asdict(self),
            "cosines": {" / ".join(pair): line for pair, line in self.cosines.items()},
            "separations": {
                method: [{"auc": s.auc, "low": s.low, "high": s.high} for s in line]
                for method, line in self.separations.items()
            },
        }


def compare(
    model: SteerableModel, dataset: Dataset, layers: Sequence[int] | None = None, read: ReadPosition = AUTOMATIC
) -> Generator[Progress, None, Comparison]:
    """Read all pairs once, then make every method's direction from all of them and from all parts but one in turns.

    An answer's score is its projection on the direction made without its prompt: copies of a pair and both letter
    orders of a question are held out together, see `splits.parts`. Yields `Progress`.

    Raises:
        InputError: fewer than four prompts or too many pairs, or what `extraction.extract` raises.
    """
    layers = sorted({model.check_layer(layer) for layer in layers}) if layers is not None else range(model.num_layers)
    lines = np.array([pair.line for pair in dataset.pairs])
    if len(lines) > MOST_PAIRS:
        raise InputError(f"{dataset.name} has {len(lines)} pairs; methods are compared on at most {MOST_PAIRS}.")
    prompts = len(set(prompts_of(dataset.pairs)))
    if prompts < 4:
        raise InputError(
            f"{dataset.name} has pairs of {prompts} prompts; comparing methods on held-out pairs takes four or more."
        )
    check_room(len(lines), len(layers), model.hidden_size)
    kept = DifferenceList(len(layers), len(lines), model.hidden_size)
    yield from read_all(model, dataset, layers, read, kept)
    if torch.equal(kept.positive[0], kept.negative[0]):
        raise InputError(f"Read at '{read.of(dataset)}', the answers of {dataset.name} do not differ; choose another.")
    folds = _folds(dataset.pairs, min(FOLDS, prompts))
    names = list(METHODS)
    cosines: dict[tuple[str, str], list[float]] = {(a, b): [] for i, a in enumerate(names) for b in names[i + 1 :]}
    separations: dict[str, list[Separation]] = {name: [] for name in names}
    progress = Progress(len(layers), "layers compared", len(layers) * len(names))
    for positive, negative in zip(kept.positive, kept.negative, strict=True):
        directions = {}
        for name in names:
            yield progress
            directions[name] = _direction(name, positive, negative, lines)
            separations[name].append(separation(_aucs(name, positive, negative, lines, folds), prompts))
            progress.advance(0, 1)
        for (a, b), line in cosines.items():
            line.append(torch.cosine_similarity(directions[a], directions[b], dim=0).item())
        yield progress.advance(1, 0)
    pairs = len(np.unique(lines))
    return Comparison(dataset.name, pairs, len(folds), str(read.of(dataset)), tuple(layers), cosines, separations)


def _folds(pairs: Sequence[ContrastPair], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices of the pairs that directions are made from, and of those that are held out."""
    everything = np.arange(len(pairs))
    return [(np.setdiff1d(everything, part), np.array(part)) for part in parts(pairs, count)]


def _direction(name: str, positive: torch.Tensor, negative: torch.Tensor, lines: np.ndarray) -> torch.Tensor:
    """[hidden_size], of what was read at pairs [pairs, hidden_size]; `single` gets the first question alone."""
    rows = lines == lines[0] if name == "single" else slice(None)
    return METHODS[name](positive[rows], negative[rows])


def _aucs(
    name: str,
    positive: torch.Tensor,
    negative: torch.Tensor,
    lines: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
) -> list[float]:
    """For each fold, the AUC of its answers on the direction made from the other folds."""
    found = []
    for made_from, held_out in folds:
        direction = _direction(name, positive[made_from], negative[made_from], lines[made_from])
        scores = torch.cat([positive[held_out], negative[held_out]]) @ direction
        labels = np.repeat([1, 0], len(held_out))
        found.append(roc_auc_score(labels, scores.numpy()))
    return found


def separation(aucs: Sequence[float], prompts: int) -> Separation:
    """Mean of the AUCs of folds with its error; so many prompts were held out in all of them together."""
    error = np.std(aucs, ddof=1) * np.sqrt(1 / len(aucs) + 1 / (len(aucs) - 1))
    return Separation(float(np.mean(aucs)), float(error), len(aucs), prompts)
