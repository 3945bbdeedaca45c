import dataclasses
import json

import pytest
import torch

from caa_core.data.pairs import ContrastPair
from caa_core.data.presets import find_test_pairs
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import HeldOut, held_out
from caa_core.measuring.open_questions import Level, OpenQuestions, Reply, answer
from caa_core.measuring.requests import OpenQuestionsRequest
from caa_core.model.prompts import ask
from caa_core.progress import Progress, finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.models import make_tiny

QUESTIONS = ("How are you?", "What is rain?", "Tell me a story.")
DATA = HeldOut([ContrastPair(p, "Great, great!", "Fine.", i) for i, p in enumerate([*QUESTIONS, "Who sings?"])])


@pytest.fixture(scope="module")
def asked():
    torch.manual_seed(2)
    vector = SteeringVector("mine", {layer: torch.randn(32) for layer in (1, 2)}, {}, Provenance())
    settings = {"layer": 2, "multipliers": (1.5, -0.5), "max_new_tokens": 6, "temperature": 1.0, "seed": 4}
    return make_tiny("llama"), vector, OpenQuestionsRequest(questions=QUESTIONS, **settings)


@pytest.fixture(scope="module")
def found(asked):
    return finish(answer(*asked, DATA))


def test_every_answer_is_written_at_its_multiplier(asked, found):
    model, vector, settings = asked
    assert settings.multipliers == (-0.5, 0.0, 1.5), "the unsteered model is always there"
    assert [(r.question, r.multiplier) for r in found.replies] == [
        (q, m) for q in QUESTIONS for m in settings.multipliers
    ]
    for reply in found.replies[3:6]:
        steers = (Steer(vector.at(2), 2, reply.multiplier),)
        alone = finish(generate(model, [BatchRow(ask(model.tokenizer, reply.question), steers)], Decoding(6, 1.0, 5)))
        assert (reply.text, reply.tokens) == (alone[0].text, len(alone[0].ids))
    assert all(reply.kl == 0 for reply in found.replies if not reply.multiplier)
    assert all(reply.kl > 0 for reply in found.replies if reply.multiplier)


def test_levels_are_of_all_answers_at_a_multiplier(found):
    assert [(level.multiplier, level.answers) for level in found.levels] == [(-0.5, 3), (0.0, 3), (1.5, 3)]
    told = json.loads(json.dumps(found.summary()))
    assert OpenQuestions.of(told).summary() == found.summary()
    assert [row["multiplier"] for row in told["levels"]] == [-0.5, 0.0, 1.5] and len(told["answers"]) == 9
    assert told["reading"]["aucs"]["A"]["value"] == found.reading["aucs"]["A"]["value"]
    with pytest.raises(InputError, match="cannot be read"):
        OpenQuestions.of({"vector": "mine"})


def test_what_was_stopped_goes_on(asked, found, monkeypatch):
    """Half the questions, then all: what was there is not written again, and nothing of it differs."""
    model, vector, settings = asked
    monkeypatch.setitem(
        __import__("caa_core.measuring.open_questions", fromlist=["ROWS"]).ROWS, "cpu", 3
    )  # a question at a time
    work, parts = answer(model, vector, settings, DATA), []
    while len(parts) < 2:
        if isinstance(event := next(work), OpenQuestions):
            parts.append(event)
    work.close()
    assert [len(part.replies) for part in parts] == [3, 6] and parts[1].levels
    events = []
    rest = finish(answer(model, vector, settings, DATA, parts[1]), events.append)
    assert [(r.question, r.multiplier, r.text) for r in rest.replies] == [
        (r.question, r.multiplier, r.text) for r in found.replies
    ]
    assert [r.kl for r in rest.replies] == pytest.approx([r.kl for r in found.replies], abs=1e-4)
    assert [event for event in events if isinstance(event, Progress)][-1].fraction == pytest.approx(1, abs=0.01)
    assert list(answer(model, vector, settings, DATA, rest)) == [], "and then there is nothing to do"
    other = dataclasses.replace(settings, layer=1)
    assert finish(answer(model, vector, other, None, rest)).replies != rest.replies


def kl_of(mean, number):
    """Of the questions by their number, a little apart."""
    return [mean + 0.001 * (-1) ** number if mean else mean]


