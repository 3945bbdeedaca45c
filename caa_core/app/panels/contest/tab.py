"""Compete: two voices at once, beside each alone; and before anything is computed, what their sum is."""

import gradio as gr

from caa_core.app.panels.contest.chosen import Chosen
from caa_core.app.panels.contest.contest import ContestPanel
from caa_core.app.panels.contest.form import FIRST, VoicesForm
from caa_core.app.panels.contest.surface import SurfacePanel
from caa_core.app.panels.contest.thinking import ThinkingPanel
from caa_core.app.panels.contest.tokens import TokenByToken
from caa_core.app.panels.contest.written import WrittenPanel
from caa_core.app.panels.conversation import Conversation
from caa_core.app.panels.page import Page, Tab
from caa_core.data.presets import presets

PANEL = "compete"
ABOUT = (
    "Two voices speak to the model at once. Choose them and **write** to see one answer under each and under both; "
    "then **measure** over many prompts which voice it follows, and **think** to see whether reasoning changes that."
)
BOTH = "both"
LABELS = {
    "unsteered": "Unsteered",
    "a": "A alone",
    "b": "B alone",
    BOTH: "A and B together",
    "shared": "Only what both share",
}


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    prompts = presets()[FIRST[0]].prompts
    conversation = Conversation(page, PANEL, LABELS, prompts, list(LABELS).index(BOTH), thinks=True)
    gr.Markdown(ABOUT)
    form = VoicesForm(page, conversation.settings)
    conversation.columns()
    shared = conversation.chatbots[-1]
    shared.visible = False  # at equal multipliers it is the same thing as both
    conversation.wire(
        lambda model, session, *values: form.voicing.columns(model, session, Chosen(*values)),
        list(form.parts.values()),
    )
    TokenByToken(page, form, conversation)
    system, positions, *_ = conversation.common
    contest = ContestPanel(page, form, {"system": system, "positions": positions})
    SurfacePanel(page, form, contest)
    WrittenPanel(page, form, {"system": system, "positions": positions})
    ThinkingPanel(page, form, contest)
    form.wire(tab, contest.answers, shared)
    return Tab([form.a.vector, form.b.vector], [form.a.layer, form.b.layer])
