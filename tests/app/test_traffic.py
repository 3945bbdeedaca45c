"""One who asks for as much as they can, and others who are served meanwhile; what goes on when nobody listens."""

import datetime
import http.client
import json
import select
from asyncio import Queue as AsyncQueue
from contextlib import contextmanager, nullcontext
from urllib.parse import urlparse

import gradio as gr
import httpx
import pytest
from gradio import routes, utils
from gradio.queueing import Event, EventQueue
from gradio.server_messages import EstimationMessage, ProcessStartsMessage
from gradio.state_holder import SessionState
from starlette.requests import Request

from app import sweep
from caa_core.app import traffic
from caa_core.app.sessions import Sessions
from tests.helpers.app import get
from tests.helpers.waiting import ran, until

STRANGER, SCHOOL, SOMEBODY = "203.0.113.9", "198.51.100.1", "192.0.2.7"


@pytest.fixture
def app(tiny_app, monkeypatch):
    """Open to strangers, behind one proxy."""
    monkeypatch.setenv("CAA_PUBLIC", "1")
    monkeypatch.setenv("CAA_PROXIES", "1")
    return tiny_app


class Visitor:
    """Somebody who writes requests by hand."""

    def __init__(self, app, address):
        self.app, self.address = app, address
        self.client = httpx.Client(
            base_url=f"{app.url}gradio_api/", timeout=300, headers={"X-Forwarded-For": f"6.6.6.6, {address}"}
        )

    def number(self, endpoint):
        (number,) = (number for number, fn in self.app.page.fns.items() if fn.api_name == endpoint)
        return number

    def join(self, endpoint, data, page):
        """Ask for something, as a page does. Gives the status of the answer."""
        asked = {"data": data, "fn_index": self.number(endpoint), "session_hash": page}
        return self.client.post("queue/join", json=asked).status_code

    def steer(self, page):
        return self.join("steer", ["Hi", ["joy:1:0"], None, "", "all", 2, 0, 0, "", False], page)

    @contextmanager
    def stream(self, page):
        with self.client.stream("GET", "queue/data", params={"session_hash": page}) as stream:
            yield (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))

    def last(self, page):
        """What the page is told in the end."""
        with self.stream(page) as messages:
            return next(message for message in messages if message["msg"] == "process_completed")


def readable(connection):
    return bool(connection.sock and select.select([connection.sock], [], [], 0)[0])


def jobs_of(app, address):
    pages = list(app.studio.sessions._pages.values())
    return sum(len(session.running) for session in pages if session.address == address)


def test_a_flood_leaves_room_for_a_class_and_for_the_page(app):
    stranger, school, somebody = (Visitor(app, address) for address in (STRANGER, SCHOOL, SOMEBODY))
    with app.holding() as go_on:
        for number in range(220):
            assert stranger.steer(f"flood {number}") == 200
        for number in range(30):
            assert school.steer(f"pupil {number}") == 200
        until(lambda: jobs_of(app, SCHOOL) == 30)
        assert jobs_of(app, STRANGER) == 40
        # The page answers, and a place is left for who comes.
        assert get(app.url).status_code == 200
        asked_of = {fn.api_name: [part.elem_id for part in fn.inputs] for fn in app.page.fns.values()}
        name = next(name for name, inputs in asked_of.items() if inputs == ["steer-vector", None, "steer-before"])
        assert somebody.join(name, ["joy", None, ""], "reader") == 200
        assert somebody.last("reader")["success"]
        assert somebody.steer("guest") == 200
        until(lambda: jobs_of(app, SOMEBODY) == 1)
        go_on()
        for number in range(30):
            assert school.last(f"pupil {number}")["success"]
        until(lambda: app.jobs == 0)


def test_a_call_ends_when_its_stream_is_closed_or_it_is_cancelled(app):
    somebody = Visitor(app, SOMEBODY)
    with app.holding():
        for page in ("closed", "cancelled"):
            assert somebody.steer(page) == 200
            with somebody.stream(page) as messages:
                event = next(message["event_id"] for message in messages if message["msg"] == "process_starts")
                until(lambda: app.jobs == 1)
                if page == "cancelled":
                    asked = {"session_hash": page, "event_id": event, "fn_index": somebody.number("steer")}
                    assert somebody.client.post("cancel", json=asked).status_code == 200
                    until(lambda: app.jobs == 0)
            until(lambda: app.jobs == 0)


