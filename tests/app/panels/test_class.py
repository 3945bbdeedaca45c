"""A class on the page: its file, thirty who are in it, what they may ask, and what their teacher sees."""

import csv
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import pytest

from app import hold
from caa_core.app.library import Library
from caa_core.app.panels.learn.class_file import class_of, read_class
from caa_core.app.panels.learn.lesson import built_in
from caa_core.app.studio import Studio
from caa_core.data.presets import presets
from caa_core.errors import InputError
from tests.helpers.handlers import Handlers
from tests.helpers.places import ROOT

PEOPLE = 30
CLASS = {"format": "caa-class", "version": 1, "title": "Ours <b>bold</b>", "code": "ocean", "key": "a long key"}
# Of the lesson that ships, the steps that take two presets alone.
ADD_IT = {**built_in().data, "steps": built_in().data["steps"][3:5]}
STRICT = {
    **CLASS,
    "presets": ["joy", "gloom"],
    "lesson": ADD_IT,
    "limits": {"tokens": 16},
    "free_prompts": False,
    "word_pieces": False,
}


@pytest.fixture(autouse=True)
def no_class_before(studio):
    yield
    for room in studio.classes.held:
        studio.classes.end(room)


@pytest.fixture
def visit(studio, blocks, request):
    """Call it for the page of somebody who comes with a query."""

    def visit(name="somebody", **query):
        page = Handlers(studio, blocks, f"{request.node.name} {name}")
        page.request = gr.Request(session_hash=page.request.session_hash, query_params=query)
        page.call("enter", "class-line")
        return page

    return visit


def held(studio, **changes):
    return studio.hold(*class_of({**CLASS, **changes}))


def predict(page, step, choice):
    for _ in range(step):
        page.call("step_on", "learn-score")
    page.call("keep_prediction", "learn-result", learn_choice=choice)


def write(page):
    page.run("run", "steer-status", steer_layer=1, steer_multiplier=4.0)
    page.call("look_again", "learn-result")


def rows_of(page):
    with open(page["class-csv"], newline="") as file:
        return list(csv.DictReader(file))


def test_thirty_go_through_a_lesson_and_their_teacher_sees_how_far_they_are(studio, visit):
    teacher = visit("teacher")
    opened = teacher.run("open_class", "class-board", class_title="Ours <b>bold</b>", class_pieces=False)
    assert opened and not teacher.can_be_pressed(teacher.parts["class-csv"])
    code, key = re.search(r"class=(\w+)\].*`(\S+)`", teacher["class-about"], re.DOTALL).groups()
    assert r"\<b\>bold" in teacher["class-about"] and "**0** in the class" in teacher["class-counts"]

    def learn(number):
        page = visit(f"{number}", **{"class": code.upper()})
        assert r"Ours \<b\>bold" in page["class-line"] and "without names" in page["class-line"]
        predict(page, 3, number % 3)
        if number < 6:
            write(page)
        return page

    stranger = visit("stranger")
    predict(stranger, 3, 0)
    with ThreadPoolExecutor(PEOPLE) as threads:
        pages = list(threads.map(learn, range(PEOPLE)))
    teacher.call("look", "class-counts")
    assert "**30** in the class, **30** have predicted something." in teacher["class-counts"]
    sections = re.findall(r"<section>.*?</section>", teacher["class-board"])
    assert len(sections) == 8 and "30 here" in sections[3] and "0 here" in sections[0]
    seen = [[int(n) for n in re.findall(r">(\d+)</td>", line)] for line in re.findall(r"<tr>.*?</tr>", sections[3])[1:]]
    assert [predicted for predicted, _ in seen] == [10, 10, 10] and sum(came for _, came in seen) == 6
    rows = rows_of(teacher)
    assert len(rows) == 30 and sum(row["own_run"] == "True" for row in rows) == 6
    assert {row["came_true"] for row in rows} == {"True", "False", ""}
    assert {row["person"] for row in rows} == {str(n) for n in range(1, 31)}
    # A reload is the same person; nothing has come since, so nothing is sent.
    again = visit("3", **{"class": code})
    assert again.session.person is pages[3].session.person and len(studio.classes.find(code).parts) == 30
    assert teacher.call("look", "class-counts") == {teacher.parts["class-counts"]: gr.skip()}
    # Another teacher has the key; and at the end nothing is left.
    other = visit("other teacher")
    other.call("enter_class", "class-board", class_code=code, class_key=key)
    assert other["class-board"] == teacher["class-board"] and not other["class-key"]
    assert "`" not in other["class-about"]
    other.call("end_class", "class-board")
    assert studio.classes.find(code) is None
    assert "The class is over" in teacher.call("look", "class-counts")[teacher.parts["class-counts"]]
    assert pages[0].session.classroom is None


