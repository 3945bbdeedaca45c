"""Links that are copied on one page, and followed on another."""

import secrets
from contextlib import suppress
from dataclasses import replace
from urllib.parse import parse_qsl

import gradio as gr
import pytest

from caa_core.app.opening.links import FIELDS, TABS, named
from caa_core.app.panels.contest.chosen import DIFFERENT, TOLD
from caa_core.app.panels.made_with import NOT_ALL, Linked, take_link
from caa_core.app.panels.measuring.study import GRID
from tests.helpers.handlers import Handlers
from tests.helpers.vectors import towards

ANOTHER = "The link was made with the model gpt2, and here is tiny: what comes of it may differ."


@pytest.fixture
def said(monkeypatch):
    """What the page warns of, and what it tells."""
    said = []
    monkeypatch.setattr("gradio.Warning", lambda message, title="": said.append((title, message)))
    monkeypatch.setattr("gradio.Info", said.append)
    return said


@pytest.fixture
def visit(tiny_app, said):
    """Call it for the page of somebody who comes with a query, somebody new or another page's person."""

    def visit(query="", beside=None):
        name = secrets.token_hex(8)
        if beside:
            tiny_app.studio.sessions.enter(name, beside.session.person.key)
        given = dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
        # gradio draws other tabs than the first once it is known with what somebody came.
        take_link(tiny_app.studio, tiny_app.studio.session(name), given)
        said.clear()
        page = Handlers(tiny_app.studio, tiny_app.page, name)
        page.request = gr.Request(session_hash=name, query_params=given)
        with suppress(KeyError):  # the tab that the address names, if there is one, is opened
            page.parts[f"{given.get('tab')}-link-text"]
        page.call("enter", "steer-vector")
        return page

    return visit


def copied(page, tab, **values):
    page.call("link", f"{tab}-link-text", **values)
    return page[f"{tab}-link-text"]


def held(page, values):
    return {name: page[name.replace("_", "-")] for name in values}


def links(page):
    page.parts.open_all()
    return {fn.fn.__self__ for fn in page.blocks.fns.values() if isinstance(getattr(fn.fn, "__self__", None), Linked)}


STEER = {
    "steer_prompt": "Who are <b>you</b> & me?",
    "steer_vector": "french",
    "steer_layer": 2,
    "steer_multiplier": 6.5,
    "steer_operation": "cap:-0.25",
    "steer_spread": "1,2-3",
    "steer_shares": "norm",
    "steer_gate": "joy:1:0.5",
}
COMPETE = {
    "compete_prompt": "Which?",
    "compete_a_vector": "formal",
    "compete_a_layer": 1,
    "compete_a_multiplier": 0.3,
    "compete_b_vector": "french",
    "compete_b_layer": 3,
    "compete_b_multiplier": -2,
    "compete_kind": DIFFERENT,
    "compete_apart": True,
    "compete_operation_b": "ablate",
    "compete_spread_a": "1-2",
    "compete_shares": "norm",
    "compete_verdict_contest": "french",
    "compete_verdict_second_voices": 0,
}
BESIDE_WORDS = {"compete_kind": TOLD, "compete_told": "Speak <i>softly</i>.\nNow.", "compete_a_multiplier": -1}
MEASURE = {
    "measure_vector": "gloom",
    "measure_preset": "gloom",
    "measure_questions": True,
    "measure_layers": "1,3",
    "measure_multipliers": "-1,1.25",
    "measure_controls": "0",
    "measure_prompts": False,
    "measure_operation": "keep-norm",
    "measure_together": True,
    "measure_told": "Be glad.\nSmile!",
    "measure_shown": "Cost (KL)",
}

OPEN = {
    "open_vector": "formal",
    "open_layer": 3,
    "open_spread": "1-2",
    "open_shares": "norm",
    "open_multipliers": "-1,0,1",
    "open_preset": "formal",
}
BEHAVIOURS = {
    "behaviours_presets": ["formal", "french"],
    "behaviours_questions": True,
    "behaviours_pairs": 4,
    "behaviours_items": 8,
    "behaviours_controls": 0,
    "behaviours_operation": "ablate",
}
STUDY = {"study_preset": "formal", "study_layers": "2", "study_design": GRID, "study_most": 4, "study_controls": 0}


@pytest.mark.parametrize(
    ("tab", "values"),
    [
        ("steer", STEER),
        ("compete", COMPETE),
        ("compete", BESIDE_WORDS),
        ("measure", MEASURE),
        ("open", OPEN),
        ("study", STUDY),
        ("behaviours", BEHAVIOURS),
    ],
)
def test_a_link_brings_back_what_was_chosen(visit, said, tab, values):
    query = copied(visit(), tab, **values)
    assert query.startswith(f"?v=1&tab={tab}&model=tiny&")
    again = visit(query)
    assert said == [] and held(again, values) == values
    assert copied(again, tab) == query


