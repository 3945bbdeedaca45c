"""Columns that answer the same question at once, each with its own history, all written in one batch."""

import html
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any, ClassVar, Literal

import gradio as gr
import torch
from gradio.blocks import Block
from gradio.components import Component

from caa_core.app.forms import control
from caa_core.app.panels.common import QUIET, Updates, beside, check_request, going, guarded, plain
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Session
from caa_core.errors import InputError
from caa_core.limits import TOKENS
from caa_core.metrics.vector_requests import SteeringRequest
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Turn, asked_to_think, from_thought, render, text_of, thought_of, with_prefill
from caa_core.progress import Progress, showing
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, Completion, generate
from caa_core.steering.interventions import Steer
from caa_core.steering.plan import Plan

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


@dataclass(frozen=True)
class Exchange:
    """One question and what each column answered, and thought before where that was asked for."""

    question: str
    answers: tuple[str, ...]
    thoughts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConversationRequest(SteeringRequest):
    """A question with everything that was set when it was asked. form: the panel's own among it. drops: how often the
    chat had been cleared.
    """

    exchanges: tuple[Exchange, ...]
    think: bool
    form: Mapping[str, Any]
    drops: int


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


def writing_settings(panel: str) -> dict[str, Component]:
    """Draw what there is to set about writing, by name."""
    looks: dict[str, dict[str, Any]] = {
        "system": {"lines": 2, "placeholder": "The template's own, if it has one"},
        "positions": {"info": "The tokens that are steered. index:-2 is the prompt's second last."},
        "max_new_tokens": {"minimum": 8, "maximum": min(512, TOKENS.value), "step": 8},
        "temperature": {"minimum": 0, "maximum": 2, "step": 0.1},
        "seed": {"info": "All columns draw the same random numbers."},
    }
    with gr.Accordion("More settings", open=False, elem_id=f"{panel}-settings"):
        return {name: control(SteeringRequest, name, **look) for name, look in looks.items()}


