"""Models: the catalogue, loading another one, and the line at the top that says which is loaded."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from caa_core.app.panels.common import QUIET, bar, busy, freed, guarded, plain
from caa_core.app.panels.hosting.owner import OwnerPanel
from caa_core.app.panels.hosting.where import Where, chosen_host
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page, Tab
from caa_core.app.quick_check import Capability
from caa_core.app.studio import Studio
from caa_core.limits import is_public, owner_key
from caa_core.model.catalog import CATALOG, listing, room
from caa_core.model.loading import PRECISIONS, SteerableModel
from caa_core.progress import Progress, listen

COLUMNS = folded(
    "",
    "*Fits here* compares what the model takes while it runs with the memory that is free beside the one loaded now. "
    "Licences are the makers' own; some models on the hub ask for consent and a login there.",
    "What the columns say",
)
HEADER = "| model | parameters | in bfloat16 | fits here | weights | licence | good for |"


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab, which keeps the page's line true."""
    studio, line = page.studio, page.line
    may_load = not is_public() or bool(owner_key())
    affected = gr.Markdown(_affected(studio), elem_id="model-affected")
    rows = listing()
    where = Where(studio.host)
    with gr.Row(visible=may_load):
        spec = gr.Dropdown(
            _choices(rows),
            value=studio.model.name,
            allow_custom_value=not is_public(),
            label="Model",
            elem_id="model-spec",
            scale=4,
            min_width=240,
        )
        dtype = gr.Dropdown(
            [("automatic", ""), *((name, name) for name in PRECISIONS)],
            value="",
            label="Precision",
            visible=not where.at_host,
            elem_id="model-precision",
            scale=1,
        )
        key = gr.Textbox(
            label="Owner's key", type="password", visible=is_public(), max_length=200, elem_id="model-key", scale=1
        )
        load = gr.Button("Load", variant="primary", size="md", elem_id="model-load", scale=1)
    where.instead_of(dtype)
    status = gr.Markdown(elem_id="model-status")
    table = gr.Markdown(_table(rows, studio), elem_id="model-list")
    gr.Markdown(COLUMNS)
    OwnerPanel(page)

    @guarded
    def refresh() -> dict:
        rows = listing()
        return {table: _table(rows, studio), spec: gr.Dropdown(_choices(rows)), affected: _affected(studio)}

    @guarded
    def change(request: gr.Request, spec: str | None, dtype: str, key: str, *there: str | None) -> Iterator[dict]:
        studio.owner.check(key or "", page.session(request).address)
        host = chosen_host(*there)
        others = max(studio.sessions.here - 1, 0)
        yield {status: f"Loading {plain(spec or '')} for you and {others} other{'s' * (others != 1)} ...", **busy(load)}
        for message in listen(lambda say: studio.load(spec or "", "" if host else dtype, say, host)):
            yield {status: bar(message) if isinstance(message, Progress) else plain(message)}
        yield {line: describe(studio), status: "It is loaded.", where.key: "", **refresh()}

    tab.select(refresh, None, [table, spec, affected], **QUIET)
    made = [line, status, table, spec, affected, load, where.key]
    loading = load.click(change, [spec, dtype, key, *where.parts], made, **QUIET)
    loading.failure(lambda: "The model was not changed.", None, status, **QUIET)
    freed(loading, lambda: {load: gr.update(interactive=True)})
    return Tab()


def _affected(studio: Studio) -> str:
    """Whom loading another model affects, and who may."""
    if is_public() and not owner_key():
        return "This app is open to strangers, so the model that it has is the one it keeps."
    here = studio.sessions.here
    people = "You are the only user now." if here < 2 else f"**{here} people** are here now."
    may = (
        "Only the owner of this app may do it."
        if is_public()
        else "Besides the list: a hub id, a folder with safetensors weights, or a .gguf file."
    )
    return folded(
        f"Loaded: {plain(studio.model.name)}, {_facts(studio.model)}.\n\n"
        f"Another model replaces the one that is loaded, for everybody who uses this app. {people}",
        f"What is being written is finished on the old one, and vectors made on the old one may not fit the new. {may}",
    )


def describe(studio: Studio) -> str:
    """The loaded model in one line, and what a quick look at it found."""
    model = studio.model
    title = CATALOG[model.name].title if model.name in CATALOG else plain(model.name)
    found = studio.capability
    said = "Looking whether it answers A/B questions ..."
    if isinstance(found, Capability):
        said = found.in_short
    elif found:
        said = "Whether it answers A/B questions could not be seen."
    return f'<span title="{_facts(model)}">**{title}**</span><br>{said}'


def _facts(model: SteerableModel) -> str:
    place = model.elsewhere.place if model.elsewhere else f"on {model.device.type}"
    return f"{model.num_layers} layers, hidden size {model.hidden_size}, {model.precision} {place}"


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
        way = f"{row['download_gb']:.1f} GB download {way}"
    return f"embedded ({way})" if row["embedded"] else way
