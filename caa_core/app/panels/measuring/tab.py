"""Measure: each measurement in a tab of its own."""

import gradio as gr

from caa_core.app.panels.lazily import lazily
from caa_core.app.panels.measuring import evaluation, open_questions, paper, study
from caa_core.app.panels.page import Page, Tab, draw_tabs


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    tabs = (
        ("Layers and multipliers", "measure-layers-tab", lazily(evaluation.build, shown_in=tab)),
        ("Several behaviours", "behaviours-tab", lazily(paper.build)),
        ("Positions and cues", "study-tab", lazily(study.build)),
        ("Open questions", "measure-open-tab", lazily(open_questions.build)),
    )
    with gr.Tabs():
        return draw_tabs(page, tabs)