def test_what_is_not_chosen_for_the_class_is_neither_offered_nor_done(studio, visit):
    held(studio, **STRICT)
    page = visit(**{"class": "ocean"})
    for picker in ("steer-vector", "compete-a-vector", "measure-vector", "measure-preset", "open-preset"):
        offered = page.properties[page.parts[picker]]
        values = [value for _, value in offered.get("choices") or page.parts[picker].choices]
        assert {*values} & {*presets()} == {"joy", "gloom"}, picker
    # formal and casual, with which Compete begins, are not there.
    assert page["compete-a-vector"] in ("joy", "gloom") and page["compete-verdict-contest"] in ("joy", "gloom")
    for part in ("steer-prompt", "compete-prompt", "views-text"):
        drawn = page.parts[part]
        assert page.properties[drawn].get("interactive", drawn.interactive) is False, part
    with pytest.raises(gr.Error, match="only the examples can be asked"):
        page.run("run", "steer-status", steer_prompt="Say something nasty.")
    assert "only the examples" in page["steer-status"]
    with pytest.raises(gr.Error, match="french is no part of this class, which has joy, gloom"):
        page.run("run", "steer-status", steer_vector="french", steer_prompt=presets()["joy"].prompts[0])
    with pytest.raises(InputError, match="french is no part of this class"):
        studio.run(lambda model: studio.vector(model, page.session, "french")).wait()
    page.run("run", "steer-status", steer_prompt=presets()["joy"].prompts[0], steer_layer=1)
    assert page.session.person.results["steer"]["asked"]["max_new_tokens"] == 16
    page.run("run", "views-status", views_text="How was your day?", views_layer=1)
    assert page["views-words"] == "" and page["views-next"] is None and "no pieces of words" in page["views-kl"]
    hovered = [point for line in page["views-lens"].data for point in line.customdata]
    assert {*hovered} == {"·"}
    # Its lesson is there, and no other.
    assert "1. Add it" in page["learn-text"]
    with pytest.raises(gr.Error, match="This class has its lesson"):
        next(fn.fn for fn in page.blocks.fns.values() if fn.name == "load_first")(page.request, 1)
    # After the class all is as everywhere.
    studio.classes.end(studio.classes.find("ocean"))
    page.run("run", "steer-status", steer_vector="french", steer_prompt="Anything", steer_layer=1)
    assert "wrote" in page["steer-status"]


def test_a_lesson_of_ones_own_is_there_again_after_the_class(studio, visit, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({**ADD_IT, "title": "Mine"}))
    page = visit()
    page.call("load", "learn-said", learn_file=str(tmp_path / "own.json"))
    room = held(studio)
    page = visit(**{"class": "ocean"})
    predict(page, 0, 0)
    assert len(room.parts) == 1 and "1. Residual stream" in page["learn-text"]
    studio.classes.end(room)
    page = visit()
    assert "1. Add it" in page["learn-text"]


def test_a_code_that_is_none_is_said(visit, monkeypatch):
    said = []
    monkeypatch.setattr("gradio.Warning", lambda message, title="": said.append(message))
    page = visit(**{"class": "<b>nowhere"})
    assert said == [r"There is no class with the code \<b\>nowhere now: ask your teacher for it."]
    assert page.session.classroom is None and not page["class-line"]


def test_a_class_may_be_for_everybody(studio, visit):
    held(studio, everybody=True)
    page = visit()
    assert page.session.classroom and page["class-line"]


def test_on_a_public_app_only_its_owner_opens_a_class(studio, visit, monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    page = visit()
    with pytest.raises(gr.Error, match="only its owner may open a class"):
        page.run("open_class", "class-board")
    assert not studio.classes.held


def test_a_class_takes_an_app_without_a_library(tiny_folder, tmp_path):
    studio = Studio(tiny_folder, say=lambda _: None, library=Library(tmp_path))
    with pytest.raises(InputError, match="everybody is the owner of one library"):
        studio.hold(*class_of(CLASS))
    studio.sessions.end()


def test_a_class_of_a_file_is_held_from_the_start(studio, tmp_path, capsys):
    (tmp_path / "lesson.json").write_text(json.dumps(ADD_IT))
    (tmp_path / "class.json").write_text(json.dumps({**CLASS, "lesson": "lesson.json"}))
    hold(studio, *read_class(tmp_path / "class.json"))
    said = capsys.readouterr().err
    assert "?class=ocean" in said and "with the key a long key" in said
    assert len(studio.classes.find("ocean").rules.lesson.steps) == 2


def test_what_a_class_takes_is_written_down():
    told = (ROOT / "docs" / "classes.md").read_text()
    data = json.loads(told.partition("```json")[2].partition("```")[0])
    rules, key = class_of(data)
    assert key == data["key"] and rules.presets == tuple(data["presets"]) and rules.limits


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, 'begins with "format": "caa-class" and "version": 1'),
        ({"teacher": "me"}, "The class: there is no field 'teacher'"),
        ({"title": ""}, "The class, title: it is empty"),
        ({"code": "<b>"}, "code: it takes 3 to 32 letters"),
        ({"key": "short"}, "key: it takes 8 letters or more"),
        ({"presets": []}, "presets: it takes a list of 1 to "),
        ({"presets": ["joy", ["x"]]}, "presets: there is none called"),
        ({"presets": ["joy"]}, "step 7 of its lesson takes formal, which is not among them"),
        ({"lesson": "/etc/passwd"}, "a file that is uploaded holds the lesson itself"),
        ({"lesson": {"steps": []}}, "The lesson begins with"),
        ({"limits": {"memory": 1}}, "limits: there is no field 'memory'"),
        ({"limits": {"tokens": 0}}, "limits, tokens: it takes a whole number from 1 on"),
        ({"limits": {"tokens": True}}, "limits, tokens: it takes a whole number"),
        ({"free_prompts": "no"}, "free_prompts: it takes true or false"),
        ({"hours": 48}, "hours: it takes a number from 0.1 to 24"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_by_field(change, said):
    with pytest.raises(InputError, match=re.escape(said)):
        class_of({**CLASS, **change})


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="The class cannot be read: No such file"):
        read_class(Path(tmp_path / "class.json"))
