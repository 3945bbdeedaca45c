"""Positions and cues: where to steer, where to read and how to ask, compared on the same items.

An arm is one combination of steered positions, read position and answer cue. By default one factor at a time is moved
away from the base (steered after the prompt, read where it suits the pairs, no cue); the full grid is a choice.
Vectors of all read positions are added with the norm that the base's has at the layer: what is compared is where they
point, since how long they are is for the multiplier to set.
"""

import itertools
import json
from collections.abc import Generator, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from caa_core.data.pairs import Dataset
from caa_core.errors import InputError
from caa_core.measuring.sweep import RunScores, checked, score_runs
from caa_core.metrics.cache import digest
from caa_core.metrics.controls import CONTROLS, Control, ShuffledLabels, random_controls
from caa_core.metrics.estimates import interval, objections, reach
from caa_core.metrics.grid import check_multipliers
from caa_core.metrics.items import Items, choose_items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue
from caa_core.progress import Progress, within
from caa_core.steering.activations import ReadPosition
from caa_core.steering.interventions import AFTER_PROMPT, Positions, Steer
from caa_core.vectors.extraction import AUTOMATIC, extract
from caa_core.vectors.vector import SteeringVector

POSITIONS = ("last-prompt", "index:-2", "all", "after-prompt", "generated", "prompt")
READS = ("auto", "answer-mean", "last", "last-prompt", "-2")
# The instruction asks for a letter, and "(" begins one.
CUES, CUES_WITHOUT_LETTERS = ("none", "Answer:", "(", "instruction"), ("none", "Answer:")
SECOND_LAST = Positions("index", -2)
FACTORS = ("positions", "read", "cue")
MOST_CELLS = 2000
# Of controls, and the ends of how far each kind goes.
KINDS, ENDS, NONE = ("random", "shuffled"), ("low", "high"), (None, None)


@dataclass(frozen=True)
class StudyArm:
    """One way to steer, to read and to ask. `cue` is a name of `prompts.CUES`, or the words themselves."""

    positions: str = str(AFTER_PROMPT)
    read: str = str(AUTOMATIC)
    cue: str = "none"

    def differs(self, other: "StudyArm") -> list[str]:
        """The factors in which two arms differ."""
        return [factor for factor in FACTORS if getattr(self, factor) != getattr(other, factor)]


@dataclass(frozen=True)
class StudyRequest:
    """What is compared: the base's level of each factor is always among them.

    Levels are as `Positions.parse`, `ReadPosition.parse` and `Cue.parse` take them. full: every combination, in place
    of one factor at a time around the base.
    """

    positions: tuple[str, ...]
    reads: tuple[str, ...]
    cues: tuple[str, ...]
    full: bool = False

    @classmethod
    def of(
        cls,
        pairs: Dataset,
        items: Dataset,
        positions: Sequence[str] = (),
        reads: Sequence[str] = (),
        cues: Sequence[str] = (),
        full: bool = False,
    ) -> "StudyRequest":
        """For some data; what is empty is all that makes sense there. Raises InputError for unknown levels."""
        base = cls.base(pairs)
        reads = [str(ReadPosition.parse(level).of(pairs)) for level in reads or READS]
        cues = cues or (CUES if items.is_lettered else CUES_WITHOUT_LETTERS)
        return cls(
            _with(base.positions, [str(Positions.parse(level)) for level in positions or POSITIONS]),
            _with(base.read, reads),
            _with(base.cue, [_cue_name(level) for level in cues]),
            full,
        )

    @staticmethod
    def base(pairs: Dataset) -> StudyArm:
        """The arm that the others are compared with."""
        return StudyArm(read=str(AUTOMATIC.of(pairs)))

    def arms(self, base: StudyArm) -> list[StudyArm]:
        """All of them, those that share positions and cue beside each other."""
        grid = itertools.product(self.positions, self.cues, self.reads)
        arms = [StudyArm(positions, read, cue) for positions, cue, read in grid]
        return arms if self.full else [arm for arm in arms if len(arm.differs(base)) < 2]


