"""What is said of contests of which it is not true; the whole tables stand in docs/numbers.md."""

import pytest

from benchmarks.null_contests import on_model, simulate, simulate_arms

pytestmark = pytest.mark.long

RUNS = 100
# Of each case, what is true of it.
TRUE = {
    "both do as much, and nothing beyond adding": ("A moves the answers its way", "B moves the answers its way"),
    "A does more, and beyond adding both do what second voices do": (
        "A moves the answers its way",
        "B moves the answers its way",
        "follows A",
    ),
    "words: neither does anything": (),
}


@pytest.mark.parametrize("case", TRUE)
def test_what_is_not_true_is_said_in_seven_percent_at_most(case):
    said = simulate(RUNS, 13, case)
    wrong = {sentence: share for sentence, share in said.items() if sentence not in TRUE[case]}
    assert all(share <= 0.07 for share in wrong.values()), wrong
    assert all(said[sentence] > 0.5 for sentence in TRUE[case])


def test_of_arms_that_are_all_the_same_little_is_said():
    said = simulate_arms(600, 8)
    assert len(said) == 3 and all(share <= 0.07 for share in said.values()), said


def test_the_study_runs_on_a_model(tiny_llama):
    said = on_model(tiny_llama, "formal", "casual", 2, 1.0, 2)
    assert list(said) == [f"{x}, as {y}" for y in ("formal", "casual") for x in ("random", "shuffled")] + [
        "second voices, as casual"
    ]
    assert all(share <= 0.5 for found in said.values() for share in found.values())
