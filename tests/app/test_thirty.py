"""Thirty who open the link of a class at once, each over a connection of their own."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from caa_core.app.panels.learn.class_file import class_of
from tests.helpers.app import get, post

PEOPLE = 30
GIVEN = {"format": "caa-class", "version": 1, "title": "Ours", "code": "ocean", "key": "a long key"}


@pytest.fixture
def room(tiny_app):
    room = tiny_app.studio.hold(*class_of(GIVEN))
    yield room
    tiny_app.studio.classes.end(room)
    for number in range(PEOPLE):
        tiny_app.studio.sessions.leave(f"pupil {number}")


def come(app, config, number):
    """Load the page, and ask as it does whose it is. Gives what the page is told."""
    assert get(f"{app.url}?class=ocean").status_code == 200
    (enter,) = (fn for fn in app.page.fns.values() if fn.name == "enter" and not fn.rendered_in)
    values = {part["id"]: part["props"].get("value") for part in config["components"]}
    name = f"pupil {number}"
    asked = {"data": [values[part._id] for part in enter.inputs], "fn_index": enter._id, "session_hash": name}
    assert post(f"{app.url}gradio_api/queue/join?class=ocean", json=asked).status_code == 200
    with httpx.stream("GET", f"{app.url}gradio_api/queue/data", params={"session_hash": name}, timeout=300) as lines:
        for line in lines.iter_lines():
            said = json.loads(line.removeprefix("data: ") or "{}")
            if said.get("msg") == "process_completed":
                return said["success"], json.dumps(said["output"])
    raise AssertionError("nothing came of it")


def test_all_are_served_and_counted_once(tiny_app, room):
    config = get(f"{tiny_app.url}config").json()
    with ThreadPoolExecutor(PEOPLE) as threads:
        told = list(threads.map(lambda number: come(tiny_app, config, number), range(PEOPLE)))
    assert all(success and "**Ours.**" in output for success, output in told)
    assert len(room.parts) == PEOPLE
    # They are thirty people, none of whom has another's things.
    sessions = [tiny_app.studio.session(f"pupil {number}") for number in range(PEOPLE)]
    assert len({session.person.key for session in sessions}) == PEOPLE
    come(tiny_app, config, 0)
    assert len(room.parts) == PEOPLE
