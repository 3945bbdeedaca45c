"""Writing in the tab Steer: histories, Stop, Clear, mistakes, and markup."""

import json
import re
import shlex

import pytest
from playwright.sync_api import expect

from tests.helpers.browser import ask, fill, last_answer, set_new_tokens, settled, slide, tab, toast, unfold, write
from tests.helpers.waiting import until

pytestmark = pytest.mark.browser

COLUMNS = ("steer-unsteered", "steer-steered")


@pytest.fixture
def chat(page):
    """The page with nothing written yet, whose answers are short."""
    tab(page, "Steer")
    if page.locator("#steer-clear").is_visible():
        page.locator("#steer-clear").click()
    expect(page.locator("#steer-steered .message")).to_have_count(0)
    set_new_tokens(page, 16)
    return page


def begin(page, question="What is the sea like?"):
    """Let the app write until there is text in both columns."""
    fill(page.locator("#steer-prompt textarea"), question)
    page.locator("#steer-write").click()
    for column in COLUMNS:
        expect(page.locator(f"#{column} .bot.message")).to_contain_text(re.compile(r"\w+"))


def test_a_chat_keeps_two_histories_and_can_be_retried_and_cleared(chat):
    ask(chat, "How was your day?")
    first = last_answer(chat, "steer-steered")
    ask(chat, "Why?")
    for column in COLUMNS:
        expect(chat.locator(f"#{column} .user.message")).to_have_count(2)
        expect(chat.locator(f"#{column} .bot.message")).to_have_count(2)
    second = last_answer(chat, "steer-steered")
    write(chat, button="retry")
    expect(chat.locator("#steer-steered .bot.message")).to_have_count(2)
    assert last_answer(chat, "steer-steered") == second != first
    # What each was written under stands above it.
    expect(chat.locator("#steer-steered .thought-group")).to_have_text([re.compile(r"joy\s· layer\s\d")] * 2)
    expect(chat.locator("#steer-unsteered .thought-group")).to_have_count(0)
    chat.locator("#steer-clear").click()
    expect(chat.locator("#steer-steered .bot.message")).to_have_count(0)
    chat.locator("#steer-bring").click()
    expect(chat.locator("#steer-steered .bot.message")).to_have_count(2)


def test_stop_ends_the_writing_and_keeps_what_was_written(chat, tiny_app):
    with tiny_app.holding(12):
        begin(chat)
        # Stop takes the place of what cannot be pressed.
        for button in ("write", "retry"):
            expect(chat.locator(f"#steer-{button}")).to_be_hidden()
        chat.locator("#steer-stop").click()
        expect(chat.locator("#steer-status")).to_contain_text("stopped after")
    expect(chat.locator("#steer-stop")).to_be_hidden()
    for button in ("write", "retry"):
        expect(chat.locator(f"#steer-{button}")).to_be_enabled()
    assert len(last_answer(chat, "steer-steered")) > 3


def test_clear_stops_the_writing_and_nothing_comes_back(chat, tiny_app):
    answers = chat.locator("#steer-steered .bot.message")
    with tiny_app.holding(12):
        begin(chat)
        chat.locator("#steer-clear").click()
        expect(answers).to_have_count(0)
        until(lambda: not tiny_app.studio.jobs)
    settled(chat)
    expect(answers).to_have_count(0)
    expect(chat.locator("#steer-write")).to_be_enabled()


def test_a_mistake_is_said_and_the_chat_stays(chat):
    ask(chat, "How was your day?")
    answer = last_answer(chat, "steer-steered")
    fill(chat.locator("#steer-prompt textarea"), "   ")
    chat.locator("#steer-write").click()
    expect(chat.locator("#steer-status")).to_contain_text("The prompt is empty")
    assert last_answer(chat, "steer-steered") == answer
    # Nothing lies over it either.
    chat.locator("#steer-steered .bot.message").last.click()
    # One that fails when it has begun, and then one that does not.
    fill(chat.locator("#steer-prompt textarea"), "word " * 1000)
    chat.locator("#steer-write").click()
    expect(toast(chat)).to_contain_text("Shorten it, or clear the chat")
    chat.locator(".toast-close").last.click()  # it lies over the button
    expect(chat.locator("#steer-write")).to_be_enabled()
    ask(chat, "Why?")


