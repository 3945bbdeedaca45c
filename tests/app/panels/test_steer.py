"""Steer: what is known of a vector before it is used, five multipliers beside each other, the answer in colours."""

import contextvars
import html
import re
import secrets
from dataclasses import replace

import gradio as gr
import pytest
from gradio.context import LocalContext
from gradio.queueing import Event

from caa_core.app.panels.contest.chosen import SAME, TOLD
from caa_core.app.panels.conversation import turns, unpack
from caa_core.app.panels.steer.drift import NOTHING
from caa_core.app.panels.steer.known import effects_of, gauge_of
from caa_core.app.panels.steer.strip import GONE_ON, multipliers_around
from caa_core.measuring.inspection import align, align_answer, mean_projection
from caa_core.model.prompts import Prompt, ask, render, text_of
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Gate, Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.vectors.spread import spread
from tests.helpers import reference
from tests.helpers.handlers import Handlers

QUESTION = {"steer_prompt": "My <b>question</b>?", "steer_layer": 1, "steer_multiplier": 2}


@pytest.fixture
def page(tiny_app):
    """The page of somebody new, whose answers are short."""
    page = Handlers(tiny_app.studio, tiny_app.page, secrets.token_hex(8))
    page.fill("steer-settings", "New tokens", 8)
    return page


def known(page, **chosen):
    """What stands along both sliders."""
    page.run("measure", "steer-strength", **chosen)
    return page["steer-strength"], page["steer-effect"]


def run(page, name, **asked):
    """Run an experiment with what is asked by the names of its form."""
    one = page.experiment(name)
    page.held |= {one.form[part]: value for part, value in asked.items()}
    list(page.start(one))
    return one


def test_of_most_vectors_nothing_is_known_but_how_large_they_are(page):
    strength, effect = known(page, steer_layer=1, steer_multiplier=1.5)
    assert effect == "" and "bands" not in strength
    pushed = r"Push: \d+% of the model's own signal\..*Relative strength \d\.\d\d: ‖1\.5 · v‖ is "
    assert re.search(pushed, html.unescape(strength))


def test_who_leaves_while_a_vector_is_made_fails_of_nothing(page, monkeypatch):
    event = Event(None, next(iter(page.page.fns.values())), None, None)
    event.alive = False

    def measure():
        LocalContext.blocks.set(page.page)
        LocalContext.event_id.set(event._id)
        page.run("measure", "steer-strength", steer_vector="lecture")

    monkeypatch.setitem(page.page._queue.event_ids_to_events, event._id, event)
    contextvars.copy_context().run(measure)


def test_what_was_measured_stands_along_the_sliders(page):
    run(page, "measure", layers="1,2", multipliers="-1,1", limit=4, controls=0)
    found = page.session.person.results["measure"]["found"]
    strength, effect = known(page, steer_layer=1, steer_multiplier=1)
    slopes = dict.fromkeys((1, 2), 0.0)
    for cell in found["cells"]:
        slopes[cell["layer"]] += cell["difference"] / cell["multiplier"] / 2
    assert f"here {slopes[1]:+.2f}." in effect
    assert "as measured on 4 items of joy (held out)" in effect and effect.count("<circle") == 1
    assert "bands" in strength and "Measured on 4 items of joy (held out) at × -1, 1" in strength
    # Where it was not measured there is no mark, and no word; nor for another vector.
    strength, effect = known(page, steer_layer=3, steer_multiplier=1)
    assert "bands" not in strength and "polyline" in effect and "<circle" not in effect
    strength, effect = known(page, steer_layer=1, steer_vector="gloom")
    assert "bands" not in strength and effect == ""


def test_a_mark_stands_where_the_safe_range_ends(page):
    """Of a vector that was swept, as its proposal says; elsewhere there is none."""
    run(page, "measure", layers="1", multipliers="-2,-1,1", limit=8, controls=0)
    low, high = page.session.person.results["measure"]["found"]["best"]["safe"]
    strength, _ = known(page, steer_layer=1, steer_multiplier=1)
    ends = [float(end) for end in re.findall(r'<b title="[^"]*" style="left:([\d.]+)%"', strength)]
    assert ends == [pytest.approx(100 * (end + 4) / 8, abs=0.01) for end in (low, high)] and low < 0 < high
    assert f"Safe: {low:g} to {high:g}." in strength


