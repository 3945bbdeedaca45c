"""The tab Compete: two voices in columns, token by token, on a surface, in written answers, and after thinking."""

import json
import re

import pytest
from playwright.sync_api import expect

from caa_core.data.presets import presets
from tests.helpers.app import four_items
from tests.helpers.browser import (
    ask,
    choose,
    download,
    drawn,
    fill,
    last_answer,
    reload,
    set_new_tokens,
    settled,
    slide,
    tab,
    unfold,
)
from tests.helpers.handlers import Handlers

pytestmark = pytest.mark.browser

ASKED = ["What was the best part of your week?", "How was <b>lunch</b> today?"]
THINKING = "compete-reasoning"
VOICES = ("nobody", "joy", "gloom", "both")


def open_thinking(page, prompts):
    unfold(page, "Can it reason its way to one voice?", f"#{THINKING}")
    expect(page.locator(f"#{THINKING}-prompts input[type=number]")).to_have_value(str(prompts))


def measured_on(page):
    """Open, or fold, what the voices are measured on."""
    unfold(page, "What is measured", "#compete-measured-on")


def test_two_vectors_in_four_columns(page):
    tab(page, "Compete")
    table = page.locator("#compete-decomposition")
    expect(table).to_contain_text("Cosine between A and B")
    choose(page, "compete-kind", "Different layers")
    slide(page, "compete-b-layer", 3)
    expect(table).to_contain_text("different layers")
    page.locator("#compete-equal").click()
    strengths = table.locator("tr", has_text="relative strength").locator("td")
    expect(strengths.nth(2)).not_to_have_text("")
    page.wait_for_function(
        """() => { const c = [...document.querySelectorAll('#compete-decomposition tr')].at(-1).children;
                   return Math.abs(c[1].innerText - c[2].innerText) < 0.02; }"""
    )
    set_new_tokens(page, 24, "compete")
    ask(page, "How was your day?", "compete")
    columns = [last_answer(page, f"compete-{name}") for name in ("unsteered", "a", "b", "both")]
    assert len(set(columns)) == 4
    expect(page.locator("#compete-shared")).to_be_hidden()  # there is no such sum of two layers
    unfold(page, "Token by token: where")
    text = page.locator("#compete-tokens-text .caa-tokens")
    expect(text).to_be_visible()
    expect(text.locator("span")).not_to_have_count(0)
    expect(page.locator("#compete-tokens-lines .js-plotly-plot")).to_contain_text("token of the answer")
    expect(page.locator("#compete-tokens > button")).to_contain_text("is ahead at")
    # At one layer and other multipliers, what both share is a column of its own.
    choose(page, "compete-kind", "Same layer")
    slide(page, "compete-b-multiplier", 0.5)
    expect(page.locator("#compete-shared")).to_be_visible()
    expect(page.locator("#compete-apart")).to_be_visible()
    slide(page, "compete-b-multiplier", 1)


def test_a_preset_brings_its_opposite_and_words_can_be_a_voice(page):
    tab(page, "Compete")
    choose(page, "compete-a-vector", "formal (preset)")
    expect(page.locator("#compete-b-vector input")).to_have_value("casual (preset)")
    measured_on(page)
    expect(page.locator("#compete-verdict-contest input")).to_have_value("formal against casual")
    # A click brings all of a contest that is ready.
    page.locator("#compete-ready").get_by_text("joy against gloom").click()
    expect(page.locator("#compete-b-vector input")).to_have_value("gloom (preset)")
    expect(page.locator("#compete-verdict-contest input")).to_have_value("joy against gloom")
    measured_on(page)


def test_a_thought_is_shown_apart_from_its_answer(page):
    tab(page, "Compete")
    set_new_tokens(page, 16, "compete")
    page.locator("#compete-think input").check()
    ask(page, "How was your day?", "compete")
    for column in ("unsteered", "a", "b", "both"):
        shown = page.locator(f"#compete-{column}")
        expect(shown).to_contain_text("Thought")
        expect(shown.locator(".bot.message").last).to_contain_text(re.compile(r"\w+"))
    # Answers that stop at the limit are said to be cut, whatever was thought before.
    expect(page.locator("#compete-status")).to_contain_text(re.compile(r"\d of 4 were cut at 16 tokens"))
    page.locator("#compete-think input").uncheck()


