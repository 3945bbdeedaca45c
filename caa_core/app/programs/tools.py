"""Tools for agents: what a preset is, what it does to an answer, and what is measured of it. They take no files, keep
nothing, and each is little work.
"""

from collections.abc import Callable, Generator
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.mcp import GradioMCPServer

from caa_core.app.forms import argument
from caa_core.app.guards import visitor
from caa_core.app.panels.common import check_request, guarded, recommended
from caa_core.app.programs.endpoints import SAY, outcome
from caa_core.app.sessions import Person, Session
from caa_core.app.studio import Studio
from caa_core.app.traffic import CALLS, calls_at_once
from caa_core.contest.requests import ContestRequest
from caa_core.contest.runs import run
from caa_core.contest.voice import Voice
from caa_core.data.presets import Preset, presets
from caa_core.errors import InputError
from caa_core.measuring.effect import Effect
from caa_core.measuring.evaluation import EvaluationEvent, evaluate
from caa_core.measuring.requests import EvaluationRequest
from caa_core.metrics.grid import number, whole
from caa_core.metrics.options import OPERATION
from caa_core.metrics.vector_requests import SteeringRequest
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask
from caa_core.progress import Progress
from caa_core.reports.writing import as_json
from caa_core.steering.generation import Completion, side_by_side
from caa_core.steering.interventions import Steer
from caa_core.vectors.vector import SteeringVector

# Of what an agent asks for at once.
MOST_TOKENS, MOST_ITEMS, STRONGEST = 200, 18, 8.0
EXAMPLES = 3


