"""Several people, several tabs, reloads, and what strangers write: Chromium, the running app, the embedded model."""

import json
import re
import time

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.test_page import LONG, choose, last_answer, set_new_tokens, tab, unfold, upload, write

pytestmark = pytest.mark.browser
SCRIPT = "<img src=x onerror=document.title='owned'>"
PAIRS = [{"prompt": f"{i}?", "positive": f"Arr, matey {i}!", "negative": f"I cannot say {i}."} for i in range(6)]


def make(page, tmp_path, name, pairs=PAIRS):
    """A vector of the page's own, at layer 12."""
    (tmp_path / f"{name}.json").write_text(json.dumps(pairs))
    upload(page, tmp_path / f"{name}.json")
    expect(page.locator("#generate-kind")).to_contain_text(name, timeout=LONG)
    page.locator("#generate-layers textarea, #generate-layers input").first.fill("12")
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text(f"Made {name}", timeout=LONG)


def ask(page, question):
    tab(page, "Steer")
    page.locator("#steer-prompt textarea").fill(question)
    write(page)


def options(page, picker):
    page.locator(f"#{picker} input").click()
    found = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return found


def test_two_people_see_nothing_of_each_other(visit, tmp_path):
    mine, theirs = visit(), visit()
    make(mine, tmp_path, "pirate")
    tab(mine, "Steer")
    set_new_tokens(mine, 8)
    ask(mine, "My secret question?")
    tab(mine, "Generate vectors")
    with mine.expect_download() as download:
        mine.locator("#generate-download").click()
    address = download.value.url
    tab(mine, "Steer")
    theirs.reload()
    expect(theirs.locator("#steer-strength")).to_contain_text("Relative strength", timeout=LONG)
    theirs.wait_for_timeout(1500)
    assert "pirate (yours)" in options(mine, "steer-vector")
    assert not [name for name in options(theirs, "steer-vector") if "yours" in name]
    expect(theirs.locator("#steer-steered .message")).to_have_count(0)
    tab(theirs, "Generate vectors")
    expect(theirs.locator("#generate-about")).to_contain_text("None yet")
    for trace in ("pirate", "secret question", "Arr, matey"):
        assert trace not in theirs.content()
    # Their file has an address that nobody guesses, and beside it lies nothing that could be listed.
    assert re.search(r"/caa-[0-9a-f]{32}/pirate\.safetensors$", address)
    assert httpx.get(address).status_code == 200
    for guess in (re.sub("caa-.{32}", "caa-" + "0" * 32, address), address.rsplit("/", 1)[0]):
        assert httpx.get(guess).status_code == 403


def test_a_reload_brings_everything_back_and_stops_what_ran(visit, app, tmp_path):
    page = visit()
    make(page, tmp_path, "pirate")
    page.locator("#generate-compare").click()
    expect(page.locator("#generate-status")).to_contain_text("Compared 4 methods", timeout=LONG)
    tab(page, "Steer")
    set_new_tokens(page, 8)
    ask(page, "How was your day?")
    answer = last_answer(page, "steer-steered")
    slider = page.locator("#steer-settings").get_by_label("number input for New tokens")
    slider.fill("512")
    page.locator("#steer-prompt textarea").fill("And now a long one.")
    page.locator("#steer-write").click()
    expect(page.locator("#steer-steered .bot.message")).to_have_count(2, timeout=LONG)

    page.reload()
    answers = page.locator("#steer-steered .bot.message")
    expect(answers).to_have_count(2, timeout=LONG)
    assert answers.first.inner_text() == answer
    end = time.monotonic() + 60
    while httpx.get(f"{app.url}health").json()["queue"]["jobs"]:
        assert time.monotonic() < end
    expect(page.locator("#steer-write")).to_be_enabled()
    choose(page, "steer-vector", "pirate (yours)")
    tab(page, "Generate vectors")
    expect(page.locator("#generate-about")).to_contain_text("6 pairs of pirate")
    expect(page.locator("#generate-kind")).to_contain_text("pirate")
    expect(page.locator("#generate-verdict")).to_contain_text("logistic probe: AUC")
    # Another tab of the same browser is the same person; the key is in no address.
    beside = visit(beside=page)
    expect(beside.locator("#steer-steered .bot.message")).to_have_count(2, timeout=LONG)
    assert "pirate (yours)" in options(beside, "steer-vector")
    assert beside.url == app.url
    # What was cleared stays away.
    beside.locator("#steer-clear").click()
    expect(beside.locator("#steer-steered .bot.message")).to_have_count(0)
    beside.reload()
    expect(beside.locator("#steer-strength")).to_contain_text("Relative strength", timeout=LONG)
    beside.wait_for_timeout(1000)
    expect(beside.locator("#steer-steered .bot.message")).to_have_count(0)


