"""Open questions to scores given blind, and which voice written answers follow; Chromium, the running app."""

import csv
import json

import pytest
from playwright.sync_api import expect

from tests.browser.test_measure import typed
from tests.browser.test_page import LONG, tab

pytestmark = pytest.mark.browser

ASKED = ["What was the best part of your week?", "How was <b>lunch</b> today?"]


def test_open_questions_are_answered_and_scored_blind(tiny_page, tmp_path):
    page = tiny_page
    (tmp_path / "asked.json").write_text(json.dumps([{"question": question} for question in ASKED]))
    tab(page, "Measure")
    tab(page, "Open questions")
    page.locator("#open-upload input[type=file]").set_input_files(tmp_path / "asked.json")
    typed(page, "open-multipliers", "2.0")  # as no item of the list begins
    page.locator("#open-write").click()
    expect(page.locator("#open-said")).to_contain_text("Safe on these 2 questions", timeout=LONG)
    expect(page.locator("#open-said")).to_contain_text("joy against plain answers")
    expect(page.locator("#open-write")).to_be_enabled(timeout=LONG)
    expect(page.locator("#open-write")).to_have_text("Write answers")

    page.locator("#open-blind button").first.click()
    expect(page.locator("#open-shown")).to_contain_text("0 of 4 scored")
    page.locator("#open-score-3").click()
    expect(page.locator("#open-shown")).to_contain_text("1 of 4 scored")
    page.keyboard.press("x")
    expect(page.locator("#open-shown")).to_contain_text("2 of 4 scored")
    page.locator("#open-back").click()
    expect(page.locator("#open-shown")).to_contain_text("1 of 4 scored")
    page.reload()
    tab(page, "Measure")
    tab(page, "Open questions")
    page.locator("#open-blind button").first.click()
    # Keys count once the answers are seen.
    expect(page.locator("#open-shown")).to_contain_text("1 of 4 scored", timeout=LONG)
    for number, text in enumerate(("2 of 4 scored", "3 of 4 scored", "All 4 answers")):
        page.keyboard.press(str(number))
        expect(page.locator("#open-shown")).to_contain_text(text)
    page.locator("#open-reveal").click()
    expect(page.locator("#open-meant")).to_contain_text("against unsteered")
    with page.expect_download() as download:
        page.locator("#open-csv").click()
    download.value.save_as(tmp_path / "answers.csv")
    with open(tmp_path / "answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["question"], float(row["multiplier"])) for row in rows] == [(q, m) for q in ASKED for m in (0, 2)]
    assert sorted(float(row["score_person"]) for row in rows) == [0, 1, 2, 3]


def test_which_voice_written_answers_follow(page, tmp_path):
    (tmp_path / "asked.json").write_text(json.dumps([{"question": question} for question in ASKED]))
    tab(page, "Compete")
    page.locator("#compete-written-settings button").first.click()
    page.locator("#compete-written-questions input[type=file]").set_input_files(tmp_path / "asked.json")
    page.locator("#compete-written-samples input[type=number]").fill("1")
    page.locator("#compete-written-write").click()
    expect(page.locator("#compete-written-said")).to_contain_text("2 questions are too few to tell", timeout=LONG)
    expect(page.locator("#compete-written-said")).to_contain_text("joy against gloom")
    expect(page.locator("#compete-written-figure .js-plotly-plot .barlayer .point")).not_to_have_count(0, timeout=LONG)
    expect(page.locator("#compete-written-numbers")).to_contain_text("unsteered")
    page.reload()
    tab(page, "Compete")
    expect(page.locator("#compete-written-said")).to_contain_text("AUC", timeout=LONG)
