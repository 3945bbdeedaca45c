"""The steered answer coloured in its column: how far each of its tokens points along the vector it was written with."""

import html
from collections.abc import Generator, Mapping
from typing import Any

import gradio as gr

from caa_core.app.opening.languages.leaving import spoken
from caa_core.app.panels.common import LATEST, QUIET, check_fit, events, guarded
from caa_core.app.panels.conversation import Conversation, Exchange, shown, turns
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Session
from caa_core.measuring.inspection import Alignment, align_answer
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import render
from caa_core.progress import Progress
from caa_core.reports.markup import colour

STEERED = 1  # of the columns
LABEL, MEANS = (
    "Colour the steered answer",
    "Blue: along the vector; orange: against it. Under a gate, blue where it is open.",
)


class ColouredAnswer:
    """A switch that colours the last answer in a chat's steered column, once it is written. Nothing is coloured while
    tokens come.
    """

    def __init__(self, page: Page, chat: Conversation, switch: gr.Checkbox):
        self.page, self.chat = page, chat
        column = chat.chatbots[STEERED]
        switch.change(self.switched, switch, column, **LATEST)
        for written in chat.began:
            written.then(self.written, switch, column, **QUIET)

    @guarded
    def switched(self, request: gr.Request, on: bool) -> Any:
        """The column, coloured or plain."""
        session = self.page.session(request)
        asked, exchanges = self._there(session)
        if not exchanges or self.chat.name in session.running:
            return gr.skip()
        return self._coloured(session, asked, exchanges) if on else shown(exchanges, STEERED)

    @guarded
    def written(self, request: gr.Request, on: bool) -> Any:
        """The column coloured, where that is switched on."""
        return self.switched(request, on) if on else gr.skip()

    def _there(self, session: Session) -> tuple[Mapping[str, Any], tuple[Exchange, ...]]:
        """With what the chat's last answer was written, and the chat; the one made before, where there is no other."""
        kept = self.chat.kept(session)
        asked = self.chat.asked(kept) if isinstance(kept, dict) else None
        return asked or {}, self.chat.unpacked(kept) if asked else ()

    def _coloured(self, session: Session, asked: Mapping[str, Any], exchanges: tuple[Exchange, ...]) -> Any:
        def work(model: SteerableModel) -> Generator[Progress, None, tuple[Alignment, float | None]]:
            vector = yield from self.page.studio.vector(model, session, asked["vector"])
            check_fit(model, vector)
            layer = model.check_layer(whole(asked["layer"], "The layer"))
            *before, last = exchanges
            history = [*turns(before, STEERED), *turns([last], STEERED)[:1]]
            prompt = render(model.tokenizer, history, asked.get("system") or "")
            gate = yield from self.page.studio.gate(model, session, asked.get("gate") or "")
            along = (gate.vector, gate.layer) if gate else (vector.at(layer), layer)
            return align_answer(model, prompt, last.answers[STEERED], *along), gate.threshold if gate else None

        if not exchanges[-1].answers[STEERED]:
            return gr.skip()
        job = self.page.studio.run(work, session)
        for _ in events(session, f"{self.chat.name}-coloured", job):
            pass
        if not job.done or self.chat.name in session.running:
            return gr.skip()
        *messages, answer = shown(exchanges, STEERED)
        return [*messages, {**answer, "content": as_html(*job.result)}]


def as_html(found: Alignment, threshold: float | None = None) -> str:
    """An answer with each token on its colour; with the threshold of a gate, on that of how far it is open or shut."""
    values = [along - (threshold or 0) for along in found.projections]
    largest = max(map(abs, values))
    tokens = zip(found.tokens, values, found.projections, found.cosines, strict=True)
    spans = "".join(
        f'<span style="background:{colour(value, largest)};border-radius:3px" '
        f'title="{_numbers(along, cosine, threshold)}">{html.escape(token)}</span>'
        for token, value, along, cosine in tokens
    )
    return f'<span class="along-vector">{spans}</span>'


def _numbers(along: float, cosine: float, threshold: float | None) -> str:
    """A token's, in its reader's language: it stands in an answer, of which nothing is translated where it leaves."""
    numbers = spoken(f"projection {along:+.2f}, cosine {cosine:+.3f}")
    if threshold is None:
        return numbers
    gate = f"open ({threshold:g}):" if along > threshold else f"shut ({threshold:g}):"
    return f"{spoken(gate)} {numbers}"
