import html
import inspect
import math
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from caa_core.errors import InputError
from caa_core.reports import contest, evaluation, open_questions, study, surface, thinking, tokens, written
from caa_core.reports.page.template import LONG, MANY
from caa_core.reports.paper import report as paper
from caa_core.reports.writing import Report, Section, aligned, as_json, check_place, check_report, harmless, write
from tests.helpers import results
from tests.helpers.places import ROOT
from tests.helpers.results import FORMULA, HOSTILE, files

# Every report, by what makes its result.
REPORTS = {
    results.contest: contest.report_of,
    results.evaluation: evaluation.report_of,
    results.layers: surface.report_of,
    results.open_questions: open_questions.report_of,
    results.paper: paper.report_of,
    results.study: study.report_of,
    results.surface: surface.report_of,
    results.thinking: thinking.report_of,
    results.tokens: tokens.report_of,
    results.written: written.report_of,
}


@pytest.fixture(params=REPORTS, ids=lambda result: result.__name__)
def report_with(request):
    """A report by the number that is measured, and how much there is of it."""
    return lambda *of: REPORTS[request.param](request.param(*of))


def test_every_report_is_tried():
    there = {path for path in (ROOT / "caa_core/reports").rglob("*.py") if "\ndef report_of(" in path.read_text()}
    assert {Path(inspect.getfile(report_of)) for report_of in REPORTS.values()} == there


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_number_that_is_none_is_null_and_an_empty_cell(report_with, number, tmp_path):
    report = report_with(number)
    data, rows, page = files(report, tmp_path)
    assert "null" in as_json(data) and len(rows) == len(report.rows)
    assert not {"nan", "inf", "-inf"} & {cell for row in rows for cell in row.values()}
    assert "NaN" not in page and "Infinity" not in page


def test_where_there_is_no_interval_none_is_written(report_with, tmp_path):
    report = report_with(results.ALONE)
    _, rows, page = files(report, tmp_path)
    said = [html.unescape(page), report.text, *(cell for row in rows for cell in row.values())]
    for text in said:
        assert not re.search(r"(?<![A-Za-z])(inf|nan)(?![A-Za-z])", text), text
        # What controls reach stands between two numbers that may be alike.
        assert not re.search(r"\(([+-]?[\d.]+%?) to \1\)", text), text


@pytest.mark.parametrize("count", [0, 1])
def test_what_found_nothing_or_one_thing_is_reported_too(report_with, count, tmp_path):
    report = report_with(0.5, count)
    _, rows, page = files(report, tmp_path)
    assert len(rows) == len(report.rows)
    assert all(f"<h2>{section.title}" in page for section in report.sections if "<" not in section.title)


def test_a_report_begins_with_its_contents_and_what_was_found(report_with, tmp_path):
    report = report_with()
    page = files(report, tmp_path)[2]
    begins, _, rest = page.partition("<section")
    linked = re.findall(r'<a href="#(\w+)">', begins)
    assert linked == re.findall(r'<section id="(\w+)">', page) and len(linked) == len(report.sections) + 2
    assert begins.count('<article class="card') == len(report.cards)
    assert report.cards or report.name == "token by token"  # which finds nothing of its own
    read_at_once = re.findall(r'<p class="words">(.*?)</p>', re.sub("(?s)<details.*?</details>", "", rest), re.DOTALL)
    assert all(len(html.unescape(text)) <= LONG for text in read_at_once)


def test_a_long_table_is_folded_and_a_short_one_is_not(tmp_path):
    rows = [["a", "b"]] * (MANY + 1)
    long, short = Section("Long", rows=rows), Section("Short", rows=rows[1:])
    page = files(report(sections=[long, short], provenance={}), tmp_path)[2]
    long_part, short_part = page.split("<section")[1:3]
    assert f"<summary>Table of {MANY + 1} rows</summary>" in long_part and "<details" not in short_part


def test_settings_are_said_in_words(tmp_path):
    page = files(report(settings={"paper_counting": False, "layer": None}, provenance={}), tmp_path)[2]
    assert "<td>paper counting</td><td>no</td>" in page and "<td>layer</td><td>none</td>" in page


def test_no_report_has_tags_or_formulas_of_somebody_else(report_with, tmp_path):
    report = report_with()
    _, rows, page = files(report, tmp_path)
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page
    assert rows and not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())
    assert report.name and report.text


def test_null_is_put_wherever_a_number_is_none():
    found = {"a": [1.5, math.nan], "b": {"c": (math.inf, -math.inf)}, "d": "NaN", "e": None, "f": True}
    assert as_json(found) == '{"a": [1.5, null], "b": {"c": [null, null]}, "d": "NaN", "e": null, "f": true}'


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=A1", "'=A1"),
        ("+1", "'+1"),
        ("-x", "'-x"),
        ("@x", "'@x"),
        (" =A1", "' =A1"),
        ("\tx", "'\tx"),
        ("joy", "joy"),
        (-2.0, -2.0),
    ],
)
def test_text_is_no_formula_and_numbers_stay_numbers(value, written):
    assert harmless(value) == written


def report(**parts):
    return Report(**{"name": "r", "title": "joy", "sections": (), "rows": (), "data": {}, "settings": {}} | parts)


def test_everything_is_in_one_page_and_what_strangers_wrote_is_text(tmp_path):
    hostile = f"</script><img src=x onerror=alert(1)> <b>{{{{ 7 * 7 }}}}</b>{FORMULA}"
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], text=[hostile, hostile], name=hostile))
    section = Section(hostile, hostile, "Figure 3", figure, ["layer", hostile], [[1, hostile], [2, 0.5]])
    made = report(sections=[section], settings={"layers": [1, 2]}, provenance={"model": hostile})
    page = files(made, tmp_path)[2]
    whole = (tmp_path / "report.html").read_text()
    assert "Plotly" in whole.split("<body>")[0] and 'src="http' not in whole and "<link" not in whole
    assert "Figure 3" in page and "[1, 2]" in page
    assert "<img" not in page.replace("\\u003cimg", "")
    assert hostile not in page and "&lt;img" in page and "{{ 7 * 7 }}" in page


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("r.xlsx", r"r\.xlsx should end in \.json, \.csv or \.html\."),
        ("r", r"r should end in \.json, \.csv or \.html\."),
        ("nowhere/r.csv", r"cannot be written to .*r\.csv: give a file in a folder that exists"),
        ("folder.json", r"cannot be written to .*folder\.json: give a file"),
    ],
)
def test_where_no_report_can_be_written_is_said_before_and_then(tmp_path, name, said):
    (tmp_path / "folder.json").mkdir()
    for refuse in (check_report, lambda path: write(report(provenance={}), path)):
        with pytest.raises(InputError, match=said):
            refuse(tmp_path / name)


def test_an_ending_may_be_in_capitals_and_any_file_has_a_place(tmp_path):
    check_report(tmp_path / "r.CSV")
    check_place(tmp_path / "pairs.jsonl")


def test_columns_of_text_are_aligned():
    assert aligned(("layer", "KL"), (1, "0.5"), (10, "")) == ["layer  KL", "1      0.5", "10"]
