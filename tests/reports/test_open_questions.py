from dataclasses import asdict

from caa_core.measuring.judging.axes import Rating
from caa_core.measuring.judging.levels import unblinded
from caa_core.measuring.judging.planted import check_judge
from caa_core.progress import finish
from caa_core.reports.open_questions import answers_by_multiplier, level_row, report_of, scores_by_multiplier
from tests.helpers.results import files, open_questions


def test_answers_as_files(tmp_path):
    scores = {"person": {1: Rating(3.0, 3.0, 3.0), 2: Rating(8.0, 8.0, 8.0)}, "judge": {}}
    check = finish(check_judge(lambda asked: 5.0))
    told, rows, page = files(report_of(open_questions(0.25, 4), scores, check), tmp_path)
    assert [row["score_person"] for row in told["answers"][:3]] == [None, 3.0, 8.0]
    assert told["answers"][2]["fluency_person"] == 8.0 and rows[2]["relevance_person"] == "8.0"
    assert "score_judge" not in told["answers"][0]
    assert told["judge_check"]["aucs"]["fluency"]["value"] == 0.5 and "The judge gives no score" in page
    assert told["scores"]["person"][1]["change"]["value"] == 5.0 and told["safe_multiplier"] == 0
    assert told["verdict"].startswith("What is safe is not judged: 4 questions are too few")
    assert len(rows) == 12 and rows[0]["question"] == "'=1+1", "a formula is none any more"
    assert "&lt;script&gt;alert(1)" in page and "Scores of a person" in page


def test_answers_without_a_token_cost_no_number(tmp_path):
    told, rows, page = files(report_of(open_questions(count=0)), tmp_path)
    assert {level["perplexity"] for level in told["levels"]} == {None} and {row["kl"] for row in rows} == {""}
    assert "<td>inf</td>" in page


def test_what_the_command_line_prints_has_a_line_for_each_level():
    found = open_questions()
    lines = report_of(found).text.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["-1", "3"], ["0", "3"], ["1", "3"]]
    assert lines[0].startswith("multiplier") and lines[-2:] == ["AUC 0.9.", found.verdict]
    assert level_row(found.levels[2])[2:5] == ["0.50", "11.0", "25%"]


def test_figures_show_what_was_found():
    lines = answers_by_multiplier(open_questions(count=4))
    assert [tuple(line.x) for line in lines.data if line.mode == "lines+markers"] == [(-1, 0, 1)] * 4
    unread = answers_by_multiplier(open_questions(trusted=False))
    assert len([line for line in unread.data if line.mode == "lines+markers"]) == 3
    axes = (lines.layout.yaxis, lines.layout.yaxis2, lines.layout.yaxis3, lines.layout.xaxis)
    assert all(axis.title.text for axis in axes)
    found = open_questions(count=4)
    scored = scores_by_multiplier(unblinded(found.replies, {1: Rating(3.0, 3.0, 3.0), 2: Rating(8.0, 8.0, 8.0)}))
    assert tuple(scored.data[0].y) == (3, 8) and scored.layout.yaxis.title.text
    assert asdict(found.levels[2])["spoken"]["value"] == 1
