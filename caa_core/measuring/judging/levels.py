"""What ratings come to at each multiplier, and how far that is from the unsteered answers to the same questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from caa_core.measuring.judging.axes import AXES, Rating, Ratings
from caa_core.measuring.open_questions import Reply
from caa_core.metrics.correction import holm, paired_p
from caa_core.metrics.cross_fitting import LEVEL, too_few
from caa_core.metrics.estimates import Estimate, mean_of, means_of


@dataclass(frozen=True)
class LevelRating:
    """Scores of the answers at one multiplier, harmonic means over the axes: the mean over questions with its interval,
    None where none were scored, and its change against the unsteered answers to the same questions; None for the
    unsteered ones themselves, or where none of both were scored. unread: answers of which a score could not be read. p:
    of the change, corrected over the multipliers (Holm); 1 over too few questions, None where there is no change.
    compared: questions of the change. by_axis: the mean of each axis.
    """

    multiplier: float
    scored: int
    unread: int
    mean: Estimate | None
    change: Estimate | None
    p: float | None = None
    compared: int = 0
    by_axis: dict[str, Estimate | None] = field(default_factory=dict)

    @property
    def is_clear(self) -> bool:
        """Whether the score changes, by its corrected p and its interval."""
        return bool(self.change and self.change.is_clear and self.p is not None and self.p <= LEVEL)


def unblinded(replies: Sequence[Reply], ratings: Ratings) -> list[LevelRating]:
    """Scores by rising multiplier; what could not be read is counted, and is in no mean."""
    by_multiplier: dict[float, dict[str, Rating]] = {}
    for place, rating in ratings.items():
        by_multiplier.setdefault(replies[place].multiplier, {})[replies[place].question] = rating
    unsteered = by_multiplier.get(0.0, {})
    changes = {multiplier: _changes(found, unsteered) for multiplier, found in by_multiplier.items() if multiplier}
    tested = [multiplier for multiplier, change in changes.items() if len(change)]
    p = dict(zip(tested, holm([paired_p(changes[multiplier][None])[0] for multiplier in tested]), strict=True))
    levels = [_score(multiplier, found, changes.get(multiplier)) for multiplier, found in sorted(by_multiplier.items())]
    return [replace(one, p=float(p[one.multiplier])) if one.change else one for one in levels]


def _changes(given: Mapping[str, Rating], unsteered: Mapping[str, Rating]) -> np.ndarray:
    """Of the questions of which both answers have a score, [questions]."""
    both = ((one.overall, unsteered.get(question, Rating()).overall) for question, one in given.items())
    return np.array([value - was for value, was in both if value is not None and was is not None])


def _score(multiplier: float, given: Mapping[str, Rating], changes: np.ndarray | None) -> LevelRating:
    found = [one for one in given.values() if one.overall is not None]
    scores = np.array([[one.overall, *one.by_axis.values()] for one in found], float).T
    mean, *axes = means_of(scores) if found else [None] * (1 + len(AXES))
    return LevelRating(
        multiplier=multiplier,
        scored=len(found),
        unread=len(given) - len(found),
        mean=mean,
        change=mean_of(changes) if changes is not None and len(changes) else None,
        compared=0 if changes is None else len(changes),
        by_axis=dict(zip(AXES, axes, strict=True)),
    )


def in_words(levels: Sequence[LevelRating], unread: int = 0) -> str:
    """What the scores come to. unread: of how many answers a score could not be read."""
    if not any(score.scored for score in levels):
        return "Nothing is scored yet." + (f" {unread} answers: a reply of the judge was no score." if unread else "")
    clear = [score for score in levels if score.is_clear]
    compared = max((score.compared for score in levels), default=0)
    said = "No multiplier changes the score clearly, corrected over the multipliers."
    if clear:
        said = "Against the unsteered answers the score changes by " + ", ".join(
            f"{score.change} at × {score.multiplier:g}" for score in clear
        )
        said += ", clear when corrected over the multipliers; elsewhere not clearly. No controls were judged beside it."
    elif few := compared and too_few(compared):
        changes = ", ".join(f"{score.change} at × {score.multiplier:g}" for score in levels if score.change)
        said = f"Against the unsteered answers the score changes by {changes}. Not judged: {few}."
    elif not compared:
        said = "There is nothing to compare yet: score unsteered and steered answers to the same questions."
    return said + (f" {unread} answers do not count: a reply of the judge was no score." if unread else "")
