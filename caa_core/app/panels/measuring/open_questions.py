"""Open questions: answers at several multipliers, what they cost, and scores given without knowing the multiplier."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.as_code import AsCode, Here, Named
from caa_core.app.as_code import open_questions as open_code
from caa_core.app.forms import control
from caa_core.app.made_from import held_out_of
from caa_core.app.panels.common import (
    QUIET,
    Updates,
    check_fit,
    guarded,
    layer_slider,
    markdown_table,
    misfits,
    plain,
    recommended,
    vector_picker,
)
from caa_core.app.panels.contest.written import questions_of
from caa_core.app.panels.controls import (
    as_code,
    at_most,
    chosen_voice,
    file_picker,
    link_button,
    run_buttons,
    source_of,
)
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import choices, folded
from caa_core.app.panels.made_with import Linked, MadeWith
from caa_core.app.panels.measuring.scoring import ANSWERS, AnswerFiles, BlindScoring, JudgePanel, Scored, unscored
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.pairs import Dataset
from caa_core.data.presets import find_test_pairs, presets
from caa_core.data.text import spans
from caa_core.limits import PROMPT, TOKENS
from caa_core.measuring.answer_reader import held_out
from caa_core.measuring.open_questions import OpenQuestions, answer
from caa_core.measuring.requests import OpenQuestionsRequest
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.open_questions import LEVELS, REPLIES, answers_by_multiplier, level_row, reply_row

FIRST = "joy"
ABOUT = folded(
    "What does the model write to open questions at each multiplier, and what does it cost?",
    "KL and repetition of every answer, its perplexity under the unsteered model, and how far the behaviour is heard "
    "in it.",
)
MEANING = (
    "Voice reading: the unsteered model reads the answer and its residual stream is projected on the vector; 1 is "
    "typical of held-out answers of this kind, −1 of plain ones, and above 0 it is heard. Intervals are over questions."
)


class OpenQuestionsForm:
    """What is set, in parts by the names under which it is kept."""

    def __init__(self, studio: Studio):
        self.vector = vector_picker("Steering vector", FIRST, "open-vector")
        self.layer = layer_slider(studio, recommended(studio, FIRST)[0], "open-layer")
        self.multipliers = control(OpenQuestionsRequest, "multipliers", elem_id="open-multipliers")
        self.preset = gr.Dropdown(
            [(f"{name} and {one.opposes}", name) for name, one in presets().items()],
            value=FIRST,
            label="Questions about",
            elem_id="open-preset",
        )

    def draw_more(self) -> None:
        """Draw what is set less often."""
        self.file = file_picker("or questions of your own", "open-upload")
        with gr.Accordion("More settings", open=False, elem_id="open-settings"):
            self.limit = at_most("questions")
            self.held_out = file_picker("Held-out answers of your own", "open-held-out")
            self.positions = control(OpenQuestionsRequest, "positions")
            self.system = control(
                OpenQuestionsRequest, "system", lines=2, placeholder="The template's own, if it has one"
            )
            longest = min(512, TOKENS.value)
            self.max_new_tokens = control(OpenQuestionsRequest, "max_new_tokens", minimum=8, maximum=longest, step=8)
            self.temperature = control(OpenQuestionsRequest, "temperature", minimum=0, maximum=2, step=0.1)
            self.seed = control(OpenQuestionsRequest, "seed")
            self.operation = control(OpenQuestionsRequest, "operation")
            self.spread = control(OpenQuestionsRequest, "spread", elem_id="open-spread")
            self.shares = control(OpenQuestionsRequest, "shares", elem_id="open-shares")


@dataclass(frozen=True)
class AnswersChoice:
    """A vector by its name, what is asked of it, and held-out answers where some were given."""

    vector: str
    request: OpenQuestionsRequest
    held_out: Dataset | None


class OpenQuestionsPanel(Experiment[AnswersChoice]):
    """The tab."""

    name = ANSWERS
    after_error = "It ended early; what had been written is kept."
    unreadable = "The answers that were kept cannot be read."

    def __init__(self, page: Page):
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                with choices("open") as line:
                    form = OpenQuestionsForm(page.studio)
                buttons = run_buttons("Write answers", "open-write", "open-stop")
                status = gr.Markdown(elem_id="open-status")
                form.draw_more()
                copies = link_button("open")
            with gr.Column(scale=5, min_width=300):
                self.hint = gr.Markdown(ABOUT)
                with gr.Column(visible=False) as self.results:
                    self.said = gr.Markdown(elem_id="open-said")
                    self.plot = figure("By multiplier", "open-figure", wide=True)
                    self.numbers = gr.Markdown(elem_id="open-numbers", elem_classes="numbers")
                    with gr.Row():
                        self.downloads = AnswerFiles()
        with gr.Column(visible=False) as self.below:
            with gr.Accordion("All answers", open=False, elem_id="open-answers"):
                self.table = gr.Dataframe(
                    headers=REPLIES,
                    interactive=False,
                    wrap=True,
                    max_height=480,
                    column_widths=["15%", "9%", "35%", "7%", "9%", "9%", "8%", "8%"],
                    buttons=["fullscreen"],
                    elem_id="open-table",
                )
            with gr.Column(elem_id="open-scoring") as self.scoring:
                self.blind = BlindScoring(page, self.downloads)
                self.judge = JudgePanel(page, self.downloads, presets()[FIRST].description)
        self.vector, self.layer = form.vector, form.layer
        shown = [self.results, self.below, self.scoring, self.hint, self.said, self.plot, self.numbers, self.table]
        shown += [*self.downloads.buttons.values(), self.blind.shown, *self.judge.judged.parts]
        super().__init__(page, vars(form), [buttons.start], buttons.stop, status, shown)
        as_code(page.studio, "open", self.form, written_as_code)
        Linked(page, "open", copies, self.form, OpenQuestionsRequest.options())
        page.watch([form.vector, form.layer, form.multipliers], line, lambda _, values: chosen_voice(*values))
        form.vector.input(self.choose, form.vector, [form.layer, form.preset, self.judge.behaviour], **QUIET)

    def ask(self, session: Session, form: Mapping[str, Any]) -> AnswersChoice:
        PROMPT.check(len(form["system"] or ""))
        TOKENS.check(whole(form["max_new_tokens"], "The number of new tokens"))
        questions = questions_of(form["preset"], form["file"], form["limit"])
        request = OpenQuestionsRequest.parse(questions=questions, **OpenQuestionsRequest.chosen(form))
        given = form["held_out"]
        return AnswersChoice(form["vector"], request, find_test_pairs(Path(given)) if given else None)

    def work(
        self, model: SteerableModel, session: Session, asked: AnswersChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        vector = yield from self.studio.vector(model, session, asked.vector)
        check_fit(model, vector)
        read_by = asked.held_out or held_out_of(session.person, vector)
        before = session.person.results.get(self.name)
        earlier = OpenQuestions.of(before["found"]) if before else None
        notes = misfits(model, vector)

        def packed(found: OpenQuestions) -> Plain:
            return {"found": found.summary(), "notes": notes}

        writing = answer(model, vector, asked.request, held_out(read_by) if read_by else None, earlier)
        return packed((yield from showing(writing, packed)))

    def keep(self, run: Run[AnswersChoice], found: Plain) -> Plain:
        return super().keep(run, {**unscored(run.session.person), **found})

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        scored = Scored.of(kept)
        return {
            self.results: gr.Column(visible=True),
            self.below: gr.Column(visible=True),
            self.scoring: gr.Column(visible=True),
            self.hint: gr.Markdown(visible=False),
            self.said: _words(scored.found, kept["notes"]),
            self.plot: answers_by_multiplier(scored.found),
            self.numbers: markdown_table(LEVELS, [level_row(level) for level in scored.found.levels]),
            self.table: [reply_row(reply) for reply in scored.replies],
            **self.blind.show(scored),
            **self.judge.show(session, kept, {}),
        }

    def show_before(self, session: Session, before: Plain) -> Updates:
        """Nobody scores what was made before: it is nobody's."""
        return {**super().show_before(session, before), self.scoring: gr.Column(visible=False)}

    def files(self, session: Session, kept: Plain) -> Updates:
        return self.downloads.show(session, Scored.of(kept))

    def ended(self, run: Run[AnswersChoice], stopped: bool) -> str:
        if not stopped:
            return ""
        if not run.found:
            return "Stopped before anything was written."
        there = f"{len(Scored.of(run.found).found.questions)} of {len(run.asked.request.questions)}"
        return f"Stopped after {there} questions. Write again to go on from there."

    def asked(self, kept: Plain) -> MadeWith | None:
        # Earlier versions kept what was asked without names.
        return super().asked(kept) or (dict(zip(self.form, kept["form"], strict=True)) if "form" in kept else None)

    @guarded
    def choose(self, request: gr.Request, name: str) -> list:
        """A vector brings its layer; a preset, its questions and what a judge is told of it too."""
        at, _ = recommended(self.studio, name, self.page.session(request))
        return [at, name, presets()[name].description] if name in presets() else [at, gr.skip(), gr.skip()]


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    panel = OpenQuestionsPanel(page)
    return Tab([panel.vector], [panel.layer])


def written_as_code(session: Session, form: Mapping[str, Any], here: Here) -> AsCode:
    """What is chosen; a file of one's own goes along by its name."""
    questions = Named(Path(form["file"]).name, True) if form["file"] else Named(form["preset"] or "")
    return open_code(here, source_of(session, form["vector"]), questions, int(form["limit"] or 0), form)


def _words(found: OpenQuestions, notes: list[str]) -> str:
    where = spans(found.settings.get("spread") or [found.settings["layer"]])
    about = f"{plain(found.vector)} on {plain(found.provenance['model'])}, {where}"
    first, end, rest = found.verdict.partition(". ")
    lines = [f"**{plain(f'{first}{end}'.strip())}**", f"<small>{about}.</small>"]
    if found.reading and found.reading["trusted"]:  # what it says stands in the table, too
        more = "\n\n".join([plain(rest), plain(found.reading["text"]), MEANING])
        lines[1] = folded(lines[1], more, "What the numbers are")
    else:
        lines.insert(1, plain(rest))
    return "\n\n".join([*lines, *notes])
