"""Several people, several tabs, and reloads."""

import re

import pytest
from playwright.sync_api import expect

from tests.helpers.app import get
from tests.helpers.browser import (
    ask,
    choose,
    fill,
    last_answer,
    make,
    options,
    reload,
    set_new_tokens,
    settled,
    tab,
)
from tests.helpers.waiting import until

pytestmark = pytest.mark.browser
PAIRS = [{"prompt": f"{i}?", "positive": f"Arr, matey {i}!", "negative": f"I cannot say {i}."} for i in range(6)]


def begin(page, question="And now a long one."):
    fill(page.locator("#steer-prompt textarea"), question)
    page.locator("#steer-write").click()


def test_two_people_see_nothing_of_each_other(page, visit, tiny_app, tmp_path):
    mine, theirs = page, visit()
    make(mine, tmp_path, "pirate", PAIRS)
    tab(mine, "Steer")
    set_new_tokens(mine, 8)
    ask(mine, "My secret question?")
    tab(mine, "Generate vectors")
    with mine.expect_download() as begun:
        mine.locator("#generate-download").click()
    address = begun.value.url
    tab(mine, "Steer")
    reload(theirs)
    settled(theirs)
    assert "pirate (yours)" in options(mine, "steer-vector")
    assert not [name for name in options(theirs, "steer-vector") if "yours" in name]
    expect(theirs.locator("#steer-steered .message")).to_have_count(0)
    tab(theirs, "Generate vectors")
    expect(theirs.locator("#generate-about")).to_contain_text("None yet")
    for trace in ("pirate", "secret question", "Arr, matey"):
        assert trace not in theirs.content()
    # Their file has an address that nobody guesses, and beside it lies nothing that could be listed.
    assert re.search(r"/caa-[0-9a-f]{32}/pirate\.safetensors$", address)
    assert get(address).status_code == 200
    for guess in (re.sub("caa-.{32}", "caa-" + "0" * 32, address), address.rsplit("/", 1)[0]):
        assert get(guess).status_code == 403


def test_two_who_write_at_once_are_told_and_one_who_leaves_makes_room(page, visit, tiny_app, monkeypatch):
    one, other = visit(), page
    tab(other, "Steer")
    set_new_tokens(other, 16)
    with tiny_app.holding(8):
        begin(one)
        expect(one.locator("#steer-steered .bot.message")).to_contain_text(re.compile(r"\w+"))
        with tiny_app.holding(8) as release:
            begin(other)
            expect(other.locator("#steer-status")).to_contain_text("1 other job shares the model")
            release()
            expect(other.locator("#steer-status")).to_contain_text("wrote 16 + 16 tokens")
        assert tiny_app.jobs == 1
        monkeypatch.setenv("CAA_GRACE_JOB", "0")
        one.close()
        until(lambda: tiny_app.studio.sessions.sweep() == [] and not tiny_app.jobs)


def test_a_reload_brings_everything_back_and_finds_what_runs(visit, tiny_app, tmp_path):
    page = visit()
    make(page, tmp_path, "pirate", PAIRS)
    page.locator("#generate-compare").click()
    expect(page.locator("#generate-status")).to_contain_text("Compared 4 methods")
    tab(page, "Steer")
    set_new_tokens(page, 8)
    ask(page, "How was your day?")
    answer = last_answer(page, "steer-steered")
    with tiny_app.holding(8):
        begin(page)
        answers = page.locator("#steer-steered .bot.message")
        expect(answers).to_have_count(2)
        assert tiny_app.jobs == 1

        reload(page)
        expect(answers).to_have_count(2)
        assert answers.first.inner_text() == answer
        expect(page.locator("#steer-status")).to_contain_text("Writing")
        expect(page.locator("#steer-write")).to_be_disabled()
        assert tiny_app.jobs == 1
        page.locator("#steer-stop").click()
        expect(page.locator("#steer-status")).to_contain_text("tokens")
        until(lambda: not tiny_app.jobs)
    expect(page.locator("#steer-write")).to_be_enabled()
    choose(page, "steer-vector", "pirate (yours)")
    tab(page, "Generate vectors")
    expect(page.locator("#generate-about")).to_contain_text("6 pairs of pirate")
    expect(page.locator("#generate-kind")).to_contain_text("pirate")
    expect(page.locator("#generate-verdict")).to_contain_text("logistic probe: AUC")
    # Another tab of the same browser is the same person; the key is in no address.
    beside = visit(beside=page)
    expect(beside.locator("#steer-steered .bot.message")).to_have_count(2)
    assert "pirate (yours)" in options(beside, "steer-vector")
    assert beside.url == tiny_app.url
    # What was cleared stays away.
    beside.locator("#steer-clear").click()
    expect(beside.locator("#steer-steered .bot.message")).to_have_count(0)
    reload(beside)
    settled(beside)
    expect(beside.locator("#steer-steered .bot.message")).to_have_count(0)
