"""What an experiment with thoughts says of two voices, by arm, as far as its answers are scored."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from caa_core.contest.dominance import Contest, ContestPs, ahead_of, by_prompt, dominance_of, judge_contest, measured
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
from caa_core.metrics.correction import corrected_so_far, paired_p
from caa_core.metrics.cross_fitting import LEVEL, too_few
from caa_core.metrics.estimates import Estimate, Share, estimate, mean_of
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
    has none; change_p: of that, corrected for all arms. w: of "crossed" alone. thoughts: how many the answers under
    both voices followed (in "crossed", under either); self_corrections: how many of them correct themselves;
    disagreements: how many of them the unsteered model reads as the other voice's than the answer was. kl:
    KL(unsteered ‖ both) of the answers behind the same words, in nats; repetition: of the words. wrong_a, wrong_b: of
    the prompts that move, the share that each voice alone pushes the other's way.
    """

    name: str
    delta_a: Estimate | None = field(default=None, metadata=FLAT)
    delta_b: Estimate | None = field(default=None, metadata=FLAT)
    delta_ab: Estimate | None = field(default=None, metadata=FLAT)
    dominance: Estimate | None = field(default=None, metadata=SHARED)
    additive: float | None = None
    interaction: Estimate | None = field(default=None, metadata=FLAT)
    change: Estimate | None = field(default=None, metadata=FLAT)
    change_p: float | None = None
    w: Estimate | None = field(default=None, metadata=FLAT)
    thoughts: int = 0
    disagreements: int = 0
    self_corrections: int = 0
    kl: float | None = None
    repetition: float | None = None
    verdict: str = ""
    followed: str = ""
    wrong_a: Share | None = field(default=None, metadata=FLAT)
    wrong_b: Share | None = field(default=None, metadata=FLAT)

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


@dataclass(frozen=True)
class _Measured:
    """The numbers of an arm, with p of each; not corrected for there being others. change: of D against "direct"."""

    found: Contest
    p: np.ndarray  # of A, of B, and of who is ahead
    change: Estimate | None = None
    change_p: float | None = None


@dataclass(frozen=True)
class _Crossed:
    """apart: by how much A's words before B's answer lean to A more than B's before A's, W's numerator; p: of that."""

    w: Estimate | None
    apart: Estimate
    p: float


@dataclass(frozen=True)
class _Said:
    """By arm the contest, and p of the change of D, after correction; p of W."""

    contests: dict[str, Contest]
    change_p: dict[str, float]
    crossed_p: float