def _with(base: str, levels: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(levels if base in levels else [base, *levels]))


def _cue_name(text: str) -> str:
    """A level as it is shown: the name of the instruction, not its words."""
    cue = Cue.parse(text)
    return "instruction" if cue.instruction else str(cue)


@dataclass(frozen=True)
class StudyRow:
    """One arm at one layer and multiplier.

    unsteered, steered: mean probability of the matching answer over both letter orders, or of free text its preference
    in nats a token. difference: steered less unsteered, item by item, with a bootstrap 95 % interval; as_given: the
    same in the letter order given. norm: of the vector as it was made; the base's is what it was added with. random,
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
    difference: float
    low: float
    high: float
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
    def of(cls, kept: dict[str, Any]) -> "StudyRow":
        """From `asdict` of one. Raises TypeError, KeyError or ValueError for anything else."""
        ranges = {kind: kept[kind] and tuple(map(float, kept[kind])) for kind in KINDS}
        row = cls(**{**kept, **ranges, "arm": StudyArm(**kept["arm"])})
        return replace(row, changes=tuple(map(float, row.changes)))

    @property
    def push(self) -> np.ndarray:
        """How far each item moves the way that the multiplier's sign asks for, [items]."""
        return np.sign(self.multiplier) * np.array(self.changes)

    @property
    def works(self) -> bool:
        """An effect, the way it should go."""
        return bool(self.effect) and self.push.mean() > 0

    def plain(self) -> dict[str, Any]:
        """As one line of a table."""
        row = asdict(self)
        dropped = {name: row.pop(name) for name in ("arm", *KINDS, "changes", "verdict")}
        ranges = {f"{kind}_{end}": x for kind in KINDS for end, x in zip(ENDS, dropped[kind] or NONE, strict=True)}
        return {**dropped["arm"], **row, **ranges, "verdict": self.verdict}


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
    def of(cls, kept: dict[str, Any]) -> "Study":
        """From a `summary`. Raises InputError for anything else."""
        try:
            parts = {name: kept[name] for name in cls.__dataclass_fields__}
            rows = tuple(StudyRow.of(row) for row in parts["rows"])
            lists = {name: tuple(map(str, parts[name])) for name in ("left_out", "skipped")}
            return cls(**{**parts, **lists, "rows": rows, "base": StudyArm(**parts["base"])})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError("The study that was kept cannot be read.") from error

    def summary(self) -> dict[str, Any]:
        """As plain data, with the answers in words."""
        return {**asdict(self), "answers": self.answers}

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


