"""What a study of positions and cues found: its rows, and what they answer, in sentences. No model is run in here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caa_core.metrics.cross_fitting import TOO_FEW
from caa_core.metrics.estimates import Estimate, mean_of
from caa_core.metrics.grid import CONTROLS
from caa_core.metrics.plain_data import SHARED, plain, restored
from caa_core.steering.interventions import AFTER_PROMPT, Positions
from caa_core.steering.read_position import ReadPosition

SECOND_LAST = Positions("index", -2)
FACTORS = ("positions", "read", "cue")
# Of controls.
KINDS = ("random", "shuffled")
WHAT = "The study that was"


@dataclass(frozen=True)
class StudyArm:
    """One way to steer, to read and to ask. `cue` is a name of `prompts.CUES`, or the words themselves."""

    positions: str = str(AFTER_PROMPT)
    read: str = str(ReadPosition())
    cue: str = "none"

    def differs(self, other: "StudyArm") -> list[str]:
        """The factors in which two arms differ."""
        return [factor for factor in FACTORS if getattr(self, factor) != getattr(other, factor)]


@dataclass(frozen=True)
class StudyRow:
    """One arm at one layer and multiplier.

    unsteered, steered: mean probability of the matching answer over both letter orders, or of free text its preference
    in nats a token. difference: steered less unsteered, item by item; as_given: its mean in the letter order given.
    norm: of the vector as it was made; the base's is what it was added with. random,
    shuffled: the least and the most that `controls` vectors of the norm that was added, drawn at random and made from
    the pairs with shuffled labels, change it under the same positions and cue, where no change lies between; None
    without controls. kl: in nats, mean over the answers' positions. effect: None where it cannot be told. changes: item
    by item.
    """

    arm: StudyArm
    layer: int
    multiplier: float
    items: int
    norm: float
    unsteered: float
    steered: float
    difference: Estimate = field(metadata=SHARED)
    as_given: float
    random: tuple[float, float] | None
    shuffled: tuple[float, float] | None
    controls: int
    mass_unsteered: float | None
    mass: float | None
    kl: float
    effect: bool | None
    verdict: str
    changes: tuple[float, ...]

    @classmethod
    def of(cls, kept: Any) -> "StudyRow":
        """From what `plain` made of one. Raises InputError for anything else."""
        return restored(cls, kept, WHAT)

    @property
    def push(self) -> np.ndarray:
        """How far each item moves the way that the multiplier's sign asks for, [items]."""
        return np.sign(self.multiplier) * np.array(self.changes)

    @property
    def works(self) -> bool:
        """An effect, the way it should go."""
        return bool(self.effect) and self.push.mean() > 0

    def columns(self) -> dict[str, Any]:
        """As one line of a table."""
        row = plain(self, without=["changes"])
        arm, verdict = row.pop("arm"), row.pop("verdict")
        ranges = {kind: row.pop(kind) or (None, None) for kind in KINDS}
        ends = {f"{kind}_{end}": x for kind in KINDS for end, x in zip(("low", "high"), ranges[kind], strict=True)}
        return {**arm, **row, **ends, "verdict": verdict}


@dataclass(frozen=True, eq=False)
class Study:
    """A study, or as much of it as has come; `cells` is how many rows it has at its end.

    left_out: arms that there cannot be, and items that are left out everywhere, each with the reason.
    """

    rows: tuple[StudyRow, ...]
    base: StudyArm
    cells: int
    measure: str
    items: int
    left_out: tuple[str, ...]
    skipped: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Any) -> "Study":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, WHAT)

    def summary(self) -> dict[str, Any]:
        """As plain data, with the answers in words."""
        return {**plain(self), "answers": self.answers}

    @property
    def layers(self) -> list[int]:
        return sorted({row.layer for row in self.rows})

    def at(self, layer: int, factor: str) -> dict[str, list[StudyRow]]:
        """The rows at a layer that differ from the base in that factor at most, by the factor's level."""
        found: dict[str, list[StudyRow]] = {}
        for row in self.rows:
            if row.layer == layer and row.arm.differs(self.base) in ([], [factor]):
                found.setdefault(getattr(row.arm, factor), []).append(row)
        return found

    @property
    def answers(self) -> list[str]:
        """What it says to the questions that it was made for, in sentences."""
        if len(self.rows) < self.cells:
            return [f"Not finished: {len(self.rows)} of {self.cells} cells."]
        return [sentence for layer in self.layers for sentence in _answers(self, layer)]


def _answers(found: Study, layer: int) -> list[str]:
    at = f"Layer {layer}. " if len(found.layers) > 1 else ""
    positions, reads, cues = (found.at(layer, factor) for factor in FACTORS)
    told = [_furthest("steered position", positions), _alone(positions), _furthest("read position", reads)]
    told += [_norms(reads, found.base.read), _needed(cues, found.base.cue), _best_of_all(found, layer)]
    if TOO_FEW in found.rows[0].verdict:
        return [f"{at}{found.rows[0].verdict}."]
    if found.rows[0].controls < CONTROLS:
        return [f"{at}Nothing is called an effect without {CONTROLS} controls of each kind beside it."]
    return [at + sentence for sentence in told if sentence]


