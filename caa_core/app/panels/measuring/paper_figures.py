"""The CAA paper's figures of what was measured, one click each."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from caa_core.app.panels.common import QUIET, Updates, json_download, plain
from caa_core.app.panels.experiment import Cache, Experiment, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.made_with import MadeWith
from caa_core.app.panels.measuring.latest import measured, name_of_latest
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.data.pairs import Dataset
from caa_core.data.presets import pairs_behind
from caa_core.errors import InputError
from caa_core.measuring.paper.behaviours import Behaviour, Instructions, find_instructions
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.findings import Findings, Replication
from caa_core.measuring.paper.request import PaperRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.page.template import parted
from caa_core.reports.paper.report import FIGURES, section_of
from caa_core.reports.writing import Section
from caa_core.vectors.vector import SteeringVector

ABOUT = "Choose one to compute it, for this vector and these items; where it takes one layer, at the one chosen above."


@dataclass(frozen=True)
class FigureChoice:
    """A figure of what was measured: the vector by its name, the items, and how it is computed."""

    figure: str
    vector: str
    items: Dataset
    instructions: Instructions | None
    request: PaperRequest


class PaperFigures(Experiment[FigureChoice]):
    """The choice of a figure, which begins to compute it, and its place."""

    name = "paper"
    cache = Cache("paper-known", most=8)

    def __init__(self, page: Page, layer: gr.Dropdown):
        """layer: where the layer is chosen at which figures are drawn that take one."""
        gr.Markdown("### The paper's figures")
        self.which = gr.Radio(list(FIGURES), value=None, label="Figure", info=ABOUT, elem_id="paper-which")
        with gr.Accordion("Instructions for “Vector against system prompt”", open=False):
            with gr.Row():
                positive = _instruction("Asks for the behaviour", "paper-positive")
                negative = _instruction("Asks for the opposite", "paper-negative")
            gr.Markdown("Left empty, the instructions that ship with a preset are used.")
        with gr.Row():
            status = gr.Markdown(elem_id="paper-status")
            self.stop = gr.Button(
                "Stop", variant="stop", size="sm", min_width=60, scale=0, visible=False, elem_id="paper-stop"
            )
        with gr.Column(visible=False) as self.place:
            self.said = gr.Markdown(elem_id="paper-said")
            with gr.Column(visible=False) as self.drawing:
                self.figure = figure("Figure", "paper-figure")
            self.text = gr.HTML(visible=False, elem_id="paper-text", container=True)
            with gr.Row():
                self.data = gr.DownloadButton("Data (JSON)", size="sm", min_width=120, scale=0, elem_id="paper-data")
        form = {"figure": self.which, "layer": layer, "positive": positive, "negative": negative}
        shown = [self.place, self.which, self.stop, self.said, self.drawing, self.figure, self.text, self.data]
        super().__init__(page, form, [], self.stop, status, shown, start=self.which.input)

    def follows(self, evaluation: Experiment[Any]) -> None:
        """Say whether the figure is of what has been measured, whenever something has."""
        for began in evaluation.began:
            began.then(self.page.looks(self.look), [*self.form.values()], self.made, queue=False, **QUIET)

    def ask(self, session: Session, form: Mapping[str, Any]) -> FigureChoice:
        if form["figure"] not in FIGURES:
            raise InputError("Choose one of the figures.")
        asked, items = measured(session.person)
        experiment, _ = FIGURES[form["figure"]]
        request = PaperRequest.parse(
            layer=form["layer"],
            experiments=(experiment,) if experiment else (),
            # Here controls are exact passes: Measure's are estimates, of which there are many.
            **({} if asked["controls"] else {"controls": 0}),
            **{name: asked[name] for name in ("multipliers", "positions", "cue")},
            operation=asked.get("operation"),  # a measurement that was kept may not say it
        )
        told = _instructions(asked, form["positive"], form["negative"])
        return FigureChoice(form["figure"], asked["vector"], items, told, request)

    def settings(self, session: Session, form: Mapping[str, Any]) -> MadeWith:
        return {"measured": name_of_latest(session.person), **super().settings(session, form)}

    def work(
        self, model: SteerableModel, session: Session, asked: FigureChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        behaviour = as_behaviour(asked.vector, vector, asked.items, asked.instructions)

        def packed(found: Replication) -> Plain:
            return {"figure": asked.figure, "found": found.findings[0].pack()}

        return packed((yield from showing(replicate(model, [behaviour], asked.request, known), packed)))

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = Findings.unpack(kept["found"])
        part = section_of(found, kept["figure"])
        return {
            self.which: kept["figure"],
            self.place: gr.Column(visible=True),
            self.said: in_words(part),
            self.drawing: gr.Column(visible=part.figure is not None),
            self.figure: part.figure,
            self.text: gr.HTML(part.markup, visible=bool(part.markup)),
            self.data: json_download(session, part.title, found.summary()),
        }

    def ended(self, run: Run[FigureChoice], stopped: bool) -> str:
        return "Stopped." if stopped else ""

    def waiting(self) -> Updates:
        return {**super().waiting(), self.stop: gr.Button(visible=True, interactive=True)}

    def free(self) -> Updates:
        return {self.stop: gr.update(visible=False)}


def in_words(part: Section) -> str:
    """A section's title and text, as Markdown: of what is long, how it begins, and the rest folded."""
    blocks = [parted(block) for block in part.text.split("\n\n")]
    lines = [folded(plain(first), _lines(rest)) if rest else plain(first) for first, rest in blocks]
    paper = [f"<small>{plain(part.counterpart)}</small>"] if part.counterpart else []
    return "\n\n".join([f"#### {plain(part.title)}", *paper, *lines])


def _lines(text: str) -> str:
    return "\n\n".join(map(plain, text.splitlines()))


def _instruction(label: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(label=label, lines=2, placeholder="as shipped", elem_id=elem_id)


def _instructions(asked: dict[str, Any], positive: str, negative: str) -> Instructions | None:
    """Those that were typed, else those that ship for the vector or its items."""
    if (positive or "").strip() or (negative or "").strip():
        return Instructions.of({"positive": positive or "", "negative": negative or ""}, "The instructions")
    return find_instructions(asked["vector"]) or find_instructions(asked["preset"] or "")


def as_behaviour(name: str, vector: SteeringVector, items: Dataset, told: Instructions | None) -> Behaviour:
    """The items, with the pairs of the vector where those are known: the items stand in for pairs that are not."""
    pairs = pairs_behind(vector.provenance)
    return Behaviour(name, pairs or items, items, told, vector, pairs is not None)