class ThinkingSummary:
    """Makes results of what is known; an arm is measured once, as soon as all that it needs is known."""

    def __init__(
        self, model: SteerableModel, items: Items, a: Voice, b: Voice, request: ThinkingRequest, plan: ArmPlan
    ):
        self.items, self.a, self.b, self.request, self.plan = items, a, b, request, plan
        self.texts = [[thought_text(model, ids) for ids in plan.written(x)] for x in range(len(UNDER))]
        self.corrections = [[corrections(text) for text in texts] for texts in self.texts]
        self.arms: dict[str, ArmResult] = {}
        self.known: dict[str, _Measured] = {}
        self.direct = np.zeros((3, 0))  # changes in the direct arm
        self.crossed: _Crossed | None = None

    def _said(self) -> "_Said":
        """What is said of each arm that is known, after Holm: over both voices in all arms; over who is ahead in all of
        them, or whether words or vectors decide; and over the changes against the direct one.
        """
        arms = len(self.plan.arms)
        p = np.array([one.p for one in self.known.values()])
        voices = corrected_so_far(p[:, :2].ravel(), 2 * arms).reshape(-1, 2)
        crossed = [self.crossed.p] if self.crossed else []
        ahead = corrected_so_far([*p[:, 2], *crossed], arms + bool(self.plan.crossings))
        contests = {
            name: judge_contest(one.found, self.a, self.b, ContestPs(float(x), float(y), float(who)))
            for (name, one), (x, y), who in zip(self.known.items(), voices, ahead, strict=False)
        }
        changed = {name: one.change_p for name, one in self.known.items() if one.change_p is not None}
        corrected = dict(zip(changed, map(float, corrected_so_far(list(changed.values()), arms - 1)), strict=True))
        return _Said(contests, corrected, float(ahead[-1]))

    def result(self, scores: ThinkingScores, self_report: SelfReport | None = None) -> ThinkingResult:
        """As far as it is known. What is said of an arm is corrected for all arms, also those that are still to come,
        which can only make it surer.
        """
        for arm in self.plan.arms:
            # Every other arm is compared with the direct one, which is the first.
            comparable = arm is DIRECT or DIRECT.name in self.known
            if comparable and arm.name not in self.known and scores.has(arm.name):
                self.known[arm.name] = self._measure(arm, scores)
        if self.plan.crossings and not self.crossed and scores.has(CROSSED):
            self.crossed = self._cross(scores)
        if len(self.known) + bool(self.crossed) > len(self.arms):
            said = self._said()
            self.arms = {arm.name: self._arm(arm, scores, said) for arm in self.plan.arms if arm.name in self.known}
            if self.crossed:
                self.arms[CROSSED] = self._crossed(scores, said.crossed_p)
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

    def _measure(self, arm: ThinkingArm, scores: ThinkingScores) -> _Measured:
        m, kl = scores.of(arm)
        by = by_prompt(self.items, m)
        changes = by[1:] - by[0]
        before = self.direct = changes if arm is DIRECT else self.direct
        found = measured(self.items, self.a, self.b, m, kl)
        p = paired_p(np.stack([changes[0], changes[1], ahead_of(changes)]))
        if arm is DIRECT or not (found.dominance and self.known[DIRECT.name].found.dominance):
            return _Measured(found, p)
        (change_p,) = paired_p(product_apart(changes, before)[None])
        return _Measured(found, p, estimate(_dominance_less, *changes, *before), float(change_p))

    def _arm(self, arm: ThinkingArm, scores: ThinkingScores, said: "_Said") -> ArmResult:
        found, direct, one = said.contests[arm.name], said.contests[DIRECT.name], self.known[arm.name]
        few = too_few(found.prompts)  # then there are figures alone
        dominance = found.dominance if found.contest or few else None
        change = one.change if dominance and (direct.contest or few) else None
        change_p = said.change_p.get(arm.name) if change else None
        verdict = found.verdict
        if found.contest:
            follows = f"The model follows {found.followed}" if found.leads else "Neither voice is shown to be followed"
            verdict = f"{follows}: D = {dominance}"
            verdict += "." if arm is DIRECT else f"; {self._moved(change, change_p)}."
        both = scores.plan.cells(arm, BOTH)
        return ArmResult(
            name=arm.name,
            delta_a=found.delta_a,
            delta_b=found.delta_b,
            delta_ab=found.delta_ab,
            dominance=dominance,
            followed=found.followed,
            additive=found.additive if dominance else None,
            interaction=found.interaction,
            change=change,
            change_p=change_p,
            kl=found.kl[2],
            verdict=verdict,
            wrong_a=found.anti_steerable_a.share if found.anti_steerable_a else None,
            wrong_b=found.anti_steerable_b.share if found.anti_steerable_b else None,
            **(self._counts(scores, {arm.writer: both}) if arm.has_thoughts else {}),
        )

    def _cross(self, scores: ThinkingScores) -> _Crossed:
        cells = [self.plan.crossed(*crossing) for crossing in self.plan.crossings]
        ab, ba, aa, bb = by_prompt(self.items, np.stack([scores.by_item(row)[0] for row in cells]))
        apart = mean_of(aa - bb)
        w = estimate(_words_over_vector, ab, ba, aa, bb) if apart.is_clear and apart.value > 0 else None
        return _Crossed(w, mean_of(ab - ba), float(paired_p((ab - ba)[None])[0]))

    def _crossed(self, scores: ThinkingScores, p: float) -> ArmResult:
        assert self.crossed, "it is known"
        w, few = self.crossed.w, too_few(len(set(self.items.prompts)))
        if few:
            verdict = f"{few}."
        elif w is None:
            verdict = (
                f"Words and answer under {self.a.name} cannot be told from both under {self.b.name}, so there is no W."
            )
        elif p <= LEVEL and self.crossed.apart.is_clear:
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

    def _moved(self, change: Estimate | None, p: float | None) -> str:
        if not change or p is None:
            return "without a thought there is no contest to compare it with"
        if p > LEVEL or not change.is_clear:
            return f"no change against direct is shown ({change}; p = {p:.2g} after correction)"
        return f"towards {self.a.name if change.value > 0 else self.b.name} against direct ({change}; p = {p:.2g})"


def product_apart(changes: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Numbers [prompts] whose mean is 0 where D of two arms is the same, from changes [3, prompts] in each, without a
    quotient: with D = x / u and y / v, x·v - y·u by its linear part in the means.
    """
    (x, y), (u, v) = ((of(changes), of(before)) for of in (ahead_of, lambda one: one[0] - one[1]))
    return x * v.mean() + x.mean() * v - y * u.mean() - y.mean() * u - x.mean() * v.mean() + y.mean() * u.mean()


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
        return f"Without a thought there is nothing that thinking could settle. {direct.verdict}"
    before = f"Without a thought {_follows(direct)} (D = {direct.dominance})"
    if not (steered.dominance and steered.change):
        return f"{before}; with one no contest is shown. {steered.verdict}"
    after = f"{before}, with one {_follows(steered)} (D = {steered.dominance})"
    change = steered.change
    if not _is_told(steered):
        excluded = ""
        if change.has_interval:
            excluded = f" What can be excluded is a change of D beyond {change.low:+.2f} to {change.high:+.2f}."
        return f"No change by thinking is shown ({change.value:+.2f}).{excluded} {after}."
    said = f"Thinking moves it towards {a if change.value > 0 else b} ({change}). {after}."
    if filler.change and _is_told(filler):
        way = "the same way" if filler.change.value * change.value > 0 else "the other way"
        return f"{said} Filler of the same length moves it {way} ({filler.change})."
    return f"{said} Of filler of the same length that is not shown ({filler.change or 'no contest'})."


def _follows(arm: ArmResult) -> str:
    return "neither voice is shown to be followed" if arm.followed == "neither" else f"the model follows {arm.followed}"


def _is_told(arm: ArmResult) -> bool:
    """Whether its D is told from that of the direct one, after correction."""
    return bool(arm.change and arm.change.is_clear and arm.change_p is not None and arm.change_p <= LEVEL)
