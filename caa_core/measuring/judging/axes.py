"""Three axes on which answers are scored from 0 to 10: the behaviour, whether the question is answered, how it reads.

An answer's score is the harmonic mean of the three, so that none makes up for another: 0 where one of them is 0 (Wu et
al., AxBench, arXiv 2501.17148, on a scale from 0 to 2). They are given one at a time, in a balanced order that says
nothing of the multiplier.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from caa_core.measuring.open_questions import Reply

LOWEST, HIGHEST = 0, 10


@dataclass(frozen=True)
class Axis:
    """title: what it is called. asks: what a judge is told. shown: what a person is asked."""

    title: str
    asks: str
    shown: str


AXES = {
    "behaviour": Axis(
        "behaviour",
        "Rate how much the answer shows this behaviour:\n\n{behaviour}\n\n"
        "0 means not at all, 10 means as much as an answer can.",
        "How much of the behaviour does it show?",
    ),
    "relevance": Axis(
        "answers the question",
        "Rate how well the answer answers the question, in whatever style. "
        "0 means that it has nothing to do with it, 10 means that it answers it fully.",
        "How well does it answer the question, in whatever style?",
    ),
    "fluency": Axis(
        "reads well",
        "Rate how well the answer reads, whatever it says: its grammar, its order, and that it does not repeat itself. "
        "0 means that it cannot be read, 10 means that it reads like good prose.",
        "How well does it read, whatever it says?",
    ),
}


@dataclass(frozen=True)
class ScoreAsked:
    """One score that is asked for: an axis, the behaviour in words, a question and an answer."""

    axis: str
    behaviour: str
    question: str
    answer: str


# Who gives a score; None for one that cannot be read.
Rate = Callable[[ScoreAsked], float | None]


@dataclass(frozen=True)
class Rating:
    """An answer's scores by axis; None for one that was not given, or could not be read."""

    behaviour: float | None = None
    relevance: float | None = None
    fluency: float | None = None

    @property
    def by_axis(self) -> dict[str, float | None]:
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def missing(self) -> list[str]:
        """The axes without a score."""
        return [axis for axis, score in self.by_axis.items() if score is None]

    @property
    def overall(self) -> float | None:
        """The harmonic mean; None where a score is missing."""
        given = [score for score in self.by_axis.values() if score is not None]
        if len(given) < len(AXES):
            return None
        return len(given) / sum(1 / score for score in given) if all(given) else 0.0

    def with_score(self, axis: str, score: float | None) -> "Rating":
        """The same with the score of an axis, or without it."""
        return replace(self, **{axis: score})


# By the place of an answer in its table.
Ratings = Mapping[int, Rating]


def balanced(replies: Sequence[Reply], seed: int) -> list[int]:
    """The places of answers in the order in which they are scored: in rounds in which each multiplier comes once, in an
    order drawn anew, so that none comes earlier than another, and none can be told by its place. The answers to one
    question are rounds apart.
    """
    drawn = random.Random(seed)
    questions = list(dict.fromkeys(reply.question for reply in replies))
    drawn.shuffle(questions)
    by_multiplier: dict[float, dict[str, int]] = {}
    for place, reply in enumerate(replies):
        by_multiplier.setdefault(reply.multiplier, {})[reply.question] = place
    order: list[int] = []
    for first in range(len(questions)):
        shifted = [*questions[first:], *questions[:first]]
        asked = zip(by_multiplier.values(), (shifted[i % len(shifted)] for i in range(len(by_multiplier))), strict=True)
        round_ = [places[question] for places, question in asked if question in places]
        drawn.shuffle(round_)
        order += round_
    return order


def kept(replies: Sequence[Reply], ratings: Ratings) -> list[dict[str, Any]]:
    """Ratings as plain data that says itself which answers they are of."""
    named = ((replies[place], rating) for place, rating in ratings.items())
    return [{"question": r.question, "multiplier": r.multiplier, "answer": r.text, **one.by_axis} for r, one in named]


def ratings_of(replies: Sequence[Reply], kept: Sequence[dict[str, Any]]) -> dict[int, Rating]:
    """What was kept, of those answers that are still there. Scores of before there were axes are of something else."""
    places = {(reply.question, reply.multiplier, reply.text): place for place, reply in enumerate(replies)}
    found = (
        (places.get((one["question"], one["multiplier"], one["answer"])), Rating(**{axis: one[axis] for axis in AXES}))
        for one in kept
        if AXES.keys() <= one.keys()
    )
    return {place: rating for place, rating in found if place is not None}
