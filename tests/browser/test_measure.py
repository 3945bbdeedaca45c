"""The tab Measure: a sweep to its heat map, on to Steer, and its report; several behaviours; open questions."""

import csv
import json

import pytest
from playwright.sync_api import expect

from caa_core.data.pairs import write_pairs
from caa_core.data.presets import presets
from tests.helpers.browser import choose, download, fill, reload, slide, tab, toast, typed, unfold
from tests.helpers.handlers import Handlers

pytestmark = pytest.mark.browser

ASKED = ["What was the best part of your week?", "How was <b>lunch</b> today?"]


def opened_offline(page, path):
    """A report in a browser that reaches nothing."""
    offline = page.context.browser.new_context(offline=True).new_page()
    offline.goto(path.as_uri())
    return offline


def test_a_sweep_to_its_map_its_report_and_on_to_steer(page, tmp_path):
    write_pairs(presets()["joy"].test().first(4), tmp_path / "four.json")
    tab(page, "Measure", "Layers and multipliers")
    expect(page.locator("#measure-kind")).to_contain_text("18 free-text pairs")
    page.locator("#measure-upload input[type=file]").set_input_files(tmp_path / "four.json")
    expect(page.locator("#measure-kind")).to_contain_text("four: ")
    typed(page, "measure-layers", "99")
    page.locator("#measure-run").click()
    expect(toast(page)).to_contain_text("no layer 99")
    typed(page, "measure-layers", "1,3")
    typed(page, "measure-multipliers", "-1,1.5")
    page.locator("#measure-run").click()
    expect(page.locator("#measure-status")).to_contain_text("Measured 4 of 4 cells")
    expect(page.locator("#measure-verdict")).to_contain_text("items of four")
    expect(page.locator("#measure-verdict")).to_contain_text("Safe multipliers there")
    figure = page.locator("#measure-map .js-plotly-plot")
    expect(figure.locator(".heatmaplayer image")).to_have_count(1)
    expect(figure).to_contain_text("multiplier")

    report = json.loads(download(page, "measure-json", tmp_path / "report.json").read_text())
    assert [(cell["layer"], cell["multiplier"]) for cell in report["cells"]] == [
        (layer, multiplier) for layer in (1, 3) for multiplier in (-1, 1.5)
    ]
    with open(download(page, "measure-csv", tmp_path / "cells.csv"), newline="") as file:
        assert len(list(csv.DictReader(file))) == 5
    offline = opened_offline(page, download(page, "measure-html", tmp_path / "report.html"))
    expect(offline.locator(".heatmaplayer image")).to_have_count(4)
    expect(offline.locator("body")).to_contain_text("model fingerprint")
    offline.context.close()
    with page.expect_download() as begun:
        page.locator("#measure-svg").click()
    assert begun.value.suggested_filename == "measure.svg"

    # Its items, one by one.
    page.locator("#measure-look").click()
    expect(page.locator("#measure-items .js-plotly-plot .scatterlayer .point")).to_have_count(4)
    expect(page.locator("#measure-items-table")).to_contain_text("wrong way")

    # The paper's figures of it, one click each.
    page.locator("#paper-which").get_by_text("Effect by layer").click()
    expect(page.locator("#paper-said")).to_contain_text("Counterpart: the per-layer effect")
    expect(page.locator("#paper-figure .js-plotly-plot")).to_contain_text("layer at which the vector is added")

    # All of it is there after a reload, and asking again computes nothing anew.
    reload(page)
    tab(page, "Measure")
    expect(page.locator("#measure-verdict")).to_contain_text("items of four")
    expect(page.locator("#measure-layers input")).to_have_value("1,3")
    page.locator("#measure-shown").get_by_text("Cost (KL)").click()
    expect(figure).to_contain_text("KL to unsteered")

    # A click into the map's upper right cell: the last layer at the largest multiplier.
    area = figure.locator(".heatmaplayer image").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.75, area["y"] + area["height"] * 0.2)
    expect(figure.locator(".hoverlayer")).to_contain_text("layer 3, × 1.5")
    page.mouse.click(area["x"] + area["width"] * 0.75, area["y"] + area["height"] * 0.2)
    expect(page.locator("#steer-write")).to_be_visible()
    expect(page.locator("#steer-layer input[type=number]")).to_have_value("3")
    expect(page.locator("#steer-multiplier input[type=number]")).to_have_value("1.5")

    # The same by the drop-downs, from the keyboard.
    slide(page, "steer-layer", 0)
    tab(page, "Measure")
    page.locator("#measure-steer").focus()
    page.keyboard.press("Enter")
    best = report["best"]
    expect(page.locator("#steer-layer input[type=number]")).to_have_value(str(best["layer"]))
    expect(page.locator("#steer-multiplier input[type=number]")).to_have_value(f"{best['multiplier']:g}")


