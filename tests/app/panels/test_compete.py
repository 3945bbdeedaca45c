"""The tab Compete, by its handlers: contests that are ready, what is said first, and what sets two voices apart."""

import secrets
from dataclasses import replace

import gradio as gr
import pytest

from caa_core.app.opening.ready import shipped
from caa_core.app.panels.contest.chosen import DIFFERENT, SAME, SEVERAL, Chosen
from caa_core.app.panels.contest.contest import in_parts
from caa_core.app.panels.conversation import Said, _status
from caa_core.contest.dominance import Contest
from caa_core.data.presets import presets
from caa_core.measuring.costs import strength
from caa_core.measuring.costs.answers import answers_on, plain_answers, token_costs
from caa_core.model.prompts import ask
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.vectors.spread import spread
from tests.helpers import results
from tests.helpers.handlers import Handlers


@pytest.fixture
def page(tiny_app):
    """The page of somebody new."""
    return Handlers(tiny_app.studio, tiny_app.page, secrets.token_hex(8))


def test_a_verdict_of_before_is_shown_with_its_own_words():
    found = Contest.of(results.contest())
    assert in_parts(found) == ("The model follows joy.", "")
    said = "Neither voice is shown to be followed: each alone moves the answers its way"
    assert in_parts(replace(found, verdict=f"{said}: D = 0.1.")) == (said, "D = 0.1.")
    judged = replace(found, prompts=8)
    assert in_parts(replace(judged, verdict=f"{judged.headline} And more.")) == (judged.headline, "And more.")


def test_why_it_is_not_decided_and_what_it_costs_is_said_at_once(page):
    """French against German, as it was measured; and the same where there is nothing of it to say."""
    panel = page.experiment("compete-verdict")
    kept = shipped("contest-french")
    found = Contest.of(kept)
    (said,) = (text for part, text in panel.show_part(page.session, kept, {}).items() if part is panel.said)
    assert "Whether french does more than chance is open" in said
    assert "Written under both, 33% of the text repeats itself; unsteered, 8%." in said
    told = replace(found.voice_a, p=0.01, why="its interval holds 0")
    assert replace(found, voice_a=told).undecided_because == "french: its interval holds 0."
    decided = replace(found, voice_a=replace(told, grade="none shown"), voice_b=replace(told, way=1))
    assert decided.undecided_because == "" and not decided.is_undecided
    for repeated in (None, (0.1, 0.9, 0.9, 0.19), (0.2, 0.0, 0.0, 0.9)):
        assert not replace(found, repetition=repeated).is_repeating


def test_an_answer_that_goes_round_in_circles_is_said_to():
    def status(*texts):
        return _status(
            {"said": [Said(ids=ids, text=str(ids), done=True) for ids in texts], "seconds": 1.0}, Decoding(9), False
        )

    assert status(range(9), [1, 2, 3] * 3).endswith(" In 1 of 2 the same words come again and again.")
    assert "again" not in status(range(9), [1, 2, 3, 4, 5, 6, 1, 2, 3])


def test_a_ready_contest_is_one_click_away(page):
    """On another model than that on which they were measured, nothing is said of them, and none is shown."""
    offered = page.parts["compete-ready"]
    assert offered.sample_labels == [f"{name} against {presets()[name].opposes}" for (name,) in offered.samples]
    assert {name for (name,) in offered.samples} == {"formal", "french", "joy", "confident", "refusal"}
    said = page["compete-verdict-said"]
    page.call("choose", "compete-verdict-said", compete_ready=["french"])
    names = (
        "a-vector",
        "b-vector",
        "kind",
        "a-multiplier",
        "b-multiplier",
        "verdict-contest",
        "written-preset",
        "told",
    )
    held = ["french", "german", SAME, 1.0, 1.0, "french", "french", presets()["german"].told]
    assert [page[f"compete-{name}"] for name in names] == held
    assert page["compete-verdict-said"] == said and "Press *Measure*" in said