class Conversation(Experiment[ConversationRequest]):
    """Columns below a prompt with its buttons. A panel says which columns, and in `prepare` what is added in each.

    What is kept is the chat, without what else has come. While it is written it is kept in memory alone, for a library
    would write a file at every token; in the end there too, unless it was cleared meanwhile.
    """

    labels: ClassVar[Mapping[str, str]]  # of columns, by name
    marked_column: ClassVar[int]  # whose steered tokens are shown
    thinks: ClassVar[bool] = False  # whether a thought before the answer can be asked for

    def __init__(self, page: Page, form: Mapping[str, Component], prompts: Sequence[str]):
        """form: what is set, by name: `writing_settings`, and what `prepare` needs. prompts: suggestions, the first
        filled in.
        """
        self.exchanges = gr.State(())
        self.question = gr.Textbox(
            value=prompts[0],
            label="Prompt",
            lines=2,
            max_lines=8,
            elem_id=f"{self.name}-prompt",
            placeholder="Say something to the model. Shift+Enter sends.",
        )
        with gr.Row():
            buttons = {
                name: gr.Button(name, variant=variant, elem_id=f"{self.name}-{name.lower()}", min_width=80, size="md")
                for name, variant in BUTTONS.items()
            }
        think = gr.Checkbox(
            False,
            label="Think first",
            info="Each column thinks aloud first, for as many tokens as an answer may have, and answers from there.",
            visible=self.thinks,
            elem_id=f"{self.name}-think",
        )
        self.suggestions = gr.Dataset(
            components=[self.question], samples=[[prompt] for prompt in prompts], label="Prompts to try"
        )
        self.suggestions.click(lambda sample: sample[0], self.suggestions, self.question, **QUIET)
        status, columns = self._draw_columns()
        super().__init__(
            page,
            {"question": self.question, "exchanges": self.exchanges, "think": think, **form},
            [buttons["Write"], buttons["Retry"]],
            buttons["Stop"],
            status,
            [self.exchanges, *columns, self.question],
            start=partial(gr.on, [buttons["Write"].click, self.question.submit]),
        )
        self.starts_by(buttons["Retry"].click, self.retry)
        # What is being written must not come back into a cleared chat, nor what was on its way to the page.
        parts = [self.exchanges, *columns, status]
        cleared = buttons["Clear"].click(self.clear, None, parts, cancels=[*self.began], **QUIET)
        cleared.then(self._empty, None, parts, **QUIET)

    def _draw_columns(self) -> tuple[gr.Markdown, list[Block]]:
        with gr.Row(equal_height=True):
            self.chatbots = [self._chatbot(name, label) for name, label in self.labels.items()]
        status = gr.Markdown(elem_id=f"{self.name}-status")
        with gr.Accordion("Which tokens are steered", open=False):
            label = f"{list(self.labels.values())[self.marked_column]}: the last question and answer, token by token"
            self.marked = gr.HighlightedText(
                label=label,
                color_map={STEERED: "#E69F00"},
                show_inline_category=False,
                show_legend=True,
                elem_id=f"{self.name}-marked",
            )
        return status, [*self.chatbots, self.marked]

    def _chatbot(self, name: str, label: str) -> gr.Chatbot:
        # Plain text: what a model writes is shown as it is, not rendered.
        return gr.Chatbot(
            label=label,
            elem_id=f"{self.name}-{name}",
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
            think=bool(form["think"]),
            form=form,
            drops=session.drops[self.name],
            **ConversationRequest.chosen(form),
        )

    def work(
        self, model: SteerableModel, session: Session, asked: ConversationRequest, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        voices = yield from self.prepare(model, session, asked.form)
        before, started = _pack(asked.exchanges), time.monotonic()

        def packed(written: list[Said]) -> Plain:
            columns = [*written, *written[-1:] * (len(self.labels) - len(written))]
            thoughts = tuple(said.thought for said in columns) if asked.think else ()
            now = Exchange(asked.prompt, tuple(said.text for said in columns), thoughts)
            return {"exchanges": [*before, *_pack([now])], "said": written, "seconds": time.monotonic() - started}

        written, marked = yield from showing(_write(model, voices, asked, self.marked_column), packed)
        return {**packed(written), "notes": voices.notes, "marked": marked}

    def keep(self, run: Run[ConversationRequest], found: Plain) -> Plain:
        if run.session.drops[self.name] == run.asked.drops:
            run.session.person.results[self.name] = found["exchanges"]
        return found

    def steps(self, model: SteerableModel, run: Run[ConversationRequest]) -> Generator[Progress | Plain, None, None]:
        person = run.session.person
        try:
            yield from super().steps(model, run)
        finally:
            if run.found and person.results.get(self.name) is run.found["exchanges"]:
                person.remember(self.name, run.found["exchanges"])

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        exchanges = _unpack(kept["exchanges"], len(self.chatbots))
        updates: Updates = {chatbot: shown(exchanges, column) for column, chatbot in enumerate(self.chatbots)}
        if "marked" in kept:
            updates[self.marked] = kept["marked"]
        return {self.exchanges: exchanges, **updates}

    def show_part(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return {**self.show(session, kept, form), self.status: f"Writing ... {beside(self.studio)}"}

    def how_far(self, progress: Progress) -> str:
        return going("Making a vector that was not used yet", progress)

    def ended(self, run: Run[ConversationRequest], stopped: bool) -> str:
        if run.found is None:
            return "Stopped before anything was written."
        status = _status(run.found["said"], run.found["seconds"], run.asked.decoding, stopped)
        return "  \n".join([f"{plain(self.studio.model.name)}: {status}", *run.found.get("notes", ())])

    def updates(self, session: Session, form: Mapping[str, Any]) -> Iterator[Updates]:
        drops = session.drops[self.name]
        for update in super().updates(session, form):
            if session.drops[self.name] == drops:  # nothing comes back into a cleared chat
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
    def clear(self, request: gr.Request) -> Updates:
        """Stop what is being written, and forget the chat."""
        session = self.page.session(request)
        session.drop(self.name)
        session.person.forget(self.name)
        return self._empty()

    @guarded
    def restore(self, request: gr.Request) -> Updates:
        session = self.page.session(request)
        kept = session.person.results.get(self.name)
        return self.show(session, {"exchanges": kept}, {}) if kept else {}

    def _empty(self) -> Updates:
        return {self.exchanges: (), self.status: "", self.marked: [], **{chatbot: [] for chatbot in self.chatbots}}


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
    model: SteerableModel, voices: Voices, asked: ConversationRequest, marked: int
) -> Generator[Progress | list[Said], None, tuple[list[Said], list[tuple[str, str | None]]]]:
    """Write all columns at once, thoughts before answers. Returns what they say, and the tokens of the one that is
    marked, with the steered ones labelled.
    """
    question = {"role": "user", "content": asked.prompt}
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
    return said(texts), _mark(model, rows[marked], texts[marked])


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
