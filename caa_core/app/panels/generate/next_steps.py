"""What to do next with a vector that was just made: each step is a button that opens a tab with it."""

from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from caa_core.app.panels.common import QUIET, Updates, guarded, recommended, vector_choices
from caa_core.app.panels.controls import multiplier_at
from caa_core.app.panels.layout import to_tab
from caa_core.app.panels.page import Page
from caa_core.app.sessions import Session
from caa_core.errors import InputError

# By the tab's name under which a vector is wanted: the button, and the ids of the tabs that it opens.
TABS = {
    "measure": ("Measure it", ("measure", "measure-layers-tab")),
    "compete": ("Let it compete", ("compete",)),
}


class NextSteps:
    """The buttons, hidden until there is a vector."""

    def __init__(self, page: Page):
        self.page, self.studio = page, page.studio
        self.name = gr.State("")
        with gr.Row(visible=False, elem_id="generate-next") as self.row:
            steer = self._button("Steer with it", "steer")
            others = {tab: self._button(label, tab) for tab, (label, _) in TABS.items()}
            self.download = gr.DownloadButton("Download", size="md", min_width=165, elem_id="generate-next-download")
        steered = steer.click(self.steer, self.name, [*page.steer], **QUIET)
        steered.success(None, js=to_tab("steer"), api_visibility="private")
        for tab, button in others.items():
            tabs = TABS[tab][1]
            taken = button.click(self._want(tab), [self.name, page.vectors], page.vectors, **QUIET)
            taken.success(None, js=to_tab(*tabs), api_visibility="private")
        self.parts: list[Block] = [self.row, self.name, self.download]

    def _button(self, label: str, tab: str) -> gr.Button:
        return gr.Button(label, size="md", min_width=165, elem_id=f"generate-next-{tab}")

    def show(self, name: str, path: Path) -> Updates:
        """Updates that offer what can be done with a vector, whose file is there."""
        return {self.row: gr.Row(visible=True), self.name: name, self.download: gr.DownloadButton(value=str(path))}

    @guarded
    def steer(self, request: gr.Request, name: str) -> Updates:
        """Choose it in the tab Steer."""
        session = self._session(request, name)
        layer, multiplier = recommended(self.studio, name, session)
        picker = gr.Dropdown(vector_choices(session), value=name)
        chosen = zip(self.page.steer, (picker, layer, multiplier_at(multiplier)), strict=True)
        return dict(chosen)

    def _want(self, tab: str):  # type: ignore[no-untyped-def]  # a handler
        @guarded
        def want(request: gr.Request, name: str, count: int) -> int:
            self._session(request, name).wanted[tab] = name
            return count + 1

        return want

    def _session(self, request: gr.Request, name: str) -> Session:
        session = self.page.session(request)
        if name not in session.vectors:
            raise InputError("That vector is not in your list any more; make it again.")
        return session
