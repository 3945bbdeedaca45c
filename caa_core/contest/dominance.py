"""Which of two voices does a model follow, by how much likelier they make answers of each to the same prompts.

m = log p(A's answer) - log p(B's answer), in nats a token, over both letter orders for questions with letters.
Δ_X = m under X less m of the unsteered model, for X = A alone, B alone, both. Then, of means over prompts:
dominance D = (2 Δ_both - Δ_A - Δ_B) / (Δ_A - Δ_B): +1 both do what A alone does, -1 what B alone does;
additive expectation D₀ = (Δ_A + Δ_B) / (Δ_A - Δ_B); interaction I = Δ_both - (Δ_A + Δ_B).
Prompts are what the bootstrap draws; all that belongs to a prompt moves together.

Three things are said, each only where the one before was: both voices speak (:mod:`caa_core.contest.speaking`), so
there is a contest; D is told from 0, so one of them is followed; I lies beyond what second voices of the same cosine
come to, so it is not what adding the two predicts.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from caa_core.contest.decomposition import CANCELS
from caa_core.contest.speaking import PROMPTS, UNRANKED, Ranked, VoiceGrade, by_controls, by_prompts
from caa_core.contest.voice import Voice
from caa_core.measuring.requests import FEWEST
from caa_core.measuring.vector_controls import FirstOrder
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.metrics.correction import holm, paired_p
from caa_core.metrics.cross_fitting import LEVEL, UNDECIDED, too_few, two_sided
from caa_core.metrics.estimates import Estimate, estimate, mean_of, means_of
from caa_core.metrics.estimates import by_prompt as means_by_prompt
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import FLAT, SHARED, plain, restored
from caa_core.steering.sampling import REPEATS

# Why there is none, by which way each voice by itself is shown to move the answers.
NO_CONTEST = {
    (1, 1): "{a} and {b} cannot be told apart",
    (0, 0): "neither {a} nor {b} is shown to move the answers its own way",
    (1, 0): "only {a} is shown to move the answers its own way",
    (0, 1): "only {b} is shown to move the answers its own way",
    (1, -1): "both voices push the answers towards {a}",
    (-1, 1): "both voices push the answers towards {b}",
    (-1, 0): "{a} pushes the answers the wrong way",
    (0, -1): "{b} pushes the answers the wrong way",
    (-1, -1): "both voices push the answers the wrong way",
}

# Of a voice whose size outgrows its estimate.
OUTGROWN = (
    "Whether {name} does more than chance is open: it does more than was estimated, and vectors that should do nothing "
    "were only estimated."
)


@dataclass(frozen=True)
class Alone:
    """How far other vectors of a voice's norm move m at its layer and multiplier, to first order: what 95% of them lie
    within, of `count` drawn at random and as many made from `shuffled_from` with labels exchanged; of those there are
    none where the voice's own pairs are not known. What was kept before is the least and the most of exact changes.
    """

    random: tuple[float, float]
    shuffled: tuple[float, float] | None
    count: int
    shuffled_from: str

    @classmethod
    def of(cls, voice: Voice, found: FirstOrder | str | None) -> "Alone | None":
        """By a voice's controls; None without any."""
        if not isinstance(found, FirstOrder):
            return None
        random, *shuffled = (np.percentile(kind * voice.steer.multiplier, [2.5, 97.5]) for kind in found.kinds)
        beside = (float(shuffled[0][0]), float(shuffled[0][1])) if shuffled else None
        name = voice.pairs.name if beside and voice.pairs else ""
        return cls((float(random[0]), float(random[1])), beside, len(found.random), name)


@dataclass(frozen=True)
class Apart:
    """What a voice does without what both vectors share: its change of m, and what it costs, KL in nats."""

    change: Estimate = field(metadata=FLAT)
    kl: float


