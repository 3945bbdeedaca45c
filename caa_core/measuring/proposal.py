"""Which cell of a sweep to steer with, which multipliers are safe there, and which cells a verdict is given on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caa_core.measuring.sweep import Place, RunScores, Sweep
from caa_core.metrics.cross_fitting import ENOUGH_PROMPTS, chosen
from caa_core.metrics.estimates import SAFE_KL, mean_of
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import plain
from caa_core.vectors.splits import halves as halves_of

Halves = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Proposal:
    """The layer and multiplier to steer with, chosen on some items, and what is safe there, judged on others.

    difference: what was seen on the `chosen_on` items that they were chosen on. safe: from the lowest to the highest
    multiplier, 0 between them, such that each one that was tried costs less than `SAFE_KL` by the upper end of its 95%
    interval over `reported_on` prompts, on which the layer was not chosen (all of them, where both halves chose it).
    None where not one does, or the prompts are too few to tell. safe_multiplier: its upper end (its lower one where no
    positive one is safe); safe_kl: the mean cost there.
    """

    layer: int
    multiplier: float
    difference: float
    safe_multiplier: float | None
    safe_kl: float | None
    chosen_on: int
    reported_on: int
    safe: tuple[float, float] | None = None

    def summary(self) -> dict[str, Any]:
        """As plain data, with the reason in words."""
        return {**plain(self), "reason": str(self)}

    def __str__(self) -> str:
        text = (
            f"Layer {self.layer}: on {self.chosen_on} items it was chosen on, × {self.multiplier:g} there changes the "
            f"answers by {self.difference:+.2f}. Safe multipliers there: "
        )
        if self.reported_on < ENOUGH_PROMPTS:
            return (
                f"{text}not judged, since that takes at least {ENOUGH_PROMPTS} prompts that it was not chosen on, and "
                f"there are {self.reported_on}."
            )
        under = (
            f"costs less than {SAFE_KL:g} nats with its whole interval on {self.reported_on} prompts that it was not"
        )
        if self.safe is None or self.safe_kl is None:
            return f"{text}none. Not even the smallest {under} chosen on."
        return (
            f"{text}{self.safe[0]:g} to {self.safe[1]:g}. Each one tried {under} chosen on "
            f"(KL {self.safe_kl:.2f} nats at × {self.safe_multiplier:g})."
        )


@dataclass(frozen=True)
class JudgedCell:
    """Where some items are judged: the layer and multipliers, one of each sign that was tried, that others chose."""

    layer: int
    multipliers: tuple[float, ...]
    items: int


def judged_halves(items: Items) -> Halves:
    """Indices of what a verdict is given by, items with both letter orders or all where none has two, in two halves
    that have no prompt in common.
    """
    there = items.judged
    first, second = ([there[i] for i in half] for half in halves_of([items.pairs[i] for i in there]))
    return first, second


def layers_of(swept: Sweep) -> list[int]:
    """At which anything was added."""
    return sorted({layer for layer, multiplier in swept.readings if multiplier})


def seen(swept: Sweep, halves: Halves) -> np.ndarray:
    """What stands in for estimates where there are none, [2, layers]: exact changes at the smallest multiplier over it,
    of both signs where both were tried.
    """
    found = []
    for half in halves:
        start = swept.baseline.some(half).paired
        by_layer = []
        for layer in layers_of(swept):
            nearest = [min(side, key=abs) for side in _sides(swept, layer) if side]
            changes = [(swept.readings[layer, m].some(half).paired - start).mean() / m for m in nearest]
            by_layer.append(np.mean(changes))
        found.append(by_layer)
    return np.array(found)


def judged_cells(swept: Sweep, estimates: np.ndarray, halves: Halves) -> list[JudgedCell]:
    """For each half, where the other one chose: the layer by estimates [2, layers], and there, of each sign, the
    largest multiplier up to which all cost less than `SAFE_KL`, or the smallest one there is.
    """
    layers, cells = layers_of(swept), []
    for judged, choosing, index in zip(halves, halves[::-1], chosen(estimates)[::-1], strict=True):
        layer = layers[index]
        reached = [_reached(swept, layer, side, choosing) for side in _sides(swept, layer) if side]
        cells.append(JudgedCell(layer, tuple(sorted(reached)), len(judged)))
    return cells


def propose(swept: Sweep, estimates: np.ndarray, halves: Halves) -> Proposal:
    """Chosen on the first half by estimates [2, layers], and what is safe by the second, or by both if they agree."""
    first, second = halves
    index, other = chosen(estimates)
    held_out = [*first, *second] if index == other else second
    layer, way = layers_of(swept)[index], np.sign(estimates[0, index])
    start = swept.baseline.some(first).paired
    sides = [side for side in _sides(swept, layer) if side]
    moved = {
        m: float((swept.readings[layer, m].some(first).paired - start).mean())
        for m in (_reached(swept, layer, side, first) for side in sides)
    }
    best = max(moved, key=lambda m: way * np.sign(m) * moved[m])
    ends = [_safe_end(swept, layer, side, held_out) for side in sides]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    safe = (low, high) if (low, high) != (0, 0) else None
    end = (high or low) if safe else None
    return Proposal(
        layer=layer,
        multiplier=best,
        difference=moved[best],
        safe_multiplier=end,
        safe_kl=None if end is None else float(swept.readings[layer, end].some(held_out).kl.mean()),
        chosen_on=len(first),
        reported_on=len(set(prompts_at(swept.items, held_out))),
        safe=safe,
    )


def prompts_at(items: Items, indices: Sequence[int]) -> list[int]:
    """The number of each item's prompt."""
    return [items.prompts[i] for i in indices]


