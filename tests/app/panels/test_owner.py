"""The screen of who runs the app: behind its key, in counts, with the means to stop a job and to let nobody new in."""

import itertools

import gradio as gr
import pytest

from app import kept_how_long
from caa_core.app.keys.tries import Tries
from caa_core.app.library import Library
from caa_core.app.panels.hosting.owner import STOPPED
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.progress import Progress
from tests.helpers.handlers import Handlers

KEY = "a long key"


def endless():
    while True:
        yield Progress(1, "steps", 1)


@pytest.fixture
def owner(studio, blocks, monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    monkeypatch.setenv("CAA_OWNER_KEY", KEY)
    monkeypatch.setattr(studio, "owner", Tries(itertools.count(step=100).__next__))  # nobody waits here
    page = Handlers(studio, blocks, "the owner")
    page.call("enter", "owner-counts", owner_key=KEY)
    yield page
    studio.sessions.closed = False


def test_nothing_of_it_is_shown_or_done_without_the_key(studio, blocks, monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    assert not Handlers(studio, blocks, "nobody").parts["owner"].visible
    monkeypatch.setenv("CAA_OWNER_KEY", KEY)
    page = Handlers(studio, blocks, "a stranger")
    assert page.parts["owner"].visible
    with pytest.raises(gr.Error, match="only its owner may see who is here"):
        page.call("enter", "owner-counts", owner_key="guess")
    for name, output, value in (
        ("look", "owner-counts", {}),
        ("stop", "owner-jobs", {}),
        ("close", "owner-closed", {}),
    ):
        with pytest.raises(gr.Error, match="Give the owner's key first"):
            page.call(name, output, **value)
    assert not page["owner-counts"] and not studio.sessions.closed


def test_who_is_here_is_said_in_counts_and_a_job_is_stopped(studio, owner):
    somebody = studio.session("somebody")
    job = studio.run(lambda model: endless(), somebody)
    events = somebody.follow("measure", job)
    next(events)
    owner.call("look", "owner-counts")
    assert "Jobs: **1**" in owner["owner-counts"] and "somebody" not in owner["owner-counts"]
    ((label, number),) = owner.properties[owner.parts["owner-jobs"]]["choices"]
    assert label.startswith("measure, ")
    with pytest.raises(gr.Error, match="Choose a job that runs"):
        owner.call("stop", "owner-jobs", owner_jobs="1")
    owner.call("stop", "owner-jobs", owner_jobs=number)
    with pytest.raises(InputError, match=STOPPED):
        list(events)


def test_nobody_new_is_let_in_and_who_is_here_goes_on(studio, owner):
    here = Handlers(studio, owner.page, "here before")
    here.call("enter", "class-line")
    key = here.session.person.key
    owner.call("close", "owner-closed", owner_closed=True)
    new = Handlers(studio, owner.page, "new")
    with pytest.raises(gr.Error, match="lets nobody new in"):
        new.run("run", "steer-status", steer_layer=1)
    # Also after a reload, as a page whose first questions come before it is known whose it is.
    again = Handlers(studio, owner.page, "here again")
    studio.session("here again")
    assert studio.sessions.enter("here again", key) == key
    again.run("run", "steer-status", steer_layer=1)
    assert "wrote" in again["steer-status"]
    owner.call("close", "owner-closed", owner_closed=False)
    new.run("run", "steer-status", steer_layer=1)
    assert "wrote" in new["steer-status"]


def test_what_is_kept_is_said_in_one_sentence(studio, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CAA_GRACE_SECONDS", "300")
    assert "kept for 5 minutes after you have left, or 6 hours unused" in kept_how_long(studio)
    with_library = Studio(tiny_folder, say=lambda _: None, library=Library(tmp_path))
    assert "in this app's library until you delete it" in kept_how_long(with_library)
    with_library.sessions.end()
