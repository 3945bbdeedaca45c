"""Which of two voices does a model follow, by how much likelier they make answers of each to the same prompts.

m = log p(A's answer) - log p(B's answer), in nats a token, over both letter orders for questions with letters.
Δ_X = m under X less m of the unsteered model, for X = A alone, B alone, both. Then, of means over prompts:
dominance D = (2 Δ_both - Δ_A - Δ_B) / (Δ_A - Δ_B): +1 both do what A alone does, -1 what B alone does;
additive expectation D₀ = (Δ_A + Δ_B) / (Δ_A - Δ_B); interaction I = Δ_both - (Δ_A + Δ_B).
Prompts are what the bootstrap draws; all that belongs to a prompt moves together.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from caa_core.contest.decomposition import CANCELS
from caa_core.contest.voice import Voice
from caa_core.metrics.cross_fitting import too_few
from caa_core.metrics.estimates import Estimate, estimate, mean_of, means_of
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import FLAT, SHARED, plain, restored


@dataclass(frozen=True)
class Alone:
    """How far other vectors of a voice's norm move m at its layer and multiplier: the least and the most, and no change
    always lies between. `count` are drawn at random, as many made from `shuffled_from` with labels exchanged; of those
    there are none where the voice's own pairs are not known.
    """

    random: tuple[float, float]
    shuffled: tuple[float, float] | None
    count: int
    shuffled_from: str

    def reaches(self, change: float) -> bool:
        """Whether some of them move m as far, and the same way."""
        return any(low <= change <= high for low, high in filter(None, (self.random, self.shuffled)))


@dataclass(frozen=True)
class ContestControls:
    """What voices that say nothing do, to judge a contest by; see `Contest`, where they are under the same names."""

    controls: tuple[float, float] | None = None
    control_count: int = 0
    alone_a: Alone | None = None
    alone_b: Alone | None = None


@dataclass(frozen=True)
class Contest:
    """What two voices do to the same prompts, alone and together; see the module's words.

    contest: whether each voice alone pushes its own way, and further than its own controls where it has any. dominance:
    None where Δ_A - Δ_B cannot be told from 0, or the voices cancel. controls: the least and the most interaction of
    `control_count` second voices drawn at random with B's norm and B's cosine to A; None without any. alone_a, alone_b:
    the controls of each voice by itself. self_test: the largest change of m under a voice's vector and its opposite at
    once, which has to be 0. kl: KL(unsteered ‖ X) in nats for A, B and both; None where X is a system prompt or a
    prefill. repetition: of answers written unsteered, under A, B and both (see `sampling.repetition`). rows: m of each
    item under each of them. ahead: 2 Δ_both - Δ_A - Δ_B, by which D tells who is followed: a mean over prompts, whose
    interval holds its level on ties, where that of a ratio does not.
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

    @property
    def more_than_added(self) -> bool:
        """Whether both do what adding them does not explain: I is clear of 0 and outside its controls."""
        outside = self.controls and not self.controls[0] <= self.interaction.value <= self.controls[1]
        return bool(self.interaction.is_clear and outside)

    @property
    def followed(self) -> str:
        """The voice that the model follows under both, or "neither"."""
        ahead = self.ahead or self.dominance  # what was kept before has the ratio alone
        return "neither" if not (ahead and ahead.is_clear) else self.a if ahead.value > 0 else self.b

    def summary(self) -> dict[str, Any]:
        """As plain data, under the names that the command line prints; `low` and `high` are those of the dominance."""
        return {**plain(self), "more_than_added": self.more_than_added}

    @classmethod
    def of(cls, summary: dict[str, Any]) -> "Contest":
        """What `summary` was made of. Raises InputError for anything else."""
        return restored(cls, summary, "The contest that was")


