"""Positions and cues: where to steer, where to read and how to ask, compared on the same items.

An arm is one combination of steered positions, read position, answer cue and way to ask. By default one factor at a
time is moved away from the base (steered after the prompt, read where it suits the pairs, no cue, asked as the items
are); the full grid is a choice. Vectors of all read positions are added with the norm that the base's has at the layer:
what is compared is where they point, since how long they are is for the multiplier to set.

Whether an arm has an effect is told by its first-order estimate among those of controls under the same positions and
cue, corrected over all arms and layers (see `metrics.correction`); how large it is, by exact passes.
"""

import copy
import itertools
from collections.abc import Generator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from caa_core.data.pairs import Dataset
from caa_core.data.presets import in_other_words
from caa_core.errors import InputError
from caa_core.measuring.requests import StudyRequest
from caa_core.measuring.study_results import (
    BARE,
    IN_A_ROLE,
    KINDS,
    REWORDED,
    WHAT,
    Study,
    StudyArm,
    StudyRow,
    graded,
    ungraded,
)
from caa_core.measuring.sweep import Place, RunScores, checked, score_runs
from caa_core.measuring.vector_controls import ENOUGH_LABELS, Ground, slopes_of
from caa_core.measuring.verdict import BY_PASSES_ALONE
from caa_core.metrics.anti_steerability import AntiSteerable, wrong_shares
from caa_core.metrics.cache import key
from caa_core.metrics.controls import Control, ShuffledLabels, random_controls
from caa_core.metrics.correction import among_controls
from caa_core.metrics.cross_fitting import CONTROLS as ESTIMATED
from caa_core.metrics.cross_fitting import too_few
from caa_core.metrics.estimates import by_prompt, ends, mean_of, reach
from caa_core.metrics.grid import parse_layers
from caa_core.metrics.items import Items, choose_items
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue
from caa_core.progress import Progress, within
from caa_core.steering.gradients import NoEstimateError
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.read_position import ReadPosition
from caa_core.vectors.extraction import extract
from caa_core.vectors.pair_differences import differences_of
from caa_core.vectors.splits import prompts_of
from caa_core.vectors.vector import SteeringVector

MOST_CELLS = 2000
# A role that has nothing to do with any behaviour, fixed before anything was measured.
ROLE = "You are the keeper of a lighthouse on a small island."

Cell = tuple[StudyArm, Place]
# Steered positions, cue and way to ask: what the unsteered model's numbers depend on.
How = tuple[str, str, str]
# An arm at a layer: what has an estimate, whatever the multiplier.
Spot = tuple[StudyArm, int]


@handed_over
def study(
    model: SteerableModel, request: StudyRequest, known: MutableMapping[str, Any] | None = None
) -> Generator[Progress | Study, None, Study]:
    """Measure every arm on the items that can be measured under all of them. Yields `Progress`, and the study as far as
    it has come.

    Args:
        known: rows of earlier studies by all that they depend on: plain data, looked up and put in.

    Raises:
        InputError: no item can be measured everywhere, a layer or multiplier that cannot be, or too many cells.
    """
    plan = _plan(model, request)
    plan, not_asked = _askable(plan, request)
    common, skipped = yield from _same_items(model, request, plan.arms)
    items = next(iter(common.values()))
    kept = _KeptRows({} if known is None else known, model, request, items)
    vectors, left_out = yield from _vectors_by_read(model, request, plan, kept)
    plan = plan.without(left_out)
    judged = yield from _judged(model, request, plan, kept, common, vectors)
    rows = kept.rows(plan.cells)
    norms = _norms(plan, vectors, rows)
    shell = Study(
        rows=(),
        base=plan.base,
        cells=len(plan.cells),
        measure="probability of the matching answer" if items.are_choices else "preference, nats a token",
        items=len(items.pairs),
        left_out=(*not_asked, *left_out.values()),
        skipped=tuple(skipped),
        prompts=tuple(items.judged_prompts),
        settings=request.settings() | {"layers": plan.layers, "multipliers": plan.multipliers},
        provenance=_provenance(model, request),
    )
    # A pass over the prompt is what an arm costs that steers all of it, and most of what the others cost.
    progress = Progress(shell.cells, "cells", shell.cells, done=len(rows), cost=len(rows), resumed=len(rows))
    yield progress
    for how, asked in common.items():
        wanted = [cell for cell in plan.cells_under(how) if cell not in rows]
        if wanted:
            work = _measure(asked_of(model, how[-1]), asked, wanted, vectors, norms)
            found = yield from within(progress, work, len(wanted))
            rows |= zip(wanted, found, strict=True)
            kept.put(found)
            progress.done = len(rows)
            yield progress
            yield _collect(shell, plan, rows, judged)
    return _collect(shell, plan, rows, judged)


