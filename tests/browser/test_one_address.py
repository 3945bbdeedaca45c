"""Two apps behind one address, which share a folder alone: what somebody has made is theirs at each."""

import pytest
from playwright.sync_api import expect

from caa_core.app.library import Shelves
from tests.helpers.app import App, Served
from tests.helpers.browser import LONG, last_answer, make, opened, options, set_new_tokens, tab
from tests.helpers.one_address import OneAddress

pytestmark = pytest.mark.browser
PAIRS = [{"prompt": f"{i}?", "positive": f"Arr, matey {i}!", "negative": f"I cannot say {i}."} for i in range(6)]


@pytest.fixture
def apps(tiny_folder, gradio_files, tmp_path, monkeypatch):
    """One served by this process, the other by another one."""
    settings = {"CAA_MODEL": tiny_folder, "CAA_DTYPE": "float32", "CAA_PEOPLE": str(tmp_path / "people")}
    monkeypatch.setenv("CAA_DTYPE", "float32")
    other = App(env=settings, log=tmp_path / "log")
    here = Served(tiny_folder, shelves=Shelves(tmp_path / "people"))
    yield here, other.wait()
    here.close()
    other.stop()


@pytest.fixture
def address(apps):
    address = OneAddress(apps[0])
    yield address
    address.close()


def test_what_was_made_at_one_app_is_there_at_the_other_and_back_again(visits, address, apps, tmp_path):
    page = visits(address)
    expect(page.locator("#foot")).to_contain_text("is kept for this browser")
    make(page, tmp_path, "pirate", PAIRS)
    # What draws figures has come, which is asked for at this address.
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    tab(page, "Steer")

    address.go_to(apps[1])
    page.reload()
    opened(page)
    expect(page.locator("#not-kept")).to_be_hidden()
    assert "pirate (yours)" in options(page, "steer-vector")
    set_new_tokens(page, 8)
    page.locator("#steer-prompt textarea").fill("Who are you?")
    page.locator("#steer-write").click()
    expect(page.locator("#steer-status")).to_contain_text("wrote", timeout=LONG)
    written = last_answer(page, "steer-steered")

    address.go_to(apps[0])
    page.reload()
    opened(page)
    assert last_answer(page, "steer-steered") == written
    assert "pirate (yours)" in options(page, "steer-vector")
    # Somebody else finds nothing of it at either.
    for app in apps:
        address.go_to(app)
        stranger = visits(address)
        assert not [name for name in options(stranger, "steer-vector") if "yours" in name]
