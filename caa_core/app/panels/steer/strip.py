"""The same answer at five multipliers, written in one batch beside each other; one can be taken into the chat."""

import hashlib
import html
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from caa_core.app.panels.common import QUIET, Updates, beside, check_fit, guarded, visible
from caa_core.app.panels.controls import multiplier_at
from caa_core.app.panels.conversation import (
    READING,
    Conversation,
    ConversationRequest,
    Exchange,
    row_of,
)
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.page import Page
from caa_core.app.panels.steer.chosen import SteerChoice
from caa_core.app.panels.steer.known import gauge_of
from caa_core.app.sessions import Session
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.metrics.grid import whole
from caa_core.metrics.options import GATE, OPERATION, SHARES
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, each
from caa_core.steering.generation import Completion, generate

# Of the multiplier that is chosen; where that is 0, multipliers.
FACTORS, AROUND_NOTHING = (0.0, 0.5, 1.0, 1.5, 2.0), (-2.0, -1.0, 0.0, 1.0, 2.0)
ABOUT = "From nothing to twice what is chosen. Take one, and the chat goes on from it."
# What was kept before there were operations was added at one layer.
ADDED = {"operation": OPERATION.default, "spread": "", "shares": SHARES.default, "gate": GATE.default}
GONE_ON = "The chat has gone on since: the multiplier was taken, not the answer."
# An answer is chosen where it stands, but for who marks its words.
ON_CHOICE = """
element.addEventListener('click', (event) => {
  const dose = event.target.closest('.doses article[data-at]');
  if (dose && !String(getSelection())) trigger('select', { index: Number(dose.dataset.at), value: dose.dataset.at });
});
"""
LOOK = """
#steer-strip .html-container { padding: 0; }
.doses { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(140px, 1fr); gap: 8px; }
.doses { overflow-x: auto; contain: inline-size; }
.doses article { display: flex; flex-direction: column; gap: 6px; padding: 8px 12px; border-radius: 8px; }
.doses article { border: 1px solid var(--border-color-primary); background: var(--block-background-fill); }
.doses article[data-at] { cursor: pointer; }
.doses article[data-at]:is(:hover, :focus-within) { border-color: var(--primary-500); }
.doses header { display: flex; justify-content: space-between; gap: 8px; }
.doses header span { color: var(--body-text-color-subdued); }
.doses p { margin: 0; flex: 1; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 260px; overflow-y: auto; }
.doses button { align-self: start; color: var(--link-text-color); background: none; border: 0; padding: 4px 0; }
.doses button { font-size: var(--text-md); font-weight: 400; }
"""


def multipliers_around(multiplier: float) -> tuple[float, ...]:
    """The five that are tried, from nothing on; where nothing is chosen, some either way."""
    return tuple(round(factor * multiplier, 3) + 0.0 for factor in FACTORS) if multiplier else AROUND_NOTHING


