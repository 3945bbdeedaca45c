"""The tab Measure: a sweep to its heat map, on to Steer, and its report; Chromium, the running app."""

import csv
import json

import pytest
from playwright.sync_api import expect

from caa_core.data.pairs import write_pairs
from caa_core.data.presets import presets
from tests.browser.test_page import LONG, choose, slide, tab, toast, unfold

pytestmark = pytest.mark.browser


def typed(page, box, text):
    page.locator(f"#{box} input").fill(text)
    page.locator(f"#{box} input").press("Enter")


def opened_offline(page, path):
    """A report in a browser that reaches nothing."""
    opened = page.context.browser.new_context(offline=True).new_page()
    opened.goto(path.as_uri())
    return opened


def test_several_behaviours_to_their_report(tiny_page, tmp_path):
    page = tiny_page
    tab(page, "Measure")
    tab(page, "Several behaviours")
    page.locator("#behaviours-questions input").check()
    unfold(page, "More settings", "#behaviours-settings")
    page.locator("#behaviours-settings").locator("#behaviours-pairs input").fill("4")
    page.locator("#behaviours-settings").locator("#behaviours-items input").fill("4")
    page.locator("#behaviours-settings").locator("#behaviours-controls input").fill("1")
    page.locator("#behaviours-run").click()
    expect(page.locator("#behaviours-status")).to_contain_text("Measured 2 behaviours", timeout=LONG)
    expect(page.locator("#behaviours-said")).to_contain_text("joy:ab. ")
    choose(page, "behaviours-which", "Effect by multiplier")
    expect(page.locator("#behaviours-figure .js-plotly-plot")).to_contain_text("gloom:ab, layer", timeout=LONG)
    with page.expect_download() as download:
        page.locator("#behaviours-html").click()
    download.value.save_as(tmp_path / "report.html")
    offline = opened_offline(page, tmp_path / "report.html")
    expect(offline.get_by_role("heading", name="joy:ab: transfer to other layers")).to_be_visible(timeout=LONG)
    assert offline.locator(".js-plotly-plot").count() == 13
    offline.context.close()
    page.reload()
    tab(page, "Measure")
    tab(page, "Several behaviours")
    expect(page.locator("#behaviours-said")).to_contain_text("joy:ab. ", timeout=LONG)


def test_a_sweep_to_its_map_its_report_and_on_to_steer(page, tmp_path):
    write_pairs(presets()["joy"].test().first(4), tmp_path / "four.json")
    tab(page, "Measure")
    expect(page.locator("#measure-kind")).to_contain_text("18 free-text pairs")
    page.locator("#measure-upload input[type=file]").set_input_files(tmp_path / "four.json")
    expect(page.locator("#measure-kind")).to_contain_text("four: ")
    typed(page, "measure-layers", "99")
    page.locator("#measure-run").click()
    expect(toast(page)).to_contain_text("no layer 99")
    typed(page, "measure-layers", "12,28")
    typed(page, "measure-multipliers", "-1,1.5")
    page.locator("#measure-controls input").fill("2")
    page.locator("#measure-run").click()
    expect(page.locator("#measure-status")).to_contain_text("Measured 4 of 4 cells", timeout=LONG)
    # Two of a kind are too few for an effect, and it says so.
    expect(page.locator("#measure-verdict")).to_contain_text("Not judged: that takes 20 random and 20 shuffled")
    expect(page.locator("#measure-verdict")).to_contain_text("The largest multiplier under that cost")
    figure = page.locator("#measure-map .js-plotly-plot")
    expect(figure.locator(".heatmaplayer image")).to_have_count(1, timeout=LONG)
    expect(figure).to_contain_text("multiplier")

    with page.expect_download() as download:
        page.locator("#measure-json").click()
    download.value.save_as(tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(cell["layer"], cell["multiplier"]) for cell in report["cells"]] == [
        (layer, multiplier) for layer in (12, 28) for multiplier in (-1, 1.5)
    ]
    with page.expect_download() as download:
        page.locator("#measure-csv").click()
    download.value.save_as(tmp_path / "cells.csv")
    with open(tmp_path / "cells.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 5
    with page.expect_download() as download:
        page.locator("#measure-html").click()
    download.value.save_as(tmp_path / "report.html")
    offline = opened_offline(page, tmp_path / "report.html")
    expect(offline.locator(".heatmaplayer image")).to_have_count(3, timeout=LONG)
    expect(offline.locator("body")).to_contain_text("model_fingerprint")
    offline.context.close()
    with page.expect_download() as download:
        page.locator("#measure-svg").click()
    assert download.value.suggested_filename == "measure.svg"

    # The paper's figures of it, one click each.
    page.locator("#paper-which").get_by_text("Effect by layer").click()
    expect(page.locator("#paper-said")).to_contain_text("Counterpart: the per-layer effect", timeout=LONG)
    expect(page.locator("#paper-figure .js-plotly-plot")).to_contain_text("layer at which the vector is added")

    # All of it is there after a reload, and asking again computes nothing anew.
    page.reload()
    tab(page, "Measure")
    expect(page.locator("#measure-verdict")).to_contain_text("items of four", timeout=LONG)
    expect(page.locator("#measure-layers input")).to_have_value("12,28")
    page.locator("#measure-shown").get_by_text("Cost (KL)").click()
    expect(figure).to_contain_text("KL to unsteered", timeout=LONG)

    # A click into the map's upper right cell: the last layer at the largest multiplier.
    area = figure.locator(".heatmaplayer image").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.75, area["y"] + area["height"] * 0.2)
    expect(figure.locator(".hoverlayer")).to_contain_text("layer 28, × 1.5")
    page.mouse.click(area["x"] + area["width"] * 0.75, area["y"] + area["height"] * 0.2)
    expect(page.locator("#steer-write")).to_be_visible()
    expect(page.locator("#steer-layer input[type=number]")).to_have_value("28")
    expect(page.locator("#steer-multiplier input[type=number]")).to_have_value("1.5")

    # The same by the drop-downs, from the keyboard.
    slide(page, "steer-layer", 3)
    tab(page, "Measure")
    page.locator("#measure-steer").focus()
    page.keyboard.press("Enter")
    best = report["best"]
    expect(page.locator("#steer-layer input[type=number]")).to_have_value(str(best["layer"]))
    expect(page.locator("#steer-multiplier input[type=number]")).to_have_value(f"{best['multiplier']:g}")
