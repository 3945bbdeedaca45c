"""Every experiment after every way out: what its status says, which buttons can be pressed, what is kept."""

import json
import re
import secrets

import gradio as gr
import pytest
from gradio.utils import deep_hash

from caa_core.measuring.costs import refusals
from tests.helpers.handlers import Handlers
from tests.helpers.holding import holding

VOICES = {"layer_a": 1, "layer_b": 2}
WRONG = "wrong.json"
# What is asked of each, so that it is soon done, and what cannot be.
ASKED = {
    "steer": ({"layer": 1, "max_new_tokens": 8}, {"question": "   "}),
    "steer-strip": ({"layer": 1, "max_new_tokens": 8}, {"question": "   "}),
    "compete": ({**VOICES, "max_new_tokens": 8}, {"vector_b": "joy"}),
    "compete-tokens": ({}, {"vector_a": "no such"}),
    "compete-verdict": ({**VOICES, "second_voices": 0}, {"file": WRONG}),
    "compete-surface": ({"of_a": "0,1", "of_b": "1"}, {"of_a": "abc"}),
    "compete-written": ({**VOICES, "samples": 1, "limit": 2, "max_new_tokens": 8}, {"max_new_tokens": 10**6}),
    "compete-reasoning": ({**VOICES, "prompts": 2, "thoughts": 1, "tokens": 8}, {"file": WRONG}),
    "generate": ({"layers": "1"}, {"layers": "99"}),
    "generate-compare": ({"layers": "1", "limit": 10}, {"layers": "99"}),
    "generate-combine": ({}, {"a": "no such"}),
    "measure": ({"layers": "1", "multipliers": "1", "limit": 4, "controls": 0}, {"layers": "99"}),
    "paper": ({"figure": "Effect by layer"}, {"figure": "no such"}),
    "behaviours": ({"presets": ["joy"], "pairs": 4, "items": 4, "controls": 1}, {"multipliers": "abc"}),
    "study": ({"layers": "1", "most_items": 3, "most_pairs": 4, "controls": 1}, {"pairs": WRONG}),
    "open": ({"layer": 1, "multipliers": "1", "limit": 1, "max_new_tokens": 8}, {"file": WRONG}),
    "open-judge": (None, {"address": "nowhere"}),
    "views": ({"layer": 1}, {"layer": 99}),
    "views-cost": ({"layer": 1}, {"layer": 99}),
    "views-gate": ({"layer": 1}, {"layer": 99}),
    "views-strength": ({"layer": 1, "nats": 0.05}, {"layer": 99}),
    "refusals": ({"layer": 1}, {"layer": 99}),
    "capability": ({"layer": 1, "multipliers": "1"}, {"multipliers": "abc"}),
}
# What begins by itself, and says no mistakes.
FOLLOWS = {"generate-estimate"}
# What has to be there before.
BEFORE = {"compete-tokens": "compete", "paper": "measure"}


@pytest.fixture
def page(tiny_app, tmp_path, monkeypatch, few_plain_answers):
    monkeypatch.setattr(refusals, "NEW_TOKENS", 2)
    tiny_app.studio.found.clear()  # what others have measured is there at once, and does not begin
    (tmp_path / WRONG).write_text(json.dumps({"no": "table"}))
    return Handlers(tiny_app.studio, tiny_app.page, secrets.token_hex(8))


def fill(page, one, asked, folder):
    for name, value in asked.items():
        page.held[one.form[name]] = str(folder / WRONG) if value == WRONG else value


def ended(page, one):
    """What the status says of an end, after which all is as before it was begun."""
    said = page.held.get(one.status, "")
    assert "Waiting" not in said and "<progress" not in said
    begins = [button for button in one.starters if button.elem_id.split("-")[-1] not in ("retry", "go")]
    assert all(map(page.can_be_pressed, begins))
    assert not one.stop_button or not page.can_be_pressed(one.stop_button)
    for part in one.form.values():
        if isinstance(part, gr.State):  # whose changes are listened to
            deep_hash(page.held.get(part, part.value))
    return said


def test_the_table_is_of_all_experiments(page):
    assert page.experiments.keys() == ASKED.keys() | FOLLOWS


@pytest.mark.parametrize("name", ASKED)
def test_after_every_way_out(page, tmp_path, monkeypatch, name):
    one, (asked, wrong) = page.experiment(name), ASKED[name]
    session = page.session
    if name in BEFORE:
        before = page.experiment(BEFORE[name])
        fill(page, before, ASKED[BEFORE[name]][0], tmp_path)
        list(page.start(before))
        session.person.forget(name)  # of which some begin what goes on from them
        session.shown.pop(name, None)
    fill(page, one, {**(asked or {}), **wrong}, tmp_path)
    list(page.start(one))
    assert re.match(r"\*\*That did not work\.\*\* [\w']", ended(page, one))
    if asked is None:
        return
    for part in wrong:
        page.held[one.form[part]] = one.form[part].value
    fill(page, one, asked, tmp_path)

    with monkeypatch.context() as broken:
        broken.setattr(one, "work", lambda *_: iter([][0]))
        list(page.start(one))
    assert ended(page, one) == "**That did not work.** Something failed inside the app."
    assert name not in session.person.results and name not in session.shown

    with holding(page.studio, 0):
        for number, _ in enumerate(page.start(one)):
            if not number:
                assert not any(map(page.can_be_pressed, one.starters))
                assert not one.stop_button or page.can_be_pressed(one.stop_button)
            session.stop(name)
    assert "Stopped" in ended(page, one) and name not in session.person.results

    list(page.start(one))
    assert not re.search("(?i)stopped|not work", ended(page, one))
    if name not in session.person.results:
        return  # vectors are kept in the list
    again = page.reloaded()
    same = again.experiment(name)
    ended(again, same)
    assert {part: again[same.form[part].elem_id] for part in asked if same.form[part].elem_id} == {
        part: value for part, value in asked.items() if same.form[part].elem_id
    }
    if one.made:
        assert "Made with these settings" in page.held[one.made]
        assert "Made with these settings" in again.held.get(same.made, same.made.value)
        other = {part: "9" if isinstance(page.held[one.form[part]], str) else 9 for part in [*asked][:1]}
        fill(page, one, other, tmp_path)
        said = one.look(session, [page.held.get(part, getattr(part, "value", None)) for part in one.form.values()])
        assert "Made with other settings" in said or not asked
