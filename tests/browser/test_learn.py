"""The lesson in Chromium, through two steps: the real controls of real tabs, and back."""

import json

import pytest
from playwright.sync_api import expect

from caa_core.app.panels.learn.lesson import built_in
from tests.helpers.browser import drawn, reload, set_new_tokens, settled, slide, tab

pytestmark = pytest.mark.browser


def predict(page, text):
    settled(page)  # a step that is drawn anew has nothing chosen
    page.locator("#learn-choice").get_by_text(text, exact=True).click()
    page.locator("#learn-predict").click()
    expect(page.locator("#learn-result")).to_contain_text("You predicted")


def step(page):
    return page.locator('#learn-steps [role=tab][aria-selected="true"]')


def test_a_lesson_is_gone_through_with_the_controls_of_other_tabs(page, tmp_path):
    lesson = built_in().data
    (tmp_path / "two.json").write_text(json.dumps({**lesson, "steps": [lesson["steps"][0], lesson["steps"][3]]}))
    page.locator("#to-learn").click()
    expect(page.locator("#learn-text")).to_contain_text("1. Residual stream")
    expect(page.locator("#learn-steps [role=tab]")).to_have_count(8)
    drawn(page)
    page.locator("#learn-own .label-wrap").click()
    page.locator("#learn-file input[type=file]").set_input_files(tmp_path / "two.json")
    expect(page.locator("#learn-steps [role=tab]")).to_have_count(2)
    # The tab of the experiment was not open before; its form holds what the step asks for.
    expect(page.locator("#learn-go")).to_be_hidden()
    predict(page, "From the last third on")
    page.locator("#learn-go").click()
    expect(page.locator("#views-text textarea")).to_have_value("How was your day?")
    drawn(page)
    page.locator("#views-look").click()
    expect(page.locator("#views-alignment")).to_be_visible()
    tab(page, "Learn")
    expect(page.locator("#learn-result")).to_contain_text("Checked on your own run")
    expect(page.locator("#learn-conclude")).to_contain_text("You may not")
    # The second in a tab that was open, of which something else was set.
    page.locator("#learn-next").click()
    expect(step(page)).to_contain_text("Add it")
    tab(page, "Steer")
    set_new_tokens(page, 8)
    slide(page, "steer-multiplier", -2)
    tab(page, "Learn")
    predict(page, "It says something else")
    page.locator("#learn-go").click()
    expect(page.locator("#steer-multiplier input[type=number]")).to_have_value("1")
    page.locator("#steer-write").click()
    expect(page.locator("#steer-status")).to_contain_text("wrote")
    tab(page, "Learn")
    expect(page.locator("#learn-score")).to_contain_text("2 of 2 predicted")
    expect(page.locator("#learn-score")).to_contain_text("2 checked on your own runs")
    # Back by the list of steps, and kept over a reload.
    page.locator("#learn-steps [role=tab]").first.click()
    expect(page.locator("#learn-text")).to_contain_text("1. Residual stream")
    reload(page)
    tab(page, "Learn")
    expect(page.locator("#learn-result")).to_contain_text("From the last third on")
    expect(step(page)).to_contain_text("Residual stream")
