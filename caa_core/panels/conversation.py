"""Columns that answer the same question at once, each with its own history, all written in one batch."""

import html
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr
import torch
from gradio.events import Dependency

from caa_core.errors import InputError
from caa_core.generation import Decoding, Row, Written, generate
from caa_core.interventions import POSITIONS, Plan, Positions, Steer
from caa_core.limits import TOKENS
from caa_core.model import SteerableModel
from caa_core.panels.common import check_request, events, guarded, plain, stopper
from caa_core.progress import Progress
from caa_core.prompts import Turn, render
from caa_core.service import Studio
from caa_core.sessions import Session

STEERED = "steered"


@dataclass(frozen=True)
class Voices:
    """What is added in each column, and what the reader should know about it."""

    steers: Sequence[tuple[Steer, ...]]
    notes: Sequence[str] = ()


# A panel's own part of the work, on the worker: from the values of its settings to what each column gets.
Prepare = Callable[..., Generator[Progress, None, Voices]]


@dataclass(frozen=True)
class Exchange:
    """One question and what each column answered."""

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What one question came to: notes, and the last column's tokens with the steered ones marked."""

    notes: Sequence[str]
    marked: list[tuple[str, str | None]]


@dataclass(frozen=True)
class Request:
    """A question with everything that was set when it was asked."""

    question: str
    exchanges: tuple[Exchange, ...]
    system: str
    positions: Positions
    decoding: Decoding
    values: tuple[Any, ...]


def shown(exchanges: Sequence[Exchange], column: int) -> list[Turn]:
    """A column's history for its chatbot, which renders HTML: with every letter as it was written."""
    return [{**turn, "content": html.escape(turn["content"], quote=False)} for turn in turns(exchanges, column)]


def turns(exchanges: Sequence[Exchange], column: int) -> list[Turn]:
    """A column's own history, as messages."""
    return [
        {"role": role, "content": content}
        for exchange in exchanges
        for role, content in (("user", exchange.question), ("assistant", exchange.answers[column]))
    ]


