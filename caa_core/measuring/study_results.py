"""What a study of positions and cues found: its rows, and what they answer, in sentences. No model is run in here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from caa_core.metrics.correction import holm, paired_p
from caa_core.metrics.cross_fitting import BEYOND, EFFECT, LEVEL, NONE_SHOWN, UNDECIDED, grade
from caa_core.metrics.estimates import LEAST, Estimate, Share, mean_of, objections
from caa_core.metrics.plain_data import FLAT, SHARED, plain, restored
from caa_core.steering.interventions import AFTER_PROMPT, Positions
from caa_core.steering.read_position import ReadPosition

SECOND_LAST = Positions("index", -2)
FACTORS = ("positions", "read", "cue", "asked")
# Ways to ask the same: what holds as the items are may not hold otherwise.
AS_IS, IN_A_ROLE, REWORDED, BARE = "as it is", "in a role", "in other words", "without the template"
ASKED = (AS_IS, IN_A_ROLE, REWORDED, BARE)
# Of controls.
KINDS = ("random", "shuffled")
# Of a list in a sentence.
MOST_LISTED = 12
WHAT = "The study that was"


@dataclass(frozen=True)
class StudyArm:
    """One way to steer, to read and to ask. `cue` is a name of `prompts.CUES`, or the words themselves; `asked` is one
    of `ASKED`.
    """

    positions: str = str(AFTER_PROMPT)
    read: str = str(ReadPosition())
    cue: str = "none"
    asked: str = field(default=AS_IS, metadata={"unsaid": AS_IS})

    @property
    def how(self) -> tuple[str, str, str]:
        """What arms have in common that share the unsteered model's numbers."""
        return self.positions, self.cue, self.asked

    @property
    def name(self) -> str:
        """All of it; that the items are asked as they are is not said."""
        return " · ".join([self.positions, self.read, self.cue, *([] if self.asked == AS_IS else [self.asked])])

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
    without controls. kl: in nats, mean over the answers' positions. changes: item by item. estimate: to first order, in
    nats a token for a multiplier of 1 (of lettered answers, in log odds); p: among 999 controls of each kind, corrected
    over all arms and layers; None where it was not judged, or before there were grades. grade: "effect", "not decided"
    or "none shown", or empty; effect: the same as True, None and False, whichever way it goes. anti_steerable: of the
    prompts that move, the share pushed against the multiplier's sign, unchanged: how many do not move; wrong_random,
    wrong_shuffled: the least and the most of that share under each kind of controls, by exact passes as `random` and
    `shuffled`. None in what was kept before.
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
    estimate: float | None = None
    p: float | None = None
    grade: str = ""
    anti_steerable: Share | None = field(default=None, metadata=FLAT)
    unchanged: int | None = None
    wrong_random: tuple[float, float] | None = None
    wrong_shuffled: tuple[float, float] | None = None

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

    @property
    def is_judged(self) -> bool:
        """Whether controls stand beside it; what was kept before there were grades says whether it is an effect."""
        return self.p is not None or (not self.grade and self.effect is not None)

    def columns(self) -> dict[str, Any]:
        """As one line of a table."""
        row = plain(self, without=["changes"])
        arm, verdict = row.pop("arm"), row.pop("verdict")
        names = [*KINDS, *(f"wrong_{kind}" for kind in KINDS)]
        ranges = {name: row.pop(name) or (None, None) for name in names}
        ends = {f"{name}_{end}": x for name in names for end, x in zip(("low", "high"), ranges[name], strict=True)}
        return {**arm, **row, **ends, "verdict": verdict}


