"""Compete: two voices at once, beside each alone; and before anything is computed, what their sum is."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar

import gradio as gr

from caa_core.app.panels.contest.chosen import Chosen
from caa_core.app.panels.contest.contest import ContestPanel
from caa_core.app.panels.contest.form import FIRST, OPERATIONS, LinkedVoices, OfVoices, VoicesForm, names_of
from caa_core.app.panels.contest.ready import ReadyContests
from caa_core.app.panels.contest.surface import SurfacePanel
from caa_core.app.panels.contest.thinking import ThinkingPanel
from caa_core.app.panels.contest.tokens import TokenByToken
from caa_core.app.panels.contest.written import WrittenPanel
from caa_core.app.panels.conversation import Conversation, ConversationRequest, Voices
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.steer.drift import Drift
from caa_core.app.sessions import Session
from caa_core.contest.requests import ContestRequest
from caa_core.data.presets import presets
from caa_core.metrics.options import OPERATION
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress

# As many as one line has room for.
EXAMPLES = 3


class ContestChat(OfVoices[ConversationRequest], Conversation):
    """Answers under neither voice, under either and under both, and under what both share."""

    name = "compete"
    labels: ClassVar[Mapping[str, str]] = {
        "unsteered": "Unsteered",
        "a": f"A: {FIRST[0]}",
        "b": f"B: {FIRST[1]}",
        "both": f"Both: {FIRST[0]} + {FIRST[1]}",
        "shared": "Only what both share",
    }
    marked_column = 3
    thinks = True

    def __init__(self, page: Page, voices: VoicesForm):
        self.voices, self.voicing = voices, voices.voicing
        super().__init__(page, {**voices.settings, **voices.parts}, presets()[FIRST[0]].prompts[:EXAMPLES])

    def called(self, form: Mapping[str, Any]) -> Sequence[str]:
        return [self.labels["unsteered"], *names_of(Chosen.of(form)), self.labels["shared"]]

    def prepare(
        self, model: SteerableModel, session: Session, form: Mapping[str, Any]
    ) -> Generator[Progress, None, Voices]:
        return (yield from self.voicing.columns(model, session, Chosen.of(form)))


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    ready = ReadyContests(page)
    with gr.Row():
        form = VoicesForm(page, ContestChat.name)
        with gr.Column(scale=3):
            contest = ContestPanel(page, form)
            with gr.Column(elem_id="compete-chat"):
                conversation = ContestChat(page, form)
                Drift(page, conversation, ("Unsteered", "A", "B", "Both"))
            contest.section.render()
            TokenByToken(page, form, conversation)
            SurfacePanel(page, form, contest)
            written = WrittenPanel(page, form)
            ThinkingPanel(page, form, contest)
            contest.draw_code()
    shared = conversation.chatbots[-1]
    shared.visible = False  # at equal multipliers it is the same thing as both
    form.wire(tab, conversation)
    ready.wire(form, contest, conversation, written.questions)
    options = {**ContestRequest.options(), **ConversationRequest.options(), **dict.fromkeys(OPERATIONS, OPERATION)}
    LinkedVoices(page, form, {**contest.form, **conversation.form}, options)
    return Tab([form.a.vector, form.b.vector], [form.a.layer, form.b.layer])
