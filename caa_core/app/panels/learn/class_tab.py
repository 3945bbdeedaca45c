"""Class: a teacher opens one, and behind its key sees how far all are, in counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.keys.classrooms import Classroom, Rules
from caa_core.app.panels.common import QUIET, Updates, bar, busy, freed, guarded, plain
from caa_core.app.panels.controls import file_picker, page_of
from caa_core.app.panels.layout import folded
from caa_core.app.panels.learn import board
from caa_core.app.panels.learn.class_file import FORMAT, VERSION, class_of, read_class
from caa_core.app.panels.learn.lesson import Lesson, built_in
from caa_core.app.panels.learn.record import lesson_of_person
from caa_core.app.panels.page import Page, Tab
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.limits import TOKENS, check_owner, is_public, owner_key
from caa_core.progress import Progress, listen
from caa_core.reports.writing import as_csv

NAME = "class"
SECONDS_BETWEEN_LOOKS = 4
ABOUT = folded(
    "A class goes through one lesson together; you see how far all are, without names.",
    "Choose what there is, open the class, and give its link to all. Its lesson is the one under Learn: load your own "
    "there first.\n\nAll is in memory and goes when you end the class, or when its time is over: download the results "
    "before. A class can be a file, too, which is uploaded here or named in CAA_CLASS when the app is started.",
)
ONLY_OWNER = "This app is open to strangers, and has no owner's key: no class can be opened here."
FREE = "Else only examples and the lesson's own questions can be asked."
PIECES = "In Look inside: they are often meaningless, and some are unlucky."
LOST = "The class is over; what came of it is gone."


class ClassTab:
    """The tab: what begins a class, or the class that is held."""

    def __init__(self, page: Page, tab: gr.Tab):
        self.page, self.studio = page, page.studio
        with gr.Row() as self.outside:
            with gr.Column(scale=3, min_width=300):
                self._draw_new()
            with gr.Column(scale=2, min_width=300):
                self._draw_known()
        with gr.Column(visible=False) as self.inside:
            self._draw_board()
        self.timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
        self.seen = [self.counts, self.board, self.csv]
        self.whole = [self.outside, self.inside, self.about, *self.seen, self.timer]
        page.restore(self.restore, self.whole)
        opened = self.begin.click(
            self.open_class, [*self.form.values()], [self.status, self.begin, *self.whole], **QUIET
        )
        freed(opened, lambda: {self.begin: gr.update(interactive=True)})
        known = [self.code, self.key]
        for tried in (self.show.click, self.key.submit):
            tried(self.enter_class, known, [*known, *self.whole], **QUIET)
        self.timer.tick(self.look, None, self.seen, queue=False, **QUIET)
        asking = [self.sure, self.on, self.end]
        self.end.click(lambda: self._asking(True), None, asking, **QUIET)
        self.on.click(lambda: self._asking(False), None, asking, **QUIET)
        self.sure.click(self.end_class, None, [*asking, *self.whole], **QUIET)

    def _draw_new(self) -> None:
        may = not is_public() or bool(owner_key())
        gr.Markdown(f"#### Open a class\n\n{ABOUT if may else ONLY_OWNER}")
        with gr.Column(visible=may):
            with gr.Row():
                title = gr.Textbox("My class", label="Title", max_length=160, elem_id=f"{NAME}-title", min_width=160)
                tokens = gr.Slider(
                    8, min(512, TOKENS.value), 80, step=8, label="New tokens at most", buttons=[], min_width=240
                )
            names = gr.Dropdown(
                [*presets()], value=[*presets()], multiselect=True, label="Presets", elem_id=f"{NAME}-presets"
            )
            free = gr.Checkbox(True, label="Prompts can be typed", info=FREE, elem_id=f"{NAME}-free")
            pieces = gr.Checkbox(True, label="Pieces of words are shown", info=PIECES, elem_id=f"{NAME}-pieces")
            everybody = gr.Checkbox(False, label="Everybody who opens the app is in it", elem_id=f"{NAME}-everybody")
            with gr.Accordion("or a class's file", open=False, elem_id=f"{NAME}-own"):
                file = file_picker("It counts in place of what is chosen above", f"{NAME}-file", [".json"])
            owner = gr.Textbox(
                label="Owner's key", type="password", visible=is_public(), max_length=200, elem_id=f"{NAME}-owner"
            )
            self.begin = gr.Button("Open the class", variant="primary", size="md", elem_id=f"{NAME}-begin")
            self.status = gr.Markdown(elem_id=f"{NAME}-status")
        self.form = {"owner": owner, "file": file, "title": title, "presets": names, "tokens": tokens}
        self.form |= {"free_prompts": free, "word_pieces": pieces, "everybody": everybody}

    def _draw_known(self) -> None:
        gr.Markdown("#### A class that is held\n\nYou see it with its key.")
        self.code = gr.Textbox(label="Code", max_length=40, elem_id=f"{NAME}-code")
        self.key = gr.Textbox(label="Key", type="password", max_length=200, elem_id=f"{NAME}-key")
        self.show = gr.Button("Show it", size="md", elem_id=f"{NAME}-show")

    def _draw_board(self) -> None:
        self.about = gr.Markdown(elem_id=f"{NAME}-about")
        self.counts = gr.Markdown(elem_id=f"{NAME}-counts")
        with gr.Row():
            self.csv = gr.DownloadButton(
                "Results (CSV)", size="sm", scale=0, min_width=130, elem_id=f"{NAME}-csv", elem_classes="file"
            )
            self.end = gr.Button("End the class", size="sm", scale=0, min_width=130, elem_id=f"{NAME}-end")
            self.sure = gr.Button(
                "End it, and forget all",
                variant="stop",
                visible=False,
                size="sm",
                scale=0,
                min_width=180,
                elem_id=f"{NAME}-sure",
            )
            self.on = gr.Button(
                "Go on with it", visible=False, size="sm", scale=0, min_width=130, elem_id=f"{NAME}-go-on"
            )
        self.board = gr.HTML(elem_id=f"{NAME}-board", padding=False)

    @guarded
    def restore(self, request: gr.Request) -> Updates:
        """The class that is held, for one of its teachers."""
        session = self.page.session(request)
        room = self._room(session)
        return self._inside(session, room, request) if room else {}

    @guarded
    def open_class(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """Open a class as it is chosen, or as a file says, and show it."""
        session, form = self.page.session(request), dict(zip(self.form, values, strict=True))
        self.studio.owner.open(form["owner"] or "", session.address, lambda key: check_owner(key, "open a class"))
        rules, key = read_class(Path(form["file"])) if form["file"] else class_of(_chosen(session, form))
        yield {self.status: "Opening ...", **busy(self.begin)}
        for message in listen(lambda say: self.studio.hold(rules, key, say)):
            yield {self.status: bar(message) if isinstance(message, Progress) else plain(message)}
        room = self.studio.classes.behind(rules.code, key, session.address, session.person)
        yield {self.status: "", **self._inside(session, room, request, key)}

    @guarded
    def enter_class(self, request: gr.Request, code: str, key: str) -> Updates:
        """Show a class to who has its key."""
        session = self.page.session(request)
        room = self.studio.classes.behind(code or "", key or "", session.address, session.person)
        return {self.code: "", self.key: "", **self._inside(session, room, request)}

    @guarded
    def look(self, request: gr.Request) -> Updates:
        """What has come since."""
        session = self.page.session(request)
        room = self._room(session)
        if not room:
            return {self.counts: LOST}
        now = _state(room)
        if session.shown.get(NAME) == now:
            return {self.counts: gr.skip()}
        return self._seen(session, room)

    @guarded
    def end_class(self, request: gr.Request) -> Updates:
        """End the class, and forget what came of it."""
        session = self.page.session(request)
        if room := self._room(session):
            self.studio.classes.end(room)
        outside = {self.outside: gr.Row(visible=True), self.inside: gr.Column(visible=False)}
        return {**self._asking(False), **outside, self.timer: gr.Timer(active=False)}

    def _asking(self, asks: bool) -> Updates:
        """Updates of the buttons that end the class, or ask once more whether it is to be ended."""
        return {
            self.sure: gr.Button(visible=asks),
            self.on: gr.Button(visible=asks),
            self.end: gr.Button(visible=not asks),
        }

    def _room(self, session: Session) -> Classroom | None:
        return self.studio.classes.taught_by(session.person)

    def _inside(self, session: Session, room: Classroom, request: gr.Request, key: str = "") -> Updates:
        link = f"{page_of(request)}?class={room.rules.code}"
        said = [f"#### {plain(room.rules.title)}", f"The link for all: [{link}]({link})"]
        said += [f"Its key, which is shown once: `{key}`"] if key else []
        return {
            self.outside: gr.Row(visible=False),
            self.inside: gr.Column(visible=True),
            self.about: "\n\n".join(said),
            self.timer: gr.Timer(active=True),
            **self._seen(session, room),
        }

    def _seen(self, session: Session, room: Classroom) -> Updates:
        session.shown[NAME] = _state(room)
        lesson, parts = _lesson(room.rules), room.parts
        path = session.path(f"class {room.rules.code}", ".csv")
        path.write_text(as_csv(board.rows(lesson, parts)), encoding="utf-8", newline="")
        predicted = sum(bool(part.predictions) for part in parts)
        return {
            self.counts: f"**{len(parts)}** in the class, **{predicted}** have predicted something.",
            self.board: board.drawn(lesson, parts),
            self.csv: gr.DownloadButton(value=str(path), interactive=bool(predicted)),
        }


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    ClassTab(page, tab)
    return Tab()


def _lesson(rules: Rules) -> Lesson:
    return rules.lesson or built_in()


def _state(room: Classroom) -> tuple[Any, ...]:
    return room, room.parts


def _chosen(session: Session, form: dict[str, Any]) -> dict[str, Any]:
    """What is chosen on the page, as the file of a class says it."""
    own = lesson_of_person(session.person)
    given = {name: form[name] for name in ("title", "presets", "free_prompts", "word_pieces", "everybody")}
    lesson = {} if own.key == built_in().key else {"lesson": own.data}
    return {"format": FORMAT, "version": VERSION, **given, "limits": {"tokens": int(form["tokens"])}, **lesson}