class Conversation:
    """Draws columns, a prompt with its buttons and the settings of writing, and wires them.

    Draw `columns()` and `settings()` where they belong in a panel's layout, then call `wire`.
    """

    def __init__(self, studio: Studio, panel: str, labels: dict[str, str], prompts: Sequence[str]):
        """panel: its name in element ids; labels: of columns, by name; prompts: suggestions, the first filled in."""
        self.studio = studio
        self.panel = panel
        self.labels = labels
        self.prompts = prompts

    def settings(self) -> None:
        """Draw what there is to set about writing."""
        with gr.Accordion("More settings", open=False, elem_id=f"{self.panel}-settings"):
            system = gr.Textbox(label="System prompt", lines=2, placeholder="The template's own, if it has one")
            positions = gr.Dropdown(
                list(POSITIONS),
                value="after-prompt",
                allow_custom_value=True,
                label="Steered positions",
                info="The tokens that are steered. index:-2 is the prompt's second last.",
            )
            tokens = gr.Slider(8, min(512, TOKENS.value), 80, step=8, label="New tokens")
            temperature = gr.Slider(0, 2, 0, step=0.1, label="Temperature", info="0: always the likeliest token")
            seed = gr.Number(0, label="Seed", precision=0, info="All columns draw the same random numbers.")
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
                for name, variant in (
                    ("Write", "primary"),
                    ("Stop", "stop"),
                    ("Retry", "secondary"),
                    ("Clear", "secondary"),
                )
            }
        self.suggestions = gr.Dataset(
            components=[self.question], samples=[[prompt] for prompt in self.prompts], label="Prompts to try"
        )
        with gr.Row(equal_height=True):
            self.chatbots = [self._chatbot(name, label) for name, label in self.labels.items()]
        self.status = gr.Markdown(elem_id=f"{self.panel}-status")
        with gr.Accordion("Which tokens are steered", open=False):
            self.marked = gr.HighlightedText(
                label=f"{[*self.labels.values()][-1]}: the last question and its answer, token by token",
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

    def wire(self, entered: Dependency, prepare: Prepare, values: Sequence[gr.components.Component]) -> None:
        """Let the buttons work. `prepare` is called as prepare(model, session, *values).

        After `entered` the chat is shown that the person had before a reload.
        """

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
            return [(), *[[]] * len(self.chatbots), "", []]

        @guarded
        def restore(request: gr.Request) -> dict:
            kept = self.studio.session(request.session_hash).person.results.get(self.panel)
            if not kept:
                return {self.history: gr.skip()}
            exchanges = _unpack(kept, len(self.chatbots))
            return {self.history: exchanges, **self._chats(exchanges)}

        parts = [self.history, *self.chatbots, self.status, self.marked]
        settings = [*self.common, *values]
        silent = {"show_progress": "hidden", "api_visibility": "private"}
        writing = gr.on(
            [self.buttons["Write"].click, self.question.submit],
            send,
            [self.question, self.history, *settings],
            [*parts, self.question],
            **silent,
        )
        retrying = self.buttons["Retry"].click(retry, [self.history, *settings], parts, **silent)
        self.buttons["Stop"].click(stopper(self.studio, self.panel), queue=False, **silent)
        # What is being written must not come back into a cleared chat.
        self.buttons["Clear"].click(clear, None, parts, cancels=[writing, retrying], **silent)
        entered.then(restore, None, [self.history, *self.chatbots], **silent)
        self.suggestions.click(lambda sample: sample[0], self.suggestions, self.question, **silent)

    def _request(self, question: str, exchanges: Sequence[Exchange], rest: Sequence[Any]) -> Request:
        system, positions, tokens, temperature, seed = rest[: len(self.common)]
        check_request(question, system, tokens)
        return Request(
            question,
            tuple(exchanges),
            system or "",
            Positions.parse(positions or ""),
            Decoding(int(tokens), float(temperature), int(seed or 0)),
            tuple(rest[len(self.common) :]),
        )

    def _chats(self, exchanges: Sequence[Exchange]) -> dict:
        return {chatbot: shown(exchanges, column) for column, chatbot in enumerate(self.chatbots)}

    def _answer(self, session: Session, prepare: Prepare, asked: Request) -> Iterator[dict]:
        """Updates of the page while the columns write."""
        job = self.studio.run(lambda model: _write(model, session, prepare, asked))
        started, written = time.monotonic(), None
        yield {self.status: "Waiting for the model ..."}
        for event in events(session, self.panel, job):
            if isinstance(event, Progress):
                started = time.monotonic()
                yield {self.status: f"Making a vector that was not used yet: {event}"}
                continue
            written = event
            now = (*asked.exchanges, Exchange(asked.question, tuple(text.text for text in written)))
            if session.jobs.get(self.panel) is job:  # which it is not any more in a chat that was cleared
                session.person.results[self.panel] = _pack(now)
            yield {self.history: now, **self._chats(now), self.status: "Writing ..."}
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
        exchanges = tuple(Exchange(str(one["question"]), tuple(map(str, one["answers"]))) for one in kept)
    except (TypeError, KeyError) as error:
        raise InputError("The chat that was kept cannot be read.") from error
    if any(len(exchange.answers) != columns for exchange in exchanges):
        raise InputError("The chat that was kept has other columns.")
    return exchanges


def _write(
    model: SteerableModel, session: Session, prepare: Prepare, asked: Request
) -> Generator[Progress | Sequence[Written], None, Outcome]:
    """The work of one question: make what the columns need, then write them all at once."""
    voices = yield from prepare(model, session, *asked.values)
    question = {"role": "user", "content": asked.question}
    rows = [
        Row(render(model.tokenizer, [*turns(asked.exchanges, c), question], asked.system), steers, asked.positions)
        for c, steers in enumerate(voices.steers)
    ]
    answers = yield from generate(model, rows, asked.decoding)
    return Outcome(voices.notes, _mark(model, rows[-1], answers[-1]))


def _mark(model: SteerableModel, row: Row, answer: Written) -> list[tuple[str, str | None]]:
    """Tokens of prompt and answer; those whose residual stream was written to carry the label `STEERED`."""
    ids = [*row.prompt.ids, *answer.ids]
    plan = Plan([row.steers], [row.positions], [len(row.prompt.ids)])
    # A last token that no end token follows was never read by the model, so nothing was added to it.
    read = len(ids) - (not answer.done)
    covered = plan.mask(torch.arange(read)[None])[0].tolist() if plan.sums else []
    labels = [STEERED if steered else None for steered in covered]
    labels += [None] * (len(ids) - len(labels))
    texts = [model.tokenizer.decode([token]).replace("\n", "⏎\n") for token in ids]
    return list(zip(texts, labels, strict=True))


def _status(written: Sequence[Written], seconds: float, decoding: Decoding, stopped: bool) -> str:
    counts = [len(text.ids) for text in written]
    how = f"temperature {decoding.temperature:g}, seed {decoding.seed}" if decoding.temperature else "greedy"
    equal = " All columns are equal." if len({tuple(text.ids) for text in written}) == 1 else ""
    return (
        f"{'stopped after' if stopped else 'wrote'} {' + '.join(map(str, counts))} tokens in {seconds:.1f} s "
        f"({sum(counts) / max(seconds, 1e-9):.0f} a second, one batch, {how}).{equal}"
    )
