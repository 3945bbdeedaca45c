"""Methods side by side: how far they agree, and how well each separates pairs that it was not made from."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GroupKFold

from caa_core.datasets import Dataset
from caa_core.errors import InputError
from caa_core.extraction import AUTOMATIC, Kept
from caa_core.methods import METHODS, Method
from caa_core.model import SteerableModel
from caa_core.progress import Progress
from caa_core.readings import ReadPosition, read_all

FOLDS = 5
RESAMPLES = 1000


@dataclass(frozen=True)
class Separation:
    """Area under the ROC curve of positive against negative answers, with its bootstrap 95 % interval over pairs."""

    auc: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Methods by layer, on one set of pairs.

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

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "cosines": {" / ".join(pair): line for pair, line in self.cosines.items()}}


def compare(
    model: SteerableModel, dataset: Dataset, layers: Sequence[int] | None = None, read: ReadPosition = AUTOMATIC
) -> Generator[Progress, None, Comparison]:
    """Read all pairs once, then make every method's direction from all of them and from each part but one.

    An answer's score is its projection on the direction made without its pair, scaled to norm 1. Both letter orders of
    a question stay together, among the folds and when resampling. Yields `Progress`.

    Raises:
        InputError: fewer than four pairs, or what `extraction.extract` raises.
    """
    layers = sorted({model.check_layer(layer) for layer in layers}) if layers is not None else range(model.num_layers)
    groups = np.array([pair.line for pair in dataset.pairs])
    questions = len(np.unique(groups))
    if questions < 4:
        raise InputError(
            f"{dataset.name} has {questions} pairs; comparing methods on held-out pairs takes four or more."
        )
    kept = Kept(len(dataset.pairs))
    yield from read_all(model, dataset, layers, read, kept)
    if torch.equal(kept.positive[0], kept.negative[0]):
        raise InputError(f"Read at '{read.of(dataset)}', the answers of {dataset.name} do not differ; choose another.")
    folds = list(GroupKFold(min(FOLDS, questions)).split(groups, groups=groups))
    names = list(METHODS)
    cosines = {(a, b): [] for i, a in enumerate(names) for b in names[i + 1 :]}
    separations = {name: [] for name in names}
    progress = Progress(len(layers), "layers compared", len(layers))
    yield progress
    for positive, negative in zip(kept.positive, kept.negative, strict=True):
        directions = {name: method(positive, negative) for name, method in METHODS.items()}
        for (a, b), line in cosines.items():
            line.append(torch.cosine_similarity(directions[a], directions[b], dim=0).item())
        for name, method in METHODS.items():
            scores = _held_out_scores(method, positive, negative, folds)
            separations[name].append(separation(*scores, groups))
        yield progress.advance(1, 1)
    return Comparison(
        dataset.name, len(dataset.pairs), len(folds), str(read.of(dataset)), tuple(layers), cosines, separations
    )


def _held_out_scores(
    method: Method, positive: torch.Tensor, negative: torch.Tensor, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Projections [pairs] of positive and of negative answers on the direction made without their own fold."""
    scores = np.empty((2, len(positive)))
    for made_from, held_out in folds:
        direction = method(positive[made_from], negative[made_from])
        direction = direction / direction.norm().clamp(min=1e-30)
        # Folds are brought to one origin, the middle of what each direction was made from.
        middle = (positive[made_from].mean(0) + negative[made_from].mean(0)) / 2
        for side, answers in enumerate((positive, negative)):
            scores[side, held_out] = ((answers[held_out] - middle) @ direction).numpy()
    return scores[0], scores[1]


def separation(positive: np.ndarray, negative: np.ndarray, groups: np.ndarray, seed: int = 0) -> Separation:
    """AUC of scores [pairs], with a bootstrap interval that resamples `groups` of pairs.

    The AUC is the share of (positive, negative) couples in the right order, ties counting half; a resample only weighs
    the couples anew.
    """
    wins = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    _, member = np.unique(groups, return_inverse=True)
    count = member.max() + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    weights = draws[:, member].astype(float)
    totals = weights.sum(1)
    resampled = np.einsum("rp,rp->r", weights @ wins, weights) / totals**2
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Separation(float(wins.mean()), float(low), float(high))