class StripPanel(Experiment[ConversationRequest]):
    """The section below a chat, whose form it shares.

    The answer at multiplier 0 is that of the chat's unsteered column, with that one's history; the others have the
    steered one's.
    """

    name = "steer-strip"
    says_settings = False
    heavy = False

    def __init__(self, page: Page, chat: Conversation):
        self.chat = chat
        with gr.Accordion("The same answer at five multipliers", open=False, elem_id=f"{self.name}-section"):
            with gr.Row(elem_classes="after"):
                write = gr.Button("Write all five", size="md", scale=0, min_width=150, elem_id=f"{self.name}-write")
                stop = gr.Button("Stop", variant="stop", size="md", scale=0, min_width=150, elem_id=f"{self.name}-stop")
                status = gr.Markdown(ABOUT, elem_id=f"{self.name}-status")
            self.strip = gr.HTML(elem_id=self.name, js_on_load=ON_CHOICE)
        super().__init__(page, chat.form, [write], stop, status, [self.strip])
        taken = [*page.steer, *(self.form[part] for part in ADDED), *chat.outputs]
        self.strip.select(self.take_answer, None, taken, **QUIET)

    def ask(self, session: Session, form: Mapping[str, Any]) -> ConversationRequest:
        if not (form["question"] or "").strip() and form["exchanges"]:  # the box is empty once the model has taken it
            *before, last = form["exchanges"]
            form = {**form, "question": last.question, "exchanges": tuple(before)}
        return self.chat.ask(session, form)

    def work(
        self, model: SteerableModel, session: Session, asked: ConversationRequest, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        name, chosen = asked.form["vector"], SteerChoice.of(model, asked.form)
        vector = yield from self.studio.vector(model, session, name)
        check_fit(model, vector)
        layer, tried = whole(asked.form["layer"], "The layer"), multipliers_around(chosen.multiplier)
        gauge = gauge_of(session, model, name, vector, layer) if chosen.is_plain else None
        about = {
            "vector": name,
            "layer": layer,
            "question": asked.prompt,
            "behind": _mark(asked.exchanges),
            "settings": f"{model.name}, {asked.in_common}",
            "multipliers": [*tried],
            "captions": [chosen.times(one).caption(name) for one in tried],
            "words": [gauge.word(one) if gauge and one else "" for one in tried],
        }

        def found(texts: Sequence[Completion], written: bool = False) -> Plain:
            said = {"answers": [text.text for text in texts], "done": [text.done for text in texts]}
            said |= {"thoughts": [text.thought for text in texts]} if asked.think else {}
            return {**about, **said, "written": written}

        def so_far(texts: Sequence[Completion] | Progress) -> Progress | Plain:
            if isinstance(texts, Progress):
                return texts
            return found(texts) if any(text.ids for text in texts) else READING

        gate = yield from self.studio.gate(model, session, chosen.gate)
        steers = [chosen.times(one).steers(vector) for one in tried]
        rows = [replace(row_of(model, asked, int(bool(one)), (one, "", ""), ""), gate=gate) for one in steers]
        return found((yield from each(generate(model, rows, asked.decoding), so_far)), written=True)

    def keep(self, run: Run[ConversationRequest], found: Plain) -> Plain:
        if found["written"]:
            return super().keep(run, found)
        # In memory alone, since a library would write a file at every token.
        kept = run.session.person.results[self.name] = {"asked": self.settings(run.session, run.form), **found}
        return kept

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return {self.strip: as_html(kept, True)}

    def show_part(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return {self.strip: as_html(kept, False), self.status: f"Writing ... {beside(self.studio)}"}

    def how_far(self, progress: Progress) -> str:
        return "Reading the prompt ..." if progress is READING else super().how_far(progress)

    def ended(self, run: Run[ConversationRequest], stopped: bool) -> str:
        if run.found is None:
            return "Stopped before the first token."
        return "Stopped; what was written by then can be taken." if stopped else ABOUT

    @guarded
    def take_answer(self, request: gr.Request, event: gr.SelectData) -> Updates:
        """Updates of what is chosen in the Steer tab, and of the chat."""
        session = self.page.session(request)
        kept, place = self.kept(session), event.index
        if not kept or not isinstance(place, int) or not 0 <= place < len(kept["answers"]):
            raise InputError("There is no such answer; write them first.")
        if kept["vector"] not in session.vectors and kept["vector"] not in presets():
            raise InputError("The vector that they were written with is not in your list any more.")
        if self.chat.name in session.running:
            raise InputError("The chat is being written just now: stop it, or wait until it has ended.")
        layer, multiplier = self.studio.model.check_layer(kept["layer"]), kept["multipliers"][place]
        chosen = (kept["vector"], layer, multiplier_at(multiplier))
        made = self.asked(kept) or {}
        updates: Updates = dict(zip(self.page.steer, chosen, strict=True))
        updates |= {self.form[part]: made.get(part) or begins for part, begins in ADDED.items()}
        before = self._before(session, kept)
        if before is None:
            gr.Info(GONE_ON)
            return updates
        nothing, plainly = kept["multipliers"].index(0.0), f"{kept['vector']} · layer {layer} · × {multiplier:g}"
        exchange = Exchange(
            kept["question"],
            (kept["answers"][nothing], kept["answers"][place]),
            (thoughts[nothing], thoughts[place]) if (thoughts := kept.get("thoughts")) else (),
            ("", kept["captions"][place] if "captions" in kept else plainly),
            kept["settings"],
            (kept["done"][nothing], kept["done"][place]),
        )
        asked = {**made, "question": kept["question"], "multiplier": multiplier}
        return {**updates, **self.chat.take(session, (*before, exchange), asked, "Taken from five multipliers.")}

    def _before(self, session: Session, kept: Plain) -> tuple[Exchange, ...] | None:
        """The chat behind which the answers were written, less one that asks the same; None where there is another."""
        there = self.chat.exchanges_of(session)
        for before in (there, there[:-1] if there and there[-1].question == kept["question"] else there):
            if _mark(before) == kept["behind"]:
                return before
        return None


def as_html(kept: Plain, written: bool) -> str:
    """The answers beside each other as HTML; written: whether they can be taken."""
    thoughts = kept.get("thoughts") or [""] * len(kept["answers"])
    rows = zip(kept["multipliers"], kept["words"], kept["answers"], thoughts, strict=True)
    doses = "".join(_dose(place if written else None, *row) for place, row in enumerate(rows))
    return f'<div class="doses" role="group" aria-label="{_text(visible(kept["question"]))}">{doses}</div>'


def _dose(place: int | None, multiplier: float, word: str, answer: str, thought: str) -> str:
    """An answer with its multiplier, and what was thought before it; one that can be taken has a place."""
    named, at, take = f"× {multiplier:g}", "", ""
    if place is not None:
        at = f' data-at="{place}"'
        take = f'<button type="button" aria-label="Take {named}">Take this one</button>'
    head = f"<header><b>{named}</b><span>{_text(word)}</span></header>"
    thought = f'<div translate="no">{_text(thought)}</div>' if thought else ""
    before = f"<details><summary>Thought</summary>{thought}</details>" if thought else ""
    return f'<article{at}>{head}{before}<p translate="no">{_text(answer.strip())}</p>{take}</article>'


def _text(text: str) -> str:
    return html.escape(text)


def _mark(exchanges: Sequence[Exchange]) -> str:
    """By which a chat is known again."""
    return hashlib.sha256(repr(tuple(exchanges)).encode()).hexdigest()
