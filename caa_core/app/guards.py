"""What gradio would do at anybody's request that this app does not want; and what it says of its health.

gradio fetches addresses that are given to it in place of files, keeps copies of a page's state that a link opens, and
prints what a handler raised with paths and all that was sent.
"""

import logging
import re
import traceback
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from caa_core.app.studio import Studio

GUARDED = re.compile(r"/(proxy=|deep_link|(file[=/]\s*|svelte/)\w+:)", re.IGNORECASE)

log = logging.getLogger("caa_core")


class Guard:
    """Refuses requests for what the app does not offer, before gradio sees them."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and GUARDED.search(scope["path"]):
            await JSONResponse({"detail": "Not offered here."}, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def settings(studio: Studio) -> dict[str, Any]:
    """What FastAPI needs to know: the fence, and the address at which the app says how it is."""

    def health(_: Any) -> JSONResponse:
        said = studio.health
        return JSONResponse(said, 200 if said["status"] == "ok" else 503, {"Cache-Control": "no-store"})

    return {"middleware": [Middleware(Guard)], "routes": [Route("/health", health)]}


def install_guards() -> None:
    """Files are uploaded, never fetched; and what gradio would print is logged without what was sent."""
    take = Block.async_move_resource_to_block_cache

    async def take_file(self: Block, url_or_file_path: str | Path | None) -> str | None:
        if re.match(r"\s*\w+:", str(url_or_file_path)):
            raise gr.Error("This app fetches nothing; upload the file.", print_exception=False)
        return await take(self, url_or_file_path)

    # gradio has no setting for it.
    Block.async_move_resource_to_block_cache = take_file  # type: ignore[method-assign]
    traceback.print_exc = lambda *_, **__: log.error("a request failed", exc_info=True)
