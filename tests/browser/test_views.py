"""The tabs "Look inside" and "Models", and the page on a phone."""

import json

import pytest
from playwright.sync_api import expect

from tests.helpers.browser import download, fill, reload, slide, tab, toast, typed
from tests.helpers.waiting import until

pytestmark = pytest.mark.browser

# As the tokens show it, of which one ends in a space.
TEXT = "I love␣<b>sunny</b> days.⏎"


def test_looking_inside(page, tmp_path):
    tab(page, "Look inside")
    # A figure that is not there yet cannot be saved.
    expect(page.locator("#views-lens-png")).to_be_hidden()
    fill(page.locator("#views-text textarea"), "I love <b>sunny</b> days.\nAnd you?")
    page.locator("#views-look").click()
    alignment = page.locator("#views-alignment")
    expect(alignment).to_contain_text(TEXT)
    love = alignment.locator(".caa-tokens span", has_text="love").first
    assert "projection" in love.get_attribute("title")
    love.click()
    for plot in ("views-next", "views-lens"):
        expect(page.locator(f"#{plot} .js-plotly-plot")).to_be_visible()
    expect(page.locator("#views-kl")).to_contain_text("nats")
    expect(page.locator("#views-words tbody tr")).to_have_count(10)
    for format, begins in (("png", b"\x89PNG"), ("svg", b"<svg")):
        saved = download(page, f"views-lens-{format}", tmp_path / format)
        assert saved.read_bytes().startswith(begins)
    assert json.loads(download(page, "views-data", tmp_path / "data.json").read_text())["vector"] == "joy"

    page.locator("#views-measure").click()
    expect(page.locator("#views-cost")).to_contain_text("nats of KL in the mean")
    expect(page.locator("#views-costs .js-plotly-plot")).to_be_visible()
    slide(page, "views-multiplier", 0)
    page.locator("#views-look").click()
    expect(page.locator("#views-kl")).to_contain_text("nothing changes")

    reload(page)
    tab(page, "Look inside")
    expect(page.locator("#views-cost")).to_contain_text("nats of KL in the mean")
    expect(page.locator("#views-costs .js-plotly-plot")).to_be_visible()
    expect(page.locator("#views-status")).to_contain_text("× 0")
    expect(alignment).to_contain_text(TEXT)


def test_a_model_is_loaded_and_an_unknown_one_leaves_the_old_one(page, tiny_folder):
    tab(page, "Models")
    row = page.locator("#model-list").locator("tr", has_text="Qwen2.5-Coder-1.5B-Instruct")
    expect(row).to_contain_text("3.55 GB")
    typed(page, "model-spec", "not a model")
    page.locator("#model-load").click()
    expect(toast(page)).to_contain_text("There is no model")
    expect(page.locator("#model-line")).to_contain_text("tiny")
    expect(page.locator("#model-status")).to_contain_text("The model was not changed")
    typed(page, "model-spec", tiny_folder)
    page.locator("#model-load").click()
    expect(page.locator("#model-status")).to_contain_text("It is loaded")
    expect(page.locator("#model-line")).to_contain_text("tiny")


def test_the_page_stands_still_on_a_phone(page):
    tab(page, "Steer")
    before = page.viewport_size
    page.set_viewport_size({"width": 400, "height": 800})
    tab(page, "Generate vectors")
    widths = page.evaluate(
        """async () => {
            const seen = new Set();
            for (let frame = 0; frame < 60; frame++) {
                await new Promise(requestAnimationFrame);
                seen.add(document.documentElement.scrollWidth);
            }
            return [...seen];
        }"""
    )
    page.set_viewport_size(before)
    assert len(widths) == 1, widths


def test_words_are_drawn_in_one_font(page):
    tab(page, "Steer")
    browser = page.context.new_cdp_session(page)
    for domain in ("DOM", "CSS"):
        browser.send(f"{domain}.enable")
    for part in ("h1", "button.primary", "#model-line strong"):
        # What an update has drawn anew between two questions has no font: it is asked again.
        fonts = until(lambda part=part: fonts_of(browser, part))
        assert len(fonts) == 1, (part, fonts)


def fonts_of(browser, part):
    """The families in which the words of a part are drawn, asked of a `browser`'s session."""
    root = browser.send("DOM.getDocument")["root"]["nodeId"]
    node = browser.send("DOM.querySelector", {"nodeId": root, "selector": part})["nodeId"]
    fonts = browser.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"] if node else []
    return {font["familyName"] for font in fonts}
