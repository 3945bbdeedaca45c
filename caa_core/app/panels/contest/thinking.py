"""Can the model reason its way to one voice? A contest in eight arms of thinking, in the Compete tab."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from caa_core.app.forms import control
from caa_core.app.panels.common import Updates, download_buttons, plain, report_downloads
from caa_core.app.panels.contest.chosen import Chosen
from caa_core.app.panels.contest.contest import CACHE, FORMATS, ContestPanel, request_of
from caa_core.app.panels.contest.form import SENTENCE, OfVoices, VoicesForm
from caa_core.app.panels.controls import begin_and_stop, words_table
from caa_core.app.panels.experiment import Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.contest.requests import ContestRequest, ThinkingRequest
from caa_core.contest.runs import run_thinking
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.thinking import (
    ARMS,
    arm_rows,
    arms_figure,
    prompts_of,
    report_of,
    sample_lines,
    thoughts_html,
    verdicts,
)

PANEL = "compete-reasoning"
ABOUT = folded(
    "The model thinks before it answers, under either voice, both and none.",
    "Eight arms then tell apart whether the words it wrote, the way they are read, or the steered answer decides. It "
    "takes the answers chosen above.",
)
MEANING = folded(
    "",
    "D is 1 where both voices together do what A alone does, −1 what B alone does. What is said of an arm is corrected "
    "for there being so many (Holm); voices are judged by intervals over prompts alone, without controls. Disagree: "
    "the unsteered model, reading the thought, answers with the other voice.",
    "What the numbers mean",
)


@dataclass(frozen=True)
class ThinkingChoice:
    """Two voices, on what they are measured, and how much is thought."""

    voices: Chosen
    contest: ContestRequest
    thinking: ThinkingRequest


class ThinkingPanel(OfVoices[ThinkingChoice]):
    """The section; it takes the answers that the contest is measured on."""

    name = PANEL
    title = "Can it reason its way to one voice?"
    takes_settings = True
    cache = CACHE

    def __init__(self, page: Page, voices: VoicesForm, contest: ContestPanel):
        self.voices = voices
        with gr.Accordion(self.title, open=False, elem_id=PANEL) as self.section:
            gr.Markdown(ABOUT)
            with gr.Row(elem_classes="ask"):
                budget = _budget()
                start, stop = begin_and_stop("Think", f"{PANEL}-think", f"{PANEL}-stop", is_main=False)
            status = gr.Markdown(elem_id=f"{PANEL}-status")
            shown = self._draw_result()
        form = {**budget, **contest.measured_on, **voices.parts}
        super().__init__(page, form, [start], stop, status, shown)
        self.shown_by(self.prompt, [self.thoughts], self._read)

    def _draw_result(self) -> list[Block]:
        with gr.Column(visible=False) as self.results:
            self.said = gr.Markdown(elem_id=f"{PANEL}-said")
            with gr.Column(visible=False) as self.figure_box:
                self.figure = figure("Dominance in each arm", f"{PANEL}-figure", wide=True)
            widths: list[str | int] = ["17%", "12%", "12%", "18%", "12%", "10%", "12%", "7%"]
            self.table = words_table(f"{PANEL}-table", list(ARMS), widths)
            gr.Markdown(MEANING)
            with gr.Accordion("Thoughts", open=False, elem_id=f"{PANEL}-read"):
                self.prompt = gr.Dropdown([], label="Prompt", elem_id=f"{PANEL}-prompt")
                self.thoughts = gr.HTML(elem_id=f"{PANEL}-texts")
            with gr.Row(visible=False) as self.row:
                names = {ending: name.replace("Items", "Arms") for ending, name in FORMATS.items()}
                self.downloads = download_buttons(PANEL, names)
        shown = [self.results, self.said, self.figure_box, self.figure, self.table, self.prompt, self.thoughts]
        return [*shown, self.row, *self.downloads.values(), self.section]

    def ask(self, session: Session, form: Mapping[str, Any]) -> ThinkingChoice:
        thinking = ThinkingRequest.parse(**ThinkingRequest.chosen(form))
        return ThinkingChoice(Chosen.of(form), request_of(form), thinking)

    def work(
        self, model: SteerableModel, session: Session, asked: ThinkingChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        a, b = yield from self.voices.voicing.both(model, session, asked.voices)
        return (yield from run_thinking(model, asked.contest, a, b, asked.thinking, known))

    def for_everybody(self, run: Run[ThinkingChoice]) -> bool:
        return self.of_presets(run)

    def ended(self, run: Run[ThinkingChoice], stopped: bool) -> str:
        return "Stopped; what had come by then is shown." if stopped else ""

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        drawn, prompts = arms_figure(kept), prompts_of(kept)
        first, *rest = verdicts(kept) or [""]
        said, *more = SENTENCE.split(first, maxsplit=1)
        words = [f"#### {plain(said)}", *map(plain, [*more, *rest, *sample_lines(kept)])]
        return {
            self.results: gr.Column(visible=True),
            self.said: "\n\n".join(words if first else words[1:]),
            **self.headed(first),
            self.figure_box: gr.Column(visible=drawn is not None),
            self.figure: drawn,
            self.table: arm_rows(kept),
            self.prompt: gr.Dropdown(prompts, value=prompts[0]),
            self.thoughts: thoughts_html(kept, prompts[0]),
        }

    def files(self, session: Session, kept: Plain) -> Updates:
        """There are some when an arm is known."""
        if not kept["arms"]:
            return {self.row: gr.Row(visible=False)}
        return {self.row: gr.Row(visible=True), **report_downloads(self.downloads, session, report_of(kept))}

    def _read(self, session: Session, kept: Plain, prompt: str | None) -> Updates:
        return {self.thoughts: thoughts_html(kept, prompt or "")}


def _budget() -> dict[str, Component]:
    """How much is thought, by the names of the request's options."""
    ends = {"prompts": (2, 40, 1), "thoughts": (1, 8, 1), "tokens": (8, 256, 8)}
    budget: dict[str, Component] = {
        name: control(
            ThinkingRequest,
            name,
            minimum=least,
            maximum=most,
            step=step,
            elem_id=f"{PANEL}-{name}",
            min_width=140,
        )
        for name, (least, most, step) in ends.items()
    }
    return {**budget, "seed": control(ThinkingRequest, "seed", elem_id=f"{PANEL}-seed", min_width=80)}
