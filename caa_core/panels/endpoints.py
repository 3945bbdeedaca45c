"""The app's named endpoints, `/extract` and `/steer`, for programs: the same functions as the page's."""

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.cli import split_spec
from caa_core.datasets import presets, read_pairs
from caa_core.errors import InputError
from caa_core.extraction import extract
from caa_core.generation import Decoding, SideBySide, side_by_side
from caa_core.interventions import Positions, Steer
from caa_core.model import SteerableModel
from caa_core.panels.common import guarded
from caa_core.prompts import render
from caa_core.service import Session, Studio
from caa_core.vectors import load_vector, parse_layers


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
    ) -> tuple[str, dict[str, Any]]:
        """Make a steering vector from a file of contrast pairs, or from a preset.

        Returns the vector as a safetensors file and a summary of it. The vector also joins the session's, under its
        name, so that /steer can use it.
        """
        if not file and preset not in presets():
            raise InputError(f"Give a file of contrast pairs, or one of the presets: {', '.join(presets())}.")
        dataset = read_pairs(Path(file)) if file else presets()[preset].dataset()
        dataset = dataset.first(int(limit or 0))
        wanted = parse_layers(layers, studio.model.num_layers)
        job = studio.run(lambda model: extract(model, dataset, wanted, name.strip()))
        for _ in job:
            pass
        kept = studio.session(request.session_hash).keep(job.result)
        path = Path(tempfile.mkdtemp(prefix="caa-")) / "vector.safetensors"
        job.result.save(path)
        return str(path), job.result.summary() | {"name": kept}

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
        uploaded vector_file. Returns texts and token ids.
        """
        specs = [split_spec(spec) for spec in ([steer] if isinstance(steer, str) else steer or [])]
        session = studio.session(request.session_hash)
        given = Session({**session.vectors, **({"file": load_vector(Path(vector_file))} if vector_file else {})})
        rules = Positions.parse(positions)
        decoding = Decoding(int(max_new_tokens), float(temperature), int(seed))

        def work(model: SteerableModel) -> Generator[Any, None, SideBySide]:
            steers = []
            for source, layer, multiplier in specs:
                vector = yield from studio.vector(model, given, source)
                steers.append(Steer(vector.at(layer), layer, multiplier))
            rendered = render(model.tokenizer, [{"role": "user", "content": prompt}], system or "")
            return (yield from side_by_side(model, rendered, tuple(steers), rules, decoding))

        job = studio.run(work)
        for _ in job:
            pass
        return job.result.summary()

    with gr.Row(visible=False):
        gr.Button().click(
            extract_endpoint,
            [
                gr.File(label="file"),
                gr.Textbox("", label="preset"),
                gr.Textbox("all", label="layers"),
                gr.Number(None, label="limit"),
                gr.Textbox("", label="name"),
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
