"""Debian's Chromium, and a fresh visitor of the running app."""

import pytest
from playwright.sync_api import expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser(chromium):
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, app):
    """Call it for a page: a visitor's own, or another tab of a page's. Errors of its scripts fail the test."""
    contexts, errors = [], []

    def visit(beside=None):
        if beside:
            context = beside.context
        else:
            context = browser.new_context(viewport={"width": 1360, "height": 960}, accept_downloads=True)
            contexts.append(context)
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(app.url)
        expect(opened.locator("#steer-write")).to_be_visible(timeout=120_000)
        return opened

    yield visit
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def page(visit):
    """A fresh visitor's page."""
    return visit()
