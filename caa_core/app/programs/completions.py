"""The app for programs that know OpenAI's chat completions: answers with vectors added, whole or as they are written.

What is asked is a job of the one worker, as what the page asks is, and ends when its client leaves. Programs at one
address are one person, of whom nothing is kept.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from caa_core.app.guards import API, COMPLETIONS, arrived, in_openai_shape, origin
from caa_core.app.panels.common import recommended, vector_choices
from caa_core.app.programs.chat_request import ChatRequest
from caa_core.app.programs.openai_answers import Connection, Telling, Written
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.app.traffic import calls_at_once
from caa_core.errors import InputError
from caa_core.limits import check_api_key, serves_completions
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import render
from caa_core.progress import Progress
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import CUT_IN_THOUGHT, BatchRow, generate
from caa_core.steering.interventions import Steer
from caa_core.vectors.spread import spread

OWNED_BY = "caa-studio"
OFF = "This app answers no programs in this way: who runs it switches that on with CAA_API=1."
STOPPED = "The answer was stopped: the app is being ended, or who runs it has stopped it."
OUR_MISTAKE = "Something failed inside the app; it was logged. Try again."
log = logging.getLogger("caa_core")


class RefusedError(Exception):
    """What was asked for is not had: a sentence, a status of HTTP, and OpenAI's word for it, where it has one."""

    def __init__(self, said: str, status: int = 400, code: str | None = None):
        super().__init__(said)
        self.status, self.code = status, code


@contextmanager
def refusing(status: int, code: str | None = None) -> Iterator[None]:
    """What cannot be here is refused with this status."""
    try:
        yield
    except InputError as error:
        raise RefusedError(str(error), status, code) from error


def answer(
    studio: Studio, model: SteerableModel, session: Session, asked: ChatRequest
) -> Generator[Progress | Written, None, None]:
    """Write what is asked for; yields how far it has come."""
    steers: list[Steer] = []
    added: list[dict[str, Any]] = []
    notes: list[str] = []
    for one in asked.steering:
        vector = yield from studio.vector(model, session, one.name)
        layer, multiplier = recommended(studio, one.name, session)
        layers = [model.check_layer(each) for each in one.layers or (layer,)]
        multiplier = multiplier if one.multiplier is None else one.multiplier
        steers += spread(vector, layers, multiplier, one.operation, one.shares)
        where = {"layer": layers[0] if len(layers) == 1 else layers, "multiplier": multiplier}
        how = {"positions": str(asked.positions), "operation": str(one.operation)}
        only = {**({"shares": one.shares} if len(layers) > 1 else {}), **({"gate": one.gate} if one.gate else {})}
        added.append({"vector": one.name, **where, **how, **only})
        notes += [f"{one.name}: {found}" for found in vector.differences(model)]
    gate = yield from studio.gate(model, session, asked.gate)
    prompt = render(model.tokenizer, asked.turns, asked.system, asked.think)
    decoding = asked.decoding
    if asked.any_length:
        room = max(1, min(asked.max_new_tokens, model.context_length - len(prompt.ids)))
        decoding = Decoding(room, asked.temperature, asked.seed)
    writing = generate(model, [BatchRow(prompt, tuple(steers), asked.positions, gate)], decoding)
    try:
        for texts in writing:
            if isinstance(texts, Progress):  # a GPU is waited for
                yield texts
                continue
            (one_text,) = texts
            text, stopped = until_stop(one_text.text, asked.stops)
            ended = "stop" if stopped or one_text.done else ""
            reason = ended or ("length" if len(one_text.ids) >= decoding.max_new_tokens else "")
            sure = text if reason else without_begun(text, asked.stops)
            said = [
                *notes,
                *([f"The answer was {CUT_IN_THOUGHT}"] if reason == "length" and one_text.is_thinking else []),
            ]
            counts = len(prompt.ids), len(one_text.ids), one_text.answer_from
            yield Written(sure, *counts, reason, added, said, one_text.thought)
            if stopped:
                return
    finally:
        writing.close()