class Tools:
    """What each tool does. Vectors are those of presets, which are everybody's."""

    def __init__(self, studio: Studio):
        self.studio = studio

    @guarded
    def list_presets(self) -> dict[str, Any]:
        """List the behaviours that ship, each with a steering vector: what it makes a language model do, what opposes
        it, and whether that was shown on held-out prompts. Says which model is loaded, too.

        Begin here; the other tools take the names.
        """
        return {"model": self._model(), "presets": [_in_short(preset) for preset in presets().values()]}

    @guarded
    def describe_preset(self, request: gr.Request, preset: str, progress: gr.Progress = SAY) -> dict[str, Any]:
        """Tell all of one behaviour: its card, example pairs that its vector is made from, and its vector in numbers by
        layer (norm; relative strength beside the residual stream; how well held-out pairs are told apart). Of the
        card, doses are what its multipliers cost at its layer (KL in nats, with the upper end of its interval; the
        share of the text that repeats itself), and by_layer what the vector does at each layer to first order.

        Args:
            preset: a name of list_presets.
        """
        found = _preset(preset)
        vector = self._run(request, lambda model: self._vector(model, found), progress)
        pairs = found.dataset().pairs
        examples = [{"prompt": p.prompt, "positive": p.positive, "negative": p.negative} for p in pairs[:EXAMPLES]]
        card: dict[str, Any] = {"prompts": [*found.prompts], "system_prompt": found.told, "measured": found.measured}
        card |= {"doses": [*found.doses], "by_layer": [*found.by_layer]}
        about = {**_in_short(found), **card, "pairs": len(pairs), "examples": examples}
        return {"model": self._model(), **about, "vector": vector.summary()}

    @guarded
    def steer_with_preset(
        self,
        request: gr.Request,
        preset: str,
        prompt: str,
        layer: float | None = None,
        multiplier: float | None = None,
        max_new_tokens: float = 60,
        operation: str = OPERATION.default,
        progress: gr.Progress = SAY,
    ) -> dict[str, Any]:
        """Answer a prompt twice, as the model is and with a behaviour's vector added to its residual stream, greedily.

        Args:
            preset: a name of list_presets.
            prompt: what is said to the model.
            layer: after which decoder block the vector is added, from 0; left out, the preset's own.
            multiplier: how many times it is added; below 0 its opposite is, 0 changes nothing; left out, the preset's.
            max_new_tokens: of the answer, at most 200.
            operation: add, keep-norm (the norm stays), ablate (take away what lies along it), cap:C (what is above C).

        Returns:
            both answers, where and how strongly it was steered, and notes on a vector that may not fit the model.
        """
        asked = SteeringRequest.parse(prompt=prompt or "", max_new_tokens=max_new_tokens, operation=operation)
        check_request(asked.prompt, "", asked.max_new_tokens)
        _at_most(asked.max_new_tokens, MOST_TOKENS, "new tokens")
        found = _preset(preset)
        at, times = self._where(found, layer), _times(found, multiplier)

        def work(model: SteerableModel) -> Generator[Progress | list[Completion], None, dict[str, Any]]:
            vector = yield from self._vector(model, found)
            rendered = ask(model.tokenizer, asked.prompt)
            steers = (Steer(vector.at(at), at, times, asked.operation),)
            answers = yield from side_by_side(model, rendered, steers, asked.positions, asked.decoding)
            return {
                **{name: text for name, text in answers.summary().items() if name in ("unsteered", "steered")},
                "layer": at,
                "multiplier": times,
                "relative_strength": vector.relative_strength(at, times) if asked.operation.is_sum else None,
                "notes": vector.differences(model),
            }

        return self._run(request, work, progress)

    @guarded
    def measure_preset(
        self,
        request: gr.Request,
        preset: str,
        layer: float | None = None,
        multiplier: float | None = None,
        items: float = 12,
        progress: gr.Progress = SAY,
    ) -> dict[str, Any]:
        """Measure whether a behaviour's vector does anything on prompts that it was not made from, beside 999 random
        vectors of the same norm and 999 from shuffled labels: a verdict in words, and the numbers with intervals.

        Args:
            preset: a name of list_presets.
            layer: after which decoder block the vector is added, from 0; left out, the preset's own.
            multiplier: it is measured with this one and its opposite; left out, the preset's own.
            items: how many held-out prompts, 2 to 18; below 8 there is no verdict.
        """
        found, count = _preset(preset), whole(items, "The number of items")
        _at_most(count, MOST_ITEMS, "items")
        at, times = self._where(found, layer), abs(_times(found, multiplier))
        if not times:
            raise InputError("A multiplier of 0 changes nothing that could be measured.")
        data = found.test().first(count)
        asked = EvaluationRequest.parse(data=data, layers=[at], multipliers=[-times, times], counts=False)

        def work(model: SteerableModel) -> Generator[EvaluationEvent, None, dict[str, Any]]:
            vector = yield from self._vector(model, found)
            measured = (yield from evaluate(model, asked, vector)).summary()
            kept = ("measure", "items", "unsteered", "cells", "best")
            return {"verdict": measured["verdict"]["text"], **{name: measured[name] for name in kept}}

        return self._run(request, work, progress, heavy=True)

    @guarded
    def compete_with_opposite(
        self,
        request: gr.Request,
        preset: str,
        layer: float | None = None,
        multiplier: float | None = None,
        multiplier_of_opposite: float | None = None,
        progress: gr.Progress = SAY,
    ) -> dict[str, Any]:
        """Let two behaviours compete: add the vectors of one and of its opposite at once, and measure which of the two
        the model follows, beside each alone, what adding the two predicts, and control vectors.

        Args:
            preset: a name of list_presets, voice A; voice B is what list_presets calls its opposite.
            layer: after which decoder block both are added, from 0; left out, the preset's own.
            multiplier: of voice A; left out, 1.
            multiplier_of_opposite: of voice B; left out, that of voice A.
        """
        found = _preset(preset)
        other, at = presets()[found.opposes], self._where(found, layer)
        times = _bounded(1.0 if multiplier is None else multiplier)
        against = times if multiplier_of_opposite is None else _bounded(multiplier_of_opposite)
        asked = ContestRequest.parse(data=found.contest(), second_voices=0)

        def work(model: SteerableModel) -> Generator[Progress | dict[str, Any], None, dict[str, Any]]:
            a = Voice.of((yield from self._vector(model, found)), at, times)
            b = Voice.of((yield from self._vector(model, other)), at, against)
            measured = yield from run(model, asked, a, b)
            kept = ("verdict", "dominance", "low", "high", "additive", "delta_a", "delta_b", "delta_ab", "items")
            return {"a": found.name, "b": other.name, "layer": at, **{name: measured[name] for name in kept}}

        return self._run(request, work, progress, heavy=True)

    def _run(self, request: gr.Request, work: Callable[..., Any], progress: gr.Progress, heavy: bool = False) -> Any:
        session = visitor(self.studio, request)
        return outcome(session, self.studio.run(work, session, heavy), progress)

    def _vector(self, model: SteerableModel, preset: Preset) -> Generator[Progress, None, SteeringVector]:
        """That of the preset, whatever somebody has called one of theirs."""
        return (yield from self.studio.vector(model, Session(Person()), preset.name))

    def _where(self, preset: Preset, layer: float | None) -> int:
        if layer is not None:
            return self.studio.model.check_layer(whole(layer, "The layer"))
        return recommended(self.studio, preset.name)[0]

    def _model(self) -> dict[str, Any]:
        model = self.studio.model
        return {"name": model.name, "layers": model.num_layers, "hidden_size": model.hidden_size}