def size(request: StudyRequest, num_layers: int) -> str:
    """How much work a study is, in words, before it is done."""
    layers, multipliers = parse_layers(request.layers, num_layers), [m for m in request.multipliers if m]
    count = request.controls
    beside = f", each beside {count} random vectors and {count} from shuffled labels" if count else ""
    return f"{_size(request.arms, layers, multipliers)}{beside}"


def _size(arms: Sequence[StudyArm], layers: Sequence[int], multipliers: Sequence[float]) -> str:
    cells = len(arms) * len(layers) * len(multipliers)
    parts = ((arms, "combination"), (layers, "layer"), (multipliers, "multiplier"))
    return " × ".join(f"{len(part)} {word}{'s' * (len(part) != 1)}" for part, word in parts) + f" = {cells} cells"


@dataclass(frozen=True)
class _StudyPlan:
    """Which arms are measured, at which layers and multipliers."""

    base: StudyArm
    arms: tuple[StudyArm, ...]
    layers: list[int]
    multipliers: list[float]

    @property
    def spots(self) -> list[Spot]:
        return list(itertools.product(self.arms, self.layers))

    @property
    def cells(self) -> list[Cell]:
        return list(itertools.product(self.arms, itertools.product(self.layers, self.multipliers)))

    def cells_under(self, how: How) -> list[Cell]:
        """Those that share the unsteered model's numbers."""
        return [(arm, place) for arm, place in self.cells if arm.how == how]

    def without(self, left_out: Mapping[str, str]) -> "_StudyPlan":
        """What is left where some read positions have no vector. Raises InputError, which says why, for the base's."""
        if self.base.read in left_out:
            raise InputError(left_out[self.base.read])
        return replace(self, arms=tuple(arm for arm in self.arms if arm.read not in left_out))


def _plan(model: SteerableModel, request: StudyRequest) -> _StudyPlan:
    """All that is asked for. Raises InputError where that cannot be, or is too much."""
    layers = parse_layers(request.layers, model.num_layers)
    multipliers = [m for m in request.multipliers if m]
    plan = _StudyPlan(request.base, tuple(request.arms), layers, multipliers)
    if not multipliers:
        raise InputError("Choose at least one layer, and a multiplier other than 0.")
    if len(plan.cells) > MOST_CELLS:
        raise InputError(f"{_size(plan.arms, layers, multipliers)} are too many; {MOST_CELLS} cells at most.")
    return plan


def asked_of(model: SteerableModel, way: str) -> SteerableModel:
    """The model as it is asked in one of `ASKED`: without the template it renders prompts as a base model's."""
    if way != BARE:
        return model
    tokenizer = copy.copy(model.tokenizer)
    tokenizer.chat_template = None
    return replace(model, tokenizer=tokenizer)


def _asked_as(items: Dataset, way: str) -> Dataset:
    """Items as they are asked in one of `ASKED`, line by line. Raises InputError where they have no second wording."""
    if way == IN_A_ROLE:
        told = ("\n".join(filter(None, (ROLE, pair.system))) for pair in items.pairs)
        pairs = (replace(pair, system=system) for pair, system in zip(items.pairs, told, strict=True))
        return replace(items, pairs=tuple(pairs))
    return in_other_words(items) if way == REWORDED else items


def _askable(plan: _StudyPlan, request: StudyRequest) -> tuple[_StudyPlan, list[str]]:
    """What is left where items have no second wording, and why."""
    reasons = {}
    for way in dict.fromkeys(arm.asked for arm in plan.arms):
        try:
            _asked_as(request.items, way)
        except InputError as error:
            reasons[way] = str(error)
    return replace(plan, arms=tuple(arm for arm in plan.arms if arm.asked not in reasons)), [*reasons.values()]


