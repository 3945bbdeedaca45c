from caa_core.reports.thinking import ARMS, arm_rows, arms_figure, report_of, thoughts_html
from tests.helpers.results import FORMULA, HOSTILE, files, thinking


def test_arms_as_files(tmp_path):
    told, rows, page = files(report_of(thinking()), tmp_path)
    assert told["thinking"]["budget"]["thoughts"] == 1 and [row["arm"] for row in rows][:2] == ["direct", "steered"]
    assert "Can it reason its way to one voice?" in page and HOSTILE not in page


def test_what_the_command_line_prints_has_a_line_for_each_arm():
    lines = report_of(thinking()).text.splitlines()
    assert lines[0].startswith("3 prompts, thoughts: 1 a prompt, of at most 64 tokens") and lines[-1] == "It cannot."
    assert "No controls stand beside them: a voice that does nothing pushes half" in lines[1]
    assert lines[2] == "direct         towards joy" and len(lines) == 6


def test_arms_stand_between_the_voices():
    """A diamond marks a change that is told from 0 after correction, whatever its interval by itself."""
    found = thinking()
    found["arms"][1]["change_p"], found["arms"][2]["change_p"] = 0.04, 0.2
    figure = arms_figure(found)
    assert [(trace.name, trace.x[0], trace.marker.symbol) for trace in figure.data] == [
        ("direct", 0.5, "square"),
        ("steered", 0.5, "diamond"),
        ("thinking only", 0.5, "circle-open"),
    ]
    assert next(iter(figure.data[0].error_x.arrayminus)) > 0 and "<script" not in figure.to_json()
    assert arms_figure(thinking(count=0)) is None


def test_an_arm_without_a_contest_says_what_it_has():
    found = thinking()
    found["arms"][0] |= {"dominance": None, "w": 0.25, "w_low": 0.0, "w_high": 0.5}
    found["arms"][1] |= {"dominance": None, "change": None}
    rows = arm_rows(found)
    assert [row[1] for row in rows] == ["W = +0.25 (+0.00 to +0.50)", "none", "+0.50 (+0.40 to +0.60)"]
    assert rows[1][2] == "" and rows[0][4:6] == ["0.25 (0.10 to 0.50)", "0 of 2"] and rows[0][-1] == "0.50"
    assert {len(row) for row in rows} == {len(ARMS)}


def test_thoughts_stand_beside_each_other_with_corrections_marked():
    made = thoughts_html(thinking(), FORMULA)
    assert made.count("<mark>wait</mark>") == 4 and HOSTILE not in made and "they disagree" in made
    assert "under &lt;script&gt;" in made
