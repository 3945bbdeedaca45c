"""Is it an effect, and which way? By first-order estimates, their controls, and exact passes where they chose.

The procedure is that of :mod:`caa_core.metrics.cross_fitting`: where a vector is judged was chosen on other items, and
its controls choose as it does. How large the effect is, is measured by exact passes in the cells that were chosen.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from caa_core.data.pairs import Dataset
from caa_core.measuring.proposal import (
    Halves,
    JudgedCell,
    Proposal,
    change,
    judged_cells,
    judged_halves,
    layers_of,
    moved,
    prompts_at,
    propose,
    seen,
)
from caa_core.measuring.sweep import RunScores, Sweep
from caa_core.measuring.told import BesidePrompts
from caa_core.measuring.vector_controls import FirstOrder, exact_controls, growing_ground
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.metrics.cache import key
from caa_core.metrics.cross_fitting import (
    CONTROLS,
    EFFECT,
    ENOUGH_PROMPTS,
    NONE_SHOWN,
    UNDECIDED,
    chosen,
    grade,
    too_few,
    why_undecided,
)
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.metrics.estimates import LEAST, Estimate, mean_of, middle
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import SHARED, plain
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, progress_of, showing
from caa_core.steering.gradients import NoEstimateError
from caa_core.vectors.vector import SteeringVector

NOT_YET = "Not judged yet: the sweep is not finished."
BY_PASSES_ALONE = (
    "There is no estimate of this operation: first-order estimates, which a verdict takes, hold for vectors that are "
    "added, so it is measured by passes alone."
)
NOT_AT_SEVERAL = (
    "There is no estimate of several layers at once: first-order estimates, which a verdict takes, are of one layer "
    "here, so they are measured by passes alone."
)

# Where a verdict holds: at both signs of the multiplier, at one only, at both alike, at none by itself; or at the only
# sign that was tried.
BOTH, POSITIVE, NEGATIVE, ALIKE, NEITHER = "both", "positive", "negative", "alike", "neither"
ONLY_POSITIVE, ONLY_NEGATIVE = "only positive tried", "only negative tried"

# What is said of a grade and, where it is an effect, of its direction.
HEADLINES = {
    (EFFECT, "with"): "An effect on this model, with the vector",
    (EFFECT, "against"): "A backwards effect on this model, against the vector",
    (NONE_SHOWN, ""): "No effect is shown on this model",
    (UNDECIDED, ""): "Not decided",
    ("", ""): "Not judged",
}

WAYS = {
    BOTH: "both ways: positive multipliers move it one way and negative ones the other",
    POSITIVE: "shown one way only: at positive multipliers",
    NEGATIVE: "shown one way only: at negative multipliers",
    ALIKE: "though both signs of the multiplier move it the same way",
    NEITHER: "though shown at neither sign of the multiplier by itself",
    ONLY_POSITIVE: "at positive multipliers; no others were tried",
    ONLY_NEGATIVE: "at negative multipliers; no others were tried",
}

BRIEFLY = {
    BOTH: "both ways",
    POSITIVE: "shown at positive multipliers alone",
    NEGATIVE: "shown at negative multipliers alone",
    ALIKE: "at both signs of the multiplier alike",
    NEITHER: "though shown at neither sign alone",
    ONLY_POSITIVE: "at positive multipliers, the only ones tried",
    ONLY_NEGATIVE: "at negative multipliers, the only ones tried",
}


@dataclass
class KeptNumbers:
    """What earlier evaluations found, each under a name for all that it depends on.

    readings: of cells. first_order: of a vector and its controls; maps: of all layers beside them. changes: by exact
    controls, [kinds, controls].
    """

    readings: dict[str, RunScores] = field(default_factory=dict)
    first_order: dict[str, FirstOrder] = field(default_factory=dict)
    changes: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, EstimateMap] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a vector does, beside its controls. What was kept before there were grades has none.

    layer, multiplier: what is proposed. cells: where each half of the items was judged, chosen by the other half.
    difference: the mean change in the vector's direction, that is of the change at positive multipliers and of the
    opposite of that at negative ones, over both letter orders (`as_given`: in the order given; free text has one only);
    below 0 the vector works backwards. positive, negative: the changes themselves. estimate: T, to first order, in nats
    a token for a multiplier of 1; random, shuffled: what 95% of `controls` vectors of each kind lie within, None
    without them. p: of T among them; None where there is none. exact: how far exact controls of each kind change the
    items, [least, most], of `exact_drawn` of each. grade: `EFFECT`, `UNDECIDED` or `NONE_SHOWN`, empty where it was not
    judged; effect: the same as True, None and False. direction: "with", "against", or "" where no effect is called one.
    ways: where it holds, see `WAYS`. why: it is not decided, or not judged, as a part of a sentence; empty in what was
    kept before.
    anti_steerable: the prompts that are pushed against the vector's direction; None in what was kept before. told: what
    system prompts do beside it; None where that was not asked.
    """

    layer: int
    multiplier: float
    effect: bool | None
    items: int
    difference: Estimate = field(metadata=SHARED)
    as_given: float
    random: tuple[float, float] | None
    shuffled: tuple[float, float] | None
    controls: int
    measure: str
    text: str
    grade: str = ""
    direction: str = ""
    ways: str = ""
    prompts: int = 0
    cells: tuple[JudgedCell, ...] = ()
    positive: Estimate | None = None
    negative: Estimate | None = None
    estimate: float | None = None
    p: float | None = None
    exact: tuple[tuple[float, float], ...] = ()
    exact_drawn: int = 0
    anti_steerable: AntiSteerable | None = None
    told: BesidePrompts | None = None
    why: str = ""

    @property
    def headline(self) -> str:
        """Its grade and direction in a few words."""
        return HEADLINES[self.grade, self.direction]

    @property
    def in_short(self) -> str:
        """The headline, and where it holds or why it is none, in few words."""
        return f"{self.headline}, {BRIEFLY[self.ways]}." if self.grade == EFFECT else self.sentence

    @property
    def sentence(self) -> str:
        """The same, with which its text begins."""
        if self.grade == EFFECT:
            return f"{self.headline}, {WAYS[self.ways]}."
        why = "vectors that should do nothing do as much" if self.grade == NONE_SHOWN else self.why
        return f"{self.headline}: {why}." if why else f"{self.headline}."

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return plain(self)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Conclusion:
    """A proposal and the verdict on it; None and the reason in `text` where there are too few items.

    shuffled_from: the data whose labels were shuffled.
    """

    proposal: Proposal | None
    verdict: Verdict | None
    text: str
    shuffled_from: str = ""