def test_two_who_write_at_once_are_told_and_one_who_leaves_makes_room(visit, app):
    one, other = visit(), visit()
    set_new_tokens(one, 512)
    one.locator("#steer-write").click()
    expect(one.locator("#steer-steered .bot.message")).to_contain_text(re.compile(r"\w+ \w+"), timeout=LONG)
    set_new_tokens(other, 16)
    other.locator("#steer-write").click()
    expect(other.locator("#steer-status")).to_contain_text("1 other job shares the model", timeout=LONG)
    expect(other.locator("#steer-status")).to_contain_text("wrote 16 + 16 tokens", timeout=LONG)
    assert httpx.get(f"{app.url}health").json()["queue"]["jobs"] == 1
    one.close()
    end = time.monotonic() + 60
    while httpx.get(f"{app.url}health").json()["queue"]["jobs"]:
        assert time.monotonic() < end


def test_what_strangers_write_is_text_everywhere(visit, tmp_path):
    page = visit()
    # Fields and names of a file whose columns are not known, in the table, the choices and the sentences.
    fields = f"{SCRIPT},<b>yes</b>,http://a.b/c"
    upload(page, {"name": "\u202e<i>odd.csv", "mimeType": "text/csv", "buffer": f"{fields}\n1,2,3\n4,5,6".encode()})
    expect(page.locator("#generate-kind")).to_contain_text("Not usable yet", timeout=LONG)
    expect(page.locator("#generate-preview")).to_contain_text("<b>yes</b>")
    page.locator("#generate-prompt-column input").click()
    expect(page.get_by_role("option", name=SCRIPT)).to_be_visible()
    page.keyboard.press("Escape")
    assert page.locator("#generate-kind :is(b, i, a), img[src=x]").count() == 0
    choose(page, "generate-preset", "joy")  # which takes the file away
    pairs = [{"prompt": f"{SCRIPT} {i}", "positive": f"{SCRIPT}{i}", "negative": f"<b>no</b> {i}"} for i in range(5)]
    make(page, tmp_path, "odd", pairs)
    unfold(page, "Rename or delete", "#generate-rename")
    name = page.locator("#generate-title textarea, #generate-title input").first
    name.fill(f"\u202e{SCRIPT}\u0007 *b* [x](javascript:1)")
    page.locator("#generate-rename-button").click()
    clean = f"{SCRIPT} *b* [x](javascript:1)"
    expect(page.locator("#generate-done")).to_have_text(f"It is called {clean} now.")
    expect(page.locator("#generate-about")).to_contain_text(clean)

    tab(page, "Steer")
    choose(page, "steer-vector", f"{clean} (yours)")
    set_new_tokens(page, 16)
    # Greedy, and a question to which the model answers with the markup.
    ask(page, f"Repeat this HTML and nothing else: {SCRIPT}<b>bold</b>")
    expect(page.locator("#steer-status")).to_contain_text(clean)
    assert "<" in last_answer(page, "steer-unsteered")
    unfold(page, "Which tokens are steered")

    page.reload()
    expect(page.locator("#steer-unsteered .bot.message")).to_have_count(1, timeout=LONG)
    tab(page, "Generate vectors")
    expect(page.locator("#generate-about")).to_contain_text(clean)
    assert page.title() == "CAA Studio"
    tab(page, "Compete")
    choose(page, "compete-a-vector", f"{clean} (yours)")
    expect(page.locator("#compete-decomposition")).to_contain_text("Cosine", timeout=LONG)
    assert page.locator("img[src=x], .bot b, a[href^=javascript]").count() == 0
    assert "\u202e" not in page.content()