def study(
    model: SteerableModel,
    pairs: Dataset,
    dataset: Dataset,
    layers: Sequence[int],
    multipliers: Sequence[float] = (-1.0, 1.0),
    design: StudyRequest | None = None,
    controls: int = CONTROLS,
    known: MutableMapping[str, Any] | None = None,
) -> Generator[Progress | Study, None, Study]:
    """Measure every arm on the items of `dataset` that can be measured under all of them. Yields `Progress`, and the
    study as far as it has come.

    Args:
        pairs: what vectors are made from, anew for each read position.
        controls: of each kind for each arm, with its norm: vectors drawn at random, and made from the pairs with
            shuffled labels at its read position. With fewer than `CONTROLS` nothing is an effect.
        known: rows of earlier studies by all that they depend on: plain data, looked up and put in.

    Raises:
        InputError: no item can be measured everywhere, a layer or multiplier that cannot be, or too many cells.
    """
    known = {} if known is None else known
    design = design or StudyRequest.of(pairs, dataset)
    base = design.base(pairs)
    layers = [model.check_layer(layer) for layer in dict.fromkeys(layers)]
    multipliers = [m for m in check_multipliers(multipliers) if m]
    arms = design.arms(base)
    if not layers or not multipliers:
        raise InputError("Choose at least one layer, and a multiplier other than 0.")
    if len(arms) * len(layers) * len(multipliers) > MOST_CELLS:
        raise InputError(f"{_size(arms, layers, multipliers)} are too many; {MOST_CELLS} cells at most.")
    asked, skipped = yield from _same_items(model, dataset, arms)
    common = next(iter(asked.values()))
    names = _Names(model, pairs, common, controls)
    vectors, left_out = yield from _vectors(model, pairs, layers, multipliers, arms, names, known, controls)
    arms = [arm for arm in arms if arm.read in vectors]
    if base not in arms:
        raise InputError(left_out[base.read])
    places = list(itertools.product(layers, multipliers))
    settings = asdict(design) | {"layers": layers, "multipliers": multipliers, "controls": controls}
    measure = "probability of the matching answer" if common.are_choices else "preference, nats a token"
    shell = Study(
        (),
        base,
        len(arms) * len(places),
        measure,
        len(common.pairs),
        tuple(left_out.values()),
        tuple(skipped),
        {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()},
        _provenance(model, pairs, dataset),
    )
    rows = {
        name: StudyRow.of(known[name]) for arm in arms for place in places if (name := names.of(arm, place)) in known
    }
    norms = _norms_of(base, places, vectors, rows, names)

    def so_far() -> Study:
        order = (names.of(arm, place) for arm in arms for place in places)
        return replace(shell, rows=tuple(rows[name] for name in order if name in rows))

    # A pass over the prompt is what an arm costs that steers all of it, and most of what the others cost.
    progress = Progress(shell.cells, "cells", shell.cells, done=len(rows), cost=len(rows), resumed=len(rows))
    yield progress
    for (positions, cue), items in asked.items():
        here = [arm for arm in arms if (arm.positions, arm.cue) == (positions, cue)]
        wanted = [(arm, place) for arm in here for place in places if names.of(arm, place) not in rows]
        if not wanted:
            continue
        work = _measured(model, items, wanted, vectors, norms)
        found = yield from within(progress, work, len(wanted))
        rows.update({names.of(row.arm, (row.layer, row.multiplier)): row for row in found})
        known.update({names.of(row.arm, (row.layer, row.multiplier)): asdict(row) for row in found})
        progress.done = len(rows)
        yield progress
        yield so_far()
    return so_far()


def size(
    pairs: Dataset, design: StudyRequest, layers: Sequence[int], multipliers: Sequence[float], controls: int
) -> str:
    """How much work a study is, in words, before it is done."""
    beside = f", each beside {controls} random vectors and {controls} from shuffled labels" if controls else ""
    return f"{_size(design.arms(design.base(pairs)), layers, [m for m in multipliers if m])}{beside}"


def _size(arms: Sequence[StudyArm], layers: Sequence[int], multipliers: Sequence[float]) -> str:
    cells = len(arms) * len(layers) * len(multipliers)
    parts = ((arms, "combination"), (layers, "layer"), (multipliers, "multiplier"))
    return " × ".join(f"{len(part)} {word}{'s' * (len(part) != 1)}" for part, word in parts) + f" = {cells} cells"


def _same_items(
    model: SteerableModel, dataset: Dataset, arms: Sequence[StudyArm]
) -> Generator[Progress, None, tuple[dict[tuple[str, str], Items], list[str]]]:
    """By positions and cue, the items that can be measured under all of them; and why others are left out."""
    asked = {}
    for positions, cue in dict.fromkeys((arm.positions, arm.cue) for arm in arms):
        asked[positions, cue] = yield from choose_items(model, dataset, Positions.parse(positions), Cue.parse(cue))
    lines = set.intersection(*({pair.line for pair in items.pairs} for items in asked.values()))
    if not lines:
        raise InputError(f"No item of {dataset.name} can be measured under every position and cue that is compared.")
    skipped = dict.fromkeys(reason for items in asked.values() for reason in items.skipped)
    same = {
        key: items.some([i for i, pair in enumerate(items.pairs) if pair.line in lines]) for key, items in asked.items()
    }
    return same, list(skipped)