def _collect(shell: Study, plan: _StudyPlan, rows: Mapping[Cell, StudyRow], judged: "_Judged") -> Study:
    """The study as far as it has come."""
    return replace(shell, rows=tuple(judged.grade(rows[cell]) for cell in plan.cells if cell in rows))


def _same_items(
    model: SteerableModel, request: StudyRequest, arms: Sequence[StudyArm]
) -> Generator[Progress, None, tuple[dict[How, Items], list[str]]]:
    """By positions, cue and way to ask, the items that can be measured under all of these; and why others are not."""
    asked = {}
    for positions, cue, way in dict.fromkeys(arm.how for arm in arms):
        how, items = (Positions.parse(positions), Cue.parse(cue)), _asked_as(request.items, way)
        asked[positions, cue, way] = yield from choose_items(
            asked_of(model, way), items, *how, operation=request.operation
        )
    lines = set.intersection(*({pair.line for pair in items.pairs} for items in asked.values()))
    if not lines:
        raise InputError(
            f"No item of {request.items.name} can be measured under all positions, cues and ways to ask that are "
            "compared."
        )
    skipped = dict.fromkeys(reason for items in asked.values() for reason in items.skipped)
    same = {
        how: items.some([i for i, pair in enumerate(items.pairs) if pair.line in lines]) for how, items in asked.items()
    }
    return same, list(skipped)


class _KeptRows:
    """Rows of this study and earlier ones, each under a name for all that it depends on, and why read positions have
    no vector.
    """

    def __init__(self, known: MutableMapping[str, Any], model: SteerableModel, request: StudyRequest, items: Items):
        self._known, self._model = known, model
        done = [] if request.operation.is_addition else [request.operation]
        self._shared = key(model, request.pairs.pairs, items.pairs, request.controls, *done)

    def rows(self, cells: Sequence[Cell]) -> dict[Cell, StudyRow]:
        """Those that are known."""
        names = ((cell, self._name(cell)) for cell in cells)
        return {cell: StudyRow.of(self._known[name]) for cell, name in names if name in self._known}

    def put(self, rows: Sequence[StudyRow]) -> None:
        """Keep more of them."""
        self._known.update({self._name((row.arm, (row.layer, row.multiplier))): plain(row) for row in rows})

    def has_all(self, cells: Sequence[Cell]) -> bool:
        return all(self._name(cell) in self._known for cell in cells)

    def judged(self, spots: Sequence[Spot]) -> "_Judged | None":
        """What was estimated of this very list. Raises InputError where it cannot be read."""
        found = self._known.get(self._list_name(spots))
        return found and restored(_Judged, found, WHAT, spots=tuple(spots))

    def put_judged(self, judged: "_Judged") -> None:
        self._known[self._list_name(judged.spots)] = plain(judged, without=["spots"])

    def reason(self, read: str) -> str | None:
        """Why a read position has no vector, where that was found out."""
        return self._known.get(self._reason_name(read))

    def put_reason(self, read: str, reason: str) -> None:
        self._known[self._reason_name(read)] = reason

    def _name(self, cell: Cell) -> str:
        return key(self._model, self._shared, cell)

    def _list_name(self, spots: Sequence[Spot]) -> str:
        return key(self._model, self._shared, "estimates", list(spots))

    def _reason_name(self, read: str) -> str:
        return key(self._model, self._shared, read)


@dataclass(frozen=True)
class _StudyVectors:
    """A vector, and its controls of each of `KINDS`."""

    vector: SteeringVector
    controls: tuple[list[Control], ...]

    def at(self, layer: int, norm: float) -> list[torch.Tensor]:
        """The vector and then all controls, which are as long as it is, brought to `norm`."""
        all_of_it = [self.vector.at(layer), *(control[layer] for kind in self.controls for control in kind)]
        return [one * (norm / self.vector.norm(layer)) for one in all_of_it]


def _make_vectors(
    model: SteerableModel, request: StudyRequest, layers: Sequence[int], read_at: ReadPosition
) -> Generator[Progress, None, _StudyVectors]:
    """All from one pass over the pairs."""
    pairs, count = request.pairs, request.controls
    if not count:
        return _StudyVectors((yield from extract(model, pairs, layers, read=read_at)), ([], []))
    shuffled = ShuffledLabels(pairs, count, 0)
    vector = yield from extract(model, pairs, layers, read=read_at, also=[shuffled])
    layers = list(vector.layers)
    return _StudyVectors(vector, (random_controls(vector, layers, count), shuffled.controls(vector, layers)))


