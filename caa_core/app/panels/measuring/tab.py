"""Measure: each measurement in a tab of its own."""

import gradio as gr

from caa_core.app.panels.measuring import evaluation, open_questions, paper, study
from caa_core.app.panels.page import Page, Tab, draw_tabs

TABS = (
    ("Layers and multipliers", "measure-layers-tab", evaluation.build),
    ("Several behaviours", "behaviours-tab", paper.build),
    ("Positions and cues", "study-tab", study.build),
    ("Open questions", "measure-open-tab", open_questions.build),
)


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    with gr.Tabs():
        return draw_tabs(page, TABS)
