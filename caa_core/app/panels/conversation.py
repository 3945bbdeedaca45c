"""Columns that answer the same question at once, each with its own history, all written in one batch."""

import html
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any, ClassVar, Literal

import gradio as gr
import torch
from gradio.blocks import Block
from gradio.components import Component

from caa_core.app.forms import control
from caa_core.app.panels.common import QUIET, Updates, added, beside, check_request, going, guarded, plain, visible
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import from_its_end, into_view
from caa_core.app.panels.made_with import MadeWith, in_words
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Running, Session
from caa_core.contest.voice import Voice
from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.limits import TOKENS
from caa_core.measuring.inspection import align
from caa_core.metrics.vector_requests import SteeringRequest
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import (
    Prompt,
    Turn,
    asked_to_think,
    from_thought,
    render,
    text_of,
    thinks,
    thought_of,
    with_prefill,
)
from caa_core.progress import Progress, Stated, each, showing
from caa_core.reports.style import BLUE
from caa_core.steering.decoding import MAX_NEW_TOKENS, Decoding
from caa_core.steering.generation import BatchRow, Completion, generate
from caa_core.steering.interventions import Gate, Steer
from caa_core.steering.operations import Operation
from caa_core.steering.plan import Plan
from caa_core.steering.sampling import REPEATS, repetition

STEERED = "steered"
WRITE, STOP, GO_ON, RETRY, CLEAR, BACK = "Write", "Stop", "Go on", "Retry", "Clear", "Bring the chat back"
BUTTONS: dict[str, Literal["primary", "stop", "secondary"]] = {
    WRITE: "primary",
    STOP: "stop",
    GO_ON: "secondary",
    RETRY: "secondary",
    CLEAR: "secondary",
    BACK: "secondary",
}
BROKEN = "The last answer was broken off: Go on writes on from there, Retry begins it anew."
HIDDEN = gr.update(visible=False)
# What is said of a prompt that is read, before anything is written.
READING = Progress(1, "prompt", 1)
THOUGHT_ALONE = "Thought, without an answer"
# Blanks of a title at which no narrow column begins a new line.
UNBROKEN = re.compile(r" (?=[·\d])|(?<=×) ")
# Longer questions are folded, so that answers are seen.
LONG_QUESTION, SEEN_OF_IT = 1000, 200


@dataclass(frozen=True)
class Voices:
    """What is added in each column, what the reader should know about it, and what the model is told in each beside the
    system prompt of the settings (nothing where it is empty), how its answer begins, and what the column's answer is
    titled with. A column behind the last that something is said of here is not written: it gets what the one before it
    got. gate: where steering applies, in all columns.
    """

    steers: Sequence[tuple[Steer, ...]]
    notes: Sequence[str] = ()
    told: Sequence[str] = ()
    begins: Sequence[str] = ()
    captions: Sequence[str] = ()
    gate: Gate | None = None

    @property
    def columns(self) -> list[tuple[tuple[Steer, ...], str, str]]:
        """What is added, told and begun in each column that is written."""
        columns = zip_longest(self.steers, self.told, self.begins)
        return [(steers or (), told or "", begin or "") for steers, told, begin in columns]


@dataclass(frozen=True)
class Exchange:
    """One question and what each column answered, and thought before where that was asked for.

    captions: what each answer was written under, nothing for the unsteered one; settings: what they have in common.
    done: which answers came to their end; of what was kept before that is not known. whole: whether it was written as
    far as was asked for.
    """

    question: str
    answers: tuple[str, ...]
    thoughts: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    settings: str = ""
    done: tuple[bool, ...] = ()
    whole: bool = True

    @property
    def can_go_on(self) -> bool:
        """Whether an answer can be written on; one behind a thought cannot."""
        return bool(self.done) and not all(self.done) and not self.thoughts


