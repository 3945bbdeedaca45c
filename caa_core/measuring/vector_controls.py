"""What a vector and its controls do to the halves of some items: to first order, what a verdict's p is made of; and by
exact passes in the very cells in which the vector is judged, what the estimates must not contradict.
"""

from collections.abc import Generator, MutableMapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from caa_core.data.pairs import Dataset
from caa_core.measuring.proposal import Halves, JudgedCell, judged_halves, moved
from caa_core.measuring.sweep import Sweep, score_runs
from caa_core.metrics.anti_steerability import WrongShares, wrong_shares
from caa_core.metrics.cache import key
from caa_core.metrics.controls import Control, random_controls
from caa_core.metrics.cross_fitting import (
    CONTROLS,
    ENOUGH_PROMPTS,
    at_chosen,
    cross_fitted,
    random_estimates,
    shuffled_estimates,
    sign_patterns,
    two_sided,
)
from caa_core.metrics.estimate_map import EstimateMap, layer_estimates
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, progress_of
from caa_core.steering.gradients import check_gradients, gradients, tried_layers
from caa_core.vectors.pair_differences import MOST_PROMPTS, PairDifferences, differences_of
from caa_core.vectors.vector import SteeringVector

# Numbers that the own gradients of items' first prompts take at most (4 bytes each): of large models, of fewer prompts.
MOST_NUMBERS = 50_000_000

# Prompts of a vector's own pairs: with 5, one in 16 ways to exchange labels leaves the vector or its opposite.
ENOUGH_LABELS = 6

SEED = 1  # other ones than the estimates' controls

PREFERENCE = "preference, nats a token"
LOG_ODDS = "log odds of the matching answer"

# Items from which there is a first map.
FIRST_ITEMS = 4
# Exact controls are drawn so many of a kind at a time, which share passes, until so many reach as far as the vector
# (Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991).
AT_ONCE, AS_FAR = 20, 5


@dataclass(frozen=True, eq=False)
class FirstOrder:
    """First-order estimates in nats a token for a multiplier of 1; of lettered answers, in log odds.

    own: of the vector on each half at each layer, [2, layers]; [1, 1] where there was nothing to choose, and T is the
    estimate over all items. random, shuffled: T of each control, [controls]; none from shuffled labels where the
    vector's own pairs are not known. prompts: of these pairs. corrected: p, where this is one of a list. wrong: of how
    many of the items' first `MOST_PROMPTS` prompts the estimate is below 0; None in what was kept before.
    """

    own: np.ndarray
    random: np.ndarray
    shuffled: np.ndarray
    prompts: int = 0
    corrected: float | None = None
    wrong: WrongShares | None = None

    @property
    def value(self) -> float:
        """T."""
        return float(cross_fitted(self.own))

    @property
    def kinds(self) -> list[np.ndarray]:
        """Controls of each kind that there is."""
        return [self.random, self.shuffled] if len(self.shuffled) else [self.random]

    @property
    def rank(self) -> tuple[float, int]:
        """p, and the direction that it is of."""
        p, direction = two_sided(np.asarray(self.value), self.kinds)
        return float(p) if self.corrected is None else self.corrected, int(direction)

    @property
    def lacking(self) -> str:
        """Why its p gives no verdict, as a part of a sentence; empty where it does."""
        if len(self.random) < CONTROLS:
            return f"that takes at least {CONTROLS} controls of each kind beside it"
        if len(self.shuffled) and self.prompts < ENOUGH_LABELS:
            return (
                f"the vector was made from {self.prompts} prompts, too few to tell it from one with its labels "
                f"shuffled, which takes at least {ENOUGH_LABELS}"
            )
        return ""


