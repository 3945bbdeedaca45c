"""The panels' handlers, called as gradio calls them, on a tiny model."""

import inspect
import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from app import build
from caa_core.app.library import Library
from caa_core.app.panels.common import guarded, plain
from caa_core.app.panels.contest.chosen import Chosen, Voicing
from caa_core.app.panels.pairs import Draft
from caa_core.app.studio import Studio
from caa_core.cli.main import main
from caa_core.contest.decomposition import shared_part
from caa_core.data.pairs import write_pairs
from caa_core.data.presets import find_pairs, presets
from caa_core.errors import InputError
from caa_core.model.prompts import render, with_prefill
from caa_core.steering.generation import BatchRow, Decoding, generate
from tests.helpers.models import save_tiny


@pytest.fixture
def tiny_folder(tmp_path):
    return str(save_tiny(tmp_path / "tiny"))


class Page:
    """The page of one person: its parts by element id, and its handlers by their inputs and names."""

    def __init__(self, studio, name="page"):
        self.blocks = build(studio)
        self.request = gr.Request(session_hash=name)
        self.parts = {part.elem_id: part for part in self.blocks.blocks.values() if part.elem_id}

    def handler(self, name, output):
        """The handler of that name that writes to a part, whatever calls it."""
        found = [
            fn
            for fn in self.blocks.fns.values()
            if fn.name == name and self.parts[output] in fn.outputs and fn.trigger_mode != "multiple"
        ]
        assert len({fn.fn for fn in found}) == 1
        return found[0]

    def call(self, name, output, **values):
        """Call it with what the page begins with, but `values` by element id."""
        fn = self.handler(name, output)
        given = [values.get((part.elem_id or "").replace("-", "_"), getattr(part, "value", None)) for part in fn.inputs]
        asking = [self.request] if "request" in inspect.signature(fn.fn).parameters else []
        return fn.fn(*asking, *given)

    def text(self, updates, part):
        """What the last of some updates says in a part."""
        return [update[self.parts[part]] for update in updates if self.parts[part] in update][-1]


def loaded(folder, library=None):
    return Studio(folder, say=lambda _: None, library=library)


def settled(studio):
    """The studio, when the first look at its model is over."""
    studio._look.wait()
    return studio


