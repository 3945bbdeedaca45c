"""Positions and cues: where to steer, where to read and how to ask, compared on the same items."""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.as_code import AsCode, Here, Named
from caa_core.app.as_code import study as study_code
from caa_core.app.forms import control
from caa_core.app.panels.common import QUIET, Updates, download_buttons, guarded, plain, recommended, report_downloads
from caa_core.app.panels.controls import (
    PAIR_FILES,
    as_code,
    as_questions,
    at_most,
    file_picker,
    link_button,
    numbers_table,
    run_buttons,
)
from caa_core.app.panels.experiment import Cache, Experiment, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.made_with import Linked
from caa_core.app.panels.measuring.evaluation import items_of
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.columns import Columns
from caa_core.data.pairs import read_pairs
from caa_core.data.presets import find_pairs, presets
from caa_core.errors import InputError
from caa_core.limits import PAIRS
from caa_core.measuring.requests import STUDY_POSITIONS, STUDY_READS, StudyRequest
from caa_core.measuring.study import size, study
from caa_core.measuring.study_results import Study
from caa_core.metrics.grid import parse_layers, whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.study import about, report_of, rows_in_words, study_dots

FIRST = "joy"
FIRST_MULTIPLIERS = "1"  # each other one takes as long again: minutes with all controls
ONE_AT_A_TIME, GRID = "One factor at a time", "Every combination"
ABOUT = folded(
    "Which tokens should be steered, where should vectors be read, and does the model need a cue to answer?",
    "Every combination is measured on the same items, beside controls of the same norm: vectors drawn at random, and "
    "vectors made from the same pairs with shuffled labels.",
)
DRAWN = "Dots: change against the unsteered model, with 95% intervals. Grey: how far controls of the same norm go."


class StudyForm:
    """What is set, in parts by the names under which it is kept."""

    def __init__(self, studio: Studio):
        with gr.Row():
            self.preset = gr.Dropdown(
                list(presets()),
                value=FIRST,
                label="Behaviour",
                info="Its pairs, its held-out items",
                elem_id="study-preset",
                min_width=140,
            )
            self.questions = as_questions()
        with gr.Row():
            layer = str(recommended(studio, FIRST)[0])
            self.layers = control(StudyRequest, "layers", value=layer, elem_id="study-layers", min_width=100)
            self.multipliers = control(
                StudyRequest, "multipliers", value=FIRST_MULTIPLIERS, elem_id="study-multipliers", min_width=100
            )
        self.design = gr.Radio([ONE_AT_A_TIME, GRID], value=ONE_AT_A_TIME, label="Compare", elem_id="study-design")

    def draw_more(self) -> None:
        """Draw what is set less often."""
        with gr.Accordion("Files of your own", open=False):
            self.pairs = file_picker("Contrast pairs", "study-pairs", PAIR_FILES)
            self.items = file_picker("Test items", "study-items", PAIR_FILES)
            self.columns = gr.Textbox(label="Columns of your files", placeholder="PROMPT,POSITIVE,NEGATIVE")
        with gr.Accordion("More settings", open=False, elem_id="study-settings"):
            with gr.Row():
                self.most_items = at_most("items", 12, "study-most", info="0: all")
                self.most_pairs = at_most("pairs", 50, info="0: all")
            self.controls = control(StudyRequest, "controls", elem_id="study-controls")
            self.positions = control(StudyRequest, "positions", multiselect=True, value=list(STUDY_POSITIONS))
            self.reads = control(StudyRequest, "reads", multiselect=True, value=list(STUDY_READS))
            self.cues = control(StudyRequest, "cues")
            self.asked = control(StudyRequest, "asked", elem_id="study-asked")
            self.operation = control(StudyRequest, "operation")


