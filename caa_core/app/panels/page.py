"""What the tabs of the page are built with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from caa_core.app.panels.common import QUIET
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio


@dataclass(frozen=True)
class Page:
    """The page around one studio. After `entered` it is known whose page it is."""

    studio: Studio
    entered: Dependency

    def session(self, request: gr.Request) -> Session:
        """The session of who asks."""
        return self.studio.session(request.session_hash)

    def restore(self, handler: Callable[..., Any], outputs: Sequence[Block]) -> None:
        """Show by `handler` what the person had before a reload."""
        self.entered.then(handler, None, list(outputs), **QUIET)
