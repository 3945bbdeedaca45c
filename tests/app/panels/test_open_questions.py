"""Open questions on the page: written, scored blind and by a judge, and all of it again after a reload."""

import json
import threading
from pathlib import Path

import gradio as gr
import pytest

from caa_core.app.panels.measuring import scoring
from caa_core.app.panels.measuring.open_questions import OpenQuestionsPanel
from caa_core.app.panels.page import Page
from caa_core.app.panels.steer import tab as steer
from caa_core.app.studio import Studio
from caa_core.measuring.judging.asking import Judge
from caa_core.measuring.judging.axes import Rating
from caa_core.measuring.judging.planted import check_judge, planted
from caa_core.measuring.judging.rating import Judged, judge_all
from caa_core.progress import Progress, finish

ASKING = gr.Request(session_hash="somebody")


@pytest.fixture(scope="module")
def studio(tiny_folder):
    return Studio(tiny_folder, say=lambda _: None)


@pytest.fixture(scope="module")
def panel(studio):
    with gr.Blocks() as blocks:
        page = Page(studio, blocks, gr.Markdown(), gr.State(0), steer.controls(studio), gr.State(0))
        return OpenQuestionsPanel(page)


@pytest.fixture(scope="module")
def written(panel, tmp_path_factory):
    """The last update of two questions answered at two multipliers."""
    asked = tmp_path_factory.mktemp("asked") / "asked.json"
    asked.write_text(json.dumps([{"question": question} for question in ("How was your week?", "And lunch?")]))
    form = {name: part.value for name, part in panel.form.items()}
    form |= {"layer": 1, "multipliers": "2", "file": str(asked), "max_new_tokens": 8}
    return list(panel.run(ASKING, *form.values()))[-1]


def judging(panel, monkeypatch, judge_all):
    monkeypatch.setattr(scoring, "judge_all", judge_all)
    form = {"address": "https://judge.example/v1", "model": "a judge", "key": "secret", "behaviour": "It is joyful."}
    return panel.judge.run(ASKING, *form.values())


def test_answers_are_scored_blind_and_come_back_after_a_reload(panel, written, studio):
    assert "What is safe is not judged: 2 questions are too few" in written[panel.said]
    card = panel.blind.shown

    def give(*scores):
        return [panel.blind.give(ASKING, score) for score in scores][-1][card]

    assert "0 of 4 scored" in written[card] and "1 of 3: How much of the behaviour" in written[card]
    said = give("3")
    assert "0 of 4 scored" in said and "2 of 3: How well does it answer the question" in said
    said = give("5", "7")
    assert "1 of 4 scored" in said and "1 of 3: " in said
    assert "2 of 3: " in give("10")
    assert "1 of 3: " in panel.blind.take_back(ASKING)[card]
    assert "3 of 3: How well does it read" in panel.blind.take_back(ASKING)[card]
    assert "1 of 4 scored" in give("6")
    restored = panel.restore(ASKING)
    assert "1 of 4 scored" in restored[card] and restored[panel.said] == written[panel.said]
    assert restored[panel.form["multipliers"]] == "2" and Path(restored[panel.form["file"]]).is_file()
    said = give(*"000", *"111", *"222")
    assert "All 4 answers are scored" in said and give("5") == said
    meant = panel.blind.reveal(ASKING)[panel.blind.meant.said]
    assert "against unsteered" in meant and "harmonic mean" in meant
    kept = studio.session("somebody").person.results["open"]["person"]["scores"]
    assert [one["behaviour"] for one in kept] == [3, 0, 1, 2] and (kept[0]["relevance"], kept[0]["fluency"]) == (5, 6)


def test_what_earlier_versions_kept_is_read(panel, written, studio):
    person = studio.session("somebody").person
    now = person.results["open"]
    asked = now["asked"]
    person.results["open"] = {name: part for name, part in now.items() if name != "asked"}
    person.results["open"]["form"] = list(asked.values())
    assert panel.restore(ASKING)[panel.form["multipliers"]] == "2"
    person.results["open"] = now


