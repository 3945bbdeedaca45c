"""Which voice do written answers follow? The section of the Compete tab that writes answers and reads them."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from caa_core.app.forms import control
from caa_core.app.made_from import held_out_of
from caa_core.app.opening.ready import OPENS_WITH, ready
from caa_core.app.panels.common import QUIET, Updates, download_buttons, markdown_table, plain, report_downloads
from caa_core.app.panels.contest.chosen import Chosen
from caa_core.app.panels.contest.form import FIRST, SENTENCE, OfVoices, VoicesForm
from caa_core.app.panels.controls import at_most, begin_and_stop, file_picker, words_table
from caa_core.app.panels.experiment import Cache, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person, Session
from caa_core.contest.requests import WrittenRequest
from caa_core.contest.runs import run_written
from caa_core.contest.voice import Voice
from caa_core.contest.written import WrittenResult
from caa_core.data.pairs import Dataset
from caa_core.data.presets import Preset, find_questions, find_test_pairs, preset_behind, presets
from caa_core.errors import InputError
from caa_core.limits import PROMPT, TOKENS
from caa_core.measuring.requests import MOST_QUESTIONS
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.written import READINGS, SHARES, reading_cells, report_of, share_rows, shares_by_arm

PANEL = "compete-written"
FORMATS = {".json": "Report (JSON)", ".csv": "Answers (CSV)", ".html": "Report (HTML)"}
ABOUT = folded(
    "Answers to open questions, written unsteered, under A, under B and under both, and read by the unsteered model.",
    "Its residual stream at each answer is compared with the two vectors, on a scale that held-out answers set.",
)
MEANING = (
    "Reading A: 1 is typical of A's held-out answers, −1 of plain ones; B likewise. Lean: 1 is typical of A's answers, "
    "−1 of B's. Neither: no reading above 0. Mixed: a lean within a third of 0. AUC: how often an answer of one kind "
    "lies above one of the other; below 0.8 no voice is named. Intervals of shares are over questions."
)
MOST_SAMPLES = 8


@dataclass(frozen=True)
class WrittenChoice:
    """Two voices, the open questions that they answer, and how. held_out: data given for each voice; options: of the
    request.
    """

    voices: Chosen
    questions: tuple[str, ...]
    held_out: Sequence[Dataset | None]
    options: Mapping[str, Any]


class WrittenPanel(OfVoices[WrittenChoice]):
    """The section."""

    name = PANEL
    title = "Which voice do written answers follow?"
    # Each result holds all of its answers, so that few are kept beside the last.
    cache = Cache("compete-written-known", 2)

    def __init__(self, page: Page, voices: VoicesForm):
        self.voices = voices
        with gr.Accordion(self.title, open=False, elem_id=PANEL) as self.section:
            gr.Markdown(ABOUT)
            with gr.Row(elem_classes="ask"):
                self.questions = preset = gr.Dropdown(
                    [(f"{name} and {preset.opposes}", name) for name, preset in presets().items()],
                    value=OPENS_WITH if ready("compete-verdict", page.studio.model) else FIRST[0],
                    label="Questions about",
                    elem_id=f"{PANEL}-preset",
                    min_width=180,
                )
                look = {"minimum": 1, "maximum": MOST_SAMPLES, "step": 1, "elem_id": f"{PANEL}-samples"}
                samples = control(WrittenRequest, "samples", min_width=160, **look)
                start, stop = begin_and_stop("Write and read", f"{PANEL}-write", f"{PANEL}-stop", is_main=False)
            more = _more_settings()
            status = gr.Markdown(elem_id=f"{PANEL}-status")
            shown = self._draw_result()
        asking = {name: voices.settings[name] for name in ("system", "positions")}
        form = {"preset": preset, "samples": samples, **more, **asking, **voices.parts}
        super().__init__(page, form, [start], stop, status, [*shown, self.section])
        # The questions follow voice A.
        voices.a.vector.input(lambda name: name if name in presets() else gr.skip(), voices.a.vector, preset, **QUIET)

    def _draw_result(self) -> list[Block]:
        with gr.Column(visible=False) as self.results:
            self.said = gr.Markdown(elem_id=f"{PANEL}-said")
            with gr.Column(visible=False) as self.figure_box:
                self.figure = figure("Share of answers", f"{PANEL}-figure")
            self.numbers = gr.Markdown(elem_id=f"{PANEL}-numbers", elem_classes="numbers")
            with gr.Accordion("The answers and their readings", open=False):
                widths: list[str | int] = ["10%", "18%", "38%", "9%", "9%", "8%", "8%"]
                self.table = words_table(f"{PANEL}-table", READINGS, widths, max_height=420)
            with gr.Row(visible=False) as self.row:
                self.downloads = download_buttons(PANEL, FORMATS)
        shown = [self.results, self.said, self.figure_box, self.figure, self.numbers, self.table]
        return [*shown, self.row, *self.downloads.values()]

    def ask(self, session: Session, form: Mapping[str, Any]) -> WrittenChoice:
        questions = questions_of(form["preset"], form["questions"], form["limit"])
        PROMPT.check(len(form["system"] or ""))
        TOKENS.check(whole(form["max_new_tokens"], "The number of new tokens"))
        samples = min(max(whole(form["samples"], "The number of answers"), 1), MOST_SAMPLES)
        held_out = [find_test_pairs(Path(path)) if path else None for path in (form["held_a"], form["held_b"])]
        options = WrittenRequest.chosen(form) | {"samples": samples}
        return WrittenChoice(Chosen.of(form), questions, held_out, options)

    def work(
        self, model: SteerableModel, session: Session, asked: WrittenChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        a, b = yield from self.voices.voicing.both(model, session, asked.voices)
        readers = yield from self.voices.voicing.readers(model, session, asked.voices)
        if len(readers) < 2:
            raise InputError("Choose a vector for voice B too: the answers are read along it.")
        request = WrittenRequest.parse(
            questions=asked.questions,
            directions=[voice.direction for voice in readers],
            held_out=[
                given or _own(session.person, voice) for given, voice in zip(asked.held_out, readers, strict=True)
            ],
            **asked.options,
        )
        return (yield from run_written(model, request, a, b, known))

    def ended(self, run: Run[WrittenChoice], stopped: bool) -> str:
        if run.found is None:
            return "Stopped before anything was read."
        return f"Stopped after {run.found['questions']} questions." if stopped else ""

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = WrittenResult.of(kept)
        drawn = shares_by_arm(found)
        rows = [
            [arm, answer["question"], answer["answer"], *reading_cells(answer)]
            for arm, one in found.arms.items()
            for answer in one.answers
        ]
        return {
            self.results: gr.Column(visible=True),
            self.said: _words(found),
            **self.headed(found.verdict),
            self.figure_box: gr.Column(visible=drawn is not None),
            self.figure: drawn,
            self.numbers: _numbers(found),
            self.table: rows,
        }

    def files(self, session: Session, kept: Plain) -> Updates:
        return {self.row: gr.Row(visible=True), **report_downloads(self.downloads, session, report_of(kept))}


def _more_settings() -> dict[str, Component]:
    """What there is to set beside the questions, by name."""
    with gr.Accordion("More settings", open=False, elem_id=f"{PANEL}-settings"):
        with gr.Row():
            files = {
                name: file_picker(label, f"{PANEL}-{elem_id}")
                for name, label, elem_id in (
                    ("questions", "Questions of your own", "questions"),
                    ("held_a", "Held-out answers of A", "held-a"),
                    ("held_b", "Held-out answers of B", "held-b"),
                )
            }
        with gr.Row():
            limit = at_most("questions")
            longest = min(512, TOKENS.value)
            tokens = control(WrittenRequest, "max_new_tokens", minimum=8, maximum=longest, step=8, min_width=240)
            temperature = control(WrittenRequest, "temperature", minimum=0, maximum=2, step=0.1, min_width=240)
            seed = control(WrittenRequest, "seed")
        gr.Markdown(
            "<small>Held-out answers are contrast pairs that a vector was not made from; presets have them.</small>"
        )
    return {**files, "limit": limit, "max_new_tokens": tokens, "temperature": temperature, "seed": seed}


def questions_of(preset: str | None, file: str | None, limit: Any) -> tuple[str, ...]:
    """Open questions of a file, or of a preset. Raises InputError for none, for too many, or for ones too long."""
    source: Path | str
    if file:
        source = Path(file)
    elif preset in presets():
        source = preset
    else:
        raise InputError(f"Give a file of open questions, or one of the presets: {', '.join(presets())}.")
    count = whole(limit, "The number of questions")
    questions = find_questions(source)[: count if count > 0 else None]
    if len(questions) > MOST_QUESTIONS:
        raise InputError(f"{len(questions)} questions are too many; {MOST_QUESTIONS} at most, or set how many to take.")
    PROMPT.check(max(map(len, questions)))
    return questions


def _own(person: Person, voice: Voice) -> Preset | Dataset:
    """The preset whose held-out answers are this voice's, or what was held out when its vector was made."""
    found: Preset | Dataset | None = None
    if voice.vector:
        found = preset_behind(voice.vector.provenance.dataset_sha256) or held_out_of(person, voice.vector)
    if not found:
        raise InputError(
            f"Reading the voice '{voice.name}' takes held-out answers: give them under More settings, as "
            "contrast pairs that its vector was not made from."
        )
    return found


def _words(found: WrittenResult) -> str:
    """The verdict, and how well answers are read."""
    right = found.reading["held_out_read_right"]
    read = ", ".join(
        f"{share:.0%} of {name}" for name, share in zip((found.a, found.b, "plain"), _in_order(right), strict=False)
    )
    told = f" Read as what they are: {read}." if right else ""
    first, *rest = SENTENCE.split(plain(found.verdict), maxsplit=1)
    said = "\n\n".join([f"#### {first}", *rest])
    return folded(said, plain(found.reading["text"] + told), "How well answers are read")


def _in_order(right: dict[str, float]) -> list[float]:
    return [right[voice] for voice in ("A", "B", "neither") if voice in right]


def _numbers(found: WrittenResult) -> str:
    count = f"Answers to {found.questions} questions, {found.samples} to each, with 95% intervals."
    told = folded(f"<small>{count}</small>", MEANING, "What the numbers mean")
    return f"{markdown_table(SHARES, share_rows(found))}\n\n{told}"
