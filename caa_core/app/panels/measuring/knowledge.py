"""What steering costs on a test of knowledge: the second half of the cost in Look inside."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.forms import control
from caa_core.app.panels.common import Updates, check_fit, json_download, plain
from caa_core.app.panels.controls import VoiceControls, begin_and_stop, file_picker
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.data.pairs import read_pairs
from caa_core.data.presets import presets
from caa_core.limits import PAIRS
from caa_core.measuring.costs.knowledge import Knowledge, examine, questions
from caa_core.measuring.requests import KnowledgeRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.costs.knowledge import capability_by_multiplier

ABOUT = folded(
    "Does steering cost right answers? Forty plain A/B questions, or a test of your own.",
    "Unsteered and steered, over both letter orders, beside 20 random vectors of the same norm. In a file of yours the "
    "right answer is the matching one.",
)


@dataclass(frozen=True)
class KnowledgeChoice:
    """A test, and with which vector it is taken."""

    vector: str
    request: KnowledgeRequest


class KnowledgePanel(Experiment[KnowledgeChoice]):
    """The section; vector, layer, steered positions and operation are chosen elsewhere in the tab."""

    name = "capability"
    title = "Capability: right answers to plain questions"

    def __init__(self, page: Page, voice: VoiceControls, where: Mapping[str, Component]):
        gr.Markdown(ABOUT)
        with gr.Row(elem_classes="ask"):
            multipliers = control(KnowledgeRequest, "multipliers", elem_id="capability-multipliers", min_width=180)
            upload = file_picker("A/B test of your own", "capability-file", min_width=180)
            start, stop = begin_and_stop("Check", "capability-run", "capability-stop")
        self.said = gr.Markdown(elem_id="capability-said")
        with gr.Column(visible=False) as self.results:
            self.figure = figure("Right answers by multiplier", "capability-figure", wide=True)
            self.data = gr.DownloadButton("Data (JSON)", size="sm", elem_id="capability-data")
        asked = {"vector": voice.vector, "layer": voice.layer, **where, "multipliers": multipliers, "file": upload}
        shown = [self.results, self.figure, self.data]
        super().__init__(page, asked, [start], stop, self.said, shown)

    def ask(self, session: Session, form: Mapping[str, Any]) -> KnowledgeChoice:
        test = read_pairs(Path(form["file"])) if form["file"] else questions()
        PAIRS.check(len(test.pairs))
        return KnowledgeChoice(form["vector"], KnowledgeRequest.parse(data=test, **KnowledgeRequest.chosen(form)))

    def work(
        self, model: SteerableModel, session: Session, asked: KnowledgeChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        check_fit(model, vector)
        return (yield from examine(model, asked.request, vector)).summary()

    def for_everybody(self, run: Run[KnowledgeChoice]) -> bool:
        return run.asked.vector in presets() and not run.form["file"]

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = Knowledge.of(kept)
        return {
            self.said: _in_words(found),
            self.results: gr.Column(visible=True),
            self.figure: capability_by_multiplier(found),
            self.data: json_download(session, f"capability {found.vector}", kept),
        }

    def ended(self, run: Run[KnowledgeChoice], stopped: bool) -> str:
        return "Stopped; nothing was measured to its end." if stopped else ""


def _in_words(found: Knowledge) -> str:
    first, *rest = str(found).splitlines()
    skipped = [f"<small>{len(found.skipped)} skipped: {plain(found.skipped[0][:300])}</small>"] if found.skipped else []
    return "\n\n".join([f"**{plain(found.vector)}**: {plain(first)}", *map(plain, rest), *skipped])
