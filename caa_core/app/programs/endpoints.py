"""The app's named endpoints for programs: the same functions as the page's."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from caa_core.app.forms import argument
from caa_core.app.guards import visitor
from caa_core.app.made_from import keep_pairs, pairs_of
from caa_core.app.panels.common import check_fit, check_request, check_width, guarded, is_wanted
from caa_core.app.panels.measuring.evaluation import items_of
from caa_core.app.sessions import Person, Session
from caa_core.app.studio import Studio
from caa_core.app.traffic import CALLS, calls_at_once
from caa_core.app.worker import Job
from caa_core.contest.decomposition import without_shared
from caa_core.contest.requests import ContestRequest, SurfaceRequest
from caa_core.contest.runs import run, run_surface
from caa_core.contest.voice import Voice
from caa_core.data.columns import Columns
from caa_core.data.pairs import Dataset, read_pairs
from caa_core.data.presets import find_contest, find_pairs, presets
from caa_core.errors import InputError
from caa_core.limits import ADDITIONS, PAIRS, PROMPT
from caa_core.measuring.costs.gate import opened
from caa_core.measuring.costs.text import neutral_cost
from caa_core.measuring.evaluation import EvaluationEvent, evaluate
from caa_core.measuring.inspection import align_answer, inspect
from caa_core.measuring.requests import EvaluationRequest, InspectionRequest
from caa_core.metrics.grid import whole
from caa_core.metrics.options import OPERATION, SHARES
from caa_core.metrics.requests import Request
from caa_core.metrics.vector_requests import ExtractionRequest, SteeringRequest
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask
from caa_core.progress import Progress
from caa_core.reports.writing import finite
from caa_core.steering.generation import Completion, side_by_side
from caa_core.steering.interventions import Steer, parse_spread
from caa_core.steering.operations import Operation
from caa_core.vectors.formats import read_vector
from caa_core.vectors.known_directions import make
from caa_core.vectors.spread import spread

# How far a call has come, and how long it waits for its turn, is in its client's status.
SAY = gr.Progress()


def outcome(session: Session, job: Job, say: Callable[..., Any] | None = None) -> Any:
    """The result of a job that ends when its client leaves, with None for numbers that are none; `say` is gradio's, for
    the client's status.
    """
    for event in session.follow(f"call-{id(job)}", job, wanted=is_wanted()):
        if say and isinstance(event, Progress):
            say(event.fraction, desc=str(event))
    if not job.done:
        raise InputError("The call was stopped: its client left, or the app is being ended.")
    return finite(job.result)


def with_file(studio: Studio, session: Session, file: str | None) -> Session:
    """The session with one vector more: "file", which is an uploaded one. Raises InputError where it is of another
    hidden size than the model, so that no more is kept than one of its own takes.
    """
    if not file:
        return session
    brought = read_vector(Path(file))
    check_width(studio.model, brought)
    return Session(Person(vectors={**session.vectors, "file": brought}))


class Endpoints:
    """What each endpoint does. Arguments that are files, or may be left out, are named; the others are options."""

    def __init__(self, studio: Studio):
        self.studio = studio

    @guarded
    def extract(
        self,
        request: gr.Request,
        file: str | None = None,
        limit: float | None = None,
        progress: gr.Progress = SAY,
        **options: Any,
    ) -> tuple[str, dict[str, Any]]:
        """Make a steering vector from a file of contrast pairs, or from a preset ("joy:ab" for its A/B questions).

        read is auto, letter, answer-mean, last, last-prompt or a token's index; method is mean-difference, pca, probe
        or single; columns are "PROMPT,POSITIVE,NEGATIVE" where the file's names do not say what they hold.

        Returns the vector as a safetensors file and a summary of it. The vector also joins the session's, under its
        name, so that /steer can use it.
        """
        session = visitor(self.studio, request)
        given = _pairs(file, options["preset"], options["columns"]).first(whole(limit, "The limit"))
        asked = ExtractionRequest.parse(given=given, **ExtractionRequest.chosen(options))
        layers = asked.layers_in(self.studio.model.num_layers)
        PAIRS.check(len(asked.pairs.pairs))
        how = layers, asked.name, asked.read, asked.method
        job = self.studio.run(lambda model: make(model, asked.pairs, *how), session, heavy=True)
        vector = outcome(session, job, progress)
        kept = session.vectors[session.keep(vector)]
        keep_pairs(session.person, asked.pairs)
        path = session.path(kept.name, ".safetensors")
        kept.save(path)
        return str(path), finite(kept.summary())

    @guarded
    def steer(
        self,
        request: gr.Request,
        prompt: str,
        steer: list[str] | str,
        vector_file: str | None = None,
        progress: gr.Progress = SAY,
        **options: Any,
    ) -> dict[str, Any]:
        """Answer a prompt without and with vectors.

        steer is a list of "NAME:LAYER:MULTIPLIER", where NAME is a vector of the session, a preset, or "file" for the
        uploaded vector_file, and LAYER may be several such as 12-15, which share the multiplier (equally, or with
        shares "norm" by the norm of the residual stream there). factors such as "0,0.5,1,1.5,2" ask for more answers,
        steered so many times as strongly. operation is what is done with all vectors: add, keep-norm, ablate, or cap:C
        with a number C. gate is such as "NAME:12:2.5": only tokens are steered whose residual stream after that layer
        points further along that vector, which is then said of each token of the steered answer. With projections comes
        how far each of these points along each vector, as the unsteered model reads it. With think, a model that can
        think does so first, within max_new_tokens: thoughts come beside the answers, and positions may be thought or
        after-thought. Returns texts, token ids, and notes on vectors that may not fit this model.
        """
        steer = steer if isinstance(steer, list) else [steer]
        ADDITIONS.check(len(steer))
        specs = [parse_spread(spec) for spec in steer]
        ADDITIONS.check(sum(len(layers) for _, layers, _ in specs))
        session = visitor(self.studio, request)
        given = with_file(self.studio, session, vector_file)
        check_request(prompt, options["system"], options["max_new_tokens"])
        asked = SteeringRequest.parse(prompt=prompt or "", **SteeringRequest.chosen(options))

        def work(model: SteerableModel) -> Generator[Progress | list[Completion], None, dict[str, Any]]:
            steers: list[Steer] = []
            notes: list[str] = []
            for source, layers, multiplier in specs:
                vector = yield from self.studio.vector(model, given, source)
                notes += [f"{source}: {found}" for found in vector.differences(model)]
                steers += spread(vector, layers, multiplier, asked.operation, asked.shares)
            gate = yield from self.studio.gate(model, given, asked.gate)
            rendered = ask(model.tokenizer, asked.prompt, asked.system, asked.think)
            how = asked.positions, asked.decoding, asked.factors, gate
            answers = yield from side_by_side(model, rendered, tuple(steers), *how)
            answer, read = answers.steered.text, steers if options["projections"] else []
            plain = ask(model.tokenizer, asked.prompt, asked.system)  # a thought is no part of what is read
            found = [vars(align_answer(model, plain, answer, one.vector, one.layer)) for one in read]
            summary = {**answers.summary(), **({"projections": found} if found else {})}
            return {**summary, **({"gate": opened(model, plain, answer, gate)} if gate else {}), "notes": notes}

        return outcome(session, self.studio.run(work, session), progress)

    @guarded
    def views(
        self,
        request: gr.Request,
        text: str,
        steer: str,
        vector_file: str | None = None,
        progress: gr.Progress = SAY,
        **options: Any,
    ) -> dict[str, Any]:
        """Look inside the model: how far each token of a text is aligned with a vector, what steering does to the next
        token and to the logit lens, and which tokens the vector promotes and suppresses by itself.

        steer is "NAME:LAYER:MULTIPLIER" as for /steer; along its first layer the text is read. chat says whether the
        text is a person's message or read as it is. With cost, the vector's KL and perplexity on neutral text at
        several multipliers come with it. operation and shares are as for /steer.
        """
        source, layers, multiplier = parse_spread(steer)
        ADDITIONS.check(len(layers))
        session = visitor(self.studio, request)
        given = with_file(self.studio, session, vector_file)
        check_request(text, "", 0)
        chosen = InspectionRequest.chosen(options)
        where = {"layer": layers[0], "spread": layers[1:] and layers}
        asked = InspectionRequest.parse(text=text or "", multiplier=multiplier, **where, **chosen)

        def work(model: SteerableModel) -> Generator[Progress, None, dict[str, Any]]:
            vector = yield from self.studio.vector(model, given, source)
            check_fit(model, vector)
            views = yield from inspect(model, asked, vector)
            cost = None
            if options["cost"]:
                cost = (yield from neutral_cost(model, asked.steers(vector))).summary()
            return {**views.summary(), "cost": cost, "notes": vector.differences(model)}

        return outcome(session, self.studio.run(work, session), progress)

    @guarded
    def evaluate(
        self,
        request: gr.Request,
        vector: str,
        vector_file: str | None = None,
        data_file: str | None = None,
        limit: float | None = None,
        progress: gr.Progress = SAY,
        **options: Any,
    ) -> dict[str, Any]:
        """Measure what a vector does to test items, beside controls, as `evaluate` on the command line does.

        vector is one of the session's, a preset, or "file" for the uploaded vector_file; data is a preset, for its
        held-out items ("joy:ab" for its A/B questions), unless there is a data_file. layers is all, every third,
        middle third, or such as "10,12-15"; multipliers are such as "-2,-1,0,1,2". With prompts, system prompts for the
        behaviour are measured beside it; told are such of your own, one a line. operation is as for /steer. With
        by_methods vectors that other methods make of the same pairs are measured on the same cells. With together all
        layers are steered at once, with shares as for /steer.

        Returns the unsteered model and all cells in numbers, the verdict, and what is proposed.
        """
        session = visitor(self.studio, request)
        given = with_file(self.studio, session, vector_file)
        data = items_of(data_file, options["data"], options["columns"], limit)
        asked = EvaluationRequest.parse(data=data, **EvaluationRequest.chosen(options))

        def work(model: SteerableModel) -> Generator[EvaluationEvent, None, dict[str, Any]]:
            steering = yield from self.studio.vector(model, given, vector)
            own = pairs_of(session.person, steering)
            found = yield from evaluate(model, replace(asked, made_from=own), steering)
            return found.summary()

        return outcome(session, self.studio.run(work, session, heavy=True), progress)

    @guarded
    def compete(
        self,
        request: gr.Request,
        a_file: str | None = None,
        b_file: str | None = None,
        data_file: str | None = None,
        progress: gr.Progress = SAY,
        **options: Any,
    ) -> dict[str, Any]:
        """Measure which of two voices the model follows, as `compete` on the command line does.

        a and b are "NAME:LAYER:MULTIPLIER" as for /steer, where "file" stands for a_file or b_file; a voice can also be
        what the model is told (system_a, system_b), or how its answer begins (begin_a, begin_b). data is a preset, for
        its contest, unless there is a data_file with prompt, a and b. With surface, both multipliers ("0,0.5,1") are
        tried against each other, or both layers ("5,10,15") where these are given. second_voices (0, or at least 39)
        tell whether both do more than a sum. system is nobody's voice; without_shared takes from both vectors what they
        share; operation_a, operation_b and shares are what is done with each vector, as for /steer.
        """
        session = visitor(self.studio, request)
        if not data_file and options["data"] not in presets():
            raise InputError(f"Give a file with prompt, a and b, or one of the presets: {', '.join(presets())}.")
        dataset = find_contest(Path(data_file) if data_file else options["data"])
        PAIRS.check(len(dataset.pairs))
        chosen = {name: options[name] for name in ("positions", "system", "controls", "second_voices")}
        contest = ContestRequest.parse(data=dataset, **chosen)
        steps, layers = options["multipliers"], options["layers"]
        grid = SurfaceRequest.parse(multipliers_a=steps, multipliers_b=steps, layers_a=layers, layers_b=layers)
        voices = [_GivenVoice.of(letter, options) for letter in ("a", "b")]
        given = [with_file(self.studio, session, file) for file in (a_file, b_file)]
        PROMPT.check(sum(len(voice.system) + len(voice.begin) for voice in voices) + len(contest.system))

        def work(model: SteerableModel) -> Generator[Progress | dict[str, Any], None, dict[str, Any]]:
            grid.layers_in(model.num_layers)
            a = yield from self._voice(model, session, given[0], voices[0])
            b = yield from self._voice(model, session, given[1], voices[1])
            if options["without_shared"]:
                a, b = without_shared(a, b)
            found = yield from run(model, contest, a, b)
            if options["surface"] or grid.crosses_layers:
                found["surface"] = yield from run_surface(model, contest, a, b, grid)
            return found

        return outcome(session, self.studio.run(work, session, heavy=True), progress)

    def _voice(
        self, model: SteerableModel, session: Session, given: Session, asked: "_GivenVoice"
    ) -> Generator[Progress, None, Voice]:
        if not asked.steer:
            return Voice(f"{'prompt' if asked.system else 'words'} {asked.letter}", (), asked.system, asked.begin)
        source, layers, multiplier = asked.steer
        ADDITIONS.check(len(layers))
        vector = yield from self.studio.vector(model, given, source)
        check_fit(model, vector)
        voice = Voice.of(vector, layers, multiplier, source, asked.system, asked.begin, *asked.done)
        return replace(voice, made_from=pairs_of(session.person, vector))


@dataclass(frozen=True)
class _GivenVoice:
    """A voice as it is asked for; steer: the parts of NAME:LAYER:MULTIPLIER; done: what is done with it, and how
    several layers share the multiplier.
    """

    letter: str
    steer: tuple[str, tuple[int, ...], float] | None
    system: str
    begin: str
    done: tuple[Operation, str]

    @classmethod
    def of(cls, x: str, options: Mapping[str, Any]) -> "_GivenVoice":
        """Raises InputError where there is nothing of it."""
        system, begin = ((options[f"{part}_{x}"] or "").strip() for part in ("system", "begin"))
        if not (options[x] or system or begin):
            raise InputError(f"Give voice {x.upper()} a vector, a system prompt or the beginning of an answer.")
        done = OPERATION.value(options[f"operation_{x}"]), SHARES.value(options["shares"])
        return cls(x.upper(), parse_spread(options[x]) if options[x] else None, system, begin, done)


def _pairs(file: str | None, preset: str, columns: str) -> Dataset:
    if not file and preset.partition(":")[0] not in presets():
        raise InputError(f"Give a file of contrast pairs, or one of the presets: {', '.join(presets())}.")
    return read_pairs(Path(file), columns=Columns.parse(columns) if columns else None) if file else find_pairs(preset)


def build(studio: Studio) -> None:
    """Register the endpoints; nothing of them is seen on the page. The order of arguments is a promise."""
    serve = Endpoints(studio)
    with gr.Row(visible=False):
        never = gr.Button()  # nobody presses it
        for name, answer, inputs, outputs in (
            ("extract", serve.extract, _extract_arguments(), [gr.File(label="vector"), gr.JSON(label="summary")]),
            ("steer", serve.steer, _steer_arguments(), gr.JSON(label="answers")),
            ("views", serve.views, _views_arguments(), gr.JSON(label="views")),
            ("evaluate", serve.evaluate, _evaluate_arguments(), gr.JSON(label="evaluation")),
            ("compete", serve.compete, _compete_arguments(), gr.JSON(label="contest")),
        ):
            never.click(
                answer,
                inputs_kwargs=inputs,
                outputs=outputs,
                api_name=name,
                concurrency_id=CALLS,
                concurrency_limit=calls_at_once(),
            )


def _text(name: str, value: str | None = "") -> gr.Textbox:
    return gr.Textbox(value, label=name)


def _file(name: str) -> gr.File:
    return gr.File(None, label=name)


def _options(request: type[Request], *names: str) -> dict[str, Block]:
    """The arguments for options of a request."""
    return {name: argument(name, request.options()[name]) for name in names}


def _extract_arguments() -> dict[str, Block]:
    return {
        "file": _file("file"),
        "preset": _text("preset"),
        **_options(ExtractionRequest, "layers"),
        "limit": gr.Number(None, label="limit"),
        **_options(ExtractionRequest, "name", "letter_swap", "read", "method"),
        "columns": _text("columns"),
    }


def _steer_arguments() -> dict[str, Block]:
    later = ("operation", "shares", "think", "gate")
    return {
        "prompt": _text("prompt", None),
        "steer": gr.JSON(["joy:12:1.5"], label="steer"),
        "vector_file": _file("vector_file"),
        **_options(SteeringRequest, *(name for name in SteeringRequest.options() if name not in later)),
        "projections": gr.Checkbox(False, label="projections"),
        **_options(SteeringRequest, *later),
    }


def _views_arguments() -> dict[str, Block]:
    return {
        "text": _text("text", None),
        "steer": _text("steer", "joy:12:1.5"),
        "vector_file": _file("vector_file"),
        **_options(InspectionRequest, "chat", "positions"),
        "cost": gr.Checkbox(False, label="cost"),
        **_options(InspectionRequest, "operation", "shares"),
    }


def _evaluate_arguments() -> dict[str, Block]:
    return {
        "vector": _text("vector", "joy"),
        "vector_file": _file("vector_file"),
        "data": _text("data"),
        "data_file": _file("data_file"),
        "layers": _text("layers"),
        "multipliers": _text("multipliers"),
        **_options(EvaluationRequest, "positions", "controls", "counts", "paper_counting"),
        "cue": _text("cue"),
        "columns": _text("columns"),
        "limit": gr.Number(None, label="limit"),
        **_options(EvaluationRequest, "prompts"),
        "told": _text("told"),
        **_options(EvaluationRequest, "operation", "by_methods", "together", "shares"),
    }


def _compete_arguments() -> dict[str, Block]:
    return {
        "a": _text("a", "joy:12:1"),
        "b": _text("b", "gloom:12:1"),
        "a_file": _file("a_file"),
        "b_file": _file("b_file"),
        "data": _text("data"),
        "data_file": _file("data_file"),
        **{name: _text(name) for name in ("system_a", "system_b", "begin_a", "begin_b")},
        **_options(ContestRequest, "positions", "controls", "second_voices"),
        "surface": gr.Checkbox(False, label="surface"),
        "multipliers": _text("multipliers"),
        "layers": _text("layers"),
        **_options(ContestRequest, "system"),
        "without_shared": gr.Checkbox(False, label="without_shared"),
        **{name: argument(name, OPERATION) for name in ("operation_a", "operation_b")},
        "shares": argument("shares", SHARES),
    }