def until_stop(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Text up to the first of some words, and whether one of them came."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def without_begun(text: str, stops: Sequence[str]) -> str:
    """Text without an end that one of some words may have begun with."""
    begun = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return text[: len(text) - max(begun, default=0)]


class Completions:
    """What is served: answers, as ASGI, and which model is loaded."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self.began = int(time.time())
        self._salt = secrets.token_bytes(16)
        # A thread for each, beside those in which the server answers others.
        self._threads = ThreadPoolExecutor(calls_at_once(), "caa-completions")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            held = [await Request(scope, receive).body()]
        except ClientDisconnect:
            return
        gone, loop = threading.Event(), asyncio.get_running_loop()
        leaving = asyncio.create_task(_noted(receive, gone))
        try:
            await loop.run_in_executor(self._threads, self._serve, scope, held, Connection(send, loop), gone)
        finally:
            gone.set()
            leaving.cancel()

    async def models(self, request: Request) -> Response:
        """The one that is loaded, and the names of the vectors that there are."""
        return self._said_of_models(request.scope, lambda model: {"object": "list", "data": [model]})

    async def model(self, request: Request) -> Response:
        """The one of a name."""
        name = request.path_params["name"]

        def found(model: dict[str, Any]) -> dict[str, Any]:
            self._check_model(name)
            return model

        return self._said_of_models(request.scope, found)

    def _said_of_models(self, scope: Scope, say: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
        try:
            with self._entered(scope) as session:
                vectors = [name for _, name in vector_choices(session)]
            own = {"id": self.studio.model.name, "object": "model", "created": self.began, "owned_by": OWNED_BY}
            return JSONResponse(say({**own, "vectors": vectors}))
        except RefusedError as error:
            return JSONResponse(in_openai_shape(str(error), error.status, error.code), error.status)

    def _serve(self, scope: Scope, held: list[bytes], connection: Connection, gone: threading.Event) -> None:
        """Answer, in a thread of its own. held: the body, which is let go of when it has been read."""
        with suppress(ClientDisconnect):
            try:
                self._answer(scope, held, connection, gone)
            except RefusedError as error:
                connection.error(str(error), error.status, error.code)
            except InputError as error:
                connection.error(str(error), 400, None)
            except ClientDisconnect:
                raise
            except Exception as error:
                log.error("an answer failed", exc_info=error)
                connection.error(OUR_MISTAKE, 500, None)

    def _answer(self, scope: Scope, held: list[bytes], connection: Connection, gone: threading.Event) -> None:
        with self._entered(scope) as session:
            asked = ChatRequest.of(_plain(held.pop()))
            self._check_model(asked.model)
            _check_class(session, asked)
            with refusing(503):
                job = self.studio.run(lambda model: answer(self.studio, model, session, asked), session)
            telling, written = Telling(asked, connection, self.studio.model.name), None
            try:
                with closing(session.follow(f"call-{id(job)}", job, wanted=lambda: not gone.is_set())) as events:
                    for event in events:
                        if isinstance(event, Written):
                            written = event
                            telling.so_far(written)
            except InputError as error:
                # It has failed, or it was no job yet, since there was no place for it.
                raise RefusedError(str(error), 400 if job.error else 429) from error
        if gone.is_set():
            return
        if not written or not written.reason or job.stopped:
            raise RefusedError(STOPPED, 503)
        telling.whole(written)

    @contextmanager
    def _entered(self, scope: Scope) -> Iterator[Session]:
        """Whose work it is, who is here as long as it goes on. Raises RefusedError for who may not ask."""
        if not serves_completions():
            raise RefusedError(OFF, 403)
        address, sessions = origin(scope), self.studio.sessions
        given = Headers(scope=scope).get("authorization", "")
        with refusing(401, "invalid_api_key"):
            self.studio.programs.open(given.removeprefix("Bearer ").strip(), address, check_api_key)
        page = self._page(address)
        sessions.listens(page, 1)
        try:
            with refusing(429):
                session = arrived(self.studio, page, address)
            yield session
        finally:
            sessions.listens(page, -1)
            if not sessions.is_open(page):
                sessions.leave(page)

    def _page(self, address: str) -> str:
        """Under which name all that programs ask at an address is done, which nobody else guesses."""
        return hmac.new(self._salt, address.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _check_model(self, name: str) -> None:
        model = self.studio.model.name
        if name not in ("", model, self.studio.spec):
            said = f"The model {name[:60]!r} is not loaded here: this app has {model}."
            raise RefusedError(said, 404, "model_not_found")


async def _noted(receive: Receive, gone: threading.Event) -> None:
    """Note when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _plain(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("Send one JSON object, with messages; this is no JSON.") from error


def _check_class(session: Session, asked: ChatRequest) -> None:
    """Raises InputError for what may not be asked in the class that all are in here."""
    if room := session.classroom:
        for text in (asked.system, *(turn["content"] for turn in asked.turns if turn["role"] == "user")):
            room.rules.check_text(text)


def routes(studio: Studio) -> list[Route]:
    """Where programs ask."""
    served = Completions(studio)
    return [
        Route(COMPLETIONS, served, methods=["POST"]),
        Route(f"{API}models", served.models),
        Route(f"{API}models/{{name:path}}", served.model),
    ]
