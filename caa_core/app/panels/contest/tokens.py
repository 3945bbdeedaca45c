"""Token by token: which voice the answer under both speaks with, and where that changes."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from caa_core.app.panels.common import Updates, json_download
from caa_core.app.panels.contest.chosen import Chosen
from caa_core.app.panels.contest.form import OfVoices, VoicesForm
from caa_core.app.panels.conversation import Conversation, Exchange, turns
from caa_core.app.panels.experiment import Plain
from caa_core.app.panels.layout import folded
from caa_core.app.panels.made_with import MadeWith
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.contest.tokens import TokenVoices, read_voices
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import render
from caa_core.progress import Progress
from caa_core.reports import markup
from caa_core.reports.tokens import in_brief, voices_by_token

PANEL = "compete-tokens"
ABOUT = folded(
    "The answer under both, as the unsteered model reads it. Blue: A is ahead; orange: B is. Hover or tap for numbers.",
    "How far each token points along A's vector and along B's, less what the unsteered answer does on the average.",
)
NOTHING = "Write something first; the answer under both is read here as soon as it is there."


@dataclass(frozen=True)
class TokensChoice:
    """Two voices, and the chat whose last answer under both is read."""

    voices: Chosen
    exchanges: Sequence[Exchange]
    system: str


class TokenByToken(OfVoices[TokensChoice]):
    """The section: reads what the columns have written, whenever they have."""

    name = PANEL
    title = "Token by token: where the voice changes"
    heavy = False

    def __init__(self, page: Page, voices: VoicesForm, conversation: Conversation):
        self.voices, self.column = voices, conversation.marked_column
        with gr.Accordion(self.title, open=False, elem_id=PANEL) as self.section:
            gr.Markdown(ABOUT)
            status = gr.Markdown(elem_id=f"{PANEL}-status")
            with gr.Column() as results:
                self.text = gr.HTML(NOTHING, elem_id=f"{PANEL}-text", container=True)
                with gr.Column(visible=False) as self.drawing:
                    self.lines = figure("Alignment with each voice", f"{PANEL}-lines")
                    self.data = gr.DownloadButton("Data (JSON)", size="sm", scale=0, elem_id=f"{PANEL}-data")
        form = {"exchanges": conversation.exchanges, "system": voices.settings["system"], **voices.parts}
        super().__init__(
            page, form, [], None, status, [results, self.text, self.drawing, self.lines, self.data, self.section]
        )
        for written in conversation.began:
            self.starts_by(written.success, self.run)

    def updates(self, session: Session, form: Mapping[str, Any]) -> Iterator[Updates]:
        exchanges = form["exchanges"]
        if exchanges and all(exchanges[-1].answers):
            yield from super().updates(session, form)
        else:
            yield {self.text: NOTHING}

    def waiting(self) -> Updates:
        return {self.status: ""}  # it is read in a moment, and what was read before is seen meanwhile

    def how_far(self, progress: Progress) -> str:
        return ""

    def settings(self, session: Session, form: Mapping[str, Any]) -> MadeWith:
        asked = form["exchanges"][-1].question if form["exchanges"] else ""
        return {"answer to": asked, **super().settings(session, form)}

    def ask(self, session: Session, form: Mapping[str, Any]) -> TokensChoice:
        return TokensChoice(Chosen.of(form), form["exchanges"], form["system"] or "")

    def work(
        self, model: SteerableModel, session: Session, asked: TokensChoice, known: dict[str, Any]
    ) -> Generator[Progress, None, Plain]:
        """Read the last answer of the column behind its own history, and the first column's in the same place."""
        voices = yield from self.voices.voicing.readers(model, session, asked.voices)
        *before, last = asked.exchanges
        history = [*turns(before, self.column), {"role": "user", "content": last.question}]
        prompt = render(model.tokenizer, history, asked.system)
        directions = [voice.direction for voice in voices]
        found = yield from read_voices(model, prompt, last.answers[self.column], last.answers[0], directions)
        return found.summary()

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        found = TokenVoices.of(kept)
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
            **self.headed(in_brief(found)),
            self.drawing: gr.Column(visible=True),
            self.lines: voices_by_token(found),
            self.data: json_download(session, "token by token", kept),
        }