@dataclass(frozen=True)
class ContestPs:
    """Two-sided p of what is said of a contest, corrected for all that is said beside it: A moves the answers, B does,
    and under both one of them is ahead; None where that is no list, and the interval tells.
    """

    a: float
    b: float
    ahead: float | None = None


@dataclass(frozen=True)
class Contest:
    """What two voices do to the same prompts, alone and together; see the module's words.

    contest: whether each voice alone pushes its own way. dominance: None where Δ_A - Δ_B cannot be told from 0, or the
    voices cancel. controls: the least and the most interaction of `control_count` second voices drawn at random with
    B's norm and B's cosine to A; None where none were measured. interaction_p: two-sided, of I among them. alone_a,
    alone_b: the controls of each voice by itself. voice_a, voice_b: whether each speaks; None in what was kept before.
    ahead: 2 Δ_both - Δ_A - Δ_B, by which D tells who is followed: a mean over prompts, whose interval holds its level
    on ties, where that of a ratio does not; ahead_p: p of it, where the contest is one of a list, corrected. self_test:
    the largest change of m under a voice's vector and its opposite at once, which has to be 0. kl: KL(unsteered ‖ X) in
    nats for A, B and both; None where X is a system prompt or a prefill. repetition: of answers written unsteered,
    under A, B and both (see `sampling.repetition`). rows: m of each item under each of them. anti_steerable_a,
    anti_steerable_b: the prompts that each voice alone pushes the other's way; None in what was kept before. cancels:
    whether next to nothing is left of the two vectors' sum. apart_a, apart_b: what sets them apart, each by itself.
    """

    a: str
    b: str
    items: int
    prompts: int
    delta_a: Estimate = field(metadata=FLAT)
    delta_b: Estimate = field(metadata=FLAT)
    delta_ab: Estimate = field(metadata=FLAT)
    dominance: Estimate | None = field(metadata=SHARED)
    additive: float | None
    interaction: Estimate = field(metadata=FLAT)
    controls: tuple[float, float] | None
    control_count: int
    kl: tuple[float | None, float | None, float | None]
    contest: bool
    verdict: str
    rows: tuple[dict[str, Any], ...]
    alone_a: Alone | None = None
    alone_b: Alone | None = None
    self_test: float | None = None
    repetition: tuple[float, ...] | None = None
    ahead: Estimate | None = field(default=None, metadata=FLAT)
    ahead_p: float | None = None
    voice_a: VoiceGrade | None = None
    voice_b: VoiceGrade | None = None
    interaction_p: float | None = None
    anti_steerable_a: AntiSteerable | None = None
    anti_steerable_b: AntiSteerable | None = None
    cancels: bool = False
    apart_a: Apart | None = None
    apart_b: Apart | None = None

    @property
    def headline(self) -> str:
        """The verdict in one sentence, for somebody who has read nothing else."""
        a, b = self.a, self.b
        if self.cancels:
            return f"No contest: {a} and {b} cancel, and next to nothing is left of the two."
        if few := too_few(self.prompts):
            return f"{few}."
        if self.leads:
            return f"The model follows {self.followed} when both voices speak at once."
        if self.contest:
            return f"Not decided: when both voices speak at once, neither {a} nor {b} is shown to win."
        said = "Not decided" if self.is_undecided else "No contest"
        return f"{said}: {NO_CONTEST[self.ways].format(a=a, b=b)}."

    @property
    def is_undecided(self) -> bool:
        """Whether it is not decided of a voice by itself if it moves the answers."""
        return bool(self.undecided_because)

    @property
    def undecided_because(self) -> str:
        """Why it is not, for the first voice of which that is so; empty where all is decided."""
        for name, voice in ((self.a, self.voice_a), (self.b, self.voice_b)):
            if voice and not voice.way and voice.grade == UNDECIDED:
                return OUTGROWN.format(name=name) if (voice.p or 0) > LEVEL else f"{name}: {voice.why}."
        return ""

    @property
    def is_repeating(self) -> bool:
        """Whether what was written under both says the same again and again, and unsteered did not."""
        return self.repetition is not None and self.repetition[3] >= REPEATS > self.repetition[0]

    @property
    def ways(self) -> tuple[int, int]:
        """Which way each voice by itself is shown to move the answers, as `VoiceGrade.way`."""
        return (self.voice_a.way if self.voice_a else 0, self.voice_b.way if self.voice_b else 0)

    @property
    def more_than_added(self) -> bool:
        """Whether both do what adding them does not explain: one of them is followed, and I is told from 0 and from
        what enough second voices come to.
        """
        p = self.interaction_p if self.leads and self.control_count >= FEWEST else None
        return p is not None and p <= LEVEL and self.interaction.is_clear

    @property
    def leads(self) -> int:
        """1 where the model follows A under both, -1 where B, 0 where neither, or where there is no contest."""
        ahead = self.ahead or self.dominance  # what was kept before has the ratio alone
        if not (self.contest and ahead):
            return 0
        told = ahead.is_clear and (self.ahead_p is None or self.ahead_p <= LEVEL)
        return 0 if not told else 1 if ahead.value > 0 else -1

    @property
    def followed(self) -> str:
        """The voice that the model follows under both, or "neither"; empty without a contest."""
        return {1: self.a, 0: "neither", -1: self.b}[self.leads] if self.contest else ""

    def summary(self) -> dict[str, Any]:
        """As plain data, under the names that the command line prints; `low` and `high` are those of the dominance."""
        return {**plain(self), "more_than_added": self.more_than_added}

    @classmethod
    def of(cls, summary: dict[str, Any]) -> "Contest":
        """What `summary` was made of. Raises InputError for anything else."""
        return restored(cls, summary, "The contest that was")


