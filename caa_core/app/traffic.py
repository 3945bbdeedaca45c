"""What requests hold of the app: streams that are open, events that wait or run, bodies. One address may hold half.

gradio keeps an event until somebody reads what came of it, takes events as they came, whoever sent them, and keeps of
each page that it has ever seen all settings of all of its parts.
"""

import asyncio
import datetime
import json
import random
from collections import Counter
from collections.abc import Collection
from contextlib import nullcontext, suppress
from copy import copy
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio import routes, utils
from gradio.blocks import Block, BlockFunction
from gradio.components import State
from gradio.queueing import Event, Queue
from gradio.server_messages import EstimationMessage
from gradio.state_holder import SessionState, StateHolder
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caa_core.app.guards import AGENTS, COMPLETIONS, UPLOAD, address_of, origin, path_of, refused
from caa_core.app.sessions import Sessions
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.limits import BODY_MB, GRACE, PLACES

# Events that wait or run, and streams that are open; of which one address may have half.
EVENTS = 1_000
STREAMS = 1_000
# The same for streams that say how far an upload has come, each of which looks twenty times a second.
WATCHED = 100
# The same for calls of tools by agents, each of which may hold a thread that the server answers others in.
CALLED = 20
# How many of the largest bodies may wait, and be on their way, of which one address may have half; one on its way
# counts as so many bytes at least.
BODIES = 8
# Who lets so many messages lie without ever having listened is told no more.
UNTOLD = 100
LEAST_BODY = 20_000
# Letters in the name of a page, which is kept as long as anything of it.
NAME = 200
# How long a body may be on its way, and an upload.
SECONDS_TO_COME, SECONDS_TO_UPLOAD = 60, 900
# Lists and objects in a body: they take fifty times the memory of their text.
BRACKETS = 200_000
# Calls of programs that are looked at beyond those that have a place, if only to be refused; and events of the page.
SPARE_CALLS = 20
SPARE_EVENTS = 40
# Of so many pages the one that was longest not used is forgotten; 50 kB each.
STATES = 2_000
# The calls of programs share one limit, so that the page's events keep threads of their own.
CALLS = "calls"
PROGRESS = "/gradio_api/upload_progress"


def calls_at_once() -> int:
    """How many calls of programs are worked on at once."""
    return PLACES.value + SPARE_CALLS


def threads() -> int:
    """How many events are worked on at once, in a thread each."""
    return calls_at_once() + PLACES.value + SPARE_EVENTS


