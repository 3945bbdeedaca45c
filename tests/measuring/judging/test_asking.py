import json
import logging
from http.server import BaseHTTPRequestHandler

import pytest

from caa_core.errors import InputError
from caa_core.measuring.judging.asking import Judge, check_address, score_of
from caa_core.measuring.judging.axes import AXES, ScoreAsked
from tests.helpers.serving import served_by, url_of

KEY = "sk-only-for-the-judge"
ASKED = ScoreAsked("behaviour", "Full of delight.", "Why?", "Wonderful! Wonderful!")


def rated(judge, asked=ASKED):
    with judge.client() as client:
        return judge.rate(client, asked)


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


def test_a_judge_is_asked_for_one_score_at_a_time(server):
    judge = Judge(server.address, KEY, "some-model")
    found = [rated(judge, ScoreAsked(axis, "Full of delight.", "Why?", "Wonderful! Wonderful!")) for axis in AXES]
    assert found == [2.0, 2.0, 2.0]
    assert {(path, key) for path, key, _ in server.asked} == {("/v1/chat/completions", f"Bearer {KEY}")}
    told = [body["messages"][0]["content"] for _, _, body in server.asked]
    shown = {body["messages"][1]["content"] for _, _, body in server.asked}
    assert len({*told}) == 3 and ["Full of delight." in one for one in told] == [True, False, False]
    assert len(shown) == 1 and "\nWhy?\n" in (one := shown.pop()) and "\nWonderful! Wonderful!\n" in one
    server.says = lambda shown: "I cannot rate that."
    assert rated(judge) is None


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
        rated(judge)
    assert len(server.asked) == 1, "a redirect is not followed, and nothing is asked twice"
    assert KEY not in str(error.value) + repr(judge) + caplog.text and "\n" not in str(error.value)


def test_a_judge_that_is_not_there():
    with pytest.raises(InputError, match="cannot be reached"):
        rated(Judge("http://127.0.0.1:9/v1", KEY, "m"))


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
