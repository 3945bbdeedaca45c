"""Columns that answer the same question at once, each with its own history, all written in one batch."""

import html
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any, Literal

import gradio as gr
import torch

from caa_core.app.forms import component
from caa_core.app.panels.common import QUIET, beside, busy, check_request, events, freed, going, guarded, plain, stopper
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Session
from caa_core.errors import InputError
from caa_core.limits import TOKENS
from caa_core.metrics.options import NEW_TOKENS, POSITIONS, SEED, SYSTEM, TEMPERATURE
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Turn, asked_to_think, from_thought, render, text_of, thought_of, with_prefill
from caa_core.progress import Progress, showing
from caa_core.steering.generation import BatchRow, Completion, Decoding, generate
from caa_core.steering.interventions import Plan, Positions, Steer

STEERED = "steered"
BUTTONS: dict[str, Literal["primary", "stop", "secondary"]] = {
    "Write": "primary",
    "Stop": "stop",
    "Retry": "secondary",
    "Clear": "secondary",
}


@dataclass(frozen=True)
class Voices:
    """What is added in each column, what the reader should know about it, and what the model is told in each beside the
    system prompt of the settings (nothing where it is empty), and how its answer begins. A column behind the last that
    something is said of here is not written: it gets what the one before it got.
    """

    steers: Sequence[tuple[Steer, ...]]
    notes: Sequence[str] = ()
    told: Sequence[str] = ()
    begins: Sequence[str] = ()

    @property
    def columns(self) -> list[tuple[tuple[Steer, ...], str, str]]:
        """What is added, told and begun in each column that is written."""
        columns = zip_longest(self.steers, self.told, self.begins)
        return [(steers or (), told or "", begin or "") for steers, told, begin in columns]


# A panel's own part of the work, on the worker: from the values of its settings to what each column gets.
Prepare = Callable[..., Generator[Progress, None, Voices]]


@dataclass(frozen=True)
class Exchange:
    """One question and what each column answered, and thought before where that was asked for."""

    question: str
    answers: tuple[str, ...]
    thoughts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one question came to: notes, and the last column's tokens with the steered ones marked."""

    notes: Sequence[str]
    marked: list[tuple[str, str | None]]


@dataclass(frozen=True)
class ConversationRequest:
    """A question with everything that was set when it was asked."""

    question: str
    exchanges: tuple[Exchange, ...]
    system: str
    positions: Positions
    decoding: Decoding
    think: bool
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Said:
    """What a column has written by now: tokens of the thought and of the answer, and what both say."""

    thought_ids: Sequence[int] = ()
    thought: str = ""
    ids: Sequence[int] = ()
    text: str = ""