def conclude(items: Items, a: Voice, b: Voice, m: np.ndarray, kl: np.ndarray, ranked: Ranked = UNRANKED) -> Contest:
    """What m and KL, [4, items] each, unsteered, under A, under B and under both, say of two voices; see `Contest`.

    ranked: what the controls of each voice do. Two voices without any are corrected for being two.
    """
    by = by_prompt(items, m)
    p = paired_p(by[1:3] - by[0])
    p_a, p_b = map(float, holm(p) if ranked == UNRANKED else p)
    return judge_contest(measured(items, a, b, m, kl), a, b, ContestPs(p_a, p_b), ranked)


def measured(items: Items, a: Voice, b: Voice, m: np.ndarray, kl: np.ndarray) -> Contest:
    """The numbers of a contest, as `conclude` takes them, of which nothing is said yet."""
    by = by_prompt(items, m)
    changes = by[1:] - by[0]
    delta_a, delta_b, delta_ab = means_of(changes)
    apart = mean_of(changes[0] - changes[1])
    cancels = _cancels(a, b)
    told = apart.is_clear and apart.value > 0 and not cancels
    kl_a, kl_b, kl_ab = (float(nats) if math.isfinite(nats) else None for nats in kl[1:4].mean(1))
    return Contest(
        a=a.name,
        b=b.name,
        items=len(items.pairs),
        prompts=by.shape[1],
        delta_a=delta_a,
        delta_b=delta_b,
        delta_ab=delta_ab,
        dominance=estimate(dominance_of, *changes) if told else None,
        additive=(delta_a.value + delta_b.value) / apart.value if told else None,
        interaction=mean_of(interactions_of(changes)),
        controls=None,
        control_count=0,
        kl=(kl_a, kl_b, kl_ab),
        contest=False,
        verdict="",
        rows=_rows(items, m),
        ahead=mean_of(ahead_of(changes)),
        anti_steerable_a=AntiSteerable.of(changes[0], range(by.shape[1])),
        anti_steerable_b=AntiSteerable.of(-changes[1], range(by.shape[1])),
        cancels=cancels,
    )


