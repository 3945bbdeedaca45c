"""Learn: draws a lesson step by step, keeps what is predicted, and opens the tab in which it is tried."""

import json
import re
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.panels.common import QUIET, Updates, guarded, markdown_table, plain, recommended, visible
from caa_core.app.panels.controls import file_picker
from caa_core.app.panels.layout import OPEN_TABS
from caa_core.app.panels.learn import in_class
from caa_core.app.panels.learn.lesson import HINTS, RECOMMENDED, STEPS, Lesson, Step, built_in, read_lesson
from caa_core.app.panels.learn.record import Outcome, Record, keep, lesson_in, look, record_of
from caa_core.app.panels.page import Page, Tab
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.errors import InputError

NAME = "learn"
PREDICT_FIRST = "Predict first: your prediction is kept, and then the experiment opens."
OF_THE_CLASS = "This class has its lesson; one of your own can be loaded after it."
OWN = "A lesson is a JSON file: download this one, change it, and load it here. What is wrong with it is said by step."
# The button that was pressed is gone then; a phone scrolls there, too.
TO_EXPERIMENT = f"() => document.querySelector('#{NAME}-go')?.focus()"
GO = f"(names) => ({OPEN_TABS})(names.split(','))"


class Learn:
    """The tab: one step at a time below the list of all."""

    def __init__(self, page: Page, tab: gr.Tab):
        self.page, self.studio = page, page.studio
        self.about = gr.Markdown(elem_id=f"{NAME}-about")
        with gr.Column() as self.list, gr.Walkthrough(selected=0, elem_id=f"{NAME}-steps") as self.steps:
            self.marks = [gr.Step("", id=number, visible=False) for number in range(STEPS[1])]
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=300):
                self._draw_question()
            with gr.Column(scale=1, min_width=300):
                self._draw_experiment()
        with gr.Row(elem_id=f"{NAME}-ways"):
            self.back = self._button("Back", "back", 0)
            self.score = gr.Markdown(elem_id=f"{NAME}-score")
            self.next = self._button("Next step", "next", 0)
        self._draw_own()
        self.shown = [self.text, self.choice, self.predict, self.do, self.go, self.places, self.result, self.conclude]
        self.shown += [self.hints, self.back, self.score, self.next]
        self.whole = [self.about, self.own, self.steps, *self.marks, *self.shown]
        self._wire(tab)

    def _button(self, label: str, name: str, scale: int = 1) -> gr.Button:
        return gr.Button(label, size="md", scale=scale, min_width=120, elem_id=f"{NAME}-{name}")

    def _draw_question(self) -> None:
        self.text = gr.Markdown(elem_id=f"{NAME}-text")
        self.choice = gr.Radio([], label="Question", elem_id=f"{NAME}-choice")
        self.predict = self._button("Keep my prediction", "predict")
        self.hints = gr.Markdown(elem_id=f"{NAME}-hints")

    def _draw_experiment(self) -> None:
        self.do = gr.Markdown(elem_id=f"{NAME}-do")
        self.go = self._button("Open the experiment", "go")
        self.places = gr.Textbox(visible=False)  # ids of the tabs to open
        self.result = gr.Markdown(elem_id=f"{NAME}-result", elem_classes="numbers")
        self.conclude = gr.Markdown(elem_id=f"{NAME}-conclude")

    def _draw_own(self) -> None:
        with gr.Accordion("A lesson of your own", open=False, elem_id=f"{NAME}-own") as self.own:
            gr.Markdown(OWN)
            with gr.Row():
                self.file = file_picker("A lesson's file", f"{NAME}-file", [".json"])
                with gr.Column(min_width=200):
                    self.download = gr.DownloadButton("This lesson as a file", size="sm", elem_id=f"{NAME}-download")
                    self.first = gr.Button("Back to the first lesson", size="sm", elem_id=f"{NAME}-first")
                    self.anew = gr.Button("Begin this lesson anew", size="sm", elem_id=f"{NAME}-anew")
            self.said = gr.Markdown(elem_id=f"{NAME}-said")

    def _wire(self, tab: gr.Tab) -> None:
        page = self.page
        page.restore(self.restore, self.whole)
        tab.select(self.look_again, None, self.shown, **QUIET)
        self.steps.select(self.choose, None, self.shown, **QUIET)
        kept = self.predict.click(self.keep_prediction, self.choice, self.shown, **QUIET)
        kept.success(None, js=TO_EXPERIMENT, api_visibility="private")
        went = self.go.click(self.fill_in, page.vectors, page.vectors, **QUIET)
        went.success(None, self.places, js=GO, api_visibility="private")
        self.back.click(self.step_back, None, [self.steps, *self.shown], **QUIET)
        self.next.click(self.step_on, None, [self.steps, *self.shown], **QUIET)
        # gradio goes on to measure each step that was there once: of another lesson all is drawn anew, once the list
        # has gone.
        assert page.drawn
        self.other = other = gr.State(0)
        self.file.upload(self.load, [self.file, page.drawn], [self.file, self.said, self.list, other], **QUIET)
        self.first.click(self.load_first, page.drawn, [self.list, other], **QUIET)
        other.change(lambda number: number, other, page.drawn, **QUIET)
        self.anew.click(self.begin_anew, None, self.whole, **QUIET)
        self.own.expand(self.offer, None, self.download, **QUIET)

    @guarded
    def restore(self, request: gr.Request) -> Updates:
        """The lesson as the person left it."""
        return self._whole(self.page.session(request))

    @guarded
    def look_again(self, request: gr.Request) -> Updates:
        """The step with what has been run since."""
        return self._step(self.page.session(request))

    @guarded
    def choose(self, request: gr.Request, event: gr.SelectData) -> Updates:
        """Go to the step that was clicked."""
        session = self.page.session(request)
        self._go_to(session, event.index if isinstance(event.index, int) else 0)
        return self._step(session)

    @guarded
    def step_back(self, request: gr.Request) -> Updates:
        """Go to the step before."""
        return self._by(self.page.session(request), -1)

    @guarded
    def step_on(self, request: gr.Request) -> Updates:
        """Go to the next step."""
        return self._by(self.page.session(request), 1)

    @guarded
    def keep_prediction(self, request: gr.Request, choice: int | None) -> Updates:
        """Keep what is predicted; the first counts."""
        session = self.page.session(request)
        lesson, record = self._now(session)
        if choice is None or choice not in range(len(lesson.steps[record.step].choices)):
            raise InputError("Choose an answer first: a guess will do.")
        record.predictions.setdefault(record.step, choice)
        keep(session, lesson, record)
        return self._step(session)

    @guarded
    def fill_in(self, request: gr.Request, count: int) -> int:
        """Let the experiment's form hold what the step asks for."""
        session = self.page.session(request)
        lesson, record = self._now(session)
        step = lesson.steps[record.step]
        session.settings[step.how.experiment] = self._settings(session, step)
        return count + 1

    @guarded
    def load(self, request: gr.Request, path: str | None, drawn: int) -> Updates:
        """Begin a lesson out of a file; what is wrong with it is said, and the one that was there stays."""
        session = self.page.session(request)
        if not path:
            return {self.said: gr.skip()}
        try:
            if session.classroom:
                raise InputError(OF_THE_CLASS)
            lesson = read_lesson(Path(path))
        except InputError as error:
            return {self.file: None, self.said: f"**It cannot be used.** {plain(str(error))}"}
        keep(session, lesson, record_of(session.person, lesson))
        return {self.list: gr.Column(visible=False), self.other: drawn + 1}

    @guarded
    def load_first(self, request: gr.Request, drawn: int) -> Updates:
        """Go on with the lesson that ships."""
        session = self.page.session(request)
        if session.classroom:
            raise InputError(OF_THE_CLASS)
        keep(session, built_in(), record_of(session.person, built_in()))
        return {self.list: gr.Column(visible=False), self.other: drawn + 1}

    @guarded
    def begin_anew(self, request: gr.Request) -> Updates:
        """Forget the predictions of this lesson."""
        session = self.page.session(request)
        keep(session, lesson_in(session), Record())
        return self._whole(session)

    @guarded
    def offer(self, request: gr.Request) -> gr.DownloadButton:
        """Offer the lesson that is shown as a file."""
        session = self.page.session(request)
        path = session.path("lesson", ".json")
        text = json.dumps(lesson_in(session).data, indent=1, ensure_ascii=False)
        path.write_text(text, encoding="utf-8")
        return gr.DownloadButton(value=str(path))

    def _now(self, session: Session) -> tuple[Lesson, Record]:
        lesson = lesson_in(session)
        return lesson, record_of(session.person, lesson)

    def _go_to(self, session: Session, step: int) -> int:
        lesson, record = self._now(session)
        record.step = min(max(step, 0), len(lesson.steps) - 1)
        keep(session, lesson, record)
        return record.step

    def _by(self, session: Session, steps: int) -> Updates:
        step = self._go_to(session, self._now(session)[1].step + steps)
        return {self.steps: gr.Walkthrough(selected=step), **self._step(session)}

    def _settings(self, session: Session, step: Step) -> dict[str, Any]:
        """A step's settings on the model at hand. Raises InputError where its vector is not there."""
        settings, deepest = dict(step.settings), self.studio.model.num_layers - 1
        for of in ("", "_a", "_b"):
            if (name := settings.get(f"vector{of}")) is None:
                continue
            if name not in session.vectors and name not in presets():
                raise InputError(f"This step takes the vector '{visible(str(name))[:80]}', which is not in your list.")
            at = dict(zip((f"layer{of}", f"multiplier{of}"), recommended(self.studio, str(name), session), strict=True))
            for setting, value in at.items():
                given = settings.get(setting, RECOMMENDED)
                if given == RECOMMENDED or (setting.startswith("layer") and not 0 <= given <= deepest):
                    settings[setting] = value
            if settings.get("layers") == RECOMMENDED:
                settings["layers"] = str(at[f"layer{of}"])
        return {name: value for name, value in settings.items() if name in step.how.settings}

    def _whole(self, session: Session) -> Updates:
        """Updates of the lesson, its list of steps, and the step."""
        lesson, record = self._now(session)
        there: Updates = {
            mark: gr.Step(label=visible(step.title), visible=True)
            for mark, step in zip(self.marks, lesson.steps, strict=False)
        }
        gone: Updates = {mark: gr.Step(visible=False) for mark in self.marks[len(lesson.steps) :]}
        about = f"#### {plain(lesson.title)}\n\n{_paragraphs(lesson.about)}"
        first: Updates = {self.about: about, self.steps: gr.Walkthrough(selected=record.step)}
        own = {self.own: gr.Accordion(visible=not session.classroom)}
        session.shown.pop(NAME, None)  # all is drawn
        return {**first, **own, **there, **gone, **self._step(session)}

    def _step(self, session: Session) -> Updates:
        """Updates of the step, with what came out so far, which is kept."""
        lesson, record = self._now(session)
        number, step = record.step, lesson.steps[record.step]
        predicted = record.predictions.get(number)
        found, remark = look(session.person, self.studio.model, step) if predicted is not None else (None, "")
        there = record.outcomes.get(number)
        if found and (found.own or not (there and there.own)):
            record.outcomes[number] = there = found
            keep(session, lesson, record)
        in_class.tell(session, record)
        now = (lesson, number, predicted)
        was, session.shown[NAME] = session.shown.get(NAME), now
        chosen: dict[str, Any] = {} if was == now else {"value": predicted}  # what was chosen meanwhile stays
        is_last = number == len(lesson.steps) - 1
        return {
            self.text: f"#### {number + 1}. {plain(step.title)}\n\n{_paragraphs(step.text)}",
            self.choice: gr.update(
                choices=[(visible(one.text), i) for i, one in enumerate(step.choices)],
                label=visible(step.question),
                interactive=predicted is None,
                **chosen,
            ),
            self.predict: gr.Button(visible=predicted is None, variant="primary"),
            self.do: PREDICT_FIRST if predicted is None else _paragraphs(step.do),
            self.go: _go_button(step, predicted is not None, there),
            self.places: ",".join(step.how.tabs),
            self.result: "" if predicted is None else _result(step, step.choices[predicted].text, there, remark),
            self.conclude: _conclusion(step) if predicted is not None and there else "",
            self.hints: _hints(step),
            self.back: gr.Button(interactive=number > 0),
            self.score: _score(lesson, record),
            self.next: gr.Button(interactive=not is_last, variant="primary" if there and not is_last else "secondary"),
        }


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    Learn(page, tab)
    return Tab()