class _Names:
    """Names of rows for all that they depend on."""

    def __init__(self, model: SteerableModel, pairs: Dataset, items: Items, controls: int):
        asked = [[pair.prompt, pair.positive, pair.negative] for pair in items.pairs]
        shared = [model.fingerprint, str(model.dtype), model.device.type, model.template_sha256]
        self._shared = digest(json.dumps([*shared, pairs.records(), asked, controls, KINDS, "one norm"]).encode())

    def of(self, arm: StudyArm, place: tuple[int, float]) -> str:
        return digest(json.dumps([self._shared, *vars(arm).values(), *place]).encode())

    def undefined(self, read: str) -> str:
        """Of the reason why there is no vector of a read position."""
        return digest(json.dumps([self._shared, read]).encode())


@dataclass(frozen=True)
class _StudyVectors:
    """A vector, and its controls of each of `KINDS`."""

    vector: SteeringVector
    controls: tuple[list[Control], ...]

    def at(self, layer: int, norm: float) -> list[torch.Tensor]:
        """The vector and then all controls, which are as long as it is, brought to `norm`."""
        all_of_it = [self.vector.at(layer), *(control[layer] for kind in self.controls for control in kind)]
        return [one * (norm / self.vector.norm(layer)) for one in all_of_it]


def _made(
    model: SteerableModel, pairs: Dataset, layers: Sequence[int], read_at: ReadPosition, controls: int
) -> Generator[Progress, None, _StudyVectors]:
    """All from one pass over the pairs."""
    if not controls:
        return _StudyVectors((yield from extract(model, pairs, layers, read=read_at)), ([], []))
    shuffled = ShuffledLabels(pairs, controls, 0)
    vector = yield from extract(model, pairs, layers, read=read_at, also=[shuffled])
    layers = list(vector.layers)
    return _StudyVectors(vector, (random_controls(vector, layers, controls), shuffled.controls(vector, layers)))


def _vectors(
    model: SteerableModel,
    pairs: Dataset,
    layers: Sequence[int],
    multipliers: Sequence[float],
    arms: Sequence[StudyArm],
    names: _Names,
    known: MutableMapping[str, Any],
    controls: int,
) -> Generator[Progress, None, tuple[dict[str, _StudyVectors | None], dict[str, str]]]:
    """By read position its vector and controls, None where nothing is left to be measured with them; and why others
    have none.
    """
    vectors, left_out = {}, {}
    places = list(itertools.product(layers, multipliers))
    for position in dict.fromkeys(arm.read for arm in arms):
        name = names.undefined(position)
        if name in known:
            left_out[position] = known[name]
            continue
        there = (names.of(arm, place) in known for arm in arms if arm.read == position for place in places)
        if all(there):
            vectors[position] = None
            continue
        try:
            vectors[position] = yield from _made(model, pairs, layers, ReadPosition.parse(position), controls)
        except InputError as error:
            left_out[position] = known[name] = f"Read position {position}: {error}"
    return vectors, left_out


def _norms_of(
    arm: StudyArm,
    places: Sequence[tuple[int, float]],
    vectors: dict[str, _StudyVectors | None],
    rows: dict[str, StudyRow],
    names: _Names,
) -> dict[int, float]:
    """By layer the norm of an arm's vector, which is in its row where the vector is not made again."""
    made = vectors[arm.read]
    return {place[0]: made.vector.norm(place[0]) if made else rows[names.of(arm, place)].norm for place in places}