def conclude(
    model: SteerableModel,
    swept: Sweep,
    vector: SteeringVector,
    own: Dataset | None = None,
    controls: int = CONTROLS,
    exact: int = 0,
    known: KeptNumbers | None = None,
) -> Generator[Progress, None, Conclusion]:
    """Choose on each half of the items, and judge on the other. Yields `Progress`.

    Args:
        own: the pairs that the vector was made from; None where they are not known.
        controls: how many random vectors, and how many from shuffled labels, by their estimates; 0 for none.
        exact: how many of each by exact passes too.
        known: where numbers are looked up that were found before, and put in.
    """
    known = known or KeptNumbers()
    halves, layers = judged_halves(swept.items), layers_of(swept)
    if not layers:
        return Conclusion(None, None, "Not judged: no multiplier but 0 was tried.")
    if not all(halves):
        text = f"Not judged: 1 prompt is too few to choose on some and judge on others; give at least {ENOUGH_PROMPTS}."
        return Conclusion(None, None, text)
    found = Estimated()
    if controls:
        found = yield from progress_of(estimate(model, swept.items, vector, layers, own, controls, known))
    estimated, no_estimate = found.first_order, found.why
    estimates = estimated.own if estimated else seen(swept, halves)
    cells = judged_cells(swept, estimates, halves)
    reach = None
    if exact and (estimated or not swept.items.at_one_layer):
        reach = yield from exact_controls(model, swept, vector, own, cells, halves, exact, known.changes)
    proposal = propose(swept, estimates, halves)
    verdict = judge(swept, proposal, cells, halves, estimated, reach, no_estimate)
    return Conclusion(proposal, verdict, f"{verdict}\n{proposal}", own.name if own and estimated else "")


@dataclass(frozen=True, eq=False)
class Estimated:
    """What a vector and its controls do to first order, at each layer too; where there is none, why."""

    first_order: FirstOrder | None = None
    map: EstimateMap | None = None
    why: str = ""