def _sides(swept: Sweep, layer: int) -> tuple[list[float], list[float]]:
    """The multipliers of a layer by their sign, from 0 outwards."""
    there = [m for at, m in swept.readings if at == layer]
    return sorted(m for m in there if m > 0), sorted((m for m in there if m < 0), reverse=True)


def _reached(swept: Sweep, layer: int, side: Sequence[float], half: Sequence[int]) -> float:
    """The last multiplier from 0 outwards before one costs too much on a half; the first where that one does."""
    return _last(side, [swept.readings[layer, m].some(half).kl.mean() < SAFE_KL for m in side]) or side[0]


def _safe_end(swept: Sweep, layer: int, side: Sequence[float], half: Sequence[int]) -> float:
    """The last multiplier from 0 outwards of which the cost on a half lies under the limit with its whole interval."""
    prompts = prompts_at(swept.items, half)
    if len(set(prompts)) < ENOUGH_PROMPTS:
        return 0.0
    costs = [mean_of(swept.readings[layer, m].some(half).kl, prompts) for m in side]
    return _last(side, [cost.high < SAFE_KL for cost in costs])


def _last(side: Sequence[float], good: Sequence[bool]) -> float:
    """The last of some multipliers before the first that is not good; 0 where that is the first."""
    kept = good.index(False) if False in good else len(good)
    return side[kept - 1] if kept else 0.0


def moved(swept: Sweep, cells: Sequence[JudgedCell], halves: Halves, given: bool = False) -> np.ndarray:
    """How far items move in the vector's direction where they are judged, [items] half by half; `given` as below."""
    parts = []
    for cell, half in zip(cells, halves, strict=True):
        sides = [np.sign(m) * change(swept, (cell.layer, m), half, given) for m in cell.multipliers]
        parts.append(np.mean(sides, axis=0))
    return np.concatenate(parts)


def change(swept: Sweep, place: Place, half: Sequence[int], given: bool = False) -> np.ndarray:
    """How far a cell moves each of some items: [items]; `given`: in the letter order given."""

    def of(reading: RunScores) -> np.ndarray:
        return reading.some(half).value if given else reading.some(half).paired

    return of(swept.readings[place]) - of(swept.baseline)
