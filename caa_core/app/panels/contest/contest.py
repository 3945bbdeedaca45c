"""Which of two voices the model follows: the verdict of the Compete tab, over answers of each to the same prompts."""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from caa_core.app.as_code import AsCode, Here, Named, Side
from caa_core.app.as_code import contest as contest_code
from caa_core.app.forms import control
from caa_core.app.panels.common import Updates, download_buttons, markdown_table, plain, report_downloads
from caa_core.app.panels.contest.chosen import BEGUN, DIFFERENT, TOLD, Chosen
from caa_core.app.panels.contest.form import FIRST, OfVoices, VoicesForm
from caa_core.app.panels.controls import as_code, begin_and_stop, file_picker, source_of, words_table
from caa_core.app.panels.experiment import Cache, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.contest.dominance import Contest
from caa_core.contest.requests import ContestRequest
from caa_core.contest.runs import KEPT, run
from caa_core.data.presets import find_contest, presets
from caa_core.limits import PAIRS, PROMPT
from caa_core.measuring.requests import FEWEST
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.contest import ROWS, TABLE, dominance_gauge, report_of, table_of, voices_apart

PANEL = "compete-verdict"
# What was measured before is shared by the sections.
CACHE = Cache("compete-known", KEPT)
ABOUT = folded(
    "Answers of A and of B to the same prompts: how much likelier do the voices make each, alone and together?",
    "There is a contest where each voice alone moves them its own way, further than vectors at random and from "
    "shuffled labels do; then it is asked which is followed, and last whether both do more than a sum.",
)
MEANING = (
    "m = log p(answer of A) − log p(answer of B), in nats a token (0.1: each token about 10 % likelier); Δ is how a "
    "voice changes m: A should push it up, B down. D is 1 where both together do what A alone does, −1 where they do "
    "what B alone does; D₀ is what adding the two predicts, I what they do beyond it. Intervals are over prompts. "
    "Vectors beside a voice have its norm, and their changes are estimated to first order; second voices have B's norm "
    "and its cosine to A. KL is how far the model is from itself unsteered. Repetition is the share of written tokens "
    "that repeat a run of four."
)
FORMATS = {".json": "Report (JSON)", ".csv": "Items (CSV)", ".html": "Report (HTML)"}


@dataclass(frozen=True)
class ContestChoice:
    """Two voices, and on what they are measured."""

    voices: Chosen
    request: ContestRequest