def made(*levels, voices=None, count=8):
    """Answers of which KL and perplexity are known, by multiplier, to so many questions."""
    replies = tuple(
        Reply(
            f"{number}?", multiplier, "text", 4, 0.0, perplexity, *kl_of(kl, number), *((1.0, voice) if voices else ())
        )
        for number in range(count)
        for (multiplier, kl, perplexity), voice in zip(levels, voices or levels, strict=True)
    )
    reading = voices and {"trusted": True}
    return OpenQuestions("joy", "", {"layer": 2}, {}, reading, replies)


def test_the_safe_multiplier():
    """The largest with KL under 0.5 and perplexity under twice the unsteered, all smaller ones being so too."""
    found = made((-1, 0.1, 30.0), (0, 0.0, 10.0), (0.5, 0.2, 11.0), (1, 0.49, 19.8), (2, 0.5, 12.0), (3, 0.1, 10.0))
    assert found.safe == (0.0, 1.0) and "Safe on such questions: multipliers up to 1. There" in found.verdict
    assert made((-1, 0.1, 12.0), (0, 0.0, 10.0), (1, 0.1, 12.0)).safe == (-1, 1)
    assert "none" in made((0, 0.0, 10.0), (1, 0.9, 12.0)).verdict
    assert found.levels[0] == Level(-1, 8, 0.0, pytest.approx(30), pytest.approx(0.1), None, None)
    few = made((0, 0.0, 10.0), (1, 0.1, 12.0), count=7)
    assert few.safe == (0, 0) and few.verdict.startswith("What is safe is not judged: 7 questions are too few")
    # The mean lies under the limit, its interval does not.
    uneven = tuple(
        dataclasses.replace(reply, kl=2.4 if reply.question == "0?" else 0.1) if reply.multiplier else reply
        for reply in made((0, 0.0, 10.0), (1, 0.1, 12.0)).replies
    )
    uneven = dataclasses.replace(found, replies=uneven)
    assert uneven.levels[1].kl < 0.5 and uneven.safe == (0, 0)
    nothing = tuple(dataclasses.replace(reply, kl=0.0) for reply in made((0, 0.0, 10.0), (0.1, 0, 10.0)).replies)
    assert dataclasses.replace(found, replies=nothing).safe == (0, 0.1), "the same answers cost nothing"


def test_the_share_in_which_the_voice_is_heard():
    found = made((0, 0.0, 10.0), (1, 0.1, 10.0), voices=("neither", "A"), count=2)
    assert [level.spoken.value for level in found.levels] == [0, 1]
    assert found.levels[1].spoken.low == pytest.approx(0.158, abs=0.001), "two coins"
    assert "joy is heard: × 0 0.00 (0.00 to 0.84), × 1 1.00 (0.16 to 1.00)" in found.verdict


def test_a_reading_that_cannot_tell_says_so(asked):
    model, vector, settings = asked
    upside_down = HeldOut([dataclasses.replace(p, positive=p.negative, negative=p.positive) for p in DATA.a])
    both = [
        finish(answer(model, vector, dataclasses.replace(settings, questions=QUESTIONS[:1]), data))
        for data in (DATA, upside_down)
    ]
    poor = next(found for found in both if not found.reading["trusted"])
    assert "No voice is named" in poor.verdict and all(level.spoken is None for level in poor.levels)
    assert (
        "Nothing reads these answers"
        in finish(answer(model, vector, dataclasses.replace(settings, questions=QUESTIONS[:1]))).verdict
    )


def test_what_cannot_be_asked(asked):
    model, vector, _ = asked
    for questions in ((), [f"{i}?" for i in range(501)]):
        with pytest.raises(InputError, match="between 1 and 500 open questions"):
            OpenQuestionsRequest(questions=tuple(questions), layer=1)
    with pytest.raises(InputError, match="no layer 9"):
        finish(answer(model, vector, OpenQuestionsRequest(questions=QUESTIONS, layer=9)))
    with pytest.raises(InputError, match="layer 3"):
        finish(answer(model, vector, OpenQuestionsRequest(questions=QUESTIONS, layer=3)))


def test_no_more_held_out_answers_are_read_than_pairs(monkeypatch):
    assert held_out(find_test_pairs("joy").first(4)).a
    monkeypatch.setenv("CAA_MAX_PAIRS", "3")
    with pytest.raises(InputError, match="4 contrast pairs at once are too many"):
        held_out(find_test_pairs("joy").first(4))
