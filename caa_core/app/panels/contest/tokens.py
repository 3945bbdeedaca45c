"""Token by token: which voice the answer under both speaks with, and where that changes."""

from collections.abc import Generator, Sequence
from typing import Any

import gradio as gr

from caa_core.app.panels.common import QUIET, Updates, events, guarded, json_download
from caa_core.app.panels.contest.chosen import Chosen
from caa_core.app.panels.contest.form import VoicesForm
from caa_core.app.panels.conversation import Conversation, Exchange, turns
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.contest.tokens import TokenVoices, read_voices
from caa_core.contest.voice import Voice
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import render
from caa_core.progress import Progress
from caa_core.reports import markup
from caa_core.reports.tokens import voices_by_token

PANEL = "compete-tokens"
ABOUT = (
    "The answer under both, read by the **unsteered** model: how far each token points along A's vector and along B's, "
    "less what the unsteered answer does on the average. Blue: A is ahead; orange: B is. Hover over a token, or tap it."
)
NOTHING = "Write something first; the answer under both is read here as soon as it is there."


class TokenByToken:
    """The section: reads what the columns have written, whenever they have."""

    def __init__(self, page: Page, voices: VoicesForm, conversation: Conversation):
        self.page, self.voices, self.conversation = page, voices, conversation
        with gr.Accordion("Token by token: where the voice changes", open=False, elem_id=PANEL):
            gr.Markdown(ABOUT)
            self.text = gr.HTML(NOTHING, elem_id=f"{PANEL}-text", container=True)
            self.lines = figure("Alignment with each voice", f"{PANEL}-lines")
            self.data = gr.DownloadButton("Data (JSON)", interactive=False, size="sm", scale=0, elem_id=f"{PANEL}-data")
        asked = [conversation.history, conversation.common[0], *voices.parts.values()]
        shown = [self.text, self.lines, self.data]
        for written in conversation.written:
            written.success(self.read, asked, shown, **QUIET)
        page.restore(self.restore, shown)

    @guarded
    def read(self, request: gr.Request, exchanges: tuple[Exchange, ...], system: str, *values: Any) -> Updates:
        """Read the last answer under both."""
        session, chosen = self.page.session(request), Chosen(*values)
        if not exchanges or not all(exchanges[-1].answers):
            return {self.text: NOTHING}
        column = self.conversation.marked_column

        def work(model: SteerableModel) -> Generator[Progress, None, TokenVoices]:
            voices = yield from self.voices.voicing.readers(model, session, chosen)
            return (yield from _read(model, voices, exchanges, system or "", column))

        job = self.page.studio.run(work)
        for _ in events(session, PANEL, job):
            pass
        if job.stopped:
            return {self.text: gr.skip()}
        session.person.remember(PANEL, job.result.summary())
        return self._shown(session, job.result)

    @guarded
    def restore(self, request: gr.Request) -> Updates:
        """What was read before a reload."""
        session = self.page.session(request)
        kept = session.person.results.get(PANEL)
        return self._shown(session, TokenVoices.of(kept)) if kept else {}

    def _shown(self, session: Session, found: TokenVoices) -> Updates:
        lead = found.lead
        largest = max(map(abs, lead))
        titles = [
            ", ".join(f"{letter} {track.values[i]:+.2f}" for letter, track in zip("AB", found.tracks, strict=False))
            for i in range(len(lead))
        ]
        names = " − ".join(track.name for track in found.tracks)
        shown = markup.coloured(found.tokens, lead, [f"{i}: {title}" for i, title in enumerate(titles, 1)], largest)
        return {
            self.text: markup.scale(largest, names) + shown,
            self.lines: voices_by_token(found),
            self.data: json_download(session, "token by token", found.summary()),
        }


def _read(
    model: SteerableModel,
    voices: Sequence[Voice],
    exchanges: Sequence[Exchange],
    system: str,
    column: int,
) -> Generator[Progress, None, TokenVoices]:
    """The last answer of a column behind its own history, and the first column's answer in the same place."""
    last = exchanges[-1]
    asked = [*turns(exchanges[:-1], column), {"role": "user", "content": last.question}]
    prompt = render(model.tokenizer, asked, system)
    directions = [voice.direction for voice in voices]
    return (yield from read_voices(model, prompt, last.answers[column], last.answers[0], directions))
