"""Is a judge to be believed? It scores answers whose quality is known by how they were made, and is told from chance.

On each axis answers to the same questions are held against each other that differ in it alone: spoken as a pirate or
plainly; a plain answer to the question, or the plain answer to another one; a plain answer, or its words out of order.
The area under the ROC curve says how often the better one has the higher score, with an interval over questions; a
score that cannot be read says nothing, and counts as the middle of the scale.
"""

import json
import random
from collections.abc import Generator
from dataclasses import dataclass
from functools import cache

import numpy as np

from caa_core.data.presets import PRESETS
from caa_core.measuring.judging.axes import AXES, HIGHEST, LOWEST, Rate, ScoreAsked
from caa_core.metrics.estimates import Share, auc

CHANCE = 0.5
MIDDLE = (LOWEST + HIGHEST) / 2
# The question so much further on has the answer that does not fit.
APART = 5


@dataclass(frozen=True)
class JudgeCheck:
    """aucs: by axis, of the better against the worse planted answers. unread: scores that could not be read, of
    `asked`.
    """

    aucs: dict[str, Share]
    unread: int
    asked: int

    @property
    def failed(self) -> list[str]:
        """The axes on which the judge is not told from chance, or has the scale the wrong way round."""
        return [axis for axis, found in self.aucs.items() if not found.low > CHANCE]

    @property
    def is_trusted(self) -> bool:
        return not self.failed

    def __str__(self) -> str:
        unread = f" {self.unread} of {self.asked} replies were no score." if self.unread else ""
        if self.is_trusted:
            return f"The judge's AUC on planted answers: {self._named(list(self.aucs))}.{unread}"
        reversed_ = [axis for axis in self.failed if self.aucs[axis].high < CHANCE]
        chance = [axis for axis in self.failed if axis not in reversed_]
        why = [f"is not told from chance: {self._named(chance)}"] if chance else []
        why += [f"has the scale the wrong way round: {self._named(reversed_)}"] if reversed_ else []
        return f"The judge gives no score. On planted answers it {', and '.join(why)} (AUC).{unread}"

    def _named(self, axes: list[str]) -> str:
        return ", ".join(f"{AXES[axis].title} {self.aucs[axis]}" for axis in axes)


@cache
def planted() -> tuple[tuple[ScoreAsked, bool], ...]:
    """What a judge is asked, and whether it is the better answer of the two to that question on that axis."""
    known = json.loads((PRESETS / "planted.json").read_text(encoding="utf-8"))
    behaviour, answers = known["behaviour"], known["answers"]
    found = []
    for number, one in enumerate(answers):
        other = answers[(number + APART) % len(answers)]["plain"]
        pairs = {
            "behaviour": (one["shown"], one["plain"]),
            "relevance": (one["plain"], other),
            "fluency": (one["plain"], out_of_order(one["plain"])),
        }
        for axis, both in pairs.items():
            found += [(ScoreAsked(axis, behaviour, one["question"], text), text == both[0]) for text in both]
    random.Random(0).shuffle(found)
    return tuple(found)


def out_of_order(text: str) -> str:
    """The words of a text in another order, drawn by the text."""
    words = text.split()
    random.Random(text).shuffle(words)
    return " ".join(words)


def check_judge(rate: Rate) -> Generator[None, None, JudgeCheck]:
    """Have a judge score what is planted. Yields behind each score."""
    scores = []
    for asked, _ in planted():
        scores.append(rate(asked))
        yield
    values = np.array([MIDDLE if score is None else score for score in scores])
    better = np.array([is_better for _, is_better in planted()])
    axes = np.array([asked.axis for asked, _ in planted()])
    questions = [asked.question for asked, _ in planted()]
    aucs = {axis: auc(values, better & (axes == axis), ~better & (axes == axis), questions) for axis in AXES}
    return JudgeCheck(aucs, scores.count(None), len(scores))
