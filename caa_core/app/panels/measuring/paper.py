"""Several behaviours: the CAA paper's experiments on presets and on behaviours of one's own, as one report."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.as_code import AsCode, Here
from caa_core.app.as_code import behaviours as behaviours_code
from caa_core.app.forms import control
from caa_core.app.panels.common import Updates, download_buttons, report_downloads
from caa_core.app.panels.controls import (
    FILE_HEIGHT,
    TABLES,
    as_code,
    as_questions,
    link_button,
    numbers_table,
    run_buttons,
)
from caa_core.app.panels.experiment import Cache, Experiment, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.made_with import Linked, MadeWith
from caa_core.app.panels.measuring.latest import measured, name_of_latest
from caa_core.app.panels.measuring.paper_figures import as_behaviour, in_words
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.data.pairs import Dataset
from caa_core.data.presets import presets
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
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.paper.report import report_of, sections
from caa_core.reports.writing import Section

FIRST = ("joy", "gloom")
ABOUT = folded(
    "The experiments of the CAA paper, on several behaviours at once, as one report.",
    "The effect of the vector of each layer, effect against multiplier, transfer to other layers, vector against "
    "system prompt, and where vectors and activations lie. Each behaviour's layer is chosen on one half of its "
    "held-out items and judged on the other, beside controls.",
)
FILES = folded(
    "Two files for each: NAME.json, and held-out items in NAME_test.json; or a zip.",
    "A zip has folders NAME with generate_dataset.json and test_dataset_ab.json, as the CAA repository has them.",
    "About the zip",
)


class PaperForm:
    """What is set, in parts by name."""

    def __init__(self) -> None:
        self.presets = gr.Dropdown(
            list(presets()), value=list(FIRST), multiselect=True, label="Presets", elem_id="behaviours-presets"
        )
        self.questions = as_questions("behaviours-questions")

    def draw_more(self) -> None:
        """Draw what is set less often."""
        self.files = gr.File(
            label="and behaviours of your own",
            file_count="multiple",
            file_types=[*TABLES, ".zip"],
            height=FILE_HEIGHT,
            elem_id="behaviours-upload",
        )
        gr.Markdown(FILES)
        self.mine = gr.Checkbox(
            False,
            label="and what was measured last",
            info="The vector and the items under Layers and multipliers.",
            elem_id="behaviours-mine",
        )
        with gr.Accordion("More settings", open=False, elem_id="behaviours-settings"):
            self.layers = control(PaperRequest, "layers", info="Such as 10,12-15")
            self.multipliers = control(PaperRequest, "multipliers")
            layer = PaperRequest.options()["layer"]
            self.layer = gr.Textbox("", label=layer.label, info=layer.info, placeholder="chosen for each")
            self.letter_swap = control(PaperRequest, "letter_swap")
            self.pairs = control(PaperRequest, "pairs", elem_id="behaviours-pairs", min_width=120)
            self.items = control(PaperRequest, "items", elem_id="behaviours-items", min_width=120)
            self.drawn = gr.Checkbox(False, label="Draw them at random", info="Else the first ones are taken.")
            self.controls = control(PaperRequest, "controls", info=None, elem_id="behaviours-controls")
            self.counts = control(PaperRequest, "counts")
            self.operation = control(PaperRequest, "operation", elem_id="behaviours-operation")


@dataclass(frozen=True)
class BehavioursChoice:
    """Behaviours, and how they are measured. last: what was asked of the last evaluation, and its items, where the last
    of the behaviours is that.
    """

    behaviours: list[Behaviour]
    request: PaperRequest
    last: tuple[dict[str, Any], Dataset] | None


class PaperPanel(Experiment[BehavioursChoice]):
    """The tab."""

    name = "behaviours"
    cache = Cache("behaviours-known", most=10)
    after_error = "It ended early; behaviours that had been measured are kept."

    def __init__(self, page: Page):
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                form = PaperForm()
                buttons = run_buttons("Measure all", "behaviours-run", "behaviours-stop")
                status = gr.Markdown(elem_id="behaviours-status")
                form.draw_more()
                copies = link_button(self.name)
            with gr.Column(scale=5, min_width=300):
                self.hint = gr.Markdown(ABOUT)
                with gr.Column(visible=False) as self.results:
                    with gr.Row():
                        formats = {".html": "Report (HTML)", ".json": "All numbers (JSON)", ".csv": "Cells (CSV)"}
                        self.downloads = download_buttons("behaviours", formats)
                    self.which = gr.Dropdown([], label="Section of the report", elem_id="behaviours-which")
                    self.said = gr.Markdown(elem_id="behaviours-said")
                    self.table = numbers_table("behaviours-table", wrap=True)
                    self.table.visible = False
                    with gr.Column(visible=False) as self.drawing:
                        self.figure = figure("Figure", "behaviours-figure")
                    self.text = gr.HTML(visible=False, container=True, elem_id="behaviours-text")
        section = [self.which, self.said, self.table, self.drawing, self.figure, self.text]
        shown = [self.results, self.hint, *self.downloads.values(), *section]
        super().__init__(page, vars(form), [buttons.start], buttons.stop, status, shown)
        self.shown_by(self.which, section, lambda _, kept, title: self._section(_found(kept), title))
        as_code(page.studio, self.name, self.form, written_as_code)
        Linked(page, self.name, copies, *(_as_linked(parts) for parts in (self.form, PaperRequest.options())))

    def ask(self, session: Session, form: Mapping[str, Any]) -> BehavioursChoice:
        request = PaperRequest.parse(**PaperRequest.chosen(form), seed=0 if form["drawn"] else None)
        last = measured(session.person) if form["mine"] else None
        return BehavioursChoice(_behaviours(form, last), request, last)

    def settings(self, session: Session, form: Mapping[str, Any]) -> MadeWith:
        latest = {"measured": name_of_latest(session.person)} if form["mine"] else {}
        return {**latest, **super().settings(session, form)}

    def asked(self, kept: Plain) -> MadeWith | None:
        return super().asked(kept) if "found" in kept else None

    def work(
        self, model: SteerableModel, session: Session, asked: BehavioursChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        behaviours = [*asked.behaviours]
        if asked.last:  # a preset's vector may have to be made first
            evaluation, items = asked.last
            vector = yield from self.studio.vector(model, session, evaluation["vector"])
            behaviours[-1] = as_behaviour(behaviours[-1].name, vector, items, behaviours[-1].instructions)

        def packed(found: Replication) -> Plain:
            return {"found": found.pack()}

        return packed((yield from showing(replicate(model, behaviours, asked.request, known), packed)))

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        section = self._section(_found(kept), None)
        return {self.results: gr.Column(visible=True), self.hint: gr.Markdown(visible=False), **section}

    def files(self, session: Session, kept: Plain) -> Updates:
        return report_downloads(self.downloads, session, report_of(_found(kept)))

    def ended(self, run: Run[BehavioursChoice], stopped: bool) -> str:
        wanted = len(run.asked.behaviours)
        if not stopped:
            return f"Measured {wanted} behaviours."
        there = f"{len(_found(run.found).findings) if run.found else 0} of {wanted}"
        return f"Stopped with {there} behaviours. Measure all again to go on from there."

    def _section(self, found: Replication, title: str | None) -> Updates:
        """Updates that show one section of the report; the first where that is none."""
        parts = {part.title: part for part in sections(found)}
        part = parts.get(title or "") or next(iter(parts.values()))
        return {
            self.which: gr.Dropdown(list(parts), value=part.title),
            self.said: in_words(part),
            self.table: _table(part),
            self.drawing: gr.Column(visible=part.figure is not None),
            self.figure: part.figure,
            self.text: gr.HTML(part.markup, visible=bool(part.markup)),
        }


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    PaperPanel(page)
    return Tab()


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """The presets that are chosen; what the page alone has is named."""
    names = [f"{name}:ab" if form["questions"] else name for name in form["presets"] or ()]
    notes = ["Files of your own go along as folders: see behaviours --help."] if form["files"] else []
    notes += ["What was measured last is not part of it."] if form["mine"] else []
    return behaviours_code(here, names, {**form, **({"seed": 0} if form["drawn"] else {})}, notes)


def _as_linked(parts: Mapping[str, Any]) -> dict[str, Any]:
    """By the names of links, in which pairs and items are how many of them."""
    return {f"most_{name}" if name in ("pairs", "items") else name: part for name, part in parts.items()}


def _found(kept: Plain) -> Replication:
    """What was found; earlier versions kept nothing else."""
    return Replication.unpack(kept.get("found", kept))


def _table(part: Section) -> gr.Dataframe:
    if not part.rows:
        return gr.Dataframe(visible=False)
    return gr.Dataframe([list(row) for row in part.rows], headers=list(part.heads), visible=True)


def _behaviours(form: Mapping[str, Any], last: tuple[dict[str, Any], Dataset] | None) -> list[Behaviour]:
    """What was chosen, the last measurement at the end. Raises InputError where it cannot be measured together."""
    names, as_questions, files = form["presets"], form["questions"], form["files"]
    found = find_behaviours([f"{name}:ab" if as_questions else name for name in names]) if names else []
    found += behaviours_of_files([Path(file) for file in files or ()])
    if last:
        asked, items = last
        name = f"{asked['vector']} on {items.name}"
        found.append(Behaviour(name, items, items, find_instructions(asked["vector"])))
    for one in found:
        PAIRS.check(max(len(one.pairs.pairs), len(one.test.pairs)))
    return check_behaviours(found)