def judge_contest(found: Contest, a: Voice, b: Voice, p: ContestPs, ranked: Ranked = UNRANKED) -> Contest:
    """A contest with its verdict.

    Args:
        p: corrected for all that is said beside it; of a voice with controls they say, and not this.
        ranked: what the controls of each voice do.
    """
    if few := too_few(found.prompts):
        grades = [VoiceGrade("", 0, PROMPTS, why=few)] * 2
    else:
        grades = [
            by_prompts(change, by_mean, own)
            if beside is None
            else by_controls(beside, change, voice.steer.multiplier, own)
            for voice, own, change, by_mean, beside in zip(
                (a, b), (1, -1), (found.delta_a, found.delta_b), (p.a, p.b), ranked, strict=True
            )
        ]
    found = replace(
        found,
        contest=found.dominance is not None and all(grade.way > 0 for grade in grades),
        alone_a=Alone.of(a, ranked[0]),
        alone_b=Alone.of(b, ranked[1]),
        ahead_p=p.ahead,
        voice_a=grades[0],
        voice_b=grades[1],
        anti_steerable_a=_wrong_beside(found.anti_steerable_a, a, ranked[0], 1),
        anti_steerable_b=_wrong_beside(found.anti_steerable_b, b, ranked[1], -1),
    )
    return replace(found, verdict=_in_words(found))


def _wrong_beside(
    found: AntiSteerable | None, voice: Voice, beside: FirstOrder | str | None, own: int
) -> AntiSteerable | None:
    """The prompts that a voice pushes the wrong way beside those that its controls do, where it has any."""
    if found is None or not isinstance(beside, FirstOrder):
        return found
    return found.beside(beside.wrong, own * int(np.sign(voice.steer.multiplier)))


def beside_second_voices(found: Contest, interactions: np.ndarray) -> Contest:
    """The contest with the interactions of second voices of the same cosine, [second voices], by exact passes."""
    p, _ = two_sided(np.asarray(found.interaction.value), [interactions])
    found = replace(
        found,
        controls=(float(interactions.min()), float(interactions.max())),
        control_count=len(interactions),
        interaction_p=float(p),
    )
    return replace(found, verdict=_in_words(found))


def apart_of(items: Items, m: np.ndarray, kl: np.ndarray) -> list[Apart]:
    """What voices do by themselves, by m, [1 + voices, items], unsteered and under each, and KL, [voices, items]."""
    unsteered, *others = by_prompt(items, m)
    return [Apart(mean_of(one - unsteered), float(cost.mean())) for one, cost in zip(others, kl, strict=True)]


def ahead_of(changes: np.ndarray) -> np.ndarray:
    """2 Δ_both - Δ_A - Δ_B of each prompt, from changes [3, prompts]."""
    return 2 * changes[2] - changes[0] - changes[1]


def interactions_of(changes: np.ndarray) -> np.ndarray:
    """I of each prompt, from changes [3, prompts]."""
    return changes[2] - changes[0] - changes[1]


def by_prompt(items: Items, m: np.ndarray) -> np.ndarray:
    """[voices, prompts]: the mean over the items of each prompt."""
    return means_by_prompt(m, items.prompts)


def dominance_of(a: np.ndarray, b: np.ndarray, both: np.ndarray) -> np.ndarray:
    """D of mean changes under A, B and both."""
    return (2 * both - a - b) / (a - b)


def _cancels(a: Voice, b: Voice) -> bool:
    """Whether next to nothing is left of the two at one layer, and nobody is told anything."""
    steers = a.steers + b.steers
    if a.system or b.system or len({steer.layer for steer in steers}) != 1 or not (a.adds and b.adds):
        return False
    parts = torch.stack([steer.multiplier * steer.vector.double() for steer in steers])
    return bool(parts.sum(0).norm() < CANCELS * parts.norm(dim=1).sum())


def _rows(items: Items, m: np.ndarray) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "prompt": pair.prompt,
            "a": pair.positive,
            "b": pair.negative,
            **{name: float(m[run, i]) for run, name in enumerate(("unsteered", "with_a", "with_b", "with_both"))},
        }
        for i, pair in enumerate(items.pairs)
    )