def _vectors_by_read(
    model: SteerableModel, request: StudyRequest, plan: _StudyPlan, kept: _KeptRows
) -> Generator[Progress, None, tuple[dict[str, _StudyVectors], dict[str, str]]]:
    """By read position its vector and controls, where something is left to be measured with them; and why others have
    none.
    """
    vectors, left_out = {}, {}
    # Which arms there are depends on which vectors there are, and what is estimated on which arms there are.
    there = [arm for arm in plan.arms if not kept.reason(arm.read)]
    estimated = kept.judged(replace(plan, arms=tuple(there)).spots)
    for read in dict.fromkeys(arm.read for arm in plan.arms):
        if reason := kept.reason(read):
            left_out[read] = reason
        elif not estimated or not kept.has_all([cell for cell in plan.cells if cell[0].read == read]):
            try:
                vectors[read] = yield from _make_vectors(model, request, plan.layers, ReadPosition.parse(read))
            except InputError as error:
                left_out[read] = f"Read position {read}: {error}"
                kept.put_reason(read, left_out[read])
    return vectors, left_out


@dataclass(frozen=True)
class _Judged:
    """What rows are graded by: of arms at layers their first-order estimates, in nats a token for a multiplier of 1
    (of lettered answers, in log odds), and their p among controls, corrected over all of them.

    why: the reason where nothing is judged, or not decided.
    """

    spots: tuple[Spot, ...]
    choices: bool
    estimates: tuple[float, ...] = ()
    p: tuple[float, ...] = ()
    why: str = ""

    @cached_property
    def _numbers(self) -> dict[Spot, int]:
        return {spot: number for number, spot in enumerate(self.spots)}

    def grade(self, row: StudyRow) -> StudyRow:
        """The row with its grade and in words."""
        if not self.p:
            return ungraded(row, self.why)
        number = self._numbers[row.arm, row.layer]
        return graded(row, self.estimates[number], self.p[number], self.choices)


def _judged(
    model: SteerableModel,
    request: StudyRequest,
    plan: _StudyPlan,
    kept: _KeptRows,
    common: Mapping[How, Items],
    vectors: Mapping[str, _StudyVectors],
) -> Generator[Progress, None, _Judged]:
    """Estimates of all arms and layers. Yields `Progress`."""
    if found := kept.judged(plan.spots):
        return found
    items = next(iter(common.values()))
    found = _Judged(tuple(plan.spots), items.are_choices, why=_not_judged(request, items))
    if not found.why:
        try:
            estimates, kinds = yield from _estimates(model, request, plan, common, vectors)
            found = replace(
                found, estimates=tuple(estimates.tolist()), p=tuple(among_controls(estimates, kinds).tolist())
            )
        except NoEstimateError as error:
            found = replace(found, why=f"Not decided: {error}")
    kept.put_judged(found)
    return found


def _not_judged(request: StudyRequest, items: Items) -> str:
    """Why there are figures and no verdicts; empty where there are some."""
    prompts = len(set(prompts_of(request.pairs.pairs)))
    if not request.operation.is_addition:
        return f"Not decided: {BY_PASSES_ALONE}"
    if few := too_few(len(set(items.judged_prompts))):
        return f"Not judged: {few}"
    if items.are_lettered and not any(items.swapped):
        return "Not judged: no item has another letter order, so the letter may be all there is"
    if not request.controls:
        return "Not judged: that takes controls beside it"
    if prompts < ENOUGH_LABELS:
        return f"Not judged: vectors from {prompts} prompts are not told from shuffled labels; it takes {ENOUGH_LABELS}"
    return ""


