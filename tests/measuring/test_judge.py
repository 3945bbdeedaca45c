import json
import logging
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from benchmarks.nulls.scores import simulate
from caa_core.errors import InputError
from caa_core.measuring.judge import (
    Judge,
    blinded,
    check_address,
    in_words,
    judge_all,
    kept,
    score_of,
    scores_of,
    unblinded,
)
from caa_core.measuring.open_questions import Reply
from caa_core.progress import finish
from tests.helpers.serving import served_by, url_of

KEY = "sk-only-for-the-judge"
REPLIES = [
    Reply(question, multiplier, f"{'Wonderful! ' * (1 + 3 * (multiplier > 0))}{question}", 9, 0.0, 9.0, 0.1)
    for question in ("Why?", "How?", "Who?", "When?")
    for multiplier in (-1.0, 0.0, 1.0)
]


@pytest.fixture
def server():
    """A judge on this machine that counts how often it reads "Wonderful", and notes what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            here = self.server
            here.asked.append((self.path, self.headers["Authorization"], body))
            shown = body["messages"][1]["content"]
            said = here.says(shown) if here.says else str(shown.count("Wonderful"))
            answer = {"choices": [{"message": {"role": "assistant", "content": said}}]}
            data = here.raw or json.dumps(answer).encode()
            self.send_response(here.status)
            if here.status == 302:
                self.send_header("Location", f"http://127.0.0.1:{here.server_port}/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with served_by(Handler) as running:
        running.asked, running.says, running.status, running.raw = [], None, 200, b""
        running.address = f"{url_of(running)}/v1"
        yield running


def test_a_judge_scores_every_answer_blind(server):
    scores = finish(judge_all(Judge(server.address, KEY, "some-model"), "Full of delight.", REPLIES))
    assert scores == {place: (4.0 if reply.multiplier > 0 else 1.0) for place, reply in enumerate(REPLIES)}
    assert {(path, key) for path, key, _ in server.asked} == {("/v1/chat/completions", f"Bearer {KEY}")}
    shown = [body["messages"][1]["content"] for _, _, body in server.asked]
    order = [next(i for i, reply in enumerate(REPLIES) if f"\n{reply.text}\n" in text) for text in shown if text]
    assert all("multiplier" not in text and "-1" not in text.replace("----------", "") for text in shown)
    # Answers at -1 and 0 are the same texts here, so compare the texts and not the places.
    assert [REPLIES[i].text for i in order] == [REPLIES[i].text for i in blinded(len(REPLIES), 0)]
    assert "Full of delight." in server.asked[0][2]["messages"][0]["content"]


def test_the_order_says_nothing_of_the_multiplier():
    order = blinded(60, 1)
    assert sorted(order) == list(range(60)) and order != list(range(60))
    assert order == blinded(60, 1) and order != blinded(60, 2)
    places = [[order.index(i) for i in range(60) if i % 3 == level] for level in range(3)]
    assert max(sum(level) / 20 for level in places) - min(sum(level) / 20 for level in places) < 15


def test_scores_come_back_to_their_multipliers():
    by_place = {
        place: {-1.0: 2.0, 0.0: 3.0, 1.0: 6.0 + place % 2}[reply.multiplier] for place, reply in enumerate(REPLIES)
    }
    found = unblinded(REPLIES, {**by_place, 0: None})
    assert [(score.multiplier, score.scored, score.mean.value) for score in found] == [
        (-1, 3, 2),
        (0, 4, 3),
        (1, 4, 6.5),
    ]
    assert found[1].change is None and found[0].change.value == -1 and found[2].change.value == 3.5
    assert 2 <= found[2].change.low < 3.5 < found[2].change.high <= 5 and not found[0].change.has_interval
    assert "+3.50" in in_words(found) and "at × 1" in in_words(found)
    assert in_words(found).endswith("Not judged: 4 prompts are too few for a verdict, which takes at least 8.")
    many = [replace(reply, question=f"{reply.question} {i}") for i in range(2) for reply in REPLIES]
    clear = in_words(
        unblinded(
            many, {place: {-1.0: 3.0, 0.0: 3.0, 1.0: 6.0 + place % 2}[r.multiplier] for place, r in enumerate(many)}
        )
    )
    assert clear.startswith("Against the unsteered answers the score changes by +3.50") and "Not judged" not in clear
    alike = unblinded(many, {place: float(place % 2) for place in range(len(many))})
    assert in_words(alike).startswith("No multiplier changes the score clearly, corrected over the multipliers.")
    assert [(level.compared, level.p) for level in found] == [(3, 1), (0, None), (4, 1)], "too few questions"
    assert in_words([]) == "Nothing is scored yet."
    only = unblinded(REPLIES, {1: 5.0})
    assert "nothing to compare" in in_words(only)


def test_where_steering_changes_nothing_little_is_said():
    """Of scores, right answers, costs at the limit, readings, written answers and what a model says of itself; small:
    what it counts is in docs/numbers.md.
    """
    said = simulate(16, 12)
    assert said.pop("of a score that is 3 higher") >= 0.4 and said.pop("of answers that A moves") >= 0.3
    assert max(said.values()) <= 0.25


def test_scores_that_were_kept_are_of_the_same_answers():
    scores = {4: 7.0, 0: None}
    plain = json.loads(json.dumps(kept(REPLIES, scores)))
    assert scores_of(REPLIES, plain) == scores
    turned = REPLIES[::-1]
    assert scores_of(turned, plain) == {len(REPLIES) - 1 - place: value for place, value in scores.items()}
    assert scores_of(REPLIES[:4], plain) == {0: None}


def test_what_is_a_score():
    good = {"7": 7, " 10\n": 10, "Score: 3": 3, "8/10": 8, "6 out of 10": 6, "I'd say 4.": 4, "2.5": 2.5, "0": 0}
    good |= {"8 (on a scale of 0-10)": 8, "8 on a scale from 0 to 10.": 8, "10/10": 10, "10 out of 10": 10, "**7**": 7}
    good |= {"On a scale of 1 – 10: 9": 9, "(8)": 8, "[6]": 6, "7 (not 8, it is dull)": 7, "3 of 10": 3, "Score - 5": 5}
    good |= {"0/10": 0, "7.5/10": 7.5, "8\n\nIt is joyful.": 8, "Rating:9": 9, "8 (on a scale of 0": 8}
    assert {said: score_of(said) for said in good} == good


def test_what_is_no_score():
    """Of a judge that says two numbers, or one that is on no scale from 0 to 10, neither is taken."""
    none = [
        "",
        "high",
        "-",
        "nan",
        "inf",
        "11",
        "10.5",
        "100/10",
        "-3",
        "Score: -3",
        "−3",
        "minus 3",
        "7th",
        "A7",
        "1e1",
    ]
    none += ["7 or 8", "7-8", "7 to 8", "between 3 and 5", "7, since 3 of 4 are", "8,5", ".5", "7:30", "3 or 0 to 5"]
    none += ["0-10", "out of 10", "80%", "80/100", "7/100", "3/5", "7/10.5"]
    assert {said: score_of(said) for said in none} == dict.fromkeys(none)


def test_replies_without_a_score_are_counted_as_such(server):
    server.says = lambda shown: "I cannot rate that." if "Why?" in shown else "5"
    scores = finish(judge_all(Judge(server.address, KEY, "m"), "Joy", REPLIES))
    assert list(scores.values()).count(None) == 3
    found = unblinded(REPLIES, scores)
    assert "3 replies of the judge were no score" in in_words(found, 3)
    assert [(level.scored, level.unread) for level in found] == [(3, 1)] * 3
    silent = unblinded(REPLIES, dict.fromkeys(scores))
    assert [(level.scored, level.unread, level.mean, level.change) for level in silent] == [(0, 4, None, None)] * 3
    assert in_words(silent, 12) == "Nothing is scored yet. 12 replies of the judge were no score."


def test_what_was_scored_is_not_asked_again(server):
    work = judge_all(Judge(server.address, KEY, "m"), "Joy", REPLIES)
    for _ in range(5):
        progress, scores = next(work)
    work.close()
    assert len(scores) == len(server.asked) == 4 and progress.done == 4
    finish(judge_all(Judge(server.address, KEY, "m"), "Joy", REPLIES, known=scores))
    assert len(server.asked) == len(REPLIES)


@pytest.mark.parametrize(
    ("status", "raw", "said"),
    [
        (401, b"", "the key is not accepted"),
        (500, b"", "status 500"),
        (302, b"", "status 302"),
        (200, b"<html>", "does not speak OpenAI's API"),
        (200, b'{"choices": []}', "does not speak OpenAI's API"),
        (200, b"[" * 100_000, "does not speak OpenAI's API"),
        (200, b"1" * 2_000_000, "too much"),
    ],
)
def test_a_judge_that_fails_is_said_in_one_sentence_without_its_key(server, caplog, status, raw, said):
    server.status, server.raw = status, raw
    judge = Judge(server.address, KEY, "m")
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError, match=said) as error:
        finish(judge_all(judge, "Joy", REPLIES))
    assert len(server.asked) == 1, "a redirect is not followed, and nothing is asked twice"
    assert KEY not in str(error.value) + repr(judge) + caplog.text and "\n" not in str(error.value)


def test_a_judge_that_is_not_there():
    with pytest.raises(InputError, match="cannot be reached"):
        finish(judge_all(Judge("http://127.0.0.1:9/v1", KEY, "m"), "Joy", REPLIES))


def test_where_a_key_may_be_sent():
    for address in (
        "https://judge.example/v1",
        "http://127.0.0.1:8000/v1",
        "http://localhost/v1",
        "http://[::1]:80/v1",
    ):
        check_address(address)
    for address in ("http://judge.example/v1", "http://127.0.0.1.example/v1", "http://10.0.0.1/v1"):
        with pytest.raises(InputError, match="plain text"):
            check_address(address)
    for address in (
        "",
        "judge",
        "ftp://judge.example",
        "https://",
        "https://me:secret@judge.example",
        "https://a/?b=1",
        "http://[",
        "https://a:b",
    ):
        with pytest.raises(InputError, match="address"):
            check_address(address)


def test_strangers_have_no_judge(monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    with pytest.raises(InputError, match="open to strangers"):
        Judge("https://judge.example/v1", KEY, "m")


def test_what_a_judge_takes():
    with pytest.raises(InputError, match="Name the judge's model"):
        Judge("https://judge.example/v1", KEY, " ")
    with pytest.raises(InputError, match="characters in it"):
        Judge("https://judge.example/v1", "a\nb", "m")
    with pytest.raises(InputError, match="Describe the behaviour"):
        finish(judge_all(Judge("https://judge.example/v1", KEY, "m"), " ", REPLIES))


def test_changes_at_several_multipliers_are_corrected_for_being_several():
    """Each by itself is told from 0, by its interval and its p."""
    questions = [f"{number}?" for number in range(8)]
    places = [(question, m) for question in questions for m in (-1.0, 0.0, 1.0)]
    replies = [Reply(question, m, "text", 9, 0.0, 9.0, 0.1) for question, m in places]
    moved = dict(zip(questions, 1.3 + np.linspace(-2, 2, 8), strict=True))
    both = {place: 5 + moved[question] * (m != 0) for place, (question, m) in enumerate(places)}
    alone = {place: score for place, score in both.items() if places[place][1] >= 0}
    (_, one), (down, _, up) = unblinded(replies, alone), unblinded(replies, both)
    assert one.is_clear and 0.025 < one.p <= 0.05 and up.change == one.change
    assert up.p == down.p == pytest.approx(2 * one.p) and not up.is_clear and up.change.is_clear