def test_a_judge_that_is_stopped_keeps_its_scores_and_goes_on_from_there(panel, written, studio, monkeypatch):
    seen, go_on, passed = [], threading.Event(), finish(check_judge(dict(planted()).get))

    def some(rate, behaviour, replies, known, check):
        found = Judged(dict(known), check or passed)
        for place in range(len(replies)):
            if place not in found.ratings:
                assert not seen or go_on.wait(300)
                found.ratings[place] = Rating(place, place, place)
                seen.append(place)
                yield Progress(4, "scores given", 4, place), found

    asking = judging(panel, monkeypatch, some)
    assert next(asking)[panel.judge.judged.said] == "Asking ..."
    next(asking)
    studio.session("somebody").stop("open-judge")
    go_on.set()
    last = list(asking)[-1]
    kept = studio.session("somebody").person.results["open"]["judge"]
    assert 0 < len(kept["scores"]) < 4 and "secret" not in json.dumps(kept)
    assert (
        last[panel.judge.judged.box].visible
        and "AUC on planted answers: behaviour 1.00" in last[panel.judge.judged.said]
    )
    list(judging(panel, monkeypatch, some))
    assert seen == [0, 1, 2, 3]
    assert len(studio.session("somebody").person.results["open"]["judge"]["scores"]) == 4
    again = panel.restore(ASKING)
    assert again[panel.judge.judged.box].visible


def test_a_reload_finds_the_judge_at_work_with_stop_and_without_the_key(panel, written, studio, monkeypatch):
    go_on = threading.Semaphore(2)

    def slowly(rate, behaviour, replies, known, check):
        for place in range(len(replies)):
            yield Progress(4, "scores given", 4, place), Judged(dict.fromkeys(range(place), Rating(7.0, 7.0, 7.0)))
            assert go_on.acquire(timeout=300)

    studio.session("somebody").person.results["open"]["judge"] = {"scores": []}
    asking = judging(panel, monkeypatch, slowly)
    next(asking)
    while not any("<progress" in str(said) for said in next(asking).values()):
        pass
    asking.close()  # the page is gone
    person = studio.session("somebody").person
    reloaded = gr.Request(session_hash="reloaded")
    studio.sessions.enter("reloaded", person.key)
    judge = panel.judge
    assert judge.find(reloaded)[judge.looking]["active"]
    found = judge.found(reloaded)
    filled = next(found)
    assert filled[judge.form["behaviour"]] == "It is joyful." and judge.form["key"] not in filled
    assert filled[judge.stop_button]["interactive"] and "secret" not in str(filled)
    assert "<progress" in next(found)[judge.status]
    studio.session("reloaded").stop("open-judge")
    go_on.release(4)
    last = list(found)[-1]
    assert 0 < len(person.results["open"]["judge"]["scores"]) < 4 and last[judge.judged.box].visible
    # One that has ended meanwhile is shown, too.
    assert judge.restore(reloaded)[judge.judged.box].visible


def test_a_judge_at_chance_gives_no_score_and_says_so(panel, written, studio, monkeypatch):
    """Through the panel's own work, with a judge behind an address that says the same of everything."""
    studio.session("somebody").person.results["open"]["judge"] = {"scores": []}
    monkeypatch.setattr(Judge, "rate", lambda judge, client, asked: 5.0)
    last = list(judging(panel, monkeypatch, judge_all))[-1]
    said = last[panel.judge.judged.said]
    assert "The judge gives no score" in said and "is not told from chance" in said and "Nothing is scored" not in said
    kept = studio.session("somebody").person.results["open"]["judge"]
    assert kept["scores"] == [] and kept["check"]["aucs"]["behaviour"]["value"] == 0.5
    assert "The judge gives no score" in panel.restore(ASKING)[panel.judge.judged.said]


def test_scores_need_answers(panel):
    with pytest.raises(gr.Error, match="There are no answers to score yet"):
        panel.blind.give(gr.Request(session_hash="nobody"), "3")