def test_what_waits_for_one_address_has_a_bound_in_number_and_bytes(app, monkeypatch):
    stranger, somebody = Visitor(app, STRANGER), Visitor(app, SOMEBODY)
    with app.holding():
        assert stranger.steer("first") == 200
        # What others asked for before is done with.
        until(lambda: jobs_of(app, STRANGER) == len(app.page._queue.event_ids_to_events) == 1)
        monkeypatch.setattr(traffic, "EVENTS", 2)
        assert stranger.steer("second") == 429 and somebody.steer("third") == 200
        monkeypatch.setattr(traffic, "EVENTS", 1000)
        monkeypatch.setenv("CAA_MAX_BODY_MB", "1")
        monkeypatch.setattr(traffic, "BODIES", 1)
        long = ["x" * 600_000, ["joy:1:0"], None, "", "all", 2, 0, 0]
        assert stranger.join("steer", long, "fourth") == 429
    until(lambda: app.jobs == 0)
    monkeypatch.setattr(traffic, "BODIES", 8)
    lists = stranger.client.post("queue/join", content=b'{"data":[' + b"[]," * 200_000 + b"[]]}")
    assert lists.status_code == 413
    assert stranger.steer("a long name " * 3_000) == 413


def test_what_is_on_its_way_from_one_address_has_a_bound(app, monkeypatch):
    """Bodies that are announced and never come to their end."""
    monkeypatch.setenv("CAA_MAX_BODY_MB", "1")
    monkeypatch.setattr(traffic, "BODIES", 4)
    begun = []

    def begin(address):
        connection = http.client.HTTPConnection(urlparse(app.url).netloc, timeout=300)
        connection.putrequest("POST", "/gradio_api/queue/join")
        for name, value in {"Content-Length": "900000", "X-Forwarded-For": address}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(b"x" * 1000)
        begun.append(connection)
        return connection

    begin(STRANGER), begin(STRANGER)
    # The third may be looked at before the others.
    until(lambda: begin(STRANGER).sock and any(readable(one) for one in begun))
    assert {one.getresponse().status for one in begun if readable(one)} == {429}
    begin(SCHOOL), begin(SCHOOL)
    somebody, long = Visitor(app, SOMEBODY), ["x" * 600_000, ["joy:1:0"], None, "", "all", 2, 0, 0]
    until(lambda: somebody.join("steer", long, "large") == 429)
    assert somebody.steer("beside") == 200  # what is small, though they take all that there is
    for connection in begun:
        connection.close()
    until(lambda: Visitor(app, STRANGER).join("steer", long, "after") == 200)
    monkeypatch.setattr(traffic, "SECONDS_TO_COME", 0)
    assert begin(SOMEBODY).getresponse().status == 408


def test_how_far_an_upload_is_says_a_few_streams_and_its_name_is_not_kept(app, monkeypatch):
    monkeypatch.setattr(traffic, "WATCHED", 2)
    stranger = Visitor(app, STRANGER)
    begun = http.client.HTTPConnection(urlparse(app.url).netloc, timeout=300)
    begun.putrequest("POST", "/gradio_api/upload?upload_id=slow")
    kind = "multipart/form-data; boundary=b"
    for name, value in {"Content-Type": kind, "Content-Length": "1000", "X-Forwarded-For": STRANGER}.items():
        begun.putheader(name, value)
    begun.endheaders()
    statuses = routes.file_upload_statuses
    until(lambda: "slow" in statuses._statuses)
    with stranger.client.stream("GET", "upload_progress", params={"upload_id": "slow"}) as first:
        assert first.status_code == 200
        assert stranger.client.get("upload_progress", params={"upload_id": "slow"}).status_code == 429
    begun.close()
    for number in range(3):
        statuses.track(f"made up {number}")
    traffic.forget_progress()
    assert not statuses._signals and not statuses._statuses


def test_one_address_has_half_of_the_threads_and_who_has_fewest_is_next():
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None, concurrency_limit=None)
    queue, (fn,) = blocks.queue()._queue, blocks.fns.values()
    queue.max_thread_count, queue.active_jobs = 6, [None] * 6
    line = queue.event_queue_per_concurrency_id["any"] = EventQueue("any", None)

    def asks(address):
        request = Request({"type": "http", "method": "POST", "headers": [], "client": (address, 1)})
        line.queue.append(Event("page", fn, request, None))

    for address in [STRANGER] * 9 + [SCHOOL] * 2 + [SOMEBODY]:
        asks(address)
    states = traffic.States(blocks)
    assert states.asking() == {"page"}
    states["page"]
    states.time_last_used["page"] = datetime.datetime.min
    states.forget_unknown(Sessions(), states.asking())
    assert "page" in states
    traffic.take_turns(queue, Sessions())
    queue.broadcast_estimations("any")  # to pages that are gone
    came = []
    while found := queue.get_events():
        queue.active_jobs[len(came)] = found[0]
        came.append(traffic.address_of_event(found[0][0]))
    assert came == [STRANGER, SCHOOL, SOMEBODY, STRANGER, SCHOOL, STRANGER]
    queue.active_jobs[4] = None
    assert queue.get_events() is None and len(line.queue) == 6
    line.queue.clear()
    assert states.asking() == {"page"}
    queue.active_jobs = [None]
    states.forget_unknown(Sessions(), states.asking())
    assert "page" not in states


