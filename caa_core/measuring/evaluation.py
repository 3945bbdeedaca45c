"""An evaluation as it is asked for: items chosen, swept and concluded, and what is kept of it."""

import base64
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from caa_core.data.pairs import Dataset
from caa_core.data.presets import pairs_behind
from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.measuring.costs.methods import OfMethod, by_other_methods, check_pairs, others_of
from caa_core.measuring.proposal import judged_halves
from caa_core.measuring.requests import MOST_WORDINGS, EvaluationRequest
from caa_core.measuring.sweep import Place, RunScores, Sweep, checked_layers, sweep
from caa_core.measuring.told import beside_prompts, wordings_for
from caa_core.measuring.vector_controls import AT_ONCE, FIRST_ITEMS, FirstOrder
from caa_core.measuring.verdict import (
    NOT_AT_SEVERAL,
    NOT_YET,
    Conclusion,
    Estimated,
    KeptNumbers,
    conclude,
    conclude_early,
    estimate,
)
from caa_core.metrics.anti_steerability import WrongShares
from caa_core.metrics.by_item import ByItem
from caa_core.metrics.cross_fitting import CONTROLS, chosen
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.metrics.items import Items, choose_items
from caa_core.metrics.plain_data import plain, restored
from caa_core.metrics.stages import letters_of, pair_stages
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, Stage, in_stages, showing
from caa_core.steering.activations import check_here
from caa_core.steering.gradients import PASSES
from caa_core.vectors.diagnostics import Diagnostics
from caa_core.vectors.spread import EQUAL, WHOLE
from caa_core.vectors.vector import SteeringVector

# Bytes of numbers that are kept of all that a person has measured; the oldest go first.
KEPT = 4_000_000

# Of the time an evaluation takes: what an answer that is written costs, in letters that are read.
WRITTEN = 400

MOST_CONTROLS = 20  # verdicts of which the controls are kept


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A sweep, what is concluded from it, and the settings and papers that make it repeatable. map: what was estimated
    before anything was measured; None where nothing was. methods: what other methods make of the same pairs, by name.
    diagnostics: what the vector's pairs said of whether it will steer; None where they are not known.
    """

    swept: Sweep
    conclusion: Conclusion
    settings: dict[str, Any]
    provenance: dict[str, Any]
    map: EstimateMap | None = None
    methods: Mapping[str, OfMethod] = field(default_factory=dict)
    diagnostics: Diagnostics | None = None

    def summary(self) -> dict[str, Any]:
        """As plain data, under the names that the command line prints."""
        found = self.conclusion
        best = (found.proposal.layer, found.proposal.multiplier) if found.proposal else None
        return {
            **self.swept.summary(),
            "cells": plain([cell.beside(self.map) for cell in self.swept.cells]),
            "verdict": {**(found.verdict.summary() if found.verdict else {"effect": None}), "text": found.text},
            "best": found.proposal.summary() if found.proposal else None,
            "safe_multiplier": found.proposal.safe_multiplier if found.proposal else None,
            "shuffled_from": found.shuffled_from,
            "by_item": self._by_item(best).summary(),
            "diagnostics": self.diagnostics and self.diagnostics.summary(),
            "estimate": self.map and self.map.summary(),
            "unlike_estimate": self._unlike_estimate(),
            "methods": {method: plain(one.cells) for method, one in self.methods.items()},
            "settings": self.settings,
            "provenance": self.provenance,
        }

    def _unlike_estimate(self) -> list[dict[str, Any]]:
        """Cells that do otherwise than their layer's estimate says, and how."""
        slope = 0.25 if self.swept.items.are_choices else 1.0  # log odds change a probability by a quarter at most
        found = []
        for cell in self.swept.cells:
            estimated = self.map.at(cell.layer) if self.map and cell.layer is not None else None
            if estimated and (how := estimated.unlike(cell.difference, slope * cell.multiplier)):
                found.append({"layer": cell.layer, "multiplier": cell.multiplier, "how": how})
        return found

    def _by_item(self, best: Place | None) -> ByItem:
        swept = self.swept
        steered = {place: reading.paired for place, reading in swept.readings.items()}
        return ByItem.of(swept.items, swept.baseline.paired, steered, best)


# What an evaluation yields: how far it is, what is estimated, what was measured so far.
EvaluationEvent = Progress | EstimateMap | Evaluation