def test_enter_sends_and_shift_enter_makes_a_line(chat):
    box = chat.locator("#steer-prompt textarea")
    fill(box, "How was")
    box.press("End")
    box.press("Shift+Enter")
    chat.keyboard.type("your day?")
    expect(box).to_have_value("How was\nyour day?")
    box.press("Enter")
    expect(chat.locator("#steer-steered .user.message")).to_have_text(re.compile(r"How was\s+your day\?"))
    expect(chat.locator("#steer-status")).to_contain_text("wrote")


def test_markup_in_a_chat_is_shown_as_it_is(chat):
    question = "<b>bold</b> <img src=x onerror=alert(1)> <script>1</script> 3 < 5 &amp; **x**"
    ask(chat, question)
    assert chat.locator("#steer-steered .user.message").inner_text().strip() == question
    assert chat.locator("#steer-steered img[src=x], #steer-steered b").count() == 0


def test_one_of_five_answers_is_taken_by_a_click_and_coloured(chat):
    ask(chat, "How was your day?")
    unfold(chat, "The same answer at five multipliers")
    chat.locator("#steer-strip-write").click()
    answers = chat.locator("#steer-strip article[data-at]")
    expect(answers).to_have_count(5)
    expect(answers.locator("b")).to_have_text([f"× {m:g}" for m in (0, 0.5, 1, 1.5, 2)])
    taken = answers.nth(3).locator("p").inner_text().split()
    answers.nth(3).get_by_role("button", name="Take × 1.5").click()
    expect(chat.locator("#steer-multiplier input[type=number]")).to_have_value("1.5")
    expect(chat.locator("#steer-status")).to_contain_text("Taken")
    # Behind what it was written under.
    assert last_answer(chat, "steer-steered").split()[-len(taken) :] == taken
    chat.locator("#steer-coloured input").check()
    tokens = chat.locator("#steer-steered .along-vector span")
    expect(tokens.first).to_be_visible()
    colours = tokens.evaluate_all("(all) => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert len(set(colours)) > 2 and last_answer(chat, "steer-steered").split()[-len(taken) :] == taken
    chat.locator("#steer-coloured input").uncheck()
    expect(tokens).to_have_count(0)
    # What is behind a word is said where it is focused, for who has no pointer.
    chat.locator("#steer-strength [data-tip]").focus()
    expect(chat.locator("#tip")).to_contain_text("Relative strength")
    chat.keyboard.press("Escape")
    expect(chat.locator("#tip")).to_be_hidden()
    unfold(chat, "The same answer at five multipliers")
    slide(chat, "steer-multiplier", 1)


def test_what_is_chosen_is_shown_as_code_letter_by_letter(chat):
    prompt = 'It\'s "a" `$x` $$y$$ <b> ``` # *z* &amp; joy'
    fill(chat.locator("#steer-prompt textarea"), prompt)
    unfold(chat, "As code", "#steer-code")
    blocks = chat.locator("#steer-code-shown pre code")
    expect(blocks).to_have_count(5)
    python, shell, client, curl, llama = (text.strip() for text in blocks.all_text_contents())
    assert shlex.split(shell.replace("\\\n", ""))[:4] == ["caa", "steer", "--prompt", prompt]
    assert repr(prompt) in python and repr(prompt) in client and f'Client("{chat.app.url}")' in client
    asked = json.loads(shlex.split(curl.replace("\\\n", ""))[-1])
    assert asked["messages"][0]["content"] == prompt in shlex.split(llama.replace("\\\n", ""), comments=True)
    slide(chat, "steer-multiplier", -1.5)
    chat.locator("#steer-code-again").click()
    expect(blocks.nth(1)).to_contain_text(":-1.5")
    before = chat.viewport_size
    chat.set_viewport_size({"width": 390, "height": 844})
    assert chat.evaluate("() => document.documentElement.scrollWidth") == 390
    chat.set_viewport_size(before)
    unfold(chat, "As code", "#steer-code")
