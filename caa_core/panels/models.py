"""Models: the catalogue, loading another one, and the line at the top that says which is loaded."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from caa_core.catalog import CATALOG, is_public, listing, room
from caa_core.model import DTYPES
from caa_core.panels.common import bar, guarded, plain
from caa_core.progress import Progress, listen
from caa_core.service import Studio

HEADER = "| model | parameters | in bfloat16 | fits here | weights | licence | good for |"


def build(tab: gr.Tab, studio: Studio, line: gr.Markdown) -> gr.State:
    """Draw the tab, which keeps `line` true. Returns a state that changes when this person has loaded a model."""
    loaded = gr.State(0)
    gr.Markdown(
        "Another model replaces the one that is loaded, for everybody who uses this app. "
        + ("" if is_public() else "Besides the list: a hub id, a folder with safetensors weights, or a .gguf file.")
    )
    rows = listing()
    with gr.Row():
        spec = gr.Dropdown(
            _choices(rows),
            value=studio.model.name,
            allow_custom_value=not is_public(),
            label="Model",
            elem_id="model-spec",
            scale=4,
        )
        dtype = gr.Dropdown(
            [("automatic", ""), *((name, name) for name in DTYPES)],
            value="",
            label="Precision",
            elem_id="model-precision",
            scale=1,
        )
        load = gr.Button("Load", variant="primary", elem_id="model-load", scale=1)
    status = gr.Markdown(elem_id="model-status")
    table = gr.Markdown(_table(rows, studio), elem_id="model-list")
    gr.Markdown(
        "<small>*Fits here* compares what the model takes while it runs with the memory that is free beside the one "
        "loaded now. Licences are the makers' own; some models on the hub ask for consent and a login there.</small>"
    )

    def refresh() -> dict:
        rows = listing()
        return {table: _table(rows, studio), spec: gr.Dropdown(_choices(rows))}

    @guarded
    def change(spec: str | None, dtype: str, count: int) -> Iterator[dict]:
        yield {status: f"Loading {plain(spec or '')} ..."}
        for message in listen(lambda say: studio.load(spec or "", dtype, say)):
            yield {status: bar(message) if isinstance(message, Progress) else plain(message)}
        yield {line: describe(studio), status: "It is loaded.", loaded: count + 1, **refresh()}

    silent = {"api_visibility": "private", "show_progress": "hidden"}
    tab.select(refresh, None, [table, spec], **silent)
    load.click(change, [spec, dtype, loaded], [line, loaded, status, table, spec], **silent).failure(
        lambda: "The model was not changed.", None, status, **silent
    )
    return loaded


def state_of(studio: Studio) -> tuple[str, str]:
    """The line, and what tells one loaded model from another."""
    return describe(studio), f"{studio.model.fingerprint} {studio.model.dtype} {studio.capability is not None}"


def describe(studio: Studio) -> str:
    """The loaded model in one line, and what a quick look at it found."""
    model = studio.model
    dtype = str(model.dtype).removeprefix("torch.")
    title = CATALOG[model.name].title if model.name in CATALOG else plain(model.name)
    facts = (
        f"**{title}** · {model.num_layers} layers · hidden size {model.hidden_size} · {dtype} on {model.device.type}"
    )
    found = studio.capability
    said = plain(str(found)) if found else "Looking whether it answers A/B questions ..."
    return f"{facts}\n\n<small>{said}</small>"


def _choices(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["title"], row["key"]) for row in rows]


def _table(rows: list[dict[str, Any]], studio: Studio) -> str:
    lines = [HEADER, "| --- | ---: | ---: | --- | --- | --- | --- |"]
    for row in rows:
        loaded = row["key"] == studio.model.name
        cells = [
            f"**{plain(row['title'])}**" if loaded else plain(row["title"]),
            f"{row['parameters'] / 1e6:.0f} M",
            f"{row['size_gb']:.2f} GB",
            room(row),
            "loaded" if loaded else _weights(row),
            row["licence"],
            row["good_for"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _weights(row: dict[str, Any]) -> str:
    if row["status"] == "cached":
        return "on this machine"
    way = f"from {', else '.join(row['sources'])}"
    if row["download_gb"]:
        way = f"{row['download_gb']:.1f} GB {way}"
    return f"embedded ({way})" if row["embedded"] else way