def _measured(
    model: SteerableModel,
    items: Items,
    wanted: Sequence[tuple[StudyArm, tuple[int, float]]],
    vectors: dict[str, _StudyVectors | None],
    norms: dict[int, float],
) -> Generator[Progress, None, list[StudyRow]]:
    """Rows of arms that share their positions and their cue, and so the unsteered model's numbers."""
    added = [(layer, m, vectors[arm.read].at(layer, norms[layer])) for arm, (layer, m) in wanted]
    runs = [(Steer(one, layer, m),) for layer, m, all_of_it in added for one in all_of_it]
    baseline, *readings = yield from score_runs(model, items, runs)
    come, rows = iter(readings), []
    for (arm, place), (*_, all_of_it) in zip(wanted, added, strict=True):
        steered, *beside = itertools.islice(come, len(all_of_it))
        norm = vectors[arm.read].vector.norm(place[0])
        rows.append(_row(items, arm, place, norm, baseline, checked(place, steered), beside))
    return rows


def _row(
    items: Items,
    arm: StudyArm,
    place: tuple[int, float],
    norm: float,
    baseline: RunScores,
    steered: RunScores,
    controls: Sequence[RunScores],
) -> StudyRow:
    change = steered.paired - baseline.paired
    difference, (low, high) = float(change.mean()), interval(change)
    moved = np.array([(control.paired - baseline.paired).mean() for control in controls]).reshape(len(KINDS), -1)
    random, shuffled = map(reach, moved)
    against = objections(difference, low, high, {"random vectors": random, "vectors from shuffled labels": shuffled})
    effect, verdict = not against, "No effect: " + ", ".join(against)
    if items.are_lettered and np.isnan(baseline.both).all():
        effect, verdict = None, "Not judged: no item has another letter order, so the letter may be all there is"
    elif not against:
        wrong = difference * place[1] < 0
        verdict = "An effect, but the other way" if wrong else "An effect"
        if moved.shape[1] < CONTROLS:
            effect, verdict = None, f"Not judged: that takes {CONTROLS} controls of each kind beside it"
    mass = (float(one.mass.mean()) if items.are_choices else None for one in (baseline, steered))
    return StudyRow(
        arm,
        *place,
        len(change),
        norm,
        float(baseline.paired.mean()),
        float(steered.paired.mean()),
        difference,
        low,
        high,
        float((steered.value - baseline.value).mean()),
        random,
        shuffled,
        moved.shape[1],
        *mass,
        float(steered.kl.mean()),
        effect,
        verdict,
        tuple(change.tolist()),
    )


def _provenance(model: SteerableModel, pairs: Dataset, dataset: Dataset) -> dict[str, Any]:
    return {
        **model.provenance,
        "pairs": pairs.name,
        "pairs_sha256": pairs.sha256,
        "num_pairs": len(pairs.pairs),
        "data": dataset.name,
        "data_sha256": dataset.sha256,
    }


def _answers(found: Study, layer: int) -> list[str]:
    at = f"Layer {layer}. " if len(found.layers) > 1 else ""
    positions, reads, cues = (found.at(layer, factor) for factor in FACTORS)
    told = [_furthest("steered position", positions), _alone(positions), _furthest("read position", reads)]
    told += [_norms(reads, found.base.read), _needed(cues, found.base.cue), _best_of_all(found, layer)]
    if found.rows[0].controls < CONTROLS:
        return [f"{at}Nothing is called an effect without {CONTROLS} controls of each kind beside it."]
    return [at + sentence for sentence in told if sentence]


def _push(rows: Sequence[StudyRow]) -> np.ndarray:
    """How far each item moves the way it should, mean over the multipliers, [items]."""
    return np.mean([row.push for row in rows], axis=0)


def _numbers(rows: Sequence[StudyRow]) -> str:
    low, high = interval(_push(rows))
    return f"{_push(rows).mean():+.3f} ({low:+.3f} to {high:+.3f})"


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
    low, high = interval(_push(one) - _push(other))
    return low <= 0 <= high


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