def test_a_chat_is_in_the_library_and_comes_back_after_a_restart(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    page = Page(loaded(tiny_folder, library))
    updates = list(page.call("send", "steer-status", steer_prompt="My question?", steer_layer=1))
    assert "wrote" in page.text(updates, "steer-status")
    shown = page.text(updates, "steer-steered")
    library._lock.release()
    again = Page(loaded(tiny_folder, Library(tmp_path / "library")), "another page")
    restored = again.call("restore", "steer-steered")
    assert restored[again.parts["steer-steered"]] == shown and shown[0]["content"] == "My question?"


def test_what_was_written_before_a_stop_is_in_the_library_and_what_was_cleared_is_not(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    studio = loaded(tiny_folder, library)
    page = Page(studio)
    writing = page.call("send", "steer-status", steer_prompt="My question?", steer_layer=1)
    while not any("Writing" in str(update) for update in next(writing).values()):
        pass
    studio.session("page").stop("steer")
    assert "stopped after" in page.text(list(writing), "steer-status")
    assert dict(library.results())["steer"][0]["answers"]
    writing = page.call("send", "steer-status", steer_prompt="Another?", steer_layer=1)
    while not any("Writing" in str(update) for update in next(writing).values()):
        pass
    page.call("clear", "steer-status")
    list(writing)
    assert "steer" not in dict(library.results()) and "steer" not in studio.session("page").person.results


def test_who_writes_is_told_who_else_shares_the_model_and_how_long_the_wait_is(tiny_folder):
    studio = settled(loaded(tiny_folder))
    page, gate = Page(studio), threading.Event()

    def hold():
        gate.wait(20)
        while True:
            yield

    other = studio.run(lambda model: hold())
    writing = page.call("send", "steer-status", steer_layer=1)
    said = []
    for update in writing:
        said.append(update.get(page.parts["steer-status"]))
        if "before you" in said[-1]:
            gate.set()
    other.stop()
    assert said[:2] == ["Waiting for the model ...", "Waiting for the model: 1 before you, about 1 s"]
    assert "Writing ... 1 other job shares the model." in said


def test_buttons_come_back_after_every_outcome(tiny_folder):
    """gradio starts what follows by `then` after success and cancelling, and by `failure` after errors."""
    page = Page(loaded(tiny_folder))
    for button, name in (
        ("steer-write", "send"),
        ("steer-retry", "retry"),
        ("compete-write", "send"),
        ("generate-make", "run"),
        ("generate-compare", "weigh_up"),
        ("combine-make", "combine"),
        ("model-load", "change"),
        ("measure-run", "run"),
        ("behaviours-run", "run"),
    ):
        starter = page.handler(name, button)
        after = [fn for fn in page.blocks.fns.values() if fn.trigger_after == starter._id]
        assert {
            fn.trigger_only_on_failure
            for fn in after
            if page.parts[button] in fn.outputs and not fn.queue and fn.fn()[page.parts[button]].interactive
        } == {False, True}, button


def test_loading_says_whom_it_affects_and_a_failure_leaves_the_old_model(tiny_folder):
    studio = loaded(tiny_folder)
    page, old = Page(studio), studio.model
    for other in ("page", "b", "c"):
        studio.session(other)
    tab = page.call("refresh", "model-affected")
    assert "**3 people** are here now" in tab[page.parts["model-affected"]]
    said = []
    with pytest.raises(gr.Error, match="There is no model") as caught:
        for update in page.call("change", "model-status", model_spec="<b>no such model"):
            said.append(update[page.parts["model-status"]])
    assert said[0] == r"Loading \<b\>no such model for you and 2 others ..." and "<b>" not in str(caught.value)
    assert studio.model is old
    updates = list(page.call("send", "steer-status", steer_layer=1))
    assert "wrote" in page.text(updates, "steer-status")


def test_on_a_public_app_only_the_owner_loads_a_model(tiny_folder, monkeypatch):
    studio = loaded(tiny_folder)
    old = studio.model
    monkeypatch.setenv("CAA_PUBLIC", "1")
    assert not Page(studio).parts["model-load"].parent.visible
    monkeypatch.setenv("CAA_OWNER_KEY", "a long key")
    page = Page(studio)
    assert page.parts["model-load"].parent.visible and not page.parts["model-spec"].allow_custom_value
    for key in ("", "another key", "\ud800", None):
        with pytest.raises(gr.Error, match="only its owner may load"):
            list(page.call("change", "model-status", model_spec=tiny_folder, model_key=key))
    # The owner's key opens the list, and still no path.
    with pytest.raises(gr.Error) as caught:
        list(page.call("change", "model-status", model_spec=tiny_folder, model_key="a long key"))
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


def test_one_session_does_not_take_all_turns(tiny_folder, monkeypatch):
    monkeypatch.setenv("CAA_MAX_JOBS", "2")
    studio = loaded(tiny_folder)
    session = studio.session("page")

    def forever():
        while True:
            yield 1

    running = [session.follow(name, studio.run(lambda model: forever())) for name in "ab"]
    assert [next(events) for events in running] == [1, 1]
    third = studio.run(lambda model: forever())
    with pytest.raises(InputError, match="3 jobs at once in one session are too many"):
        next(session.follow("c", third))
    assert third.wait() is None and third.stopped
    assert next(session.follow("b", studio.run(lambda model: forever()))) == 1  # in place of the older one
    session.stop_all()


def test_the_paper_s_figures_of_what_was_measured(tiny_folder):
    studio = loaded(tiny_folder)
    page = Page(studio)
    with pytest.raises(gr.Error, match="Measure under Layers and multipliers first"):
        list(page.call("run", "paper-said", paper_which="Effect by layer"))
    asked = {"measure_layers": "1,2", "measure_multipliers": "-1,1", "measure_controls": 1}
    updates = list(page.call("run", "measure-verdict", **asked))
    assert page.text(updates, "measure-status").startswith("Measured 4 of 4 cells")
    report = studio.session("page").path("joy on joy (held out)", ".html").read_text()
    assert "heatmap" in report and "model_fingerprint" in report
    drawn = list(page.call("run", "paper-said", paper_which="Effect by layer", measure_layer=2))
    assert "joy: effect by layer" in page.text(drawn, "paper-said")
    assert [list(trace.x) for trace in page.text(drawn, "paper-figure").data if trace.name == "× +1"] == [[0, 1, 2, 3]]
    drawn = list(page.call("run", "paper-said", paper_which="Token by token", measure_layer=2))
    assert "caa-tokens" in page.text(drawn, "paper-text").value
    few = {"behaviours_presets": ["gloom"], "behaviours_items": 4, "behaviours_controls": 1}
    updates = list(page.call("run", "behaviours-said", behaviours_mine=True, **few))
    assert page.text(updates, "behaviours-status") == "Measured 2 behaviours."
    assert "joy on joy (held out): " in str(page.text(updates, "behaviours-which").choices)
    again = page.call("restore", "paper-said")
    assert again[page.parts["paper-which"]] == "Token by token"


def test_several_behaviours_go_on_after_a_stop_and_a_reload(tiny_folder):
    studio = loaded(tiny_folder)
    page = Page(studio)
    few = {"behaviours_pairs": 4, "behaviours_items": 4, "behaviours_controls": 1}
    updates = []
    for update in page.call("run", "behaviours-said", **few):
        updates.append(update)
        studio.session("page").stop("behaviours")
    assert re.match("Stopped with [01] of 2 behaviours", page.text(updates, "behaviours-status"))
    updates = list(page.call("run", "behaviours-said", **few))
    assert page.text(updates, "behaviours-status") == "Measured 2 behaviours."
    known = studio.session("page").person.results["behaviours-known"]
    assert len(known) == 2
    list(page.call("run", "behaviours-said", **few))
    assert studio.session("page").person.results["behaviours-known"] == known  # seconds and all: not measured again
    for ending in ("html", "json", "csv"):
        assert studio.session("page").path("several behaviours", f".{ending}").stat().st_size > 1000
    restored = page.call("restore", "behaviours-said")
    assert "gloom" in restored[page.parts["behaviours-said"]]
    with pytest.raises(gr.Error, match="Measure under Layers and multipliers first"):
        list(page.call("run", "behaviours-said", behaviours_mine=True, **few))
    shown = page.call("again", "behaviours-said", behaviours_which="Effect by multiplier")
    assert len(shown[page.parts["behaviours-figure"]].data) >= 2


def test_the_page_measures_what_the_command_line_says(tiny_folder, tmp_path, capsys):
    items, studio = tmp_path / "four.json", loaded(tiny_folder)
    write_pairs(presets()["joy"].test().first(4), items)
    page = Page(studio)
    updates = list(page.call("run", "measure-status", measure_upload=str(items), measure_layers="1-2"))
    assert page.text(updates, "measure-status") == "Measured 10 of 10 cells."
    found = studio.session("page").person.results["measure"]["found"]
    given = ["--model", tiny_folder, "--vector", "joy", "--data", str(items), "--layers", "1-2"]
    assert main(["evaluate", *given, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert found["verdict"]["controls"] == 20 and json.loads(json.dumps(found)) == said


def test_a_study_is_shown_and_comes_back_after_a_restart(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    page = Page(loaded(tiny_folder, library))
    asked = {"study_layers": "1,2", "study_multipliers": "-1,1", "study_most": 3, "study_controls": 2}
    updates = list(page.call("run", "study-status", **asked))
    assert page.text(updates, "study-status") == "Measured 36 of 36 cells."
    assert "- Layer 2. Nothing is called an effect without 20 controls of each" in page.text(updates, "study-answers")
    assert "Left out: Read position last\\-prompt: " in page.text(updates, "study-answers")
    with pytest.raises(gr.Error, match="no layer 9"):
        list(page.call("run", "study-status", study_layers="9"))
    told = page.call("look", "study-size", study_layers="1", study_multipliers="-1,1", study_design="Every combination")
    assert "48 combinations × 1 layer × 2 multipliers = 96 cells" in told
    library._lock.release()
    again = Page(loaded(tiny_folder, Library(tmp_path / "library")), "another page")
    restored = again.call("restore", "study-answers")
    assert restored[again.parts["study-answers"]] == page.text(updates, "study-answers")
    # What is known is not computed again.
    assert "Measured 36 of 36 cells." in again.text(list(again.call("run", "study-status", **asked)), "study-status")


def test_the_capability_check_is_one_click_and_says_where_there_is_nothing_to_lose(tiny_folder, tmp_path):
    page = Page(loaded(tiny_folder))
    updates = list(page.call("run", "capability-said", views_layer=1, capability_multipliers="1"))
    assert "no better than chance, so there is nothing to lose" in page.text(updates, "capability-said")
    write_pairs(presets()["joy"].test(), tmp_path / "texts.json")
    with pytest.raises(gr.Error, match="is no test of knowledge"):
        list(page.call("run", "capability-said", views_layer=1, capability_file=str(tmp_path / "texts.json")))


def test_what_look_inside_measured_comes_back_after_a_restart(tiny_folder, tmp_path):
    library = Library(tmp_path / "library")
    page = Page(loaded(tiny_folder, library))
    parts = {"capability-said": "run", "views-status": "run", "views-cost": "run"}
    asked = {"views_layer": 1, "views_multiplier": 2.0, "capability_multipliers": "1"}
    last = [list(page.call(handler, part, **asked))[-1] for part, handler in parts.items()]
    library._lock.release()
    again = Page(loaded(tiny_folder, Library(tmp_path / "library")), "another page")
    restored = {}
    for part in parts:
        restored |= again.call("restore", part)
    drawn = {part.elem_id: value for update in last for part, value in update.items() if part.elem_id}
    assert {"capability-figure", "capability-data", "views-alignment", "views-costs", "views-costs-data"} < drawn.keys()
    for name, value in drawn.items():
        back = restored[again.parts[name]]
        if isinstance(value, gr.DownloadButton):
            assert Path(back.value["path"]).read_bytes() == Path(value.value["path"]).read_bytes()
        else:
            assert back == value


KINDS = ("Same layer", "Different layers", "Vector against prompt", "Vector against words")
VOICES = {"compete_a_layer": 1, "compete_b_layer": 2, "compete_a_multiplier": 3.0, "compete_b_multiplier": 1.5}


@pytest.fixture(scope="module")
def competing(tmp_path_factory):
    """A page on a tiny float32 model, with the vectors of both voices made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAA_DTYPE", "float32")
        studio = loaded(str(save_tiny(tmp_path_factory.mktemp("tiny"))))
    return studio, Page(studio)


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_are_what_single_runs_write(competing, kind):
    """All columns come out of one batch; each is what it would be by itself."""
    studio, page = competing
    list(page.call("send", "compete-status", compete_kind=kind, **VOICES))
    session = studio.session("page")
    answers = session.person.results["compete"][-1]["answers"]
    chosen = Chosen.kept(session)

    def alone(model):
        a, b = yield from Voicing(studio).both(model, session, chosen)
        told, begin = b.system, b.prefill
        runs = [((), "", ""), (a.steers, "", ""), (b.steers, told, begin), (a.steers + b.steers, told, begin)]
        if kind == KINDS[0]:
            runs.append((shared_part(a, b).steers, "", ""))
        texts = []
        for steers, system, words in runs:
            asked = [{"role": "user", "content": page.parts["compete-prompt"].value}]
            prompt = with_prefill(model.tokenizer, render(model.tokenizer, asked, system), words)
            (written,) = yield from generate(model, [BatchRow(prompt, steers)], Decoding(80))
            texts.append(words + written.text)
        return texts

    texts = studio.run(alone).wait()
    texts += texts[-1:] * (5 - len(texts))  # what is not written is what both wrote
    assert answers == tuple(texts)
    assert len(set(answers[:4])) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_before_anything_is_computed_there_is_a_sentence(competing, kind):
    _, page = competing
    said = page.text(
        list(page.call("explain", "compete-decomposition", compete_kind=kind, **VOICES)), "compete-decomposition"
    )
    assert said.startswith("**") and "relative strength" in said
    assert {"Same layer": "They ", "Different layers": "different layers"}.get(kind, "is no sum") in said
    last = list(page.call("explain", "compete-decomposition", compete_kind=kind, **VOICES))[-1]
    shown = {part: last[page.parts[part]].visible for part in ("compete-shared", "compete-apart")}
    assert shown == {"compete-shared": kind == KINDS[0], "compete-apart": kind in KINDS[:2]}


def test_a_verdict_and_a_surface_survive_a_reload_and_are_not_computed_twice(competing):
    _, page = competing
    asked = {"compete_verdict_controls": 2, "compete_kind": "Same layer", **VOICES}
    said = page.text(list(page.call("run", "compete-verdict-said", **asked)), "compete-verdict-said")
    assert "13 items of joy against gloom" in said.replace("\\", "")
    again = list(page.call("run", "compete-verdict-said", **asked))
    assert page.text(again, "compete-verdict-said") == said and not any("<progress" in str(u) for u in again)
    numbers = page.text(again, "compete-verdict-numbers")
    assert "✓ Self-test passed" in numbers and "random vectors" in numbers
    asked = {"compete_surface_of_a": "0,1", "compete_surface_of_b": "0,0.25", **asked}
    drawn = page.text(list(page.call("run", "compete-surface-said", **asked)), "compete-surface-said")
    for part, words in (("compete-verdict-said", said), ("compete-surface-said", drawn)):
        assert page.call("restore", part)[page.parts[part]] == words
    # A cell goes into the sliders, and only a cell.
    kind, at_a, at_b, a, b = page.call(
        "choose", "compete-a-multiplier", compete_surface_at_a=1, compete_surface_at_b=0.25
    )
    assert (a.value, b.value, b.step) == (1, 0.25, 0.01)
    asked |= {"compete_surface_over": "Layers", "compete_surface_of_a": "0,1", "compete_surface_of_b": "2"}
    list(page.call("run", "compete-surface-said", **asked))
    kind, at_a, at_b, *_ = page.call("choose", "compete-a-multiplier", compete_surface_at_a=1, compete_surface_at_b=2)
    assert (kind, at_a, at_b) == ("Different layers", 1, 2)
    with pytest.raises(gr.Error, match="no layer 77"):
        page.call("choose", "compete-a-multiplier", compete_surface_at_a=77, compete_surface_at_b=2)


def test_written_answers_survive_a_reload_and_are_not_written_twice(competing):
    _, page = competing
    asked = {"compete_written_samples": 1, "compete_kind": "Same layer", **VOICES}
    said = page.text(list(page.call("run", "compete-written-said", **asked)), "compete-written-said")
    again = list(page.call("run", "compete-written-said", **asked))
    assert page.text(again, "compete-written-said") == said and not any("<progress" in str(u) for u in again)
    assert page.call("restore", "compete-written-said")[page.parts["compete-written-said"]] == said
    other = list(page.call("run", "compete-written-said", **asked | {"compete_written_samples": 2}))
    assert any("<progress" in str(update) for update in other)


def test_a_look_for_the_model_that_ends_late_does_not_undo_an_upload(competing, tmp_path, monkeypatch):
    studio, page = competing
    write_pairs(find_pairs("gloom").first(5), tmp_path / "mine.json")
    kind = page.parts["generate-kind"]

    def meanwhile(draft, model):
        monkeypatch.undo()
        page.call("read", "generate-kind", generate_upload=str(tmp_path / "mine.json"))
        return replace(draft, name="late")

    monkeypatch.setattr(Draft, "for_model", meanwhile)
    assert kind not in page.call("another_model", "generate-kind")
    assert studio.session("page").person.draft.name == "mine"
    assert "### mine" in page.call("restore", "generate-kind")[kind]
    monkeypatch.setattr(Draft, "for_model", lambda draft, model: replace(draft, name="for the new model"))
    assert "for the new model" in page.call("restore", "generate-kind")[kind]


def test_a_reload_names_the_vector_as_the_choice_did_and_comes_late_to_a_page_that_shows_it(competing):
    _, page = competing
    name, kind = page.parts["generate-name"], page.parts["generate-kind"]
    chosen = page.call("choose", "generate-kind", generate_preset="gloom")
    assert page.call("restore", "generate-kind")[name] == chosen[name] == "my gloom"
    draft = next(update for update in chosen.values() if isinstance(update, Draft))
    assert kind not in page.call("restore", "generate-kind", **{"": draft})  # nor undoes a name typed meanwhile


def test_a_preset_offers_its_opposite(competing):
    _, page = competing
    brought = page.call(
        "follow_a", "compete-b-vector", compete_a_vector="french", compete_b_layer=3, compete_kind=KINDS[0]
    )
    assert brought[1:] == ["german", 3, presets()["german"].told, presets()["german"].begins, "french"]