@dataclass(frozen=True, eq=False)
class Study:
    """A study, or as much of it as has come; `cells` is how many rows it has at its end.

    left_out: arms that there cannot be, and items that are left out everywhere, each with the reason. prompts: the
    number of each item's prompt; where there are none, as in what was kept before, each item is one.
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
    prompts: tuple[int, ...] = ()

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
        if not self.rows[0].is_judged:
            why = self.rows[0].verdict.rstrip(".")
            return [f"{why}."]
        positions, reads, cues, asked = (_Levels.of(self, factor) for factor in FACTORS)
        everything = _Levels.of(self, "")
        return [
            (f"Layer {layer}. " if len(self.layers) > 1 else "") + sentence
            for layer in self.layers
            for sentence in (
                positions.furthest("steered position", layer),
                positions.alone(layer),
                reads.furthest("read position", layer),
                _norms(reads.by_layer[layer], self.base.read),
                cues.needed(self.base.cue, layer),
                asked.held(self.base.asked, layer),
                everything.furthest("combination", layer) if self.is_grid else "",
            )
            if sentence
        ]

    @property
    def is_grid(self) -> bool:
        return any(len(row.arm.differs(self.base)) > 1 for row in self.rows)

    def everything_at(self, layer: int) -> dict[str, list[StudyRow]]:
        """The rows at a layer by their arm."""
        found: dict[str, list[StudyRow]] = {}
        for row in self.rows:
            if row.layer == layer:
                found.setdefault(row.arm.name, []).append(row)
        return found


def ungraded(row: StudyRow, why: str) -> StudyRow:
    """A row of which there is a figure and no verdict."""
    said = UNDECIDED if why.startswith("Not decided") else ""
    return replace(row, effect=None, verdict=why, grade=said)


def graded(row: StudyRow, estimate: float, p: float, choices: bool) -> StudyRow:
    """A row with its grade, by its first-order estimate and its corrected p.

    choices: whether a probability is measured, of which log odds change a quarter at most.
    """
    expected = row.multiplier * estimate * (0.25 if choices else 1.0)
    way = 1 if expected > 0 else -1
    said = grade(p, way, row.difference, expected)
    against = objections(row.difference, {"random vectors": row.random, "vectors from shuffled labels": row.shuffled})
    if said == EFFECT and against:
        said = UNDECIDED
    if said == EFFECT:
        verdict = "An effect, with the vector" if estimate > 0 else "A backwards effect, against the vector"
    elif said == NONE_SHOWN:
        verdict = "None shown: vectors that should do nothing do as much"
    elif p > LEVEL:
        verdict = f"Not decided: it moves more than {BEYOND:g} times as far as to first order, which p is of"
    else:
        against = against or ["exact passes move the answers the other way than the estimate says"]
        verdict = f"Not decided: told from controls, but {' and '.join(against)}"
    effect = {EFFECT: True, UNDECIDED: None, NONE_SHOWN: False}[said]
    verdict = f"{verdict} (p = {p:.2g})"
    return replace(row, effect=effect, verdict=verdict, estimate=estimate, p=p, grade=said)


def _push(rows: Sequence[StudyRow]) -> np.ndarray:
    """How far each item moves the way it should, mean over the multipliers, [items]."""
    return np.mean([row.push for row in rows], axis=0)


def _moved(rows: Sequence[StudyRow]) -> float:
    return float(_push(rows).mean())


def _listed(names: Sequence[str], levels: dict[str, list[StudyRow]]) -> str:
    return _some([f"{name} {_moved(levels[name]):+.3f}" for name in names])


def _some(said: Sequence[str]) -> str:
    """The first of a list, and how many more there are."""
    more = len(said) - MOST_LISTED
    return ", ".join([*said[:MOST_LISTED], *([f"{more} more"] if more > 0 else [])])


def _way(levels: dict[str, list[StudyRow]]) -> str:
    """Added to "no effect" where there is one, but not the way that the multiplier asks for."""
    return " the way it should" if any(row.effect for rows in levels.values() for row in rows) else ""


def _working(levels: dict[str, list[StudyRow]]) -> list[str]:
    """Levels with an effect at one multiplier or more, the one that moves the answers furthest first."""
    working = [level for level, rows in levels.items() if any(row.works for row in rows)]
    return sorted(working, key=lambda level: -_moved(levels[level]))


def _none_shown(rows: Sequence[StudyRow]) -> bool:
    """Whether nothing is left undecided."""
    return all(row.effect is False for row in rows)


@dataclass(frozen=True)
class _Levels:
    """The levels of a factor by layer; and by layer and two levels the p of their paired difference over the same
    items, corrected over all pairs of levels at all layers (Holm).
    """

    by_layer: dict[int, dict[str, list[StudyRow]]]
    prompts: tuple[int, ...]
    p: dict[tuple[int, str, str], float]

    @classmethod
    def of(cls, found: Study, factor: str) -> "_Levels":
        """factor: one of `FACTORS`, or empty for whole arms."""
        by_layer = {layer: found.at(layer, factor) if factor else found.everything_at(layer) for layer in found.layers}
        pairs = [(layer, *two) for layer, levels in by_layer.items() for two in combinations(levels, 2)]
        pushes = {(layer, level): _push(rows) for layer, levels in by_layer.items() for level, rows in levels.items()}
        apart = [pushes[layer, one] - pushes[layer, other] for layer, one, other in pairs]
        prompts = found.prompts or tuple(range(found.rows[0].items))
        corrected = holm(paired_p(np.array(apart), prompts)) if pairs else np.zeros(0)
        return cls(by_layer, prompts, dict(zip(pairs, map(float, corrected), strict=True)))

    def difference(self, layer: int, one: str, other: str) -> Estimate:
        levels = self.by_layer[layer]
        return mean_of(_push(levels[one]) - _push(levels[other]), self.prompts)

    def ahead(self, layer: int, one: str, other: str) -> bool:
        """Whether one level clearly moves the answers further than another: by its corrected p and its interval."""
        p = self.p.get((layer, one, other), self.p.get((layer, other, one), 1.0))
        return p <= LEVEL and self.difference(layer, one, other).low > 0

    def number(self, layer: int, level: str) -> str:
        """How far a level moves the answers, with its interval."""
        return f"{mean_of(_push(self.by_layer[layer][level]), self.prompts):+.3f}"

    def furthest(self, what: str, layer: int) -> str:
        """Which levels have an effect, and whether one moves the answers furthest."""
        levels = self.by_layer[layer]
        if len(levels) < 2:
            return ""
        working = _working(levels)
        if not working:
            return f"No {what} is shown to have an effect{_way(levels)} on this model ({_some([*levels])})."
        best = working[0]
        same = [
            one for one in levels if one != best and np.allclose(_push(levels[one]), _push(levels[best]), atol=1e-5)
        ]
        others = [one for one in levels if one not in (best, *same)]
        less = [one for one in others if self.ahead(layer, best, one)]
        close = [one for one in others if one not in less]
        return "; ".join(self._compared(what, layer, best, (same, close, less))) + "."

    def _compared(
        self, what: str, layer: int, best: str, groups: tuple[list[str], list[str], list[str]]
    ) -> Iterator[str]:
        """What is said of the level that moves the answers furthest, and of others."""
        levels, (same, close, less) = self.by_layer[layer], groups
        number = self.number(layer, best)
        if close:
            yield f"An effect is shown with the {what} {_listed(_working(levels), levels)}"
            yield (
                f"which {what} moves the answers furthest is not decided: {best}, {number}, is not told apart from "
                + (_listed(close, levels))
            )
        else:
            yield f"The {what} {best} moves the answers furthest, {number}"
        if same:
            yield f"{_some(same)} {'is' if len(same) == 1 else 'are'} the same thing here"
        if less:
            yield f"clearly less than {best}: {_listed(less, levels)}"
        if none := [level for level, rows in levels.items() if _none_shown(rows)]:
            yield f"no effect is shown: {_listed(none, levels)}"

    def alone(self, layer: int) -> str:
        """What steering the second last token of the prompt by itself does."""
        levels = self.by_layer[layer]
        name = str(SECOND_LAST)
        if name not in levels:
            return ""
        does = "has an effect" if name in _working(levels) else "is not shown to have an effect"
        return f"Steering the second last token of the prompt alone {does}: {self.number(layer, name)}."

    def needed(self, none: str, layer: int) -> str:
        """Whether it takes a cue: only where with one it clearly does more, and without one what counts as an effect is
        ruled out; that none is shown is not enough.
        """
        levels = self.by_layer[layer]
        if len(levels) < 2:
            return ""
        working, cues = _working(levels), [level for level in levels if level != none]
        if not working:
            return f"No cue is shown to bring an effect{_way(levels)} about ({_some(cues)}), and none is without."
        without = f"without one it is {self.number(layer, none)}"
        if none not in working:
            ahead = [cue for cue in working if self.ahead(layer, cue, none)]
            cue = [*ahead, *working][0]
            apart = f"with {cue}, {self.number(layer, cue)}; apart by {self.difference(layer, cue, none):+.3f}"
            if ahead and mean_of(_push(levels[none]), self.prompts).high < LEAST:
                return f"It needs a cue: {without}, and {LEAST:g} is ruled out; {apart}."
            shown = "no effect is shown" if _none_shown(levels[none]) else "that is not decided"
            if ahead:
                return f"It does clearly more with a cue: {apart}; {without}, and {shown}, which is not none."
            return f"Whether it needs a cue is not decided: an effect is shown {apart}; {without}, and {shown}."
        text = f"It needs no cue: {without}"
        more = [cue for cue in cues if self.ahead(layer, cue, none)]
        less = [cue for cue in cues if self.ahead(layer, none, cue)]
        text += f"; clearly more with {_listed(more, levels)}" if more else ""
        text += f"; clearly less with {_listed(less, levels)}" if less else ""
        same = [cue for cue in cues if cue not in more + less]
        return text + (f"; not told apart from that: {_listed(same, levels)}." if same else ".")

    def held(self, base: str, layer: int) -> str:
        """Whether an effect holds where the same is asked otherwise, which takes one as the items are."""
        levels = self.by_layer[layer]
        others, working = [level for level in levels if level != base], _working(levels)
        if not others:
            return ""
        as_is = f"as it is, {self.number(layer, base)}"
        if base not in working:
            shown = [level for level in others if level in working]
            some = f"; it is {_listed(shown, levels)}" if shown else f", nor is one {_some(others)}"
            return (
                f"Whether an effect holds where the same is asked otherwise is not judged: none is shown {as_is}{some}."
            )
        parts = []
        if kept := [level for level in others if level in working]:
            parts.append(f"The effect holds where the same is asked otherwise: {_listed(kept, levels)}; {as_is}")
        if lost := [level for level in others if level not in working]:
            said = (
                "it is not shown to hold"
                if parts
                else "The effect is not shown to hold where the same is asked otherwise"
            )
            parts.append(f"{said}: {_listed(lost, levels)}" + ("" if kept else f"; {as_is}"))
        if less := [level for level in others if self.ahead(layer, base, level)]:
            parts.append(f"clearly less than as it is: {_some(less)}")
        if more := [level for level in others if self.ahead(layer, level, base)]:
            parts.append(f"clearly more than as it is: {_some(more)}")
        return "; ".join(parts) + "."


def _norms(levels: dict[str, list[StudyRow]], base: str) -> str:
    if len(levels) < 2:
        return ""
    norms = ", ".join(f"{level} {rows[0].norm:.2f}" for level, rows in levels.items())
    return f"Norms of their vectors: {norms}. All are added with that of {base}: only where they point differs."
