"""What a vector does to test items at every layer and multiplier: answers, letter swap, counts, cost.

Panickssery et al., arXiv 2312.06681, section 4.1. A sweep is cut into chunks of layers; what each has found can be kept
and handed in again, so that a stop loses nothing.
"""

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from caa_core.errors import InputError
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.metrics.cache import key
from caa_core.metrics.counting import MATCHING, NEITHER, NOT_MATCHING, count_answers
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.metrics.estimates import Estimate, Share, means_of
from caa_core.metrics.grid import check_multipliers
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import FLAT, SHARED, plain, restored
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, within
from caa_core.steering.scoring import Scores, Steers, score
from caa_core.vectors.vector import SteeringVector

# Layers of one chunk: the first cells come soon, and what all chunks read anew (the questions) is not read too often.
CHUNKS = (2, 4, 8)

LONGEST_CHUNK = 16

# Layer and multiplier; the unsteered model has no layer.
Place = tuple[int, float]
AnyPlace = TypeVar("AnyPlace", bound=tuple[int | None, float])
UNSTEERED = (None, 0.0)


@dataclass(frozen=True, eq=False)
class RunScores:
    """What one run says of each item, [items] each.

    value: for choices p(matching) / (p(matching) + p(not matching)), in the order given; for free text the matching
    answer's log-probability less the other's, in nats a token. both: the mean value over both letter orders, NaN where
    there is one order only. mass: answer mass, NaN for free text. kl: KL(unsteered ‖ steered) in nats, mean over the
    answer's positions. written: which answer came first in what was written (see `counting`), where that was asked.
    """

    value: np.ndarray
    both: np.ndarray
    mass: np.ndarray
    kl: np.ndarray
    written: np.ndarray | None = None

    @property
    def paired(self) -> np.ndarray:
        """By which a verdict is given: the value over both letter orders, or as it is where no item has letters."""
        return self.value if np.isnan(self.both).all() else self.both[~np.isnan(self.both)]

    def some(self, indices: Sequence[int]) -> "RunScores":
        """Of some of the items."""
        chosen = list(indices)
        return RunScores(
            value=self.value[chosen],
            both=self.both[chosen],
            mass=self.mass[chosen],
            kl=self.kl[chosen],
            written=None if self.written is None else self.written[chosen],
        )


@dataclass(frozen=True)
class SweepCell:
    """Means over the items at one layer and multiplier.

    probability: of the matching answer (choices); preference: its log-probability less the other's, in nats a token
    (free text); the other of the two is None. swapped: the probability over both letter orders, None where no item has
    two. difference: the mean change, item by item, of what verdicts are given by against the unsteered model: over both
    letter orders where there are two. matching, not_matching, neither: how many items were answered so in writing, None
    where nothing was written. anti_steerable: of the prompts that move, the share pushed against the multiplier's sign;
    None where none moves, without a multiplier, or in what was kept before. unchanged: prompts that do not move.
    wrong_random, wrong_shuffled: what 95% of controls of each kind come to of that share, to first order; None where
    there are no estimates.
    """

    layer: int | None
    multiplier: float
    probability: Estimate | None = field(metadata=SHARED)
    preference: Estimate | None = field(metadata=SHARED)
    swapped: Estimate | None = field(metadata=FLAT)
    difference: Estimate = field(metadata=FLAT)
    matching: int | None
    not_matching: int | None
    neither: int | None
    skipped: int
    answer_mass: float | None
    kl: float
    anti_steerable: Share | None = field(default=None, metadata=FLAT)
    unchanged: int | None = None
    wrong_random: tuple[float, float] | None = None
    wrong_shuffled: tuple[float, float] | None = None

    @property
    def wrong_of_controls(self) -> str:
        """Of random vectors and of those from shuffled labels, in words; empty without any."""
        kinds = zip(("random", "shuffled labels"), (self.wrong_random, self.wrong_shuffled), strict=True)
        return ", ".join(f"{name} {kind[0]:.2f} to {kind[1]:.2f}" for name, kind in kinds if kind)

    @property
    def as_given(self) -> Estimate:
        """The probability in the letter order given, or the preference of free text."""
        found = self.probability or self.preference
        assert found, "one of the two is there"
        return found

    @property
    def value(self) -> float:
        """The mean of `as_given`."""
        return self.as_given.value

    def beside(self, estimated: EstimateMap | None) -> "SweepCell":
        """With the shares of prompts that controls push the wrong way at its layer, where these were estimated."""
        there = estimated.at(self.layer) if estimated and self.layer is not None and self.multiplier else None
        if not there:
            return self
        random, shuffled = there.wrong_at(self.multiplier)
        return replace(self, wrong_random=random, wrong_shuffled=shuffled)

    @classmethod
    def of(cls, kept: Any) -> "SweepCell":
        """From what `plain` made of one. Raises InputError for anything else."""
        return restored(cls, kept, "The measurement that was")