def estimate(
    model: SteerableModel,
    items: Items,
    vector: SteeringVector,
    layers: Sequence[int],
    own: Dataset | None,
    controls: int = CONTROLS,
    known: KeptNumbers | None = None,
) -> Generator[Progress | EstimateMap, None, Estimated]:
    """One pass forwards and backwards an item. Yields `Progress`, and the map as far as it has come: by the first few
    items, by all, and then beside controls from shuffled labels. There are none where the vector is not added at
    one layer. Arguments are those of `conclude`.
    """
    if not items.at_one_layer:
        return Estimated(why=BY_PASSES_ALONE if not items.operation.is_addition else NOT_AT_SEVERAL)
    known = known or KeptNumbers()
    name = key(model, items, [vector.at(layer) for layer in layers], layers, own and own.pairs, controls)
    name += vector.provenance.read_position
    kept = known.first_order.get(name)
    if kept and kept.wrong and name in known.maps:  # both were not kept at first
        return Estimated(kept, known.maps[name])
    try:
        work = growing_ground(model, items, vector, layers, own)
        found = yield from showing(work, lambda part: part.map_of(vector, items, controls))
    except NoEstimateError as error:
        return Estimated(why=str(error))
    known.first_order[name] = found.first_order(vector, controls)
    known.maps[name] = found.map_of(vector, items, controls)
    return Estimated(known.first_order[name], known.maps[name])


def conclude_early(swept: Sweep, estimated: Estimated, layers: Sequence[int], own: Dataset | None) -> Conclusion | None:
    """What `conclude` says of a whole sweep over `layers` without exact controls, once those that the halves chose are
    there; None before, or where nothing was estimated.
    """
    halves, found = judged_halves(swept.items), estimated.first_order
    if not found or not all(halves) or not {layers[i] for i in chosen(found.own)} <= {*layers_of(swept)}:
        return None
    there = replace(found, own=found.own[:, [layers.index(layer) for layer in layers_of(swept)]])
    proposal = propose(swept, there.own, halves)
    verdict = judge(swept, proposal, judged_cells(swept, there.own, halves), halves, there)
    return Conclusion(proposal, verdict, f"{verdict}\n{proposal}", own.name if own else "")


def judge(
    swept: Sweep,
    proposal: Proposal,
    cells: Sequence[JudgedCell],
    halves: Halves,
    found: FirstOrder | None,
    exact: np.ndarray | None = None,
    no_estimate: str = "",
) -> Verdict:
    """The verdict by changes in the cells that were chosen, and by estimates; without these, figures alone.

    exact: see `exact_controls`. no_estimate: why the model has none.
    """
    items, indices = swept.items, [i for half in halves for i in half]

    def at(sign: int) -> np.ndarray | None:
        """Changes of the items in their cells of one sign, [items]; None where none was tried."""
        places = [(cell.layer, m) for cell in cells for m in cell.multipliers if m * sign > 0]
        parts = [change(swept, place, half) for place, half in zip(places, halves, strict=bool(places))]
        return np.concatenate(parts) if places else None

    prompts, size = prompts_at(items, indices), moved(swept, cells, halves)
    wrong = AntiSteerable.of(size, prompts)
    either = [side if side is None else mean_of(side, prompts) for side in (at(1), at(-1))]
    verdict = Verdict(
        layer=proposal.layer,
        multiplier=proposal.multiplier,
        effect=None,
        items=len(indices),
        difference=mean_of(size, prompts),
        as_given=float(moved(swept, cells, halves, given=True).mean()),
        random=middle(found.random) if found else None,
        shuffled=middle(found.shuffled) if found else None,
        controls=len(found.random) if found else 0,
        measure=_measure(swept),
        text="",
        prompts=len(set(prompts)),
        cells=tuple(cells),
        positive=either[0],
        negative=either[1],
        estimate=found.value if found else None,
        p=found.rank[0] if found else None,
        exact=tuple((float(kind.min()), float(kind.max())) for kind in exact) if exact is not None else (),
        exact_drawn=0 if exact is None else exact.shape[1],
        anti_steerable=wrong.beside(found.wrong) if found else wrong,
    )
    verdict, more = _graded(swept, verdict, found, no_estimate)
    return replace(verdict, text=f"{verdict.sentence} {_numbers(verdict)}{more}")