@handed_over
def evaluate(
    model: SteerableModel, request: EvaluationRequest, vector: SteeringVector, known: KeptNumbers | None = None
) -> Generator[EvaluationEvent, None, Evaluation]:
    """Choose the items, estimate, sweep, and conclude: all that `evaluate` on the command line does. See `estimate`,
    `sweep`, `conclude`.

    Yields `Progress`, the estimates, and the evaluation as far as it has come: layers in the order of what they are
    estimated to do, and the verdict as soon as those are there on which it is given. What is in `known` is not computed
    again, and what is computed is put in.
    """
    own = request.made_from or pairs_behind(vector.provenance)
    if request.by_methods:
        check_here(model, "Comparing methods")
        check_pairs(vector, own)
    layers = request.layers_of(vector, model.num_layers)
    known = KeptNumbers() if known is None else known
    work: Generator[EvaluationEvent, None, Evaluation] = _evaluate(model, request, vector, own, known)
    staged: Generator[EvaluationEvent, None, Evaluation]
    staged = in_stages(work, plan_of(request, layers, model.num_layers, own, len(others_of(vector))))
    return (yield from staged)


def estimate_only(
    model: SteerableModel, request: EvaluationRequest, vector: SteeringVector
) -> Generator[Progress | EstimateMap, None, EstimateMap]:
    """What `evaluate` says before it measures anything. Yields `Progress`, and the map as far as it has come.

    Raises:
        InputError: the model cannot be differentiated, or what `choose_items` raises.
    """
    if request.together:
        raise InputError(NOT_AT_SEVERAL)
    own = request.made_from or pairs_behind(vector.provenance)
    layers = sorted(checked_layers(model, vector, request.layers_of(vector, model.num_layers)))
    items = yield from _items(model, request)
    found = yield from estimate(model, items, vector, layers, own, request.controls or CONTROLS)
    if not found.map:
        raise InputError(found.why)
    return found.map


def plan_of(
    request: EvaluationRequest, layers: Sequence[int], num_layers: int, own: Dataset | None, methods: int = 0
) -> list[Stage]:
    """What the stages of an evaluation cost beside each other, by the letters that go through the model's layers.

    Args:
        own: the pairs that the vector was made from, where labels are shuffled.
        methods: how many others there are.
    """
    asked, ends = letters_of(request.data)
    above = sum((num_layers - layer) / num_layers for layer in layers)
    cells = asked + ends * len(request.multipliers) * above
    if request.counts and request.data.kind_of_answers != "text":
        cells += WRITTEN * len(request.data.pairs) * len(request.multipliers) * len(layers)
    stages: list[Stage] = [("items checked", 0.01 * asked)]
    if request.is_estimated:
        few = min(1.0, FIRST_ITEMS / len(request.data.pairs))
        stages += [("gradients", share * (asked + PASSES * ends)) for share in (few, 1 - few)]
        stages += pair_stages(own) if own else []
    stages.append(("cells", cells))
    for drawn in range(0, request.exact_controls, AT_ONCE):  # on each half of the items, under both signs
        some = min(AT_ONCE, request.exact_controls - drawn)
        stages += [("items scored", asked / 2 + 2 * some * ends)] * 2
    if request.beside_prompts:  # read behind nothing and behind each wording, of which each is steered too
        stages.append(("items told", asked + ends + MOST_WORDINGS * (asked + 2 * ends)))
    if request.by_methods and own:
        stages += [*pair_stages(own), ("cells", asked + ends * len(request.multipliers) * above)] * methods
    return stages


def _evaluate(
    model: SteerableModel,
    request: EvaluationRequest,
    vector: SteeringVector,
    own: Dataset | None,
    known: KeptNumbers,
) -> Generator[EvaluationEvent, None, Evaluation]:
    if request.exact_controls:
        check_here(model, "Measuring controls by exact passes")
    layers = request.layers_of(vector, model.num_layers)
    settings = request.settings() | {"layers": layers}
    provenance = provenance_of(model, request.data, vector)
    items = yield from _items(model, request)
    if request.together and len(layers) > 1:
        items = replace(items, spread=tuple(checked_layers(model, vector, layers)), shares=request.shares)
        layers = layers[:1]
    numbers, estimated = sorted(checked_layers(model, vector, layers)), Estimated()
    if request.controls and any(request.multipliers) and all(judged_halves(items)):
        estimated = yield from estimate(model, items, vector, numbers, own, request.controls, known)
        if estimated.map:
            yield estimated.map
    waiting = Conclusion(None, None, NOT_YET)

    def so_far(found: Sweep) -> Evaluation:
        early = None if request.exact_controls else conclude_early(found, estimated, numbers, own)
        papers = settings, provenance
        return Evaluation(found, early or waiting, *papers, estimated.map, diagnostics=vector.diagnostics)

    first = _best_first(estimated, numbers)
    work = sweep(model, items, vector, layers, request.multipliers, request.counts, known.readings, first)
    swept = yield from showing(work, so_far)
    whole = so_far(swept)
    yield whole
    conclusion = yield from conclude(model, swept, vector, own, request.controls, request.exact_controls, known)
    if items.spread:
        conclusion = replace(conclusion, text=f"{_at_once(items)}\n{conclusion.text}")
    whole = replace(whole, conclusion=conclusion)
    if request.beside_prompts and (verdict := conclusion.verdict):
        yield whole
        wordings = wordings_for(request, vector, own)
        told = yield from beside_prompts(model, swept, vector, verdict.cells, *wordings, known.readings)
        whole = replace(whole, conclusion=replace(conclusion, verdict=replace(verdict, told=told)))
    if request.by_methods and own:
        yield whole
        whole = replace(whole, methods=(yield from by_other_methods(model, swept, vector, own, known.readings)))
    return whole


