"""Is it an effect? A sweep's cell beside controls, and the settings that are proposed, in words and numbers.

Settings are chosen on one half of the items and judged on the other, so that the best of many cells gets no credit for
being the best by chance. Controls are vectors of the same norm: drawn at random, and made from pairs whose labels were
shuffled.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from caa_core.data.pairs import Dataset
from caa_core.measuring.sweep import Place, RunScores, Sweep, score_runs
from caa_core.metrics.cache import key
from caa_core.metrics.controls import CONTROLS, Control, random_controls, shuffled_controls
from caa_core.metrics.estimates import LEAST, SAFE_KL, Estimate, mean_of, objections, reach
from caa_core.metrics.plain_data import SHARED, plain
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.activations import ReadPosition
from caa_core.steering.interventions import Steer
from caa_core.vectors.extraction import AUTOMATIC
from caa_core.vectors.vector import SteeringVector

FEWEST_ITEMS = 4

SEED = 0  # of the controls

NOT_YET = "Not judged yet: the sweep is not finished."


@dataclass
class KeptNumbers:
    """What earlier evaluations found, each under a name for all that it depends on.

    readings: of cells. changes: of random and of shuffled controls, how far each moves the items: [2, controls].
    """

    readings: dict[str, RunScores] = field(default_factory=dict)
    changes: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a vector does at one layer and multiplier, beside its controls.

    difference: the mean change of `items` against the unsteered model, over both letter orders (`as_given`: in the
    order given; free text has one only). random, shuffled: how far
    `controls` vectors of the same norm each change it: the least and the most, where no change always lies between;
    None without controls. effect: None where it cannot be told.
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

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return plain(self)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Proposal:
    """The layer and multiplier that move the answers most, and the largest multiplier that is safe there.

    difference: what was seen on the `chosen_on` items that they were chosen on. safe_multiplier: the largest positive
    one (the largest negative one where none is positive) that costs less than `SAFE_KL`; safe_kl: its cost in nats on
    the other `reported_on` items.
    """

    layer: int
    multiplier: float
    difference: float
    safe_multiplier: float
    safe_kl: float
    chosen_on: int
    reported_on: int

    def summary(self) -> dict[str, Any]:
        """As plain data, with the reason in words."""
        return {**plain(self), "reason": str(self)}

    def __str__(self) -> str:
        return (
            f"Layer {self.layer}: on the {self.chosen_on} items it was chosen on, × {self.multiplier:g} there moves "
            f"the answers furthest the way it should ({self.difference:+.2f}) of all cells that cost less than "
            f"{SAFE_KL:g} nats. The largest multiplier under that cost there is {self.safe_multiplier:g} (KL "
            f"{self.safe_kl:.2f} nats on the other {self.reported_on} items)."
        )


@dataclass(frozen=True)
class Conclusion:
    """A proposal and the verdict on it; None and the reason in `text` where there are too few items or no safe cell.

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
    made_from: Dataset | None = None,
    controls: int = CONTROLS,
    known: KeptNumbers | None = None,
) -> Generator[Progress, None, Conclusion]:
    """Choose settings on one half of the items and judge them on the other. Yields `Progress`.

    Args:
        made_from: the pairs of the vector; the test items stand in for pairs that are not known.
        controls: how many random vectors, and how many from shuffled labels; 0 for none.
        known: where controls are looked up that were measured before, and put in.
    """
    proposal = propose(swept)
    if isinstance(proposal, str):
        return Conclusion(None, None, proposal)
    place = (proposal.layer, proposal.multiplier)
    half = swept.items.halves()[1]
    pairs = made_from or Dataset(swept.items.name, "test items", swept.items.sha256, swept.items.pairs)
    random = shuffled = np.zeros(0)
    if controls:
        read_at = vector.provenance.read_position if made_from else ""
        position = ReadPosition.parse(read_at) if read_at else AUTOMATIC
        judged, steer = swept.items.some(half), Steer(vector.at(proposal.layer), *place)
        drawn_from = pairs.pairs, controls, SEED, position
        name = key(model, judged.pairs, judged.positions, judged.cue, steer, *drawn_from)
        found = (known or KeptNumbers()).changes
        if name not in found:
            layers = [proposal.layer]
            drawn = random_controls(vector, layers, controls, SEED)
            drawn += yield from shuffled_controls(model, pairs, vector, layers, controls, SEED, position)
            found[name] = (yield from _moved(model, swept, place, drawn, half)).reshape(2, controls)
        random, shuffled = found[name]
    verdict = verdict_on(swept, place, random, shuffled, half)
    return Conclusion(proposal, verdict, f"{verdict}\n{proposal}", pairs.name if controls else "")


