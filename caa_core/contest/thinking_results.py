"""What an experiment with thoughts says of two voices, by arm, as far as its answers are scored."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from caa_core.contest.dominance import Contest, by_prompt, conclude, dominance_of
from caa_core.contest.requests import ThinkingRequest
from caa_core.contest.self_report import SelfReport
from caa_core.contest.thinking_arms import (
    ARMS,
    BOTH,
    CROSSED,
    DIRECT,
    STEERED,
    UNDER,
    A,
    ArmPlan,
    B,
    ThinkingArm,
    ThinkingCell,
)
from caa_core.contest.thinking_scores import ThinkingScores
from caa_core.contest.thoughts import corrections, thought_text
from caa_core.contest.voice import Voice
from caa_core.metrics.cross_fitting import too_few
from caa_core.metrics.estimates import Estimate, estimate, mean_of
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import FLAT, SHARED, plain
from caa_core.model.loading import SteerableModel
from caa_core.steering.sampling import repetition

PROMPTED = (
    "What a model is told stands before its words, which cannot be read without it: there is no thinking only, answer "
    "only or crossed."
)


@dataclass(frozen=True)
class ArmResult:
    """What two voices do in an arm; the numbers are those of `dominance.Contest`.

    dominance: None where there is no contest. change: of D against "direct", over the same prompts; None where either
    has none. w: of "crossed" alone. thoughts: how many the answers under both voices followed (in "crossed", under
    either); self_corrections: how many of them correct themselves; disagreements: how many of them the unsteered model
    reads as the other voice's than the answer was. kl: KL(unsteered ‖ both) of the answers behind the same words, in
    nats; repetition: of the words.
    """

    name: str
    delta_a: Estimate | None = field(default=None, metadata=FLAT)
    delta_b: Estimate | None = field(default=None, metadata=FLAT)
    delta_ab: Estimate | None = field(default=None, metadata=FLAT)
    dominance: Estimate | None = field(default=None, metadata=SHARED)
    additive: float | None = None
    interaction: Estimate | None = field(default=None, metadata=FLAT)
    change: Estimate | None = field(default=None, metadata=FLAT)
    w: Estimate | None = field(default=None, metadata=FLAT)
    thoughts: int = 0
    disagreements: int = 0
    self_corrections: int = 0
    kl: float | None = None
    repetition: float | None = None
    verdict: str = ""
    followed: str = ""

    def summary(self) -> dict[str, Any]:
        """As plain data; `low` and `high` are those of the dominance."""
        return {"arm": self.name, **plain(self)}


@dataclass(frozen=True)
class ThinkingResult:
    """A contest in all arms that are known by now, by name, within one budget, and the thoughts as plain data."""

    a: str
    b: str
    prompts: int
    items: int
    budget: ThinkingRequest
    arms: dict[str, ArmResult]
    thoughts: tuple[dict[str, Any], ...]
    told: SelfReport | None
    note: str
    verdict: str

    def summary(self) -> dict[str, Any]:
        """As plain data, under the names that the command line prints: `arms`, and all the rest in `thinking`."""
        return {"arms": [arm.summary() for arm in self.arms.values()], "thinking": plain(self, without=["arms"])}


class ThinkingSummary:
    """Makes results of what is known; an arm's is made once, as soon as all that it needs is known."""

    def __init__(
        self, model: SteerableModel, items: Items, a: Voice, b: Voice, request: ThinkingRequest, plan: ArmPlan
    ):
        self.items, self.a, self.b, self.request, self.plan = items, a, b, request, plan
        self.texts = [[thought_text(model, ids) for ids in plan.written(x)] for x in range(len(UNDER))]
        self.corrections = [[corrections(text) for text in texts] for texts in self.texts]
        self.arms: dict[str, ArmResult] = {}

    def result(self, scores: ThinkingScores, self_report: SelfReport | None = None) -> ThinkingResult:
        """As far as it is known."""
        for arm in self.plan.arms:
            # Every other arm is compared with the direct one, which is the first.
            comparable = arm is DIRECT or DIRECT.name in self.arms
            if comparable and arm.name not in self.arms and scores.has(arm.name):
                self.arms[arm.name] = self._arm(arm, scores)
        if self.plan.crossings and CROSSED not in self.arms and scores.has(CROSSED):
            self.arms[CROSSED] = self._crossed(scores)
        prompts = len(set(self.items.prompts))
        return ThinkingResult(
            a=self.a.name,
            b=self.b.name,
            prompts=prompts,
            items=len(self.items.pairs),
            budget=self.request,
            arms={name: self.arms[name] for name in [*(arm.name for arm in ARMS), CROSSED] if name in self.arms},
            thoughts=self._thoughts(scores),
            told=self_report,
            note=PROMPTED if self.plan.is_prompted else "",
            verdict=_overall(self.a.name, self.b.name, prompts, self.arms),
        )

    def _contest(self, arm: ThinkingArm, scores: ThinkingScores) -> tuple[Contest, np.ndarray]:
        """What both voices do in an arm, and Δ of A, B and both, [3, prompts]."""
        m, kl = scores.of(arm)
        by = by_prompt(self.items, m)
        return conclude(self.items, self.a, self.b, m, kl), by[1:] - by[0]

    def _arm(self, arm: ThinkingArm, scores: ThinkingScores) -> ArmResult:
        found, changes = self._contest(arm, scores)
        direct, before = self._contest(DIRECT, scores)
        dominance = found.dominance if found.contest else None
        change = None
        if arm is not DIRECT and dominance and direct.contest and direct.dominance:
            change = estimate(_dominance_less, *changes, *before)
        verdict = found.verdict
        if dominance and not too_few(found.prompts):
            verdict = f"The model follows {found.followed}: D = {dominance}"
            verdict += "." if arm is DIRECT else f"; {self._moved(change)}."
        both = scores.plan.cells(arm, BOTH)
        return ArmResult(
            name=arm.name,
            delta_a=found.delta_a,
            delta_b=found.delta_b,
            delta_ab=found.delta_ab,
            dominance=dominance,
            followed=found.followed if dominance else "",
            additive=found.additive if dominance else None,
            interaction=found.interaction,
            change=change,
            kl=found.kl[2],
            verdict=verdict,
            **(self._counts(scores, {arm.writer: both}) if arm.has_thoughts else {}),
        )

    def _crossed(self, scores: ThinkingScores) -> ArmResult:
        cells = [self.plan.crossed(*crossing) for crossing in self.plan.crossings]
        ab, ba, aa, bb = m = by_prompt(self.items, np.stack([scores.by_item(row)[0] for row in cells]))
        apart = mean_of(aa - bb)
        w = estimate(_words_over_vector, ab, ba, aa, bb) if apart.is_clear and apart.value > 0 else None
        if few := too_few(m.shape[1]):
            verdict = f"{few}."
        elif w is None:
            verdict = (
                f"Words and answer under {self.a.name} cannot be told from both under {self.b.name}, so there is no W."
            )
        elif mean_of(ab - ba).is_clear:
            verdict = f"The {'words decide' if w.value > 0 else 'vectors decide'} more: W = {w}."
        else:
            verdict = f"Neither words nor vectors can be said to decide: W = {w}."
        counts = self._counts(scores, {A: self.plan.crossed(A, B), B: self.plan.crossed(B, A)})
        return ArmResult(CROSSED, w=w, verdict=verdict, **counts)

    def _counts(self, scores: ThinkingScores, answers: dict[int, list[ThinkingCell]]) -> dict[str, Any]:
        """What is counted of the thoughts that answers followed, by the X that the thoughts were written under."""
        m = [m for cells in answers.values() for m in scores.m(cells)]
        alone = [m for x in answers for m in scores.m(self.plan.alone(x))]
        return {
            "thoughts": len(m),
            "disagreements": sum(x * y < 0 for x, y in zip(alone, m, strict=True)),
            "self_corrections": sum(bool(spans) for x in answers for spans in self.corrections[x]),
            "repetition": float(np.mean([repetition(ids) for x in answers for ids in self.plan.written(x)])),
        }

    def _thoughts(self, scores: ThinkingScores) -> tuple[dict[str, Any], ...]:
        """Every thought, with m of the unsteered model that reads it, and m where it is read and answered under what it
        was written under; None where they are not known.
        """
        unders = range(len(UNDER))
        alone, steered = (
            [[scores.known[cell][0] if cell in scores.known else None for cell in cells(x)] for x in unders]
            for cells in (self.plan.alone, partial(self.plan.cells, STEERED))
        )
        return tuple(
            {
                "prompt": self.plan.cases[case].prompt,
                "number": number + 1,
                "under": under,
                "text": self.texts[x][i],
                "corrections": self.corrections[x][i],
                "m_alone": alone[x][i],
                "m": steered[x][i],
                "disagrees": _disagree(alone[x][i], steered[x][i]),
            }
            for i, (case, number) in enumerate(self.plan.each)
            for x, under in enumerate(UNDER)
        )

    def _moved(self, change: Estimate | None) -> str:
        if not change:
            return "without a thought there is no contest to compare it with"
        if not change.is_clear:
            return f"no change against direct that can be told from 0 ({change})"
        return f"towards {self.a.name if change.value > 0 else self.b.name} against direct ({change})"


