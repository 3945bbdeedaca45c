"""Links, and the page's address: what is copied is what somebody else opens, and Back goes a tab back."""

import re

import pytest
from playwright.sync_api import expect

from caa_core.app.opening.links import TABS
from tests.helpers.browser import choose, fill, slide, tab

pytestmark = pytest.mark.browser

# What stands around a Space, and says what it is told.
AROUND = """<!doctype html><title>Spaces</title><iframe width=1300 height=900></iframe><p id=told></p><script>
addEventListener('message', ({ data }) => { if (data.queryString) told.textContent = data.queryString; });
</script>"""

# Of a site in another's frame, a browser that blocks what it would keep.
REFUSED = """for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) Object.defineProperty(window, name, {
  configurable: true, get() { throw new DOMException('Access is denied for this document.', 'SecurityError'); }
});"""


def test_a_link_opens_for_somebody_else_as_it_was_and_back_goes_a_tab_back(page, visits, tiny_app):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, "steer-vector", "french (preset)")
    slide(page, "steer-layer", 2)
    slide(page, "steer-multiplier", 1.5)
    fill(page.locator("#steer-prompt textarea"), "Who <b>are</b> you & why?")
    page.locator("#steer-link").click()
    expect(page.locator("#link-said")).to_have_text("Link copied. It has what is chosen here, with the prompt.")
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert link.startswith(f"{tiny_app.url}?v=1&tab=steer&model=tiny&prompt=Who")
    # The address is as it was: of what is chosen, only a link tells.
    assert page.url == tiny_app.url

    other = visits(tiny_app, query=link.removeprefix(tiny_app.url))
    expect(other.locator("#steer-prompt textarea")).to_have_value("Who <b>are</b> you & why?")
    expect(other.locator("#steer-vector input")).to_have_value("french (preset)")
    expect(other.locator("#steer-layer input[type=number]")).to_have_value("2")
    expect(other.locator("#steer-multiplier input[type=number]")).to_have_value("1.5")
    expect(other.locator("#steer-steered")).to_contain_text("Steered with french")
    expect(other).to_have_url(link)

    tab(other, "Measure", "Open questions")
    expect(other).to_have_url(f"{tiny_app.url}?tab=open")
    tab(other, "Models")
    expect(other).to_have_url(f"{tiny_app.url}?tab=models")
    other.go_back()
    expect(other.locator("#open-vector")).to_be_visible()
    other.go_back()
    expect(other.locator("#measure-vector")).to_be_visible()
    other.go_back()
    expect(other.locator("#steer-prompt")).to_be_visible()
    expect(other).to_have_url(link)
    other.go_forward()
    expect(other.locator("#measure-vector")).to_be_visible()


def test_of_two_tabs_that_are_asked_for_at_once_the_last_is_opened(page):
    """As by going back twice: the first waits until the tab around it is seen."""
    tab(page, "Models")
    page.evaluate(
        """async ([first, last]) => {
            const begun = openTab(first);
            const inner = () => document.querySelector('[role=tabpanel] [role=tab]')?.offsetParent;
            while (!inner()) await new Promise(requestAnimationFrame);
            await Promise.all([openTab(last), begun]);
        }""",
        [TABS["open"], TABS["measure"]],
    )
    expect(page.locator("#measure-vector")).to_be_visible()
    expect(page.locator("#open-vector")).to_be_hidden()


def test_a_tab_that_is_drawn_later_opens_with_what_the_link_says(visits, tiny_app):
    other = visits(tiny_app, query="?tab=compete&vector_a=formal&multiplier_a=-1&kind=Vector+against+prompt&told=Hush")
    expect(other.locator("#compete-told textarea")).to_have_value("Hush")
    expect(other.locator("#compete-a-vector input")).to_have_value("formal (preset)")
    expect(other.locator("#compete-a-multiplier input[type=number]")).to_have_value("-1")
    expect(other.locator("#compete-b-multiplier")).to_be_hidden()


def test_a_tab_that_does_not_fit_is_opened_too(visits, tiny_app):
    page = visits(tiny_app, query="?tab=models", size={"width": 390, "height": 844})
    expect(page.locator("#model-list")).to_be_visible()
    assert page.locator(".overflow-dropdown button").count()
    page.goto(f"{tiny_app.url}?tab=steer")
    expect(page.locator("#steer-write")).to_be_visible()
    assert page.locator("[data-tab-id=models]").count() == 0  # it lies in the menu


def test_in_a_spaces_frame_a_link_is_followed_and_shown_and_the_page_around_is_told(visits, tiny_app):
    outer = visits.arrive(tiny_app)
    outer.add_init_script(REFUSED)
    outer.route("https://huggingface.co/**", lambda route: route.fulfill(body=AROUND, content_type="text/html"))
    outer.goto("https://huggingface.co/spaces/somebody/studio")
    outer.evaluate(
        "(url) => { document.querySelector('iframe').src = url; }", f"{tiny_app.url}?tab=measure&vector=gloom"
    )
    page = outer.frame_locator("iframe")
    expect(page.locator("#measure-vector input")).to_have_value("gloom (preset)")
    page.get_by_role("tab", name="Steer").click()
    expect(outer.locator("#told")).to_have_text("tab=steer")
    page.locator("#steer-link").click()
    # It may not copy here.
    expect(page.locator("#link-said input")).to_have_value(re.compile(rf"^{tiny_app.url}\?v=1&tab=steer&model=tiny&"))
    page.get_by_role("button", name="Close").last.click()
    expect(page.locator("#link-said")).to_have_count(0)
    page.locator("#steer-prompt textarea").fill("Rain?")
    page.locator("#steer-write").click()
    expect(page.locator("#steer-status")).to_contain_text("wrote")
    assert not outer.context.cookies()
