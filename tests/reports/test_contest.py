from dataclasses import replace

import pytest

from caa_core.contest.dominance import Contest
from caa_core.reports.contest import dominance_gauge, report_of, table_of, voices_apart
from tests.helpers import results
from tests.helpers.results import files


def test_a_contest_is_reported_with_what_is_beside_it(tmp_path):
    found = results.contest() | {"surface": results.surface(), "token_by_token": results.tokens()}
    found |= {"written": results.written(), **{name: results.thinking()[name] for name in ("arms", "thinking")}}
    told, rows, page = files(report_of(found), tmp_path)
    assert told["kl"][1] is None and told["surface"]["kind"] == "multipliers"
    assert len(rows) == 3 and rows[0]["prompt"] == "'=1+1"
    titles = ("Verdict", "Each voice alone, and both", "Item by item", "Surface", "Token by token")
    titles += ("Which voice written answers follow", "All answers", "Can it reason its way to one voice?", "Thoughts")
    places = [page.index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert "written answers" in page.split("<h2>Settings</h2>")[1] and "Self-test" in page
    text = report_of(found).text
    assert text.startswith("The model follows joy.\n1 of joy weighs 3.\nunsteered: ") and "It cannot." in text


def test_a_contest_by_itself_has_no_other_parts(tmp_path):
    page = files(report_of(results.contest()), tmp_path)[2]
    assert "Surface" not in page and "Thoughts" not in page and "&lt;script&gt;" in page


def test_the_table_has_controls_beside_each_voice():
    unsteered, a, b, both = table_of(Contest.of(results.contest()))
    assert unsteered == ["unsteered", *[""] * 7, "0%"]
    beside = ["+0.45", "-0.50 to +0.50", "-0.10 to +0.10", "0.002"]
    wrong = "0.25 (0.10 to 0.50); to first order 0.25, controls 0.10 to 0.90"
    assert a == ["joy", "+0.50 (+0.40 to +0.60)", *beside, wrong, "0.50", "50%"]
    assert b[2:8] == ["", "", "", "0.04", "none moves", "not known"] and both[2:7] == [""] * 5
    found = Contest.of(results.contest())
    unknown = replace(found, alone_a=replace(found.alone_a, shuffled=None))
    assert table_of(unknown)[1][3:5] == ["-0.50 to +0.50", "pairs not known"]


def test_both_stand_beside_what_adding_the_voices_predicts():
    figure = voices_apart(Contest.of(results.contest()))
    assert [trace.x[0] for trace in figure.data] == pytest.approx([0.5, -1, 0.5, -0.5])
    assert list(figure.data[0].error_x.array) == pytest.approx([0.1])
    assert not any("<script" in trace.name for trace in figure.data)


def test_without_a_contest_there_is_no_gauge():
    assert dominance_gauge(Contest.of(results.contest() | {"contest": False})) is None
    gauge = dominance_gauge(Contest.of(results.contest()))
    assert gauge.data[0].x == pytest.approx((0.4, 0.6)) and gauge.layout.xaxis.range == (-1.3, 1.3)
    alone = dominance_gauge(Contest.of(results.contest(results.ALONE)))
    assert not alone.data[0].x and alone.data[1].x == (results.ALONE,) and alone.layout.xaxis.range == (-1.3, 1.3)