def test_a_cost_counts_for_its_vector_and_layer(page, tiny_app):
    run(page, "views-cost", vector="joy", layer=1)
    strength, effect = known(page, steer_layer=1, steer_multiplier=0.2)
    word = re.search(r"<b><span data-tip tabindex=\"0\">(\w[\w ]*)<", strength)[1]
    assert word in ("Light", "Good", "Strong", "Breaks the text") and "Measured on neutral text" in strength
    assert "Safe" not in strength and effect == ""  # of one text there is no interval
    assert "bands" not in known(page, steer_layer=2)[0]
    # A vector of the same name that is another one is not taken for it.
    model, vector = tiny_app.studio.model, tiny_app.vector("gloom")
    assert gauge_of(page.session, model, "joy", vector, 1) is None
    assert effects_of(page.session, model, "joy", vector) is None


def test_nothing_added_and_no_such_layer_are_said(page, tiny_app):
    run(page, "views-cost", vector="joy", layer=1)
    assert "Nothing is added" in known(page, steer_layer=1, steer_multiplier=0)[0]
    joy = tiny_app.vector("joy")
    page.session.keep(replace(joy, name="short", layers={1: joy.at(1)}))
    assert "has no layer 2" in known(page, steer_vector="short", steer_layer=2)[0]


def test_what_is_taken_away_is_said_and_nothing_measured_of_additions(page):
    run(page, "measure", layers="1", multipliers="-1,1", limit=4, controls=0)
    ways = {
        ("ablate", 1): "Of what lies along it at layer 1, all is taken away.",
        ("ablate", 0.5): "Of what lies along it at layer 1, 50% is taken away.",
        ("cap:0.5", -1): "Of what lies along it above 0.5 at layer 1, 100% is added.",
    }
    for (operation, multiplier), said in ways.items():
        asked = {"steer_layer": 1, "steer_multiplier": multiplier, "steer_operation": operation}
        assert known(page, **asked) == (f"<p>{said}</p>", "")
    strength, effect = known(page, steer_layer=1, steer_multiplier=1, steer_operation="keep-norm")
    assert "Push: " in strength and "bands" not in strength and effect == ""
    assert "There is no operation" in known(page, steer_operation="turn")[0]
    # No more can be taken away than there is.
    page.call("within", "steer-multiplier", steer_operation="ablate", steer_multiplier=2.5)
    assert page["steer-multiplier"] == 1
    # What was ablated says nothing of what an addition costs.
    run(page, "measure", layers="1", multipliers="-1,1", limit=4, controls=0, operation="ablate")
    assert "bands" not in known(page, steer_layer=1, steer_multiplier=1, steer_operation="add")[0]


def texts_of(strip):
    return [html.unescape(text) for text in re.findall(r"<p[^>]*>(.*?)</p>", strip, re.DOTALL)]


def test_five_multipliers_answer_as_each_does_alone(page, tiny_app):
    asked = {"question": "My question?", "layer": 1, "multiplier": 2, "max_new_tokens": 8}
    run(page, "steer-strip", **asked)
    model, vector = tiny_app.studio.model, tiny_app.vector("joy")
    prompt = ask(model.tokenizer, "My question?")
    alone = [
        finish(generate(model, [BatchRow(prompt, (Steer(vector.at(1), 1, m),) if m else ())], Decoding(8)))[0].text
        for m in (0, 1, 2, 3, 4)
    ]
    assert texts_of(page["steer-strip"]) == [text.strip() for text in alone] and len(set(alone)) > 1
    assert multipliers_around(0.0) == (-2, -1, 0, 1, 2)
    run(page, "steer-strip", **asked, operation="ablate")
    ablated = BatchRow(prompt, (Steer(vector.at(1), 1, 4, Operation("ablate")),))
    assert texts_of(page["steer-strip"])[-1] == finish(generate(model, [ablated], Decoding(8)))[0].text.strip()
    take(page, 4)
    assert [page[f"steer-{part}"] for part in ("multiplier", "operation", "spread")] == [4, "ablate", ""]
    (exchange,) = page.session.person.results["steer"]["exchanges"]
    assert exchange["captions"][1] == "joy · layer 1 · × 4 · ablate"


def test_several_layers_share_a_multiplier(page, tiny_app):
    several = {"steer_multiplier": 2, "steer_spread": "1-3", "steer_shares": "norm", "steer_operation": "add"}
    said = "Layers 1 to 3 share × 2 by the norm of the residual stream there."
    assert known(page, **several) == (f"<p>{said}</p>", "")
    assert "There is no layer 7" in known(page, **several | {"steer_spread": "7"})[0]
    page.run("run", "steer-status", **QUESTION | several)
    model, vector = tiny_app.studio.model, tiny_app.vector("joy")
    row = BatchRow(ask(model.tokenizer, QUESTION["steer_prompt"]), spread(vector, [1, 2, 3], 2.0, shares="norm"))
    (exchange,) = page.session.person.results["steer"]["exchanges"]
    assert exchange["answers"][1] == finish(generate(model, [row], Decoding(8)))[0].text
    assert exchange["captions"][1] == "joy · layers 1 to 3 · × 2"


