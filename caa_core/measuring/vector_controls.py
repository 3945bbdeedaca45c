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
from caa_core.steering.activations import read_all
from caa_core.steering.gradients import check_gradients, gradients, tried_layers
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.extraction import check_room
from caa_core.vectors.splits import prompts_of
from caa_core.vectors.vector import SteeringVector

# Prompts whose labels are shuffled, and prompts of items whose own gradients are kept.
MOST_PROMPTS = 200

# Numbers that the gradients of prompts take at most (4 bytes each); of large models fewer prompts are kept.
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


@dataclass(frozen=True, eq=False)
class Ground:
    """What any vector's estimates are made of: the mean gradient of each half of the items at each layer, [2, layers,
    hidden_size], or of all items, [1, layers, hidden_size]; and the pairs whose labels are shuffled for controls, where
    these are known. by_prompt: the gradients of the items' first prompts, [prompts, layers, hidden_size], and which
    half each belongs to, where they were asked for. read: of how many items; None for all.
    """

    layers: tuple[int, ...]
    slopes: torch.Tensor
    differences: "PairDifferences | None"
    by_prompt: tuple[torch.Tensor, np.ndarray] | None = None
    read: int | None = None

    @property
    def prompts(self) -> int:
        """Of the pairs whose labels are shuffled."""
        return self.differences.value.shape[1] if self.differences else 0

    def first_order(self, vector: SteeringVector, count: int, seed: int = 0) -> FirstOrder:
        """Estimates of a vector and of `count` controls of each kind."""
        slopes, rows = self.slopes, len(self.slopes)
        if self.by_prompt:
            slopes = torch.cat([slopes, self.by_prompt[0]])
        drawn = self._drawn(slopes, vector, count, seed)
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
        own, *kinds = (estimates.mean(-2) for estimates in self._drawn(self.slopes, vector, count, seed))
        return own, [kind for kind in kinds if len(kind)]

    def map_of(self, vector: SteeringVector, items: Items, count: int) -> EstimateMap:
        """The estimate at every layer beside `count` controls of each kind that there is. There is p where all items
        were read and there are enough controls of both kinds.
        """
        own, kinds = self.by_layer(vector, count)
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
                self._wrong_by_layer(vector, count),
            ),
        )

    def _wrong_by_layer(self, vector: SteeringVector, count: int) -> list[np.ndarray]:
        """Of `count` controls of each kind that there is, the share of the items' first prompts that a multiplier above
        0 pushes the wrong way at each layer, [count, layers].
        """
        if not self.by_prompt:
            return []
        _, *kinds = self._drawn(self.by_prompt[0], vector, count, seed=0)
        return [wrong_shares(np.moveaxis(kind, -2, -1)) for kind in kinds if len(kind)]

    def _drawn(
        self, slopes: torch.Tensor, vector: SteeringVector, count: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Estimates by gradient [gradients, layers, hidden_size] and layer, of a vector and of controls of each kind:
        [gradients, layers] and [count, gradients, layers].
        """
        directions = torch.stack([vector.at(layer).float() for layer in self.layers])
        norms = directions.norm(dim=1).double().numpy()
        own = (slopes * directions).sum(-1).double().numpy()
        random = random_estimates(slopes.numpy(), norms, count, seed)
        if not self.differences:
            return own, random, np.zeros((0, *own.shape))
        along = torch.einsum("lph,slh->slp", self.differences.value, slopes).double().numpy()
        return own, random, shuffled_estimates(along, self.differences.gram(), norms, count, seed)


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


class PairDifferences:
    """Collects positive minus negative, summed over the pairs of a prompt: `value` is [layers, prompts, hidden_size].

    `dataset` holds the pairs that are to be read: those of the first `MOST_PROMPTS` prompts.
    """

    def __init__(self, dataset: Dataset, layers: int, hidden_size: int):
        kept = [(pair, prompt) for pair, prompt in zip(dataset.pairs, prompts_of(dataset.pairs), strict=True)]
        kept = [(pair, prompt) for pair, prompt in kept if prompt < MOST_PROMPTS]
        self.dataset = replace(dataset, pairs=tuple(pair for pair, _ in kept))
        self._prompts = torch.tensor([prompt for _, prompt in kept])
        count = int(self._prompts.max()) + 1
        check_room(count, layers, hidden_size)
        self.value = torch.zeros(layers, count, hidden_size, dtype=torch.float32)

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        self.value.index_add_(1, self._prompts[pairs], positive - negative)

    def gram(self) -> np.ndarray:
        """Inner products of the prompts' differences, [layers, prompts, prompts]."""
        return (self.value @ self.value.transpose(1, 2)).double().numpy()

    def mean_with(self, signs: np.ndarray) -> torch.Tensor:
        """[layers, hidden_size]: the mean difference with labels exchanged where a prompt's sign is -1."""
        return torch.einsum("p,lph->lh", torch.from_numpy(signs).float(), self.value) / len(signs)


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


def differences_of(
    model: SteerableModel, vector: SteeringVector, layers: Sequence[int], own: Dataset
) -> Generator[Progress, None, PairDifferences]:
    """Of the vector's own pairs, read where it was. Yields `Progress`."""
    differences = PairDifferences(own, len(layers), model.hidden_size)
    read_at = vector.provenance.read_position
    position = ReadPosition.parse(read_at) if read_at else AUTOMATIC
    yield from read_all(model, differences.dataset, layers, position, differences)
    return differences


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