def test_two_voices_come_to_a_verdict(page, tmp_path):
    tab(page, "Compete")
    choose(page, "compete-a-vector", "formal (preset)")
    rows = json.loads((presets()["formal"].folder / "contest.json").read_text())[:8]
    (tmp_path / "eight.json").write_text(json.dumps(rows))
    measured_on(page)
    page.locator("#compete-verdict-file input[type=file]").set_input_files(tmp_path / "eight.json")
    slide(page, "compete-verdict-second-voices", 0)
    page.locator("#compete-verdict-measure").click()
    said = page.locator("#compete-verdict-said")
    expect(said).to_contain_text(re.compile("The model follows|Not decided|No contest"))
    expect(said).to_contain_text("8 items of eight, 8 prompts")
    expect(page.locator("#compete-verdict-gauge .bar")).to_be_visible()
    said.get_by_role("link", name="written and read").click()
    expect(page.locator("#compete-written-write")).to_be_in_viewport()
    unfold(page, "Which voice do written answers follow?", "#compete-written")
    unfold(page, "The verdict in numbers")
    expect(page.locator("#compete-verdict-apart")).to_contain_text("nats a token")
    unfold(page, "Item by item")
    expect(page.locator("#compete-verdict-table")).to_contain_text("m with both")
    found = json.loads(download(page, "compete-verdict-json", tmp_path / "contest.json").read_text())
    assert len(found["rows"]) == 8 and found["alone_a"]["shuffled_from"] == "formal" and found["controls"] is None
    expect(page.locator("#compete-verdict-gauge .found")).to_have_count(int(found["contest"]))
    choose(page, "compete-a-vector", "joy (preset)")
    page.locator("#compete-verdict-file").get_by_label("Clear").click()
    unfold(page, "The verdict in numbers")
    measured_on(page)


def test_a_surface_and_a_click_to_steer_with_its_cell(page, tmp_path):
    tab(page, "Compete")
    measured_on(page)
    page.locator("#compete-verdict-file input[type=file]").set_input_files(four_items(tmp_path))
    unfold(page, "Surface: when do the voices")
    for letter in "ab":
        fill(page.locator(f"#compete-surface-of-{letter} :is(input, textarea)"), "0,0.5,1")
    page.locator("#compete-surface-draw").click()
    expect(page.locator("#compete-surface-said")).to_contain_text("4 items of four, 4 prompts")
    figure = page.locator("#compete-surface-map .js-plotly-plot")
    expect(figure.locator(".heatmaplayer image")).to_have_count(1)
    settled(page)  # what is drawn above it may still move it
    figure.scroll_into_view_if_needed()
    drawn(page)
    area = figure.locator(".heatmaplayer image").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + area["height"] * 0.85)
    expect(figure.locator(".hoverlayer")).to_contain_text("0.5 of joy, 0 of gloom")
    page.mouse.click(area["x"] + area["width"] * 0.5, area["y"] + area["height"] * 0.85)
    expect(page.locator("#compete-a-multiplier input[type=number]")).to_have_value("0.5")
    expect(page.locator("#compete-b-multiplier input[type=number]")).to_have_value("0")
    # The same by the drop-downs, from the keyboard: they begin with the last cell.
    page.locator("#compete-surface-steer").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#compete-a-multiplier input[type=number]")).to_have_value("1")
    rows = download(page, "compete-surface-csv", tmp_path / "surface.csv").read_text().splitlines()
    assert len(rows) == 10
    # It says so as soon as something else is chosen.
    made = page.locator("#compete-surface-made")
    expect(made).to_contain_text("Made with these settings")
    choose(page, "compete-a-vector", "formal (preset)")
    expect(made).to_contain_text("Made with other settings:")
    expect(made).to_contain_text("Voice A joy, now formal")  # and maybe what that choice brings
    choose(page, "compete-a-vector", "joy (preset)")
    expect(made).to_contain_text("Made with these settings")


