"""The panels' handlers, called as gradio calls them, on a tiny model."""

import gc
import itertools
import json
import re
import secrets
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
import torch
from gradio.state_holder import SessionState

from caa_core.app.keys.tries import Tries
from caa_core.app.library import Library
from caa_core.app.made_from import MADE_FROM
from caa_core.app.panels.common import guarded, plain, properties
from caa_core.app.panels.contest.chosen import Chosen, Voicing
from caa_core.app.panels.contest.contest import ContestPanel
from caa_core.app.panels.contest.surface import SurfacePanel
from caa_core.app.panels.contest.thinking import ThinkingPanel
from caa_core.app.panels.contest.tokens import NOTHING
from caa_core.app.panels.experiment import COMPUTED_BEFORE, Run
from caa_core.app.panels.generate.pairs import READING, Draft
from caa_core.app.panels.measuring.evaluation import OWN
from caa_core.app.studio import Studio
from caa_core.cli.main import main
from caa_core.contest.decomposition import shared_part
from caa_core.contest.dominance import Contest
from caa_core.data.pairs import write_pairs
from caa_core.data.presets import find_pairs, presets
from caa_core.errors import InputError
from caa_core.measuring.costs import refusals
from caa_core.measuring.evaluation import unpack
from caa_core.model.prompts import render, with_prefill
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from tests.helpers.app import four_items
from tests.helpers.handlers import Handlers, sent
from tests.helpers.holding import holding
from tests.helpers.waiting import ran, until


@pytest.fixture
def studio(tiny_app):
    """The one of the app that this process serves."""
    return tiny_app.studio


@pytest.fixture
def page(tiny_app):
    """The page of somebody new, as that app has it."""
    return Handlers(tiny_app.studio, tiny_app.page, secrets.token_hex(8))


def loaded(folder, library=None):
    return Studio(folder, say=lambda _: None, library=library)


def writing(page, **asked):
    """Updates of a chat, of which the first that has text has come."""
    updates = page.call("run", "steer-status", **asked)
    while not any("Writing" in str(update) for update in next(updates).values()):
        pass
    return updates


def test_a_chat_is_in_the_library_and_comes_back_after_a_restart(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    page = Handlers(loaded(tiny_folder, library))
    page.run("run", "steer-status", steer_prompt="My question?", steer_layer=1)
    assert "wrote" in page["steer-status"]
    shown = page["steer-steered"]
    library.close()
    again = Handlers(loaded(tiny_folder, Library(tmp_path / "library")))
    again.call("enter", "steer-steered")
    assert again["steer-steered"] == shown and shown[0]["content"] == "My question?"


def test_what_was_written_before_a_stop_is_in_the_library_and_what_was_cleared_is_not(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    studio = loaded(tiny_folder, library)
    page = Handlers(studio)
    page.run("measure", "steer-strength")  # which makes the vector
    with holding(studio, 20):
        updates = writing(page, steer_prompt="My question?", steer_layer=1)
        studio.session("page").stop("steer")
        assert "stopped after" in page.text(updates, "steer-status")
        assert dict(library.results())["steer"]["exchanges"][0]["answers"]
        updates = writing(page, steer_prompt="Another?", steer_layer=1)
        page.call("clear", "steer-status")
        list(updates)
        assert page["steer-steered"] == [] and page["steer-status"] == ""
    assert "steer" not in dict(library.results()) and "steer" not in studio.session("page").person.results


def reloaded(page):
    """Another page of the same person, while what the first had begun goes on."""
    again = Handlers(page.studio, page.page, secrets.token_hex(8))
    page.studio.sessions.enter(again.request.session_hash, page.session.person.key)
    return again


def test_a_page_that_was_reloaded_goes_on_with_what_ran(page, tiny_app):
    tiny_app.vector("joy")
    with tiny_app.holding(8) as go_on:
        writing(page, steer_prompt="My question?", steer_layer=1).close()
        again = reloaded(page)
        updates = again.call("found", "steer-status")
        assert not next(updates)[again.parts["steer-write"]].interactive
        assert "Writing" in again.text([next(updates)], "steer-status")
        assert not page.session.jobs and list(again.session.jobs) == ["steer"]
        go_on()
        list(updates)
    assert "wrote" in again["steer-status"] and len(again.session.person.results["steer"]["exchanges"]) == 1
    # Nothing is there to be found any more: what came of it is shown.
    again.run("found", "steer-status")
    assert [said["role"] for said in again["steer-steered"]] == ["user", "assistant", "assistant"]


def test_what_was_found_again_does_not_come_back_into_a_cleared_chat(page, tiny_app):
    tiny_app.vector("joy")
    with tiny_app.holding(8) as go_on:
        writing(page, steer_layer=1).close()
        again = reloaded(page)
        updates = again.call("found", "steer-status")
        next(updates)
        again.call("clear", "steer-status")
        go_on()
        list(updates)
    assert again["steer-steered"] == [] and "steer" not in again.session.person.results


def test_what_had_to_make_room_is_said_once(page, monkeypatch):
    page.session.person.remember("earlier", "x" * 500_000)
    monkeypatch.setenv("CAA_MAX_KEPT_MB", "0")
    with pytest.warns(UserWarning, match="the oldest had to make room, which was earlier"):
        page.run("run", "steer-status", steer_layer=1)
    assert list(page.session.person.results) == ["steer"] and not page.session.person.holdings.gone


def test_who_writes_is_told_who_else_shares_the_model_and_how_long_the_wait_is(tiny_folder):
    studio = loaded(tiny_folder)
    until(lambda: studio.capability is not None)
    page, gate = Handlers(studio), threading.Event()

    def hold():
        gate.wait(300)
        while True:
            yield

    other = studio.run(lambda model: hold())
    said = []
    for _ in page.call("run", "steer-status", steer_layer=1):
        said.append(page["steer-status"])
        if "before you" in said[-1]:
            gate.set()
    other.stop()
    assert said[:2] == ["Waiting for the model ...", "Waiting for the model: 1 before you, about 1 s"]
    assert "Writing ... 1 other job shares the model." in said


def test_a_retry_asks_the_last_question_again_and_leaves_what_is_being_typed(page):
    with pytest.raises(gr.Error, match="nothing to retry yet"):
        page.run("retry", "steer-status")
    page.run("run", "steer-status", steer_prompt="My question?", steer_layer=1)
    assert page["steer-prompt"] == ""
    first = page["steer-steered"]
    page.run("retry", "steer-status", steer_prompt="The next one", steer_layer=1)
    assert page["steer-steered"] == first and len(page.session.person.results["steer"]["exchanges"]) == 1
    updates = page.run("retry", "steer-status", steer_prompt="The next one", steer_layer=1)
    assert not any(page.parts["steer-prompt"] in update for update in updates)


def test_multiplier_0_gives_equal_columns(page):
    asked = {"steer_layer": 1, "steer_multiplier": 0}
    page.run("measure", "steer-strength", **asked)
    assert "Relative strength 0.00" in page["steer-strength"]
    page.run("run", "steer-status", **asked)
    assert "All columns are equal" in page["steer-status"]
    assert page["steer-unsteered"][-1] == page["steer-steered"][-1] and page["steer-steered"][-1]["content"]


def test_the_button_of_a_model_comes_back_after_every_outcome(page):
    """gradio starts what follows by `then` after success and cancelling, and by `failure` after errors."""
    for failed in (False, True):
        assert any(
            page.parts["model-load"] in fn.outputs
            and not fn.queue
            and properties(fn.fn()[page.parts["model-load"]])["interactive"]
            for fn in page.after("model-load", failed)
        )
    # Where there is no button, there is none to free.
    assert all(fn.outputs for fn in page.blocks.fns.values() if fn.name == "free")


def test_after_a_restart_the_page_says_so_in_one_sentence(page):
    asked_again = {"served_by": page["served-by"]}
    page.call("look", "started-anew", **asked_again)
    assert not page.properties[page.parts["started-anew"]]
    page.call("look", "started-anew", served_by="another run of the app")
    assert page.properties[page.parts["started-anew"]]["visible"] is True
    # Gradio's own reload finds out what is gone; who comes for the first time has lost nothing.
    key = page.handler("enter", "steer-status").inputs[0]
    for known, lost in (("", False), (page.session.person.key, False), ("a key of before", True)):
        page.held[key] = known
        page.properties.clear()
        page.call("enter", "steer-status")
        assert bool(page.properties[page.parts["not-kept"]].get("visible")) is lost


def test_loading_says_whom_it_affects_and_a_failure_leaves_the_old_model(tiny_folder):
    studio = loaded(tiny_folder)
    page, old = Handlers(studio), studio.model
    for other in ("page", "b", "c"):
        studio.session(other)
    page.call("refresh", "model-affected")
    assert "**3 people** are here now" in page["model-affected"]
    with pytest.raises(gr.Error, match="There is no model") as caught:
        page.run("change", "model-status", model_spec="<b>no such model")
    assert page["model-status"] == r"Loading \<b\>no such model for you and 2 others ..."
    assert "<b>" not in str(caught.value)
    assert "The model was not changed." in [fn.fn() for fn in page.after("model-load", failed=True)]
    assert studio.model is old and "tiny" in page["model-line"]
    page.run("run", "steer-status", steer_layer=1)
    assert "wrote" in page["steer-status"]


def test_on_a_public_app_only_the_owner_loads_a_model(tiny_folder, monkeypatch):
    studio = loaded(tiny_folder)
    old = studio.model
    monkeypatch.setenv("CAA_PUBLIC", "1")
    assert not Handlers(studio).parts["model-load"].parent.visible
    monkeypatch.setenv("CAA_OWNER_KEY", "a long key")
    page = Handlers(studio)
    assert page.parts["model-load"].parent.visible and not page.parts["model-spec"].allow_custom_value
    studio.owner = Tries(itertools.count(step=100).__next__)  # nobody waits here
    for key in ("", "another key", "\ud800", None):
        with pytest.raises(gr.Error, match="only its owner may load"):
            page.run("change", "model-status", model_spec=tiny_folder, model_key=key)
    # The owner's key opens the list, and still no path.
    with pytest.raises(gr.Error) as caught:
        page.run("change", "model-status", model_spec=tiny_folder, model_key="a long key")
    assert "only its owner" not in str(caught.value) and tiny_folder not in str(caught.value)
    assert studio.model is old


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert\(1\)\>"),
        ("**b** [x](y) `c`", r"\*\*b\*\* \[x\]\(y\) \`c\`"),
        ("a\u202eb\u0007c\nd\u2066", "abc d"),
        ("see http://a.b, HTTPS://a or www.a.b, me@a.b", r"see http\://a.b, HTTPS\://a or www\.a.b, me\@a.b"),
    ],
)
def test_text_of_strangers_is_shown_letter_by_letter(text, markdown):
    assert plain(text) == markdown


