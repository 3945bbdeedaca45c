"""What steering costs on neutral text: the first half of the cost in Look inside."""

from collections.abc import Generator, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.panels.common import Updates, check_fit, json_download, plain
from caa_core.app.panels.controls import VoiceControls
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.panels.steer.known import papers
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.measuring.costs.text import TextCosts, neutral_cost
from caa_core.measuring.requests import AtLayers
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.costs.text import costs_by_multiplier

ABOUT = (
    "KL and perplexity on a page of neutral prose that ships with the app, steered at every token, at several "
    "multipliers."
)


class CostPanel(Experiment[tuple[str, AtLayers]]):
    """The section, whose vector and layer, buttons and words stand elsewhere in the tab."""

    name = "views-cost"

    def __init__(
        self,
        page: Page,
        voice: VoiceControls,
        where: Mapping[str, Component],
        starters: list[gr.Button],
        stop: gr.Button,
        said: gr.Markdown,
    ):
        """where: what is done with the vector, and at which layers in place of the one. starters: the button that
        measures, and another one that waits meanwhile.
        """
        with gr.Column(visible=False) as self.results:
            gr.Markdown(f"### Cost on neutral text\n{ABOUT}")
            self.figure = figure("Cost by multiplier", "views-costs", wide=True)
            self.data = gr.DownloadButton("Cost (JSON)", size="sm", elem_id="views-costs-data")
        form = {"vector": voice.vector, "layer": voice.layer, **where}
        super().__init__(page, form, starters, stop, said, [self.results, self.figure, self.data])

    def ask(self, session: Session, form: Mapping[str, Any]) -> tuple[str, AtLayers]:
        return form["vector"], AtLayers.parse(**AtLayers.chosen(form))

    def work(
        self, model: SteerableModel, session: Session, asked: tuple[str, AtLayers], known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        name, at = asked
        vector = yield from self.studio.vector(model, session, name)
        check_fit(model, vector)
        found = yield from neutral_cost(model, at.steers(vector))
        return {"vector": name, **papers(model, vector), **found.summary()}

    def for_everybody(self, run: Run[tuple[str, AtLayers]]) -> bool:
        return run.form["vector"] in presets()

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = TextCosts.of(kept)
        return {
            self.status: f"**{plain(kept['vector'])}**: {found}",
            self.results: gr.Column(visible=True),
            self.figure: costs_by_multiplier(found),
            self.data: json_download(session, "cost", kept),
        }

    def ended(self, run: Run[tuple[str, AtLayers]], stopped: bool) -> str:
        return "Stopped; nothing was measured to its end." if stopped else ""
