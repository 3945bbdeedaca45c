import pytest

from caa_core.contest.requests import ThinkingRequest
from caa_core.contest.thoughts import corrections, write_thoughts
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.progress import finish
from caa_core.steering.generation import _BATCHES
from caa_core.steering.interventions import Steer
from tests.helpers.vectors import random_vector

QUESTIONS = {"What is rain?": 0, "Who sings?": 1}


def sides(model):
    return [Voice("nobody"), Voice("loud", (Steer(random_vector(model), 1, 20.0),)), Voice("nobody again")]


def test_what_is_written_under_has_the_same_random_numbers(tiny):
    """Under the same the same words, under something else others; each thought and each question has its own."""
    budget = ThinkingRequest(thoughts=3, tokens=6)
    found = finish(write_thoughts(tiny, QUESTIONS, sides(tiny), budget))
    assert len(found) == 2 * 3 * 3 and all(len(words) <= 6 for words in found.values())
    for question in QUESTIONS:
        for number in range(3):
            nobody, loud, again = (found[question, number, x] for x in range(3))
            assert nobody == again != loud
    assert len({found["What is rain?", number, 0] for number in range(3)}) == 3
    alike = finish(write_thoughts(tiny, dict.fromkeys(QUESTIONS, 0), sides(tiny), budget))
    assert alike["What is rain?", 2, 0] == found["What is rain?", 2, 0]


def test_a_thought_does_not_depend_on_what_is_written_beside_it(tiny_llama, monkeypatch):
    budget = ThinkingRequest(thoughts=3, tokens=6)
    together = finish(write_thoughts(tiny_llama, QUESTIONS, sides(tiny_llama), budget))
    monkeypatch.setitem(write_thoughts.__globals__["ROWS"], "cpu", 3)
    assert finish(write_thoughts(tiny_llama, QUESTIONS, sides(tiny_llama), budget)) == together
    assert finish(
        write_thoughts(tiny_llama, QUESTIONS, sides(tiny_llama), ThinkingRequest(thoughts=3, tokens=6, seed=1))
    ) != (together)


def test_stopping_leaves_nothing_behind(tiny_llama):
    work = write_thoughts(tiny_llama, QUESTIONS, sides(tiny_llama), ThinkingRequest(thoughts=2, tokens=50))
    for _ in range(4):
        next(work)
    assert _BATCHES[tiny_llama].groups
    work.close()
    assert not _BATCHES[tiny_llama].groups


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It rains. Wait, it does not.", ["Wait"]),
        ("Yes. No, that is wrong.", [". No,", "that is wrong"]),
        ("No, not today", ["No,"]),
        ("On second thought, ACTUALLY let me reconsider: I was wrong", 4),
        ("There is no rain, and nobody waits for the actual waiter.", []),
    ],
)
def test_self_corrections(text, found):
    spans = corrections(text)
    assert len(spans) == found if isinstance(found, int) else [text[a:b] for a, b in spans] == found


@pytest.mark.parametrize("wrong", [{"prompts": 0}, {"thoughts": 33}, {"tokens": 0}, {"seed": -1}, {"temperature": 11}])
def test_budgets_that_cannot_be(wrong):
    with pytest.raises(InputError):
        ThinkingRequest(**wrong)