def conclude(
    items: Items,
    a: Voice,
    b: Voice,
    m: np.ndarray,
    kl: np.ndarray,
    controls: ContestControls = ContestControls(),
) -> Contest:
    """What m and KL, [4, items] each, unsteered, under A, under B and under both, say of two voices; see `Contest`."""
    by = by_prompt(items, m)
    changes = by[1:] - by[0]
    cancels = _cancels(a, b)
    delta_a, delta_b, delta_ab = means_of(changes)
    apart = mean_of(changes[0] - changes[1])
    dominance = estimate(dominance_of, *changes) if apart.is_clear and apart.value > 0 and not cancels else None
    kl_a, kl_b, kl_ab = (float(nats) if math.isfinite(nats) else None for nats in kl[1:4].mean(1))
    found = Contest(
        a=a.name,
        b=b.name,
        items=len(items.pairs),
        prompts=by.shape[1],
        delta_a=delta_a,
        delta_b=delta_b,
        delta_ab=delta_ab,
        dominance=dominance,
        additive=(delta_a.value + delta_b.value) / apart.value if dominance else None,
        interaction=mean_of(changes[2] - changes[0] - changes[1]),
        kl=(kl_a, kl_b, kl_ab),
        contest=False,
        verdict="",
        rows=_rows(items, m),
        ahead=mean_of(2 * changes[2] - changes[0] - changes[1]),
        **vars(controls),
    )
    found = replace(found, contest=dominance is not None and _ways(found) == (1, 1))
    return replace(found, verdict=_in_words(found, cancels))


def by_prompt(items: Items, m: np.ndarray) -> np.ndarray:
    """[voices, prompts]: the mean over the items of each prompt."""
    of = np.array(items.prompts)
    return np.stack([m[:, of == number].mean(1) for number in dict.fromkeys(items.prompts)], axis=1)


def dominance_of(a: np.ndarray, b: np.ndarray, both: np.ndarray) -> np.ndarray:
    """D of mean changes under A, B and both."""
    return (2 * both - a - b) / (a - b)


def _cancels(a: Voice, b: Voice) -> bool:
    """Whether next to nothing is left of the two at one layer, and nobody is told anything."""
    steers = a.steers + b.steers
    if a.system or b.system or len({steer.layer for steer in steers}) != 1:
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


def _in_words(found: Contest, cancels: bool) -> str:
    if cancels:
        return f"{found.a} and {found.b} cancel: next to nothing is left of their sum, so there is no contest."
    if few := too_few(found.prompts):
        return f"{few}."
    if not found.contest or not found.dominance:
        return _no_contest(found)
    return (
        f"The model follows {found.followed}: D = {found.dominance:.2f}, {_beyond(found)} adding them "
        f"predicts (D₀ = {found.additive:.2f}; {_interaction(found)})."
    )


def _beyond(found: Contest) -> str:
    if found.more_than_added:
        return "not what"
    unexplained = found.interaction.is_clear and not found.controls
    return "perhaps not what" if unexplained else "no more than"


def _interaction(found: Contest) -> str:
    text = f"I = {found.interaction}"
    if not found.controls:
        return f"{text}, without controls"
    return f"{text}; {found.control_count} second voices of the same cosine: {_range(found.controls)}"


def _ways(found: Contest) -> tuple[int, int]:
    """Of each voice: it pushes its own way (1), the wrong way (-1), or does nothing that its controls do not (0)."""
    way_a, way_b = (
        0 if not change.is_clear or (alone and alone.reaches(change.value)) else int(np.sign(own * change.value))
        for own, change, alone in ((1, found.delta_a, found.alone_a), (-1, found.delta_b, found.alone_b))
    )
    return way_a, way_b


def _no_contest(found: Contest) -> str:
    """Why it is none."""
    said = {
        (1, 1): "The two cannot be told apart",
        (0, 0): "Neither speaks",
        (1, 0): f"Only {found.a} speaks",
        (0, 1): f"Only {found.b} speaks",
        (1, -1): f"Both push the same way, towards {found.a}",
        (-1, 1): f"Both push the same way, towards {found.b}",
        (-1, 0): f"{found.a} pushes the wrong way",
        (0, -1): f"{found.b} pushes the wrong way",
        (-1, -1): "Both push the wrong way",
    }[_ways(found)]
    text = f"{said}, so there is no contest: Δ of {found.a} is {found.delta_a}, of {found.b} {found.delta_b}."
    added = found.delta_a.value + found.delta_b.value
    text += f" Together they come to {found.delta_ab}, where adding them predicts {added:+.2f}."
    for name, change, alone in ((found.a, found.delta_a, found.alone_a), (found.b, found.delta_b, found.alone_b)):
        if alone and change.is_clear and alone.reaches(change.value):
            text += (
                f" Vectors of the norm of {name} that say nothing move the answers as far: {_range(alone.random)} at "
                f"random, {_range(alone.shuffled) if alone.shuffled else 'none'} from shuffled labels."
            )
    return text


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}"