def take(page, place):
    """Updates of choosing the answer at a place."""
    chosen = gr.SelectData(None, {"index": place, "value": str(place)})
    updates = page.experiment("steer-strip").take_answer(page.request, chosen)
    page._hold(updates, [*updates])
    return updates


def test_one_is_taken_and_the_chat_goes_on_from_it(page, capsys):
    page.run("run", "steer-status", **QUESTION)
    first = page["steer-unsteered"]
    run(page, "steer-strip", layer=1, multiplier=2)  # of the question that was asked last
    written = texts_of(page["steer-strip"])
    take(page, 3)
    assert page["steer-multiplier"] == 3
    assert page["steer-steered"][-1]["content"].strip() == html.escape(written[3], quote=False)
    assert page["steer-unsteered"] == first and len(page.session.person.results["steer"]["exchanges"]) == 1
    again = page.reloaded()
    again.call("enter", "steer-steered")
    assert again["steer-steered"] == page["steer-steered"] and again["steer-multiplier"] == 3
    assert texts_of(again["steer-strip"]) == written
    page.run("run", "steer-status", steer_prompt="And?", steer_layer=1, steer_multiplier=3)
    assert len(page.session.person.results["steer"]["exchanges"]) == 2
    taken = take(page, 1)
    assert GONE_ON in capsys.readouterr().out
    assert len(page.session.person.results["steer"]["exchanges"]) == 2 and len(taken) == 7
    with pytest.raises(gr.Error, match="no such answer"):
        take(page, 5)


def test_the_steered_answer_is_coloured_by_how_far_it_points_along_the_vector(page, tiny_app):
    page.run("run", "steer-status", **QUESTION)
    plain = page["steer-steered"]
    page.call("switched", "steer-steered", steer_coloured=True)
    *before, coloured = page["steer-steered"]
    assert before == plain[:-1]
    text = re.sub("<[^>]*>", "", coloured["content"])
    assert html.unescape(text) == html.unescape(plain[-1]["content"])
    model, vector = tiny_app.studio.model, tiny_app.vector("joy")
    answer = page.session.person.results["steer"]["exchanges"][0]["answers"][1]
    prompt = ask(model.tokenizer, QUESTION["steer_prompt"])
    ids = (*prompt.ids, *model.tokenizer(answer, add_special_tokens=False).input_ids)
    found = align(model, Prompt("", ids), vector.at(1), 1)
    titles = re.findall(r"projection ([+-][\d.]+), cosine", coloured["content"])
    assert [float(one) for one in titles] == pytest.approx(found.projections[prompt.length :], abs=0.006)
    # What is written next is coloured in its turn, and can be had plain.
    page.run("run", "steer-status", steer_prompt="And?", steer_layer=1)
    page.call("written", "steer-steered", steer_coloured=True)
    assert "along-vector" in page["steer-steered"][-1]["content"]
    page.call("switched", "steer-steered", steer_coloured=False)
    assert "along-vector" not in str(page["steer-steered"])
    assert page.call("written", "steer-steered", steer_coloured=False) == gr.skip()


def test_a_gate_steers_where_it_is_open_which_is_marked_and_coloured(page, tiny_app):
    model, vector = tiny_app.studio.model, tiny_app.vector("gloom").at(1)
    asked = {"question": "My question?", "layer": 2, "multiplier": 9, "max_new_tokens": 8, "exchanges": ()}
    prompt, answers = ask(model.tokenizer, "My question?"), {}
    middle = align(model, prompt, vector, 1).projections[-1] - 0.01
    for threshold in ("", "-1e9", "1e9", f"{middle:.4f}"):
        run(page, "steer", gate=threshold and f"gloom:1:{threshold}", **asked)
        answers[threshold] = page.session.person.results["steer"]["exchanges"][-1]["answers"]
    (plain, steered), always, shut, some = map(tuple, answers.values())
    assert always == (plain, steered) and shut == (plain, plain) and plain != steered
    # Which tokens are steered is what a plain reading of prompt and answer says.
    steers, gate = (Steer(tiny_app.vector("joy").at(2), 2, 9.0),), Gate(vector, 1, middle)
    (text,) = finish(generate(model, [BatchRow(prompt, steers, Positions(), gate)], Decoding(8)))
    assert text.text == some[1]
    along = align(model, Prompt("", (*prompt.ids, *text.ids)), vector, 1).projections
    is_open = [i >= prompt.length - 1 and one > middle for i, one in enumerate(along)]
    marked = [label is not None for _, label in page["steer-marked"]]
    assert marked == [*is_open[: len(is_open) - (not text.done)], *([False] if not text.done else [])]
    assert len({*is_open[prompt.length - 1 :]}) == 2
    page.call("switched", "steer-steered", steer_coloured=True)
    titles = re.findall(r'title="(open|shut) ', page["steer-steered"][-1]["content"])
    found = align_answer(model, prompt, some[1], vector, 1).projections
    assert [title == "open" for title in titles] == [one > middle for one in found]
    assert "· gate gloom:1:" in str(page["steer-steered"]) and "is open" in page["steer-status"]


