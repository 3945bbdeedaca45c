import csv
import json
from dataclasses import asdict

import pytest

from caa_core.contest.written import ARMS, WrittenArm, WrittenResult
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import VOICES
from caa_core.measuring.judge import unblinded
from caa_core.measuring.open_questions import OpenEnded, Reply
from caa_core.metrics.estimates import Share
from caa_core.reports.open_questions import answers_by_multiplier, report_of, scores_by_multiplier
from caa_core.reports.writing import write
from caa_core.reports.written import report_of as report_of_written
from caa_core.reports.written import share_rows, shares_by_arm

QUESTIONS = ("<b>Why?</b>", "=1+1", "How?", "Who?")
HOSTILE = "<script>alert(1)</script>"


def answers(trusted=True):
    replies = tuple(
        Reply(
            q,
            m,
            HOSTILE,
            4,
            0.25,
            10.0 + abs(m),
            abs(m) / 4,
            m,
            "A" if m > 0 and trusted else "neither" if trusted else None,
        )
        for q in QUESTIONS
        for m in (-1.0, 0.0, 1.0)
    )
    reading = {"trusted": trusted, "text": "AUC 0.9.", "doubt": "" if trusted else "No voice is named."}
    return OpenEnded(HOSTILE, "key", {"layer": 2}, {"model": "tiny"}, reading, replies)


def followed(trusted=True):
    shares = {voice: Share(0.25, 0.1, 0.5) for voice in VOICES} if trusted else None
    one = {"question": QUESTIONS[0], "answer": HOSTILE, "repetition": 0.0, "kl": 0.1, "a": 1.0, "b": None, "lean": 0.5}
    arms = {arm: WrittenArm(arm, shares, 0.1, None if arm == "B" else 0.2, (one | {"voice": "A"},)) for arm in ARMS}
    reading = {"trusted": trusted, "text": "AUC 0.9.", "doubt": "" if trusted else "No voice is named."}
    return WrittenResult(HOSTILE, "gloom", reading, 1, 1, arms, *[Share(0.0, -0.1, 0.1) if trusted else None] * 2)


def test_answers_as_files(tmp_path):
    found, scores = answers(), {"person": {1: 3.0, 2: 8.0}, "judge": {}}
    for ending in (".json", ".csv", ".html"):
        write(report_of(found, scores), tmp_path / f"open{ending}")
    told = json.loads((tmp_path / "open.json").read_text())
    assert [row["score_person"] for row in told["answers"][:3]] == [None, 3.0, 8.0] and "score_judge" not in told[
        "answers"
    ][0]
    assert told["scores"]["person"][1]["change"]["value"] == 5.0 and told["safe_multiplier"] == 1
    with open(tmp_path / "open.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and rows[3]["question"] == "'=1+1", "a formula is none any more"
    page = (tmp_path / "open.html").read_text()
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page and "Scores of a person" in page
    with pytest.raises(InputError, match="should end in"):
        write(report_of(found), tmp_path / "open.txt")


def test_followed_answers_as_files(tmp_path):
    for trusted in (True, False):
        found = followed(trusted)
        report = report_of_written(found.summary() | {"settings": {"seed": 0}, "provenance": {"model": "tiny"}})
        for ending in (".json", ".csv", ".html"):
            write(report, tmp_path / f"written{ending}")
        assert HOSTILE not in (tmp_path / "written.html").read_text()
        told = json.loads((tmp_path / "written.json").read_text())
        assert told["provenance"] == {"model": "tiny"} and told["verdict"] == found.verdict
        with open(tmp_path / "written.csv", newline="") as file:
            assert [row["written_under"] for row in csv.DictReader(file)] == list(ARMS)
    assert share_rows(followed())[2][-2:] == ["not known", "10%"]


def test_figures_show_what_was_found():
    drawn = shares_by_arm(followed())
    assert [bar.x for bar in drawn.data] == [(0.25,) * 4] * 4 and drawn.layout.barmode == "stack"
    assert "<script" not in drawn.to_json().lower() and len({bar.marker.pattern.shape for bar in drawn.data}) == 4
    assert shares_by_arm(followed(trusted=False)) is None, "no shares without a reading that can tell"
    lines = answers_by_multiplier(answers())
    assert [tuple(line.x) for line in lines.data if line.mode == "lines+markers"] == [(-1, 0, 1)] * 4
    assert len([line for line in answers_by_multiplier(answers(False)).data if line.mode == "lines+markers"]) == 3
    assert all(
        axis.title.text for axis in (lines.layout.yaxis, lines.layout.yaxis2, lines.layout.yaxis3, lines.layout.xaxis)
    )
    scored = scores_by_multiplier(unblinded(answers().replies, {1: 3.0, 2: 8.0}))
    assert tuple(scored.data[0].y) == (3, 8) and scored.layout.yaxis.title.text
    assert asdict(answers().levels[2])["spoken"]["value"] == 1
