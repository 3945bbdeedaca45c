import pytest

from caa_core.app.quick_check import QUESTIONS, Capability, look
from caa_core.data.pairs import ContrastPair
from caa_core.progress import finish
from caa_core.steering.scoring import score


def test_the_embedded_model_does_not_answer_questions(embedded):
    found = finish(look(embedded))
    assert found.items == len(QUESTIONS)
    assert 0 < found.mass < 0.15 and abs(found.right - 0.5) < 0.1
    assert not found.answers_questions and "use free-text data" in str(found)


def test_the_numbers_are_of_both_letter_orders(tiny_llama):
    found = finish(look(tiny_llama))
    pairs = [ContrastPair(f"{q}\n\nChoices:\n (A) {r}\n (B) {w}", "(A)", "(B)", 1) for q, r, w in QUESTIONS]
    given = finish(score(tiny_llama, pairs)).probability[0]
    swapped = finish(score(tiny_llama, [pair.swapped() for pair in pairs])).probability[0]
    assert found.right == pytest.approx((given.mean() + swapped.mean()).item() / 2, abs=1e-5)
    assert found.letter_bias == pytest.approx((given.mean() - swapped.mean()).item() / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("mass", "right", "answers"), [(0.8, 0.9, True), (0.8, 0.5, False), (0.05, 0.95, False), (0.23, 0.79, True)]
)
def test_it_takes_both_an_answer_and_a_right_one(mass, right, answers):
    found = Capability(8, mass, 0.1, right)
    assert found.answers_questions == answers == found.summary()["answers_questions"]
    assert "letter A at 0.60" in str(found)
