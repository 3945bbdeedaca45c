"""The app's named endpoints for programs: the same functions as the page's."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.panels.common import check_fit, check_request, guarded, number, whole
from caa_core.app.panels.measuring.evaluation import items_of
from caa_core.app.sessions import Person, Session
from caa_core.app.studio import Studio
from caa_core.app.worker import Job
from caa_core.contest.runs import ContestRequest, run, run_surface
from caa_core.contest.surface import Grid
from caa_core.contest.voice import Side
from caa_core.data.columns import Columns
from caa_core.data.pairs import read_pairs
from caa_core.data.presets import find_contest, find_pairs, presets
from caa_core.errors import InputError
from caa_core.limits import ADDITIONS, PAIRS, PROMPT
from caa_core.measuring.cost import neutral_cost
from caa_core.measuring.evaluation import EvaluationRequest, evaluate
from caa_core.measuring.inspection import as_prompt, look_inside
from caa_core.metrics.controls import CONTROLS, check_controls
from caa_core.metrics.grid import parse_layers
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import render
from caa_core.progress import Progress
from caa_core.steering.activations import ReadPosition
from caa_core.steering.generation import Decoding, side_by_side
from caa_core.steering.interventions import Positions, Steer, parse_steer
from caa_core.vectors.extraction import extract
from caa_core.vectors.formats import read_vector
from caa_core.vectors.methods import MEAN_DIFFERENCE

# How far a call has come, and how long it waits for its turn, is in its client's status.
SAY = gr.Progress()


def _finish(session: Session, job: Job, say: Callable[..., Any] | None = None) -> Any:
    """The result of a job that ends when its client leaves; `say` is gradio's, for the client's status."""
    for event in session.follow(f"call-{id(job)}", job):
        if say and isinstance(event, Progress):
            say(event.fraction, desc=str(event))
    if job.stopped:
        raise InputError("The call was stopped: its client left, or the app is being ended.")
    return job.result


def build(studio: Studio) -> None:
    """Register the endpoints; nothing of them is seen on the page."""

    @guarded
    def extract_endpoint(
        request: gr.Request,
        file: str | None = None,
        preset: str = "",
        layers: str = "all",
        limit: float | None = None,
        name: str = "",
        letter_swap: bool = False,
        read: str = "auto",
        method: str = MEAN_DIFFERENCE,
        columns: str = "",
        progress: gr.Progress = SAY,
    ) -> tuple[str, dict[str, Any]]:
        """Make a steering vector from a file of contrast pairs, or from a preset ("joy:ab" for its A/B questions).

        read is auto, letter, answer-mean, last, last-prompt or a token's index; method is mean-difference, pca, probe
        or single; columns are "PROMPT,POSITIVE,NEGATIVE" where the file's names do not say what they hold.

        Returns the vector as a safetensors file and a summary of it. The vector also joins the session's, under its
        name, so that /steer can use it.
        """
        if not file and preset.partition(":")[0] not in presets():
            raise InputError(f"Give a file of contrast pairs, or one of the presets: {', '.join(presets())}.")
        named = Columns.parse(columns) if columns else None
        dataset = read_pairs(Path(file), columns=named) if file else find_pairs(preset)
        dataset = dataset.first(whole(limit, "The limit"))
        position = ReadPosition.parse(read or "auto")
        wanted = parse_layers(layers, studio.model.num_layers)
        dataset = dataset.in_both_letter_orders() if letter_swap else dataset
        PAIRS.check(len(dataset.pairs))
        session = studio.session(request.session_hash)
        title = (name or "").strip()
        work = studio.run(lambda model: extract(model, dataset, wanted, title, position, method or MEAN_DIFFERENCE))
        vector = _finish(session, work, progress)
        kept = session.vectors[session.keep(vector)]
        path = session.path(kept.name, ".safetensors")
        kept.save(path)
        return str(path), kept.summary()

    @guarded
    def steer_endpoint(
        request: gr.Request,
        prompt: str,
        steer: list[str] | str,
        vector_file: str | None = None,
        system: str = "",
        positions: str = "after-prompt",
        max_new_tokens: float = 80,
        temperature: float = 0,
        seed: float = 0,
        progress: gr.Progress = SAY,
    ) -> dict[str, Any]:
        """Answer a prompt without and with vectors.

        steer is a list of "NAME:LAYER:MULTIPLIER", where NAME is a vector of the session, a preset, or "file" for the
        uploaded vector_file. Returns texts, token ids, and notes on vectors that may not fit this model.
        """
        steer = steer if isinstance(steer, list) else [steer]
        ADDITIONS.check(len(steer))
        specs = [parse_steer(spec) for spec in steer]
        session = studio.session(request.session_hash)
        brought = {"file": read_vector(Path(vector_file))} if vector_file else {}
        given = Session(Person(vectors={**session.vectors, **brought}))
        rules = Positions.parse(positions or "")
        check_request(prompt, system, max_new_tokens)
        tokens = whole(max_new_tokens, "max_new_tokens")
        decoding = Decoding(tokens, number(temperature, "The temperature"), whole(seed, "The seed"))

        def work(model: SteerableModel) -> Generator[Any, None, dict[str, Any]]:
            steers, notes = [], []
            for source, layer, multiplier in specs:
                vector = yield from studio.vector(model, given, source)
                notes += [
                    f"{source}: {found}" for found in vector.differences(model.fingerprint, model.template_sha256)
                ]
                steers.append(Steer(vector.at(layer), layer, multiplier))
            rendered = render(model.tokenizer, [{"role": "user", "content": prompt or ""}], system or "")
            answers = yield from side_by_side(model, rendered, tuple(steers), rules, decoding)
            return {**answers.summary(), "notes": notes}

        return _finish(session, studio.run(work), progress)

    @guarded
    def views_endpoint(
        request: gr.Request,
        text: str,
        steer: str,
        vector_file: str | None = None,
        chat: bool = True,
        positions: str = "after-prompt",
        cost: bool = False,
        progress: gr.Progress = SAY,
    ) -> dict[str, Any]:
        """Look inside the model: how far each token of a text is aligned with a vector, what steering does to the next
        token and to the logit lens, and which tokens the vector promotes and suppresses by itself.

        steer is "NAME:LAYER:MULTIPLIER" as for /steer. chat says whether the text is a person's message or read as it
        is. With cost, the vector's KL and perplexity on neutral text at several multipliers come with it.
        """
        source, layer, multiplier = parse_steer(steer)
        session = studio.session(request.session_hash)
        brought = {"file": read_vector(Path(vector_file))} if vector_file else {}
        given = Session(Person(vectors={**session.vectors, **brought}))
        rules = Positions.parse(positions or "")
        check_request(text, "", 0)

        def work(model: SteerableModel) -> Generator[Any, None, dict[str, Any]]:
            vector = yield from studio.vector(model, given, source)
            check_fit(model, vector)
            one = Steer(vector.at(layer), layer, multiplier)
            views = yield from look_inside(model, as_prompt(model, text or "", bool(chat)), one, rules)
            costs = (yield from neutral_cost(model, one.vector, layer)).summary() if cost else None
            notes = vector.differences(model.fingerprint, model.template_sha256)
            return {**views.summary(), "cost": costs, "notes": notes}

        return _finish(session, studio.run(work), progress)

    @guarded
    def evaluate_endpoint(
        request: gr.Request,
        vector: str,
        vector_file: str | None = None,
        data: str = "",
        data_file: str | None = None,
        layers: str = "",
        multipliers: str = "",
        positions: str = "after-prompt",
        controls: float = CONTROLS,
        counts: bool = True,
        paper_counting: bool = False,
        cue: str = "",
        columns: str = "",
        limit: float | None = None,
        progress: gr.Progress = SAY,
    ) -> dict[str, Any]:
        """Measure what a vector does to test items, beside controls, as `evaluate` on the command line does.

        vector is one of the session's, a preset, or "file" for the uploaded vector_file; data is a preset, for its
        held-out items ("joy:ab" for its A/B questions), unless there is a data_file. layers is all, every third,
        middle third, or such as "10,12-15"; multipliers are such as "-2,-1,0,1,2".

        Returns the unsteered model and all cells in numbers, the verdict, and what is proposed.
        """
        session = studio.session(request.session_hash)
        brought = {"file": read_vector(Path(vector_file))} if vector_file else {}
        given = Session(Person(vectors={**session.vectors, **brought}))
        options = {
            "layers": layers,
            "multipliers": multipliers,
            "positions": positions,
            "controls": controls,
            "counts": counts,
            "paper_counting": paper_counting,
            "cue": cue,
        }
        question = EvaluationRequest.parse(data=items_of(data_file, data, columns, limit), **options)

        def work(model: SteerableModel) -> Generator[Any, None, dict[str, Any]]:
            steering = yield from studio.vector(model, given, vector)
            found = yield from evaluate(model, question, steering)
            return found.summary()

        return _finish(session, studio.run(work), progress)

    @guarded
    def compete_endpoint(
        request: gr.Request,
        a: str = "",
        b: str = "",
        a_file: str | None = None,
        b_file: str | None = None,
        data: str = "",
        data_file: str | None = None,
        system_a: str = "",
        system_b: str = "",
        begin_a: str = "",
        begin_b: str = "",
        positions: str = "after-prompt",
        controls: float = CONTROLS,
        surface: bool = False,
        multipliers: str = "",
        layers: str = "",
        progress: gr.Progress = SAY,
    ) -> dict[str, Any]:
        """Measure which of two voices the model follows, as `compete` on the command line does.

        a and b are "NAME:LAYER:MULTIPLIER" as for /steer, where "file" stands for a_file or b_file; a voice can also be
        what the model is told (system_a, system_b), or how its answer begins (begin_a, begin_b). data is a preset, for
        its contest, unless there is a data_file with prompt, a and b. With surface, both multipliers ("0,0.5,1") are
        tried against each other, or both layers ("5,10,15") where these are given.
        """
        session = studio.session(request.session_hash)
        if not data_file and data not in presets():
            raise InputError(f"Give a file with prompt, a and b, or one of the presets: {', '.join(presets())}.")
        dataset = find_contest(Path(data_file) if data_file else data)
        PAIRS.check(len(dataset.pairs))
        PROMPT.check(len("".join(filter(None, (system_a, system_b, begin_a, begin_b)))))
        count = whole(controls, "The number of controls")
        bout = ContestRequest(dataset, Positions.parse(positions or ""), check_controls(count) if count else 0)
        grid = Grid.parse(multipliers or "", multipliers or "", layers or "", layers or "")
        given = []
        for letter, spec, file, *words in (("A", a, a_file, system_a, begin_a), ("B", b, b_file, system_b, begin_b)):
            words = [(text or "").strip() for text in words]
            if not spec and not any(words):
                raise InputError(f"Give voice {letter} a vector, a system prompt or the beginning of an answer.")
            brought = {"file": read_vector(Path(file))} if file else {}
            given.append((letter, spec and parse_steer(spec), brought, *words))

        def work(model: SteerableModel) -> Generator[Any, None, dict[str, Any]]:
            grid.layers_in(model.num_layers)
            sides = []
            for letter, spec, brought, system, begin in given:
                if not spec:
                    sides.append(Side(f"{'prompt' if system else 'words'} {letter}", (), system, begin))
                    continue
                source, layer, multiplier = spec
                theirs = Session(Person(vectors={**session.vectors, **brought}))
                vector = yield from studio.vector(model, theirs, source)
                check_fit(model, vector)
                sides.append(Side.of(source, vector, layer, multiplier, system, begin))
            found = yield from run(model, bout, *sides)
            if surface or grid.layers:
                found["surface"] = yield from run_surface(model, bout, *sides, grid)
            return found

        return _finish(session, studio.run(work), progress)

    with gr.Row(visible=False):
        gr.Button().click(
            extract_endpoint,
            [
                gr.File(label="file"),
                gr.Textbox("", label="preset"),
                gr.Textbox("all", label="layers"),
                gr.Number(None, label="limit"),
                gr.Textbox("", label="name"),
                gr.Checkbox(False, label="letter_swap"),
                gr.Textbox("auto", label="read"),
                gr.Textbox(MEAN_DIFFERENCE, label="method"),
                gr.Textbox("", label="columns"),
            ],
            [gr.File(label="vector"), gr.JSON(label="summary")],
            api_name="extract",
        )
        gr.Button().click(
            steer_endpoint,
            [
                gr.Textbox(label="prompt"),
                gr.JSON(["joy:12:1.5"], label="steer"),
                gr.File(None, label="vector_file"),
                gr.Textbox("", label="system"),
                gr.Textbox("after-prompt", label="positions"),
                gr.Number(80, label="max_new_tokens"),
                gr.Number(0, label="temperature"),
                gr.Number(0, label="seed"),
            ],
            gr.JSON(label="answers"),
            api_name="steer",
        )
        gr.Button().click(
            views_endpoint,
            [
                gr.Textbox(label="text"),
                gr.Textbox("joy:12:1.5", label="steer"),
                gr.File(None, label="vector_file"),
                gr.Checkbox(True, label="chat"),
                gr.Textbox("after-prompt", label="positions"),
                gr.Checkbox(False, label="cost"),
            ],
            gr.JSON(label="views"),
            api_name="views",
        )
        gr.Button().click(
            evaluate_endpoint,
            [
                gr.Textbox("joy", label="vector"),
                gr.File(None, label="vector_file"),
                gr.Textbox("", label="data"),
                gr.File(None, label="data_file"),
                gr.Textbox("", label="layers"),
                gr.Textbox("", label="multipliers"),
                gr.Textbox("after-prompt", label="positions"),
                gr.Number(CONTROLS, label="controls"),
                gr.Checkbox(True, label="counts"),
                gr.Checkbox(False, label="paper_counting"),
                gr.Textbox("", label="cue"),
                gr.Textbox("", label="columns"),
                gr.Number(None, label="limit"),
            ],
            gr.JSON(label="evaluation"),
            api_name="evaluate",
        )
        gr.Button().click(
            compete_endpoint,
            [
                gr.Textbox("joy:12:1", label="a"),
                gr.Textbox("gloom:12:1", label="b"),
                gr.File(None, label="a_file"),
                gr.File(None, label="b_file"),
                gr.Textbox("", label="data"),
                gr.File(None, label="data_file"),
                gr.Textbox("", label="system_a"),
                gr.Textbox("", label="system_b"),
                gr.Textbox("", label="begin_a"),
                gr.Textbox("", label="begin_b"),
                gr.Textbox("after-prompt", label="positions"),
                gr.Number(CONTROLS, label="controls"),
                gr.Checkbox(False, label="surface"),
                gr.Textbox("", label="multipliers"),
                gr.Textbox("", label="layers"),
            ],
            gr.JSON(label="contest"),
            api_name="compete",
        )