def test_several_behaviours_to_their_report(page, tmp_path):
    tab(page, "Measure", "Several behaviours")
    page.locator("#behaviours-questions input").check()
    unfold(page, "More settings", "#behaviours-settings")
    for setting, count in (("pairs", 4), ("items", 4), ("controls", 1)):
        fill(page.locator(f"#behaviours-settings #behaviours-{setting} input"), count)
    page.locator("#behaviours-run").click()
    expect(page.locator("#behaviours-status")).to_contain_text("Measured 2 behaviours")
    expect(page.locator("#behaviours-said")).to_contain_text("joy:ab. ")
    choose(page, "behaviours-which", "Effect by multiplier")
    expect(page.locator("#behaviours-figure .js-plotly-plot")).to_contain_text("gloom:ab, layer")
    offline = opened_offline(page, download(page, "behaviours-html", tmp_path / "report.html"))
    expect(offline.get_by_role("heading", name="joy:ab: transfer to other layers")).to_be_visible()
    assert offline.locator(".js-plotly-plot").count() == 13
    offline.context.close()


def test_open_questions_are_answered_and_scored_blind(page, tmp_path):
    (tmp_path / "asked.json").write_text(json.dumps([{"question": question} for question in ASKED]))
    tab(page, "Measure", "Open questions")
    page.locator("#open-upload input[type=file]").set_input_files(tmp_path / "asked.json")
    typed(page, "open-multipliers", "2.0")  # as no item of the list begins
    page.locator("#open-write").click()
    expect(page.locator("#open-said")).to_contain_text("What is safe is not judged: 2 questions are too few")
    expect(page.locator("#open-said")).to_contain_text("joy against plain answers")
    expect(page.locator("#open-write")).to_be_enabled()
    expect(page.locator("#open-write")).to_have_text("Write answers")

    page.locator("#open-blind button").first.click()
    expect(page.locator("#open-shown")).to_contain_text("0 of 4 scored")
    for then in ("2 of 3: ", "3 of 3: ", "1 of 4 scored"):
        page.locator("#open-score-3").click()
        expect(page.locator("#open-shown")).to_contain_text(then)
    page.keyboard.press("x")
    expect(page.locator("#open-shown")).to_contain_text("2 of 3: ")
    page.locator("#open-back").click()
    expect(page.locator("#open-shown")).to_contain_text("1 of 3: ")
    few = {f"behaviours_{setting}": count for setting, count in (("pairs", 4), ("items", 4), ("controls", 1))}
    they = Handlers(page.app.studio, page.app.page, page.session)
    they.run("run", "behaviours-said", behaviours_questions=True, **few)
    reload(page)
    tab(page, "Measure", "Several behaviours")
    expect(page.locator("#behaviours-said")).to_contain_text("joy:ab. ")
    tab(page, "Open questions")
    page.locator("#open-blind button").first.click()
    # Keys count once the answers are seen.
    expect(page.locator("#open-shown")).to_contain_text("1 of 4 scored")
    for number, text in enumerate(("2 of 4 scored", "3 of 4 scored", "All 4 answers")):
        for then in ("2 of 3: ", "3 of 3: ", text):
            page.keyboard.press(str(number))
            expect(page.locator("#open-shown")).to_contain_text(then)
    page.locator("#open-reveal").click()
    expect(page.locator("#open-meant")).to_contain_text("against unsteered")
    with open(download(page, "open-csv", tmp_path / "answers.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["question"], float(row["multiplier"])) for row in rows] == [(q, m) for q in ASKED for m in (0, 2)]
    assert sorted(float(row["score_person"]) for row in rows) == [0, 1, 2, 3]