def shown(exchanges: Sequence[Exchange], column: int) -> list[dict[str, Any]]:
    """A column's history for its chatbot, which renders HTML: with every letter as it was written. A thought can be
    folded away.
    """

    def message(role: str, text: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": html.escape(text, quote=False), **more}

    messages = []
    for exchange in exchanges:
        messages.append(message("user", exchange.question))
        if exchange.thoughts:
            messages.append(message("assistant", exchange.thoughts[column], metadata={"title": "Thought"}))
        if exchange.answers[column] or not exchange.thoughts:
            messages.append(message("assistant", exchange.answers[column]))
    return messages


def turns(exchanges: Sequence[Exchange], column: int) -> list[Turn]:
    """A column's own history, as messages; what was thought before an answer is no part of it."""
    return [
        {"role": role, "content": content}
        for exchange in exchanges
        for role, content in (("user", exchange.question), ("assistant", exchange.answers[column]))
    ]


class Conversation:
    """Draws columns, a prompt with its buttons and the settings of writing, and wires them.

    Draw `columns()` and `settings()` where they belong in a panel's layout, then call `wire`.
    """

    def __init__(
        self,
        page: Page,
        panel: str,
        labels: dict[str, str],
        prompts: Sequence[str],
        marked: int = -1,
        thinks: bool = False,
    ):
        """panel: its name in element ids; labels: of columns, by name; prompts: suggestions, the first filled in;
        marked: the column whose steered tokens are shown; thinks: whether a thought before the answer can be asked for.
        """
        self.page, self.studio = page, page.studio
        self.marked_column = marked % len(labels)
        self.panel = panel
        self.labels = labels
        self.prompts = prompts
        self.thinks = thinks

    def settings(self) -> None:
        """Draw what there is to set about writing."""
        with gr.Accordion("More settings", open=False, elem_id=f"{self.panel}-settings"):
            system = component(SYSTEM, lines=2, placeholder="The template's own, if it has one")
            info = "The tokens that are steered. index:-2 is the prompt's second last."
            positions = component(POSITIONS, info=info)
            tokens = component(NEW_TOKENS, minimum=8, maximum=min(512, TOKENS.value), step=8)
            temperature = component(TEMPERATURE, minimum=0, maximum=2, step=0.1)
            seed = component(SEED, info="All columns draw the same random numbers.")
        self.common = [system, positions, tokens, temperature, seed]

    def columns(self) -> None:
        """Draw the prompt with its buttons, and the columns below it."""
        self.history = gr.State(())
        self.question = gr.Textbox(
            value=self.prompts[0],
            label="Prompt",
            lines=2,
            max_lines=8,
            elem_id=f"{self.panel}-prompt",
            placeholder="Say something to the model. Shift+Enter sends.",
        )
        with gr.Row():
            self.buttons = {
                name: gr.Button(name, variant=variant, elem_id=f"{self.panel}-{name.lower()}", min_width=80, size="md")
                for name, variant in BUTTONS.items()
            }
        self.think = gr.Checkbox(
            False,
            label="Think first",
            info="Each column thinks aloud first, for as many tokens as an answer may have, and answers from there.",
            visible=self.thinks,
            elem_id=f"{self.panel}-think",
        )
        self.suggestions = gr.Dataset(
            components=[self.question], samples=[[prompt] for prompt in self.prompts], label="Prompts to try"
        )
        with gr.Row(equal_height=True):
            self.chatbots = [self._chatbot(name, label) for name, label in self.labels.items()]
        self.status = gr.Markdown(elem_id=f"{self.panel}-status")
        with gr.Accordion("Which tokens are steered", open=False):
            self.marked = gr.HighlightedText(
                label=f"{list(self.labels.values())[self.marked_column]}: the last question and answer, token by token",
                color_map={STEERED: "#E69F00"},
                show_inline_category=False,
                show_legend=True,
                elem_id=f"{self.panel}-marked",
            )

    def _chatbot(self, name: str, label: str) -> gr.Chatbot:
        # Plain text: what a model writes is shown as it is, not rendered.
        return gr.Chatbot(
            label=label,
            elem_id=f"{self.panel}-{name}",
            elem_classes="answers",
            height=None,
            min_height=220,
            max_height=480,
            min_width=230,
            render_markdown=False,
            layout="panel",
            buttons=["copy"],
            feedback_options=None,
        )

    def wire(self, prepare: Prepare, values: Sequence[gr.components.Component]) -> None:
        """Let the buttons work. `prepare` is called as prepare(model, session, *values)."""

        @guarded
        def send(request: gr.Request, question: str, exchanges: tuple[Exchange, ...], *rest: Any) -> Iterator[dict]:
            session = self.studio.session(request.session_hash)
            sent = False
            for update in self._answer(session, prepare, self._request(question, exchanges, rest)):
                # The prompt leaves its box when the model has taken it, and not before.
                yield update if sent or self.history not in update else {**update, self.question: ""}
                sent = sent or self.history in update

        @guarded
        def retry(request: gr.Request, exchanges: tuple[Exchange, ...], *rest: Any) -> Iterator[dict]:
            if not exchanges:
                raise InputError("There is nothing to retry yet; write something first.")
            session = self.studio.session(request.session_hash)
            yield from self._answer(session, prepare, self._request(exchanges[-1].question, exchanges[:-1], rest))

        @guarded
        def clear(request: gr.Request) -> list:
            session = self.studio.session(request.session_hash)
            session.drop(self.panel)
            session.person.forget(self.panel)
            return empty()

        def empty() -> list:
            return [(), *[[]] * len(self.chatbots), "", []]

        @guarded
        def restore(request: gr.Request) -> dict:
            kept = self.studio.session(request.session_hash).person.results.get(self.panel)
            if not kept:
                return {}
            exchanges = _unpack(kept, len(self.chatbots))
            return {self.history: exchanges, **self._chats(exchanges)}

        self.starters = [self.buttons["Write"], self.buttons["Retry"]]
        parts = [self.history, *self.chatbots, self.status, self.marked]
        settings = [*self.common, self.think, *values]
        writing = gr.on(
            [self.buttons["Write"].click, self.question.submit],
            send,
            [self.question, self.history, *settings],
            [*parts, self.question, *self.starters],
            **QUIET,
        )
        retrying = self.buttons["Retry"].click(retry, [self.history, *settings], [*parts, *self.starters], **QUIET)
        self.written = [writing, retrying]
        for event in self.written:
            freed(event, *self.starters)
        self.buttons["Stop"].click(stopper(self.studio, self.panel), queue=False, **QUIET)
        # What is being written must not come back into a cleared chat, nor what was on its way to the page.
        cleared = self.buttons["Clear"].click(clear, None, parts, cancels=self.written, **QUIET)
        cleared.then(empty, None, parts, **QUIET)
        self.page.restore(restore, [self.history, *self.chatbots])
        self.suggestions.click(lambda sample: sample[0], self.suggestions, self.question, **QUIET)

    def _request(self, question: str, exchanges: Sequence[Exchange], rest: Sequence[Any]) -> ConversationRequest:
        system, positions, tokens, temperature, seed, think, *values = rest
        check_request(question, system, tokens)
        return ConversationRequest(
            question,
            tuple(exchanges),
            system or "",
            POSITIONS.value(positions),
            Decoding(int(tokens), float(temperature), int(seed or 0)),
            bool(think),
            tuple(values),
        )

    def _chats(self, exchanges: Sequence[Exchange]) -> dict:
        return {chatbot: shown(exchanges, column) for column, chatbot in enumerate(self.chatbots)}

    def _answer(self, session: Session, prepare: Prepare, asked: ConversationRequest) -> Iterator[dict]:
        """Updates of the page while the columns write."""
        job = self.studio.run(lambda model: _write(model, session, prepare, asked, self.marked_column))
        started, written, kept, drops = time.monotonic(), None, None, session.drops[self.panel]
        yield {self.status: "Waiting for the model ...", **busy(*self.starters)}
        try:
            for event in events(session, self.panel, job):
                if isinstance(event, Progress):
                    started = time.monotonic()
                    yield {self.status: going("Making a vector that was not used yet", event)}
                    continue
                written = event
                columns = [*written, *written[-1:] * (len(self.chatbots) - len(written))]
                thoughts = tuple(said.thought for said in columns) if asked.think else ()
                texts = tuple(said.text for said in columns)
                now = (*asked.exchanges, Exchange(asked.question, texts, thoughts))
                if session.drops[self.panel] == drops:  # the chat was not cleared meanwhile
                    kept = session.person.results[self.panel] = _pack(now)
                yield {self.history: now, **self._chats(now), self.status: f"Writing ... {beside(self.studio)}"}
        finally:
            if kept and session.person.results.get(self.panel) is kept:
                session.person.remember(self.panel, kept)
        if written is None:
            yield {self.status: "Stopped before anything was written."}
            return
        status = f"{plain(self.studio.model.name)}: " + _status(
            written, time.monotonic() - started, asked.decoding, job.stopped
        )
        if job.stopped:
            yield {self.status: status}
        else:
            yield {self.status: "  \n".join([status, *job.result.notes]), self.marked: job.result.marked}


def _pack(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """A chat as plain data."""
    return [asdict(exchange) for exchange in exchanges]


def _unpack(kept: Any, columns: int) -> tuple[Exchange, ...]:
    """The chat again. Raises InputError for what was not one of so many columns."""
    try:
        exchanges = tuple(
            Exchange(str(one["question"]), *(tuple(map(str, one.get(name, ()))) for name in ("answers", "thoughts")))
            for one in kept
        )
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError("The chat that was kept cannot be read.") from error
    if any(len(one.answers) != columns or len(one.thoughts) not in (0, columns) for one in exchanges):
        raise InputError("The chat that was kept has other columns.")
    return exchanges


def _write(
    model: SteerableModel, session: Session, prepare: Prepare, asked: ConversationRequest, marked: int
) -> Generator[Progress | list[Said], None, Outcome]:
    """The work of one question: make what the columns need, then write them all at once, thoughts before answers."""
    voices = yield from prepare(model, session, *asked.values)
    question = {"role": "user", "content": asked.question}
    rows, begins = [], []
    for c, (steers, words, begin) in enumerate(voices.columns):
        system = "\n".join(filter(None, (asked.system, words)))
        history = [*turns(asked.exchanges, c), question]
        if asked.think:
            prompt = asked_to_think(model.tokenizer, history, system)
        else:
            prompt = with_prefill(model.tokenizer, render(model.tokenizer, history, system), begin)
        rows.append(BatchRow(prompt, steers, asked.positions))
        begins.append(begin)
    thoughts: list[tuple[int, ...]] = [()] * len(rows)
    if asked.think:
        thoughts = yield from _thoughts(model, rows, asked.decoding)
        rows = [
            replace(row, prompt=from_thought(model.tokenizer, row.prompt, thought, begin))
            for row, thought, begin in zip(rows, thoughts, begins, strict=True)
        ]
    thought_texts = [_decoded(model, thought) for thought in thoughts]

    def said(texts: Sequence[Completion]) -> list[Said]:
        return [
            Said(thought, shown, text.ids, row.prompt.cue + text.text)
            for row, text, thought, shown in zip(rows, texts, thoughts, thought_texts, strict=True)
        ]

    texts = yield from showing(generate(model, rows, asked.decoding), said)
    return Outcome(voices.notes, _mark(model, rows[marked], texts[marked]))


def _thoughts(
    model: SteerableModel, rows: Sequence[BatchRow], decoding: Decoding
) -> Generator[Progress | list[Said], None, list[tuple[int, ...]]]:
    """Write what each column thinks; its tokens are returned."""

    def of(texts: Sequence[Completion]) -> list[tuple[int, ...]]:
        return [thought_of(model.tokenizer, text.ids) for text in texts]

    def said(texts: Sequence[Completion]) -> list[Said]:
        return [Said(thought, _decoded(model, thought)) for thought in of(texts)]

    return of((yield from showing(generate(model, rows, decoding), said)))


def _decoded(model: SteerableModel, ids: Sequence[int]) -> str:
    return text_of(model.tokenizer, ids, skip_special_tokens=True).strip().rstrip("\ufffd")


def _mark(model: SteerableModel, row: BatchRow, answer: Completion) -> list[tuple[str, str | None]]:
    """Tokens of prompt and answer; those whose residual stream was written to carry the label `STEERED`."""
    ids = [*row.prompt.ids, *answer.ids]
    plan = Plan([row.steers], [row.positions], [row.prompt.length])
    # A last token that no end token follows was never read by the model, so nothing was added to it.
    read = len(ids) - (not answer.done)
    covered = plan.mask(torch.arange(read)[None])[0].tolist() if plan.sums else []
    labels = [STEERED if steered else None for steered in covered]
    labels += [None] * (len(ids) - len(labels))
    texts = [text_of(model.tokenizer, [token]).replace("\n", "⏎\n") for token in ids]
    return list(zip(texts, labels, strict=True))


def _status(written: Sequence[Said], seconds: float, decoding: Decoding, stopped: bool) -> str:
    counts = [len(said.thought_ids) + len(said.ids) for said in written]
    how = f"temperature {decoding.temperature:g}, seed {decoding.seed}" if decoding.temperature else "greedy"
    equal = " All columns are equal." if len({(*said.thought_ids, *said.ids) for said in written}) == 1 else ""
    limit = decoding.max_new_tokens
    full = sum(len(said.ids) == limit for said in written)
    cut = f" {full} of {len(written)} were cut at {limit} tokens: see More settings." if full else ""
    return (
        f"{'stopped after' if stopped else 'wrote'} {' + '.join(map(str, counts))} tokens in {seconds:.1f} s "
        f"({sum(counts) / max(seconds, 1e-9):.0f} a second, one batch, {how}).{equal}{cut}"
    )
