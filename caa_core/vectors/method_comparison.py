"""Methods side by side: how far they agree, and how well each separates pairs that it was not made from."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from scipy.stats import t as student

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.activations import read_all
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.diagnostics import aucs
from caa_core.vectors.extraction import DifferenceList
from caa_core.vectors.methods import METHODS
from caa_core.vectors.pair_differences import check_room
from caa_core.vectors.splits import parts, prompts_of

FOLDS = 10
MOST_PAIRS = 4000


@dataclass(frozen=True)
class Separation:
    """Area under the ROC curve of positive against negative answers of held-out pairs: its mean over `folds`.

    error: the standard error, with what it counts for that folds share the pairs which the directions were made from
    (the corrected resampled t-test of Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52,
    2003). prompts: how many were held out in all. aucs: of each fold; none in what was kept before.
    """

    auc: float
    error: float
    folds: int
    prompts: int
    aucs: tuple[float, ...] = ()

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
        """Lower end of the 95% interval."""
        return self.interval()[0]

    @cached_property
    def high(self) -> float:
        """Upper end of the 95% interval."""
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

    def interval(self, separation: Separation) -> tuple[float, float]:
        """One that holds for all methods at all layers at once, at 95% (Bonferroni)."""
        return separation.interval(1 - 0.05 / len(self.layers) / len(self.separations))

    def surely(self, method: str) -> bool:
        """Whether a method is better than chance at any layer, by the intervals that hold for all of them at once."""
        return any(self.interval(s)[0] > 0.5 for s in self.separations[method])

    @property
    def prompts(self) -> int:
        """How many were held out in all."""
        return next(iter(self.separations.values()))[0].prompts

    @cached_property
    def means(self) -> dict[str, float]:
        """By method, the largest first, the mean AUC over all layers, so that none is chosen."""
        means = {method: float(np.mean([s.auc for s in line])) for method, line in self.separations.items()}
        return dict(sorted(means.items(), key=lambda mean: -mean[1]))

    def differences(self) -> dict[tuple[str, str], float]:
        """By two methods, p of the paired difference of their mean AUCs over all layers, fold by fold (the corrected
        resampled t-test); not corrected for how many there are. Empty for what was kept before.
        """
        folds = {method: np.mean([s.aucs for s in line], axis=0) for method, line in self.separations.items()}
        if not all(np.size(found) > 1 for found in folds.values()):
            return {}
        return {(one, other): _apart(folds[one] - folds[other]) for one, other in combinations(folds, 2)}

    def pack(self) -> dict[str, Any]:
        """As plain data, which `unpack` takes."""
        return {**asdict(self), "cosines": [[*pair, line] for pair, line in self.cosines.items()]}

    @classmethod
    def unpack(cls, kept: Any) -> "Comparison":
        """From what `pack` gave. Raises InputError for anything else."""
        try:
            separations = {key: [Separation(**one) for one in line] for key, line in kept["separations"].items()}
            cosines = {(a, b): line for a, b, line in kept["cosines"]}
            layers = tuple(kept["layers"])
            found = {name: value for name, value in kept.items() if name != "asked"}
            return cls(**{**found, "layers": layers, "cosines": cosines, "separations": separations})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError("The comparison that was kept cannot be read.") from error

    def summary(self) -> dict[str, Any]:
        """In short, as plain data."""
        return {
            **asdict(self),
            "cosines": {" / ".join(pair): line for pair, line in self.cosines.items()},
            "separations": {
                method: [{"auc": s.auc, "low": s.low, "high": s.high} for s in line]
                for method, line in self.separations.items()
            },
            "means": self.means,
        }


@handed_over
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
    separations = yield from compared(dataset.pairs, kept.positive, kept.negative)
    names = list(METHODS)
    cosines: dict[tuple[str, str], list[float]] = {pair: [] for pair in combinations(names, 2)}
    for positive, negative in zip(kept.positive, kept.negative, strict=True):
        directions = {name: _direction(name, positive, negative, lines) for name in names}
        for (a, b), line in cosines.items():
            line.append(torch.cosine_similarity(directions[a], directions[b], dim=0).item())
        yield Progress(len(layers), "layers compared", len(layers), len(layers))
    folds = separations[names[0]][0].folds
    pairs = len(np.unique(lines))
    return Comparison(dataset.name, pairs, folds, str(read.of(dataset)), tuple(layers), cosines, separations)


def compared(
    pairs: Sequence[ContrastPair], positive: torch.Tensor, negative: torch.Tensor
) -> Generator[Progress, None, dict[str, list[Separation]]]:
    """By method, at each layer, how well it separates what was read at pairs that it was not made from: positive and
    negative are [layers, pairs, hidden_size]. Yields `Progress`.
    """
    lines = np.array([pair.line for pair in pairs])
    prompts = len(set(prompts_of(pairs)))
    folds = _folds(pairs, min(FOLDS, prompts))
    separations: dict[str, list[Separation]] = {name: [] for name in METHODS}
    progress = Progress(len(positive), "layers compared", len(positive) * len(METHODS))
    for at_positive, at_negative in zip(positive, negative, strict=True):
        for name, line in separations.items():
            yield progress
            line.append(separation(_aucs(name, at_positive, at_negative, lines, folds), prompts))
            progress.advance(0, 1)
        yield progress.advance(1, 0)
    return separations


def _apart(differences: np.ndarray) -> float:
    """p of paired differences of folds [folds], as `Separation.error` counts."""
    found = separation(differences.tolist(), 0)
    return float(2 * student.sf(abs(found.auc) / found.error, found.folds - 1)) if found.error else 1.0


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
        above, below = ((side[held_out] @ direction)[:, None].double().numpy() for side in (positive, negative))
        (auc,) = aucs(above, below, np.zeros(len(held_out)))
        found.append(float(auc))
    return found


def separation(aucs: Sequence[float], prompts: int) -> Separation:
    """Mean of the AUCs of folds with its error; so many prompts were held out in all of them together."""
    error = np.std(aucs, ddof=1) * np.sqrt(1 / len(aucs) + 1 / (len(aucs) - 1))
    return Separation(float(np.mean(aucs)), float(error), len(aucs), prompts, tuple(map(float, aucs)))
