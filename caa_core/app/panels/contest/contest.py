"""Which of two voices the model follows: the verdict of the Compete tab, over answers of each to the same prompts."""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from caa_core.app.as_code import AsCode, Here, Named, Side
from caa_core.app.as_code import contest as contest_code
from caa_core.app.panels.common import Updates, added, download_buttons, markdown_table, plain, report_downloads
from caa_core.app.panels.contest.chosen import BEGUN, TOLD, Chosen
from caa_core.app.panels.contest.form import OfVoices, VoicesForm
from caa_core.app.panels.controls import as_code, begin_and_stop, source_of, words_table
from caa_core.app.panels.experiment import Cache, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.contest.dominance import Contest
from caa_core.contest.requests import ContestRequest
from caa_core.contest.runs import KEPT, run
from caa_core.data.presets import find_contest
from caa_core.limits import PAIRS, PROMPT
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.contest import ROWS, TABLE, gauge, in_brief, report_of, table_of, voices_apart

PANEL = "compete-verdict"
# What was measured before is shared by the sections.
CACHE = Cache("compete-known", KEPT)
ABOUT = folded(
    "Answers of A and of B to the same prompts: how much likelier do the voices make each, alone and together?",
    "There is a contest where each voice alone moves them its own way, further than vectors at random and from "
    "shuffled labels do; then it is asked which is followed, and last whether both do more than a sum.",
)
MEANING = (
    "m = log p(answer of A) − log p(answer of B), in nats a token (0.1: each token about 10% likelier); Δ is how a "
    "voice changes m: A should push it up, B down. D is 1 where both together do what A alone does, −1 where they do "
    "what B alone does; D₀ is what adding the two predicts, I what they do beyond it. Intervals are over prompts. "
    "Vectors beside a voice have its norm, and their changes are estimated to first order; second voices have B's norm "
    "and its cosine to A. KL is how far the model is from itself unsteered. Repetition is the share of written tokens "
    "that repeat a run of four."
)
NOT_YET = (
    "#### Which voice does the model follow?\n\n"
    "Press *Measure*: how much likelier do A, B and both at once make answers of each?"
)
ONE_ANSWER = (
    "A single answer may well go another way. Let answers be [written and read](#compete-written): which voice do they "
    "follow?"
)
FORMATS = {".json": "Report (JSON)", ".csv": "Items (CSV)", ".html": "Report (HTML)"}


@dataclass(frozen=True)
class ContestChoice:
    """Two voices, and on what they are measured."""

    voices: Chosen
    request: ContestRequest