def _items(model: SteerableModel, request: EvaluationRequest) -> Generator[Progress, None, Items]:
    how = request.positions, request.cue, request.paper_counting, request.operation
    return (yield from choose_items(model, request.data, *how))


def provenance_of(model: SteerableModel, data: Dataset, vector: SteeringVector) -> dict[str, Any]:
    """What is measured of a vector depends on."""
    known = {name: value for name, value in asdict(vector.provenance).items() if value}
    return {**model.provenance, "data": data.name, "data_sha256": data.sha256, "vector": known}


def _at_once(items: Items) -> str:
    """At which layers everything was done, and how it is named."""
    each = {EQUAL: "share each multiplier equally", WHOLE: "get the whole multiplier each"}
    how = each.get(items.shares, "share each multiplier by the norm of the residual stream there")
    return f"{spans(items.spread).capitalize()} at once, which {how}, are named by the first, {items.spread[0]}."


def _best_first(estimated: Estimated, layers: Sequence[int]) -> list[int]:
    """The layers that a verdict is given on, and the others by how far they are estimated to reach."""
    if not estimated.first_order or not estimated.map:
        return []
    judged = [layers[i] for i in chosen(estimated.first_order.own)]
    others = sorted(estimated.map.layers, key=lambda one: -abs(one.value))
    return list(dict.fromkeys([*judged, *(one.layer for one in others)]))


def pack(known: KeptNumbers) -> dict[str, Any]:
    """What is known as plain data, the latest `KEPT` bytes of it; numbers are float32, which is what readings are."""
    changes = {key: known.changes[key].tolist() for key in [*known.changes][-MOST_CONTROLS:]}
    estimates = {
        key: [*map(_text, (found.own, found.random, found.shuffled)), found.prompts, *_shares(found.wrong)]
        for key, found in [*known.first_order.items()][-MOST_CONTROLS:]
    }
    maps = {key: found.summary() for key, found in [*known.maps.items()][-MOST_CONTROLS:]}
    readings = {key: [_text(part) for part in vars(reading).values()] for key, reading in known.readings.items()}
    room, latest = KEPT, []
    for key, parts in reversed(readings.items()):
        room -= sum(len(part or "") for part in parts)
        if room < 0:
            break
        latest.append((key, parts))
    return {"readings": dict(reversed(latest)), "first_order": estimates, "changes": changes, "maps": maps}


def unpack(kept: Any) -> KeptNumbers:
    """What was packed. Raises InputError for anything else."""
    try:
        readings = {str(key): _reading(parts) for key, parts in kept["readings"].items()}
        # What was kept before has controls by exact passes under another rule, which nothing asks for.
        estimates = {str(key): _estimates(*parts) for key, parts in kept.get("first_order", {}).items()}
        changes = {str(key): np.array([*map(list, found)], float) for key, found in kept["changes"].items()}
        maps = {
            str(key): restored(EstimateMap, one, "An estimate that was") for key, one in kept.get("maps", {}).items()
        }
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError("What was kept of earlier measurements cannot be read.") from error
    return KeptNumbers(readings, estimates, changes, maps)


def _shares(found: WrongShares | None) -> list[str | None]:
    return [_text(np.atleast_1d(part)) for part in (found.own, found.random, found.shuffled)] if found else []


def _estimates(own: str, random: str, shuffled: str, prompts: int, *shares: str | None) -> FirstOrder:
    wrong = None
    if shares:  # what was kept before has none
        share, *kinds = (np.full(1, np.nan) if part is None else _numbers(part) for part in shares)
        wrong = WrongShares(round(float(share[0]), 6), *kinds)
    parts = _numbers(own).reshape(2, -1), _numbers(random), _numbers(shuffled)
    return FirstOrder(*parts, int(prompts), wrong=wrong)


def _reading(parts: Sequence[str | None]) -> RunScores:
    value, both, mass, kl, written = (None if part is None else _numbers(part) for part in parts)
    if value is None or kl is None:
        raise ValueError("no numbers")
    empty = np.full_like(value, np.nan)
    both, mass = (empty if part is None else part for part in (both, mass))
    if any(part.shape != value.shape for part in (both, mass, kl)):
        raise ValueError("not of one length")
    return RunScores(value, both, mass, kl, None if written is None else written.astype(int))


def _text(numbers: np.ndarray | None) -> str | None:
    """Numbers as text; None where there are none."""
    if numbers is None or (len(numbers) and np.isnan(numbers).all()):
        return None
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


def _numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(float)
