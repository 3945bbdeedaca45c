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
SIZE = {"width": 1360, "height": 960}
NOTHING = {"cookies": [], "origins": []}

expect.set_options(timeout=LONG)


@pytest.fixture(scope="session")
def browser(tiny_app, chromium):
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def left(browser):
    """Contexts that nobody uses any more: what scripts they have read once comes sooner for the next."""
    return []


class Visits:
    """Opens pages, and notes the errors of their scripts."""

    def __init__(self, browser, left):
        self.browser, self.left, self.contexts, self.errors = browser, left, [], []

    def somebody(self):
        """A context in which nothing is known of anybody."""
        context = self.left.pop() if self.left else self.browser.new_context()
        context.set_default_timeout(LONG)
        context.set_storage_state(NOTHING)
        context.clear_permissions()
        self.contexts.append(context)
        return context

    def leave(self):
        for context in self.contexts:
            for page in context.pages:
                page.close()
        self.left += reversed(self.contexts)

    def note_forbidden(self, said: str) -> None:
        # That gradio may not name the page's own address once more changes nothing.
        if "Content Security Policy" in said and "base URI" not in said:
            self.errors.append(said)

    def arrive(self, app, beside=None, size=SIZE):
        """A visitor with an empty page, or with another one beside a page, who knows of an `app`."""
        context = beside.context if beside else self.somebody()
        page = context.new_page()
        page.set_viewport_size(size)
        page.app = app
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # What the page is forbidden to do is said there only.
        page.on("console", lambda said: self.note_forbidden(said.text))
        page.on("request", note_session)
        return page

    def __call__(self, app, beside=None, query="", size=SIZE):
        """A visitor's page of an app, or another tab of a page's. query: behind its address."""
        page = self.arrive(app, beside, size)
        page.goto(f"{app.url}{query}")
        return opened(page)


@pytest.fixture(scope="module")
def visits(browser, left):
    visits = Visits(browser, left)
    yield visits
    visits.leave()


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
