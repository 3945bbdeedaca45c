"""An experiment on the page: run it, stream, keep and stop it, free its buttons, and show it again after a reload, with
what it was made with; and until there is one, what was made before.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.events import Dependency

from caa_core.app.opening.ready import ready
from caa_core.app.panels.common import (
    QUIET,
    Updates,
    busy,
    events,
    freed,
    guarded,
    heard,
    is_wanted,
    plain,
    say_gone,
    shared_bar,
    stopper,
)
from caa_core.app.panels.learn import in_class
from caa_core.app.panels.made_with import MadeWith, differing, filled, in_words, settings_of
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Person, Running, Session
from caa_core.errors import InputError
from caa_core.metrics.cache import key
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, Waiting, showing

COMPUTED_BEFORE = "It had been computed here before, with the very same settings."
# So often a page asks for a job that it had before it was reloaded, until the page before it has gone.
SECONDS_TO_FIND = 1

# A result as plain data, which is how it is kept.
Plain = dict[str, Any]
Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Cache:
    """Under which name a person's earlier results lie, by all that they depend on, and how many of the latest stay."""

    name: str
    most: int

    def of(self, person: Person) -> dict[str, Any]:
        kept = person.results.get(self.name)
        return dict(kept) if isinstance(kept, dict) else {}

    def keep(self, person: Person, known: Mapping[str, Any]) -> None:
        """Keep them beside what has been put there meanwhile."""
        there = {**{name: found for name, found in self.of(person).items() if name not in known}, **known}
        person.remember(self.name, dict(list(there.items())[-self.most :]))


@dataclass
class Run(Generic[Asked]):
    """What one run was asked and has come to, which the worker notes, whether or not the page still listens. How far it
    has come is noted by the page.
    """

    session: Session
    form: Mapping[str, Any]
    asked: Asked
    found: Plain | None = None
    progress: Progress | None = None
    note: str = ""
    before: bool = False  # whether somebody else's run had come to it

    def reach(self, progress: Progress) -> None:
        """Note how far it has come, once it has begun."""
        if not isinstance(progress, Waiting):
            self.progress, self.note = progress, progress.note or self.note