def test_a_toast_shows_what_a_stranger_wrote_as_text():
    @guarded
    def handler():
        raise InputError("No field '<script>\u202e\u0000 & co.'")

    with pytest.raises(gr.Error) as caught:
        handler()
    assert caught.value.message == "No field '&lt;script&gt; &amp; co.'"


def test_one_session_does_not_take_all_turns(studio, page, monkeypatch):
    monkeypatch.setenv("CAA_MAX_JOBS", "2")
    session = page.session

    def forever():
        while True:
            yield 1

    running = [session.follow(name, studio.run(lambda model: forever())) for name in "ab"]
    assert [next(events) for events in running] == [1, 1]
    third = studio.run(lambda model: forever())
    with pytest.raises(InputError, match="3 jobs at once of one person are too many"):
        next(session.follow("c", third))
    assert third.wait() is None and third.stopped
    assert next(session.follow("b", studio.run(lambda model: forever()))) == 1  # in place of the older one
    session.stop_all()


def test_two_voices_come_to_a_verdict(page, tmp_path):
    """A vector against itself leaves nothing, and the gauge marks nothing; what the model is told is a voice too."""
    few = {"compete_verdict_file": str(four_items(tmp_path)), "compete_verdict_second_voices": 0}
    page.run("run", "compete-verdict-said", compete_b_vector="joy", compete_b_multiplier=-1, **few)
    assert "#### No contest: joy and joy cancel, and next to nothing is left" in page["compete-verdict-said"]
    assert "caa-gauge none" in page["compete-verdict-gauge"] and 'class="found"' not in page["compete-verdict-gauge"]
    weak = {"compete_kind": "Vector against prompt", "compete_a_multiplier": 0.1}
    page.run("explain", "compete-decomposition", **weak)
    assert "against a prompt is no sum" in page["compete-decomposition"]
    page.run("run", "compete-verdict-said", **weak, **few)
    assert "the prompt" in page["compete-verdict-numbers"]
    page.run("run", "compete-status", **weak)
    assert page["compete-b"][-1] != page["compete-unsteered"][-1]


def test_estimates_are_shown_before_anything_is_measured_and_not_kept(page):
    one, session = page.experiment("measure"), page.session
    form = {name: page.held.get(part, getattr(part, "value", None)) for name, part in one.form.items()}
    bands = {"random": [-0.1, 0.1], "shuffled": None, "p": None}
    estimate = {"vector": "joy", "data": "joy", "measure": "nats", "items": 4, "of": 18, "prompts": 4, "controls": 999}
    part = {"notes": ["<b>A note</b>"], "estimate": estimate | {"layers": [{"layer": 1, "value": 0.3, **bands}]}}
    kept = one.keep(Run(session, form, one.ask(session, form)), part)
    assert one.name not in session.person.results
    shown = one.show(session, kept, form)
    assert "**Estimated, not measured yet.** To first order, by the first 4 of 18 items, fur" in shown[one.verdict]
    assert "<b>" not in shown[one.verdict] and shown[one.map].data[-1].y == (0.3,)
    run = Run(session, form, one.ask(session, form), kept)
    assert one.ended(run, True) == "Stopped before anything was measured." and not one.files(session, kept)


