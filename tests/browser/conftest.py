"""Debian's Chromium, and visitors of the page that this process serves."""

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.helpers.browser import LONG, note_session, opened

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Else no page of a site may show what this machine serves in a frame.
    "--disable-features=LocalNetworkAccessChecks",
]

expect.set_options(timeout=LONG)


@pytest.fixture(scope="session")
def browser(tiny_app, chromium):
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


class Visits:
    """Opens pages, and notes the errors of their scripts."""

    def __init__(self, browser):
        self.browser, self.contexts, self.errors = browser, [], []

    def note_forbidden(self, said: str) -> None:
        # That gradio may not name the page's own address once more changes nothing.
        if "Content Security Policy" in said and "base URI" not in said:
            self.errors.append(said)

    def __call__(self, app, beside=None, query=""):
        """A visitor's page of an app, or another tab of a page's. It knows its `app`. query: behind its address."""
        if beside:
            context = beside.context
        else:
            context = self.browser.new_context(viewport={"width": 1360, "height": 960}, accept_downloads=True)
            context.set_default_timeout(LONG)
            self.contexts.append(context)
        page = context.new_page()
        page.app = app
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # What the page is forbidden to do is said there only.
        page.on("console", lambda said: self.note_forbidden(said.text))
        page.on("request", note_session)
        page.goto(f"{app.url}{query}")
        return opened(page)


@pytest.fixture(scope="module")
def visits(browser):
    visits = Visits(browser)
    yield visits
    for context in visits.contexts:
        context.close()


@pytest.fixture(scope="module")
def visit(visits, tiny_app):
    """Call it for a page of the app with the tiny model."""
    return lambda beside=None: visits(tiny_app, beside)


@pytest.fixture(scope="module")
def only_page(visit):
    """One visitor's page for all tests of a file, which leave it so that the others can use it."""
    return visit()


@pytest.fixture
def page(only_page):
    yield only_page
    # What was said of this test's mistakes lies over nothing of the next one.
    only_page.evaluate("() => document.querySelectorAll('.toast-close').forEach((button) => button.click())")


@pytest.fixture(autouse=True)
def no_errors(visits):
    """Errors of the page's scripts fail the test."""
    yield
    errors, visits.errors = visits.errors, []
    assert errors == []