def _estimates(
    model: SteerableModel,
    request: StudyRequest,
    plan: _StudyPlan,
    common: Mapping[How, Items],
    vectors: Mapping[str, _StudyVectors],
) -> Generator[Progress, None, tuple[np.ndarray, list[np.ndarray]]]:
    """Of the arms at the layers, [spots], each vector with the norm of the base's; and of controls of each kind, which
    go with each other over all arms, [controls, spots]. Yields `Progress`; raises NoEstimateError.
    """
    layers, base = plan.layers, vectors[plan.base.read].vector
    slopes, differences = {}, {}
    for how in dict.fromkeys(arm.how for arm in plan.arms):
        slopes[how] = yield from slopes_of(asked_of(model, how[-1]), common[how], layers)
    for read in dict.fromkeys(arm.read for arm in plan.arms):
        differences[read] = yield from differences_of(model, vectors[read].vector, layers, request.pairs)
    own, drawn = [], []
    for arm in plan.arms:
        vector = vectors[arm.read].vector
        found, kinds = Ground(tuple(layers), slopes[arm.how], differences[arm.read]).by_layer(vector, ESTIMATED)
        own.append(found * [base.norm(layer) / vector.norm(layer) for layer in layers])
        drawn.append(kinds)
    return np.concatenate(own), [np.concatenate(kind, axis=1) for kind in zip(*drawn, strict=True)]


def _norms(plan: _StudyPlan, vectors: Mapping[str, _StudyVectors], rows: Mapping[Cell, StudyRow]) -> dict[int, float]:
    """By layer the norm of the base's vector, which is in its row where the vector is not made again."""
    if made := vectors.get(plan.base.read):
        return {layer: made.vector.norm(layer) for layer in plan.layers}
    return {layer: rows[plan.base, (layer, plan.multipliers[0])].norm for layer in plan.layers}


def _measure(
    model: SteerableModel,
    items: Items,
    cells: Sequence[Cell],
    vectors: Mapping[str, _StudyVectors],
    norms: Mapping[int, float],
) -> Generator[Progress, None, list[StudyRow]]:
    """Rows of arms that share their positions, their cue and their way to ask, and so the unsteered model's numbers."""
    added = [vectors[arm.read].at(layer, norms[layer]) for arm, (layer, _) in cells]
    every = [(one, place) for (_, place), of in zip(cells, added, strict=True) for one in of]
    runs = [(Steer(one, *place, items.operation),) for one, place in every]
    baseline, *scores = yield from score_runs(model, items, runs)
    come, rows = iter(scores), []
    for (arm, place), vectors_of in zip(cells, added, strict=True):
        steered, *controls = itertools.islice(come, len(vectors_of))
        norm = vectors[arm.read].vector.norm(place[0])
        rows.append(_row(items, (arm, place), norm, baseline, checked(place, steered), controls))
    return rows


def _row(
    items: Items,
    cell: Cell,
    norm: float,
    baseline: RunScores,
    steered: RunScores,
    controls: Sequence[RunScores],
) -> StudyRow:
    arm, (layer, multiplier) = cell
    change = steered.paired - baseline.paired
    difference = mean_of(change, items.judged_prompts)
    moved = np.array([control.paired - baseline.paired for control in controls]).reshape(len(KINDS), -1, len(change))
    random, shuffled = map(reach, moved.mean(-1))
    way = np.sign(multiplier)
    wrong = AntiSteerable.of(way * change, items.judged_prompts)
    wrong_random, wrong_shuffled = (ends(wrong_shares(by_prompt(way * of, items.judged_prompts))) for of in moved)
    return StudyRow(
        arm=arm,
        layer=layer,
        multiplier=multiplier,
        items=len(change),
        norm=norm,
        unsteered=float(baseline.paired.mean()),
        steered=float(steered.paired.mean()),
        difference=difference,
        as_given=float((steered.value - baseline.value).mean()),
        random=random,
        shuffled=shuffled,
        controls=moved.shape[1],
        mass_unsteered=float(baseline.mass.mean()) if items.are_choices else None,
        mass=float(steered.mass.mean()) if items.are_choices else None,
        kl=float(steered.kl.mean()),
        effect=None,
        verdict="",
        changes=tuple(change.tolist()),
        anti_steerable=wrong.share,
        unchanged=wrong.unchanged,
        wrong_random=wrong_random,
        wrong_shuffled=wrong_shuffled,
    )


def _provenance(model: SteerableModel, request: StudyRequest) -> dict[str, Any]:
    pairs, items = request.pairs, request.items
    return {
        **model.provenance,
        "pairs": pairs.name,
        "pairs_sha256": pairs.sha256,
        "num_pairs": len(pairs.pairs),
        "data": items.name,
        "data_sha256": items.sha256,
    }