def test_which_voice_written_answers_follow(page, tmp_path):
    (tmp_path / "asked.json").write_text(json.dumps([{"question": question} for question in ASKED]))
    tab(page, "Compete")
    unfold(page, "Which voice do written answers follow?", "#compete-written")
    page.locator("#compete-written-settings button").first.click()
    page.locator("#compete-written-questions input[type=file]").set_input_files(tmp_path / "asked.json")
    fill(page.locator("#compete-written-samples input[type=number]"), 1)
    page.locator("#compete-written-write").click()
    # What a random model writes cannot be told apart.
    expect(page.locator("#compete-written-said")).to_contain_text("No voice is named")
    expect(page.locator("#compete-written > button")).to_contain_text("No voice is named")
    expect(page.locator("#compete-written-said")).to_contain_text("joy against gloom")
    expect(page.locator("#compete-written-numbers")).to_contain_text("unsteered")


def test_thinking_can_be_stopped_and_keeps_what_has_come(page, tiny_app):
    tab(page, "Compete")
    unfold(page, "Can it reason its way to one voice?", f"#{THINKING}")
    with tiny_app.holding(3):
        page.locator(f"#{THINKING}-think").click()
        expect(page.locator(f"#{THINKING}-status")).to_contain_text("thoughts written")
        page.locator(f"#{THINKING}-stop").click()
        expect(page.locator(f"#{THINKING}-status")).to_contain_text("Stopped")
    expect(page.locator(f"#{THINKING}-think")).to_be_enabled()
    unfold(page, "Can it reason its way to one voice?", f"#{THINKING}")


def test_can_it_reason_its_way_to_one_voice(page, tmp_path):
    tab(page, "Compete")
    open_thinking(page, 12)
    for slider, value in (("prompts", 2), ("thoughts", 1), ("tokens", 8)):
        slide(page, f"{THINKING}-{slider}", value)
    page.locator(f"#{THINKING}-think").click()
    expect(page.locator(f"#{THINKING}-said")).to_contain_text("2 prompts are too few for a verdict")
    expect(page.locator(f"#{THINKING}-json")).to_be_visible()
    table = page.locator(f"#{THINKING}-table")
    for arm in ("direct", "filler", "crossed"):
        expect(table).to_contain_text(arm)
    page.locator(f"#{THINKING}-read").get_by_role("button", name="Thoughts").click()
    expect(page.locator(f"#{THINKING}-texts th")).to_have_text(
        ["under nobody", "under joy", "under gloom", "under both"]
    )
    html, table, data = (download(page, f"{THINKING}-{e}", tmp_path / e).read_text() for e in ("html", "csv", "json"))
    found = json.loads(data)
    assert len(found["arms"]) == 8 and len(found["thinking"]["thoughts"]) == 8
    assert table.count("\n") == 9
    assert "Can it reason its way to one voice?" in html


def test_all_of_it_is_there_after_a_reload(page, tmp_path):
    tab(page, "Compete")
    they = Handlers(page.app.studio, page.app.page, page.session)
    four = str(four_items(tmp_path))
    they.run("run", "compete-status", compete_prompt="How was your day?", compete_think=True)
    they.run("run", "compete-surface-said", compete_verdict_file=four, compete_surface_of_a="0,1")
    they.run("run", "compete-written-said", compete_written_questions=None, compete_written_samples=1)
    few = {"compete_reasoning_prompts": 2, "compete_reasoning_thoughts": 1, "compete_reasoning_tokens": 8}
    few["compete_verdict_file"] = four
    they.run("run", "compete-reasoning-said", **few)

    reload(page)
    tab(page, "Compete")
    expect(page.locator("#compete-both")).to_contain_text("Thought")
    page.locator("#compete-clear").click()
    expect(page.locator("#compete-both")).not_to_contain_text("Thought")
    unfold(page, "Surface: when do the voices")
    expect(page.locator("#compete-surface-said")).to_contain_text("4 items of four")
    expect(page.locator("#compete-surface-map .js-plotly-plot .heatmaplayer image")).to_have_count(1)
    unfold(page, "Which voice do written answers follow?", "#compete-written")
    expect(page.locator("#compete-written-said")).to_contain_text("AUC")
    open_thinking(page, 2)
    expect(page.locator(f"#{THINKING}-said")).to_contain_text("too few for a verdict")
