"""Several behaviours: the CAA paper's experiments on presets and on behaviours of one's own, as one report."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.panels.common import busy, download_buttons, events, guarded, report_downloads, shared_bar, stoppable
from caa_core.app.panels.measuring.paper_figures import as_behaviour, in_words, measured
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person, Session
from caa_core.data.pairs import Dataset
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.limits import PAIRS
from caa_core.measuring.paper.behaviours import (
    Behaviour,
    behaviours_of_files,
    check_behaviours,
    find_behaviours,
    find_instructions,
)
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.findings import Replication
from caa_core.measuring.paper.request import PaperRequest
from caa_core.metrics.controls import CONTROLS, check_controls
from caa_core.metrics.grid import number, parse_multipliers, whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.paper.report import report_of
from caa_core.reports.writing import Report, Section

PANEL, KNOWN = "behaviours", "behaviours-known"
FIRST = ("joy", "gloom")
MOST_KNOWN = 10
ABOUT = (
    "The experiments of the CAA paper on several behaviours at once: the effect of the vector of each layer, effect "
    "against multiplier, transfer to other layers, vector against system prompt, and where vectors and activations "
    "lie. Each behaviour's layer is chosen on one half of its held-out items and judged on the other, beside vectors "
    "that should do nothing. It comes as one report."
)
FILES = (
    "Two files for each: the pairs in NAME.json, and held-out items in NAME_test.json. Or a zip of folders NAME with "
    "generate_dataset.json and test_dataset_ab.json, as the CAA repository has them."
)


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    studio = page.studio
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            chosen = gr.Dropdown(
                list(presets()), value=list(FIRST), multiselect=True, label="Presets", elem_id="behaviours-presets"
            )
            questions = gr.Checkbox(
                False,
                label="as A/B questions",
                info="The same texts as options (A) and (B).",
                elem_id="behaviours-questions",
            )
            upload = gr.File(
                label="and behaviours of your own",
                file_count="multiple",
                file_types=[".json", ".jsonl", ".csv", ".tsv", ".parquet", ".zip"],
                height=130,
                elem_id="behaviours-upload",
            )
            gr.Markdown(f"<small>{FILES}</small>")
            mine = gr.Checkbox(
                False,
                label="and what was measured last",
                info="The vector and the items under Layers and multipliers.",
                elem_id="behaviours-mine",
            )
            with gr.Accordion("More settings", open=False, elem_id="behaviours-settings"):
                multipliers = gr.Textbox("-2,-1,0,1,2", label="Multipliers", info="numbers with commas between")
                layer = gr.Textbox(
                    "", label="Layer", placeholder="chosen for each", info="of multipliers, transfer and prompts"
                )
                swap = gr.Checkbox(
                    False, label="Use both letter orders", info="Keeps the letter out of vectors from A/B questions."
                )
                pairs = gr.Number(
                    0,
                    label="At most so many pairs of each",
                    info="0: all of them",
                    precision=0,
                    elem_id="behaviours-pairs",
                )
                items = gr.Number(
                    0,
                    label="At most so many items of each",
                    info="0: all of them",
                    precision=0,
                    elem_id="behaviours-items",
                )
                drawn = gr.Checkbox(False, label="Draw them at random", info="Else the first ones are taken.")
                controls = gr.Number(
                    CONTROLS, label="Controls of each kind", precision=0, elem_id="behaviours-controls"
                )
                counts = gr.Checkbox(False, label="Write answers too", info="Choices only; slow.")
            with gr.Row():
                start = gr.Button("Measure all", variant="primary", size="md", min_width=90, elem_id="behaviours-run")
                stop = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="behaviours-stop")
            status = gr.Markdown(elem_id="behaviours-status")
        with gr.Column(scale=5, min_width=300):
            hint = gr.Markdown(ABOUT)
            with gr.Column(visible=False) as results:
                with gr.Row():
                    formats = {".html": "Report (HTML)", ".json": "All numbers (JSON)", ".csv": "Cells (CSV)"}
                    downloads = download_buttons("behaviours", formats)
                which = gr.Dropdown([], label="Section of the report", elem_id="behaviours-which")
                said = gr.Markdown(elem_id="behaviours-said")
                table = gr.Dataframe(
                    [],
                    interactive=False,
                    wrap=True,
                    visible=False,
                    max_height=420,
                    buttons=["fullscreen"],
                    elem_id="behaviours-table",
                )
                with gr.Column(visible=False) as drawing:
                    shown = figure("Figure", "behaviours-figure")
                text = gr.HTML(visible=False, container=True, elem_id="behaviours-text")

    def section(report: Report, title: str | None) -> dict:
        parts = {part.title: part for part in report.sections}
        part = parts.get(title or "") or next(iter(parts.values()))
        return {
            which: gr.Dropdown(list(parts), value=part.title),
            said: in_words(part),
            table: _table(part),
            drawing: gr.Column(visible=part.figure is not None),
            shown: part.figure,
            text: gr.HTML(part.markup, visible=bool(part.markup)),
        }

    def draw(session: Session, found: Replication, title: str | None = None) -> dict:
        report = report_of(found)
        files = report_downloads(downloads, session, report)
        return {results: gr.Column(visible=True), hint: gr.Markdown(visible=False), **files, **section(report, title)}

    @guarded
    def run(
        request: gr.Request, names: list[str], as_questions: bool, files: list[str] | None, also: bool, *values: Any
    ) -> Iterator[dict]:
        session = studio.session(request.session_hash)
        settings = _settings(*values)
        last = measured(session.person) if also else None
        asked = _behaviours(names, as_questions, files, last)
        known = dict(session.person.results.get(KNOWN) or {})

        def work(model: SteerableModel) -> Generator[Any, None, Replication]:
            if last:  # a preset's vector may have to be made first
                vector = yield from studio.vector(model, session, last[0]["vector"])
                made = as_behaviour(asked[-1].name, vector, last[1], asked[-1].instructions)
                asked[-1:] = [made]
            answer = replicate(model, asked, settings, known)
            return (yield from _keeping(session.person, known, answer))

        drawn = None
        yield {status: "Waiting for the model ...", **busy(start)}
        job = studio.run(work)
        for event in events(session, PANEL, job):
            told = {status: shared_bar(studio, event)} if isinstance(event, Progress) else {status: gr.skip()}
            if isinstance(event, Replication):
                drawn = event
                told |= draw(session, event)
            yield told
        if job.stopped:
            there = len(drawn.findings) if drawn else 0
            yield {status: f"Stopped with {there} of {len(asked)} behaviours. Measure all again to go on from there."}
            return
        yield {status: f"Measured {len(asked)} behaviours.", **draw(session, job.result)}

    @guarded
    def again(request: gr.Request, title: str) -> dict:
        return section(report_of(_kept(studio.session(request.session_hash).person)), title)

    @guarded
    def restore(request: gr.Request) -> dict:
        session = studio.session(request.session_hash)
        return draw(session, _kept(session.person)) if PANEL in session.person.results else {status: gr.skip()}

    silent = {"show_progress": "hidden", "api_visibility": "private"}
    drawn_parts = [results, hint, *downloads.values(), which, said, table, drawing, shown, text]
    settings = [multipliers, layer, swap, pairs, items, drawn, controls, counts]
    measuring = start.click(run, [chosen, questions, upload, mine, *settings], [status, start, *drawn_parts], **silent)
    stoppable(
        studio, PANEL, measuring, start, stop, status, "It ended early; behaviours that had been measured are kept."
    )
    which.input(again, which, [which, said, table, drawing, shown, text], **silent)
    page.restore(restore, [status, *drawn_parts])
    return Tab()


def _table(part: Section) -> gr.Dataframe:
    if not part.rows:
        return gr.Dataframe(visible=False)
    return gr.Dataframe([list(row) for row in part.rows], headers=list(part.heads), visible=True)


def _behaviours(
    names: list[str], as_questions: bool, files: list[str] | None, last: tuple[dict[str, Any], Dataset] | None
) -> list[Behaviour]:
    """What was chosen, the last measurement at the end. Raises InputError where it cannot be measured together."""
    found = find_behaviours([f"{name}:ab" if as_questions else name for name in names]) if names else []
    found += behaviours_of_files([Path(file) for file in files or ()])
    if last:
        asked, items = last
        name = f"{asked['vector']} on {items.name}"
        found.append(Behaviour(name, items, items, find_instructions(asked["vector"])))
    for one in found:
        PAIRS.check(max(len(one.pairs.pairs), len(one.test.pairs)))
    return check_behaviours(found)


def _settings(
    multipliers: str, layer: str, swap: bool, pairs: Any, items: Any, drawn: bool, controls: Any, counts: bool
) -> PaperRequest:
    count = whole(controls, "The number of controls")
    return PaperRequest(
        multipliers=tuple(parse_multipliers(multipliers or "")),
        letter_swap=bool(swap),
        controls=check_controls(count) if count else 0,
        layer=whole(number(layer, "The layer"), "The layer") if (layer or "").strip() else None,
        counts=bool(counts),
        pairs=whole(pairs, "The number of pairs") or None,
        items=whole(items, "The number of items") or None,
        seed=0 if drawn else None,
    )


def _keeping(
    person: Person, known: dict[str, Any], work: Generator[Progress | Replication, None, Replication]
) -> Generator[Progress | Replication, None, Replication]:
    """Run it, and keep what has come after each behaviour, whether or not the page still listens."""

    def keep(found: Replication) -> Replication:
        person.remember(PANEL, found.pack())
        person.remember(KNOWN, dict(list(known.items())[-MOST_KNOWN:]))
        return found

    return (yield from showing(work, keep))


def _kept(person: Person) -> Replication:
    """Raises InputError where nothing was kept, or cannot be read."""
    if PANEL not in person.results:
        raise InputError("Nothing was measured yet.")
    return Replication.unpack(person.results[PANEL])
