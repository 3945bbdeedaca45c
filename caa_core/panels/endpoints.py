"""The app's named endpoints, `/extract` and `/steer`, for programs: the same functions as the page's."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.columns import Columns
from caa_core.datasets import read_pairs
from caa_core.errors import InputError
from caa_core.exchange import read_vector
from caa_core.extraction import extract
from caa_core.generation import Decoding, side_by_side
from caa_core.interventions import Positions, Steer, parse_steer
from caa_core.limits import PAIRS
from caa_core.methods import MEAN_DIFFERENCE
from caa_core.model import SteerableModel
from caa_core.panels.common import check_request, guarded, number, whole
from caa_core.presets import find_pairs, presets
from caa_core.prompts import render
from caa_core.readings import ReadPosition
from caa_core.service import Job, Studio
from caa_core.sessions import Person, Session
from caa_core.vectors import parse_layers


def _finish(session: Session, job: Job) -> Any:
    """The result of a job that ends when its client leaves."""
    for _ in session.follow(f"call-{id(job)}", job):
        pass
    if job.stopped:
        raise InputError("The call was stopped, because its client left.")
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
        vector = _finish(session, work)
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
    ) -> dict[str, Any]:
        """Answer a prompt without and with vectors.

        steer is a list of "NAME:LAYER:MULTIPLIER", where NAME is a vector of the session, a preset, or "file" for the
        uploaded vector_file. Returns texts, token ids, and notes on vectors that may not fit this model.
        """
        specs = [parse_steer(spec) for spec in (steer if isinstance(steer, list) else [steer])]
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

        return _finish(session, studio.run(work))

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