def _dominance_less(*means: np.ndarray) -> np.ndarray:
    """D of the first three mean changes less D of the last three."""
    return dominance_of(*means[:3]) - dominance_of(*means[3:])


def _disagree(x: float | None, y: float | None) -> bool | None:
    return None if x is None or y is None else x * y < 0


def _words_over_vector(ab: np.ndarray, ba: np.ndarray, aa: np.ndarray, bb: np.ndarray) -> np.ndarray:
    return (ab - ba) / (aa - bb)


def _overall(a: str, b: str, prompts: int, arms: dict[str, ArmResult]) -> str:
    """Can it reason its way to one voice? Nothing before it can be said."""
    direct, steered, filler = (arms.get(name) for name in ("direct", "steered", "filler"))
    if not (direct and steered and filler):
        return ""
    if few := too_few(prompts):
        return f"{few}."
    if not direct.dominance:
        return f"Without a thought there is no contest that thinking could settle. {direct.verdict}"
    before = f"Without a thought the model follows {direct.followed} (D = {direct.dominance})"
    if not (steered.dominance and steered.change):
        return f"{before}; with one there is no contest any more. {steered.verdict}"
    after = f"{before}, with one it follows {steered.followed} (D = {steered.dominance})"
    change = steered.change
    if not change.is_clear:
        return f"No: thinking makes no change that can be told from 0 ({change}). {after}."
    said = f"Thinking moves it towards {a if change.value > 0 else b} ({change}). {after}."
    if filler.change and filler.change.is_clear:
        way = "the same way" if filler.change.value * change.value > 0 else "the other way"
        return f"{said} Filler of the same length moves it {way} ({filler.change})."
    return f"{said} Filler of the same length does not ({filler.change or 'no contest'})."