def _preset(name: str) -> Preset:
    if name not in presets():
        raise InputError(f"There is no preset {str(name)[:60]!r}: choose one of {', '.join(presets())}.")
    return presets()[name]


def _in_short(preset: Preset) -> dict[str, Any]:
    effect = Effect.of(preset.measured) if preset.measured else None
    shown = f"{effect.in_short} {effect.wrong_way}".rstrip() if effect else "Not measured."
    where = {"model": preset.model, "layer": preset.layer, "multiplier": preset.multiplier}
    return {
        "name": preset.name,
        "description": preset.description,
        "opposes": preset.opposes,
        "recommended": where,
        "shown": shown,
    }


def _times(preset: Preset, multiplier: float | None) -> float:
    return _bounded(preset.multiplier if multiplier is None else multiplier)


def _bounded(multiplier: float) -> float:
    """Raises InputError for a multiplier that says nothing any more."""
    found = number(multiplier, "The multiplier")
    if abs(found) > STRONGEST:
        raise InputError(f"A multiplier of {found:g} is out of range: -{STRONGEST:g} to {STRONGEST:g}.")
    return found


def _at_most(count: int, most: int, what: str) -> None:
    if count > most:
        raise InputError(f"{count} {what} are too many here: {most} at most.")


# By name, with their arguments.
TOOLS: dict[str, tuple[str, ...]] = {
    "list_presets": (),
    "describe_preset": ("preset",),
    "steer_with_preset": ("preset", "prompt", "layer", "multiplier", "max_new_tokens", "operation"),
    "measure_preset": ("preset", "layer", "multiplier", "items"),
    "compete_with_opposite": ("preset", "layer", "multiplier", "multiplier_of_opposite"),
}


def build(studio: Studio) -> None:
    """Register the tools as endpoints, too; nothing of them is seen on the page."""
    serve = Tools(studio)
    with gr.Row(visible=False):
        never, found = gr.Button(), gr.JSON(label="found")  # nobody presses the one, or sees the other
        for name, arguments in TOOLS.items():
            never.click(
                getattr(serve, name),
                inputs_kwargs=_arguments(*arguments) or None,
                outputs=found,
                api_name=name,
                concurrency_id=CALLS,
                concurrency_limit=calls_at_once(),
            )


def offer_alone() -> None:
    """Let agents call these by MCP, and no other endpoint, and be answered in JSON. All agents are one client of
    gradio's, so that what one of them would keep in its session were everybody's.
    """
    # gradio would offer all endpoints, and write what Python prints of an object.
    every, written = GradioMCPServer.get_tool_to_endpoint, GradioMCPServer.postprocess_output_data

    def tools_alone(self: GradioMCPServer) -> dict[str, str]:
        return {tool: endpoint for tool, endpoint in every(self).items() if endpoint.lstrip("/") in TOOLS}

    def in_json(self: GradioMCPServer, data: Any, root_url: str) -> Any:
        return written(self, [as_json(one) if isinstance(one, dict) else one for one in data], root_url)

    GradioMCPServer.get_tool_to_endpoint = tools_alone  # type: ignore[method-assign]
    GradioMCPServer.postprocess_output_data = in_json  # type: ignore[method-assign]


def _arguments(*names: str) -> dict[str, Block]:
    """Arguments with their types. What is chosen among and bounded is checked by the tool itself, in a sentence."""
    found: dict[str, Callable[[], Block]] = {
        "preset": lambda: gr.Dropdown([*presets()], value=None, allow_custom_value=True, label="preset"),
        "prompt": lambda: gr.Textbox(None, label="prompt"),
        "layer": lambda: gr.Number(None, precision=0, label="layer"),
        "multiplier": lambda: gr.Number(None, label="multiplier"),
        "operation": lambda: argument("operation", OPERATION),
        "multiplier_of_opposite": lambda: gr.Number(None, label="multiplier_of_opposite"),
        "max_new_tokens": lambda: gr.Number(60, precision=0, label="max_new_tokens"),
        "items": lambda: gr.Number(12, precision=0, label="items"),
    }
    return {name: found[name]() for name in names}