def _push(rows: Sequence[StudyRow]) -> np.ndarray:
    """How far each item moves the way it should, mean over the multipliers, [items]."""
    return np.mean([row.push for row in rows], axis=0)


def _numbers(rows: Sequence[StudyRow]) -> str:
    return f"{mean_of(_push(rows)):+.3f}"


def _working(levels: dict[str, list[StudyRow]]) -> dict[str, list[StudyRow]]:
    """Levels with an effect at one multiplier or more, the one that moves the answers furthest first."""
    working = {level: rows for level, rows in levels.items() if any(row.works for row in rows)}
    return dict(sorted(working.items(), key=lambda level: -_push(level[1]).mean()))


def _furthest(what: str, levels: dict[str, list[StudyRow]]) -> str:
    if len(levels) < 2:
        return ""
    working = _working(levels)
    if not working:
        return f"No {what} has an effect{_way(levels)} on this model ({', '.join(levels)})."
    best, *others = working
    text = f"The {what} {best} moves the answers furthest, {_numbers(working[best])}"
    same = [level for level in others if np.allclose(_push(working[level]), _push(working[best]), atol=1e-5)]
    close = [level for level in others if level not in same and _is_close(working[best], working[level])]
    ahead = [level for level in others if level not in same + close]
    if same:
        text += f", and so does {', '.join(same)}, which is the same thing here"
    if close:
        text += f"; not told apart from it: {_listed(close, working)}"
    if ahead:
        text += f"; clearly less: {_listed(ahead, working)}"
    if idle := [level for level in levels if level not in working]:
        text += f"; no effect: {_listed(idle, levels)}"
    return f"{text}."


def _way(levels: dict[str, list[StudyRow]]) -> str:
    """Added to "no effect" where there is one, but not the way that the multiplier asks for."""
    return " the way it should" if any(row.effect for rows in levels.values() for row in rows) else ""


def _is_close(one: Sequence[StudyRow], other: Sequence[StudyRow]) -> bool:
    apart = mean_of(_push(one) - _push(other))
    return apart.low <= 0 <= apart.high


def _listed(names: Sequence[str], levels: dict[str, list[StudyRow]]) -> str:
    return ", ".join(f"{name} {_push(levels[name]).mean():+.3f}" for name in names)


def _alone(levels: dict[str, list[StudyRow]]) -> str:
    rows = levels.get(str(SECOND_LAST))
    if not rows:
        return ""
    does = "has an effect" if str(SECOND_LAST) in _working(levels) else "has no effect"
    return f"Steering the second last token of the prompt alone {does}: {_numbers(rows)}."


def _norms(levels: dict[str, list[StudyRow]], base: str) -> str:
    if len(levels) < 2:
        return ""
    norms = ", ".join(f"{level} {rows[0].norm:.2f}" for level, rows in levels.items())
    return f"Norms of their vectors: {norms}. All are added with that of {base}: only where they point differs."


def _needed(levels: dict[str, list[StudyRow]], none: str) -> str:
    if len(levels) < 2:
        return ""
    working, cues = _working(levels), [level for level in levels if level != none]
    if not working:
        return f"No cue brings an effect{_way(levels)} about ({', '.join(cues)}), and there is none without."
    if none not in working:
        best, rows = next(iter(working.items()))
        without = f"without one there is no effect, {_numbers(levels[none])}"
        return f"It needs a cue: {without}; with {best}, {_numbers(rows)}."
    text = f"It needs no cue: without one it is {_numbers(levels[none])}"
    clear = [cue for cue in cues if not _is_close(levels[cue], levels[none])]
    more = [cue for cue in clear if _push(levels[cue]).mean() > _push(levels[none]).mean()]
    less = [cue for cue in clear if cue not in more]
    if more:
        text += f"; more with {_listed(more, levels)}"
    if less:
        text += f"; less with {_listed(less, levels)}"
    return text + ("." if clear else f"; cues do not change that clearly: {_listed(cues, levels)}.")


def _best_of_all(found: Study, layer: int) -> str:
    """For a grid: the combination that moves the answers furthest."""
    arms: dict[str, list[StudyRow]] = {}
    for row in found.rows:
        if row.layer == layer:
            arms.setdefault(" · ".join(vars(row.arm).values()), []).append(row)
    if all(len(rows[0].arm.differs(found.base)) < 2 for rows in arms.values()):
        return ""
    working = _working(arms)
    if not working:
        return f"None of the {len(arms)} combinations has an effect."
    best, rows = next(iter(working.items()))
    furthest = f"{best} moves the answers furthest, {_numbers(rows)}"
    return f"Of {len(arms)} combinations {len(working)} have an effect; {furthest}."
