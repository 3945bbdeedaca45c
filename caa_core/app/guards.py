"""What gradio would do at anybody's request that this app does not want; and what it says of its health.

gradio fetches addresses that are given to it in place of files, keeps copies of a page's state that a link opens, lets
any other site drive it, and prints what a handler raised with paths and all that was sent.
"""

import ipaddress
import logging
import os
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import routes
from gradio.blocks import Block
from gradio.route_utils import GradioMultiPartParser
from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caa_core.app.opening import statuses
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.limits import BODY_MB, PROXIES, asking, lowered, serves_agents

# Addresses in place of files; and of what gradio serves, all that neither the page nor a program has use for.
OFFERED = (
    "queue|upload|upload_progress|heartbeat|run|call|info|cancel|reset|startup-events|theme\\.css|app_id|openapi\\.json|"
    "user|login_check"
)
CLOSED = re.compile(
    rf"/(proxy=|(file[=/]\s*|svelte/)\w+:)|^/gradio_api/(?!({OFFERED})(/|$)|file=)|"
    "^/(deep_link|runs|run-history|monitoring|login|logout)(/|$)",
    re.IGNORECASE,
)
UPLOAD = "/gradio_api/upload"
# Where agents call tools, each call in a request of its own; the older way, by two, is closed.
AGENTS = "/gradio_api/mcp"
# Where programs ask in the way of OpenAI, and for what.
API = "/v1/"
COMPLETIONS = f"{API}chat/completions"
# Whose pages may show the app in a frame.
FRAMES = ("'self'", "https://huggingface.co", "https://*.hf.space")
# As strict as gradio lives with, which writes scripts and styles into the page.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors {frames}"
)

log = logging.getLogger("caa_core")


class Fence:
    """Refuses requests for what the app does not offer, before gradio sees them, and says what a browser may do with
    the page. It stands where gradio would allow any other site to use the app in a visitor's name.
    """

    def __init__(self, app: ASGIApp, **_: Any):
        self.app, self.for_agents = app, serves_agents()
        frames = " ".join([*FRAMES, *os.environ.get("CAA_FRAMES", "").split()])
        self.headers = {
            "Content-Security-Policy": POLICY.format(frames=frames),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        # Parts of files gradio reads by 4 kB, each in a thread, and sends with the headers that were asked with.
        scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}
        await (_refusal(scope, self.for_agents) or self.app)(scope, receive, answer)


def _refusal(scope: Scope, for_agents: bool) -> JSONResponse | None:
    """What is answered to a request that is not let in. for_agents: whether they are."""
    headers, path = Headers(scope=scope), path_of(scope)
    by_agent = for_agents and path.rstrip("/") == AGENTS
    if CLOSED.search(path) and not by_agent:
        return refused(scope, "Not offered here.", 403)
    if by_agent and scope["method"] != "POST":
        return JSONResponse({"detail": "Call tools by POST."}, 405, {"Allow": "POST"})
    if scope["method"] != "POST":
        return None
    # Not by comparing Origin with Host, which proxies rewrite. Programs send neither.
    if headers.get("sec-fetch-site") == "cross-site":
        return refused(scope, "Another site may not use this app in your name.", 403)
    length = headers.get("content-length", "")
    # In pieces it would be as long as it likes, whatever it says beside.
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in headers:
        return refused(scope, "Say how long the request is.", 411)
    if path.rstrip("/") != UPLOAD and int(length) > BODY_MB.value * 1_000_000:
        return refused(scope, f"A request may have {BODY_MB.value} MB; upload what is longer.", 413)
    return None


def refused(scope: Scope, said: str, status: int) -> JSONResponse:
    """A sentence in place of what was asked for, in the shape that who asks there reads."""
    as_asked = path_of(scope).startswith(API)
    return JSONResponse(in_openai_shape(said, status) if as_asked else {"detail": said}, status)


