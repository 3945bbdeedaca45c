"""The tab "Look inside" as a person uses it."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.test_page import LONG, slide, tab

pytestmark = pytest.mark.browser


def test_looking_inside(page, tmp_path):
    tab(page, "Look inside")
    page.locator("#views-text textarea").fill("I love <b>sunny</b> days.\nAnd you?")
    page.locator("#views-look").click()
    alignment = page.locator("#views-alignment")
    expect(alignment).to_contain_text("I love <b>sunny</b> days.⏎", timeout=LONG)
    love = alignment.locator(".caa-tokens span", has_text="love").first
    assert "projection" in love.get_attribute("title")
    love.click()
    for plot in ("views-next", "views-lens"):
        expect(page.locator(f"#{plot} .js-plotly-plot")).to_be_visible(timeout=LONG)
    expect(page.locator("#views-kl")).to_contain_text("nats")
    expect(page.locator("#views-words tbody tr")).to_have_count(10)
    for format, begins in (("png", b"\x89PNG"), ("svg", b"<svg")):
        with page.expect_download() as download:
            page.locator(f"#views-lens-{format}").click()
        download.value.save_as(tmp_path / format)
        assert (tmp_path / format).read_bytes().startswith(begins)
    with page.expect_download() as download:
        page.locator("#views-data").click()
    download.value.save_as(tmp_path / "data.json")
    assert json.loads((tmp_path / "data.json").read_text())["vector"] == "joy"

    page.locator("#views-measure").click()
    expect(page.locator("#views-cost")).to_contain_text("are safe", timeout=LONG)
    expect(page.locator("#views-costs .js-plotly-plot")).to_be_visible(timeout=LONG)
    slide(page, "views-multiplier", 0)
    page.locator("#views-look").click()
    expect(page.locator("#views-kl")).to_contain_text("nothing changes", timeout=LONG)

    page.reload()
    tab(page, "Look inside")
    expect(page.locator("#views-cost")).to_contain_text("are safe", timeout=LONG)
    expect(page.locator("#views-costs .js-plotly-plot")).to_be_visible()
    expect(page.locator("#views-status")).to_contain_text("× 0")
    expect(alignment).to_contain_text("I love <b>sunny</b> days.⏎", timeout=LONG)