@dataclass(frozen=True, eq=False)
class Sweep:
    """A finished sweep, or one as far as it has come.

    readings: by layer and multiplier, what the cells are means of; baseline: the same of the unsteered model.
    """

    vector: str
    items: Items
    unsteered: SweepCell
    cells: tuple[SweepCell, ...]
    baseline: RunScores
    readings: dict[Place, RunScores]

    @property
    def measure(self) -> str:
        """What a cell's value is."""
        return measure_of(self.items)

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "vector": self.vector,
            "data": self.items.name,
            "measure": self.measure,
            "items": len(self.items.pairs),
            "counted_as_zero": len(self.items.zeros),
            "not_swapped": self.items.not_swapped,
            "skipped": list(self.items.skipped),
            "unsteered": plain(self.unsteered),
            "cells": plain(self.cells),
        }


def measure_of(items: Items) -> str:
    """What a cell's value is with such items."""
    if items.are_choices:
        return "probability of the matching answer"
    return "log-probability of the matching answer less that of the other, nats a token"


def sweep(
    model: SteerableModel,
    items: Items,
    vector: SteeringVector,
    layers: Sequence[int],
    multipliers: Sequence[float],
    counts: bool = True,
    known: MutableMapping[str, RunScores] | None = None,
    first: Sequence[int] = (),
) -> Generator[Progress | Sweep, None, Sweep]:
    """Measure every layer at every multiplier. Yields `Progress`, and after each chunk of layers the `Sweep` so far.

    Args:
        counts: whether answers are written too (choices only), which costs as much again as scoring them, or more.
        known: readings of earlier sweeps by all that they depend on: what is in it is not measured again, and what is
            measured is put in.
        first: layers in the order in which they are measured, before the others.

    Raises:
        InputError: a layer that model or vector do not have, no multiplier or too many, a vector of another size.
    """
    layers = checked_layers(model, vector, layers)
    multipliers = check_multipliers(multipliers)
    counts = counts and items.are_choices
    known = {} if known is None else known
    steers = {(layer, m): items.steers(vector, layer, m) for layer in layers for m in multipliers}
    keys = keys_of(model, items, steers, counts)
    progress = Progress(len(steers), "cells", sum(model.num_layers - layer for layer, _ in steers))
    readings = {cell: known[keys[cell]] for cell in steers if keys[cell] in known}
    cells: dict[Place, SweepCell] = {}
    baseline = known.get(keys[None])
    if readings:
        progress.resumed = progress.cost = sum(model.num_layers - layer for layer, _ in readings)
        progress.done = len(readings)
    yield progress
    missing = [layer for layer in layers if baseline is None or any((layer, m) not in readings for m in multipliers)]
    for chunk in _chunks(sorted(missing, key=lambda layer: first.index(layer) if layer in first else len(first))):
        wanted = [cell for cell in steers if cell[0] in chunk and cell not in readings]
        cost = sum(model.num_layers - layer for layer, _ in wanted)
        work = score_runs(model, items, [steers[cell] for cell in wanted], counts)
        baseline, *found = yield from within(progress, work, cost)
        readings.update(zip(wanted, map(checked, wanted, found), strict=True))
        known.update({keys[cell]: readings[cell] for cell in wanted} | {keys[None]: baseline})
        progress.done = len(readings)
        yield progress
        yield _so_far(vector, items, steers, baseline, readings, cells)
    assert baseline, "it is known, or was scored with the first chunk"
    return _so_far(vector, items, steers, baseline, readings, cells)


def checked_layers(model: SteerableModel, vector: SteeringVector, layers: Sequence[int]) -> list[int]:
    """Each layer once. Raises InputError for none, one that the model does not have, or a vector of another size."""
    found = [model.check_layer(layer) for layer in dict.fromkeys(layers)]
    if not found:
        raise InputError("Choose at least one layer.")
    if vector.hidden_size != model.hidden_size:
        raise InputError(
            f"The vector {vector.name} has hidden size {vector.hidden_size} and belongs to another model than "
            f"{model.name}, whose hidden size is {model.hidden_size}."
        )
    return found


def score_runs(
    model: SteerableModel,
    items: Items,
    runs: Sequence[Steers],
    counts: bool = False,
    system: str = "",
    costs: bool = True,
) -> Generator[Progress, None, list[RunScores]]:
    """Score all items in both letter orders, unsteered and under each of `runs`: a `RunScores` for each, the unsteered
    first. Yields `Progress`.

    Args:
        counts: whether answers are written too.
        system: a system prompt before every item, for the scores; nothing is written under one.
        costs: whether the KL is wanted; NaN without.
    """
    asked, _ = items.both_orders()
    scores = yield from score(model, asked, runs, items.positions, items.cue, system, costs)
    written = list((yield from _written(model, items, runs))) if counts else ()
    return readings_of(items, scores, written)