def _graded(swept: Sweep, verdict: Verdict, found: FirstOrder | None, no_estimate: str) -> tuple[Verdict, str]:
    """The verdict with its grade, and what is said behind its numbers."""
    if why := _not_judged(swept, verdict, found, no_estimate):
        return replace(verdict, why=why), ""
    if not found:
        return replace(verdict, grade=UNDECIDED, why=no_estimate.rstrip(".")), ""
    p, direction = found.rank
    said = grade(p, direction, verdict.difference, _expected(swept, verdict), len(found.kinds))
    if said == EFFECT and not _beyond(verdict):
        said = UNDECIDED
    verdict = replace(verdict, grade=said, effect={EFFECT: True, UNDECIDED: None, NONE_SHOWN: False}[said])
    if said == EFFECT:
        return replace(verdict, direction="with" if direction > 0 else "against", ways=_ways(verdict, direction)), ""
    if said == UNDECIDED:
        why = why_undecided(p, direction, verdict.difference, len(found.kinds), _beyond(verdict))
        verdict = replace(verdict, why=why)
    if abs(verdict.as_given) < LEAST or abs(verdict.difference.value) >= abs(verdict.as_given) / 2:
        return verdict, ""
    more = f" In the letter order given it is {verdict.as_given:+.2f}: that is the letter, not the behaviour."
    return verdict, more


def _not_judged(swept: Sweep, verdict: Verdict, found: FirstOrder | None, no_estimate: str) -> str:
    """Why there is a figure and no verdict, as a part of a sentence; empty where there is one."""
    if few := too_few(verdict.prompts):
        return few
    if swept.items.are_lettered and not any(swept.items.swapped):
        return "no item could be asked in the other letter order, so the letter may be all there is"
    if found:
        return found.lacking
    return "" if no_estimate else "that takes controls beside it"


def _expected(swept: Sweep, verdict: Verdict) -> float | None:
    """The size to first order; of a probability at most, since log odds change it by a quarter at most."""
    far = np.mean([abs(m) for cell in verdict.cells for m in cell.multipliers])
    slope = 0.25 if swept.items.are_choices else 1.0
    return None if verdict.estimate is None else float(far * slope * verdict.estimate)


def _beyond(verdict: Verdict) -> bool:
    """Whether it lies outside what exact controls reach, where there are any."""
    return all(not low <= verdict.difference.value <= high for low, high in verdict.exact)


def _ways(verdict: Verdict, direction: int) -> str:
    up, down = verdict.positive, verdict.negative
    if up is None or down is None:
        return ONLY_POSITIVE if down is None else ONLY_NEGATIVE
    # Each in the vector's direction, as the verdict is.
    positive, negative = (direction * sign * _clear(side) for side, sign in ((up, 1), (down, -1)))
    if positive * negative < 0:
        return ALIKE
    if positive > 0 and negative > 0:
        return BOTH
    return POSITIVE if positive > 0 else NEGATIVE if negative > 0 else NEITHER


def _clear(found: Estimate) -> int:
    """1 or -1 where an interval leaves 0 out, else 0."""
    return int(np.sign(found.value)) if found.is_clear else 0


def _numbers(found: Verdict) -> str:
    text = _size(found)
    return f"{text} Pushed the wrong way: {found.anti_steerable}." if found.anti_steerable else text


def _size(found: Verdict) -> str:
    text = f"{_where(found)} moves the {found.measure} by {found.difference.value:+.3f} in its direction "
    sides = [("positive", found.positive), ("negative", found.negative)]
    changes = [f"{side.value:+.3f} at {name} multipliers" for name, side in sides if side]
    text += f"(95% interval {found.difference.ends('+.3f')}, {found.prompts} prompts; {', '.join(changes)})"
    if found.estimate is not None and found.random and found.p is not None:
        text += f". To first order that is {found.estimate:+.3f} nats a token for a multiplier of 1"
        kinds = [("random vectors of the same norm", found.random), ("from shuffled labels", found.shuffled)]
        beside = [f"{name} within {kind[0]:+.3f} to {kind[1]:+.3f}" for name, kind in kinds if kind]
        text += f"; of {found.controls} controls of each kind 95% lie, {', '.join(beside)}: p = {found.p:.3g}"
    if found.exact:
        reach = ", ".join(f"{low:+.3f} to {high:+.3f}" for low, high in found.exact)
        text += f". By exact passes {found.exact_drawn} controls of each kind reach {reach}"
    return f"{text}."


def _where(found: Verdict) -> str:
    """Layers and multipliers in words."""
    layers = list(dict.fromkeys(cell.layer for cell in found.cells))
    multipliers = sorted({m for cell in found.cells for m in cell.multipliers})
    at = f"At layer {layers[0]}" if len(layers) == 1 else f"At layers {layers[0]} and {layers[1]}, by halves,"
    return f"{at} the vector, × {' and '.join(f'{m:g}' for m in multipliers)},"


def _measure(swept: Sweep) -> str:
    if not swept.items.are_choices:
        return "preference for the matching answer in nats a token"
    orders = " over both letter orders" if swept.items.are_lettered else ""
    return f"probability of the matching answer{orders}"
