import csv
import json
from dataclasses import replace

import pytest

from caa_core.errors import InputError
from caa_core.measuring.evaluation import EvaluationRequest, evaluate
from caa_core.progress import finish
from caa_core.reports.evaluation import cells_in_words, report_of
from caa_core.reports.writing import check_report, harmless, write
from caa_core.vectors.extraction import extract
from tests.helpers.data import LETTERS, TEXTS


@pytest.fixture
def found(tiny_llama):
    vector = replace(finish(extract(tiny_llama, TEXTS, [1, 2])), name="=1+2")
    request = EvaluationRequest.parse(data=LETTERS, layers=[1, 2], multipliers=[-1, 1], controls=0)
    return finish(evaluate(tiny_llama, request, vector))


def test_json_holds_all_of_it(found, tmp_path):
    write(report_of(found.summary()), tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(found.summary()))


def test_csv_holds_the_cells_and_no_formulas(found, tmp_path):
    write(report_of(found.summary()), tmp_path / "r.CSV")
    with open(tmp_path / "r.CSV", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], float(row["multiplier"])) for row in rows] == [
        ("", 0.0),
        ("1", -1.0),
        ("1", 1.0),
        ("2", -1.0),
        ("2", 1.0),
    ]
    assert float(rows[2]["probability"]) == found.swept.cells[1].probability.value
    assert {row["vector"] for row in rows} == {"'=1+2"}


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


def test_the_table_has_a_line_for_each_cell(found):
    lines = report_of(found.summary()).text.splitlines()
    assert [line.split()[:2] for line in lines[2:7]] == [
        ["none", "0"],
        ["1", "-1"],
        ["1", "1"],
        ["2", "-1"],
        ["2", "1"],
    ]
    assert lines[0].startswith("letters: 3 items, 0 skipped")


def test_cells_in_words_have_a_column_for_each_number(found, tiny_llama):
    headers, rows = cells_in_words(found.summary())
    assert len(headers) == 9 and {len(row) for row in rows} == {9}
    cell = found.swept.cells[1]
    row = dict(zip(headers, rows[2], strict=True))
    assert (row["layer"], row["multiplier"], row["KL, nats"]) == (1, "1", f"{cell.kl:.3f}")
    assert row["change (95 %)"].startswith(f"{cell.difference.value:+.3f} (")
    assert row["matching / not / neither"] == f"{cell.matching} / {cell.not_matching} / {cell.neither}"
    assert rows[0][0] == "unsteered"
    request = EvaluationRequest.parse(data=TEXTS, multipliers=[1], controls=0)
    texts = finish(evaluate(tiny_llama, request, finish(extract(tiny_llama, TEXTS, [1]))))
    headers, rows = cells_in_words(texts.summary())
    assert len(headers) == 6 and {len(row) for row in rows} == {6} and "nats a token" in headers[3]


def test_other_endings_and_places_that_cannot_be_written(found, tmp_path):
    with pytest.raises(InputError, match=r"should end in \.json, \.csv or \.html"):
        check_report(tmp_path / "r.xlsx")
    with pytest.raises(InputError, match=r"cannot be written to .*r\.csv"):
        write(report_of(found.summary()), tmp_path / "nowhere" / "r.csv")