@pytest.mark.parametrize("listens", [False, True])
def test_what_nobody_has_ever_listened_to_does_not_pile_up(listens):
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None)
    queue, (fn,), sessions = blocks.queue()._queue, blocks.fns.values(), Sessions()
    traffic.take_turns(queue, sessions)
    sessions.listens("page", int(listens))
    lie = queue.pending_messages_per_session["page"] = AsyncQueue()
    request = Request({"type": "http", "method": "POST", "headers": [], "client": (STRANGER, 1)})
    event = Event("page", fn, request, None)
    for message in (EstimationMessage(queue_size=1), ProcessStartsMessage()):
        for _ in range(200):
            queue.send_message(event, message)
    assert (event.alive, lie.qsize()) == ((True, 400) if listens else (False, traffic.UNTOLD))


def test_of_too_many_pages_those_that_are_open_keep_what_they_are_told(clock, monkeypatch):
    monkeypatch.setattr(traffic, "STATES", 3)
    sessions = Sessions(clock=clock)
    messages = traffic.Messages(sessions)
    sessions.listens("open", 1)
    for page in ("open", "first", "second", "third", "open", "fourth"):
        messages[page] = page
    assert [*messages] == ["open", "third", "fourth"]


def test_a_page_that_was_seen_once_costs_little_and_is_forgotten(app, monkeypatch):
    states = app.page.app.state_holder
    visitor = Visitor(app, SOMEBODY)
    visitor.join("steer", ["Hi", [], None, "", "all", 2, 0, 0], "seen once")
    until(lambda: "seen once" in states)
    assert not states.session_data["seen once"].config_values
    sweep(app.studio, app.page)
    assert "seen once" in states  # it may come back
    visitor.last("seen once")  # what still ran for it would be a page anew
    monkeypatch.setenv("CAA_GRACE_SECONDS", "0")

    def forgotten() -> bool:
        app.studio.sessions.leave("seen once")
        sweep(app.studio, app.page)
        return "seen once" not in states

    until(forgotten)
    # What its browser says last comes after it was forgotten.
    assert states["seen once"] and "seen once" in states
    until(forgotten)
    assert "seen once" not in app.page._queue.pending_messages_per_session


def test_an_update_leaves_alone_what_it_does_not_change():
    """What is sent is what gradio sends; but only parts that change are made anew."""
    with gr.Blocks() as page, gr.Blocks() as plain:
        pass
    parts = {}
    for blocks in (page, plain):
        with blocks:
            text, said, go, other = gr.Textbox("a"), gr.HTML("b"), gr.Button("c"), gr.Button("d", interactive=False)
            go.click(lambda: None, None, [text, said, go, other])
        parts[blocks] = text, said, go, other
    traffic.spare_parts(page)
    states = {blocks: SessionState(blocks) for blocks in parts}

    def updated(blocks, *values):
        (fn,) = blocks.fns.values()
        by_part = {part: value for part, value in zip(parts[blocks], values, strict=True) if value is not None}
        found = ran(blocks.postprocess_data(fn, by_part, states[blocks]))
        found[1].pop("props", None)  # where gradio names the kind of update again for HTML
        return found, [states[blocks].blocks_config.blocks[part._id] for part in parts[blocks]]

    before, _ = (updated(blocks, "x", None, None, None)[1] for blocks in (page, plain))
    for values, made in [
        (lambda: ("y", None, None, None), set()),
        (lambda: ("y", gr.skip(), gr.update(visible=False), gr.Button(interactive=False)), {2}),
        (lambda: ("y", None, gr.update(visible=False), gr.Button(interactive=True)), {3}),
        (lambda: (gr.update(value="w", lines=2), gr.update(visible=False), gr.update(visible=True), None), {0, 1, 2}),
    ]:
        (found, after), (expected, _) = updated(page, *values()), updated(plain, *values())
        assert found == expected
        assert {i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old is not new} == made
        before = after
    (fn,) = page.fns.values()
    assert ran(page.postprocess_data(fn, gr.skip(), states[page])) == [gr.skip()] * 4


def test_an_update_looks_for_no_library_that_is_not_there():
    with gr.Blocks() as page:
        pass
    traffic.spare_parts(page)
    assert utils.MatplotlibBackendMananger is nullcontext
