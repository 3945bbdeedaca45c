"""The line that says which model is loaded, and the way to another one."""

from collections.abc import Iterator

import gradio as gr

from caa_core.catalog import CATALOG, DEFAULT_MODEL, is_public
from caa_core.model import DTYPES
from caa_core.panels.common import guarded, plain
from caa_core.service import Studio


def build(studio: Studio) -> tuple[gr.Markdown, gr.State]:
    """Draw it. Returns the line, and a state that changes when this person has loaded a model."""
    loaded = gr.State(0)
    line = gr.Markdown(describe(studio), elem_id="model-line")
    with gr.Accordion("Another model", open=False):
        gr.Markdown(
            "It replaces the model for everybody who uses this app. "
            + ("" if is_public() else "Besides the list: a hub id, a folder with safetensors weights, or a .gguf file.")
        )
        with gr.Row():
            spec = gr.Dropdown(
                [(model.title, key) for key, model in CATALOG.items()],
                value=DEFAULT_MODEL,
                allow_custom_value=not is_public(),
                label="Model",
                elem_id="model-spec",
                scale=3,
            )
            dtype = gr.Dropdown(
                [("automatic", ""), *((name, name) for name in DTYPES)], value="", label="Precision", scale=1
            )
            load = gr.Button("Load", elem_id="model-load", scale=1)

    @guarded
    def change(spec: str, dtype: str, count: int) -> Iterator[dict]:
        yield {line: f"Loading {plain(spec)} ..."}
        studio.load(spec, dtype)
        yield {line: describe(studio), loaded: count + 1}

    silent = {"api_visibility": "private", "show_progress": "hidden"}
    load.click(change, [spec, dtype, loaded], [line, loaded], **silent).failure(
        lambda: describe(studio), None, line, **silent
    )
    return line, loaded


def state_of(studio: Studio) -> tuple[str, str]:
    """The line, and what tells one loaded model from another."""
    return describe(studio), f"{studio.model.fingerprint} {studio.model.dtype}"


def describe(studio: Studio) -> str:
    """The loaded model in one line."""
    model = studio.model
    dtype = str(model.dtype).removeprefix("torch.")
    title = CATALOG[model.name].title if model.name in CATALOG else plain(model.name)
    return f"**{title}** · {model.num_layers} layers · hidden size {model.hidden_size} · {dtype} on {model.device.type}"
