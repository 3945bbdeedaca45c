"""What steering does to refusals: a part of the cost in Look inside."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.forms import control
from caa_core.app.panels.common import Updates, check_fit, json_download, plain
from caa_core.app.panels.controls import VoiceControls, begin_and_stop
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.measuring.costs.refusals import Refusals, count_refusals
from caa_core.measuring.requests import RefusalsRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.costs.refusals import refusals_by_multiplier

ABOUT = folded(
    "Does the model still decline what is harmful, and help with what is not?",
    "Twenty requests of each kind are answered unsteered, steered and under 9 random vectors of the same norm. A rule "
    "about how an answer begins counts refusals, in English; the answers stand in the data.",
)


@dataclass(frozen=True)
class RefusalsChoice:
    """A vector by its name, and what is asked of it."""

    vector: str
    request: RefusalsRequest


class RefusalsPanel(Experiment[RefusalsChoice]):
    """The section; vector, layer, multiplier, steered positions and operation are chosen elsewhere in the tab."""

    name = "refusals"
    title = "Refusals of what is harmful, and of what is not"

    def __init__(self, page: Page, voice: VoiceControls, where: Mapping[str, Component]):
        gr.Markdown(ABOUT)
        with gr.Row(elem_classes="ask"):
            equal = control(RefusalsRequest, "equal_cost", elem_id="refusals-equal", min_width=180)
            start, stop = begin_and_stop("Count refusals", "refusals-run", "refusals-stop")
        self.said = gr.Markdown(elem_id="refusals-said")
        with gr.Column(visible=False) as self.results:
            self.figure = figure("Refusals by multiplier, and overlap by layer", "refusals-figure", wide=True)
            self.data = gr.DownloadButton("Answers and data (JSON)", size="sm", elem_id="refusals-data")
        form = {
            "vector": voice.vector,
            "layer": voice.layer,
            "multipliers": voice.multiplier,
            **where,
            "equal_cost": equal,
        }
        shown = [self.results, self.figure, self.data]
        super().__init__(page, form, [start], stop, self.said, shown)

    def ask(self, session: Session, form: Mapping[str, Any]) -> RefusalsChoice:
        chosen = RefusalsRequest.chosen(form) | {"multipliers": str(form["multipliers"])}
        request = RefusalsRequest.parse(**chosen)
        self.studio.model.check_layer(request.layer)
        return RefusalsChoice(form["vector"], request)

    def work(
        self, model: SteerableModel, session: Session, asked: RefusalsChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        check_fit(model, vector)
        return (yield from count_refusals(model, asked.request, vector)).summary()

    def for_everybody(self, run: Run[RefusalsChoice]) -> bool:
        return run.asked.vector in presets()

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = Refusals.of(kept)
        first, *rest = str(found).splitlines()
        return {
            self.said: "\n\n".join([f"**{plain(found.vector)}**: {plain(first)}", *map(plain, rest)]),
            self.results: gr.Column(visible=True),
            self.figure: refusals_by_multiplier(found),
            self.data: json_download(session, f"refusals {found.vector}", kept),
        }

    def ended(self, run: Run[RefusalsChoice], stopped: bool) -> str:
        return "Stopped; nothing was measured to its end." if stopped else ""