# Of a vector, of random controls and of those from shuffled labels; see `Ground._drawn`.
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Ground:
    """What any vector's estimates are made of: the mean gradient of each half of the items at each layer, [2, layers,
    hidden_size], or of all items, [1, layers, hidden_size]; and the pairs whose labels are shuffled for controls, where
    these are known. by_prompt: the gradients of the items' first prompts, [prompts, layers, hidden_size], and which
    half each belongs to, where they were asked for. read: of how many items; None for all.
    """

    layers: tuple[int, ...]
    slopes: torch.Tensor
    differences: PairDifferences | None
    by_prompt: tuple[torch.Tensor, np.ndarray] | None = None
    read: int | None = None

    @property
    def prompts(self) -> int:
        """Of the pairs whose labels are shuffled."""
        return self.differences.value.shape[1] if self.differences else 0

    def first_order(self, vector: SteeringVector, count: int, seed: int = 0) -> FirstOrder:
        """Estimates of a vector and of `count` controls of each kind."""
        drawn, rows = self._drawn(vector, count, seed), len(self.slopes)
        own, random, shuffled = (estimates[..., :rows, :] for estimates in drawn)
        wrong = None
        if self.by_prompt:
            there = [at_chosen(one[..., :rows, :], one[..., rows:, :], self.by_prompt[1]) for one in drawn]
            shares = [wrong_shares(changes) for changes in there]
            wrong = WrongShares(float(shares[0]), *shares[1:])
        return FirstOrder(own, cross_fitted(random), cross_fitted(shuffled), self.prompts, wrong=wrong)

    def by_layer(self, vector: SteeringVector, count: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
        """Where nothing is chosen: estimates over both halves of a vector, [layers], and of `count` controls of each
        kind that there is, [count, layers]. One seed draws the same directions and the same exchanges of labels, so
        that controls go with each other over what several vectors, positions and cues come to.
        """
        own, *kinds = self._by_layer(self._drawn(vector, count, seed))
        return own, kinds

    def map_of(self, vector: SteeringVector, items: Items, count: int) -> EstimateMap:
        """The estimate at every layer beside `count` controls of each kind that there is. There is p where all items
        were read and there are enough controls of both kinds.
        """
        drawn = self._drawn(vector, count)
        own, *kinds = self._by_layer(drawn)
        read = items.judged_prompts[: self.read]
        enough = self.read is None and count >= CONTROLS and self.prompts >= ENOUGH_LABELS
        return EstimateMap(
            vector=vector.name,
            data=items.name,
            measure=LOG_ODDS if items.are_choices else PREFERENCE,
            items=len(read),
            of=len(items.judged),
            prompts=len(set(read)),
            controls=count,
            layers=layer_estimates(
                self.layers,
                own,
                kinds,
                enough and len(set(read)) >= ENOUGH_PROMPTS,
                self._wrong_by_layer(drawn),
            ),
        )

    def _by_layer(self, drawn: Drawn) -> list[np.ndarray]:
        """Over both halves, of the vector and of controls of each kind that there is."""
        own, *kinds = (estimates[..., : len(self.slopes), :].mean(-2) for estimates in drawn)
        return [own, *(kind for kind in kinds if len(kind))]

    def _wrong_by_layer(self, drawn: Drawn) -> list[np.ndarray]:
        """Of controls of each kind that there is, the share of the items' first prompts that a multiplier above 0
        pushes the wrong way at each layer, [count, layers].
        """
        if not self.by_prompt:
            return []
        kinds = [np.moveaxis(kind[..., len(self.slopes) :, :], -2, -1) for kind in drawn[1:] if len(kind)]
        return [wrong_shares(kind) for kind in kinds]

    def _drawn(self, vector: SteeringVector, count: int, seed: int = 0) -> Drawn:
        """Estimates by gradient and layer, of a vector and of controls of each kind: [gradients, layers] and [count,
        gradients, layers]. Behind the halves' gradients are those of prompts, where they were asked for.
        """
        slopes = torch.cat([self.slopes, self.by_prompt[0]]) if self.by_prompt else self.slopes
        directions = torch.stack([vector.at(layer).float() for layer in self.layers])
        norms = directions.norm(dim=1).double().numpy()
        own = (slopes * directions).sum(-1).double().numpy()
        random = random_estimates(slopes.numpy(), norms, count, seed)
        if not self.differences:
            return own, random, np.zeros((0, *own.shape))
        along = torch.einsum("lph,slh->slp", self.differences.value, slopes).double().numpy()
        return own, random, shuffled_estimates(along, _gram(self.differences.value), norms, count, seed)


def _gram(differences: torch.Tensor) -> np.ndarray:
    """Inner products of the prompts' differences, [layers, prompts, prompts]."""
    return (differences @ differences.transpose(1, 2)).double().numpy()


def ground(
    model: SteerableModel, items: Items, vector: SteeringVector, layers: Sequence[int], own: Dataset | None
) -> Generator[Progress, None, Ground]:
    """One pass forwards and backwards an item, and one over a vector's own pairs. Yields `Progress`.

    Args:
        own: the pairs that the vector was made from; None where they are not known.

    Raises:
        NoEstimateError: the model cannot be differentiated.
    """
    return (yield from progress_of(growing_ground(model, items, vector, layers, own)))


def growing_ground(
    model: SteerableModel, items: Items, vector: SteeringVector, layers: Sequence[int], own: Dataset | None
) -> Generator[Progress | Ground, None, Ground]:
    """`ground`, which also yields what it is from the first few items, before the model's gradients were held against
    exact changes, and from all of them, before the vector's own pairs were read.
    """
    halves, first = judged_halves(items), items.judged[:FIRST_ITEMS]
    prompts = items_by_prompt(items.judged, items.judged_prompts, len(layers) * model.hidden_size)
    asked, of = items.both_orders()
    weights = group_weights([*halves, *prompts, first], of)

    def read(places: list[int], at: Sequence[int]) -> Generator[Progress, None, torch.Tensor]:
        pairs = [asked[place] for place in places]
        return gradients(model, pairs, weights[:, places], at, items.positions, items.cue, checked=False)

    begun = [place for place, item in enumerate(of) if item in first]
    found = yield from read(begun, [*layers, *tried_layers(model)])
    found, tried = found[:, : len(layers)], found[-1, len(layers) :]
    yield Ground(tuple(layers), found[-1:], None, read=len(first))
    yield from check_gradients(model, [asked[place] for place in begun], items.positions, items.cue, tried)
    if rest := [place for place in range(len(asked)) if place not in begun]:
        found = found + (yield from read(rest, layers))
    half_of = np.array([int(indices[0] not in halves[0]) for indices in prompts], dtype=int)
    whole = Ground(tuple(layers), found[:2], None, (found[2:-1], half_of))
    if not own or model.elsewhere:  # what is read at each pair stays where it is read
        return whole
    yield whole
    return replace(whole, differences=(yield from differences_of(model, vector, layers, own)))


def slopes_of(model: SteerableModel, items: Items, layers: Sequence[int]) -> Generator[Progress, None, torch.Tensor]:
    """The mean gradient of each half of the items at each layer, [2, layers, hidden_size]. Yields `Progress`; raises
    NoEstimateError where the model cannot be differentiated.
    """
    asked, of = items.both_orders()
    weights = group_weights(judged_halves(items), of)
    return (yield from gradients(model, asked, weights, layers, items.positions, items.cue))


def items_by_prompt(indices: Sequence[int], prompts: Sequence[int], size: int) -> list[list[int]]:
    """The indices of items of each of their first prompts, of which the numbers are given: `MOST_PROMPTS` at most, and
    as many as there is room for. size: numbers of a prompt's gradient.
    """
    found: dict[int, list[int]] = {}
    for index, prompt in zip(indices, prompts, strict=True):
        found.setdefault(prompt, []).append(index)
    return [*found.values()][: min(MOST_PROMPTS, MOST_NUMBERS // size)]


def group_weights(groups: Sequence[Sequence[int]], of: Sequence[int]) -> torch.Tensor:
    """Weights [groups, asked] that average what is asked over each group of items, and over their letter orders.

    of: of which item each that is asked is.
    """
    orders = np.bincount(of)
    weights = torch.zeros(len(groups), len(of))
    for row, indices in enumerate(map(set, groups)):
        for place, item in enumerate(of):
            if item in indices:
                weights[row, place] = 1 / len(indices) / orders[item]
    return weights


def exact_controls(
    model: SteerableModel,
    swept: Sweep,
    vector: SteeringVector,
    own: Dataset | None,
    cells: Sequence[JudgedCell],
    halves: Halves,
    count: int,
    known: MutableMapping[str, np.ndarray],
) -> Generator[Progress, None, np.ndarray]:
    """How far controls of each kind move the items in the vector's cells, [kinds, drawn]: `count` of each, or as many
    as it takes for `AS_FAR` of one kind to reach as far as the vector, which settles it. Yields `Progress`.
    """
    layers = sorted(swept.items.spread or {cell.layer for cell in cells})
    norms = [vector.at(layer) for layer in layers]
    name = key(model, swept.items, layers, norms, list(cells), own and own.pairs, count)
    if name not in known:
        kinds = [random_controls(vector, layers, count, SEED)]
        if own:
            kinds.append((yield from _shuffled(model, vector, layers, own, count)))
        far, found = moved(swept, cells, halves).mean(), np.zeros((len(kinds), 0))
        while found.shape[1] < count and (found * np.sign(far) >= abs(far)).sum(1).max() < AS_FAR:
            some = slice(found.shape[1], found.shape[1] + AT_ONCE)
            drawn = [control for kind in kinds for control in kind[some]]
            reached = yield from _moved(model, swept, vector, cells, halves, drawn)
            found = np.concatenate([found, reached.reshape(len(kinds), -1)], axis=1)
        known[name] = found
    return known[name]


def _shuffled(
    model: SteerableModel, vector: SteeringVector, layers: Sequence[int], own: Dataset, count: int
) -> Generator[Progress, None, list[Control]]:
    """Mean differences of the vector's own pairs with labels exchanged by coins, with its norm at each layer."""
    differences = yield from differences_of(model, vector, layers, own)
    found = []
    for signs in sign_patterns(differences.value.shape[1], count, SEED):
        means = torch.nn.functional.normalize(differences.mean_with(signs), dim=-1)
        found.append({layer: mean * vector.norm(layer) for layer, mean in zip(layers, means, strict=True)})
    return found


def _moved(
    model: SteerableModel,
    swept: Sweep,
    vector: SteeringVector,
    cells: Sequence[JudgedCell],
    halves: Halves,
    controls: Sequence[Control],
) -> Generator[Progress, None, np.ndarray]:
    """The mean change in each control's direction, as a verdict's `difference` is: [controls]."""
    parts = []
    for cell, half in zip(cells, halves, strict=True):
        alike = [replace(vector, layers=one) for one in controls]
        runs = [swept.items.steers(one, cell.layer, m) for one in alike for m in cell.multipliers]
        baseline, *scores = yield from score_runs(model, swept.items.some(half), runs, costs=False)
        changes = np.array([one.paired - baseline.paired for one in scores])
        signs = np.sign(cell.multipliers)
        parts.append((changes.reshape(len(controls), len(signs), -1) * signs[:, None]).mean(1))
    return np.concatenate(parts, axis=1).mean(1)
