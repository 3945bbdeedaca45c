"""An experiment on the page: what its run, stop, error and reload do, on one that takes no model's time."""

import contextlib
from collections.abc import Generator, Mapping
from typing import Any

import gradio as gr
import pytest

from caa_core.app.panels.common import properties
from caa_core.app.panels.experiment import Cache, Experiment, Plain, Run
from caa_core.app.panels.made_with import NOT_KNOWN
from caa_core.app.panels.page import Page
from caa_core.app.panels.steer import tab as steer
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.metrics.grid import whole
from caa_core.progress import Progress
from tests.helpers.holding import holding


class Counting(Experiment[int]):
    """Counts up to a number, which is typed; even counts are known by and by."""

    name = "counting"
    cache = Cache("counting-known", most=2)
    aside = ("way",)
    unreadable = "The count that was kept cannot be read."

    def __init__(self, page: Page):
        self.number, self.file = gr.Textbox("3"), gr.File()
        self.start, stop, self.status, self.count = gr.Button(), gr.Button(), gr.Markdown(), gr.Markdown()
        self.way = gr.Radio(["in words", "as a list"], value="in words")
        form = {"to": self.number, "file": self.file, "way": self.way}
        super().__init__(page, form, [self.start], stop, self.status, [self.count])
        self.shown_by(self.way, [self.count], lambda _, kept, way: {self.count: f"{way}: {kept['count']}"})

    def ask(self, session, form: Mapping[str, Any]) -> int:
        return whole(form["to"], "The number")

    def work(self, model, session, asked: int, known: dict[str, Any]) -> Generator[Progress | Plain, None, Plain]:
        if asked == 13:
            raise InputError("Not that far.")
        for i in range(1, asked + 1):
            yield Progress(asked, "counts", asked, i, i)
            known[str(i)] = i
            if i % 2 == 0:
                yield {"count": i}
        return {"count": asked}

    def show(self, session, kept: Plain, form: Mapping[str, Any]):
        return {self.count: f"{kept['count']}, asked for {form.get('to')}"}

    def files(self, session, kept: Plain):
        return {self.count: f"{kept['count']} to its end"}

    def ended(self, run: Run[int], stopped: bool) -> str:
        return f"{'Stopped' if stopped else 'Done'} at {run.found['count'] if run.found else 'nothing'}"


@pytest.fixture(scope="module")
def studio(tiny_folder):
    return Studio(tiny_folder, say=lambda _: None)


@pytest.fixture
def drawn(studio):
    with gr.Blocks() as blocks:
        page = Page(studio, blocks, gr.Markdown(), gr.State(0), steer.controls(studio), gr.State(0))
        return blocks, Counting(page)


ASKING = gr.Request(session_hash="somebody")


def handler(blocks, name):
    (found,) = {fn.fn for fn in blocks.fns.values() if fn.name == name}
    return found


def test_a_run_says_how_far_it_is_and_keeps_what_it_found(drawn, studio):
    _, counting = drawn
    updates = list(counting.run(ASKING, "3", None, "in words"))
    assert updates[0][counting.status] == "Waiting for the model ..." and not updates[0][counting.start].interactive
    assert (updates[-1][counting.status], updates[-1][counting.count]) == ("Done at 3", "3 to its end")
    person = studio.session("somebody").person
    assert person.results["counting"] == {"asked": {"to": "3", "file": None, "way": "in words"}, "count": 3}
    assert person.results["counting-known"] == {"2": 2, "3": 3}


def test_what_came_before_a_stop_stays(drawn, studio):
    _, counting = drawn
    with holding(studio, 8):
        updates = counting.run(ASKING, "1000000", "a file", "in words")
        while not any("asked for 1000000" in str(update.get(counting.count)) for update in [next(updates)]):
            pass
        studio.session("somebody").stop("counting")
        last = list(updates)[-1]
    kept = studio.session("somebody").person.results["counting"]
    assert last[counting.status] == f"Stopped at {kept['count']}" and kept["count"] < 1000000
    assert kept["asked"]["to"] == "1000000"


@pytest.mark.parametrize(("typed", "said"), [("three", "The number must be a number"), ("13", "Not that far")])
def test_an_error_is_said_and_what_was_kept_stays(drawn, studio, typed, said):
    _, counting = drawn
    list(counting.run(ASKING, "2", None, "in words"))
    updates = []
    with pytest.raises(gr.Error, match=said):
        updates.extend(counting.run(ASKING, typed, None, "in words"))
    assert updates[-1][counting.status].startswith(f"**That did not work.** {said}")
    assert studio.session("somebody").person.results["counting"]["count"] == 2