def in_openai_shape(said: str, status: int, code: str | None = None) -> dict[str, Any]:
    """An error as programs read it that ask in the way of OpenAI."""
    kinds = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}
    kind = kinds.get(status, "invalid_request_error")
    return {"error": {"message": said, "type": kind, "param": None, "code": code}}


def path_of(scope: Scope) -> str:
    """The path by which a request finds its route: without the root path that proxies take off, or leave there."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def visitor(studio: Studio, request: gr.Request) -> Session:
    """The session of who asks, for whom files are read and limits are looked at from now on."""
    peer, headers = getattr(request, "client", None), getattr(request, "headers", {})
    return arrived(studio, request.session_hash, address_of(headers, peer.host if peer else ""))


def arrived(studio: Studio, page: str | None, address: str) -> Session:
    """The same for a page and where it asks from."""
    asking.set(address)
    session = studio.session(page, address)
    lowered.set(session.limits)
    return session


def origin(scope: Scope) -> str:
    """Where a request comes from; see `address_of`."""
    return address_of(Headers(scope=scope), (scope.get("client") or [""])[0])


def address_of(headers: Mapping[str, str], peer: str) -> str:
    """Where a request comes from: its peer, or what the outermost of `PROXIES` that are trusted says of it. A Space has
    one, and what stands before its word in the header is what the visitor wrote. uvicorn has taken the last word of a
    proxy on this machine already.
    """
    proxies = PROXIES.value or bool(os.environ.get("SPACE_ID"))
    # Some proxies write a line of their own behind that of the visitor.
    lines = headers.getlist("x-forwarded-for") if isinstance(headers, Headers) else [headers.get("x-forwarded-for", "")]
    said = [word for line in lines for word in line.split(",")] if proxies else []
    return _of_one(said[-proxies].strip() if proxies and len(said) >= proxies else peer)


def _of_one(address: str) -> str:
    """An address without its port; of version 6 all that one customer has of, which is the first half."""
    port = re.fullmatch(r"\[([^\]]*)\](?::\d+)?|([\d.]+):\d+", address)
    plain = (port[1] or port[2]) if port else address
    try:
        known = ipaddress.ip_address(plain)
    except ValueError:
        return plain
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((int(known), 64), strict=False))


def settings(studio: Studio) -> dict[str, Any]:
    """What FastAPI needs to know: what is served beside gradio, and in its place."""

    def health(_: Any) -> JSONResponse:
        said = studio.health
        return JSONResponse(said, 200 if said["status"] == "ok" else 503, {"Cache-Control": "no-store"})

    return {"routes": [Route("/health", health), *statuses.routes()]}


def install_guards() -> None:
    """The fence is up; files are uploaded, never fetched; what gradio would print is logged without what was sent."""
    # gradio has no setting for any of it.
    routes.CustomCORSMiddleware = Fence  # type: ignore[misc,assignment]
    take = Block.async_move_resource_to_block_cache

    async def take_file(self: Block, url_or_file_path: str | Path | None) -> str | None:
        if re.match(r"\s*\w+:", str(url_or_file_path)):
            raise gr.Error("This app fetches nothing; upload the file.", print_exception=False)
        if url_or_file_path is not None and not os.path.isfile(url_or_file_path):
            raise gr.Error("There is no such file here; upload it again.", print_exception=False)
        return await take(self, url_or_file_path)

    begin = GradioMultiPartParser.on_headers_finished

    def begin_file(self: GradioMultiPartParser) -> None:
        begin(self)
        # A field would be held in memory, and a file of another name lie in the folder unnoted.
        if self._current_part.file is None or self._current_part.field_name != "files":
            raise MultiPartException("Upload nothing but files, each as 'files'.")

    GradioMultiPartParser.on_headers_finished = begin_file  # type: ignore[method-assign]
    Block.async_move_resource_to_block_cache = take_file  # type: ignore[method-assign]
    traceback.print_exc = lambda *_, **__: log.error("a request failed", exc_info=True)
