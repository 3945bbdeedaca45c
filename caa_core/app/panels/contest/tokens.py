"""Token by token: which voice the answer under both speaks with, and where that changes."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.panels.common import events, guarded, json_download
from caa_core.app.panels.conversation import Conversation, Exchange, turns
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person, Session
from caa_core.app.studio import Studio
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

# From the values of the tab's controls to the vectors along which the answer is read, on the worker.
Prepare = Callable[..., Generator[Progress, None, list[Voice]]]


class TokenByToken:
    """Draws the section. Call `draw` where it belongs in the layout, then `wire`."""

    def __init__(self, studio: Studio):
        self.studio = studio

    def draw(self) -> None:
        with gr.Accordion("Token by token: where the voice changes", open=False, elem_id=PANEL):
            gr.Markdown(ABOUT)
            self.text = gr.HTML(NOTHING, elem_id=f"{PANEL}-text", container=True)
            self.lines = figure("Alignment with each voice", f"{PANEL}-lines")
            self.data = gr.DownloadButton("Data (JSON)", interactive=False, size="sm", scale=0, elem_id=f"{PANEL}-data")

    def wire(
        self,
        entered: Dependency,
        conversation: Conversation,
        prepare: Prepare,
        values: Sequence[gr.components.Component],
    ) -> None:
        """Read what the columns have written, whenever they have. `prepare` is called as prepare(model, session,
        *values).
        """

        @guarded
        def read(request: gr.Request, exchanges: tuple[Exchange, ...], system: str, *rest: Any) -> dict:
            session = self.studio.session(request.session_hash)
            if not exchanges or not all(exchanges[-1].answers):
                return {self.text: NOTHING}
            column = conversation.marked_column
            job = self.studio.run(
                lambda model: _read(model, session, prepare(model, session, *rest), exchanges, system or "", column)
            )
            for _ in events(session, PANEL, job):
                pass
            if job.stopped:
                return {self.text: gr.skip()}
            session.person.remember(PANEL, job.result.summary())
            return self._shown(session.person, job.result)

        @guarded
        def restore(request: gr.Request) -> dict:
            person = self.studio.session(request.session_hash).person
            kept = person.results.get(PANEL)
            return self._shown(person, TokenVoices.of(kept)) if kept else {self.text: gr.skip()}

        silent = {"show_progress": "hidden", "api_visibility": "private"}
        asked = [conversation.history, conversation.common[0], *values]
        for written in conversation.written:
            written.success(read, asked, [self.text, self.lines, self.data], **silent)
        entered.then(restore, None, [self.text, self.lines, self.data], **silent)

    def _shown(self, person: Person, found: TokenVoices) -> dict:
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
            self.data: json_download(person, "token by token", found.summary()),
        }


def _read(
    model: SteerableModel,
    session: Session,
    prepared: Generator[Progress, None, list[Voice]],
    exchanges: Sequence[Exchange],
    system: str,
    column: int,
) -> Generator[Progress, None, TokenVoices]:
    """The last answer of a column behind its own history, and the first column's answer in the same place."""
    voices = yield from prepared
    last = exchanges[-1]
    asked = [*turns(exchanges[:-1], column), {"role": "user", "content": last.question}]
    prompt = render(model.tokenizer, asked, system)
    directions = [voice.direction for voice in voices]
    return (yield from read_voices(model, prompt, last.answers[column], last.answers[0], directions))