class ContestPanel(OfVoices[ContestChoice]):
    """The verdict and its button. `details`, drawn where they are rendered, are a section of their own.

    `measured_on` is what other sections ask with it: whose answers, and how the model is asked.
    """

    name = PANEL
    title = "The verdict in numbers"
    takes_settings = True
    cache = CACHE

    def __init__(self, page: Page, voices: VoicesForm):
        self.voices = voices
        with gr.Column(elem_id=PANEL, elem_classes="card"):
            with gr.Row(elem_classes="ask"):
                with gr.Column(min_width=240), gr.Column() as self.results:
                    self.said = gr.Markdown(NOT_YET, elem_id=f"{PANEL}-said")
                    self.gauge = gr.HTML(padding=False, elem_id=f"{PANEL}-gauge")
                start, stop = begin_and_stop("Measure", f"{PANEL}-measure", f"{PANEL}-stop", is_main=False)
            status = gr.Markdown(elem_id=f"{PANEL}-status")
        shown = [self.results, self.said, self.gauge, *self._draw_details()]
        asking = {name: voices.settings[name] for name in ("system", "positions")}
        second_voices = voices.measured_on["second_voices"]
        self.measured_on = {name: voices.measured_on[name] for name in ("contest", "file")} | asking
        super().__init__(
            page,
            {**voices.parts, **self.measured_on, "second_voices": second_voices},
            [start],
            stop,
            status,
            shown,
        )

    def _draw_details(self) -> list[Block]:
        with gr.Accordion(self.title, open=False, visible=False, render=False, elem_id=f"{PANEL}-details") as section:
            self.section = section
            gr.Markdown(ABOUT)
            self.words = gr.Markdown(elem_id=f"{PANEL}-words")
            self.apart = figure("Each voice", f"{PANEL}-apart")
            self.numbers = gr.Markdown(elem_id=f"{PANEL}-numbers", elem_classes="numbers")
            with gr.Accordion("Item by item", open=False, elem_id=f"{PANEL}-items"):
                widths: list[str | int] = ["16%", "22%", "22%", "13%", "9%", "9%", "9%"]
                self.table = words_table(f"{PANEL}-table", list(ROWS.values()), widths)
            with gr.Row():
                self.downloads = download_buttons(PANEL, FORMATS)
        return [self.words, self.apart, self.numbers, self.table, *self.downloads.values(), self.section]

    def draw_code(self) -> None:
        """Draw what is chosen as code, folded."""
        as_code(self.studio, PANEL, self.form, written_as_code)

    def ask(self, session: Session, form: Mapping[str, Any]) -> ContestChoice:
        return ContestChoice(Chosen.of(form), request_of(form, form["second_voices"]))

    def work(
        self, model: SteerableModel, session: Session, asked: ContestChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        a, b = yield from self.voices.voicing.both(model, session, asked.voices)
        return (yield from run(model, asked.request, a, b, known))

    def for_everybody(self, run: Run[ContestChoice]) -> bool:
        return self.of_presets(run)

    def ended(self, run: Run[ContestChoice], stopped: bool) -> str:
        if stopped and run.found:
            return "Stopped before all of it was measured: the verdict stands."
        return super().ended(run, stopped)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        contest = Contest.of(kept)
        files = report_downloads(self.downloads, session, report_of(kept, contest))
        return {**self._drawn(kept, contest), **files}

    def show_part(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return self._drawn(kept, Contest.of(kept))

    def _drawn(self, kept: Plain, contest: Contest) -> Updates:
        said, numbers = in_parts(contest)
        rests = f"{contest.items} items of {kept['provenance']['data']}, {contest.prompts} prompts. {_cost(contest)}"
        brief = f"D = {contest.dominance}" if contest.contest else in_brief(contest)
        return {
            self.said: "\n\n".join(
                [f"#### {plain(said)}", *(plain(one) for one in (contest.undecided_because, rests) if one), ONE_ANSWER]
            ),
            self.gauge: gauge(contest),
            **added(self.headed(brief), {self.section: gr.Accordion(visible=True)}),
            self.words: folded("", "\n\n".join([plain(numbers), MEANING]), "In full, and what the numbers mean"),
            self.apart: voices_apart(contest),
            self.numbers: _numbers(contest),
            self.table: [[_rounded(row[name]) for name in ROWS] for row in contest.rows],
        }


def in_parts(found: Contest) -> tuple[str, str]:
    """The verdict's first sentence, and the rest of it."""
    if found.verdict.startswith(found.headline):
        return found.headline, found.verdict.removeprefix(found.headline).strip()
    # Kept verdicts had other first sentences, and a colon before the numbers.
    head, *numbers = re.split(r"(?:: |(?<=\.) )(?=D = |Δ of )", found.verdict, maxsplit=1)
    return head, " ".join(numbers)


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
    at_a, at_b = (several or layer for layer, several in map(voices.where, "ab"))
    a = Side(source_of(session, voices.vector_a), at_a, voices.multiplier_a, operation=voices.operation_a)
    b = Side(source_of(session, voices.vector_b), at_b, voices.multiplier_b, operation=voices.operation_b)
    if voices.kind == TOLD:
        b = Side(system=(voices.told or "").strip())
    elif voices.kind == BEGUN:
        b = Side(begin=(voices.begins or "").strip())
    data = Named(Path(form["file"]).name, is_file=True) if form["file"] else Named(form["contest"])
    apart = voices.apart and voices.may_part
    return contest_code(here, a, b, data, form, apart, voices.shares_named)


def _cost(found: Contest) -> str:
    """That the text falls apart where both voices speak, which the answers' probabilities do not say."""
    if not (found.repetition and found.is_repeating):
        return ""
    unsteered, *_, both = found.repetition
    return f"Written under both, {both:.0%} of the text repeats itself; unsteered, {unsteered:.0%}."


def _numbers(found: Contest) -> str:
    """Each voice beside its controls and what it costs, and the self-test."""
    lines = [markdown_table(TABLE, table_of(found))]
    if found.self_test is not None:
        said = "✓ Self-test passed" if found.self_test == 0 else "✗ Self-test failed"
        lines += ["", f"**{said}**: each vector with its own opposite changes m by {found.self_test:.2g}."]
    return "\n".join(lines)


def _rounded(value: str | float) -> str | float:
    return round(value, 2) if isinstance(value, float) else value
