from caa_core.contest.tokens import TokenVoices
from caa_core.reports.tokens import report_of, voices_by_token
from tests.helpers.results import HOSTILE, files, tokens


def test_an_answer_as_files(tmp_path):
    told, rows, page = files(report_of(tokens()), tmp_path)
    assert [row["a_ahead_of_b"] for row in rows] == ["0.0"] * 3 and len(told["tracks"]) == 2
    assert "read by the unsteered model" in page and HOSTILE not in page
    assert report_of(tokens()).text.splitlines()[3] == f"both: {HOSTILE}"


def test_each_voice_has_a_line_of_its_own():
    lines = voices_by_token(TokenVoices.of(tokens())).data
    assert [line.line.dash for line in lines] == ["solid", "dash"] and list(lines[0].y) == [0.5] * 3
    assert not any("<" in text for line in lines for text in (*line.customdata, line.name))
