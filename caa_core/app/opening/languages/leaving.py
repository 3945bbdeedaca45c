"""Where what is said leaves for a page: there it is put into the language that its reader has.

Handlers and all below them speak English. The page is served in the reader's language, and what its events bring, their
errors and notes among it, follows; what a program asks for by an endpoint stays as it is.
"""

import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import gradio as gr
from babel import negotiate_locale
from gradio import routes
from gradio.blocks import BlockFunction
from gradio.exceptions import Error
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from caa_core.app.opening.at_rest import NO_CLOCKS
from caa_core.app.opening.languages.catalogue import ENGLISH, Catalogue, catalogue, languages, of_the_page
from caa_core.app.opening.languages.parts import properties, script, value
from caa_core.app.opening.storage import IN_MEMORY
from caa_core.app.opening.streams import NONE_UNHEARD

# That of whoever's event is being handled.
_reader: ContextVar[str] = ContextVar("reader", default=ENGLISH)
# gradio's own words go by what the browser says it prefers.
_PREFERS = """<script>
for (const name of ['language', 'languages']) Object.defineProperty(navigator, name, { get: () => (%s)[name] });
</script>"""


def language_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The language of who asks: what the address says (`?lang=de`), else what the browser prefers, else English."""
    if (asked := query.get("lang", "").lower()) in languages():
        return asked
    weighed = [
        (-float(weight or 1), place, tag)
        for place, (tag, weight) in enumerate(
            re.findall(r"([\w-]{1,20})(?:\s*;\s*q=([01](?:\.\d{1,3})?))?", headers.get("accept-language", "")[:200])
        )
    ]
    preferred = [tag.replace("-", "_") for _, _, tag in sorted(weighed)]
    return negotiate_locale(preferred, languages()) or ENGLISH


def spoken(text: str) -> str:
    """A text in the language of whoever's event is being handled."""
    language = _reader.get()
    return text if language == ENGLISH else catalogue(language).text(text)


def translated(config: Mapping[str, Any], into: Catalogue) -> dict[str, Any]:
    """What gradio tells a browser of a page, or of a part that is drawn later, in another language."""
    return {
        **config,
        "components": [
            {**one, "props": properties(one["type"], one["props"], into)} for one in config.get("components", ())
        ],
        "dependencies": [
            {**one, "js": script(one["js"], into)} if isinstance(one.get("js"), str) else one
            for one in config.get("dependencies", ())
        ],
    }


def serve_by_language() -> None:
    """Serve gradio's page in the language of who asks for it, behind what has to come before all of its own."""

    def served(*, request: Request, name: str, context: dict[str, Any]) -> Response:
        language = language_of(request.headers, request.query_params)
        if language != ENGLISH:
            context = {**context, "config": translated(context["config"], of_the_page(language))}
        response = Jinja2Templates.TemplateResponse(routes.templates, request=request, name=name, context=context)
        response.headers["vary"] = "Accept-Language"
        text, first = bytes(response.body).decode(), NO_CLOCKS + IN_MEMORY + NONE_UNHEARD
        if language != ENGLISH or "lang" in request.query_params:
            text = text.replace('lang="en"', f'lang="{language}"', 1)
            first += _PREFERS % json.dumps({"language": language, "languages": [language]})
        response.body = text.replace("<head>", f"<head>{first}", 1).encode()
        response.headers["content-length"] = str(len(response.body))
        return response

    # gradio has no setting for it.
    routes.templates.TemplateResponse = served  # type: ignore[method-assign,assignment]


def speak(page: gr.Blocks) -> None:
    """Let what the page's events bring come in the language of who sent them."""
    process, finish, note = page.process_api, page.postprocess_data, page._queue.log_message

    async def process_spoken(block_fn: BlockFunction, *args: Any, **named: Any) -> dict[str, Any]:
        _reader.set(_of_event(block_fn, named.get("request")))
        try:
            found = await process(block_fn, *args, **named)
        except Error as error:
            error.message, error.title = spoken(error.message), spoken(error.title)
            raise
        if found.get("render_config") and (language := _reader.get()) != ENGLISH:
            found["render_config"] = translated(found["render_config"], catalogue(language))
        return found

    async def finish_spoken(block_fn: BlockFunction, predictions: Any, state: Any) -> list[Any]:
        found = await finish(block_fn, predictions, state)
        if (language := _reader.get()) == ENGLISH:
            return found
        into = catalogue(language)
        outputs = zip(block_fn.outputs, found, strict=True)
        return [_sent(part.get_block_name(), update, into) for part, update in outputs]

    def note_spoken(event_id: str, log: str, title: str, *args: Any, **named: Any) -> None:
        note(event_id, spoken(log), spoken(title), *args, **named)

    page.process_api = process_spoken  # type: ignore[method-assign,assignment]
    page.postprocess_data = finish_spoken  # type: ignore[method-assign]
    page._queue.log_message = note_spoken  # type: ignore[method-assign]


def _of_event(fn: BlockFunction, request: Any) -> str:
    """The language of who sent an event of the page; English for programs."""
    if fn.api_visibility == "public" or not isinstance(request, gr.Request) or not request.request:
        return ENGLISH
    return language_of(request.request.headers, request.request.query_params)


def _sent(kind: str, update: Any, into: Catalogue) -> Any:
    if isinstance(update, dict) and update.get("__type__") == "update":
        return properties(kind, update, into)
    return value(kind, update, into)
