"""What is seen without scrolling, how large it is written, and how much of it there is."""

import re

import pytest
from playwright.sync_api import expect

from caa_core.app.opening.accessibility import MENDS
from tests.helpers.accessibility import had_before, serious
from tests.helpers.browser import ask, choose, drawn, fill, opened, set_new_tokens, settled, tab, toast, unfold
from tests.helpers.waiting import until

pytestmark = pytest.mark.browser

LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
# Each tab with what begins its work, and where that is answered.
TABS = {
    ("Steer",): ("steer-write", "steer-columns"),
    ("Generate vectors",): ("generate-make", "generate-kind"),
    ("Compete",): ("compete-b-multiplier", "compete-verdict-measure", "compete-write", "compete-columns"),
    ("Measure", "Layers and multipliers"): ("measure-run", "measure-status"),
    ("Measure", "Several behaviours"): ("behaviours-run", "behaviours-status"),
    ("Measure", "Positions and cues"): ("study-run", "study-status"),
    ("Measure", "Open questions"): ("open-write", "open-status"),
    ("Look inside",): ("views-look", "views-status"),
    ("Learn",): ("learn-predict", "learn-text"),
    ("Class",): ("class-begin", "class-show"),
    ("Models",): ("model-load", "model-list"),
}
# Texts that are seen and written smaller than that, and lines of paragraphs that have more letters than so many.
SMALL_AND_LONG = """() => {
  const small = [], long = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const box = node.parentElement;
    const seen = box.checkVisibility({ visibilityProperty: true }) && !box.closest('script, style');
    if (!node.data.trim() || !seen || box.matches('[style*="70%"]')) continue;  // a power in a figure
    if (parseFloat(getComputedStyle(box).fontSize) < 14) small.push(node.data.trim());
  }
  for (const box of document.querySelectorAll('p, li, .info-text, summary, label, h1, h2, h3, h4, .prose span')) {
    if (!box.checkVisibility({ visibilityProperty: true }) || box.matches('.answers *, :has(p, li, table)')) continue;
    long.push(...box.innerText.split('\\n').filter((line) => line.trim().length > 160));
  }
  return [small, long];
}"""

FOLD = """(open) => document.querySelectorAll('.label-wrap').forEach((fold) => {
  if (fold.checkVisibility({ visibilityProperty: true }) && fold.classList.contains('open') !== open) fold.click();
})"""


# Until the menu that was just opened is all there.
FADED = """() => Promise.allSettled(
  document.querySelector('.options').getAnimations({ subtree: true }).map((one) => one.finished))"""


@pytest.fixture(scope="module", autouse=True)
def with_results(only_page):
    """What is looked at are tabs with answers and results in them."""
    had_before(only_page)


@pytest.fixture(autouse=True)
def as_it_was(page):
    before = page.viewport_size
    yield
    page.set_viewport_size(before)


def open_on_a_phone(page, *names):
    """Where the tabs that do not fit are behind a button."""
    for name in names:
        if not page.get_by_role("tab", name=name).first.is_visible():
            page.locator(".overflow-menu > button").first.click()
            page.locator(".overflow-dropdown button", has_text=name).click()
            drawn(page)
        else:
            tab(page, name)


def is_seen(page, part):
    """Whether a part begins on the screen, and ends there if it is a button."""
    box = page.locator(f"#{part}").bounding_box()
    assert box, part
    end = box["y"] + (box["height"] if page.locator(f"button#{part}").count() else 0)
    return box["y"] >= 0 and end <= page.viewport_size["height"]


def test_answers_are_on_the_screen_and_named_after_their_vectors(page):
    page.set_viewport_size(LAPTOP)
    tab(page, "Steer")
    set_new_tokens(page, 64)
    for question in ("How was your day?", "Why?", "And then?"):
        ask(page, question)
    last = page.locator("#steer-steered .bot.message").last
    drawn(page)
    box = last.bounding_box()
    assert box["y"] + box["height"] <= LAPTOP["height"]
    # A column is headed by what wrote the answer that is read there, whatever is chosen for the next one.
    head = page.locator("#steer-steered label.float")
    expect(head).to_have_text("Steered with joy")
    choose(page, "steer-vector", "formal (preset)")
    expect(page.locator("#steer-card")).to_contain_text("Official")
    settled(page)
    expect(head).to_have_text("Steered with joy")
    ask(page, "And now?")
    expect(head).to_have_text("Steered with formal")
    page.locator("#steer-clear").click()
    choose(page, "steer-vector", "casual (preset)")
    expect(head).to_have_text("Steered with casual")
    page.locator("#steer-bring").click()
    expect(head).to_have_text("Steered with formal")
    tab(page, "Compete")
    head = page.locator("#compete-both label.float")
    expect(head).to_have_text("Both: formal + casual")
    choose(page, "compete-a-vector", "joy (preset)")
    expect(page.locator("#compete-decomposition")).to_contain_text("A: joy")
    expect(head).to_have_text("Both: formal + casual")