def test_the_paper_s_figures_of_what_was_measured(page, tmp_path):
    with pytest.raises(gr.Error, match="Measure under Layers and multipliers first"):
        page.run("run", "paper-said", paper_which="Effect by layer")
    write_pairs(presets()["joy"].test().first(4), tmp_path / "four.json")
    asked = {"measure_upload": str(tmp_path / "four.json"), "measure_layers": "1,2", "measure_multipliers": "-1,1"}
    page.run("run", "measure-verdict", **asked)
    assert page["measure-status"].startswith("Measured 4 of 4 cells")
    page.call("again", "measure-map", measure_shown="Estimate")
    assert page["measure-map"].data[-1].name == "measured, × 1"
    known = unpack(page.session.person.results["measure-known"])  # all of it, to go on from
    assert known.readings and known.first_order and known.maps
    report = page.session.path("joy on four", ".html").read_text()
    assert "heatmap" in report and "model fingerprint" in report
    page.run("run", "paper-said", paper_which="Effect by layer", measure_layer=2)
    assert "joy: effect by layer" in page["paper-said"]
    assert [list(trace.x) for trace in page["paper-figure"].data if trace.name == "× +1"] == [[0, 1, 2, 3]]
    page.run("run", "paper-said", paper_which="Token by token", measure_layer=2)
    assert "caa-tokens" in page["paper-text"]
    few = {"behaviours_presets": ["gloom"], "behaviours_pairs": 4, "behaviours_items": 4, "behaviours_controls": 1}
    updates = page.run("run", "behaviours-said", behaviours_mine=True, **few)
    assert page["behaviours-status"] == "Measured 2 behaviours."
    assert "joy on four: " in str(page.text(updates, "behaviours-which").choices)
    assert page.reloaded()["paper-which"] == "Token by token"
    # What was measured with another operation is drawn with that.
    page.session.person.results["measure"]["asked"]["operation"] = "ablate"
    figures = page.experiment("paper")
    form = {"figure": "Effect by layer", "layer": 2, "positive": "", "negative": ""}
    assert str(figures.ask(page.session, form).request.operation) == "ablate"


def test_several_behaviours_go_on_after_a_stop_and_a_reload(page):
    few = {"behaviours_pairs": 4, "behaviours_items": 4, "behaviours_controls": 1}
    for _ in page.call("run", "behaviours-said", **few):
        page.session.stop("behaviours")
    assert re.match("Stopped with [01] of 2 behaviours", page["behaviours-status"])
    page.run("run", "behaviours-said", **few)
    assert page["behaviours-status"] == "Measured 2 behaviours."
    known = page.session.person.results["behaviours-known"]
    assert len(known) == 2
    page.run("run", "behaviours-said", **few)
    assert page.session.person.results["behaviours-known"] == known  # seconds and all: not measured again
    for ending in ("html", "json", "csv"):
        assert page.session.path("several behaviours", f".{ending}").stat().st_size > 1000
    assert "gloom" in page.reloaded()["behaviours-said"]
    with pytest.raises(gr.Error, match="Measure under Layers and multipliers first"):
        page.run("run", "behaviours-said", behaviours_mine=True, **few)
    page.call("again", "behaviours-said", behaviours_which="Effect by multiplier")
    assert len(page["behaviours-figure"].data) >= 2