class Experiment(Generic[Asked]):
    """What a form asks for, as a job of the worker.

    A panel draws its parts in its own `__init__`, hands them to this one's, and says what is its own: `ask`, `work`,
    `show`, and where there is something to say, `files` and `ended`.
    """

    name: ClassVar[str]  # of its job, and of the result that is kept
    cache: ClassVar[Cache | None] = None
    aside: ClassVar[Collection[str]] = ()  # of the form: what a result does not depend on, such as how it is shown
    says_settings: ClassVar[bool] = True  # whether it is said above the result what it was made with
    takes_settings: ClassVar[bool] = False  # whether another tab may fill in its form, by `Session.settings`
    heavy: ClassVar[bool] = True  # whether it takes memory as a measurement does
    after_error: ClassVar[str] = ""
    unreadable: ClassVar[str] = "What was kept cannot be read."

    def __init__(
        self,
        page: Page,
        form: Mapping[str, Component],
        starters: Sequence[gr.Button],
        stop: gr.Button | None,
        status: Component,
        shown: Sequence[Block],
        start: Callable[..., Dependency] | None = None,
    ):
        """form: the parts that are asked, by name. starters: the button that starts it, and others that are not to be
        pressed meanwhile. status: says how far it has come. shown: the parts that `show` and `files` write to. start:
        the event that starts it, where that is not a click of the first button.
        """
        self.page, self.studio = page, page.studio
        self.form, self.starters, self.stop_button = dict(form), list(starters), stop
        self.status, self.made = status, _drawn_above(shown[0], f"{self.name}-made") if self.says_settings else None
        self.outputs = [status, *shown, *([self.made] if self.made else [])]
        self.began: list[Dependency] = []
        if start or starters:
            self.starts_by(start or starters[0].click, self.run)
        if stop:
            stop.interactive = False
            stop.click(stopper(self.studio, self.name), queue=False, **QUIET)
        page.restore(self.fit, [*self._refilled_parts().values()])
        page.restore(self.restore, [*self._refilled_parts().values(), *self.outputs], self.name)
        if self.takes_settings:
            page.take_settings(self.name, self.fill_in, [*self._refilled_parts().values()])
        if self.made:
            page.watch([*self.form.values()], self.made, self.look)
        self._finds_again()

    def ask(self, session: Session, form: Mapping[str, Any]) -> Asked:
        """What the form asks for. Raises InputError for what cannot be."""
        raise NotImplementedError

    def work(
        self, model: SteerableModel, session: Session, asked: Asked, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        """The job: yields how far it has come and the result by and by, and returns the result. What was computed
        before is in `known`, and what is computed may be put there.
        """
        raise NotImplementedError

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        """Updates that show a result; `form` is what was asked, as far as that was kept after a reload."""
        raise NotImplementedError

    def show_part(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        """Updates that show what has come of a result while it goes on."""
        return self.show(session, kept, form)

    def files(self, session: Session, kept: Plain) -> Updates:
        """Updates for what can be downloaded, once it has ended."""
        return {}

    def ended(self, run: Run[Asked], stopped: bool) -> str:
        """What the status says at the end."""
        return "Stopped; what was there before is still shown." if stopped else ""

    def keep(self, run: Run[Asked], found: Plain) -> Plain:
        """Keep a result, or a part of one, with what it was made with. Returns what is kept; called on the worker."""
        kept = {"asked": self.settings(run.session, run.form), **found}
        run.session.person.remember(self.name, kept)
        return kept

    def for_everybody(self, run: Run[Asked]) -> bool:
        """Whether what it comes to may be shown to all who ask the same: where that is of presets alone, and what is
        asked says all that it depends on.
        """
        return False

    def settings(self, session: Session, form: Mapping[str, Any]) -> MadeWith:
        """What a form's values are, as plain data, and what else a result depends on."""
        return settings_of(self.form, form)

    def asked(self, kept: Plain) -> MadeWith | None:
        """With what a kept result was made; None where that is not known."""
        asked = kept.get("asked")
        return asked if isinstance(asked, dict) else None

    def unused(self, form: Mapping[str, Any]) -> Collection[str]:
        """What a result of such settings does not depend on, by name."""
        return self.aside

    def begin(self, run: Run[Asked]) -> Running:
        """Begin it as a job."""
        return self.studio.run(lambda model: self.steps(model, run), run.session, self.heavy)

    def waiting(self) -> Updates:
        """Updates for its beginning."""
        return {self.status: "Waiting for the model ...", **self.at_work()}

    def at_work(self) -> Updates:
        """Updates for while it runs: only Stop can be pressed."""
        updates: Updates = busy(*self.starters)
        if self.stop_button:
            updates[self.stop_button] = gr.update(interactive=True)
        return updates

    def how_far(self, progress: Progress) -> str:
        """What the status says while it runs."""
        return shared_bar(self.studio, progress)

    def free(self) -> Updates:
        """Updates for when it has ended, however it did. See `common.freed`."""
        updates: Updates = {button: gr.update(interactive=True) for button in self.starters}
        if self.stop_button:
            updates[self.stop_button] = gr.update(interactive=False)
        return updates

    @guarded
    def run(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        yield from self.updates(self.page.session(request), self.named(values))

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """What the form holds, by name."""
        return dict(zip(self.form, values, strict=True))

    def updates(self, session: Session, form: Mapping[str, Any]) -> Iterator[Updates]:
        """Updates of the page from its beginning to its end. What it fails of is said where it is said how far it has
        come, and raised.
        """
        run: Run[Asked] | None = None
        try:
            form = in_class.allowed(self.form, session, form)
            run = Run(session, form, self.ask(session, form))
            yield self.waiting()
            job = self.begin(run)
            job.about = run
            yield from self.hear(run, job, events(session, self.name, job, lasting=True))
        except Exception as error:
            yield {self.status: self.failed(error, run)}
            raise

    def hear(self, run: Run[Asked], job: Running, come: Iterator[Any]) -> Iterator[Updates]:
        """Updates of the page for events that come of a job, and for its end; none for that where it goes on without
        this page.
        """
        session, form = run.session, run.form
        for event in come:
            if isinstance(event, Progress):
                run.reach(event)
                # The buttons with each: a page that other updates come to at the same time may lose one.
                yield {self.status: self.how_far(event), **self.at_work()}
            else:
                yield {**self._not_yet(), **self.show_part(session, event, form), **self._said(session, event)}
        if job.over:
            done: Updates = {}
            if run.found is not None:
                done = {**self.show(session, run.found, form), **self.files(session, run.found)}
                done |= self._said(session, run.found)
            ended = done[self.status] if self.status in done else self.ended(run, job.stopped)
            said = [ended, COMPUTED_BEFORE if run.before else ""]
            yield {**done, self.status: " ".join(filter(None, said))}
            say_gone(session.person)

    @guarded
    def find(self, request: gr.Request) -> Updates:
        """Look for a job that a reload left running, if there is one."""
        runs = self.studio.sessions.runs_elsewhere(self.page.session(request), self.name)
        return {self.looking: gr.update(active=True)} if runs else {}

    @guarded
    def found(self, request: gr.Request) -> Iterator[Updates]:
        """Go on with the job that a reload left running: how far it has come, what comes of it, and Stop."""
        session, sessions = self.page.session(request), self.studio.sessions
        if job := sessions.take_over(session, self.name):
            run: Run[Asked] = job.about
            run.session = session
            again = self.refill(session, {"asked": self.settings(session, run.form)})
            yield {**self.waiting(), **again, self.looking: gr.update(active=False)}
            yield from self.hear(run, job, heard(session.listen(self.name, job, wanted=is_wanted())))
        elif not sessions.runs_elsewhere(session, self.name):
            yield {self.looking: gr.update(active=False)}  # it has ended meanwhile
            yield self.restore(request)
        else:
            yield {self.looking: gr.skip()}

    def failed(self, error: Exception, run: Run[Asked] | None) -> str:
        """What the status says after an error: what went wrong, and what there is in spite of it."""
        said = plain(str(error)[:500]) if isinstance(error, InputError) else "Something failed inside the app."
        kept = f" {self.after_error}" if run and run.found is not None else ""
        return f"**That did not work.** {said}{kept}"

    def kept_of(self, person: Person) -> Plain | None:
        """What a person has of it."""
        return person.results.get(self.name)

    @guarded
    def fit(self, request: gr.Request) -> Updates:
        """Let the form begin with what the class has."""
        return in_class.fitted(self._refilled_parts(), self.page.session(request), self.studio)

    @guarded
    def restore(self, request: gr.Request) -> Updates:
        session = self.page.session(request)
        own, before = self.kept_of(session.person), ready(self.name, self.studio.model)
        try:
            if not own:
                return self.show_ready(session, before) if before and in_class.shows(session, before) else {}
            shown = {**self.show(session, own, self.asked(own) or {}), **self.files(session, own)}
            return {**self.refill(session, own), **shown, **self._said(session, own)}
        except InputError:
            raise
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            raise InputError(self.unreadable) from error

    def kept(self, session: Session) -> Plain | None:
        """The result that the person has, or that was made before; None where there is neither."""
        return self.kept_of(session.person) or ready(self.name, self.studio.model)

    def show_ready(self, session: Session, before: Plain) -> Updates:
        """Updates that show what was made before, of which there are no files, and fill in what it was made with."""
        return {**self.refill_ready(session, before), **self.show_before(session, before)}

    def show_before(self, session: Session, before: Plain) -> Updates:
        """Updates that show what was made before, whatever is chosen."""
        shown = self.show_part(session, before, self.asked(before) or {})
        return {**shown, **self._not_yet(), **self._said(session, before)}

    def refill_ready(self, session: Session, before: Plain) -> Updates:
        """Updates of the form to what was made before, where it begins with something else."""
        begins = {name: getattr(part, "value", None) for name, part in self._refilled_parts().items()}
        asked = self.asked(before) or {}
        return self.refill(session, before) if differing(asked, begins, self.unused(asked)) else {}

    def refill(self, session: Session, kept: Plain) -> Updates:
        """Updates that fill in the form again, as far as what was asked is there still."""
        asked, deepest = self.asked(kept) or {}, self.studio.model.num_layers - 1
        updates = {
            part: filled(part, asked[name], session, deepest)
            for name, part in self._refilled_parts().items()
            if name in asked
        }
        return {part: update for part, update in updates.items() if update is not None}

    def fill_in(self, session: Session, settings: MadeWith) -> Updates:
        """Updates of the form to what is to be asked, as far as that can be."""
        parts = {*self._refilled_parts().values()}
        return {part: update for part, update in self.refill(session, {"asked": settings}).items() if part in parts}

    def look(self, session: Session, values: Sequence[Any]) -> str:
        """What is said above the result that is shown, for what is chosen now; nothing where there is none."""
        if self.name not in session.shown:
            return ""
        made, form = session.shown[self.name], self.named(values)
        return in_words(self.form, made, self.settings(session, form), self.unused(made or form))

    def _not_yet(self) -> Updates:
        """Updates of downloads that are still of an earlier result."""
        return {part: gr.update(interactive=False) for part in self.outputs if isinstance(part, gr.DownloadButton)}

    def _said(self, session: Session, kept: Plain) -> Updates:
        """Updates that say what a result was made with, which is shown from now on."""
        if not self.made:
            return {}
        made = session.shown[self.name] = self.asked(kept)
        return {self.made: in_words(self.form, made, made or {}, self.unused(made or {}))}

    def starts_by(self, event: Callable[..., Dependency], run: Callable[..., Iterator[Updates]]) -> None:
        """Let an event start it by `run`, and free the buttons when it has ended, however it did."""
        parts = list(self.form.values())
        stop = [self.stop_button] if self.stop_button else []
        began = event(run, parts, list(dict.fromkeys([*self.outputs, *self.starters, *stop])), **QUIET)
        self.began.append(began)
        freed(began, self.free)
        if self.made:  # something else may have been chosen while it ran
            began.then(self.page.looks(self.look), parts, self.made, queue=False, **QUIET)

    def _finds_again(self) -> None:
        self.looking = gr.Timer(SECONDS_TO_FIND, active=False)
        self.looking.elem_id = f"{self.name}-timer"
        stop = [self.stop_button] if self.stop_button else []
        shown = [*self._refilled_parts().values(), *self.outputs, *self.starters, *stop, self.looking]
        again = self.looking.tick(self.found, None, list(dict.fromkeys(shown)), **QUIET)
        self.began.append(again)
        freed(again, self.free)
        given_up = {self.status: self.after_error, self.looking: gr.update(active=False)}
        again.failure(lambda: given_up, None, list(given_up), **QUIET)
        self.page.restore(self.find, [self.looking])

    def shown_by(
        self,
        choice: gr.Radio | gr.Dropdown,
        outputs: Sequence[Block],
        show: Callable[[Session, Plain, Any], Updates],
    ) -> None:
        """Show the result in another way when `choice` is set."""

        @guarded
        def again(request: gr.Request, value: Any) -> Updates:
            session = self.page.session(request)
            kept = self.kept(session)
            return show(session, kept, value) if kept else {outputs[0]: gr.skip()}

        choice.input(again, choice, list(outputs), **QUIET)

    def steps(self, model: SteerableModel, run: Run[Asked]) -> Generator[Progress | Plain, None, None]:
        """The job as the worker makes it: what comes of the result is kept."""
        person = run.session.person
        known = self.cache.of(person) if self.cache else {}

        def keep(found: Plain) -> Plain:
            run.found = self.keep(run, found)
            return run.found

        name = key(model, self.name, run.asked) if self.for_everybody(run) else ""
        run.before = bool(name) and name in self.studio.found
        if run.before:
            keep(self.studio.found[name])
            return
        try:
            found = yield from showing(self.work(model, run.session, run.asked, known), keep)
            keep(found)
            if name:
                self.studio.keep_found(name, found)
        finally:
            if self.cache and known:  # once, however it ended: it is much to go through at every part
                self.cache.keep(person, known)

    def _refilled_parts(self) -> dict[str, Component]:
        return {n: part for n, part in self.form.items() if not isinstance(part, gr.State)}


def _drawn_above(part: Block, elem_id: str) -> gr.HTML:
    """A place above a part that is drawn already."""
    place = gr.HTML(elem_id=elem_id, elem_classes="made")
    if place.parent and part.parent:
        place.parent.children.remove(place)
        place.parent = part.parent
        place.parent.children.insert(place.parent.children.index(part), place)
    return place
