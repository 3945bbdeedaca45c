"""The page for who reads it by ear, by keyboard, in the dark, on a phone or on paper; so far as a program can tell."""

import pytest
from playwright.sync_api import expect

from caa_core.app.opening.ready import shipped
from caa_core.reports import contest
from caa_core.reports.writing import write
from tests.browser.test_layout import PHONE
from tests.helpers.accessibility import serious
from tests.helpers.browser import ask, drawn, set_new_tokens
from tests.helpers.waiting import until

pytestmark = pytest.mark.browser

# What moves while nobody does anything, and what is read out.
LISTEN = """() => {
  window.moved = 0;
  window.heard = [];
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.moved += entry.value; }))
    .observe({ type: 'layout-shift' });
  const live = '[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log]:not([aria-live=off])';
  new MutationObserver((changes) => changes.forEach(({ target }) => {
    const part = (target.closest ? target : target.parentElement)?.closest(live);
    if (part?.textContent.trim()) window.heard.push(part.textContent.trim());
  })).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
# Where one is, whether one was there before, and whether it is seen: by a line around what has a place on the page.
HERE = """() => {
  const part = document.activeElement, around = [part, part.closest('.wrap')].filter(Boolean);
  const seen = around.some((one) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(one), { width, height } = one.getBoundingClientRect();
    return outlineStyle === 'solid' && parseFloat(outlineWidth) >= 2 && width > 3 && height > 3;
  });
  const been = part.hereBefore || part === document.body;
  part.hereBefore = true;
  return { name: part.closest('[id]:not([id=""])')?.id, html: part.outerHTML.slice(0, 160), been, seen };
}"""


def test_answers_are_said_once_and_nothing_moves_while_they_come(page):
    set_new_tokens(page, 40)
    page.evaluate(LISTEN)
    ask(page, "How was your day?")
    until(lambda: page.evaluate("() => window.heard.length") > 1)
    drawn(page)
    assert page.evaluate("() => window.heard") == ["Running ...", "Written."]
    assert page.evaluate("() => window.moved") < 0.1


def test_by_keyboard_every_part_is_come_to_and_seen(page):
    page.locator("h1").click()
    there = []
    while not there or not there[-1]["been"]:
        page.keyboard.press("Tab")
        there.append(page.evaluate(HERE))
    names = {here["name"] for here in there}
    assert {"to-learn", "steer-vector", "steer-multiplier", "steer-prompt", "steer-write", "steer-retry"} <= names
    assert [here for here in there[:-1] if not here["seen"]] == []


def test_a_report_reads_on_a_phone_and_on_paper(page, tmp_path):
    write(contest.report_of(shipped("compete-verdict")), tmp_path / "report.html")
    reading = page.context.new_page()
    reading.set_viewport_size(PHONE)
    reading.goto(f"file://{tmp_path}/report.html")
    reading.locator(".js-plotly-plot").last.wait_for()
    assert reading.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]
    assert serious(reading, "body") == []
    reading.get_by_text("Numbers of this figure").first.click()
    expect(reading.locator(".figure-numbers tr").nth(1)).to_contain_text("0.8253 (0.6326 to 1.104)A: formal")
    reading.emulate_media(media="print")
    reading.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert reading.locator("details.prose:not([open])").count() == 0
    widths = reading.evaluate("() => [...document.querySelectorAll('.main-svg')].map((drawn) => drawn.clientWidth)")
    assert set(widths) == {680}
    reading.close()
