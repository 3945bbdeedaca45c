"""Controls that several tabs have."""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from caa_core.app.as_code import AsCode, Here, Named
from caa_core.app.guards import visitor
from caa_core.app.panels.common import (
    LATEST,
    MULTIPLIERS,
    guarded,
    layer_slider,
    multiplier_slider,
    plain,
    vector_picker,
    visible,
)
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.limits import api_key, serves_completions
from caa_core.metrics.options import OPERATION
from caa_core.model.loading import best_dtype

TABLES = [".json", ".jsonl", ".csv", ".tsv", ".parquet"]
# Of a place for a file, in pixels: its label and one line.
FILE_HEIGHT = 84
PAIR_FILES = [*TABLES[:-1], ".txt", TABLES[-1]]


@dataclass(frozen=True)
class VoiceControls:
    """A vector, a layer and a multiplier."""

    vector: gr.Dropdown
    layer: gr.Slider
    multiplier: gr.Slider

    def __iter__(self) -> Iterator[gr.Dropdown | gr.Slider]:
        return iter((self.vector, self.layer, self.multiplier))


def voice_controls(
    studio: Studio, label: str, prefix: str, first: str, start: tuple[int, float], render: bool = True
) -> VoiceControls:
    """Draw the controls of a voice. prefix: of element ids; first: its vector; start: its layer and multiplier."""
    return VoiceControls(
        vector_picker(label, first, f"{prefix}-vector", render),
        layer_slider(studio, start[0], f"{prefix}-layer", render),
        multiplier_slider(start[1], f"{prefix}-multiplier", render),
    )


def chosen_voice(
    vector: str | None, layer: float, multiplier: float | str, operation: str | None = None, several: str | None = None
) -> str:
    """What the controls of a voice hold, in one line, as HTML. several: layers in place of the one."""
    times = visible(multiplier) if isinstance(multiplier, str) else f"{multiplier:g}"
    where = f"layers {visible(several)}" if several else f"layer {layer:g}"
    done = f" · {visible(operation)}" if operation and operation != OPERATION.default else ""
    return html.escape(f"{visible(vector or '')} · {where} · × {times}{done}", quote=False)


def multiplier_at(value: float) -> gr.Slider:
    """Update of a multiplier's slider to a value, which may lie outside its range or between its steps."""
    step = 0.1 if abs(value * 10 - round(value * 10)) < 1e-9 else 0.01
    return gr.Slider(min(MULTIPLIERS["minimum"], value), max(MULTIPLIERS["maximum"], value), value=value, step=step)


@dataclass(frozen=True)
class RunButtons:
    """What starts a job, and what stops it."""

    start: gr.Button
    stop: gr.Button


def run_buttons(label: str, start_id: str, stop_id: str) -> RunButtons:
    """A button that starts a job and says `label`, and the one that stops it, side by side."""
    with gr.Row():
        return RunButtons(
            gr.Button(label, variant="primary", size="md", min_width=90, elem_id=start_id),
            gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id=stop_id),
        )


def begin_and_stop(label: str, start_id: str, stop_id: str, is_main: bool = True) -> tuple[gr.Button, gr.Button]:
    """The same at the end of a row. is_main: whether nothing else on its page is what to press first."""
    begin: Literal["primary", "secondary"] = "primary" if is_main else "secondary"
    return (
        gr.Button(label, variant=begin, size="md", scale=0, min_width=120, elem_id=start_id),
        gr.Button("Stop", variant="stop", size="md", scale=0, min_width=120, elem_id=stop_id),
    )


def link_button(tab: str) -> gr.Button:
    """What copies a link to what is chosen. tab: its name in links."""
    return gr.Button("Copy link", size="sm", elem_id=f"{tab}-link")


def file_picker(
    label: str, elem_id: str, types: list[str] = TABLES, height: int = FILE_HEIGHT, min_width: int = 160
) -> gr.File:
    """A place for one file of the person's."""
    return gr.File(label=label, file_types=types, height=height, elem_id=elem_id, min_width=min_width)


