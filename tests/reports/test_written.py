import pytest

from caa_core.contest.written import ARMS, WrittenResult
from caa_core.reports.written import report_of, share_rows, shares_by_arm
from tests.helpers.results import HOSTILE, RUN, files, written


@pytest.mark.parametrize("trusted", [True, False])
def test_followed_answers_as_files(tmp_path, trusted):
    found = written(count=1, trusted=trusted)
    told, rows, page = files(report_of(found), tmp_path)
    assert HOSTILE not in page and "Which voice written answers follow" in page
    assert told["provenance"] == RUN["provenance"] and told["verdict"] == report_of(found).text
    assert [row["written_under"] for row in rows] == list(ARMS)


def test_what_is_not_known_is_said():
    assert share_rows(WrittenResult.of(written()))[2][-2:] == ["not known", "10%"]


def test_a_bar_has_a_share_for_each_voice():
    drawn = shares_by_arm(WrittenResult.of(written(0.25)))
    assert [bar.x for bar in drawn.data] == [(0.25,) * 4] * 4 and drawn.layout.barmode == "stack"
    assert "<script" not in drawn.to_json().lower() and len({bar.marker.pattern.shape for bar in drawn.data}) == 4
    # Without plotly's own template a pattern would stand in place of its colour.
    assert {bar.marker.pattern.fillmode for bar in drawn.data} == {"overlay"}
    untrusted = WrittenResult.of(written(trusted=False))
    assert shares_by_arm(untrusted) is None, "no shares without a reading that can tell"
