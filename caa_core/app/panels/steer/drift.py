"""How far each answer of a chat points along the vector, turn by turn in each column; how earlier turns are read."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import gradio as gr

from caa_core.app.panels.common import QUIET, check_fit, events, guarded, markdown_table, plain
from caa_core.app.panels.conversation import Conversation, Exchange, turns
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Session
from caa_core.measuring.inspection import mean_projection
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.interventions import Positions

# Of a longer chat the latest turns are read, each answer of which is a forward pass.
MOST_TURNS = 8
NOTHING = "Nothing was written yet."
MEANS = "The mean of h·v/‖v‖ over each answer's tokens at layer {layer}, as the unsteered model reads it."
# How the tokens of earlier turns are read, which are a part of the prompt when the next answer is written.
READ = {
    "all": "Earlier turns are read steered, too: the vector is added at all tokens.",
    "prompt": "Earlier turns are read steered, too: the vector is added at all tokens of the prompt.",
    "index": "Earlier turns are read unsteered, but for the one token at which the vector is added.",
}
UNSTEERED = "Earlier turns are read unsteered, also those that were written steered: the vector is added behind them."


class Drift:
    """A folded section below a chat, which follows it while it is open."""

    def __init__(self, page: Page, chat: Conversation):
        self.page, self.chat = page, chat
        with gr.Accordion("Drift over the chat", open=False, elem_id=f"{chat.name}-drift") as self.section:
            shown = gr.Markdown(NOTHING, elem_id=f"{chat.name}-drift-shown", elem_classes="numbers")
        self.section.expand(self.opened, None, shown, **QUIET)
        self.section.collapse(self.closed, None, None, queue=False, **QUIET)
        for written in chat.began:
            written.then(self.written, None, shown, **QUIET)

    @guarded
    def opened(self, request: gr.Request) -> Any:
        """The chat as it is, from now on."""
        session = self.page.session(request)
        session.opened.add(self.section._id)
        return self._read(session)

    @guarded
    def closed(self, request: gr.Request) -> None:
        """Nobody looks any more."""
        self.page.session(request).opened.discard(self.section._id)

    @guarded
    def written(self, request: gr.Request) -> Any:
        """The chat as it is, while somebody looks."""
        session = self.page.session(request)
        return self._read(session) if self.section._id in session.opened else gr.skip()

    def _read(self, session: Session) -> Any:
        kept = self.chat.kept(session)
        asked = self.chat.asked(kept) if isinstance(kept, dict) else None
        exchanges = self.chat.unpacked(kept) if asked else ()
        if not asked or not exchanges:
            return NOTHING
        if self.chat.name in session.running:
            return gr.skip()
        job = self.page.studio.run(lambda model: self._work(model, session, asked, exchanges), session)
        for _ in events(session, f"{self.chat.name}-drift", job):
            pass
        return gr.skip() if job.stopped else in_words(asked, exchanges, job.result)

    def _work(
        self, model: SteerableModel, session: Session, asked: Mapping[str, Any], exchanges: Sequence[Exchange]
    ) -> Generator[Progress, None, list[list[float | None]]]:
        """For each of the latest turns, how far the answer of each column points along the vector."""
        vector = yield from self.page.studio.vector(model, session, asked["vector"])
        check_fit(model, vector)
        layer = model.check_layer(whole(asked["layer"], "The layer"))
        found: list[list[float | None]] = []
        for end in _latest(exchanges):
            found.append([])
            for column in range(len(self.chat.labels)):
                yield Progress(len(exchanges), "turns", len(exchanges)).reach(end - 1)
                said = turns(exchanges[:end], column)
                found[-1].append(mean_projection(model, said, asked.get("system") or "", vector.at(layer), layer))
        return found


def in_words(asked: Mapping[str, Any], exchanges: Sequence[Exchange], found: Sequence[Sequence[float | None]]) -> str:
    """What was read, turn by turn, as Markdown. asked: with what the last answer was written."""
    rows = [
        (str(end), *("" if along is None else f"{along:+.2f}" for along in row))
        for end, row in zip(_latest(exchanges), found, strict=True)
    ]
    table = markdown_table(("Turn", "Unsteered", f"Steered with {plain(asked['vector'])}"), rows)
    read = earlier_turns(Positions.parse(asked.get("positions") or str(Positions())))
    return f"{read}\n\n{table}\n\n{MEANS.format(layer=int(asked['layer']))}"


def earlier_turns(positions: Positions) -> str:
    """How they are read when the next answer is written, in a sentence."""
    return READ.get(positions.rule, UNSTEERED)


def _latest(exchanges: Sequence[Exchange]) -> range:
    """Where the latest turns end, counted from 1."""
    return range(max(0, len(exchanges) - MOST_TURNS) + 1, len(exchanges) + 1)