@dataclass(frozen=True, kw_only=True)
class ConversationRequest(SteeringRequest):
    """A question with everything that was set when it was asked. form: the panel's own among it. drops: how often the
    chat had been cleared. begun: the exchange that is to be written on.
    """

    exchanges: tuple[Exchange, ...]
    form: Mapping[str, Any]
    drops: int
    begun: Exchange | None = None

    @property
    def in_common(self) -> str:
        """What all columns have in common, in words."""
        decoding = self.decoding
        how = f"temperature {decoding.temperature:g}, seed {decoding.seed}" if decoding.temperature else "greedy"
        return (
            f"up to {decoding.max_new_tokens} new tokens, {how}, steered {self.positions}"
            f"{', thought first' if self.think else ''}{f', system prompt: {self.system}' if self.system else ''}"
        )


@dataclass(frozen=True)
class Said:
    """What a column has written by now: tokens of the thought and of the answer, and what both say. is_cut: whether no
    more tokens were asked for; in_thought: whether the thought has not come to its end.
    """

    thought_ids: Sequence[int] = ()
    thought: str = ""
    ids: Sequence[int] = ()
    text: str = ""
    done: bool = False
    is_cut: bool = False
    in_thought: bool = False


def shown(exchanges: Sequence[Exchange], column: int) -> list[dict[str, Any]]:
    """A column's history for its chatbot, which renders HTML: with every letter as it was written. A thought can be
    folded away; what an answer was written under is its title.
    """

    def message(role: str, text: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": html.escape(text, quote=False), **more}

    messages = []
    for exchange in exchanges:
        messages.append({"role": "user", "content": _folded(exchange.question)})
        if exchange.captions and exchange.captions[column]:
            title = html.escape(UNBROKEN.sub("\u00a0", visible(exchange.captions[column])), quote=False)
            messages.append(message("assistant", exchange.settings, metadata={"title": title, "status": "done"}))
        if exchange.thoughts:
            title = "Thought" if exchange.answers[column] or not exchange.whole else THOUGHT_ALONE
            messages.append(message("assistant", exchange.thoughts[column], metadata={"title": title}))
        if exchange.answers[column] or not exchange.thoughts:
            messages.append(message("assistant", exchange.answers[column]))
    return messages


def _folded(question: str) -> str:
    """A question as HTML, of which a long one can be unfolded."""
    text = html.escape(question, quote=False)
    if len(question) <= LONG_QUESTION:
        return text
    begins = html.escape(question[:SEEN_OF_IT], quote=False)
    return f"<details><summary>{begins} ... ({len(question):,} characters)</summary>{text}</details>"


def turns(exchanges: Sequence[Exchange], column: int) -> list[Turn]:
    """A column's own history, as messages; what was thought before an answer is no part of it."""
    return [
        {"role": role, "content": content}
        for exchange in exchanges
        for role, content in (("user", exchange.question), ("assistant", exchange.answers[column]))
    ]


def writing_settings(panel: str, more: Callable[[], dict[str, Component]]) -> dict[str, Component]:
    """Draw what there is to set about writing, by name. more: draws what else there is."""
    looks: dict[str, dict[str, Any]] = {
        "system": {"lines": 2, "placeholder": "The template's own, if it has one"},
        "positions": {},
        "max_new_tokens": {"minimum": 8, "maximum": min(MAX_NEW_TOKENS, TOKENS.value), "step": 8},
        "temperature": {"minimum": 0, "maximum": 2, "step": 0.1},
        "seed": {"info": "All columns draw the same random numbers."},
    }
    with gr.Accordion("More settings", open=False, elem_id=f"{panel}-settings"):
        return {**{name: control(SteeringRequest, name, **look) for name, look in looks.items()}, **more()}


def caption(voice: Voice) -> str:
    """What a voice is, in a few words."""
    added = [captioned(voice.name, spans([one.layer]), one.multiplier, one.operation) for one in voice.steers]
    told = [f"told “{voice.system}”"] if voice.system else []
    return " + ".join([*added, *told, *([f"begun with “{voice.prefill}”"] if voice.prefill else [])])


def captioned(name: str, where: str, multiplier: float, operation: Operation) -> str:
    """What is done with a vector, and where, in a few words."""
    done = "" if operation.is_addition else f" · {operation}"
    return f"{name} · {where} · × {multiplier:g}{done}"


class Conversation(Experiment[ConversationRequest]):
    """Columns below a prompt with its buttons. Each answer is titled with what it was written under. A panel says which
    columns, and in `prepare` what is added in each.

    What is kept is the chat, without what else has come. While it is written it is kept in memory alone, for a library
    would write a file at every token; in the end there too, unless it was cleared meanwhile.
    """

    says_settings = False
    labels: ClassVar[Mapping[str, str]]  # of columns, by name
    marked_column: ClassVar[int]  # whose steered tokens are shown
    heavy = False
    thinks: ClassVar[bool] = False  # whether any model is asked for a thought before the answer, or such as can think

    def __init__(self, page: Page, form: Mapping[str, Component], prompts: Sequence[str]):
        """form: what is set, by name: `writing_settings`, and what `prepare` needs. prompts: suggestions, the first
        filled in.
        """
        self.exchanges = gr.State(())
        self.question = gr.Textbox(
            value=prompts[0],
            label="Prompt",
            lines=1,  # of more, gradio takes Enter for a new line
            max_lines=8,
            elem_id=f"{self.name}-prompt",
            placeholder="Say something to the model. Shift+Enter makes a new line.",
            scale=1,
            render=False,
        )
        with gr.Row(elem_classes="ask"):
            self.question.render()
            self.buttons = {name: self._button(name) for name in (WRITE, STOP)}
        with gr.Row(elem_classes="suggested"):
            self.suggestions = gr.Dataset(
                components=[self.question],
                samples=[[prompt] for prompt in prompts],
                label="Examples",
                elem_classes="suggestions",
            )
            think = gr.Checkbox(
                False,
                label="Think aloud first",
                container=False,
                visible=self.can_think(page),
                scale=0,
                min_width=160,
                elem_id=f"{self.name}-think",
            )
        self.suggestions.click(lambda sample: sample[0], self.suggestions, self.question, **QUIET)
        status, columns = self._draw_columns()
        buttons = self.buttons
        super().__init__(
            page,
            {"question": self.question, "exchanges": self.exchanges, "think": think, **form},
            [buttons[name] for name in (WRITE, GO_ON, RETRY)],
            buttons[STOP],
            status,
            [self.exchanges, *columns, self.question, *(buttons[name] for name in (GO_ON, RETRY, CLEAR, BACK))],
            start=partial(gr.on, [buttons[WRITE].click, self.question.submit]),
        )
        page.news.change(self.offer_thinking, None, think, **QUIET)
        page.restore(self.offer_thinking, [think])
        to_answers = into_view(f"{self.name}-columns")
        for asked in (buttons[WRITE].click, self.question.submit, buttons[GO_ON].click, buttons[RETRY].click):
            asked(None, js=to_answers, api_visibility="private")
        self.starts_by(buttons[RETRY].click, self.retry)
        self.starts_by(buttons[GO_ON].click, self.go_on)
        self._clears([self.exchanges, *columns, status, *(buttons[name] for name in (GO_ON, RETRY, CLEAR))])

    @classmethod
    def can_think(cls, page: Page) -> bool:
        """Whether a thought can be asked for now."""
        return cls.thinks or thinks(page.studio.model.tokenizer)

    @guarded
    def offer_thinking(self, request: gr.Request) -> Updates:
        """The choice, where the model that is loaded has it."""
        return {self.form["think"]: gr.update(visible=self.can_think(self.page))}

    def _clears(self, parts: list[Block]) -> None:
        """What is being written must not come back into a cleared chat, nor what was on its way to the page."""
        buttons, cleared_away = self.buttons, gr.State(None)
        cleared = buttons[CLEAR].click(
            self.clear,
            [*self.form.values()],
            [*parts, cleared_away, buttons[BACK]],
            cancels=[*self.began],
            **QUIET,
        )
        cleared.then(self.clear_again, None, parts, **QUIET)
        buttons[BACK].click(self.bring_back, cleared_away, [*parts, buttons[BACK]], **QUIET)
        self.cleared_away = cleared_away

    def _draw_columns(self) -> tuple[gr.Markdown, list[Block]]:
        follow = from_its_end(f"{self.name}-columns", f"{self.name}-before")
        self.before = gr.HTML(elem_id=f"{self.name}-before", elem_classes="made", js_on_load=follow)
        with gr.Row(equal_height=True, elem_id=f"{self.name}-columns", elem_classes="columns"):
            self.chatbots = [self._chatbot(name, label) for name, label in self.labels.items()]
        with gr.Row(elem_classes="after"):
            status = gr.Markdown(elem_id=f"{self.name}-status")
            self.buttons |= {name: self._button(name) for name in BUTTONS if name not in self.buttons}
        with gr.Accordion("Which tokens are steered", open=False, visible=False) as self.marks:  # until there are some
            self.marked = gr.HighlightedText(
                label=f"{list(self.labels)[self.marked_column].capitalize()}: the last question and answer",
                color_map={STEERED: BLUE},
                show_inline_category=False,
                show_legend=True,
                elem_id=f"{self.name}-marked",
            )
        return status, [self.before, *self.chatbots, self.marks, self.marked]

    def _button(self, name: str) -> gr.Button:
        begins = name in (WRITE, STOP)
        return gr.Button(
            name,
            variant=BUTTONS[name],
            elem_id=f"{self.name}-{name.split()[0].lower()}",
            size="md" if begins else "sm",
            min_width=110 if begins else 70,
            scale=0,
            visible=begins,
        )

    def _chatbot(self, name: str, label: str) -> gr.Chatbot:
        # Plain text: what a model writes is shown as it is, not rendered.
        return gr.Chatbot(
            label=label,
            elem_id=f"{self.name}-{name}",
            elem_classes="answers",
            height=None,
            min_height=160,
            max_height="max(240px, calc(100vh - 400px))",  # so that what comes last is on the screen
            min_width=200,
            render_markdown=False,
            layout="panel",
            buttons=["copy"],
            feedback_options=None,
            autoscroll=False,  # see `from_its_end`
        )

    def prepare(
        self, model: SteerableModel, session: Session, form: Mapping[str, Any]
    ) -> Generator[Progress, None, Voices]:
        """The panel's own part of the work: from what is set to what each column gets."""
        raise NotImplementedError

    def ask(self, session: Session, form: Mapping[str, Any]) -> ConversationRequest:
        check_request(form["question"], form["system"], form["max_new_tokens"])
        return ConversationRequest.parse(
            prompt=form["question"],
            exchanges=tuple(form["exchanges"]),
            form=form,
            drops=session.drops[self.name],
            begun=form.get("begun"),
            **{**ConversationRequest.chosen(form), "think": form["think"] and self.can_think(self.page)},
        )

    def work(
        self, model: SteerableModel, session: Session, asked: ConversationRequest, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        voices = yield from self.prepare(model, session, asked.form)
        before, started = pack(asked.exchanges), time.monotonic()

        def packed(written: list[Said]) -> Plain:
            columns = [*written, *written[-1:] * (len(self.labels) - len(written))]
            captions = [*voices.captions]
            captions += captions[-1:] * (len(self.labels) - len(captions))
            now = Exchange(
                asked.prompt,
                tuple(said.text for said in columns),
                tuple(said.thought for said in columns) if asked.think else (),
                tuple(captions),
                f"{model.name}, {asked.in_common}",
                tuple(said.done for said in columns),
                whole,
            )
            return {"exchanges": [*before, *pack([now])], "said": written, "seconds": time.monotonic() - started}

        whole = False
        written, marked = yield from showing(_write(model, voices, asked, self), packed)
        whole = True
        found = packed(written)
        notes = "  \n".join([f"{plain(model.name)}: {_status(found, asked.decoding, False)}", *voices.notes])
        return {**found, "status": notes, **({"marked": marked} if marked else {})}

    def keep(self, run: Run[ConversationRequest], found: Plain) -> Plain:
        if run.session.drops[self.name] == run.asked.drops:
            run.session.person.results[self.name] = {
                "asked": self.settings(run.session, run.form),
                "exchanges": found["exchanges"],
                "status": found.get("status", BROKEN),
            }
        return found

    def steps(self, model: SteerableModel, run: Run[ConversationRequest]) -> Generator[Progress | Plain, None, None]:
        person = run.session.person
        try:
            yield from super().steps(model, run)
        finally:
            kept = person.results.get(self.name)
            if run.found and isinstance(kept, dict) and kept["exchanges"] is run.found["exchanges"]:
                person.remember(self.name, kept)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        exchanges = unpack(kept["exchanges"], len(self.chatbots))
        updates = added(self._columns(exchanges), self.heads(form) if form else {})
        if "marked" in kept:
            updates |= {self.marks: gr.Accordion(visible=True), self.marked: kept["marked"]}
        there: Updates = {self.exchanges: exchanges, self.before: "", self.buttons[BACK]: HIDDEN}
        return {**there, **updates, **self._offered(exchanges)}

    def show_before(self, session: Session, before: Plain) -> Updates:
        """In the columns alone, which are read from their beginning: no chat goes on from it."""
        made = in_words(self.form, before["asked"], before["asked"], self.unused(before["asked"]))
        columns = added(self._columns(unpack(before["exchanges"], len(self.chatbots))), self.heads(before["asked"]))
        return {**columns, self.before: made}

    def called(self, form: Mapping[str, Any]) -> Sequence[str]:
        """What the columns are called, by what is written in them with such a form."""
        return [*self.labels.values()]

    def heads(self, form: Mapping[str, Any]) -> Updates:
        """Updates of the columns' names to what is written with such a form."""
        columns = zip(self.chatbots, self.called(form), strict=True)
        return {chatbot: gr.Chatbot(label=name) for chatbot, name in columns}

    def heads_of_nothing(self, form: Mapping[str, Any], exchanges: Sequence[Exchange], before: str) -> Updates:
        """The same for what is chosen, where nothing stands below: an answer's column is called after what wrote it.

        exchanges, before: what the parts of these names hold.
        """
        return {} if exchanges or before else self.heads(form)

    def _columns(self, exchanges: Sequence[Exchange]) -> Updates:
        return {chatbot: shown(exchanges, column) for column, chatbot in enumerate(self.chatbots)}

    def _offered(self, exchanges: Sequence[Exchange]) -> Updates:
        """Updates of what can be done with a chat."""
        there = gr.update(visible=bool(exchanges))
        on = gr.update(visible=bool(exchanges) and exchanges[-1].can_go_on)
        return {self.buttons[RETRY]: there, self.buttons[CLEAR]: there, self.buttons[GO_ON]: on}

    def show_part(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return {**self.show(session, kept, form), self.status: f"Writing ... {beside(self.studio)}"}

    def how_far(self, progress: Progress) -> str:
        if progress is READING:
            return "Reading the prompt ..."
        return going("Making a vector that was not used yet", progress)

    def failed(self, error: Exception, run: Run[ConversationRequest] | None) -> str:
        return super().failed(error, run) + (f" {BROKEN}" if run and run.found else "")

    def ended(self, run: Run[ConversationRequest], stopped: bool) -> str:
        if run.found is None:
            return "Stopped before the first token."
        if "status" in run.found:
            return str(run.found["status"])
        return f"{plain(self.studio.model.name)}: {_status(run.found, run.asked.decoding, stopped)} {BROKEN}"

    def hear(self, run: Run[ConversationRequest], job: Running, come: Iterator[Any]) -> Iterator[Updates]:
        for update in super().hear(run, job, come):
            if run.session.drops[self.name] == run.asked.drops:  # nothing comes back into a cleared chat
                yield update

    @guarded
    def run(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        taken = False
        for update in self.updates(self.page.session(request), self.named(values)):
            # The prompt leaves its box when the model has taken it, and not before.
            yield update if taken or self.exchanges not in update else {**update, self.question: ""}
            taken = taken or self.exchanges in update

    @guarded
    def retry(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """Ask the last question again."""
        form = self.named(values)
        if not form["exchanges"]:
            raise InputError("There is nothing to retry yet; write something first.")
        *before, last = form["exchanges"]
        again = {**form, "question": last.question, "exchanges": before}
        yield from self.updates(self.page.session(request), again)

    @guarded
    def go_on(self, request: gr.Request, *values: Any) -> Iterator[Updates]:
        """Write on what was broken off or cut, under the settings that it was written under."""
        form, session = self.named(values), self.page.session(request)
        if not form["exchanges"] or not form["exchanges"][-1].can_go_on:
            raise InputError("There is no answer that could be written on.")
        *before, last = form["exchanges"]
        asked = self.asked(session.person.results.get(self.name) or {}) or {}
        again = {**form, **asked, "question": last.question, "exchanges": before, "begun": last}
        yield from self.updates(session, again)

    @guarded
    def clear(self, request: gr.Request, *values: Any) -> Updates:
        """Stop what is being written, and forget the chat, which can be brought back."""
        session = self.page.session(request)
        session.drop(self.name)
        kept = session.person.results.get(self.name)
        session.person.forget(self.name)
        empty = added(self.emptied(), self.heads(self.named(values)))
        return {**empty, self.cleared_away: kept, self.buttons[BACK]: gr.update(visible=bool(kept))}

    @guarded
    def clear_again(self, request: gr.Request) -> Updates:
        """Take away what came to the page meanwhile, unless that is of a chat that was begun or brought back since."""
        session = self.page.session(request)
        goes_on = self.name in session.running or self.name in session.person.results
        return {self.exchanges: gr.skip()} if goes_on else self.emptied()

    @guarded
    def bring_back(self, request: gr.Request, kept: Plain | None) -> Updates:
        """Show again what was cleared last."""
        session = self.page.session(request)
        if not kept:
            raise InputError("There is no chat to bring back.")
        session.person.remember(self.name, kept)
        return {**self._restored(session, kept), self.buttons[BACK]: HIDDEN}

    @guarded
    def restore(self, request: gr.Request) -> Updates:
        session = self.page.session(request)
        kept = session.person.results.get(self.name)
        if not kept:
            return super().restore(request)
        # Earlier versions kept the exchanges alone.
        kept = kept if isinstance(kept, dict) else {"exchanges": kept}
        return {**self.refill(session, kept), self.question: "", **self._restored(session, kept)}

    def _restored(self, session: Session, kept: Plain) -> Updates:
        goes_on = self.studio.sessions.runs_elsewhere(session, self.name)
        shown = self.show(session, kept, self.asked(kept) or {})
        return {**shown, self.status: "Writing ..." if goes_on else kept.get("status", "")}

    def exchanges_of(self, session: Session) -> tuple[Exchange, ...]:
        """The chat as it is kept. Raises InputError where that cannot be read."""
        return self.unpacked(session.person.results.get(self.name))

    def unpacked(self, kept: Any) -> tuple[Exchange, ...]:
        """A chat that was kept. Raises InputError where that cannot be read."""
        return unpack(kept["exchanges"] if isinstance(kept, dict) else kept or (), len(self.chatbots))

    def take(self, session: Session, exchanges: Sequence[Exchange], asked: MadeWith, said: str) -> Updates:
        """Updates that show a chat in place of this one, which is kept from now on. asked: what its last answers were
        written with. said: what the status says of it.
        """
        kept = {"asked": asked, "exchanges": pack(exchanges), "status": said}
        session.person.remember(self.name, kept)
        return {**self._restored(session, kept), self.question: "", self.marks: HIDDEN}

    def emptied(self) -> Updates:
        """Updates of a chat in which there is nothing."""
        empty: Updates = {self.exchanges: (), self.before: "", self.status: "", self.marks: HIDDEN}
        return {**empty, **self._columns(()), **self._offered(())}


def pack(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """A chat as plain data."""
    return [asdict(exchange) for exchange in exchanges]


def unpack(kept: Any, columns: int) -> tuple[Exchange, ...]:
    """The chat again. Raises InputError for what was not one of so many columns."""

    def texts(one: Mapping[str, Any], name: str) -> tuple[str, ...]:
        return tuple(map(str, one.get(name, ())))

    try:
        exchanges = tuple(
            Exchange(
                str(one["question"]),
                texts(one, "answers"),
                texts(one, "thoughts"),
                texts(one, "captions"),
                str(one.get("settings", "")),
                tuple(map(bool, one.get("done", ()))),
                bool(one.get("whole", True)),
            )
            for one in kept
        )
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError("The chat that was kept cannot be read.") from error
    if any(
        len(one.answers) != columns
        or any(len(part) not in (0, columns) for part in (one.thoughts, one.captions, one.done))
        for one in exchanges
    ):
        raise InputError("The chat that was kept has other columns.")
    return exchanges


def _write(
    model: SteerableModel, voices: Voices, asked: ConversationRequest, panel: Conversation
) -> Generator[Progress | list[Said], None, tuple[list[Said], list[tuple[str, str | None]] | None]]:
    """Write all columns at once; where something was begun, what is not at its end. Thoughts come before answers: from
    any model first and alone, or, where only such as can think are asked, in one go.

    Returns what they say, and the tokens of the column that is marked, with the steered ones labelled; None where it is
    as before.
    """
    columns = voices.columns
    begun = asked.begun.answers[: len(columns)] if asked.begun else ("",) * len(columns)
    ended = asked.begun.done[: len(columns)] if asked.begun else (False,) * len(columns)
    there = [c for c in range(len(columns)) if not ended[c]]
    begins = [begun[c] or columns[c][2] for c in there]
    rows = [row_of(model, asked, c, columns[c], words) for c, words in zip(there, begins, strict=True)]
    rows = [replace(row, gate=voices.gate) for row in rows]
    thoughts: list[tuple[int, ...]] = [()] * len(rows)
    if asked.think and panel.thinks:
        thoughts = yield from _thoughts(model, rows, asked.decoding)
        rows = [
            replace(row, prompt=from_thought(model.tokenizer, row.prompt, thought, begin))
            for row, thought, begin in zip(rows, thoughts, begins, strict=True)
        ]
    thought = [Said(ids, _decoded(model, ids)) for ids in thoughts]

    def said(texts: Sequence[Completion]) -> list[Said]:
        written = {
            c: _said(before, row, text, asked.max_new_tokens)
            for c, before, row, text in zip(there, thought, rows, texts, strict=True)
        }
        return [written.get(c) or Said(text=begun[c], done=True) for c in range(len(columns))]

    texts = yield from _from_first_token(showing(generate(model, rows, asked.decoding), _or_state(said)))
    at = min(panel.marked_column, len(columns) - 1)
    row = there.index(at) if at in there else None
    return said(texts), None if row is None else _mark(model, rows[row], texts[row])


def _said(before: Said, row: BatchRow, text: Completion, limit: int) -> Said:
    """What a text says, behind a thought that stands in its prompt or with its own."""
    is_cut = not text.done and len(text.ids) >= limit
    if row.prompt.thought_end is None:
        return replace(before, ids=tuple(text.ids), text=row.prompt.cue + text.text, done=text.done, is_cut=is_cut)
    at = text.answer_from
    return Said(text.ids[:at], text.thought, text.ids[at:], text.text, text.done, is_cut, text.is_thinking)


def row_of(
    model: SteerableModel,
    asked: ConversationRequest,
    column: int,
    voice: tuple[tuple[Steer, ...], str, str],
    begin: str,
) -> BatchRow:
    """What is written in a column: its prompt, from which it begins with words, and what is added."""
    steers, words, _ = voice
    system = "\n".join(filter(None, (asked.system, words)))
    history = [*turns(asked.exchanges, column), {"role": "user", "content": asked.prompt}]
    if asked.think:
        prompt = asked_to_think(model.tokenizer, history, system)
    else:
        prompt = with_prefill(model.tokenizer, render(model.tokenizer, history, system), begin)
    return BatchRow(prompt, steers, asked.positions)


def _or_state(
    said: Callable[[Sequence[Completion]], list[Said]],
) -> Callable[[Sequence[Completion]], Progress | list[Said]]:
    """What is said of texts; before their first token, what the machine is doing on which they are written."""

    def found(texts: Sequence[Completion]) -> Progress | list[Said]:
        waiting = next((text.waiting for text in texts if text.waiting), "")
        return Stated.of(waiting) if waiting else said(texts)

    return found


def _from_first_token(
    work: Generator[Progress | list[Said], None, list[Completion]],
) -> Generator[Progress | list[Said], None, list[Completion]]:
    """Run `work`; in place of answers in which nothing stands yet comes `READING`."""

    def begun(said: Progress | list[Said]) -> Progress | list[Said]:
        return said if isinstance(said, Progress) or any(one.ids or one.thought_ids for one in said) else READING

    return each(work, begun)


def _thoughts(
    model: SteerableModel, rows: Sequence[BatchRow], decoding: Decoding
) -> Generator[Progress | list[Said], None, list[tuple[int, ...]]]:
    """Write what each column thinks; its tokens are returned."""

    def of(texts: Sequence[Completion]) -> list[tuple[int, ...]]:
        return [thought_of(model.tokenizer, text.ids) for text in texts]

    def said(texts: Sequence[Completion]) -> list[Said]:
        return [Said(thought, _decoded(model, thought)) for thought in of(texts)]

    return of((yield from _from_first_token(showing(generate(model, rows, decoding), _or_state(said)))))


def _decoded(model: SteerableModel, ids: Sequence[int]) -> str:
    return text_of(model.tokenizer, ids, skip_special_tokens=True).strip().rstrip("\ufffd")


def _mark(model: SteerableModel, row: BatchRow, answer: Completion) -> list[tuple[str, str | None]]:
    """Tokens of prompt and answer; those whose residual stream was written to carry the label `STEERED`."""
    ids = [*row.prompt.ids, *answer.ids]
    plan = Plan([row.steers], [row.positions], [row.prompt.length], [answer.thought_tokens])
    # A last token that no end token follows was never read by the model, so nothing was added to it.
    read = len(ids) - (not answer.done)
    covered = plan.mask(torch.arange(read)[None])[0].tolist() if plan.layers else []
    if covered and row.gate:
        along = align(model, Prompt("", tuple(ids[:read])), row.gate.vector, row.gate.layer).projections
        covered = [there and one > row.gate.threshold for there, one in zip(covered, along, strict=True)]
    labels = [STEERED if steered else None for steered in covered]
    labels += [None] * (len(ids) - len(labels))
    texts = [text_of(model.tokenizer, [token]).replace("\n", "⏎\n") for token in ids]
    return list(zip(texts, labels, strict=True))


def _status(found: Plain, decoding: Decoding, stopped: bool) -> str:
    """How much was written, how fast and how."""
    written: Sequence[Said] = found["said"]
    seconds = found["seconds"]
    counts = [len(said.thought_ids) + len(said.ids) for said in written]
    how = f"temperature {decoding.temperature:g}, seed {decoding.seed}" if decoding.temperature else "greedy"
    loops = sum(repetition(said.ids) >= REPEATS for said in written)
    repeats = f" In {loops} of {len(written)} the same words come again and again." if loops else ""
    equal = " All columns are equal." if len({(said.thought, said.text) for said in written}) == 1 else ""
    cut = "" if stopped else _cut(written, decoding.max_new_tokens)
    return (
        f"{'stopped after' if stopped else 'wrote'} {' + '.join(map(str, counts))} tokens in {seconds:.1f} s "
        f"({sum(counts) / max(seconds, 1e-9):.0f} a second, one batch, {how}).{equal}{cut}{repeats}"
    )


def _cut(written: Sequence[Said], limit: int) -> str:
    """Which answers are not whole, and before which nothing was thought."""
    full = sum(said.is_cut for said in written)
    within = sum(said.is_cut and said.in_thought for said in written)
    empty = sum(bool(said.thought_ids) and not said.thought and not said.in_thought for said in written)
    goes_on = not any(said.thought_ids for said in written)
    cut = f"{full} of {len(written)} were cut at {limit} tokens: {'Go on, or see' if goes_on else 'see'} More settings."
    ended = f"{within} of {len(written)} were cut within their thought, so there is no answer."
    nothing = f"In {empty} of {len(written)} nothing was thought."
    said = [cut if full else "", ended if within else "", nothing if empty else ""]
    return "".join(f" {one}" for one in said if one)