def test_settings_of_writing_come_along_and_what_a_link_does_not_say_is_as_it_begins(visit, said):
    page = visit()
    settings = {"System prompt": "Be brief.", "Steered positions": "index:-2", "New tokens": 24, "Temperature": 0.7}
    for label, value in {**settings, "Seed": 11}.items():
        page.fill("steer-settings", label, value)
    page.run("run", "steer-status")
    query = copied(page, "steer")
    assert "&system=Be+brief.&positions=index%3A-2&tokens=24&temperature=0.7&seed=11" in query
    # The box is empty once the model has taken the prompt, which is what the link has.
    assert page["steer-prompt"] == "" and "&prompt=" in query
    assert copied(visit(query), "steer") == query
    # It counts more than what its reader had: here an answer under those settings.
    again = visit("?tab=steer&vector=french", beside=page)
    assert "&system=" not in copied(again, "steer") and again["steer-vector"] == "french"
    assert again["steer-steered"][0]["content"] and said == []


def test_a_preset_without_more_comes_with_its_layer(visit):
    page = visit("?tab=steer&vector=french")
    assert [page["steer-layer"], page["steer-multiplier"]] == [1, 1.0]


def test_a_link_of_one_tab_leaves_others_as_they_are(visit):
    page = visit(copied(visit(), "compete", **COMPETE))
    assert page["steer-vector"] == "joy" and page["measure-vector"] == "joy"


@pytest.mark.parametrize(
    ("query", "title", "sentences"),
    [
        ("?tab=attic&layer=2", NOT_ALL, ["There is no tab 'attic' here: there are steer, "]),
        ("?tab=steer&v=2&layer=2", NOT_ALL, ["This link is of version '2', and this app reads version 1."]),
        ("?tab=steer&model=gpt2", "Another model", [ANOTHER]),
        ("?tab=steer&vector=joy~00000000", NOT_ALL, ["The preset joy is not the one that the link was made with, so "]),
        ("?tab=steer&vector=%3Cimg+src%3Dx%3E", NOT_ALL, ["The vector '&lt;img src=x&gt;' is not here. Whoever made "]),
        (
            "?tab=steer&layer=30&multiplier=1e9&positions=here&tokens=9999&seed=1.5&temperature=hot&operation=turn",
            NOT_ALL,
            [
                "There are no steered positions 'here': choose ",
                "New tokens must be between 8 and 2048, not 9999.",
                "Temperature must be a number.",
                "Seed must be a whole number.",
                "There is no operation 'turn': choose ",
                "Layer must be between 0 and 3, not 30.",
                "Multiplier must be between -100 and 100, not 1e+09.",
            ],
        ),
        (
            "?tab=compete&kind=none&apart=1&second_voices=7&contest=cats",
            NOT_ALL,
            [
                "Kind of contest: there is no 'none' to choose.",
                "Only what sets them apart: '1' is neither yes nor no.",
                "Answers of A and of B: there is no 'cats' to choose.",
                "Second voices: fewer than 39 of a kind decide nothing; give 0 or at least 39.",
            ],
        ),
        (
            "?tab=measure&layers=9&multipliers=a&controls=-1",
            NOT_ALL,
            [
                "There is no layer 9: this model's layers are 0 to 3.",
                "'a' are not multipliers: give numbers such as -2,-1,0,1,2.",
                "Controls: fewer than 999 of a kind decide nothing; give 0 or at least 999.",
            ],
        ),
    ],
)
def test_what_cannot_be_followed_is_said_in_sentences_and_the_rest_is_followed(visit, said, query, title, sentences):
    page = visit(f"{query}&prompt=Why%3F")
    ((of, message),) = said
    assert of == title and [one for one in sentences if one not in message] == []
    assert [page[f"steer-{part}"] for part in ("vector", "layer", "multiplier")] == ["joy", 1, 1.0]
    followed = {"Why?"} & {page["steer-prompt"], page["compete-prompt"]}
    assert bool(followed) == (not query.startswith(("?tab=attic", "?tab=steer&v=2", "?tab=measure")))


def test_a_prompt_that_is_too_long_is_no_link(visit):
    with pytest.raises(gr.Error, match="What stands here is too long for a link: "):
        copied(visit(), "steer", steer_prompt="x" * 7000)


def test_a_vector_of_ones_own_is_found_again_by_its_numbers(visit, said, tiny_llama):
    page = visit()
    name = page.session.keep(replace(towards(tiny_llama, "a", "b", 1.0), name="pirate"))
    query = copied(page, "steer", steer_vector=name)
    assert said == ["The link does not hold pirate: give its file along, or its recipe."]
    page.session.person.rename(name, "captain")
    assert visit(query, beside=page)["steer-vector"] == "captain" and said == []
    assert visit(query)["steer-vector"] == "joy"
    assert said[0][1].startswith("The vector 'pirate' is not here.")


def test_every_part_of_a_form_is_in_its_link_or_stays_at_home(visit):
    """Files stay, what only the page knows, and passwords."""
    found = links(visit())
    assert {one.tab for one in found} == {"steer", "compete", "measure", "behaviours", "open", "study"} <= set(TABS)
    left = {name for one in found for name in one.form if named(name) not in FIELDS}
    assert left == {"exchanges", "file", "path", "held_out", "pairs", "items", "columns", "files", "mine"}
    assert not [part for one in found for part in one.form.values() if getattr(part, "type", "") == "password"]