def test_the_page_measures_what_the_command_line_says(page, tiny_folder, tmp_path, capsys):
    items = tmp_path / "four.json"
    write_pairs(presets()["joy"].test().first(4), items)
    page.run("run", "measure-status", measure_upload=str(items), measure_layers="1-2", measure_prompts=True)
    assert page["measure-status"] == "Measured 10 of 10 cells."
    assert all(plain(f"told “{told}”") in page["measure-verdict"] for told in presets()["joy"].wordings)
    found = page.session.person.results["measure"]["found"]
    given = ["--model", tiny_folder, "--dtype", "float32", "--vector", "joy", "--data", str(items), "--layers", "1-2"]
    capsys.readouterr()
    assert main(["evaluate", *given, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    here = json.loads(json.dumps(found))
    # What the pairs say is said at the layer where they agree best, of those that were made: all of them on the page.
    assert here.pop("diagnostics")["prompts"] == said.pop("diagnostics")["prompts"]
    assert found["verdict"]["controls"] == 999 and here == said
    # Effect against cost, of which a point that is clicked goes on to Steer as a cell of a map does.
    page.call("again", "measure-map", measure_shown="Effect by cost")
    points = [(*place,) for trace in page["measure-map"].data[1:] for place in trace.customdata]
    assert sorted(points) == [(layer, m) for layer in (1, 2) for m in (-2, -1, 1, 2)]
    # A dot and a row for each item of a cell, on a click.
    page.call("one_by_one", "measure-items", measure_layer=2, measure_multiplier=1.0)
    assert len(page["measure-items-table"]) == 4 == sum(len(trace.x) for trace in page["measure-items"].data[1:])
    assert {row[1] for row in page["measure-items-table"]} == {item["text"] for item in said["by_item"]["items"]}
    with pytest.raises(gr.Error, match="not kept one by one"):
        page.call("one_by_one", "measure-items", measure_layer=0, measure_multiplier=1.0)


def test_a_point_of_another_method_goes_on_to_steer_with_the_vector_that_it_made(page, tmp_path):
    write_pairs(presets()["joy"].test().first(3), tmp_path / "three.json")
    asked = {"measure_layers": "1", "measure_multipliers": "1", "measure_controls": 0, "measure_by_methods": True}
    page.run("run", "measure-status", measure_upload=str(tmp_path / "three.json"), **asked)
    made = ["joy (pca)", "joy (probe)", "joy (single)"]
    assert [*page.session.vectors] == made
    page.run("run", "measure-status", measure_upload=str(tmp_path / "three.json"), **asked)
    assert [*page.session.vectors] == made  # they are there already
    page.call("again", "measure-map", measure_shown="Effect by cost")
    point = next(place for trace in page["measure-map"].data for place in trace.customdata or () if "probe" in place)
    measure = page.experiment("measure")
    vector, layer, multiplier = measure.pick(page.request, gr.SelectData(None, {"index": 0, "value": [*point]}))
    assert (vector, layer, multiplier.value) == ("joy (probe)", 1, 1)


def test_a_study_is_shown_and_comes_back_after_a_restart(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    page = Handlers(loaded(tiny_folder, library))
    asked = {"study_layers": "1,2", "study_multipliers": "-1,1", "study_most": 2, "study_controls": 1}
    page.run("run", "study-status", **asked)
    assert page["study-status"] == "Measured 36 of 36 cells."
    assert "- Not judged: 2 prompts are too few for a verdict" in page["study-answers"]
    assert "Left out: Read position last\\-prompt: " in page["study-answers"]
    with pytest.raises(gr.Error, match="no layer 9"):
        page.run("run", "study-status", study_layers="9")
    told = page.call("look", "study-size", study_layers="1", study_multipliers="-1,1", study_design="Every combination")
    assert "48 combinations × 1 layer × 2 multipliers = 96 cells" in told
    library.close()
    again = Handlers(loaded(tiny_folder, Library(tmp_path / "library")))
    assert again["study-answers"] == page["study-answers"]
    # What is known is not computed again.
    again.run("run", "study-status", **asked)
    assert "Measured 36 of 36 cells." in again["study-status"]


def test_the_capability_check_is_one_click_and_says_where_there_is_nothing_to_lose(page, tmp_path):
    page.run("run", "capability-said", views_layer=1, capability_multipliers="1")
    assert "is not shown to answer better than chance" in page["capability-said"]
    write_pairs(presets()["joy"].test(), tmp_path / "texts.json")
    with pytest.raises(gr.Error, match="is no test of knowledge"):
        page.run("run", "capability-said", views_layer=1, capability_file=str(tmp_path / "texts.json"))


def test_refusals_are_counted_by_one_click(page, monkeypatch):
    monkeypatch.setattr(refusals, "NEW_TOKENS", 2)
    page.run("run", "refusals-said", views_vector="gloom", views_layer=2, views_multiplier=1.5)
    assert page["refusals-said"].startswith("**gloom**: Unsteered, refused: harmless 0% of 20")
    assert "Layer 2, × 1.5: no change is shown in how many harmful requests are refused" in page["refusals-said"]
    assert "Cosine to the refusal direction at layer 2" in page["refusals-said"]
    found = json.loads(Path(page["refusals-data"]).read_text())
    assert (found["counts"][2]["controls"], len(found["answers"]), list(found["overlap"])) == (
        9,
        80,
        ["0", "1", "2", "3"],
    )


def test_a_multiplier_that_was_found_by_its_cost_goes_on_to_steer(page, few_plain_answers):
    with pytest.raises(gr.Error, match="no multiplier yet"):
        page.call("take", "steer-vector")
    page.run("run", "strength-said", views_vector="gloom", views_layer=2, strength_nats=0.2, strength_against=True)
    found = page.session.person.results["views-strength"]
    assert page["strength-said"].startswith("**gloom**, layer 2, against the vector: × ")
    assert abs(found["kl"] - 0.2) <= 0.01 and page.can_be_pressed(page.parts["strength-steer"])
    page.call("take", "steer-vector")
    assert [page[f"steer-{name}"] for name in ("vector", "layer", "multiplier")] == ["gloom", 2, -found["factor"]]
    page.run("run", "strength-said", views_layer=2, strength_nats=20)
    assert "not reachable" in page["strength-said"]
    assert not page.can_be_pressed(page.parts["strength-steer"])


def test_what_look_inside_measured_comes_back_after_a_restart(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    page = Handlers(loaded(tiny_folder, library))
    parts = {
        "capability-said": {"capability_multipliers": "1"},
        "views-status": {"views_multiplier": 2.0},
        "views-cost": {},
    }
    last = [page.run("run", part, views_layer=1, **asked)[-1] for part, asked in parts.items()]
    library.close()
    again = Handlers(loaded(tiny_folder, Library(tmp_path / "library")))
    drawn = {part.elem_id: value for update in last for part, value in update.items() if part.elem_id}
    assert {"capability-figure", "capability-data", "views-alignment", "views-costs", "views-costs-data"} < drawn.keys()
    for name, value in drawn.items():
        if isinstance(value, gr.DownloadButton):
            assert Path(again[name]["path"]).read_bytes() == Path(page[name]).read_bytes()
        else:
            assert again[name] == sent(page.parts[name], page[name])


def test_methods_are_compared(page):
    page.run("run", "generate-verdict", generate_limit=12, generate_layers="1,2")
    assert page["generate-status"] == "Compared 4 methods on 12 pairs."
    assert "logistic probe: AUC" in page["generate-verdict"]
    for plot in ("generate-separations", "generate-cosines"):
        assert page[plot].data


def test_a_preset_becomes_a_vector_of_ones_own(page):
    page.call("choose", "generate-kind", generate_preset="gloom")
    assert "gloom" in page["generate-kind"]
    page.run("run", "generate-about", generate_layers="2-3")
    assert page["generate-status"].startswith("Made **my gloom** from 43 pairs")
    # Before anything is steered.
    told = page.session.vectors["my gloom"].diagnostics
    assert told.grade and told.prompts == 43
    assert plain(told.said) in page["generate-about"] and plain(told.numbers) in page["generate-about"]
    # The layer nearest to the middle that the vector has.
    page.call("choose", "steer-layer", steer_vector="my gloom")
    assert page["steer-layer"] == 2
    page.run("run", "steer-status", steer_vector="my gloom", steer_multiplier=1.5)
    assert page["steer-unsteered"][-1] != page["steer-steered"][-1]


def test_a_stop_says_how_far_the_vector_had_come(page, studio):
    with holding(studio, 2):
        for _ in page.call("run", "generate-about", generate_layers="2-3"):
            if "pairs" in str(page["generate-status"]):
                page.session.stop("generate")
    assert re.fullmatch(r"Stopped after \d+ of 43 pairs\. No vector was made\.", page["generate-status"])
    assert not page.session.vectors


def test_while_a_file_is_read_nothing_is_made_of_what_was_there_before(page, tmp_path):
    write_pairs(other_way("gloom", 8), tmp_path / "own.json")
    reading = page.call("read", "generate-kind", generate_upload=str(tmp_path / "own.json"))
    next(reading)
    assert page["generate-kind"] == f"### own\n{READING}" and not page["generate-preview"]
    with pytest.raises(gr.Error, match="are being read"):
        page.run("run", "generate-about", generate_layers="1-2")
    list(reading)
    assert "8 of 8 pairs are usable" in page["generate-kind"] and page["generate-preview"]


def test_a_vector_of_one_s_own_pairs_is_judged_beside_shuffles_of_their_labels(page, tmp_path):
    for name, count in (("first", 8), ("second", 9)):
        write_pairs(other_way("gloom", count), tmp_path / f"{name}.json")
        page.run("read", "generate-kind", generate_upload=str(tmp_path / f"{name}.json"))
        page.run("run", "generate-about", generate_layers="1-2", generate_limit=0)
    asked = {"measure_vector": "first", "measure_layers": "1-2", "measure_multipliers": "-1,1"}
    page.run("run", "measure-status", measure_prompts=False, **asked)
    verdict = page.session.person.results["measure"]["found"]["verdict"]
    assert verdict["shuffled"] and verdict["p"]
    # A contest shuffles the labels of the very pairs, too.
    few = {"compete_verdict_file": str(four_items(tmp_path)), "compete_verdict_second_voices": 0}
    page.run("run", "compete-verdict-said", compete_a_vector="first", **few, **VOICES)
    beside = page.session.person.results["compete-verdict"]["alone_a"]
    assert beside["shuffled_from"] == "first" and beside["shuffled"] and beside["count"] == 999
    # They are forgotten with their vector, and are no other vector's.
    page.call("delete_chosen", "generate-shown", generate_shown="first")
    page.run("read", "generate-kind", generate_upload=str(tmp_path / "second.json"))
    page.run("run", "generate-about", generate_layers="1", generate_limit=0)
    assert {len(kept["pairs"]) for kept in page.session.person.results[MADE_FROM].values()} == {9}


def test_too_few_prompts_for_a_verdict_are_said(page, tmp_path):
    write_pairs(presets()["joy"].test().first(4), tmp_path / "four.json")
    few = {"measure_layers": "1,3", "measure_multipliers": "-1,1.5"}
    page.run("run", "measure-verdict", measure_upload=str(tmp_path / "four.json"), **few)
    assert "**Not judged**: 4 prompts are too few for a verdict" in page["measure-verdict"]
    assert "Safe multipliers there: not judged" in page["measure-verdict"]


def test_two_vectors_are_combined(page):
    asked = {"combine_a": "joy", "combine_b": "gloom", "combine_operation": "A and B with equal norms"}
    page.run("run", "generate-done", **asked)
    assert len(page.session.vectors) == 2 and page["generate-shown"] in page.session.vectors
    assert page["generate-done"] == "Made " + " and ".join(f"**{plain(name)}**" for name in page.session.vectors) + "."


def test_what_is_wrong_with_a_file_takes_the_place_of_what_was_there(page, tmp_path):
    (tmp_path / "bad.json").write_text('[{"prompt": "a", "positive": "b"}]')
    bad = str(tmp_path / "bad.json")
    page.run("read", "generate-kind", generate_upload=bad)
    assert "### bad" in page["generate-kind"] and "**It cannot be read.**" in page["generate-kind"]
    assert "needed are prompt, positive, negative" in page["generate-kind"] and page["generate-preview"] == []
    assert page["generate-upload"] is None
    with pytest.raises(gr.Error, match="needed are prompt, positive, negative"):
        page.run("run", "generate-about", generate_layers="1")
    assert "It cannot be read" in page.reloaded()["generate-kind"]
    # Nothing else is measured, or added, in its place either.
    page.call("look", "measure-kind", measure_upload=bad)
    assert page["measure-kind"].startswith("**That cannot be measured on.**")
    with pytest.raises(gr.Error, match="needed are prompt, positive, negative"):
        page.run("run", "measure-status", measure_upload=bad)
    page.call("look", "study-size")
    assert "items" in page["study-size"]
    (tmp_path / "no.gguf").write_bytes(b"GGUF and nothing more")
    page.call("look", "generate-found", generate_add=[str(tmp_path / "no.gguf")])
    assert "no.gguf is not a GGUF file" in page["generate-found"].replace("\\", "")
    with pytest.raises(gr.Error, match="choose a file first"):
        page.call("keep_found", "generate-found")


def test_a_vector_that_was_deleted_comes_back(page):
    page.run("run", "generate-about", generate_layers="1")
    page.call("delete_chosen", "generate-shown", generate_shown="my joy")
    assert not page.session.vectors and page.can_be_pressed(page.parts["generate-undo"])
    page.call("bring_back", "generate-shown")
    assert page["generate-shown"] == "my joy" and list(page.session.vectors[page["generate-shown"]].layers) == [1]
    assert not page.can_be_pressed(page.parts["generate-undo"])


def other_way(name, count):
    """A preset's pairs that are somebody's own now: with the answers exchanged."""
    pairs = find_pairs(name).first(count)
    exchanged = [replace(pair, positive=pair.negative, negative=pair.positive) for pair in pairs.pairs]
    return replace(pairs, pairs=tuple(exchanged))


def test_of_ones_own_pairs_a_part_is_held_out_and_measured_on(page, tmp_path):
    for name, count in (("many", 34), ("few", 15)):
        write_pairs(other_way("gloom", count), tmp_path / f"{name}.json")
        page.run("read", "generate-kind", generate_upload=str(tmp_path / f"{name}.json"))
        page.run("run", "generate-about", generate_layers="1")
        said = {
            "many": "from 25 pairs. 9 others were held out",
            "few": "from 15 pairs. None were held out: that takes 16",
        }
        assert said[name] in page["generate-status"]
    page.call("follow_vector", "measure-kind", measure_vector="many")
    assert page["measure-preset"] == OWN and "many (held out)" in page["measure-kind"].replace("\\", "")
    assert "Note" not in page["measure-kind"]
    asked = {"measure_layers": "1", "measure_multipliers": "1", "measure_controls": 0}
    page.run("run", "measure-status", measure_vector="many", **asked)
    found = page.session.person.results["measure"]["found"]
    assert found["data"] == "many (held out)" and found["items"] == 9
    # Of what has none, and of items of another thing, it is said.
    page.call("follow_vector", "measure-kind", measure_vector="few")
    assert "Nothing was held out when few was made" in page["measure-kind"]
    page.call("look", "measure-kind", measure_vector="few", measure_preset="joy")
    assert "These items are of joy, and the vector few was made from few" in page["measure-kind"]
    page.call("look", "measure-kind", measure_vector="few", measure_upload=str(tmp_path / "few.json"))
    assert "was made from 15 of these 15 items" in page["measure-kind"]


def started(page, name, **asked):
    """Run an experiment with what is asked by the names of its form, and what follows its end."""
    one = page.experiment(name)
    page.held |= {one.form[part]: value for part, value in asked.items()}
    list(page.start(one))


def test_what_a_vector_does_is_estimated_when_it_is_made_and_stands_along_the_layers_in_steer(page, tmp_path):
    for name, count in (("few", 15), ("many", 34)):
        write_pairs(other_way("gloom", count), tmp_path / f"{name}.json")
        page.run("read", "generate-kind", generate_upload=str(tmp_path / f"{name}.json"))
        started(page, "generate", layers="1,2")
        if name == "few":
            assert page["generate-estimate-status"].startswith("Nothing was held out")
            assert not page.properties[page.parts["generate-estimate-plot"].parent]["visible"]
    assert "Estimated, not measured." in page["generate-estimated"] and page["generate-estimate-plot"]
    assert page["generate-estimate-status"] == ""
    found = page.session.person.results["estimates"][page.session.vectors["many"].sha256]["estimate"]
    assert found["items"] == 9 and found["controls"] == 999 and [one["layer"] for one in found["layers"]] == [1, 2]
    page.run("measure", "steer-strength", steer_vector="many", steer_layer=1)
    here = found["layers"][0]["value"]
    assert "to first order, on 9 items of many (held out)" in page["steer-effect"]
    assert f"here {here:+.2f}." in page["steer-effect"]
    # It stays with the vector.
    page.call("select", "generate-about", generate_shown="few")
    assert not page.properties[page.parts["generate-estimate-plot"].parent]["visible"]
    page.call("select", "generate-about", generate_shown="many")
    assert page.properties[page.parts["generate-estimate-plot"].parent]["visible"]


def test_what_was_measured_of_presets_is_there_at_once_for_whoever_asks_the_same(page, studio, tiny_app):
    asked = {"vector": "joy", "layers": "1", "multipliers": "1", "limit": 4, "controls": 0}
    other = Handlers(studio, tiny_app.page, secrets.token_hex(8))
    for who, known in ((page, False), (other, True)):
        started(who, "measure", **asked)
        assert who["measure-status"].endswith(COMPUTED_BEFORE) == known
    first, second = (one.session.person.results["measure"] for one in (page, other))
    assert first == second and first["found"]["cells"]
    # One's own vector is nobody else's matter, nor is what one wrote.
    other.session.keep(replace(tiny_app.vector("joy"), name="mine"))
    for more in ({"vector": "mine"}, {"told": "Be glad."}):
        for _ in range(2):
            started(other, "measure", **{**asked, **more})
            assert not other["measure-status"].endswith(COMPUTED_BEFORE)


@pytest.mark.parametrize(
    ("name", "status", "asked"),
    [
        ("views-cost", "views-cost", {"layer": 2}),
        ("views-strength", "strength-said", {"layer": 2, "nats": 0.07}),
        ("compete-surface", "compete-surface-status", {"of_a": "0.3", "of_b": "0.3"}),
    ],
)
@pytest.mark.usefixtures("few_plain_answers")
def test_nobody_waits_twice_for_what_presets_cost_and_where_they_balance(page, studio, tiny_app, name, status, asked):
    other = Handlers(studio, tiny_app.page, secrets.token_hex(8))
    for who, known in ((page, False), (other, True)):
        started(who, name, **asked)
        assert who[status].endswith(COMPUTED_BEFORE) == known
    first, second = (one.session.person.results[name] for one in (page, other))
    assert first == second


def test_all_pairs_make_the_vector_where_that_is_asked_for(page, tmp_path):
    write_pairs(other_way("gloom", 20), tmp_path / "all.json")
    page.run("read", "generate-kind", generate_upload=str(tmp_path / "all.json"))
    page.run("run", "generate-about", generate_layers="1", generate_hold=False)
    assert re.fullmatch(r"Made \*\*all\*\* from 20 pairs\. *", page["generate-status"])


def test_what_comes_late_of_an_earlier_choice_is_not_shown_over_a_later_one(page):
    """By when the browser asked, in whatever order it arrives, and while the vectors are made."""
    explain = page.handler("explain", "compete-decomposition")
    told = [page[part.elem_id] if part.elem_id else None for part in explain.inputs]
    place = explain.inputs.index(page.parts["compete-a-vector"])

    def asked(vector, when):
        values = [*told[:-1], when]
        values[place] = vector
        return explain.fn(page.request, *values)

    first = asked("joy", 1.0)
    assert page.parts["compete-a"] in next(first)  # what it is called, before anything is made
    (*_, last) = asked("formal", 3.0)
    assert "Cosine" in last[page.parts["compete-decomposition"]]
    assert list(first) == [] and list(asked("joy", 2.0)) == [gr.skip()]
    assert list(asked("joy", 4.0))


def test_one_vector_on_both_sides_is_refused(page):
    page.run("explain", "compete-decomposition", compete_b_vector="joy")
    assert page["compete-decomposition"] == "A and B are the same vector: choose two."
    for panel in ("compete-status", "compete-verdict-said"):
        with pytest.raises(gr.Error, match="A and B are the same vector"):
            page.run("run", panel, compete_b_vector="joy")
    # Nor under another name.
    page.run("run", "generate-about", generate_layers="1")
    with pytest.raises(gr.Error, match="A and B are the same vector"):
        page.run("run", "compete-status", compete_b_vector="my joy", compete_a_layer=1, compete_b_layer=1)
    # What is the same for any two is not said.
    page.run("explain", "compete-decomposition", compete_b_vector="gloom", compete_b_multiplier=1)
    assert "squared norms" not in page["compete-decomposition"]
    page.run("explain", "compete-decomposition", compete_b_multiplier=0.5)
    assert "squared norms" in page["compete-decomposition"]


def test_answers_say_what_they_were_written_under_and_come_back_with_it(page):
    page.fill("steer-settings", "New tokens", 8)
    page.run("run", "steer-status", steer_prompt="One?", steer_vector="french", steer_layer=2, steer_multiplier=0.6)
    page.run("run", "steer-status", steer_prompt="Two?", steer_vector="german", steer_layer=1, steer_multiplier=2)
    again = page.reloaded()
    again.call("enter", "steer-steered")
    titles = [message["metadata"]["title"] for message in again["steer-steered"] if message.get("metadata")]
    assert [" ".join(one.split()) for one in titles] == ["french · layer 2 · × 0.6", "german · layer 1 · × 2"]
    assert not any(message.get("metadata") for message in again["steer-unsteered"])
    assert "up to 8 new tokens, greedy" in again["steer-steered"][1]["content"]
    assert [again[f"steer-{part}"] for part in ("vector", "layer", "multiplier")] == ["german", 1, 2]
    assert again["steer-status"] == page["steer-status"] and "Steered with **german**" in again["steer-status"]


def test_a_broken_off_answer_says_so_and_goes_on(page, studio):
    page.fill("steer-settings", "New tokens", 12)
    page.run("measure", "steer-strength")
    asked = {"steer_prompt": "My question?", "steer_layer": 1}
    page.run("run", "steer-status", **asked)
    whole = page["steer-steered"][-1]["content"]
    page.call("clear", "steer-status")
    # Before the first token there is nothing to keep, and the prompt stays where it was typed.
    long = "And what else? " * 200  # which is read in slices
    with holding(studio, 1):
        said = []
        for update in page.call("run", "steer-status", **asked | {"steer_prompt": long}):
            said.append(page["steer-status"])
            assert page.parts["steer-prompt"] not in update
            page.session.stop("steer")
    assert said[-2:] == ["Reading the prompt ...", "Stopped before the first token."]
    assert page["steer-steered"] == [] and "steer" not in page.session.person.results
    with holding(studio, 6):
        updates = writing(page, **asked)
        while not page["steer-steered"][-1]["content"]:  # a first token may be a part of a letter
            next(updates)
        meanwhile = reloaded(page)
        meanwhile.call("enter", "steer-steered")
        assert meanwhile["steer-status"] == "Writing ..."  # nothing is broken off that still runs
        page.session.stop("steer")
        list(updates)
    assert "stopped after" in page["steer-status"] and "broken off: Go on" in page["steer-status"]
    again = page.reloaded()
    again.call("enter", "steer-steered")
    assert "broken off: Go on" in again["steer-status"]
    begun = again["steer-steered"][-1]["content"]
    assert begun and whole.startswith(begun) and begun != whole
    again.run("go_on", "steer-status", steer_layer=3)  # goes on under what it was begun with
    assert again["steer-steered"][-1]["content"].startswith(begun)
    assert len(again["steer-steered"][-1]["content"]) > len(begun)
    (title,) = [message["metadata"]["title"] for message in again["steer-steered"] if message.get("metadata")]
    assert " ".join(title.split()) == "joy · layer 1 · × 1"


def test_a_cleared_chat_can_be_brought_back(page):
    page.run("run", "steer-status", steer_layer=1)
    shown, said = page["steer-steered"], page["steer-status"]
    page.call("clear", "steer-status")
    assert page["steer-steered"] == [] and not page.can_be_pressed(page.parts["steer-retry"])
    page.call("bring_back", "steer-status")
    page.call("clear_again", "steer-status")  # which follows the first, and may come late
    assert (page["steer-steered"], page["steer-status"]) == (shown, said)
    again = page.reloaded()
    again.call("enter", "steer-steered")
    assert again["steer-steered"] == shown


def test_a_verdict_of_other_voices_says_so_after_a_reload(page, tmp_path):
    few = {"compete_verdict_file": str(four_items(tmp_path)), "compete_verdict_second_voices": 39}
    page.run("run", "compete-verdict-said", **few, **VOICES)
    verdict, held = page.experiment("compete-verdict"), page.session.shown["compete-verdict"]
    # A preset's answers, which follow the voice, have no use beside one's own.
    followed = verdict.look(page.session, [*({**held, "contest": "formal"}[name] for name in verdict.form)])
    assert "Made with these settings" in followed and "formal" not in followed
    page.run("run", "compete-status", compete_a_vector="formal", compete_b_vector="casual", compete_a_layer=1)
    again = page.reloaded()
    assert (again["compete-a-vector"], again["compete-b-vector"]) == ("formal", "casual")
    assert (again["compete-verdict-file"]["orig_name"], again["compete-verdict-second-voices"]) == ("four.json", 39)
    said = again["compete-verdict-made"]
    assert (
        "Made with other settings: Voice A <b>joy</b>, now formal; " in said
        and "Second voices" not in said.split("<ul>")[0]
    )


KINDS = ("Same layer", "Different layers", "Vector against prompt", "Vector against words")
VOICES = {"compete_a_layer": 1, "compete_b_layer": 2, "compete_a_multiplier": 3.0, "compete_b_multiplier": 1.5}


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_are_what_single_runs_write(studio, page, kind):
    """All columns come out of one batch; each is what it would be by itself."""
    question = page["compete-prompt"]
    page.fill("compete-settings", "New tokens", 24)
    page.run("run", "compete-status", compete_kind=kind, **VOICES)
    kept = page.session.person.results["compete"]
    answers, chosen = kept["exchanges"][-1]["answers"], Chosen.of(kept["asked"])

    def alone(model):
        a, b = yield from Voicing(studio).both(model, page.session, chosen)
        told, begin = b.system, b.prefill
        runs = [((), "", ""), (a.steers, "", ""), (b.steers, told, begin), (a.steers + b.steers, told, begin)]
        if kind == KINDS[0]:
            runs.append((shared_part(a, b).steers, "", ""))
        texts = []
        for steers, system, words in runs:
            asked = [{"role": "user", "content": question}]
            prompt = with_prefill(model.tokenizer, render(model.tokenizer, asked, system), words)
            (written,) = yield from generate(model, [BatchRow(prompt, steers)], Decoding(24))
            texts.append(words + written.text)
        return texts

    texts = studio.run(alone).wait()
    texts += texts[-1:] * (5 - len(texts))  # what is not written is what both wrote
    assert answers == tuple(texts)
    assert len(set(answers[:4])) == 4
    if kind == KINDS[-1]:
        begins = page["compete-begins"]
        assert [answer.startswith(begins) for answer in answers[1:4]] == [False, True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_before_anything_is_computed_there_is_a_sentence(page, kind):
    page.run("explain", "compete-decomposition", compete_kind=kind, **VOICES)
    said = page["compete-decomposition"]
    assert said.startswith("**") and "relative strength" in said
    assert {"Same layer": "They ", "Different layers": "different layers"}.get(kind, "is no sum") in said
    shown = {part: page.properties[page.parts[part]]["visible"] for part in ("compete-shared", "compete-apart")}
    assert shown == {"compete-shared": kind == KINDS[0], "compete-apart": kind in KINDS[:2]}


def test_a_verdict_and_a_surface_survive_a_reload_and_are_not_computed_twice(page):
    asked = {"compete_verdict_second_voices": 39, "compete_kind": "Same layer", **VOICES}
    page.run("run", "compete-verdict-said", **asked)
    said = page["compete-verdict-said"]
    assert "13 items of joy against gloom" in said.replace("\\", "")
    again = page.run("run", "compete-verdict-said", **asked)
    assert page["compete-verdict-said"] == said and not any("<progress" in str(u) for u in again)
    numbers = page["compete-verdict-numbers"]
    assert "✓ Self-test passed" in numbers and "random vectors" in numbers
    del asked["compete_verdict_second_voices"]
    asked |= {"compete_surface_of_a": "0,1", "compete_surface_of_b": "0,0.25"}
    page.run("run", "compete-surface-said", **asked)
    reloaded = page.reloaded()
    for part in ("compete-verdict-said", "compete-verdict-gauge", "compete-surface-said"):
        assert reloaded[part] == page[part]
    # The sections are folded, and say in a line what came of them.
    for section in ("compete-verdict-details", "compete-surface"):
        title, _, line = reloaded.parts[section].label.partition(" · ")
        assert title in (ContestPanel.title, SurfacePanel.title) and line and not reloaded.parts[section].open
    assert reloaded.parts["compete-verdict-details"].visible
    assert reloaded.parts["compete-reasoning"].label == ThinkingPanel.title
    # A cell goes into the sliders, and only a cell.
    kind, at_a, at_b, a, b = page.call(
        "choose", "compete-a-multiplier", compete_surface_at_a=1, compete_surface_at_b=0.25
    )
    assert (a.value, b.value, b.step) == (1, 0.25, 0.01)
    asked |= {"compete_surface_over": "Layers", "compete_surface_of_a": "0,1", "compete_surface_of_b": "2"}
    page.run("run", "compete-surface-said", **asked)
    kind, at_a, at_b, *_ = page.call("choose", "compete-a-multiplier", compete_surface_at_a=1, compete_surface_at_b=2)
    assert (kind, at_a, at_b) == ("Different layers", 1, 2)
    with pytest.raises(gr.Error, match="no layer 77"):
        page.call("choose", "compete-a-multiplier", compete_surface_at_a=77, compete_surface_at_b=2)


def test_a_kept_contest_is_read_once(page, monkeypatch, tmp_path):
    few = {"compete_verdict_file": str(four_items(tmp_path)), "compete_verdict_second_voices": 0}
    page.run("run", "compete-verdict-said", **few, **VOICES)
    read, restore = [], Contest.of
    monkeypatch.setattr(Contest, "of", lambda kept: read.append(kept) or restore(kept))
    assert page.reloaded()["compete-verdict-said"] == page["compete-verdict-said"]
    assert len(read) == 1


def test_the_answer_under_both_is_read_where_there_is_one(page):
    said = page.run("run", "compete-tokens-text", compete_a_layer=1, compete_b_layer=2)
    assert said == [{page.parts["compete-tokens-text"]: NOTHING}]
    page.run("run", "compete-status", **VOICES)
    page.run("run", "compete-tokens-text", compete_a_layer=1, compete_b_layer=2)
    assert "caa-tokens" in page["compete-tokens-text"]
    assert page.reloaded()["compete-tokens-text"] == page["compete-tokens-text"]


def test_written_answers_survive_a_reload_and_are_not_written_twice(page):
    asked = {"compete_written_samples": 1, "compete_kind": "Same layer", **VOICES}
    page.fill("compete-written-settings", "New tokens", 16)
    page.run("run", "compete-written-said", **asked)
    said = page["compete-written-said"]
    again = page.run("run", "compete-written-said", **asked)
    assert page["compete-written-said"] == said and not any("<progress" in str(u) for u in again)
    reloaded = page.reloaded()
    assert reloaded["compete-written-said"] == said
    other = page.run("run", "compete-written-said", **asked | {"compete_written_samples": 2})
    assert any("<progress" in str(update) for update in other)


def test_a_look_for_the_model_that_ends_late_does_not_undo_an_upload(page, tmp_path, monkeypatch):
    write_pairs(find_pairs("gloom").first(5), tmp_path / "mine.json")
    kind = page.parts["generate-kind"]

    def meanwhile(draft, model):
        monkeypatch.undo()
        page.run("read", "generate-kind", generate_upload=str(tmp_path / "mine.json"))
        return replace(draft, name="late")

    monkeypatch.setattr(Draft, "for_model", meanwhile)
    assert kind not in page.call("another_model", "generate-kind")
    assert page.session.person.draft.name == "mine"
    assert "### mine" in page.reloaded()["generate-kind"]
    monkeypatch.setattr(Draft, "for_model", lambda draft, model: replace(draft, name="for the new model"))
    assert "for the new model" in page.reloaded()["generate-kind"]


def test_a_reload_names_the_vector_as_the_choice_did(page):
    page.call("choose", "generate-kind", generate_preset="gloom")
    assert page.reloaded()["generate-name"] == page["generate-name"] == "my gloom"


def test_a_mend_keeps_what_the_page_shows_no_column_for(page, tmp_path):
    rows = [
        {"system": "Be short.", "prompt": f"Question {i}?", "chosen": f"Yes, {i}!", "rejected": f"No, {i}."}
        for i in range(6)
    ]
    (tmp_path / "told.json").write_text(json.dumps([*rows, rows[0]]))
    page.run("read", "generate-kind", generate_upload=str(tmp_path / "told.json"))
    draft = page.session.person.draft
    (mend,) = [value for _, value in draft.offers if value.startswith("drop") and "again" in value]
    page.call("again", "generate-kind", generate_mends=[mend])
    draft = page.session.person.draft
    assert {pair.system for pair in draft.pairs.pairs} == {"Be short."} and len(draft.pairs.pairs) == 6


def test_what_was_at_hand_where_an_error_came_up_is_freed_with_it():
    """A file's tensors by the hundred megabytes; the collector of cycles does not see how large they are."""
    seen = []

    def read(chained):
        found = torch.ones(3)
        seen.append(weakref.ref(found))
        raise ValueError if chained else InputError("It holds too much.")

    @guarded
    def handler(chained):
        try:
            read(chained)
        except ValueError as error:
            if chained:
                raise InputError("It cannot be read.") from error
            raise

    gc.disable()
    try:
        for chained in (False, True):
            with pytest.raises(gr.Error, match="It ") as said:
                handler(chained)
            assert said and seen.pop()() is None
    finally:
        gc.enable()


def test_a_handler_that_has_nothing_to_show_changes_nothing():
    """Such as one whose answer comes too late; gradio takes it for one that empties all that it may write to."""
    with gr.Blocks() as blocks:
        parts = [gr.Textbox("one"), gr.Chatbot([])]
        blocks.load(guarded(lambda: (yield from ())), None, parts)
    (event,) = blocks.fns.values()
    found = ran(blocks.process_api(event, [], state=SessionState(blocks)))
    assert found["data"] == [gr.skip(), gr.skip()]


def test_pairs_of_each_page_count_and_are_freed_where_there_is_no_room(page, tmp_path, monkeypatch):
    monkeypatch.setenv("CAA_MAX_KEPT_MB", "1")
    rows = [{"prompt": f"{i}? {'word ' * 800}", "positive": f"Yes, {i}!", "negative": f"No, {i}."} for i in range(100)]
    (tmp_path / "large.json").write_text(json.dumps(rows))
    first, second = page.request.session_hash, secrets.token_hex(8)
    other, person = Handlers(page.studio, page.page, second), page.session.person
    page.studio.sessions.enter(second, person.key)
    for one in (page, other):
        one.run("read", "generate-kind", generate_upload=str(tmp_path / "large.json"))
    assert list(person.drafts) == [second] and person.draft is person.drafts[second]
    gc.collect()
    with pytest.raises(gr.Error, match="others came in their place, or they had to make room"):
        page.call("again", "generate-kind", generate_mends=[])
    other.call("again", "generate-kind", generate_mends=[])
    page.call("choose", "generate-kind", generate_preset="gloom")
    # With a page goes what it worked on, but for what a reload shows.
    for gone in (second, first):
        person.without_page(gone)
        assert list(person.drafts) == [first] and person.draft is person.drafts[first]


def test_what_is_chosen_while_another_choice_is_worked_on_is_of_the_same_file(page, tmp_path):
    (tmp_path / "odd.csv").write_text("ask,yes,no\nRain?,What joy!,It is wet.\nSun?,So hot!,It is hot.")
    for asked in (True, False, True):
        if asked:
            page.run("read", "generate-kind", generate_upload=str(tmp_path / "odd.csv"))
        else:
            page.call("choose", "generate-kind", generate_preset="gloom")
        page.call("_what_is_needed", "generate-status")
        assert ("[Choose](#generate-columns)" in page["generate-status"]) == asked
    (state, *_) = page.handler("again", "generate-kind").inputs
    before, ask = page.held[state], {"generate_prompt_column": "ask", "generate_mends": []}
    page.call("again", "generate-kind", **ask)
    page.held[state] = before  # it was sent before the page had been told
    gc.collect()
    list(page.start(page.experiment("generate")))  # a moment too early
    assert "Choose columns" in page["generate-status"]
    page.call("again", "generate-kind", **ask, generate_positive_column="yes", generate_negative_column="no")
    assert "2 of 2 pairs are usable" in page["generate-kind"]
    page.call("_what_is_needed", "generate-status")
    assert page["generate-status"] == ""


def test_of_more_pairs_than_a_vector_may_have_the_first_are_looked_over(page, tmp_path, monkeypatch):
    monkeypatch.setenv("CAA_MAX_PAIRS", "5")
    write_pairs(find_pairs("gloom").first(9), tmp_path / "mine.json")
    page.run("read", "generate-kind", generate_upload=str(tmp_path / "mine.json"))
    draft = page.session.person.draft
    assert len(draft.table.records) == len(draft.pairs.pairs) == draft.report.pairs == 5
    assert "the first 5 of 9 records" in page["generate-kind"].replace("\\", "")
    page.call("again", "generate-kind", generate_mends=[])
    assert "the first 5 of 9 records" in page.session.person.draft.table.kind


def test_a_preset_offers_its_opposite(page):
    page.call("follow_a", "compete-b-vector", compete_a_vector="french", compete_b_layer=3, compete_kind=KINDS[0])
    german = presets()["german"]
    assert (page["compete-b-vector"], page["compete-b-layer"]) == ("german", 3)
    assert (page["compete-told"], page["compete-begins"]) == (german.told, german.begins)
    assert page["compete-verdict-contest"] == "french"
    assert ("french against german", "french") in page.parts["compete-verdict-contest"].choices
