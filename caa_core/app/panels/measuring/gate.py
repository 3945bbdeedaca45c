"""Where steering should apply, which goes on to Steer: a part of Look inside."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.forms import control
from caa_core.app.made_from import pairs_of
from caa_core.app.panels.common import QUIET, Updates, check_fit, guarded, json_download, plain
from caa_core.app.panels.controls import VoiceControls, begin_and_stop, file_picker
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import folded, to_tab
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.data.pairs import ContrastPair, read_pairs
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.limits import PAIRS, PROMPT
from caa_core.measuring.costs.gate import (
    APPLIES,
    ELSEWHERE,
    ENOUGH_TEXTS,
    GateFound,
    calibrate_gate,
    messages,
    sides_of,
)
from caa_core.measuring.requests import GateRequest
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.costs.gate import scores_by_side

ABOUT = folded(
    "A gate steers only tokens that point further along a vector than a threshold, which is found here.",
    "On one half of the texts the threshold is chosen, on the other mistakes are counted, once a text; that takes "
    f"{ENOUGH_TEXTS} texts of each kind in it. They are a preset's held-out answers, pairs of yours, or messages.",
)


@dataclass(frozen=True)
class GateChoice:
    """A vector by its name, and what its gate is calibrated on."""

    vector: str
    request: GateRequest


class GatePanel(Experiment[GateChoice]):
    """The section; vector, layer and steered positions are chosen elsewhere in the tab."""

    name = "views-gate"
    title = "Only where it applies: a gate"

    def __init__(self, page: Page, voice: VoiceControls, where: Mapping[str, Component]):
        gr.Markdown(ABOUT)
        with gr.Row(elem_classes="ask"):
            false_open = control(GateRequest, "false_open", elem_id="gate-false-open", min_width=180)
            upload = file_picker("Contrast pairs of your own", "gate-file", min_width=180)
            start, stop = begin_and_stop("Find a threshold", "gate-run", "gate-stop")
        with gr.Accordion("Messages of your own in place of pairs", open=False):
            lists = {
                side: gr.Textbox(label=label, info="One a line.", lines=3, max_lines=8, elem_id=f"gate-{side}")
                for side, label in ((APPLIES, "Where it should apply"), (ELSEWHERE, "Where it should not"))
            }
        self.said = gr.Markdown(elem_id="gate-said")
        with gr.Column(visible=False) as self.results:
            self.figure = figure("Texts along the vector", "gate-figure")
            with gr.Row():
                go = gr.Button("Steer with this gate", size="md", elem_id="gate-steer")
                self.data = gr.DownloadButton("Data (JSON)", size="sm", elem_id="gate-data")
        form = {"vector": voice.vector, "layer": voice.layer, "positions": where["positions"], "file": upload}
        shown = [self.results, self.figure, self.data]
        super().__init__(page, {**form, "false_open": false_open, **lists}, [start], stop, self.said, shown)
        taken = go.click(self.take, page.vectors, page.vectors, **QUIET)
        taken.success(None, js=to_tab("steer"))

    def ask(self, session: Session, form: Mapping[str, Any]) -> GateChoice:
        texts = _texts(form)
        PAIRS.check(max(map(len, texts.values())))
        self.studio.model.check_layer(whole(form["layer"], "The layer"))
        return GateChoice(form["vector"], GateRequest.parse(**texts, **GateRequest.chosen(form)))

    def work(
        self, model: SteerableModel, session: Session, asked: GateChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        check_fit(model, vector)
        own = pairs_of(session.person, vector)
        found = yield from calibrate_gate(model, replace(asked.request, made_from=own), vector)
        return {"source": asked.vector, **found.summary()}

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = GateFound.of(kept)
        return {
            self.said: "\n\n".join(map(plain, str(found).splitlines())),
            self.results: gr.Column(visible=True),
            self.figure: scores_by_side(found),
            self.data: json_download(session, f"gate {found.vector}", kept),
        }

    def ended(self, run: Run[GateChoice], stopped: bool) -> str:
        return "Stopped; nothing was measured to its end." if stopped else ""

    @guarded
    def take(self, request: gr.Request, count: int) -> int:
        """Let Steer take the gate, which hears of it when the list of vectors changes."""
        session = self.page.session(request)
        kept = self.kept(session)
        if not kept:
            raise InputError("There is no gate yet: find a threshold first.")
        session.settings["steer"] = {"gate": GateFound.of(kept).spec(kept["source"])}
        return count + 1


def _texts(form: Mapping[str, Any]) -> dict[str, tuple[ContrastPair, ...]]:
    """What is read: messages, where some were written, else pairs. Raises InputError where there is nothing."""
    lists = {side: [line.strip() for line in (form[side] or "").splitlines()] for side in (APPLIES, ELSEWHERE)}
    written = {side: [line for line in lines if line] for side, lines in lists.items()}
    if any(written.values()):
        PROMPT.check(max(len(line) for lines in written.values() for line in lines))
        return {side: messages(lines) for side, lines in written.items()}
    if form["file"]:
        return sides_of(read_pairs(Path(form["file"])))
    if form["vector"] in presets():
        return sides_of(presets()[form["vector"]].test())
    raise InputError("Give contrast pairs that the vector was not made from, or messages of both kinds.")