def readings_of(items: Items, scores: Scores, written: Sequence[np.ndarray] = ()) -> list[RunScores]:
    """Of all runs, from scores of the items in both letter orders (`Items.both_orders`). written: by run, where
    answers were written.
    """
    there = [i for i, swapped in enumerate(items.swapped) if swapped]
    values = scores.probability if items.are_choices else scores.preference
    count = len(items.pairs)
    value, kl, mass = (part.double().numpy() for part in (values, scores.kl[:, :count], scores.mass[:, :count]))
    value, other = value[:, :count], value[:, count:]
    both = np.full_like(value, np.nan)
    both[:, there] = (value[:, there] + other) / 2
    texts: Sequence[np.ndarray | None] = written if written else [None] * len(value)
    return [RunScores(*parts) for parts in zip(value, both, mass, kl, texts, strict=True)]


def checked(cell: Place, reading: RunScores) -> RunScores:
    """Raises InputError where the model's numbers overflowed."""
    if not (np.isfinite(reading.value).all() and np.isfinite(reading.kl).all()):
        raise InputError(f"At layer {cell[0]}, × {cell[1]:g} the model's numbers overflow: choose smaller multipliers.")
    return reading


def _written(model: SteerableModel, items: Items, runs: Sequence[Steers]) -> Generator[Progress, None, np.ndarray]:
    """What the unsteered model and each run write, [1 + runs, items]; a multiplier of 0 writes what no vector does."""
    acting = [run for run, steers in enumerate(runs, 1) if any(steer.multiplier for steer in steers)]
    found = yield from count_answers(
        model, items.pairs, [(), *(runs[run - 1] for run in acting)], items.positions, items.cue
    )
    written = np.repeat(found[:1], 1 + len(runs), axis=0)
    written[acting] = found[1:]
    return written


def _chunks(layers: Sequence[int]) -> Iterator[Sequence[int]]:
    sizes = itertools.chain(CHUNKS, itertools.repeat(LONGEST_CHUNK))
    while layers:
        size = next(sizes)
        yield layers[:size]
        layers = layers[size:]


def _so_far(
    vector: SteeringVector,
    items: Items,
    order: Iterable[Place],
    baseline: RunScores,
    readings: dict[Place, RunScores],
    cells: dict[Place, SweepCell],
) -> Sweep:
    """The sweep as far as it has come; `cells` keeps what was worked out already."""
    fresh = {place: reading for place, reading in readings.items() if place not in cells}
    cells.update(zip(fresh, cells_of(items, fresh, baseline), strict=True))
    done = [place for place in order if place in readings]
    (unsteered,) = cells_of(items, {UNSTEERED: baseline}, baseline)
    return Sweep(
        vector=vector.name,
        items=items,
        unsteered=unsteered,
        cells=tuple(cells[place] for place in done),
        baseline=baseline,
        readings={place: readings[place] for place in done},
    )


def cells_of(items: Items, readings: Mapping[AnyPlace, RunScores], baseline: RunScores) -> list[SweepCell]:
    """The means of readings by layer and multiplier, with their intervals; `baseline` is of the unsteered model."""
    if not readings:
        return []
    scores = list(readings.values())
    prompts, zeros = np.array(items.prompts), np.arange(len(items.zeros))
    within = (0, 1) if items.are_choices else (-np.inf, np.inf)
    values = np.pad([one.value for one in scores], ((0, 0), (0, len(zeros))))
    given = means_of(values, [*prompts, *(len(prompts) + zeros)], within)
    both = np.stack([one.both for one in scores])
    there = ~np.isnan(both[0])
    swapped: Sequence[Estimate | None] = [None] * len(scores)
    if there.any():
        swapped = means_of(both[:, there], prompts[there], within)
    paired = prompts[there] if there.any() else prompts
    changes = np.stack([one.paired - baseline.paired for one in scores])
    change = means_of(changes, paired)
    signs = np.sign([multiplier for _, multiplier in readings])
    wrong = [AntiSteerable.of(sign * one, paired) for sign, one in zip(signs, changes, strict=True)]
    return [
        SweepCell(
            layer=layer,
            multiplier=multiplier,
            probability=given[i] if items.are_choices else None,
            preference=None if items.are_choices else given[i],
            swapped=swapped[i],
            difference=change[i],
            matching=_count(one, MATCHING),
            not_matching=_count(one, NOT_MATCHING),
            neither=_count(one, NEITHER),
            skipped=len(items.skipped),
            answer_mass=float(one.mass.mean()) if items.are_choices else None,
            kl=float(one.kl.mean()),
            anti_steerable=wrong[i].share,
            unchanged=wrong[i].unchanged if multiplier else None,
        )
        for i, ((layer, multiplier), one) in enumerate(readings.items())
    ]


def _count(scores: RunScores, answer: int) -> int | None:
    """How many items were answered so in writing; None where nothing was written."""
    return None if scores.written is None else int((scores.written == answer).sum())


def keys_of(
    model: SteerableModel, items: Items, steers: Mapping[Place, Steers], counts: bool = False
) -> dict[Place | None, str]:
    """By cell, and None for the unsteered model, a name for everything that its reading depends on."""
    shared = key(model, items.pairs, items.positions, items.cue, counts)
    return {None: shared, **{cell: key(model, shared, *several) for cell, several in steers.items()}}
