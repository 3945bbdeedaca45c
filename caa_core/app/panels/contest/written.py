"""Which voice do written answers follow? The section of the Compete tab that writes answers and reads them."""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.forms import control
from caa_core.app.panels.common import (
    busy,
    download_buttons,
    events,
    guarded,
    plain,
    report_downloads,
    shared_bar,
    stoppable,
)
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.contest.runs import run_written
from caa_core.contest.voice import Voice
from caa_core.contest.written import WrittenRequest, WrittenResult
from caa_core.data.presets import Preset, find_questions, find_test_pairs, preset_behind, presets
from caa_core.errors import InputError
from caa_core.limits import PROMPT, TOKENS
from caa_core.measuring.open_questions import MOST_QUESTIONS
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.written import READINGS, SHARES, reading_cells, report_of, share_rows, shares_by_arm

PANEL, KNOWN = "compete-written", "compete-written-known"
# Results that are kept beside the last one: each holds all of its answers.
KEPT = 2
FILES = [".json", ".jsonl", ".csv", ".tsv", ".parquet"]
ABOUT = (
    "Answers to open questions, written unsteered, under A, under B and under both. The **unsteered** model reads each "
    "and its residual stream is compared with the two vectors, on a scale that held-out answers set."
)
MEANING = (
    "Reading A: 1 is typical of A's held-out answers, −1 of plain ones; B likewise. Lean: 1 is typical of A's answers, "
    "−1 of B's. Neither: no reading above 0. Mixed: a lean within a third of 0. AUC: how often an answer of one kind "
    "lies above one of the other; below 0.8 no voice is named. Intervals of shares are over questions."
)
MOST_SAMPLES = 8

# From the values of the tab's controls to the two voices, and to the vectors along which they are read, on the worker.
Sides = Callable[..., Generator[Progress, None, tuple[Voice, Voice]]]
Readers = Callable[..., Generator[Progress, None, list[Voice]]]


