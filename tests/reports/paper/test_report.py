import csv
import json
import re
from dataclasses import replace

import pytest

from caa_core.errors import InputError
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.request import (
    COMPONENTS,
    EXPERIMENTS,
    LAYERS,
    MULTIPLIERS,
    PROMPTS,
    TOKENS,
    TRANSFER,
    PaperRequest,
)
from caa_core.progress import finish
from caa_core.reports.paper import figures
from caa_core.reports.paper.report import FIGURES, PAPER, report_of, section_of, sections
from caa_core.reports.writing import write
from tests.helpers.behaviours import ONE, TWO

HOSTILE = '=1+1 <img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def found(tiny_models):
    two = replace(TWO, name=HOSTILE)
    return finish(replicate(tiny_models["llama"], [ONE, two], PaperRequest(letter_swap=True, controls=2)))


def test_the_report_has_every_figure_with_its_counterpart(found):
    parts = {part.title: part for part in sections(found)}
    for title in ("effect by layer", "cosine between layers", "transfer to other layers", "activations at the answers"):
        for name in ("one", HOSTILE):
            part = parts[f"{name}: {title}"]
            assert part.figure.data and part.counterpart.startswith("Counterpart") and PAPER in part.counterpart
    assert len([t for t in parts["Effect by multiplier"].figure.data if t.mode == "lines+markers"]) == 2
    assert parts["Cosine between behaviours"].figure.data[0].z[0][0] == pytest.approx(1)
    assert parts["one: vector against system prompt"].figure and "Always say yes" in str(parts)
    assert "no instructions" in parts[f"{HOSTILE}: vector against system prompt"].text
    assert "caa-tokens" in parts["one: token by token"].markup


def test_a_figure_is_drawn_when_it_is_asked_for(found, monkeypatch):
    drawn, draw = [], figures.effect_by_layer
    monkeypatch.setattr(figures, "effect_by_layer", lambda one: drawn.append(one.name) or draw(one))
    (part, *_) = (part for part in sections(found) if part.title.endswith("effect by layer"))
    assert not drawn
    assert part.figure.data and part.figure is part.figure and len(drawn) == 1


def test_what_pairs_say_before_steering_stands_beside_what_was_measured(found):
    report = report_of(found)
    for one in found.findings:
        told = str(one.vector.diagnostics)
        assert told in sections(found)[0].text and told in report.text
    assert found.findings[0].verdict.anti_steerable and "Pushed the wrong way: " in report.text


def test_the_table_has_the_numbers_of_the_cells(found):
    (part,) = [part for part in sections(found) if part.title == "In numbers"]
    assert [row[2] for row in part.rows[:3]] == ["both letter orders", "as given", "as the paper counts"]
    at = {cell.multiplier: cell for cell in found.findings[0].curve}
    assert part.rows[0][5].startswith(f"{at[1].swapped.value:.2f} ({at[1].swapped.low:.2f}")
    paper = {cell.multiplier: cell for cell in found.findings[0].paper_curve}
    assert part.rows[2][3].startswith(f"{paper[-1].value:.2f} (")


def test_shares_pushed_the_wrong_way_stand_beside_those_of_controls(found):
    one = found.findings[0]
    assert all(bool(cell.wrong_random and cell.wrong_shuffled) == bool(cell.multiplier) for cell in one.curve)
    assert all(cell.wrong_random and cell.wrong_shuffled for cell in one.profile)
    assert all((cell.wrong_shuffled is None) == (cell.layer != one.layer) for cell in one.transfer)
    (down, up) = (cell.wrong_random for m in (-1, 1) for cell in one.curve if cell.multiplier == m)
    assert down == pytest.approx((1 - up[1], 1 - up[0])) and up[0] < 0.5 < up[1]
    (part,) = [part for part in sections(found) if part.title == "In numbers"]
    beside = [row[part.heads.index("the same of controls")] for row in part.rows[:3]]
    assert beside[0].count("random") == 2 and beside[2] == "none" and "does nothing has half" in part.text
    for title in ("one: effect by layer", "Effect by multiplier", "one: transfer to other layers"):
        (part,) = [part for part in sections(found) if part.title == title]
        said = [text for line in part.figure.data if line.customdata is not None for text in line.customdata]
        assert any("pushed the wrong way" in text and "controls, to first order: random" in text for text in said)


def test_html_is_one_file_with_settings_versions_and_provenance(found, tmp_path):
    write(report_of(found), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert 'src="http' not in text and "<img" not in text.replace("\\u003cimg", "")
    for said in (
        "transformers",
        "nnsight",
        "model fingerprint",
        "llama-0",
        "sha256 pairs",
        "sha256 items",
        "-2, -1, 0",
    ):
        assert said in text
    assert len(re.findall(r"Plotly\.newPlot\(", text)) >= 12


def test_csv_and_json_have_every_cell_and_no_formula(found, tmp_path):
    write(report_of(found), tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    one = found.findings[0]
    mine = [row for row in rows if row["behaviour"] == "one"]
    assert len([row for row in mine if row["experiment"] == "effect by layer"]) == 1 + len(one.profile)
    assert {row["system_prompt"] for row in mine} == {"", "none", "positive", "negative"}
    assert {row["behaviour"] for row in rows} == {"one", f"'{HOSTILE}"}
    write(report_of(found), tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["behaviours"][0]["layer"] == one.layer
    with pytest.raises(InputError, match="should end in"):
        write(report_of(found), tmp_path / "r.txt")


def test_what_a_stop_left_out_is_said(found):
    part = [part for part in sections(replace(found, asked=(*found.asked, "third"))) if part.title == "Not measured"]
    assert "third" in part[0].text


@pytest.mark.parametrize("only", EXPERIMENTS)
def test_a_report_of_one_experiment(tiny_models, tmp_path, only):
    found = finish(replicate(tiny_models["llama"], [ONE], PaperRequest(controls=2, layer=1, experiments=(only,))))
    names = {LAYERS: "effect by layer", MULTIPLIERS: "Effect by multiplier", PROMPTS: "against system prompt"}
    names |= {TRANSFER: "transfer", COMPONENTS: "activations", TOKENS: "token by token"}
    titles = " ".join(part.title for part in sections(found))
    assert [experiment for experiment in EXPERIMENTS if names[experiment] in titles] == [only]
    for ending in ("html", "csv", "json"):
        write(report_of(found), tmp_path / f"r.{ending}")


def test_each_figure_by_its_name(found):
    for name in FIGURES:
        part = section_of(found.findings[0], name)
        assert part.figure is not None or part.markup
        assert part.counterpart