def test_on_a_phone_what_is_chosen_is_one_line(page):
    page.set_viewport_size(PHONE)
    tab(page, "Steer")
    choose_again = page.locator("#steer-change summary")
    expect(page.locator("#steer-vector")).to_be_hidden()
    assert all(is_seen(page, part) for part in ("steer-prompt", "steer-write", "steer-columns"))
    columns = [page.locator(f"#steer-{column}").bounding_box() for column in ("unsteered", "steered")]
    assert columns[0]["y"] == columns[1]["y"]
    choose_again.click()
    choose(page, "steer-vector", "joy (preset)")
    expect(page.locator("#steer-chosen")).to_contain_text("joy · layer 1 · × 1")
    expect(page.locator("#steer-vector")).to_be_visible()
    choose_again.click()
    expect(page.locator("#steer-vector")).to_be_hidden()
    for names in (("Steer",), ("Compete",), ("Measure", "Layers and multipliers")):
        open_on_a_phone(page, *names)
        assert page.evaluate("() => document.documentElement.scrollWidth") == PHONE["width"]


def test_words_of_the_field_are_said_in_plain_ones(page):
    tab(page, "Steer")
    label = page.locator("#steer-multiplier [data-testid=block-info]")
    label.hover(position={"x": 10, "y": 8})
    expect(page.locator("#tip")).to_have_text("How many times the vector is added. Below 0, its opposite is.")
    page.locator("h1").hover()
    expect(page.locator("#tip")).to_be_hidden()
    unfold(page, "Words", "#words")
    expect(page.locator("#words")).to_contain_text("The length of a vector.")
    unfold(page, "Words", "#words")


def test_axe_finds_nothing_serious_in_a_toast_and_a_menu(page):
    tab(page, "Steer")
    fill(page.locator("#steer-prompt textarea"), "")
    page.locator("#steer-write").click()
    expect(toast(page)).to_be_visible()
    page.locator("#steer-vector input").click()
    expect(page.get_by_role("option").first).to_be_visible()
    page.evaluate(FADED)
    assert serious(page, "body") == []
    page.keyboard.press("Escape")


def test_a_figure_has_its_numbers_as_tables(page):
    tab(page, "Compete")
    page.locator("#compete-verdict-details > .label-wrap").click()
    page.locator("#compete-verdict-apart-numbers").click()
    numbers = page.get_by_role("dialog", name="Each voice, in numbers")
    expect(numbers.locator("tr")).to_have_count(5)
    expect(numbers.locator("th")).to_have_text(["", re.compile("nats a token"), ""])
    expect(numbers.locator("tr").nth(1)).to_contain_text("0.8253 (0.6326 to 1.104)A: formal")
    page.keyboard.press("Escape")
    expect(numbers).to_have_count(0)
    page.locator("#compete-verdict-details > .label-wrap").click()


# The last, as it opens all tabs: gradio goes through all that is drawn at each message.
@pytest.mark.parametrize("names", TABS)
def test_everybody_can_read_every_text_and_every_main_action_is_on_the_first_screen(page, names):
    page.set_viewport_size(LAPTOP)
    tab(page, *names)
    for part in TABS[names]:
        page.locator(f"#{part}").wait_for(state="attached")
    drawn(page)
    page.evaluate("() => window.scrollTo(0, 0)")
    assert [part for part in TABS[names] if not is_seen(page, part)] == []
    assert page.locator("button.primary:visible").count() == 1
    page.evaluate(FOLD, True)
    drawn(page)
    small, long = page.evaluate(SMALL_AND_LONG)
    assert (small, long, serious(page)) == ([], [], [])
    page.evaluate(FOLD, False)


def test_gradio_still_has_what_is_mended(page):
    """Each part was there in one of the tests above; if not, gradio has changed, and a mend holds on to nothing."""
    mended = page.evaluate("() => window.mended")
    assert [part for part in MENDS if part not in mended] == []


def test_a_page_at_rest_asks_for_no_frame(only_page):
    """Fails, too, when gradio has changed so that what stops its clock finds none."""
    page = only_page.context.new_page()
    page.add_init_script("""{
      const ask = window.requestAnimationFrame.bind(window);
      let asked = 0;
      window.requestAnimationFrame = (callback) => { asked++; return ask(callback); };
      window.askedWithin = (frames) => new Promise((done) => {
        const before = asked, next = () => frames-- ? ask(next) : done(asked - before);
        next();
      });
    }""")
    page.goto(only_page.url)
    until(lambda: page.evaluate("() => window.clocksStopped") == 1)
    opened(page)
    until(lambda: page.evaluate("() => window.askedWithin(60)") < 10)  # signs of loading fade
    page.close()