def _paragraphs(text: str) -> str:
    """Text of a lesson as Markdown that shows it letter by letter, in its paragraphs."""
    return "\n\n".join(map(plain, re.split(r"\n\s*\n", text)))


def _go_button(step: Step, predicted: bool, found: Outcome | None) -> gr.Button:
    place, primary = step.how.place, "secondary" if found else "primary"
    said = f"Try it in {place}"
    if found:
        said = f"Run it again in {place}" if found.own else f"Try it yourself in {place}"
    return gr.Button(said, visible=predicted, variant=primary)  # type: ignore[arg-type]


def _result(step: Step, predicted: str, found: Outcome | None, remark: str) -> str:
    """The prediction beside what came out, as Markdown."""
    came = step.how.outcomes[found.outcome] if found else "Nothing yet"
    said = markdown_table(["You predicted", "What came out"], [(predicted, came)])
    if not found:
        return f"{said}\n\n{plain(remark or f'Press {step.how.press} there, then come back to this tab.')}"
    whose = "Checked on your own run." if found.own else f"Made before, on {found.made}. {remark}"
    return f"{said}\n\n{plain(found.said)}\n\n*{plain(whose.strip())}*"


def _conclusion(step: Step) -> str:
    return f"**You may conclude:** {_paragraphs(step.conclude)}\n\n**You may not:** {_paragraphs(step.beyond)}"


def _hints(step: Step) -> str:
    return "\n\n".join(
        f"<details><summary>Hint: {kind}</summary>\n\n{_paragraphs(hint)}\n\n</details>"
        for kind, hint in zip(HINTS, step.hints, strict=True)
    )


def _score(lesson: Lesson, record: Record) -> str:
    """How many predictions there are, and how many came true."""
    known = [record.came_true(lesson, step) for step in range(len(lesson.steps))]
    own = sum(found.own for found in record.outcomes.values())
    return (
        f"{len(record.predictions)} of {len(lesson.steps)} predicted, {known.count(True)} came true, "
        f"{own} checked on your own runs."
    )