def test_the_button_is_freed_after_success_and_after_failure(drawn):
    blocks, counting = drawn
    (run,) = [fn for fn in blocks.fns.values() if fn.name == "run"]
    after = [fn for fn in blocks.fns.values() if fn.trigger_after == run._id and counting.start in fn.outputs]
    assert {fn.trigger_only_on_failure for fn in after} == {False, True}
    freed = [fn.fn() for fn in after]
    assert all(properties(parts[counting.start])["interactive"] for parts in freed)
    assert not any(properties(parts[counting.stop_button])["interactive"] for parts in freed)
    assert not any(fn.queue for fn in after)


def test_a_reload_shows_the_result_and_fills_in_the_form(drawn, studio, tmp_path):
    blocks, counting = drawn
    assert counting.restore(gr.Request(session_hash="nobody")) == {}
    (tmp_path / "numbers").touch()
    list(counting.run(ASKING, "4", str(tmp_path / "numbers"), "in words"))
    shown = counting.restore(ASKING)
    assert (shown[counting.number], shown[counting.file]) == ("4", str(tmp_path / "numbers"))
    assert shown[counting.count] == "4 to its end" and "Made with these settings" in shown[counting.made]
    assert handler(blocks, "again")(ASKING, "as a list") == {counting.count: "as a list: 4"}
    # A file that is gone is not filled in, which is said.
    (tmp_path / "numbers").unlink()
    assert counting.file not in counting.restore(ASKING)
    studio.session("somebody").person.results["counting"] = {"another": "form"}
    with pytest.raises(gr.Error, match="The count that was kept cannot be read"):
        counting.restore(ASKING)


class Numbers(list):
    """Numbers that count how often they are gone through."""

    through = 0

    def __iter__(self):
        type(self).through += 1
        return super().__iter__()


class Gathering(Counting):
    """What it knows is long."""

    name = "gathering"
    cache = Cache("gathering-known", most=99)

    def work(self, model, session, asked: int, known: dict[str, Any]) -> Generator[Progress | Plain, None, Plain]:
        for count in range(1, asked + 1):
            known[str(count)] = Numbers([count])
            yield {"count": count}
        if asked == 13:
            raise InputError("Not that far.")
        return {"count": asked}


@pytest.mark.parametrize("to", [8, 13])
def test_what_is_known_is_gone_through_once_however_many_parts_come_and_however_it_ends(studio, to):
    with gr.Blocks() as blocks:
        gathering = Gathering(Page(studio, blocks, gr.Markdown(), gr.State(0), steer.controls(studio), gr.State(0)))
    Numbers.through = 0
    asking = gr.Request(session_hash=f"gathering {to}")
    with contextlib.suppress(gr.Error):
        list(gathering.run(asking, str(to), None, "in words"))
    results = studio.session(f"gathering {to}").person.results
    assert results["gathering"]["count"] == len(results["gathering-known"]) == to
    assert Numbers.through == 2 * to, "once to be kept, and once to be weighed"


def test_a_result_is_marked_as_soon_as_something_else_is_chosen(drawn, studio):
    _, counting = drawn
    session = studio.session("another")
    assert counting.look(session, ["4", None, "in words"]) == ""
    list(counting.run(gr.Request(session_hash="another"), "4", "/some/where/<i>numbers", "in words"))
    for same in (["4", "/some/where/<i>numbers", "in words"], ["4 ", "/some/where/<i>numbers", "as a list"]):
        assert "Made with these settings" in counting.look(session, same)
    said = counting.look(session, ["5", None, "in words"])
    assert "Made with other settings: to <b>4</b>, now 5; file <b>&lt;i&gt;numbers</b>, now none" in said
    # What is not known any more is not taken for what is chosen now.
    session.person.results["counting"].pop("asked")
    assert NOT_KNOWN in counting.restore(gr.Request(session_hash="another"))[counting.made]


def test_what_is_known_is_kept_beside_what_came_meanwhile():
    person, cache = Person(), Cache("known", most=3)
    cache.keep(person, {"a": 1, "b": 2})
    here = cache.of(person)
    cache.keep(person, {"c": 3})
    cache.keep(person, {**here, "d": 4})
    assert cache.of(person) == {"a": 1, "b": 2, "d": 4}
    person.results["known"] = "nothing of ours"
    assert cache.of(person) == {}