def test_one_sum_is_said_of_additions_alone(page):
    page.run("explain", "compete-decomposition", compete_kind=SAME, compete_operation_b="ablate")
    assert page["compete-decomposition"].startswith("**Not both vectors are added: they are not one sum")
    assert "ablate" in page["compete-decomposition"] and "The sum is" not in page["compete-decomposition"]
    page.fill("compete-settings", "New tokens", 8)
    page.run("run", "compete-status", compete_a_layer=1, compete_kind=SAME, compete_operation_b="ablate")
    (exchange,) = page.session.person.results["compete"]["exchanges"]
    assert exchange["captions"][2] == "gloom · layer 1 · × 1 · ablate"
    # The same vector may be added against its being taken away.
    page.run("explain", "compete-decomposition", compete_b_vector="joy", compete_operation_b="ablate")
    assert page["compete-decomposition"].startswith("**Not both vectors are added")


def test_voices_at_several_layers_share_their_multipliers(page, tiny_app):
    asked = {"compete_kind": DIFFERENT, "compete_b_layer": 3, "compete_spread_a": "1-2", "compete_shares": "norm"}
    page.run("explain", "compete-decomposition", **asked)
    assert page["compete-decomposition"] == SEVERAL
    page.fill("compete-settings", "New tokens", 8)
    page.run("run", "compete-status", compete_a_multiplier=4, **asked)
    (exchange,) = page.session.person.results["compete"]["exchanges"]
    model = tiny_app.studio.model
    steers = (*spread(tiny_app.vector("joy"), [1, 2], 4.0, shares="norm"), *spread(tiny_app.vector("gloom"), [3], 1.0))
    prompt = ask(model.tokenizer, exchange["question"])
    rows = [BatchRow(prompt, some) for some in (steers[:2], steers[2:], steers)]
    assert [text.text for text in finish(generate(model, rows, Decoding(8)))] == [*exchange["answers"][1:4]]
    assert SEVERAL in page["compete-status"]
    # At one layer for both, B is where A is.
    chosen = Chosen("joy", 1, 1.0, "gloom", 3, 1.0, SAME, "", "", False, spread_a="1-2", spread_b="3")
    assert chosen.where("b") == (1, "1-2") and replace(chosen, kind=DIFFERENT).where("b") == (3, "3")


def test_b_is_made_to_cost_what_a_costs(page, tiny_app, monkeypatch):
    few = tuple(part[:2] for part in plain_answers())
    monkeypatch.setattr(strength, "plain_answers", lambda: few)
    asked = {"compete_kind": DIFFERENT, "compete_a_layer": 1, "compete_b_layer": 3, "compete_a_multiplier": 2}
    page.run("balance_cost", "compete-b-multiplier", **asked)
    model, costs = tiny_app.studio.model, []
    for name, layer, multiplier in (("joy", 1, 2.0), ("gloom", 3, page["compete-b-multiplier"])):
        steers = (Steer(tiny_app.vector(name).at(layer), layer, multiplier),)
        costs.append(finish(token_costs(model, answers_on(model, few[0]), steers, [1.0], AFTER_PROMPT)).mean())
    assert costs[1] == pytest.approx(costs[0], rel=0.1) and page["compete-b-multiplier"] != 1
    with pytest.raises(gr.Error, match="A cost must be between"):
        page.run("balance_cost", "compete-b-multiplier", **asked | {"compete_a_multiplier": 0})


def test_what_sets_two_voices_apart_is_asked_of_two_layers(page):
    """At one layer, equally strong, nothing would be left of it."""
    page.call("part", "compete-kind", compete_apart=True)
    assert page["compete-kind"] == DIFFERENT
    page.run("explain", "compete-decomposition", compete_kind=SAME, compete_apart=True)
    assert page["compete-decomposition"].startswith("Both voices are taken whole")
    assert "of what sets them apart" in page["compete-decomposition"]
    page.fill("compete-settings", "New tokens", 8)
    page.run("run", "compete-status", compete_apart=True, compete_kind=DIFFERENT, compete_a_layer=1, compete_b_layer=2)
    (exchange,) = page.session.person.results["compete"]["exchanges"]
    assert exchange["captions"][1].startswith("joy without what both share")
