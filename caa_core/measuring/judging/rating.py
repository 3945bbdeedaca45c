"""A judge scores answers on all axes, once it was seen to tell planted ones apart."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from caa_core.errors import InputError
from caa_core.measuring.judging.axes import AXES, Rate, Rating, Ratings, ScoreAsked, balanced
from caa_core.measuring.judging.planted import JudgeCheck, check_judge, planted
from caa_core.measuring.open_questions import Reply
from caa_core.progress import Progress

MOST_BEHAVIOUR = 1000
SEED = 0  # of the order in which a judge sees answers


@dataclass
class Judged:
    """What a judge has given by now: `ratings` by the answer's place, once its `check` is over and passed."""

    ratings: dict[int, Rating] = field(default_factory=dict)
    check: JudgeCheck | None = None


def judge_all(
    rate: Rate, behaviour: str, replies: Sequence[Reply], known: Ratings | None = None, check: JudgeCheck | None = None
) -> Generator[tuple[Progress, Judged], None, Judged]:
    """Have every answer scored of which `known` lacks a score, in an order that says nothing. Runs no model of ours.

    Yields progress with what has been given so far, an answer at a time. Of a judge that is at chance on planted
    answers there are no ratings.

    Args:
        check: how it did on planted answers, where that is known.

    Raises:
        InputError: the judge cannot be reached, refuses, or speaks something else; what was scored stays with who
            iterated.
    """
    if not behaviour.strip() or len(behaviour) > MOST_BEHAVIOUR:
        raise InputError(f"Describe the behaviour that is judged, in at most {MOST_BEHAVIOUR} characters.")
    found = Judged({place: one for place, one in (known or {}).items() if not one.missing}, check)
    left = [place for place in balanced(replies, SEED) if place not in found.ratings]
    asked = len(left) * len(AXES) + (0 if check else len(planted()))
    progress = Progress(asked, "scores given", asked)
    yield progress, found
    if not check:
        checking = check_judge(rate)
        try:
            while True:
                next(checking)
                yield progress.advance(1, 1), found
        except StopIteration as end:
            found.check = end.value
    if not (found.check and found.check.is_trusted):
        found.ratings = {}
        return found
    for place in left:
        reply, given = replies[place], Rating()
        for axis in AXES:
            given = given.with_score(axis, rate(ScoreAsked(axis, behaviour, reply.question, reply.text)))
            yield progress.advance(1, 1), found
        found.ratings[place] = given
    yield progress, found
    return found
