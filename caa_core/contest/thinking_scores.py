"""m and KL of the answers that the arms of an experiment with thoughts are made of.

Every answer is forced, behind the same prompt and, where there are any, the same words. Words are read under X from the
prompt's last token, which their first token is written from, to their last; the answer is given under X in all that
follows, so also where its first token is predicted. Both together are what "after-prompt" steers, with words or
without.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from caa_core.contest.thinking_arms import NOBODY, AnswerContext, ArmPlan, ThinkingArm, ThinkingCell
from caa_core.contest.thoughts import thinking_prompt
from caa_core.contest.voice import Voice
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import RenderedPair, after_thought
from caa_core.progress import Progress, within
from caa_core.steering.interventions import AFTER_PROMPT, AFTER_THOUGHT, THOUGHT, Positions
from caa_core.steering.scoring import Steers, score_rendered


@dataclass(frozen=True)
class ThinkingScores:
    """What is known by now, m and KL by cell. KL is NaN where a voice is a system prompt."""

    plan: ArmPlan
    known: dict[ThinkingCell, tuple[float, float]] = field(default_factory=dict)

    def has(self, arm: str) -> bool:
        """Whether all that an arm's numbers are made of is known."""
        return self.plan.needed[arm] <= self.known.keys()

    def m(self, cells: Sequence[ThinkingCell]) -> list[float]:
        return [self.known[cell][0] for cell in cells]

    def by_item(self, cells: Sequence[ThinkingCell]) -> np.ndarray:
        """[m and KL, items] of cells that go by `ArmPlan.each`: means over thoughts and letter orders."""
        values = np.array([self.known[cell] for cell in cells])
        by_case = values.reshape(len(self.plan.cases), self.plan.samples, 2).mean(1)
        items = np.array(self.plan.items)
        return np.stack([by_case[items == item].mean(0) for item in range(max(items) + 1)], axis=1)

    def of(self, arm: ThinkingArm) -> np.ndarray:
        """[m and KL, X, items] of an arm."""
        return np.stack([self.by_item(self.plan.cells(arm, x)) for x in range(len(self.plan.systems))], axis=1)


def score_answers(
    model: SteerableModel, plan: ArmPlan, voices: Sequence[Voice], are_choices: bool
) -> Generator[Progress | ThinkingScores, None, ThinkingScores]:
    """Score every cell of a plan. `voices` go by X. Yields `Progress`, and what is known after each group of cells."""
    scores = ThinkingScores(plan)
    groups = plan.groups()
    costs = [sum(len(c.words) + 1 for c in contexts) * (len(unders) + 1) for unders, contexts in groups.items()]
    progress = Progress(sum(map(len, groups.values())), "texts answered", sum(costs))
    yield progress
    for (unders, contexts), cost in zip(groups.items(), costs, strict=True):
        pairs = [_rendered(model, plan, context) for context in contexts]
        steers, positions = zip(*(_run(voices, *under) for under in unders), strict=True)
        found = yield from within(progress, score_rendered(model, pairs, are_choices, steers, positions), cost)
        m, kl = found.preference[1:].double().numpy(), found.kl[1:].double().numpy()
        for (run, under), (i, context) in product(enumerate(unders), enumerate(contexts)):
            # Against a model that is told less the KL is not known.
            same = context.system == plan.systems[NOBODY]
            scores.known[ThinkingCell(context, *under)] = float(m[run, i]), float(kl[run, i]) if same else math.nan
        yield progress.advance(len(contexts), 0)
        yield scores
    return scores


def _run(voices: Sequence[Voice], read: int, answered: int) -> tuple[Steers, Positions]:
    if read == NOBODY:
        return voices[answered].steers, AFTER_THOUGHT
    return voices[read].steers, AFTER_PROMPT if answered else THOUGHT


def _rendered(model: SteerableModel, plan: ArmPlan, context: AnswerContext) -> RenderedPair:
    pair = plan.cases[context.case]
    head = thinking_prompt(model, pair.prompt, context.system)
    positive, negative = (
        after_thought(model.tokenizer, head, context.words, answer) for answer in (pair.positive, pair.negative)
    )
    return RenderedPair(positive, negative)
