"""Controls that several tabs have."""

from dataclasses import dataclass

import gradio as gr

TABLES = [".json", ".jsonl", ".csv", ".tsv", ".parquet"]
PAIR_FILES = [*TABLES[:-1], ".txt", TABLES[-1]]


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


def file_picker(
    label: str, elem_id: str, types: list[str] = TABLES, height: int = 130, min_width: int = 160
) -> gr.File:
    """A place for one file of the person's."""
    return gr.File(label=label, file_types=types, height=height, elem_id=elem_id, min_width=min_width)


def as_questions(elem_id: str | None = None) -> gr.Checkbox:
    """Whether a preset's texts are taken as A/B questions."""
    info = "The same texts as options (A) and (B)."
    return gr.Checkbox(False, label="as A/B questions", info=info, elem_id=elem_id, min_width=140)


def at_most(what: str, value: int = 0, elem_id: str | None = None, info: str = "0: all of them") -> gr.Number:
    """How many of something are taken."""
    return gr.Number(value, label=f"At most so many {what}", info=info, precision=0, elem_id=elem_id, min_width=120)


def numbers_table(elem_id: str, wrap: bool = False) -> gr.Dataframe:
    """A table to be read, whose heads come with its rows."""
    # Not the button "copy", which makes CSV that a spreadsheet would run formulas from.
    return gr.Dataframe([], interactive=False, max_height=420, buttons=["fullscreen"], wrap=wrap, elem_id=elem_id)