def as_questions(elem_id: str | None = None) -> gr.Checkbox:
    """Whether a preset's texts are taken as A/B questions."""
    return gr.Checkbox(False, label="as A/B questions", elem_id=elem_id, min_width=140)


def at_most(what: str, value: int = 0, elem_id: str | None = None, info: str = "0: all") -> gr.Number:
    """How many of something are taken."""
    return gr.Number(value, label=f"Use at most ({what})", info=info, precision=0, elem_id=elem_id, min_width=120)


def numbers_table(elem_id: str, wrap: bool = False) -> gr.Dataframe:
    """A table to be read, whose heads come with its rows."""
    # Not the button "copy", which makes CSV that a spreadsheet would run formulas from.
    return gr.Dataframe([], interactive=False, max_height=420, buttons=["fullscreen"], wrap=wrap, elem_id=elem_id)


def words_table(elem_id: str, heads: list[str], widths: list[str | int], max_height: int = 500) -> gr.Dataframe:
    """A table of texts and numbers, whose columns keep their widths."""
    return gr.Dataframe(
        headers=heads,
        interactive=False,
        wrap=True,
        max_height=max_height,
        column_widths=[*widths],
        buttons=["fullscreen"],
        elem_id=elem_id,
    )


# What is chosen in a form, as code.
WriteCode = Callable[[Session, Mapping[str, Any], Here], AsCode]


def as_code(studio: Studio, name: str, form: Mapping[str, Component], write: WriteCode) -> None:
    """Draw a folded section with what is chosen in the form as code, which is written when somebody asks for it. name:
    of its ids.
    """
    with gr.Accordion("As code", open=False, elem_id=f"{name}-code") as section:
        shown = gr.Markdown(latex_delimiters=[], elem_id=f"{name}-code-shown", elem_classes="code")
        again = gr.Button("What is chosen now", size="sm", elem_id=f"{name}-code-again")

    @guarded
    def look(request: gr.Request, *values: Any) -> str:
        session = visitor(studio, request)
        return _in_blocks(write(session, dict(zip(form, values, strict=True)), _here(studio, request)))

    gr.on([section.expand, again.click], look, [*form.values()], shown, **LATEST)


def source_of(session: Session, name: str) -> Named:
    """A vector that is chosen by its name."""
    return Named.vector(name, own=name in session.vectors)


def page_of(request: gr.Request) -> str:
    """The address of the page of whoever asks, without what is behind it."""
    headers = getattr(request, "headers", {})
    page = headers.get("referer") or headers.get("origin") or f"http://{headers.get('host', 'localhost:7860')}"
    return re.split("[?#]", page)[0]


def _here(studio: Studio, request: gr.Request) -> Here:
    """The app as whoever asks has it."""
    dtype = studio.model.precision
    own_choice = best_dtype(studio.model.device.type)
    served = studio.model.name if serves_completions() else ""
    where = (page_of(request), served, bool(api_key()))
    if studio.host:  # whose dtype is its own
        return Here(studio.spec, "", *where, studio.host.address)
    return Here(studio.spec, "" if dtype == own_choice else dtype, *where)


def _in_blocks(code: AsCode) -> str:
    """As Markdown, each in a block that its own lines cannot end."""
    blocks = (
        ("Python", "python", code.python),
        ("Shell", "bash", code.shell),
        ("This app", "python", code.client),
        ("This app, by OpenAI's API", "bash", code.curl),
        ("llama.cpp", "bash", code.llama),
    )
    fence = "`" * max(3, *(len(run) + 1 for _, _, text in blocks for run in re.findall("`+", text) or [""]))
    parts = [f"**{title}**\n\n{fence}{language}\n{text}\n{fence}" for title, language, text in blocks if text]
    return "\n\n".join([*map(plain, code.notes), *parts])
