"""A contest as it is asked for, with what makes it repeatable, and what is kept of it."""

import json
from collections.abc import Callable, Generator, MutableMapping, Sequence
from dataclasses import asdict
from typing import Any

from caa_core.contest.contest import WRITTEN_PROMPTS, compete
from caa_core.contest.decomposition import less_shared
from caa_core.contest.dominance import Contest
from caa_core.contest.requests import ContestRequest, SurfaceRequest, ThinkingRequest, WrittenRequest
from caa_core.contest.surface import layer_grid, surface
from caa_core.contest.thinking import think
from caa_core.contest.thinking_results import ThinkingResult
from caa_core.contest.voice import Voice
from caa_core.contest.written import WrittenResult, follow
from caa_core.data.pairs import Dataset
from caa_core.data.presets import Preset
from caa_core.measuring.answer_reader import calibrate, held_out
from caa_core.metrics.cache import digest, key
from caa_core.metrics.items import choose_items
from caa_core.metrics.stages import CHROME, letters_of, pair_stages
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, Stage, in_stages, showing
from caa_core.steering.gradients import PASSES

# Results that are kept for one person; the oldest go first.
KEPT = 20

# Of the time a contest takes: what a token that is written costs, in letters that are read.
WRITTEN = 15

Known = MutableMapping[str, dict[str, Any]]


@handed_over
def run(
    model: SteerableModel, request: ContestRequest, a: Voice, b: Voice, known: Known | None = None
) -> Generator[Progress | dict[str, Any], None, dict[str, Any]]:
    """Measure a contest: `Contest.summary` with settings and provenance. What is in `known` is not computed again, and
    what is computed is put in. Yields `Progress`, and in the same form what is known before answers are written and
    second voices measured; raises what `choose_items` and `compete` raise.
    """

    def work() -> Generator[Progress | Contest, None, dict[str, Any]]:
        items = yield from choose_items(model, request.data, request.positions)
        items.check_bare()
        written = 0 if items.are_choices else request.written_tokens
        asked = request.controls, request.second_voices
        found = yield from compete(model, items, a, b, *asked, system=request.system, written=written)
        return {**found.summary(), "skipped": list(items.skipped)}

    settings = _voices(a, b) | request.settings()
    measuring = _known(model, a, b, settings, [request.data], work, known)
    return (yield from in_stages(measuring, plan_of(request, a, b, model.num_layers)))


def plan_of(request: ContestRequest, a: Voice, b: Voice, num_layers: int) -> list[Stage]:
    """What the stages of a contest cost beside each other, by the letters that go through the model."""
    asked, ends = letters_of(request.data)
    stages: list[Stage] = [("items checked", 0.01 * asked)]
    told = dict.fromkeys((voice.system, voice.prefill) for voice in (Voice("unsteered"), a, b, a.beside(b)))
    voices = 4 + len(a.steers) + len(b.steers) + len(less_shared(a, b))
    stages += [("items scored", asked + ends * voices / len(told)) for _ in told]
    controlled = [voice for voice in (a, b) if request.controls and voice.is_vector]
    if controlled:
        stages.append(("gradients", asked + PASSES * ends))
    for voice in controlled:
        if own := voice.pairs:
            stages += pair_stages(own, (voice.steer.layer + 1) / num_layers)
    if request.data.kind_of_answers == "text":
        prompts = min(WRITTEN_PROMPTS, len(request.data.pairs))
        stages.append(("answers written", 4 * prompts * (CHROME + WRITTEN * request.written_tokens)))
    if request.second_voices and len(a.steers) == len(b.steers) == 1:
        stages.append(("items scored", asked + 2 * request.second_voices * ends))
    return stages