def test_a_gate_is_found_in_look_inside_and_goes_on_to_steer(page):
    gate = page.experiment("views-gate")
    run(page, "views-gate", vector="gloom", layer=1)
    assert "Not judged: 9 texts" in page["gate-said"]
    assert gate.take(page.request, 3) == 4
    page.call("filled", "steer-gate")
    found = page.session.person.results["views-gate"]
    assert page["steer-gate"] == f"gloom:1:{found['threshold']:g}"
    run(page, "views-gate", vector="gloom", layer=1, applies="a\n\nb", elsewhere="c")
    assert "takes at least 8 texts" in str(page["gate-said"])


def test_what_cannot_be_coloured_stays_as_it_is(page):
    assert page.call("switched", "steer-steered", steer_coloured=True) == gr.skip()


@pytest.mark.parametrize(("positions", "steered"), [("after-prompt", False), ("all", True)])
def test_earlier_turns_are_read_as_is_said_and_each_is_projected_on_the_vector(page, tiny_app, positions, steered):
    model, vector = tiny_app.studio.model, tiny_app.vector("joy").at(1)
    asked = {"layer": 1, "multiplier": 2, "max_new_tokens": 8, "positions": positions}
    run(page, "steer", question="My question?", **asked)
    assert page["steer-drift-shown"] == NOTHING  # it is closed
    page.call("opened", "steer-drift-shown")
    run(page, "steer", question="And then?", **asked)
    said = page["steer-drift-shown"]
    assert ("are read unsteered" in said, "are read steered, too" in said) == (not steered, steered)
    first, second = exchanges = page.session.person.results["steer"]["exchanges"]
    # The second steered answer is what comes of reading the first turn so.
    history = [
        {"role": "user", "content": "My question?"},
        {"role": "assistant", "content": first["answers"][1]},
        {"role": "user", "content": "And then?"},
    ]
    ids = render(model.tokenizer, history).ids
    begin = 0 if steered else len(ids) - 1
    tokens = reference.write(model, ids, [(1, 2 * vector)], lambda i: i >= begin, 8)
    assert text_of(model.tokenizer, tokens, skip_special_tokens=True).rstrip("\ufffd") == second["answers"][1]
    # Each turn in each column, as the unsteered model reads it.
    rows = re.findall(r"^\| (\d) \| \\?([+-][\d.]+) \| \\?([+-][\d.]+) \|$", said, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2"]
    for end, row in enumerate(rows, 1):
        for column in (0, 1):
            *before, answer = turns(unpack(exchanges[:end], 2), column)
            prompt = render(model.tokenizer, before)
            whole = (*prompt.ids, *model.tokenizer(answer["content"], add_special_tokens=False).input_ids)
            along = residuals_along(model, whole, vector)[len(prompt.ids) :].mean().item()
            assert float(row[1 + column]) == pytest.approx(along, abs=0.006)


def test_in_compete_answers_are_projected_on_both_vectors(page, tiny_app):
    """In all columns; with a prompt in place of the second vector on the first alone."""
    asked = {"kind": SAME, "layer_a": 1, "multiplier_a": 2, "multiplier_b": 1, "max_new_tokens": 4}
    page.call("opened", "compete-drift-shown")
    run(page, "compete", question="My question?", **asked)
    said, model = page["compete-drift-shown"], tiny_app.studio.model
    rows = re.findall(r"^\| 1 \| (.+) \|$", said, re.MULTILINE)
    names = re.findall(r"^(\w+) at layer 1: ", said, re.MULTILINE)
    exchanges = unpack(page.session.person.results["compete"]["exchanges"], 5)
    expected = [
        [mean_projection(model, turns(exchanges, column), "", tiny_app.vector(name).at(1), 1) for column in range(4)]
        for name in names
    ]
    assert names == ["joy", "gloom"]
    found = [[float(one.lstrip("\\")) for one in row.split(" | ")] for row in rows]
    assert found == [pytest.approx(row, abs=0.006) for row in expected] and expected[0] != expected[1]
    run(page, "compete", question="And then?", **{**asked, "kind": TOLD})
    assert re.findall(r"^(\w+) at layer", page["compete-drift-shown"], re.MULTILINE) == ["joy"]


def residuals_along(model, ids, vector):
    return reference.residuals(model, ids)[1] @ (vector / vector.norm())