def _in_words(found: Contest) -> str:
    """The headline; what it means and why, in numbers."""
    if found.cancels or too_few(found.prompts):
        return found.headline
    if not found.contest or not found.dominance:
        return f"{found.headline} {_of_voices(found)}"
    if not found.leads:
        said = "Each alone moves the answers its own way; of both at once it cannot be told which is ahead."
    else:
        other = found.b if found.leads > 0 else found.a
        said = f"Its answers then move as {found.followed} alone moves them, rather than as {other} does."
    said = f"{found.headline} {said} D = {found.dominance:.2f}; adding the two predicts {found.additive:.2f}."
    return " ".join(filter(None, [said, _beyond(found), _without_controls(found)]))


def _beyond(found: Contest) -> str:
    """Whether it is what adding the two predicts, which is asked only where one of them is followed."""
    if not found.leads:
        return ""
    interaction = f"I = {found.interaction}"
    if found.interaction_p is None or not found.controls:
        return f"Whether that is more than a sum is not judged, which takes second voices ({interaction})."
    beside = (
        f"{found.control_count} second voices of the same cosine come to {_range(found.controls)}, "
        f"p = {found.interaction_p:.3g}"
    )
    if found.control_count < FEWEST:
        return f"Whether that is more than a sum is not judged, which takes {FEWEST} ({interaction}; {beside})."
    if found.more_than_added:
        return f"That is not what adding them predicts ({interaction}; {beside})."
    return f"Nothing is shown beyond what adding them predicts ({interaction}; {beside})."


def _without_controls(found: Contest) -> str:
    """What was not held against vectors that should do nothing."""
    judged = ((found.a, found.voice_a), (found.b, found.voice_b))
    bare = [name for name, grade in judged if grade and grade.by == PROMPTS]
    if not bare:
        return ""
    are = "is" if len(bare) == 1 else "are"
    return f"{' and '.join(bare)} {are} judged without controls: by intervals over prompts alone."


def _of_voices(found: Contest) -> str:
    """What each does by itself, and both do."""
    assert found.voice_a and found.voice_b, "they were judged"
    added = found.delta_a.value + found.delta_b.value
    alone_a = _of_voice(found.a, found.delta_a, found.voice_a, found.alone_a)
    alone_b = _of_voice(found.b, found.delta_b, found.voice_b, found.alone_b)
    return f"{alone_a} {alone_b} Together they come to {found.delta_ab}, where adding them predicts {added:+.2f}."


def _of_voice(name: str, change: Estimate, grade: VoiceGrade, alone: Alone | None) -> str:
    """What a voice does by itself, and what that was held against."""
    text = _moves(name, change, grade, alone)
    if grade.grade == UNDECIDED:
        return f"{text} Whether {name} moves them is not decided: {grade.why.rstrip('.')}."
    return f"{text} It is not judged: {grade.why}." if grade.why else text


def _moves(name: str, change: Estimate, grade: VoiceGrade, alone: Alone | None) -> str:
    """Its change beside what it was held against."""
    if grade.by == PROMPTS:
        return f"Δ of {name} is {change}, judged without controls (p = {grade.p:.3g})."
    if not alone or grade.estimate is None:
        return f"Δ of {name} is {change}."
    first, random, p = f"{grade.estimate:+.2f}", _range(alone.random), f"{grade.p:.3g}"
    if not alone.shuffled:
        return (
            f"Δ of {name} is {change}, to first order {first}; of {alone.count} vectors at random 95% lie within "
            f"{random} (p = {p})."
        )
    return (
        f"Δ of {name} is {change}, to first order {first}; of {alone.count} vectors at random 95% lie within "
        f"{random}, of as many from shuffled labels within {_range(alone.shuffled)} (p = {p})."
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}"