class StudyPanel(Experiment[StudyRequest]):
    """The tab."""

    name = "study"
    cache = Cache("study-known", most=1000)
    after_error = "It ended early; what had been measured is kept."
    unreadable = "The study that was kept cannot be read."

    def __init__(self, page: Page):
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                form = StudyForm(page.studio)
                size = self.size = gr.Markdown(_size(page.studio, _asked({})), elem_id="study-size")
                buttons = run_buttons("Compare", "study-run", "study-stop")
                status = gr.Markdown(elem_id="study-status")
                form.draw_more()
                copies = link_button(self.name)
            with gr.Column(scale=5, min_width=300):
                self.hint = gr.Markdown(ABOUT)
                with gr.Column(visible=False) as self.results:
                    self.answers = gr.Markdown(elem_id="study-answers")
                    self.layer = gr.Radio([], label="Layer", visible=False, elem_id="study-layer")
                    self.dots = figure("Change by position and cue", "study-dots")
                    gr.Markdown(f"<small>{DRAWN}</small>")
                    with gr.Row():
                        formats = {".json": "Data (JSON)", ".csv": "Rows (CSV)", ".html": "Report (HTML)"}
                        self.downloads = download_buttons("study", formats)
        with gr.Accordion("All rows in numbers", open=False, visible=False, elem_id="study-rows") as self.details:
            self.table = numbers_table("study-table", wrap=True)
        shown = [self.results, self.details, self.hint, self.answers, self.layer, self.dots, self.table, size]
        super().__init__(page, vars(form), [buttons.start], buttons.stop, status, [*shown, *self.downloads.values()])
        self.shown_by(self.layer, [self.dots], self._at_layer)
        self._tell_size(form, size)
        as_code(page.studio, self.name, self.form, written_as_code)
        LinkedStudy(self, copies, size)

    def ask(self, session: Session, form: Mapping[str, Any]) -> StudyRequest:
        asked = _asked(form)
        parse_layers(asked.layers, self.studio.model.num_layers)
        return asked

    def work(
        self, model: SteerableModel, session: Session, asked: StudyRequest, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        def packed(found: Study) -> Plain:
            return {"found": found.summary()}

        return packed((yield from showing(study(model, asked, known), packed)))

    def for_everybody(self, run: Run[StudyRequest]) -> bool:
        return not (run.form["pairs"] or run.form["items"])

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = Study.of(kept["found"])
        headers, rows = rows_in_words(found)
        return {
            self.results: gr.Column(visible=True),
            self.details: gr.Accordion(visible=True),
            self.hint: gr.Markdown(visible=False),
            self.answers: _in_words(found),
            self.layer: gr.Radio(found.layers, value=found.layers[0], visible=len(found.layers) > 1),
            self.dots: study_dots(found, found.layers[0]),
            self.table: gr.Dataframe(rows, headers=headers),
        }

    def show_ready(self, session: Session, before: Plain) -> Updates:
        size = _size_of(self.studio, self.asked(before) or {})
        return {**super().show_ready(session, before), self.size: size}

    def files(self, session: Session, kept: Plain) -> Updates:
        return report_downloads(self.downloads, session, report_of(Study.of(kept["found"])))

    def ended(self, run: Run[StudyRequest], stopped: bool) -> str:
        if not run.found:
            return "Stopped before anything was measured."
        found = Study.of(run.found["found"])
        cells = f"{len(found.rows)} of {found.cells} cells"
        return f"Stopped with {cells}. Compare again to go on from there." if stopped else f"Measured {cells}."

    def _at_layer(self, session: Session, kept: Plain, layer: Any) -> Updates:
        return {self.dots: study_dots(Study.of(kept["found"]), whole(layer, "The layer"))}

    def _tell_size(self, form: StudyForm, size: gr.Markdown) -> None:
        """Say how large the study is, whenever something is set that changes it."""
        parts = list(self.form.values())

        @guarded
        def look(*values: Any) -> str:
            return _size_of(self.studio, dict(zip(self.form, values, strict=True)))

        @guarded
        def follow(name: str) -> str:
            return str(recommended(self.studio, name)[0])

        chosen = [
            part.input for part in (form.questions, form.design, form.positions, form.reads, form.cues, form.asked)
        ]
        counts = [count.blur for count in (form.most_items, form.most_pairs, form.controls)]
        typed = [form.layers.blur, form.multipliers.blur, form.columns.submit]
        gr.on([*chosen, *counts, *typed], look, parts, size, **QUIET)
        for upload in (form.pairs, form.items):
            upload.change(look, parts, size, **QUIET)
        form.preset.input(follow, form.preset, form.layers, **QUIET).then(look, parts, size, **QUIET)


class LinkedStudy(Linked):
    """A link to what is compared. size: says how large that is."""

    def __init__(self, panel: StudyPanel, button: gr.Button, size: gr.Markdown):
        self.size = size
        super().__init__(panel.page, panel.name, button, panel.form, StudyRequest.options())

    def also(self, session: Session, form: Mapping[str, Any]) -> Updates:
        return {self.size: _size_of(self.page.studio, form)}


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    StudyPanel(page)
    return Tab()


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """What is chosen; a file of one's own goes along by its name."""
    preset = Named(f"{form['preset']}:ab" if form["questions"] else form["preset"] or "")
    pairs, items = (Named(Path(form[name]).name, True) if form[name] else preset for name in ("pairs", "items"))
    return study_code(here, pairs, items, {**form, "full": form["design"] == GRID}, (form["columns"] or "").strip())


def _asked(asked: Mapping[str, Any]) -> StudyRequest:
    """What the form holds. Raises InputError for what cannot be."""
    name = asked.get("preset", FIRST) or ""
    if asked.get("questions"):
        name += ":ab"
    columns = asked.get("columns") or ""
    if file := asked.get("pairs"):
        pairs = read_pairs(Path(file), columns=Columns.parse(columns) if columns.strip() else None)
    elif name.partition(":")[0] in presets():
        pairs = find_pairs(name)
    else:
        raise InputError(f"Give a file of contrast pairs, or one of the presets: {', '.join(presets())}.")
    pairs = pairs.first(whole(asked.get("most_pairs", 50), "The number of pairs"))
    PAIRS.check(len(pairs.pairs))
    items = items_of(asked.get("items"), name, columns, asked.get("most_items", 12))
    chosen = {"multipliers": FIRST_MULTIPLIERS, **StudyRequest.chosen(asked), "layers": asked.get("layers") or "0"}
    return StudyRequest.parse(pairs=pairs, items=items, full=asked.get("design") == GRID, **chosen)


def _size_of(studio: Studio, form: Mapping[str, Any]) -> str:
    """How large the study is that a form asks for, or why there is none."""
    try:
        return _size(studio, _asked(form))
    except InputError as error:  # it takes the place of what was said before
        return f"**That cannot be compared.** {plain(str(error))}"


def _size(studio: Studio, asked: StudyRequest) -> str:
    measured = size(asked, studio.model.num_layers)
    return f"<small>{plain(asked.items.name)}: {len(asked.items.pairs)} items. {measured}.</small>"


def _in_words(found: Study) -> str:
    """The answers, and what they rest on, as Markdown."""
    lines = [f"- {plain(sentence)}" for sentence in found.answers]
    left = [f"<small>Left out: {plain(reason[:300])}</small>" for reason in (*found.left_out, *found.skipped[:1])]
    return "\n\n".join([folded("\n".join(lines), f"<small>{plain(about(found))}</small>"), *left])
