"""How strong a vector may be at a cost, which goes on to Steer: a part of the cost in Look inside."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.panels.common import QUIET, Updates, check_fit, guarded, plain
from caa_core.app.panels.controls import VoiceControls, begin_and_stop, multiplier_at
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import folded, to_tab
from caa_core.app.panels.page import Page
from caa_core.app.panels.steer.known import papers
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.measuring.costs.strength import Strength, check_asked, strength
from caa_core.measuring.requests import AtLayers
from caa_core.metrics.grid import number
from caa_core.metrics.options import OPERATION, POSITIONS
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.interventions import AFTER_PROMPT, Positions

ABOUT = folded(
    "The smallest multiplier that costs so much KL a token in plain answers.",
    "KL is not monotone in the multiplier, so it is looked for from 0 outwards. What is found comes within 5% of what "
    "is asked for, and is measured on fresh answers too.",
)
FIRST = 0.5


@dataclass(frozen=True)
class StrengthChoice:
    """A vector by its name, where it is used and how, which way (1 or -1), and the cost in nats that is asked for."""

    vector: str
    at: AtLayers
    way: int
    nats: float
    positions: Positions


class StrengthPanel(Experiment[StrengthChoice]):
    """The section; vector, layer, steered positions and operation are chosen elsewhere in the tab."""

    name = "views-strength"
    title = "As strong as a cost allows"

    def __init__(self, page: Page, voice: VoiceControls, where: Mapping[str, Component]):
        gr.Markdown(ABOUT)
        with gr.Row(elem_classes="ask"):
            nats = gr.Number(FIRST, label="KL, nats a token", elem_id="strength-nats", min_width=180)
            against = gr.Checkbox(False, label="Against the vector", elem_id="strength-against", min_width=180)
            start, stop = begin_and_stop("Find the multiplier", "strength-run", "strength-stop")
        self.said = gr.Markdown(elem_id="strength-said")
        self.go = gr.Button("Steer with it", visible=False, size="md", elem_id="strength-steer")
        form = {"vector": voice.vector, "layer": voice.layer, **where, "nats": nats, "against": against}
        super().__init__(page, form, [start], stop, self.said, [self.go])
        taken = self.go.click(self.take, None, [*page.steer], **QUIET)
        taken.success(None, js=to_tab("steer"))

    def ask(self, session: Session, form: Mapping[str, Any]) -> StrengthChoice:
        nats = check_asked(number(form["nats"], "The cost"))
        at = AtLayers.parse(**AtLayers.chosen(form))
        self.studio.model.check_layer(at.layer)
        way = -1 if form["against"] else 1
        return StrengthChoice(form["vector"], at, way, nats, POSITIONS.value(form["positions"]))

    def work(
        self, model: SteerableModel, session: Session, asked: StrengthChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        check_fit(model, vector)
        found = yield from strength(model, asked.at.steers(vector, asked.way), asked.nats, asked.positions)
        choice = {"vector": asked.vector, "layer": asked.at.layer, "spread": [*asked.at.spread], "way": asked.way}
        return {**choice, **papers(model, vector), **found.summary()}

    def for_everybody(self, run: Run[StrengthChoice]) -> bool:
        return run.asked.vector in presets()

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = Strength.of(kept)
        against = ", against the vector" if kept["way"] < 0 else ""
        where = spans(kept.get("spread") or [kept["layer"]])
        return {
            self.said: f"**{plain(kept['vector'])}**, {where}{against}: {plain(str(found))}",
            self.go: gr.Button(visible=found.factor is not None),
        }

    def ended(self, run: Run[StrengthChoice], stopped: bool) -> str:
        return "Stopped; nothing was measured to its end." if stopped else ""

    @guarded
    def take(self, request: gr.Request) -> list:
        """Updates of the Steer tab's vector, layer and multiplier."""
        session = self.page.session(request)
        kept = self.kept(session)
        if not kept or kept["factor"] is None:
            raise InputError("There is no multiplier yet: find one first.")
        if kept["vector"] not in session.vectors and kept["vector"] not in presets():
            raise InputError("The vector that was measured is not in your list any more; make or upload it again.")
        layer = self.studio.model.check_layer(kept["layer"])
        if (positions := (kept.get("asked") or {}).get("positions")) not in (None, "", str(AFTER_PROMPT)):
            gr.Info(f"It was measured with the steered positions {positions}: choose them in Steer's settings too.")
        if (operation := (kept.get("asked") or {}).get("operation")) not in (None, "", OPERATION.default):
            gr.Info(f"It was measured with the operation {operation}: choose it in Steer's settings too.")
        if several := kept.get("spread"):
            gr.Info(f"It was measured at {spans(several)} at once: name them in Steer's settings too.")
        return [kept["vector"], layer, multiplier_at(kept["way"] * kept["factor"])]
