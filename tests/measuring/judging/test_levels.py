from dataclasses import replace

import numpy as np
import pytest

from benchmarks.nulls.scores import simulate
from caa_core.measuring.judging.axes import Rating
from caa_core.measuring.judging.levels import in_words, unblinded
from caa_core.measuring.open_questions import Reply

REPLIES = [
    Reply(question, multiplier, question, 9, 0.0, 9.0, 0.1)
    for question in ("Why?", "How?", "Who?", "When?")
    for multiplier in (-1.0, 0.0, 1.0)
]


def alike(scores):
    """Ratings whose three scores are the same, by place."""
    return {place: Rating(score, score, score) for place, score in scores.items()}


def test_scores_come_back_to_their_multipliers():
    by_place = {
        place: {-1.0: 2.0, 0.0: 3.0, 1.0: 6.0 + place % 2}[reply.multiplier] for place, reply in enumerate(REPLIES)
    }
    found = unblinded(REPLIES, alike({**by_place, 0: None}))
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
            many,
            alike({p: {-1.0: 3.0, 0.0: 3.0, 1.0: 6.0 + p % 2}[r.multiplier] for p, r in enumerate(many)}),
        )
    )
    assert clear.startswith("Against the unsteered answers the score changes by +3.50") and "Not judged" not in clear
    equal = unblinded(many, alike({place: float(place % 2) for place in range(len(many))}))
    assert in_words(equal).startswith("No multiplier changes the score clearly, corrected over the multipliers.")
    assert [(level.compared, level.p) for level in found] == [(3, 1), (0, None), (4, 1)], "too few questions"
    assert in_words([]) == "Nothing is scored yet."
    only = unblinded(REPLIES, alike({1: 5.0}))
    assert "nothing to compare" in in_words(only)


def test_no_axis_makes_up_for_another():
    """Of the means of each axis, and of the harmonic means of answers, which are no mean of those."""
    (level,) = unblinded(REPLIES, {1: Rating(10, 5, 2.5), 4: Rating(9, 9, 0), 7: Rating(8, 8, None)})
    assert Rating(10, 5, 2.5).overall == pytest.approx(3 / (1 / 10 + 1 / 5 + 1 / 2.5))
    assert level.mean.value == pytest.approx(Rating(10, 5, 2.5).overall / 2) and (level.scored, level.unread) == (2, 1)
    assert {axis: mean.value for axis, mean in level.by_axis.items()} == {
        "behaviour": 9.5,
        "relevance": 7,
        "fluency": 1.25,
    }


def test_answers_without_a_score_are_counted_as_such():
    ratings = {place: Rating(5, 5, None if reply.question == "Why?" else 5) for place, reply in enumerate(REPLIES)}
    found = unblinded(REPLIES, ratings)
    assert [(level.scored, level.unread) for level in found] == [(3, 1)] * 3
    assert "3 answers do not count: a reply of the judge was no score" in in_words(found, 3)
    silent = unblinded(REPLIES, dict.fromkeys(ratings, Rating()))
    assert [(level.scored, level.unread, level.mean, level.change) for level in silent] == [(0, 4, None, None)] * 3
    assert in_words(silent, 12) == "Nothing is scored yet. 12 answers: a reply of the judge was no score."


def test_where_steering_changes_nothing_little_is_said():
    """Of scores, right answers, costs at the limit, readings, written answers and what a model says of itself; small:
    what it counts is in docs/numbers.md.
    """
    said = simulate(16, 12)
    assert said.pop("of a score that is 3 higher") >= 0.4 and said.pop("of answers that A moves") >= 0.3
    assert max(said.values()) <= 0.25


def test_changes_at_several_multipliers_are_corrected_for_being_several():
    """Each by itself is told from 0, by its interval and its p."""
    questions = [f"{number}?" for number in range(8)]
    places = [(question, m) for question in questions for m in (-1.0, 0.0, 1.0)]
    replies = [Reply(question, m, "text", 9, 0.0, 9.0, 0.1) for question, m in places]
    moved = dict(zip(questions, 1.3 + np.linspace(-2, 2, 8), strict=True))
    both = {place: 5 + moved[question] * (m != 0) for place, (question, m) in enumerate(places)}
    alone = {place: score for place, score in both.items() if places[place][1] >= 0}
    (_, one), (down, _, up) = unblinded(replies, alike(alone)), unblinded(replies, alike(both))
    assert one.is_clear and 0.025 < one.p <= 0.05 and up.change == one.change
    assert up.p == down.p == pytest.approx(2 * one.p) and not up.is_clear and up.change.is_clear
