"""Judges whose answers are known: one that is right, one at chance, one that has the scale the wrong way round."""

import json
import random
from collections import Counter

import pytest

from caa_core.errors import InputError
from caa_core.measuring.judging.axes import AXES, Rating, balanced, kept, ratings_of
from caa_core.measuring.judging.planted import check_judge, out_of_order, planted
from caa_core.measuring.judging.rating import judge_all
from caa_core.measuring.open_questions import Reply
from caa_core.progress import finish

MULTIPLIERS = (-2.0, -1.0, 0.0, 1.0, 2.0)
REPLIES = [
    Reply(f"{question}?", multiplier, f"{question} at {multiplier}", 9, 0.0, 9.0, 0.1)
    for question in range(12)
    for multiplier in MULTIPLIERS
]
BETTER = dict(planted())


def right(asked):
    return 9.0 if BETTER.get(asked, True) else 2.0


def reversed_(asked):
    return 11 - right(asked)


def by_chance(asked):
    return float(random.Random(repr(asked)).randrange(11))


def judged(rate, **more):
    """What a judge gives in the end, and what it was asked beside what is planted."""
    asked = []

    def rate_and_note(one):
        asked.extend([one] if one not in BETTER else [])
        return rate(one)

    return finish(judge_all(rate_and_note, "Full of delight.", REPLIES, **more)), asked


def test_a_judge_that_is_right_scores_every_answer_on_three_axes():
    found, asked = judged(right)
    assert found.check.is_trusted and {one.value for one in found.check.aucs.values()} == {1.0}
    assert found.ratings == dict.fromkeys(range(len(REPLIES)), Rating(9.0, 9.0, 9.0))
    assert [one.axis for one in asked] == [*AXES] * len(REPLIES)
    order = [REPLIES[place].text for place in balanced(REPLIES, 0)]
    assert [one.answer for one in asked[:: len(AXES)]] == order
    assert {(one.behaviour, "multiplier" in repr(one)) for one in asked} == {("Full of delight.", False)}


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (by_chance, "is not told from chance"),
        (lambda asked: 5.0, "is not told from chance"),
        (lambda asked: None, "is not told from chance"),
        (reversed_, "has the scale the wrong way round"),
    ],
)
def test_a_judge_that_is_not_right_gives_no_score_and_says_so(rate, said):
    found, asked = judged(rate)
    assert found.ratings == {} and asked == []
    assert str(found.check).startswith("The judge gives no score.") and said in str(found.check)
    assert all(AXES[axis].title in str(found.check) for axis in AXES)


def test_a_judge_is_right_on_every_axis_or_gives_no_score():
    found, asked = judged(lambda asked: 5.0 if asked.axis == "fluency" else right(asked))
    assert found.check.failed == ["fluency"] and not found.ratings and not asked
    assert "it is not told from chance: reads well 0.50 (" in str(found.check) and "answers the question" not in str(
        found.check
    )
    half = finish(check_judge(lambda asked: None if "egg" in asked.question else right(asked)))
    assert half.is_trusted and half.unread == 6 and f"6 of {len(BETTER)} replies were no score" in str(half)


def test_what_is_planted_differs_in_one_thing():
    by_axis = {axis: [(one, good) for one, good in planted() if one.axis == axis] for axis in AXES}
    for pairs in by_axis.values():
        assert Counter(one.question for one, _ in pairs) == dict.fromkeys({one.question for one, _ in pairs}, 2)
        assert sum(good for _, good in pairs) == 12 == len(pairs) // 2
    good, bad = ({one.answer for one, is_good in by_axis["relevance"] if is_good is wanted} for wanted in (True, False))
    assert good == bad, "the same answers, to the question and to another one"
    plain = {one.answer for one, is_good in by_axis["fluency"] if is_good}
    assert {one.answer for one, is_good in by_axis["fluency"] if not is_good} == {*map(out_of_order, plain)}
    assert all(sorted(text.split()) == sorted(out_of_order(text).split()) for text in plain)
    assert all(out_of_order(text) != text for text in plain)


def test_the_order_is_balanced_and_says_nothing():
    order = balanced(REPLIES, 1)
    assert sorted(order) == list(range(len(REPLIES)))
    assert order == balanced(REPLIES, 1) and order != balanced(REPLIES, 2)
    rounds = [order[i : i + 5] for i in range(0, len(order), 5)]
    assert all({REPLIES[place].multiplier for place in one} == {*MULTIPLIERS} for one in rounds)
    assert all(len({REPLIES[place].question for place in one}) == 5 for one in rounds)
    assert len({tuple(REPLIES[place].multiplier for place in one) for one in rounds}) > 6, "no place tells a multiplier"
    some = REPLIES[:7]
    assert sorted(balanced(some, 1)) == list(range(7)), "also of a table that is not whole"


def test_ratings_that_were_kept_are_of_the_same_answers():
    ratings = {4: Rating(7.0, 8.0, 9.0), 0: Rating(3.0, None, None)}
    plain = json.loads(json.dumps(kept(REPLIES, ratings)))
    assert ratings_of(REPLIES, plain) == ratings
    turned = REPLIES[::-1]
    assert ratings_of(turned, plain) == {len(REPLIES) - 1 - place: one for place, one in ratings.items()}
    assert ratings_of(REPLIES[:4], plain) == {0: ratings[0]}
    before = [{"question": "0?", "multiplier": -2.0, "answer": REPLIES[0].text, "score": 7.0}]
    assert ratings_of(REPLIES, before) == {}, "one score alone, of before, is of something else"


def test_what_was_scored_is_not_asked_again():
    passed = finish(check_judge(right))
    work = judge_all(right, "Joy", REPLIES, check=passed)
    found = next(found for _, found in work if len(found.ratings) == 4)
    work.close()
    again, asked = judged(right, known=found.ratings, check=passed)
    assert len(asked) == 3 * (len(REPLIES) - 4) and len(again.ratings) == len(REPLIES)
    unread, asked = judged(right, known={0: Rating(5.0, None, 5.0)}, check=passed)
    assert len(asked) == 3 * len(REPLIES) and not unread.ratings[0].missing
    with pytest.raises(InputError, match="Describe the behaviour"):
        next(judge_all(right, " ", REPLIES))
