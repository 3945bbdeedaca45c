"""Thinking before answering, in the tab "Compete", as a person uses it."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_page import LONG, set_new_tokens, slide, tab, unfold, write

pytestmark = pytest.mark.browser
PANEL = "compete-reasoning"


def open_section(page):
    unfold(page, "Can it reason its way to one voice?", f"#{PANEL}")
    expect(page.locator(f"#{PANEL}-prompts input[type=number]")).to_have_value("12")


def test_think_first(page):
    """Every column shows its thought apart from its answer, also after a reload."""
    tab(page, "Compete")
    set_new_tokens(page, 16, "compete")
    page.locator("#compete-think input").check()
    write(page, "compete")
    for column in ("unsteered", "a", "b", "both"):
        shown = page.locator(f"#compete-{column}")
        expect(shown).to_contain_text("Thought")
        expect(shown.locator(".bot.message").last).to_contain_text(re.compile(r"\w+"))
    # Answers that stop at the limit are said to be cut, whatever was thought before.
    expect(page.locator("#compete-status")).to_contain_text(re.compile(r"\d of 4 were cut at 16 tokens"))
    page.reload()
    tab(page, "Compete")
    expect(page.locator("#compete-both")).to_contain_text("Thought", timeout=LONG)
    page.locator("#compete-clear").click()
    expect(page.locator("#compete-both")).not_to_contain_text("Thought")


def test_can_it_reason_its_way_to_one_voice(page, tmp_path):
    tab(page, "Compete")
    open_section(page)
    for slider, value in (("prompts", 2), ("thoughts", 1), ("tokens", 8)):
        slide(page, f"{PANEL}-{slider}", value)
        expect(page.locator(f"#{PANEL}-{slider} input[type=number]")).to_have_value(str(value))
    page.locator(f"#{PANEL}-think").click()
    expect(page.locator(f"#{PANEL}-said")).to_contain_text("2 prompts are too few to tell", timeout=4 * LONG)
    expect(page.locator(f"#{PANEL}-json")).to_be_visible(timeout=LONG)
    table = page.locator(f"#{PANEL}-table")
    for arm in ("direct", "filler", "crossed"):
        expect(table).to_contain_text(arm)
    page.locator(f"#{PANEL}-read").get_by_role("button", name="Thoughts").click()
    expect(page.locator(f"#{PANEL}-texts th")).to_have_text(["under nobody", "under joy", "under gloom", "under both"])
    for ending in ("json", "csv", "html"):
        with page.expect_download() as download:
            page.locator(f"#{PANEL}-{ending}").click()
        download.value.save_as(tmp_path / ending)
    found = json.loads((tmp_path / "json").read_text())
    assert len(found["arms"]) == 8 and len(found["thinking"]["thoughts"]) == 8
    assert (tmp_path / "csv").read_text().count("\n") == 9
    assert "Can it reason its way to one voice?" in (tmp_path / "html").read_text()

    page.reload()
    tab(page, "Compete")
    open_section(page)
    expect(page.locator(f"#{PANEL}-said")).to_contain_text("too few to tell", timeout=LONG)


def test_stopping_keeps_what_has_come(tiny_page):
    page = tiny_page
    tab(page, "Compete")
    open_section(page)
    slide(page, f"{PANEL}-tokens", 256)
    page.locator(f"#{PANEL}-think").click()
    expect(page.locator(f"#{PANEL}-status")).to_contain_text("thoughts written", timeout=LONG)
    page.locator(f"#{PANEL}-stop").click()
    expect(page.locator(f"#{PANEL}-status")).to_contain_text("Stopped", timeout=LONG)
    expect(page.locator(f"#{PANEL}-think")).to_be_enabled()
