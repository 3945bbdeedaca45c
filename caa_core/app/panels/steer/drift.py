"""How far each answer of a chat points along the chosen vectors, turn by turn in each column; how earlier turns are
read.
"""

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
MEANS = "{name} at layer {layer}: the mean of h·v/‖v‖ over each answer's tokens, as the unsteered model reads it."
# By turn and column, how far an answer points along a vector; None for an answer in which there is nothing.
Projections = list[list[float | None]]
# How the tokens of earlier turns are read, which are a part of the prompt when the next answer is written.
READ = {
    "all": "Earlier turns are read steered, too: all tokens are steered.",
    "prompt": "Earlier turns are read steered, too: all tokens of the prompt are steered.",
    "index": "Earlier turns are read unsteered, but for the one token that is steered.",
}
UNSTEERED = "Earlier turns are read unsteered, also those that were written steered: steering begins behind them."


class Drift:
    """A folded section below a chat, which follows it while it is open."""

    def __init__(self, page: Page, chat: Conversation, columns: Sequence[str]):
        """columns: what those that are read are called, from the first."""
        self.page, self.chat, self.columns = page, chat, columns
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
        return self._in_words(asked, exchanges, job.result) if job.done else gr.skip()

    def chosen(self, asked: Mapping[str, Any]) -> list[tuple[str, int]]:
        """The vectors of a form, by name, each with its layer. Two at the same layer have that of the first."""
        unused, found = {*self.chat.unused(asked)}, []
        for voice in ("", "_a", "_b"):
            if asked.get(f"vector{voice}") and f"vector{voice}" not in unused:
                layer = "layer_a" if f"layer{voice}" in unused else f"layer{voice}"
                found.append((asked[f"vector{voice}"], whole(asked[layer], "The layer")))
        return found

    def _work(
        self, model: SteerableModel, session: Session, asked: Mapping[str, Any], exchanges: Sequence[Exchange]
    ) -> Generator[Progress, None, list[Projections]]:
        """For each vector and each of the latest turns, how far the answer of each column points along it."""
        found: list[Projections] = []
        for name, layer in self.chosen(asked):
            vector = yield from self.page.studio.vector(model, session, name)
            check_fit(model, vector)
            direction = vector.at(model.check_layer(layer))
            found.append([])
            for end in _latest(exchanges):
                found[-1].append([])
                for column in range(len(self.columns)):
                    yield Progress(len(exchanges), "turns", len(exchanges)).reach(end - 1)
                    said = turns(exchanges[:end], column)
                    found[-1][-1].append(mean_projection(model, said, asked.get("system") or "", direction, layer))
        return found

    def _in_words(self, asked: Mapping[str, Any], exchanges: Sequence[Exchange], found: Sequence[Projections]) -> str:
        """What was read, turn by turn, as Markdown. asked: with what the last answer was written."""
        said = [earlier_turns(Positions.parse(asked.get("positions") or str(Positions())))]
        for (name, layer), by_turn in zip(self.chosen(asked), found, strict=True):
            rows = [
                (str(end), *("" if along is None else f"{along:+.2f}" for along in row))
                for end, row in zip(_latest(exchanges), by_turn, strict=True)
            ]
            said += [markdown_table(("Turn", *self.columns), rows), MEANS.format(name=plain(name), layer=layer)]
        return "\n\n".join(said)


def earlier_turns(positions: Positions) -> str:
    """How they are read when the next answer is written, in a sentence."""
    return READ.get(positions.rule, UNSTEERED)


def _latest(exchanges: Sequence[Exchange]) -> range:
    """Where the latest turns end, counted from 1."""
    return range(max(0, len(exchanges) - MOST_TURNS) + 1, len(exchanges) + 1)