def propose(swept: Sweep) -> Proposal | str:
    """Chosen on the first half of the items: a proposal, or in words why there is none."""
    first, second = swept.items.halves()
    if 2 * min(len(first), len(second)) < FEWEST_ITEMS:
        return f"{len(first) + len(second)} items are too few to choose on one half and judge on the other."
    half = {place: reading.some(first) for place, reading in swept.readings.items() if place[1]}
    baseline = swept.baseline.some(first)
    safe = {place: reading for place, reading in half.items() if reading.kl.mean() < SAFE_KL}
    if not safe:
        return f"There is no multiplier but 0 that costs less than {SAFE_KL:g} nats, so none is proposed."
    moved = {place: (reading.paired - baseline.paired).mean() for place, reading in safe.items()}
    layer, multiplier = max(moved, key=lambda place: np.sign(place[1]) * moved[place])
    there = [m for at, m in safe if at == layer]
    largest = max(there) if max(there) > 0 else min(there)
    return Proposal(
        layer,
        multiplier,
        float(moved[layer, multiplier]),
        largest,
        float(swept.readings[layer, largest].some(second).kl.mean()),
        len(first),
        len(second),
    )


def _moved(
    model: SteerableModel, swept: Sweep, place: Place, controls: Sequence[Control], half: Sequence[int]
) -> Generator[Progress, None, np.ndarray]:
    """How far each of some controls moves the items of a half at one layer and multiplier: [controls]."""
    layer, multiplier = place
    runs = [(Steer(control[layer], layer, multiplier),) for control in controls]
    baseline, *scores = yield from score_runs(model, swept.items.some(half), runs)
    return np.array([(one.paired - baseline.paired).mean() for one in scores])


def verdict_on(swept: Sweep, place: Place, random: np.ndarray, shuffled: np.ndarray, indices: Sequence[int]) -> Verdict:
    """The verdict on a cell, by some of the items.

    Args:
        random, shuffled: how far controls of each kind, of the same norm, move these items: [controls]. With fewer than
            `CONTROLS` nothing is called an effect.
    """
    items = swept.items.some(indices)
    baseline, steered = swept.baseline.some(indices), swept.readings[place].some(indices)
    change = steered.paired - baseline.paired
    found = Verdict(
        layer=place[0],
        multiplier=place[1],
        effect=None,
        items=len(change),
        difference=mean_of(change),
        as_given=float((steered.value - baseline.value).mean()),
        random=reach(random),
        shuffled=reach(shuffled),
        controls=min(len(random), len(shuffled)),
        measure=_measure(swept),
        text="",
    )
    if items.are_lettered and np.isnan(baseline.both).all():
        text = "Not judged: no item could be asked in the other letter order, so the letter may be all there is."
        return replace(found, text=text)
    controls = {"random vectors": found.random, "vectors from shuffled labels": found.shuffled}
    against = objections(found.difference, controls)
    if not against and found.controls < CONTROLS:
        text = f"Not judged: that takes {CONTROLS} random and {CONTROLS} shuffled vectors beside it. {_numbers(found)}"
        return replace(found, text=text)
    return replace(found, effect=not against, text=_in_words(found, against))


def _in_words(found: Verdict, against: Sequence[str]) -> str:
    if not against:
        return f"An effect on this model. {_numbers(found)}"
    *most, last = against
    text = f"No effect on this model: {', '.join(most) + ' and ' if most else ''}{last}. {_numbers(found)}"
    if abs(found.as_given) >= LEAST and abs(found.difference.value) < abs(found.as_given) / 2:
        text += f" In the letter order given it is {found.as_given:+.2f}: that is the letter, not the behaviour."
    return text


def _numbers(found: Verdict) -> str:
    text = (
        f"At layer {found.layer}, × {found.multiplier:g}, the {found.measure} changes by "
        f"{found.difference.value:+.3f} (95 % interval {found.difference.ends('+.3f')}, "
        f"{found.items} items)"
    )
    if found.random and found.shuffled:
        text += (
            f"; {found.controls} random vectors of the same norm change it by {found.random[0]:+.3f} to "
            f"{found.random[1]:+.3f}, {found.controls} from shuffled labels by {found.shuffled[0]:+.3f} to "
            f"{found.shuffled[1]:+.3f}"
        )
    return text + "."


def _measure(swept: Sweep) -> str:
    if not swept.items.are_choices:
        return "preference for the matching answer in nats a token"
    orders = " over both letter orders" if swept.items.are_lettered else ""
    return f"probability of the matching answer{orders}"
