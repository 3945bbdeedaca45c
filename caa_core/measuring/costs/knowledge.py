"""Does steering cost capability? An A/B test whose matching answers are the right ones, unsteered and steered.

Panickssery et al., arXiv 2312.06681, section 6, ask this of MMLU in A/B form. Both letter orders of every question
count, so that a model which always says one letter is at chance.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from caa_core.data.columns import Columns
from caa_core.data.pairs import Dataset, read_pairs
from caa_core.data.presets import PRESETS, find_test_pairs
from caa_core.measuring.requests import KnowledgeRequest
from caa_core.measuring.sweep import RunScores, checked, score_runs
from caa_core.metrics.controls import random_alike
from caa_core.metrics.correction import holm, paired_p
from caa_core.metrics.cross_fitting import LEVEL, too_few
from caa_core.metrics.estimates import Estimate, Share, mean_of, reach, share_of
from caa_core.metrics.items import choose_items
from caa_core.metrics.plain_data import FLAT, plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.operations import ADD, said_of
from caa_core.vectors.vector import SteeringVector

QUESTIONS = PRESETS / "knowledge.json"
OWN = "knowledge"
CHANCE = 0.5


@dataclass(frozen=True)
class KnowledgeLevel:
    """How the questions are answered at one multiplier, 0 being the unsteered model.

    accuracy: share of questions of which the right answer is the more probable over both letter orders; probability:
    its mean. The changes are against the unsteered model, question by question, with intervals over questions. random:
    the least and the most that random vectors of the same norm change the accuracy, where no change lies between; None
    without them. mass: answer mass; kl: in nats. p_accuracy, p_probability: of the changes, corrected over both of them
    at all multipliers (Holm); None for the unsteered model, and in what was kept before.
    """

    multiplier: float
    accuracy: Share = field(metadata=FLAT)
    probability: Estimate = field(metadata=FLAT)
    accuracy_change: Estimate = field(metadata=FLAT)
    probability_change: Estimate = field(metadata=FLAT)
    random: tuple[float, float] | None
    mass: float
    kl: float
    p_accuracy: float | None = None
    p_probability: float | None = None

    @property
    def costs(self) -> bool:
        """Whether it answers worse than the unsteered model, by corrected p and interval; by the interval alone where
        it was kept before there was a p.
        """
        changes = ((self.accuracy_change, self.p_accuracy), (self.probability_change, self.p_probability))
        return any(change.high < 0 and (p is None or p <= LEVEL) for change, p in changes)


@dataclass(frozen=True)
class Knowledge:
    """What steering does to a test of knowledge at one layer, or at all of `spread` at once. questions: what stands in
    the data twice counts once. rows: the unsteered model's first.
    """

    vector: str
    data: str
    layer: int
    questions: int
    skipped: tuple[str, ...]
    not_swapped: int
    controls: int
    rows: tuple[KnowledgeLevel, ...]
    operation: str = str(ADD)
    spread: tuple[int, ...] = ()

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Knowledge":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, "The check of capability that was")

    @property
    def answers(self) -> bool:
        """Whether the unsteered model is told from chance, so that there is something to lose."""
        return (
            not too_few(self.questions) and self.rows[0].accuracy.low > CHANCE and self.rows[0].probability.low > CHANCE
        )

    def summary(self) -> dict[str, Any]:
        """As plain data, with what it comes to in words."""
        return {**plain(self), "answers": self.answers, "text": str(self)}

    def __str__(self) -> str:
        first = self.rows[0]
        unsteered = (
            f"{first.accuracy.value:.0%} of {self.questions} questions of {self.data} right "
            f"({first.accuracy.ends('.0%')}), the right answer at "
            f"{first.probability.value:.2f}, answer mass {first.mass:.2f}"
        )
        if few := too_few(self.questions, "question"):
            return f"Not judged: {few}. Unsteered: {unsteered}."
        if not self.answers:
            return (
                "This test cannot show a loss: unsteered, the model is not shown to answer better than chance, so that "
                f"there may be nothing to lose. {unsteered}."
            )
        return "\n".join([f"Unsteered: {unsteered}.", *(self._told(row) for row in self.rows[1:])])

    def _told(self, row: KnowledgeLevel) -> str:
        change = row.accuracy_change
        points = Estimate(*(100 * x for x in (change.value, change.low, change.high)))
        numbers = f"accuracy {points.value:+.0f} points ({points.ends('+.0f')})"
        numbers += f", probability of the right answer {row.probability_change:+.3f}"
        if row.random:
            low, high = (100 * end for end in row.random)
            numbers += f"; {self.controls} random vectors of the same norm change accuracy by {low:+.0f} to {high:+.0f}"
            if row.costs:
                numbers += ", as much" if low <= points.value else ", none as much"
        where = said_of(self.spread or [self.layer], row.multiplier, self.operation)
        if row.costs:
            return f"{where} costs capability: {numbers}."
        perhaps = ""
        if points.low < 0:
            most = f"one of {-points.low:.0f} points or less" if points.has_interval else "one of any size"
            perhaps = f" ({most} is not ruled out)"
        return f"{where}: no loss of capability is shown{perhaps}: {numbers}."


def questions() -> Dataset:
    """Plain questions of general knowledge that ship with the project, as A/B questions."""
    return read_pairs(QUESTIONS, OWN).as_questions()


def find_questions(data: str | Path, columns: Columns | None = None) -> Dataset:
    """The shipped questions by their name, else as `presets.find_test_pairs`."""
    return questions() if str(data) == OWN else find_test_pairs(data, columns)


@handed_over
def examine(
    model: SteerableModel, request: KnowledgeRequest, vector: SteeringVector
) -> Generator[Progress, None, Knowledge]:
    """Answer the questions, unsteered and steered. Yields `Progress`.

    Raises:
        InputError: there is no such layer, or what `choose_items` raises.
    """
    layers, controls = [*map(model.check_layer, request.layers)], request.controls
    multipliers = [m for m in request.multipliers if m]
    items = yield from choose_items(model, request.data, request.positions)
    alike = (vector, *random_alike(vector, layers, controls))
    runs = [request.steers(one, m) for m in multipliers for one in alike]
    baseline, *readings = yield from score_runs(model, items, runs)
    several = 1 + controls
    by_multiplier = {
        multiplier: [
            checked((request.layer, multiplier), one) for one in readings[number * several : (number + 1) * several]
        ]
        for number, multiplier in enumerate(multipliers)
    }
    return Knowledge(
        vector=vector.name,
        data=request.data.name,
        layer=request.layer,
        questions=len(set(items.judged_prompts)),
        skipped=items.skipped,
        not_swapped=items.not_swapped,
        controls=controls,
        rows=tuple(levels_of(baseline, by_multiplier, items.judged_prompts)),
        operation=str(request.operation),
        spread=request.spread,
    )


def levels_of(
    baseline: RunScores, by_multiplier: Mapping[float, Sequence[RunScores]], prompts: Sequence[int]
) -> list[KnowledgeLevel]:
    """The unsteered model's level, and of each multiplier, at which a vector was scored and behind it its controls.

    prompts: the number of each question's prompt; those that ask the same are drawn together.
    """
    rows, changes = [_level(0.0, baseline, baseline, [], prompts)], []
    for multiplier, (steered, *others) in by_multiplier.items():
        rows.append(_level(multiplier, baseline, steered, others, prompts))
        changes += [_right(steered) - _right(baseline), steered.paired - baseline.paired]
    if not changes:
        return rows
    corrected = holm(paired_p(np.array(changes), prompts)).reshape(-1, 2)
    return rows[:1] + [
        replace(row, p_accuracy=float(one), p_probability=float(other))
        for row, (one, other) in zip(rows[1:], corrected, strict=True)
    ]


def _level(
    multiplier: float,
    baseline: RunScores,
    steered: RunScores,
    controls: Sequence[RunScores],
    prompts: Sequence[int],
) -> KnowledgeLevel:
    before, after = _right(baseline), _right(steered)
    return KnowledgeLevel(
        multiplier=multiplier,
        accuracy=share_of(after, prompts),
        probability=mean_of(steered.paired, prompts, within=(0, 1)),
        accuracy_change=mean_of(after - before, prompts, within=(-1, 1)),
        probability_change=mean_of(steered.paired - baseline.paired, prompts, within=(-1, 1)),
        random=reach(np.array([(_right(one) - before).mean() for one in controls])),
        mass=float(steered.mass.mean()),
        kl=float(steered.kl.mean()),
    )


def _right(reading: RunScores) -> np.ndarray:
    """1 for each question of which the right answer is the more probable, over both letter orders; else 0."""
    return (reading.paired > CHANCE).astype(float)