class ContestPanel(OfVoices[ContestChoice]):
    """The section; `measured_on` is what other sections ask with it: whose answers, and how the model is asked."""

    name = PANEL
    takes_settings = True
    cache = CACHE

    def __init__(self, page: Page, voices: VoicesForm, asking: Mapping[str, Component]):
        """asking: the system prompt and the steered positions."""
        self.voices = voices
        gr.Markdown(f"### Which voice does the model follow?\n{ABOUT}")
        with gr.Row(elem_classes="ask"):
            choices = [(f"{name} against {preset.opposes}", name) for name, preset in presets().items()]
            self.answers = gr.Dropdown(
                choices, value=FIRST[0], label="Answers of A and of B", elem_id=f"{PANEL}-contest", min_width=200
            )
            file = file_picker("or yours: prompt, a, b", f"{PANEL}-file", min_width=200)
            look = {"minimum": 0, "maximum": 2 * FEWEST, "step": FEWEST, "elem_id": f"{PANEL}-second-voices"}
            second_voices = control(ContestRequest, "second_voices", min_width=160, **look)
            start, stop = begin_and_stop("Measure", f"{PANEL}-measure", f"{PANEL}-stop")
        status = gr.Markdown(elem_id=f"{PANEL}-status")
        shown = self._draw_result()
        self.measured_on = {"contest": self.answers, "file": file, **asking}
        form = {**voices.parts, **self.measured_on, "second_voices": second_voices}
        as_code(page.studio, PANEL, form, written_as_code)
        super().__init__(page, form, [start], stop, status, shown)

    def _draw_result(self) -> list[Block]:
        with gr.Column(visible=False) as self.results:
            self.said = gr.Markdown(elem_id=f"{PANEL}-said")
            with gr.Row(equal_height=False):
                with gr.Column(visible=False, min_width=300) as self.gauge_box:
                    self.gauge = figure("Dominance", f"{PANEL}-gauge")
                with gr.Column(min_width=300):
                    self.apart = figure("Each voice", f"{PANEL}-apart")
            self.numbers = gr.Markdown(elem_id=f"{PANEL}-numbers", elem_classes="numbers")
            with gr.Accordion("Item by item", open=False, elem_id=f"{PANEL}-items"):
                widths: list[str | int] = ["18%", "23%", "23%", "9%", "9%", "9%", "9%"]
                self.table = words_table(f"{PANEL}-table", list(ROWS.values()), widths)
            with gr.Row():
                self.downloads = download_buttons(PANEL, FORMATS)
        figures = [self.gauge_box, self.gauge, self.apart]
        return [self.results, self.said, *figures, self.numbers, self.table, *self.downloads.values()]

    def ask(self, session: Session, form: Mapping[str, Any]) -> ContestChoice:
        return ContestChoice(Chosen.of(form), request_of(form, form["second_voices"]))

    def work(
        self, model: SteerableModel, session: Session, asked: ContestChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        a, b = yield from self.voices.voicing.both(model, session, asked.voices)
        return (yield from run(model, asked.request, a, b, known))

    def ended(self, run: Run[ContestChoice], stopped: bool) -> str:
        if stopped and run.found:
            return "Stopped before second voices were measured."
        return super().ended(run, stopped)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        contest = Contest.of(kept)
        files = report_downloads(self.downloads, session, report_of(kept, contest))
        return {**self._drawn(kept, contest), **files}

    def show_part(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return self._drawn(kept, Contest.of(kept))

    def _drawn(self, kept: Plain, contest: Contest) -> Updates:
        gauge = dominance_gauge(contest)
        return {
            self.results: gr.Column(visible=True),
            self.said: _words(contest, kept["provenance"]["data"]),
            self.gauge_box: gr.Column(visible=gauge is not None),
            self.gauge: gauge,
            self.apart: voices_apart(contest),
            self.numbers: _numbers(contest),
            self.table: [[_rounded(row[name]) for name in ROWS] for row in contest.rows],
        }


def request_of(form: Mapping[str, Any], second_voices: float = 0) -> ContestRequest:
    """What the section asks for. Raises InputError for what cannot be."""
    dataset = find_contest(Path(form["file"]) if form["file"] else form["contest"])
    PAIRS.check(len(dataset.pairs))
    PROMPT.check(len(form["system"] or ""))
    asked = {"positions": form["positions"], "system": form["system"], "second_voices": second_voices}
    return ContestRequest.parse(data=dataset, **asked)


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """What is chosen."""
    voices = Chosen.of(form)
    a = Side(source_of(session, voices.vector_a), voices.layer_a, voices.multiplier_a)
    layer_b = voices.layer_b if voices.kind == DIFFERENT else voices.layer_a
    b = Side(source_of(session, voices.vector_b), layer_b, voices.multiplier_b)
    if voices.kind == TOLD:
        b = Side(system=(voices.told or "").strip())
    elif voices.kind == BEGUN:
        b = Side(begin=(voices.begins or "").strip())
    data = Named(Path(form["file"]).name, is_file=True) if form["file"] else Named(form["contest"])
    return contest_code(here, a, b, data, form, without_shared=voices.apart and voices.may_part)


def _words(found: Contest, data: str) -> str:
    """The verdict, its numbers below it, and what it rests on."""
    # Kept verdicts had a colon between the two.
    head, *numbers = re.split(r"(?:: |(?<=\.) )(?=D = |Δ of )", found.verdict, maxsplit=1)
    rests = f"{found.items} items of {data}, {found.prompts} prompts. A single answer may well go another way."
    more = "\n\n".join([*map(plain, numbers), MEANING])
    return folded(f"#### {plain(head)}\n\n{plain(rests)}", more, "In numbers, and what they mean")


def _numbers(found: Contest) -> str:
    """Each voice beside its controls and what it costs, and the self-test."""
    lines = [markdown_table(TABLE, table_of(found))]
    if found.self_test is not None:
        good = found.self_test == 0
        colour, said = ("#009E73", "✓ Self-test passed") if good else ("#D55E00", "✗ Self-test failed")
        lines += [
            "",
            f'<span style="color:{colour};font-weight:600">{said}</span>: each vector with its own opposite changes m '
            f"by {found.self_test:.2g}.",
        ]
    return "\n".join(lines)


def _rounded(value: str | float) -> str | float:
    return round(value, 2) if isinstance(value, float) else value
