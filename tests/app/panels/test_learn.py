"""Learn: predictions that are kept, checks of runs on the tiny model, and lessons that somebody brings."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest

from caa_core.app.panels.learn.lesson import BUILT_IN, MOST_BYTES, STEPS, built_in, lesson_of, read_lesson
from caa_core.app.panels.learn.readings import CHECKS, repeated
from caa_core.app.panels.learn.record import lesson_of_person, record_of
from caa_core.app.panels.learn.tab import Learn
from caa_core.errors import InputError
from caa_core.metrics.by_item import ByItem, Item, SteeredItems
from caa_core.metrics.plain_data import plain
from tests.helpers.handlers import Handlers
from tests.helpers.places import ROOT
from tests.helpers.results import contest

# What a run takes besides what its step asks for, so that it is soon done.
SMALL = {
    "views": {},
    "generate-compare": {"limit": 12, "layers": "0,1"},
    "steer": {"max_new_tokens": 12, "multiplier": 4.0},
    "measure": {"layers": "1", "multipliers": "1,2", "limit": 8},
    "compete-verdict": {"second_voices": 0},
    "compete-reasoning": {"tokens": 8},
}


@pytest.fixture
def page(studio, blocks, request):
    return Handlers(studio, blocks, request.node.name)


def learn_of(page):
    (tab,) = {fn.fn.__self__ for fn in page.blocks.fns.values() if isinstance(getattr(fn.fn, "__self__", None), Learn)}
    return tab


def go_to(page, step):
    page.call("begin_anew", "learn-score")
    for _ in range(step):
        page.call("step_on", "learn-score")


def filled(page, step):
    """Fill in a step's experiment as its button does, and give it."""
    learn_of(page).fill_in(page.request, 0)
    experiment = page.experiment(step.how.experiment)
    first = next(iter(experiment._refilled_parts().values()))
    (heard,) = [fn for fn in page.blocks.fns.values() if fn.name == "filled" and fn.outputs[0] is first]
    page._hold(heard.fn(page.request), heard.outputs)
    return experiment


def run(page, step, **more):
    experiment = filled(page, step)
    page.held.update({experiment.form[name]: value for name, value in more.items()})
    *_, last = page.start(experiment)
    assert "did not work" not in str(last.get(experiment.status)), last[experiment.status]


def test_the_lesson_that_ships_is_whole():
    lesson = built_in()
    assert len(lesson.steps) == 8 and lesson_of(json.loads(BUILT_IN.read_text())) == lesson
    assert {step.check for step in lesson.steps} == {*CHECKS}
    for step in lesson.steps:
        assert {choice.when for choice in step.choices} == {*step.how.outcomes}, step.title
        texts = (step.text, step.do, step.conclude, step.beyond, *step.hints)
        assert all(len(one) <= 160 for text in texts for one in text.split("\n\n"))
    # One whose honest answer may be that there is no effect, beside vectors that mean nothing.
    assert any(choice.when == "none" for step in lesson.steps if step.check == "verdict" for choice in step.choices)


def test_what_a_lesson_takes_is_written_down():
    told = (ROOT / "docs" / "lessons.md").read_text()
    rows = {row.split("`")[1]: row for row in told.splitlines() if row.startswith("| `")}
    assert rows.keys() == CHECKS.keys()
    assert all(f"`{outcome}`" in rows[name] for name, check in CHECKS.items() for outcome in check.outcomes)
    assert len(lesson_of(json.loads(told.partition("```json")[2].partition("```")[0])).steps) == 1


def test_a_prediction_is_asked_first_and_kept(page):
    assert not page["learn-result"] and not page.can_be_pressed(page.parts["learn-go"])
    assert page.session.person.has_nothing
    page.run("run", "steer-status")  # a run alone shows nothing
    go_to(page, 3)
    assert "4. Add it" in page["learn-text"] and not page["learn-result"] and not page["learn-conclude"]
    with pytest.raises(Exception, match="Choose an answer first"):
        page.call("keep_prediction", "learn-result", learn_choice=None)
    page.call("keep_prediction", "learn-result", learn_choice=1)
    assert "It says something else" in page["learn-result"] and "Checked on your own run" in page["learn-result"]
    assert "You may conclude" in page["learn-conclude"] and "You may not" in page["learn-conclude"]
    # The first counts, also after a reload, in the step where the person was.
    page.call("keep_prediction", "learn-result", learn_choice=0)
    again = page.reloaded()
    assert "4. Add it" in again["learn-text"] and again["learn-choice"] == 1
    assert again["learn-result"] == page["learn-result"]
    assert (
        again.properties[again.parts["learn-choice"]].get("interactive", again.parts["learn-choice"].interactive)
        is False
    )
    again.call("step_back", "learn-score")
    assert "3. The mean" in again["learn-text"] and again["learn-choice"] is None
    # A choice stays when the same step is drawn once more, as gradio's list of steps asks for when it has moved.
    again.held[again.parts["learn-choice"]] = 1
    again.call("look_again", "learn-score")
    assert again["learn-choice"] == 1
    again.call("begin_anew", "learn-score")
    assert again["learn-choice"] is None