class WhichVoice:
    """Draws what to ask and what was found. Call `draw` where it belongs in the layout, then `wire`."""

    def __init__(self, studio: Studio):
        self.studio = studio

    def draw(self, first: str) -> None:
        """Draw it; `first` is the preset whose questions are filled in."""
        gr.Markdown(f"### Which voice do written answers follow?\n{ABOUT}")
        with gr.Row(equal_height=True):
            self.preset = gr.Dropdown(
                [(f"{name} and {preset.opposes}", name) for name, preset in presets().items()],
                value=first,
                label="Open questions of",
                elem_id=f"{PANEL}-preset",
                min_width=180,
            )
            self.samples = control(
                WrittenRequest,
                "samples",
                minimum=1,
                maximum=MOST_SAMPLES,
                step=1,
                elem_id=f"{PANEL}-samples",
                min_width=160,
            )
            with gr.Column(min_width=120):
                self.write = gr.Button("Write and read", variant="primary", elem_id=f"{PANEL}-write", size="md")
                self.halt = gr.Button("Stop", variant="stop", elem_id=f"{PANEL}-stop", size="md")
        with gr.Accordion("More settings", open=False, elem_id=f"{PANEL}-settings"):
            with gr.Row():
                self.file = self._file("Questions of your own", "questions")
                self.held_out = [self._file(f"Held-out answers of {letter}", f"held-{letter}") for letter in "AB"]
            with gr.Row():
                self.limit = gr.Number(0, label="At most so many questions", info="0: all of them", precision=0)
                longest = min(512, TOKENS.value)
                self.tokens = control(WrittenRequest, "max_new_tokens", minimum=8, maximum=longest, step=8)
                self.temperature = control(WrittenRequest, "temperature", minimum=0, maximum=2, step=0.1)
                self.seed = control(WrittenRequest, "seed")
            gr.Markdown(
                "<small>Held-out answers are contrast pairs (prompt, positive, negative) that a vector was not made "
                "from. Presets bring their own.</small>"
            )
        self.status = gr.Markdown(elem_id=f"{PANEL}-status")
        self.said = gr.Markdown(elem_id=f"{PANEL}-said")
        with gr.Column(visible=False) as self.figure_box:
            self.figure = figure("Share of answers", f"{PANEL}-figure")
        self.numbers = gr.Markdown(elem_id=f"{PANEL}-numbers", elem_classes="numbers")
        with gr.Accordion("The answers and their readings", open=False, visible=False) as self.answers:
            self.table = gr.Dataframe(
                headers=READINGS,
                interactive=False,
                wrap=True,
                max_height=420,
                column_widths=["10%", "18%", "38%", "9%", "9%", "8%", "8%"],
                buttons=["fullscreen"],
                elem_id=f"{PANEL}-table",
            )
        with gr.Row(visible=False) as self.files:
            formats = {".json": "Report (JSON)", ".csv": "Answers (CSV)", ".html": "Report (HTML)"}
            self.downloads = download_buttons(PANEL, formats)

    def _file(self, label: str, name: str) -> gr.File:
        return gr.File(label=label, file_types=FILES, height=130, elem_id=f"{PANEL}-{name.lower()}", min_width=160)

    def wire(
        self,
        entered: Dependency,
        sides: Sides,
        readers: Readers,
        values: Sequence[gr.components.Component],
        system: gr.Textbox,
        positions: gr.Dropdown,
    ) -> None:
        """Let the buttons work. `sides` and `readers` are called as sides(model, session, *values). After `entered` is
        shown what the person had before a reload.
        """

        @guarded
        def write(request: gr.Request, *asked: Any) -> Iterator[dict]:
            session = self.studio.session(request.session_hash)
            preset, file, held_a, held_b, samples, limit, tokens, temperature, seed, told, where, *rest = asked
            questions = questions_of(preset, file, limit)
            PROMPT.check(len(told or ""))
            TOKENS.check(whole(tokens, "The number of new tokens"))
            options = {
                "positions": where,
                "system": told,
                "samples": min(max(whole(samples, "The number of answers"), 1), MOST_SAMPLES),
                "max_new_tokens": tokens,
                "temperature": temperature,
                "seed": seed,
            }
            files = [find_test_pairs(Path(path)) if path else None for path in (held_a, held_b)]
            known, latest = dict(session.person.results.get(KNOWN) or {}), []

            def keep(found: dict[str, Any]) -> dict[str, Any]:
                latest[:] = [found]
                session.person.remember(PANEL, found)
                return found

            def work(model: SteerableModel) -> Generator[Any, None, None]:
                a, b = yield from sides(model, session, *rest)
                voices = yield from readers(model, session, *rest)
                if len(voices) < 2:
                    raise InputError("Choose a vector for voice B too: the answers are read along it.")
                data = [given or _own(voice) for given, voice in zip(files, voices, strict=True)]
                directions = [voice.direction for voice in voices]
                about = {"questions": questions, "directions": directions, "held_out": data}
                asked = WrittenRequest.parse(**about, **options)
                keep((yield from showing(run_written(model, asked, a, b, known), keep)))
                session.person.remember(KNOWN, dict(list(known.items())[-KEPT:]))

            yield {self.status: "Waiting for the model ...", **busy(self.write)}
            job = self.studio.run(work)
            for event in events(session, PANEL, job):
                if isinstance(event, Progress):
                    yield {self.status: shared_bar(self.studio, event)}
                else:
                    yield self._shown(session.person, event)
            if not latest:
                yield {self.status: "Stopped before anything was read."}
                return
            said = f"Stopped after {latest[0]['questions']} questions." if job.stopped else ""
            yield {self.status: said, **self._shown(session.person, latest[0])}

        @guarded
        def restore(request: gr.Request) -> dict:
            person = self.studio.session(request.session_hash).person
            kept = person.results.get(PANEL)
            return self._shown(person, kept) if kept else {self.status: gr.skip()}

        silent = {"show_progress": "hidden", "api_visibility": "private"}
        asked = [self.preset, self.file, *self.held_out, self.samples, self.limit, self.tokens, self.temperature]
        asked += [self.seed, system, positions, *values]
        shown = [self.status, self.said, self.figure_box, self.figure, self.numbers, self.answers, self.table]
        shown += [self.files, *self.downloads.values()]
        writing = self.write.click(write, asked, [*shown, self.write], **silent)
        stoppable(self.studio, PANEL, writing, self.write, self.halt, self.status)
        entered.then(restore, None, shown, **silent)
        # The questions follow voice A, whose vector is the first of the controls.
        values[0].input(lambda name: name if name in presets() else gr.skip(), values[0], self.preset, **silent)

    def _shown(self, person: Person, kept: dict[str, Any]) -> dict:
        found = WrittenResult.of(kept)
        drawn = shares_by_arm(found)
        rows = [
            [arm, answer["question"], answer["answer"], *reading_cells(answer)]
            for arm, one in found.arms.items()
            for answer in one.answers
        ]
        return {
            self.said: _words(found),
            self.figure_box: gr.Column(visible=drawn is not None),
            self.figure: drawn,
            self.numbers: _numbers(found),
            self.answers: gr.Accordion(visible=True),
            self.table: rows,
            self.files: gr.Row(visible=True),
            **report_downloads(self.downloads, person, report_of(kept)),
        }


def questions_of(preset: str | None, file: str | None, limit: Any) -> tuple[str, ...]:
    """Open questions of a file, or of a preset. Raises InputError for none, for too many, or for ones too long."""
    if not file and preset not in presets():
        raise InputError(f"Give a file of open questions, or one of the presets: {', '.join(presets())}.")
    count = whole(limit, "The number of questions")
    questions = find_questions(Path(file) if file else preset)[: count if count > 0 else None]
    if len(questions) > MOST_QUESTIONS:
        raise InputError(f"{len(questions)} questions are too many; {MOST_QUESTIONS} at most, or set how many to take.")
    PROMPT.check(max(map(len, questions)))
    return questions


def _own(voice: Voice) -> Preset:
    """The preset whose held-out answers are this voice's."""
    found = preset_behind(voice.vector.provenance.dataset_sha256)
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
    return f"#### {plain(found.verdict)}\n\n{plain(found.reading['text'] + told)}"


def _in_order(right: dict[str, float]) -> list[float]:
    return [right[voice] for voice in ("A", "B", "neither") if voice in right]


def _numbers(found: WrittenResult) -> str:
    lines = [f"| {' | '.join(SHARES)} |", f"|{'---|' * len(SHARES)}"]
    lines += [f"| {' | '.join(map(plain, row))} |" for row in share_rows(found)]
    count = f"{found.questions} questions, {found.samples} answers each, with 95 % intervals."
    return "\n".join([*lines, "", f"<small>{count} {MEANING}</small>"])
