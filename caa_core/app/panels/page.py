"""What the tabs of the page are built with, and what they give back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from caa_core.app.panels.common import QUIET
from caa_core.app.panels.controls import VoiceControls
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio


@dataclass(frozen=True)
class Page:
    """The page around one studio.

    line: says which model is loaded; model: a state that tells it from others. entered: the event after which it is
    known whose page it is. steer: the controls of the Steer tab, which others fill in, and which it renders.
    """

    studio: Studio
    blocks: gr.Blocks
    line: gr.Markdown
    model: gr.State
    entered: Dependency
    steer: VoiceControls

    def session(self, request: gr.Request) -> Session:
        """The session of who asks."""
        return self.studio.session(request.session_hash)

    def restore(self, handler: Callable[..., Any], outputs: Sequence[Block]) -> None:
        """Show by `handler` what the person had before a reload."""
        self.entered.then(handler, None, list(outputs), **QUIET)


@dataclass(frozen=True)
class Tab:
    """What a tab shows of the session's vectors and of the model's layers, and states that change with the vectors or
    with the model.
    """

    pickers: Sequence[gr.Dropdown] = ()
    layers: Sequence[gr.Slider] = ()
    changed: Sequence[gr.State] = ()

    @classmethod
    def together(cls, tabs: "Iterable[Tab]") -> "Tab":
        """Several as one."""
        tabs = list(tabs)
        return cls(
            [picker for tab in tabs for picker in tab.pickers],
            [layer for tab in tabs for layer in tab.layers],
            [state for tab in tabs for state in tab.changed],
        )


class Build(Protocol):
    """Draws a tab's content, inside of it."""

    def __call__(self, page: Page, tab: gr.Tab) -> Tab: ...


def draw_tabs(page: Page, tabs: Iterable[tuple[str, str, Build]]) -> Tab:
    """Draw tabs, each by its title, its element id and what draws its content."""
    drawn = []
    for title, name, build in tabs:
        with gr.Tab(title, id=name) as tab:
            drawn.append(build(page, tab))
    return Tab.together(drawn)