@pytest.mark.parametrize("number", range(8))
def test_each_check_looks_at_the_run_and_tells_a_true_prediction_from_a_false_one(page, number):
    step = built_in().steps[number]
    go_to(page, number)
    page.call("keep_prediction", "learn-result", learn_choice=0)
    assert "Nothing yet" in page["learn-result"] and not page["learn-conclude"]
    run(page, step, **SMALL[step.how.experiment])
    page.call("look_again", "learn-result")
    found = record_of(page.session.person, built_in()).outcomes.get(number)
    assert found and found.own, page["learn-result"]
    assert step.how.outcomes[found.outcome] in page["learn-result"]
    scores = set()
    for choice, one in enumerate(step.choices):
        go_to(page, number)
        page.call("keep_prediction", "learn-result", learn_choice=choice)
        came_true = re.search(r"(\d) came true", page["learn-score"])[1] == "1"
        assert came_true == (one.when == found.outcome)
        scores.add(came_true)
    assert scores == {True, False}


def test_the_form_holds_what_a_step_asks_for(page):
    go_to(page, 5)
    page.call("keep_prediction", "learn-result", learn_choice=0)
    filled(page, built_in().steps[5])
    assert page["measure-questions"] is True and page["measure-multipliers"] == "-1,1"
    # On a model of few layers that is the one that is recommended there.
    assert page["measure-layers"] == str(page.studio.model.num_layers * 2 // 5)
    assert page["learn-go"] and page.held[learn_of(page).places] == "measure,measure-layers-tab"


def test_a_run_of_something_else_does_not_count(page):
    step = built_in().steps[4]
    go_to(page, 4)
    page.call("keep_prediction", "learn-result", learn_choice=0)
    run(page, step, **SMALL["measure"], vector="gloom", preset="gloom")
    page.call("look_again", "learn-result")
    assert "Your latest run there is of something else" in page["learn-result"] and not page["learn-conclude"]


def test_what_came_out_stays_when_the_tab_has_run_something_else(page):
    go_to(page, 3)
    page.call("keep_prediction", "learn-result", learn_choice=0)
    run(page, built_in().steps[3], max_new_tokens=8, multiplier=0.0)
    page.call("look_again", "learn-result")
    assert "The same words" in page["learn-result"]
    run(page, built_in().steps[3], max_new_tokens=8, vector="gloom")
    page.call("look_again", "learn-result")
    assert "The same words" in page["learn-result"] and "Checked on your own run" in page["learn-result"]
    go_to(page, 3)  # after beginning anew it is forgotten, with the predictions
    page.call("keep_prediction", "learn-result", learn_choice=0)
    assert "Nothing yet" in page["learn-result"]


@pytest.mark.parametrize(
    ("check", "kept"),
    [("lens", {}), ("one-pair", {"cosines": []}), ("answers", {"exchanges": []}), ("thinking", {"arms": None})],
)
def test_what_cannot_be_read_says_nothing(check, kept):
    found = CHECKS[check].reading(kept)
    assert not found.outcome and "cannot be read" in found.said


def measured(times, prompts=8, spread=0.0, best=True):
    """A run of Measure in which twice the multiplier costs four times as much and does so many times as much."""
    one = np.linspace(0.2, 0.6, prompts)
    changes = {1.0: one, 2.0: times * one + spread * np.cos(np.arange(prompts) * np.pi)}
    items = tuple(Item(i, i, f"{i}?", "yes", "no") for i in range(prompts))
    cells = tuple(SteeredItems(3, m, tuple(values.tolist())) for m, values in changes.items())
    found = {"cells": [{"layer": 3, "multiplier": m, "kl": 0.1 * m**2} for m in changes]}
    found |= {"best": {"layer": 3} if best else None, "by_item": plain(ByItem(items, (0.0,) * prompts, cells))}
    return {"found": found}


@pytest.mark.parametrize(
    ("run_of", "outcome", "said"),
    [
        (measured(2.0), "cost", "change +0.40 and +0.80, cost 0.10 and 0.40 nats (× 4.0)"),
        (measured(6.0), "effect", "95% interval +0."),
        (measured(-2.0), "cost", "is -2.40 off"),
        # The means alone would say that the cost grows more.
        (measured(3.5, spread=3.0), "alike", "(95% interval -"),
        (measured(2.0, prompts=7), "", "Not judged: 7 prompts are too few for a verdict, which takes at least 8."),
        (measured(2.0, best=False), "", "run it to its end"),
    ],
)
def test_what_grows_more_is_said_with_an_interval(run_of, outcome, said):
    found = CHECKS["price"].reading(run_of)
    assert found.outcome == outcome and said in found.said


def test_dominance_is_said_of_a_contest_alone():
    run_of = {**contest(count=8), "contest": True}
    assert " D = 0.50" in CHECKS["contest"].reading(run_of).said
    found = CHECKS["contest"].reading({**run_of, "contest": False})
    assert found.outcome == "none" and "D = " not in found.said


def test_repeating_is_counted_in_runs_of_four_words():
    assert repeated("a b c d") == repeated("too short") == 0
    assert repeated("a b c d a b c d a b c d") == pytest.approx(5 / 9)


@pytest.fixture
def own():
    """A teacher's lesson of two steps."""
    data = copy.deepcopy(dict(built_in().data))
    return {**data, "title": "Ours <b>bold</b>", "steps": data["steps"][3:5]}


def bring(page, folder, data):
    path = folder / "lesson.json"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    page.call("load", "learn-said", learn_file=str(path))
    again(page)
    return page["learn-said"]


def again(page):
    """Draw the lesson as it is drawn when another one was loaded."""
    page._hold(learn_of(page).restore(page.request), learn_of(page).whole)


def test_a_lesson_of_ones_own_is_loaded_shown_letter_by_letter_and_kept(page, tmp_path, own):
    page.call("keep_prediction", "learn-result", learn_choice=1)
    own["steps"][0]["text"] = "<img src=x onerror=alert(1)>\n\n[there](http://example.com) *so*"
    bring(page, tmp_path, own)
    assert r"\<b\>bold" in page["learn-about"] and "1. Add it" in page["learn-text"]
    assert r"\<img src=x" in page["learn-text"] and r"\[there\]" in page["learn-text"]
    steps = learn_of(page).marks
    assert [page.properties[mark]["visible"] for mark in steps] == [True] * 2 + [False] * (STEPS[1] - 2)
    page.call("keep_prediction", "learn-result", learn_choice=0)
    page.call("step_on", "learn-score")
    page.call("step_on", "learn-score")  # there are no more
    later = page.reloaded()
    assert "2. Layer, multiplier" in later["learn-text"] and "1 of 2 predicted" in later["learn-score"]
    # The first one is as it was left, and so is this.
    learn_of(later).load_first(later.request, 1)
    again(later)
    assert later["learn-choice"] == 1 and "1 of 8 predicted" in later["learn-score"]
    bring(later, tmp_path, own)
    assert "1 of 2 predicted" in later["learn-score"]
    # As a file it is the same lesson again.
    later.call("offer", "learn-download")
    assert json.loads(Path(later["learn-download"]).read_text()) == own


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.update(version=2), 'begins with "format": "caa-lesson" and "version": 1'),
        (lambda data: data.update(teacher="me"), "The lesson: there is no field 'teacher'"),
        (lambda data: data.update(steps=[]), "The lesson, steps: it takes a list of 1 to 12"),
        (lambda data: data.update(steps=data["steps"] * 7), "it takes a list of 1 to 12"),
        (lambda data: data["steps"][1].pop("question"), "Step 2 (Layer, multiplier), question: it is missing"),
        (lambda data: data["steps"][1].update(do=" "), "Step 2 (Layer, multiplier), do: it is empty"),
        (lambda data: data["steps"][0].update(text="x" * 2001), "text: it has 2,001 letters"),
        (lambda data: data["steps"][0].update(check="mood"), "check: there is none called 'mood'; choose one of lens"),
        (lambda data: data["steps"][0]["choices"][2].update(when="bored"), "choice 3, when: 'bored' is none of equal"),
        (lambda data: data["steps"][0].update(choices=[]), "Step 1 (Add it), choices: it takes a list of 2 to 6"),
        (
            lambda data: data["steps"][0].update(hints=["one"]),
            "hints: it takes a list of 3 (nudge, suggestion",
        ),
        (lambda data: data["steps"][0].update(hints=["a", 2, "c"]), "hints, suggestion: it takes a text"),
        (lambda data: data["steps"][0]["settings"].update(path="/etc/passwd"), "settings: there is no field 'path'"),
        (lambda data: data["steps"][0]["settings"].update(layer=[1]), "settings, layer: it takes a text"),
        (lambda data: data["steps"][0]["settings"].update(layer=10**400), "settings, layer: it takes a text"),
        (lambda data: data["steps"].append("next"), "Step 3: it takes an object with title, text"),
    ],
)
def test_what_is_wrong_with_a_lesson_is_said_by_step_and_field(own, change, said):
    change(own)
    with pytest.raises(InputError, match=re.escape(said)):
        lesson_of(own)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1, 2", r"not JSON: line 1, column 6"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b"[" * 50_000, "nests too deeply"),
        (b'{"format": NaN}', "number or a letter that is none"),
        (b'{"title": "\\ud800"}', "number or a letter that is none"),
        (b" " * (MOST_BYTES + 1), "has 200,000 bytes at most"),
        (b"[]", "The lesson: it takes an object"),
    ],
)
def test_a_file_that_is_no_lesson_leaves_the_one_that_was_there(page, tmp_path, content, said):
    told = bring(page, tmp_path, content)
    assert "It cannot be used" in told and said in told.replace("\\", "")
    assert lesson_of_person(page.session.person) == built_in() and "1. Residual" in page["learn-text"]
    with pytest.raises(InputError):
        read_lesson(tmp_path / "lesson.json")