class Traffic:
    """Notes who listens, and refuses what is more than an address, or all of them, may have at once."""

    def __init__(self, app: ASGIApp, studio: Studio):
        self.app, self.sessions = app, studio.sessions
        self.streams: Counter[str] = Counter()
        self.watching: Counter[str] = Counter()
        self.calling: Counter[str] = Counter()
        self.completing: Counter[str] = Counter()
        self.on_their_way: Counter[str] = Counter()  # bytes of bodies
        self.uploads = studio.uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif page := _page_of_stream(scope):
            await self._listen(self.streams, STREAMS, scope, receive, send, page)
        elif (path := path_of(scope).rstrip("/")) == PROGRESS:
            await self._listen(self.watching, WATCHED, scope, receive, send)
        elif scope["method"] == "POST" and path == UPLOAD:
            await self._upload(scope, receive, send)
        elif scope["method"] == "POST" and path == AGENTS:
            await self._listen(self.calling, CALLED, _as_asked(scope), receive, send, within=self._ask)
        elif scope["method"] == "POST" and path == COMPLETIONS:
            await self._listen(self.completing, calls_at_once(), scope, receive, send, within=self._ask)
        elif scope["method"] == "POST":
            await self._ask(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        address, length = origin(scope), int(Headers(scope=scope)["content-length"])
        size, most = max(length, LEAST_BODY), BODIES * BODY_MB.value * 1_000_000
        full = length > LEAST_BODY and self.on_their_way.total() + size > most  # what is small comes in any case
        if full or self.on_their_way[address] + size > most // 2:
            await _too_much(scope)(scope, receive, send)
            return
        self.on_their_way[address] += size
        try:
            async with asyncio.timeout(SECONDS_TO_COME):
                body = await _whole(receive)
        except TimeoutError:
            await refused(scope, "The request came too slowly.", 408)(scope, receive, send)
            return
        finally:
            self.on_their_way[address] -= size
            self.on_their_way += Counter()
        answer = _refusal(scope, body) or self._refused_files(scope, body) or self.app
        received = _again(body, receive)
        del body  # which would be held for as long as it is answered
        await answer(scope, received, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            number = self.uploads.take(origin(scope), int(Headers(scope=scope)["content-length"]))
        except InputError as error:
            await JSONResponse({"detail": str(error)}, 413)(scope, receive, send)
            return
        said, came, begun = b"", 0, 0

        async def counted() -> Message:
            nonlocal came, begun
            message = await receive()
            part = message.get("body", b"")
            came, begun = came + len(part), begun + part.count(b"filename")
            return message

        async def answer(message: Message) -> None:
            nonlocal said
            said += message.get("body", b"")
            if (
                message["type"] == "http.response.body"
                and not message.get("more_body")
                and (paths := _paths(_plain(said)))
            ):
                self.uploads.came(number, paths)
            await send(message)

        try:
            with suppress(ClientDisconnect, TimeoutError):  # what it left goes by age
                async with asyncio.timeout(SECONDS_TO_UPLOAD):
                    await self.app(scope, counted, answer)
        finally:
            self.uploads.broke_off(number, came, begun)

    def _refused_files(self, scope: Scope, body: bytes) -> JSONResponse | None:
        """Note which files a page's parts hold, by the events that it sends."""
        brings = b"gradio.FileData" in body
        asked = _plain(body) if brings or self.uploads.are_used else None
        if not isinstance(asked, dict) or not isinstance(page := asked.get("session_hash"), str):
            return None
        if not (brings or self.uploads.knows(page)):
            return None
        try:
            person = self.sessions.of(page, origin(scope)).person
            self.uploads.use(person, page, _held_by_parts(scope["app"], page, asked))
        except InputError as error:
            return JSONResponse({"detail": str(error)}, 413)
        return None

    async def _listen(
        self,
        streams: Counter[str],
        most: int,
        scope: Scope,
        receive: Receive,
        send: Send,
        page: str = "",
        within: ASGIApp | None = None,
    ) -> None:
        """A stream, of which so many may be open; page: whose it is; within: what answers it, where not the app."""
        address = origin(scope)
        if streams.total() >= most or streams[address] >= most // 2:
            too_many = refused(scope, "Too many pages are open from where you are.", 429)
            await (_too_much(scope) if within else too_many)(scope, receive, send)
            return
        streams[address] += 1
        self.sessions.listens(page, 1)
        try:
            await (within or self.app)(scope, receive, send)
        finally:
            self.sessions.listens(page, -1)
            streams[address] -= 1
            streams += Counter()  # forgets those that have none


def _as_asked(scope: Scope) -> Scope:
    """A request of an agent, which gradio answers by one of its own that has the same headers and comes from this
    machine: it says where the agent's comes from, in place of what the agent may have written.
    """
    others = [(name, value) for name, value in scope["headers"] if name != b"x-forwarded-for"]
    return {**scope, "headers": [*others, (b"x-forwarded-for", origin(scope).encode("latin-1", "replace"))]}


def _page_of_stream(scope: Scope) -> str:
    """Whose page a stream tells what comes of its events, or that the app is there; "" for other requests."""
    match path_of(scope).removeprefix("/gradio_api").strip("/").split("/"):
        case ["queue", "data"]:
            return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        case ["heartbeat", page]:
            return page
        case ["call", *_, _, event] if scope["method"] == "GET":
            known = scope["app"].get_blocks()._queue.event_ids_to_events.get(event)
            return known.session_hash if known else event
    return ""


async def _whole(receive: Receive) -> bytes:
    """A body, whose length has been looked at; what came of it, where the rest never does."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _plain(body: bytes) -> Any:
    """What JSON says; None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _held_by_parts(app: Any, page: str, asked: dict[str, Any]) -> dict[int, list[str]]:
    """Paths of the files that a page sends with an event, by the parts that hold them."""
    states, number, data = app.state_holder, asked.get("fn_index"), asked.get("data")
    drawn = states.session_data[page].blocks_config if page in states else app.get_blocks().default_config
    fn = drawn.fns.get(number) if isinstance(number, int) else None
    if not fn or not isinstance(data, list):
        return {}
    return {part._id: _paths(held) for part, held in zip(fn.inputs, data, strict=False) if isinstance(part, gr.File)}


def _paths(held: Any) -> list[str]:
    """Paths of files as a part holds them, one or several, or as an upload is answered."""
    paths = [one.get("path") if isinstance(one, dict) else one for one in (held if isinstance(held, list) else [held])]
    return [path for path in paths if isinstance(path, str)]


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that has been read, and then what comes after it."""
    left = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return again


def _refusal(scope: Scope, body: bytes) -> JSONResponse | None:
    if body.count(b"[") + body.count(b"{") > BRACKETS:
        return refused(scope, "There are too many lists in it.", 413)
    if (
        len(body) > LEAST_BODY
        and isinstance(asked := _plain(body), dict)
        and len(str(asked.get("session_hash"))) > NAME
    ):
        return JSONResponse({"detail": "No page has so long a name."}, 413)
    address, waiting = origin(scope), list(scope["app"].get_blocks()._queue.event_ids_to_events.values())
    mine = [event for event in waiting if address_of_event(event) == address]
    for events, share in ((waiting, 1), (mine, 2)):
        held = len(body) + sum(map(_size, events))
        if len(events) >= EVENTS // share or held > BODIES * BODY_MB.value * 1_000_000 // share:
            return _too_much(scope)
    return None


def _too_much(scope: Scope) -> JSONResponse:
    return refused(scope, "Too much is asked for at once; try again in a minute.", 429)


def address_of_event(event: Event) -> str:
    """Where an event comes from. Headers are looked through once."""
    known: str | None = vars(event).get("address")
    if known is None:
        client = event.request.client
        known = vars(event)["address"] = address_of(event.request.headers, client.host if client else "")
    return known


def _size(event: Event) -> int:
    """Bytes of its body. Headers are looked through once."""
    known: int | None = vars(event).get("size")
    if known is None:
        length = event.request.headers.get("content-length", "")
        known = vars(event)["size"] = int(length) if length.isdigit() else 0
    return known


def take_turns(queue: Queue, sessions: Sessions) -> None:
    """Let the address that has the fewest events in work be next, and none have more than half of the threads; and let
    nobody who leaves end it for all.
    """
    most = queue.max_thread_count // 2

    def next_events() -> tuple[list[Event], bool, str] | None:
        busy = Counter(address_of_event(event) for events in queue.active_jobs for event in events or ())
        lines = list(queue.event_queue_per_concurrency_id.items())
        random.shuffle(lines)
        for name, line in lines:
            if line.concurrency_limit is not None and line.current_concurrency >= line.concurrency_limit:
                continue
            event = min(line.queue, key=lambda event: busy[address_of_event(event)], default=None)
            if event and busy[address_of_event(event)] < most:
                line.queue.remove(event)
                return [event], False, name
        return None

    send = queue.send_message

    def tell(event: Event, message: Any) -> None:
        lie = queue.pending_messages_per_session.get(event.session_hash)
        if lie is None:
            return  # its page is gone, and an error here would end the thread that hands out all events
        if not sessions.is_open(event.session_hash):
            if isinstance(message, EstimationMessage) and lie.qsize() >= UNTOLD // 10:
                return
            event.alive = event.alive and lie.qsize() < UNTOLD
        send(event, message)

    queue.get_events = next_events  # type: ignore[method-assign]
    queue.send_message = tell  # type: ignore[method-assign,assignment]
    # Made anew at each event, for a page that is closed.
    queue.compute_analytics_summary = lambda records: {}  # type: ignore[method-assign]
    queue.ANALYTICS_MAX_EVENTS = 1


class Messages(dict[str, Any]):
    """What pages have not been told yet, by their hashes. Of too many pages the oldest goes to which nobody listens,
    and so none of those that are open.
    """

    def __init__(self, sessions: Sessions):
        super().__init__()
        self._sessions = sessions

    def __setitem__(self, page: str, messages: Any) -> None:
        if page not in self and len(self) >= STATES:
            self.pop(next((one for one in self if not self._sessions.is_open(one)), page), None)
        super().__setitem__(page, messages)


class _State(SessionState):
    """What a page holds, without the settings of all of its parts, which are for links that are closed."""

    def __init__(self, blocks: gr.Blocks):
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))  # type: ignore[arg-type]

    def __setitem__(self, key: int, value: Any) -> None:
        if isinstance(self.blocks_config.blocks.get(key), State):
            super().__setitem__(key, value)
            self.config_values.clear()
        else:  # gradio would describe the part anew, with the schema of all that it may hold
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


def spare_parts(page: gr.Blocks) -> None:
    """Let an update leave alone what it does not change. gradio makes each part that an event writes to anew with each
    of its updates, those that it leaves as they are too, which takes longer than all else that it does for one.
    """
    whole = page.postprocess_data

    async def spared(block_fn: BlockFunction, predictions: Any, state: SessionState | None) -> list[Any]:
        outputs, values = list(block_fn.outputs), predictions
        if isinstance(values, dict) and (values == gr.skip() or any(isinstance(part, Block) for part in values)):
            values = [values.get(part, gr.skip()) for part in outputs]
        if not isinstance(values, list | tuple) or len(values) != len(outputs) or len(outputs) < 2 or block_fn.batch:
            return await whole(block_fn, predictions, state)
        same = [_same(part, value, state) for part, value in zip(outputs, values, strict=True)]
        rest = [i for i, update in enumerate(same) if update is None]
        if len(rest) == len(outputs):
            return await whole(block_fn, predictions, state)
        found: list[Any] = [*same]
        if rest:
            others = copy(block_fn)
            others.outputs = [outputs[i] for i in rest]
            given = [values[i] for i in rest]
            for i, update in zip(rest, await whole(others, given if len(rest) > 1 else given[0], state), strict=True):
                found[i] = update
        return found

    page.postprocess_data = spared  # type: ignore[method-assign]
    # It looks for matplotlib on the disk twice an update, with which nothing is drawn here.
    utils.MatplotlibBackendMananger = nullcontext  # type: ignore[assignment,misc]


def _same(part: Block, value: Any, state: SessionState | None) -> dict[str, Any] | None:
    """What is sent for an update that changes nothing of a part as its page has it; None for others."""
    if part.stateful or not (utils.is_prop_update(value) or isinstance(value, Block)):
        return None
    asked = value.constructor_args if isinstance(value, Block) else value
    asked = {name: one for name, one in asked.items() if name not in ("__type__", "render")}
    if "value" in asked or (asked and isinstance(part, gr.HTML)):  # for which more is done
        return None
    now = state[part._id].constructor_args if state and part._id in state else {}
    if not all(isinstance(one, bool | int | float | str) and now.get(name) == one for name, one in asked.items()):
        return None
    return {"__type__": "update", **asked}


def fill_in(page: gr.Blocks) -> None:
    """Let who calls an endpoint by hand leave out its last fields, which have their defaults then: a call that was
    written before an endpoint got a field is answered as before. gradio refuses it without a word.
    """
    check = page.validate_inputs

    def filled(block_fn: BlockFunction, inputs: list[Any]) -> None:
        if block_fn.api_visibility == "public":
            inputs.extend(getattr(part, "value", None) for part in block_fn.inputs[len(inputs) :])
        check(block_fn, inputs)

    page.validate_inputs = filled  # type: ignore[method-assign]


def forget_progress() -> None:
    """Free what gradio keeps of each upload that it was ever told the name of, where there are many. One that is on its
    way is noted again with its next part.
    """
    statuses = routes.file_upload_statuses
    if max(len(statuses._signals), len(statuses._statuses)) > WATCHED:
        statuses._signals.clear()
        statuses._statuses.clear()


class States(StateHolder):
    """What pages hold, by their hashes."""

    def __init__(self, page: gr.Blocks):
        super().__init__()
        self.set_blocks(page)
        self.capacity = STATES

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self:
            self.session_data[session_id] = _State(self.blocks)
        return super().__getitem__(session_id)

    def asking(self) -> set[str]:
        """Pages whose events wait or are worked on."""
        queue = self.blocks._queue
        waiting = (event for line in list(queue.event_queue_per_concurrency_id.values()) for event in list(line.queue))
        at_work = (event for events in list(queue.active_jobs) for event in events or ())
        return {event.session_hash for event in (*waiting, *at_work)}

    def forget_unknown(self, sessions: Sessions, asking: Collection[str] = ()) -> None:
        """Free what is kept under names that nobody has used lately, and whose page is gone, or never was one."""
        before = datetime.datetime.now() - datetime.timedelta(seconds=GRACE.value)
        for page, used in list(self.time_last_used.items()):
            if used < before and not sessions.expects(page) and page not in asking:
                self.forget(page)

    def forget(self, page: str) -> None:
        """Free all that is kept of a page that is gone."""
        with self.lock:
            self.session_data.pop(page, None)
            self.time_last_used.pop(page, None)
        queue = self.blocks._queue
        queue.pending_event_ids_session.pop(page, None)
        if page in queue.pending_messages_per_session:
            del queue.pending_messages_per_session[page]
