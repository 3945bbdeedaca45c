"""The first minute of a person who comes to the page, in words: the embedded model."""

import os
import re

import pytest
from playwright.sync_api import expect

from tests.helpers.app import get
from tests.helpers.browser import (
    fill,
    last_answer,
    tab,
    toast,
    unfold,
)
from tests.helpers.places import ROOT

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def only_page(visits, embedded_app):
    return visits(embedded_app)


@pytest.mark.parametrize(
    ("title", "mark", "result"),
    [
        ("Generate vectors", "generate-before", "#generate-plot .js-plotly-plot"),
        ("Compete", "compete-before", "#compete-both .bot.message"),
        ("Compete", "compete-verdict-made", "#compete-verdict-gauge .found"),
        ("Measure", "measure-made", "#measure-map .js-plotly-plot"),
        ("Look inside", "views-made", "#views-alignment"),
        ("Steer", "steer-before", "#steer-steered .bot.message"),
    ],
)
def test_every_tab_opens_on_a_result_that_was_made_before(page, title, mark, result):
    tab(page, title)
    expect(page.locator(f"#{mark}")).to_contain_text("Made before (on smollm2-135m in float32, commit ")
    expect(page.locator(result).last).to_be_visible()


def test_a_contest_is_chosen_written_and_judged_on_one_screen(page):
    before = page.viewport_size
    page.set_viewport_size({"width": 1366, "height": 768})
    tab(page, "Compete")
    page.evaluate("() => window.scrollTo(0, 0)")
    parts = ("ready", "a-vector", "b-multiplier", "verdict-said", "verdict-gauge", "verdict-measure", "write")
    boxes = {part: page.locator(f"#compete-{part}").bounding_box() for part in parts}
    assert [part for part, box in boxes.items() if box["y"] + box["height"] > 768] == []
    # Answers that were there before are read from their beginning.
    column = page.locator("#compete-both .panel-wrap")
    assert column.evaluate("(box) => box.scrollHeight > box.clientHeight && box.scrollTop === 0")
    # Another contest brings its own verdict and answers.
    said, answer = (page.locator(f"#compete-{part}").inner_text() for part in ("verdict-said", "a"))
    page.locator("#compete-ready").get_by_text("joy against gloom").click()
    expect(page.locator("#compete-verdict-said")).not_to_have_text(said)
    expect(page.locator("#compete-a")).not_to_have_text(answer)
    expect(page.locator("#compete-verdict-made")).to_contain_text("Made before (on smollm2-135m")
    expect(page.locator("#compete-verdict-made")).not_to_contain_text("other settings")
    page.set_viewport_size(before)
    tab(page, "Steer")


def test_the_first_minute_with_a_preset(page, embedded_app, tmp_path):
    expect(page.locator("#steer-strength")).to_contain_text("Relative strength 0.")
    fill(page.locator("#steer-prompt textarea"), "How was your day?")
    with embedded_app.holding(8):
        page.locator("#steer-prompt textarea").press("Enter")
        # Both columns stream: there is text in both while more is still to come.
        expect(page.locator("#steer-status")).to_contain_text("Writing")
        for column in ("steer-unsteered", "steer-steered"):
            expect(page.locator(f"#{column} .bot.message")).to_contain_text(re.compile(r"\w+"))
    expect(page.locator("#steer-status")).to_contain_text("wrote 80 + 80 tokens")
    expect(page.locator("#steer-status")).to_contain_text("2 of 2 were cut at 80 tokens")
    assert last_answer(page, "steer-unsteered") != last_answer(page, "steer-steered")
    # It has taken the place of what was made before.
    expect(page.locator("#steer-before")).to_be_hidden()
    expect(page.locator("#steer-steered .user.message")).to_have_count(1)
    expect(page.locator("#steer-prompt textarea")).to_have_value("")
    # No run is recorded in the browser, as gradio would: it keeps by whom it is known, and no more.
    assert page.evaluate("() => Object.keys(localStorage)") == ["caa-studio"]
    assert get(f"{embedded_app.url}config").json()["run_history"] is False
    # `make screenshot` keeps it for the README.
    page.screenshot(
        path=ROOT / "docs" / "screenshot.png" if os.environ.get("CAA_SCREENSHOT") else tmp_path / "shot.png"
    )
    unfold(page, "Which tokens are steered")
    expect(page.locator("#steer-marked")).to_contain_text("<|im_start|>")


def test_the_page_says_what_the_model_can_do(page, embedded_app):
    assert get(f"{embedded_app.url}health").json()["model"]["name"] == "smollm2-135m"
    expect(page.locator("#model-line")).to_contain_text("It guesses on A/B questions: use free text.")


def test_the_page_is_in_german_for_who_asks_for_it(visits, embedded_app):
    page = visits(embedded_app, query="?lang=de")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("#steer-before")).to_contain_text("Vorher gemacht (auf smollm2-135m in float32, Commit ")
    fill(page.locator("#steer-prompt textarea"), "")
    page.locator("#steer-write").click()
    expect(toast(page)).to_contain_text("Der Prompt ist leer; etwas zum Modell sagen.")
    # A tab that is drawn later, and its place in the address.
    tab(page, "Lernen")
    expect(page.locator("#learn-text")).to_contain_text("Ein Modell ist ein Stapel von Schichten.")
    expect(page).to_have_url(re.compile(r"lang=de.*tab=learn"))
    assert not re.search(r"\{\w+\}|__i18n__|/\*said", page.locator("body").inner_text())