@handed_over
def run_surface(
    model: SteerableModel,
    request: ContestRequest,
    a: Voice,
    b: Voice,
    grid: SurfaceRequest,
    known: Known | None = None,
) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a surface over multipliers, or over layers; else as `run`."""
    layers = grid.layers_in(model.num_layers)

    def work() -> Generator[Progress, None, dict[str, Any]]:
        items = yield from choose_items(model, request.data, request.positions)
        items.check_bare()
        if layers:
            found = yield from layer_grid(model, items, a, b, *layers, request.system, request.controls)
            return found.summary()
        return (yield from surface(model, items, a, b, *grid.multipliers, system=request.system)).summary()

    steps = {"layers": layers, "controls": request.controls} if layers else {"multipliers": grid.multipliers}
    settings = _voices(a, b) | _conditions(request) | steps
    return (yield from _known(model, a, b, settings, [request.data], work, known))


@handed_over
def run_thinking(
    model: SteerableModel,
    request: ContestRequest,
    a: Voice,
    b: Voice,
    thinking: ThinkingRequest,
    known: Known | None = None,
) -> Generator[Progress | dict[str, Any], None, dict[str, Any]]:
    """Measure a contest with thoughts; else as `run`. Also yields, in the same form, what is known by and by."""

    def work() -> Generator[Progress | ThinkingResult, None, dict[str, Any]]:
        items = yield from choose_items(model, request.data, request.positions)
        items.check_bare()
        return (yield from think(model, items, a, b, thinking, request.system)).summary()

    settings = _voices(a, b) | _conditions(request) | {"budget": thinking.settings()}
    thoughts = 4 * thinking.prompts * thinking.thoughts * thinking.tokens
    plan = [("items checked", 1.0), ("thoughts written", thoughts), ("texts answered", thoughts)]
    return (yield from in_stages(_known(model, a, b, settings, [request.data], work, known), plan))


@handed_over
def run_written(
    model: SteerableModel, request: WrittenRequest, a: Voice, b: Voice, known: Known | None = None
) -> Generator[Progress | dict[str, Any], None, dict[str, Any]]:
    """Measure which voice written answers follow: `WrittenResult.summary` with settings and provenance; else as
    `run_thinking`. Raises what `calibrate` and `follow` raise.
    """

    def work() -> Generator[Progress | WrittenResult, None, dict[str, Any]]:
        reader = yield from calibrate(model, request.directions, held_out(*request.held_out))
        return (yield from follow(model, reader, a, b, request)).summary()

    data = [one.test() if isinstance(one, Preset) else one for one in request.held_out]
    heard = [
        {"name": one.name, "layer": one.layer, "sha256": digest(one.vector.numpy().tobytes())}
        for one in request.directions
    ]
    questions = digest(json.dumps(list(request.questions)).encode())
    drawn = request.settings()
    drawn["answers_a_question"] = drawn.pop("samples")
    settings = _voices(a, b) | drawn | {"heard_along": heard, "questions_sha256": questions}
    read = 2 * sum(len(one.pairs) for one in data)
    plan = [("answers read", read), ("answers", 4 * request.samples * len(request.questions) * request.max_new_tokens)]
    return (yield from in_stages(_known(model, a, b, settings, data, work, known), plan))


def _voices(a: Voice, b: Voice) -> dict[str, Any]:
    return {"a": _described(a), "b": _described(b)}


def _conditions(request: ContestRequest) -> dict[str, Any]:
    """What counts where there are no controls."""
    return {"positions": str(request.positions), "system": request.system}


def _known(
    model: SteerableModel,
    a: Voice,
    b: Voice,
    settings: dict[str, Any],
    data: Sequence[Dataset],
    work: Callable[[], Generator[Any, None, dict[str, Any]]],
    known: Known | None,
) -> Generator[Any, None, dict[str, Any]]:
    """What `work` finds, with its provenance, unless it is known."""
    known = {} if known is None else known
    provenance = {
        **model.provenance,
        "data": ", ".join(one.name for one in data),
        "data_sha256": ", ".join(one.sha256 for one in data),
        **{
            f"vector_{letter}": {name: value for name, value in asdict(voice.vector.provenance).items() if value}
            for letter, voice in (("a", a), ("b", b))
            if voice.vector
        },
    }
    name = key(model, settings, data, a, b)
    if name in known:
        known[name] = known.pop(name)  # as the latest
    else:
        provenance = {"settings": settings, "provenance": provenance}
        known[name] = (yield from showing(work(), lambda part: part.summary() | provenance)) | provenance
        for oldest in list(known)[:-KEPT]:
            del known[oldest]
    return known[name]


def _described(voice: Voice) -> dict[str, Any]:
    """A voice in words and numbers."""
    added = [
        {
            "layer": steer.layer,
            "multiplier": steer.multiplier,
            **({} if steer.operation.is_addition else {"operation": str(steer.operation)}),
        }
        for steer in voice.steers
    ]
    told = {"told": voice.system, "answer_begins": voice.prefill}
    return {"name": voice.name, "added": added, **{name: words for name, words in told.items() if words}}
