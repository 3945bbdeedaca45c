"""Debian's Chromium, and a fresh visitor of the running app."""

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.helpers.app import App
from tests.helpers.models import save_tiny

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Tests beside each other share the processors, and what they look at comes later than it does to a person.
expect.set_options(timeout=30_000)


def drawn(page: Page) -> None:
    """Wait until what was just opened is drawn: a field sets its first value once more, over what is typed at once."""
    page.evaluate("() => new Promise(done => setTimeout(() => requestIdleCallback(done), 300))")


@pytest.fixture(scope="session")
def browser(chromium):
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def tiny_app(tmp_path_factory):
    """The running app with a tiny random model, for what does not depend on what the model says."""
    folder = tmp_path_factory.mktemp("tiny-app")
    running = App(env={"CAA_MODEL": str(save_tiny(folder / "tiny"))}, log=folder / "log.txt")
    try:
        yield running.wait()
    finally:
        running.stop()


@pytest.fixture
def open_page(browser):
    """Call it for a page: a visitor's own, or another tab of a page's. Errors of its scripts fail the test."""
    contexts, errors = [], []

    def visit(url, beside=None):
        if beside:
            context = beside.context
        else:
            context = browser.new_context(viewport={"width": 1360, "height": 960}, accept_downloads=True)
            contexts.append(context)
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(url)
        expect(opened.locator("#steer-write")).to_be_visible(timeout=120_000)
        drawn(opened)
        return opened

    yield visit
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def visit(open_page, app):
    """Call it for a page of the app with the embedded model."""
    return lambda beside=None: open_page(app.url, beside)


@pytest.fixture
def page(visit):
    """A fresh visitor's page."""
    return visit()


@pytest.fixture
def tiny_page(open_page, tiny_app):
    """The same of the app with the tiny model."""
    return open_page(tiny_app.url)
