"""Which of two voices does a model follow? Measured by answers of each to the same prompts.

m = log p(A's answer) - log p(B's answer), in nats a token, over both letter orders for questions with letters.
Δ_X = m under X less m of the unsteered model, for X = A alone, B alone, both. Then, of means over prompts:
dominance D = (2 Δ_both - Δ_A - Δ_B) / (Δ_A - Δ_B): +1 both do what A alone does, -1 what B alone does;
additive expectation D₀ = (Δ_A + Δ_B) / (Δ_A - Δ_B); interaction I = Δ_both - (Δ_A + Δ_B).
Prompts are what the bootstrap draws; all that belongs to a prompt moves together.

A voice is a vector, a system prompt, or words: the beginning of the answer, which stands there as the assistant's own.
Steered positions are counted by the prompt, so a vector against words is added where the words are read, too.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from caa_core.contest.decomposition import CANCELS
from caa_core.contest.voice import Voice
from caa_core.data.pairs import Dataset
from caa_core.data.presets import pairs_behind
from caa_core.errors import InputError
from caa_core.metrics.controls import random_controls, shuffled_controls
from caa_core.metrics.estimates import FEWEST_PROMPTS, Estimate, estimate, reach
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue, render, with_prefill
from caa_core.progress import Progress, showing
from caa_core.steering.activations import ReadPosition
from caa_core.steering.generation import BatchRow, Decoding, generate
from caa_core.steering.interventions import Steer
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score
from caa_core.vectors.extraction import AUTOMATIC

CONTROLS = 20

# Answers that are written to see how far they repeat themselves: tokens of each, and prompts at most.
WRITTEN_TOKENS = 32

WRITTEN_PROMPTS = 16


@dataclass(frozen=True)
class Alone:
    """How far other vectors of a voice's norm move m at its layer and multiplier: the least and the most, and no change
    always lies between. `count` are drawn at random, as many made from `shuffled_from` with labels exchanged.
    """

    random: tuple[float, float]
    shuffled: tuple[float, float]
    count: int
    shuffled_from: str

    def reaches(self, change: float) -> bool:
        """Whether some of them move m as far, and the same way."""
        return any(low <= change <= high for low, high in (self.random, self.shuffled))


@dataclass(frozen=True)
class Contest:
    """What two voices do to the same prompts, alone and together; see the module's words.

    contest: whether each voice alone pushes its own way, and further than its own controls where it has any. dominance:
    None where Δ_A - Δ_B cannot be told from 0, or the voices cancel. controls: the least and the most interaction of
    `control_count` second voices drawn at random with B's norm and B's cosine to A; None without any. alone_a, alone_b:
    the controls of each voice by itself. self_test: the largest change of m under a voice's vector and its opposite at
    once, which has to be 0. kl: KL(unsteered ‖ X) in nats for A, B and both. repetition: of answers written unsteered,
    under A, B and both (see `evaluation.repetition`). rows: m of each item under each of them.
    """

    a: str
    b: str
    items: int
    prompts: int
    delta_a: Estimate
    delta_b: Estimate
    delta_ab: Estimate
    dominance: Estimate | None
    additive: float | None
    interaction: Estimate
    controls: tuple[float, float] | None
    control_count: int
    kl: tuple[float, float, float]
    contest: bool
    verdict: str
    rows: tuple[dict[str, Any], ...]
    alone_a: Alone | None = None
    alone_b: Alone | None = None
    self_test: float | None = None
    repetition: tuple[float, float, float, float] | None = None

    @property
    def more_than_added(self) -> bool:
        """Whether both do what adding them does not explain: I is clear of 0 and outside its controls."""
        outside = self.controls and not self.controls[0] <= self.interaction.value <= self.controls[1]
        return bool(self.interaction.is_clear and outside)

    def summary(self) -> dict[str, Any]:
        """As plain data, under the names that the command line prints; `low` and `high` are those of the dominance."""
        found = asdict(self) | {"low": None, "high": None, "more_than_added": self.more_than_added}
        found["kl"] = [kl if math.isfinite(kl) else None for kl in self.kl]
        for name in ESTIMATES:
            if estimate := getattr(self, name):
                prefix = "" if name == "dominance" else f"{name}_"
                found |= {name: estimate.value, f"{prefix}low": estimate.low, f"{prefix}high": estimate.high}
        return found

    @classmethod
    def of(cls, summary: dict[str, Any]) -> "Contest":
        """What `summary` was made of. Raises InputError for anything else."""
        try:
            parts = {part: summary[part] for part in cls.__dataclass_fields__}
            for name in ESTIMATES:
                prefix = "" if name == "dominance" else f"{name}_"
                ends = parts[name], summary[f"{prefix}low"], summary[f"{prefix}high"]
                parts[name] = None if parts[name] is None else Estimate(*map(float, ends))
            for name in ("alone_a", "alone_b"):
                parts[name] = parts[name] and Alone(**parts[name])
            parts["kl"] = tuple(math.nan if kl is None else float(kl) for kl in parts["kl"])
            return cls(**parts)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError("The contest that was kept cannot be read.") from error


ESTIMATES = ("delta_a", "delta_b", "delta_ab", "interaction", "dominance")


def compete(
    model: SteerableModel,
    items: Items,
    a: Voice,
    b: Voice,
    controls: int = CONTROLS,
    seed: int = 0,
    system: str = "",
    written: int = 0,
) -> Generator[Progress, None, Contest]:
    """Measure a contest. The items' matching answers are A's, the others B's. Yields `Progress`.

    Args:
        controls: how many of each kind: same-cosine second voices where each voice is one vector, and for a voice
            whose `vector` is known random vectors and vectors from shuffled labels.
        system: what the model is told by nobody's voice; it is there in the unsteered run too.
        written: tokens of the answers that are written to see how they repeat themselves; 0 for none.

    Raises:
        InputError: a prompt that is too long with what the model is told.
    """
    drawn = same_cosine(a.steer, b.steer, controls, seed) if len(a.steers) == len(b.steers) == 1 else []
    others = [Voice(f"control {i}", (steer,)) for i, steer in enumerate(drawn, 1)]
    alone_a = yield from _drawn_alone(model, items, a, controls, seed)
    alone_b = yield from _drawn_alone(model, items, b, controls, seed)
    groups = [
        [Voice("unsteered"), a, b, a.beside(b)],
        [Voice("self-test", (steer, _opposite(steer))) for steer in a.steers + b.steers],
        others,
        [a.beside(other) for other in others],
        *alone_a.groups,
        *alone_b.groups,
    ]
    m, kl = yield from measure_voices(model, items, list(chain(*groups)), system)
    parts = np.split(m, np.cumsum([len(group) for group in groups])[:-1])
    # How far each voice moves m, by group: what the means over prompts of two voices differ in.
    moved = [by_prompt(items, part).mean(1) - by_prompt(items, m[:1]).mean() for part in parts]
    beyond = moved[3] - moved[2] - moved[0][1]
    ranges = (float(beyond.min()), float(beyond.max())) if len(beyond) else None
    alone = alone_a.measured(*moved[4:6]), alone_b.measured(*moved[6:8])
    return replace(
        conclude(items, a, b, parts[0], kl[:4], ranges, len(beyond), *alone),
        self_test=float(np.abs(parts[1] - m[0]).max()) if parts[1].size else None,
        repetition=(yield from _repetition(model, items, groups[0], system, written)) if written else None,
    )


def same_cosine(a: Steer, b: Steer, count: int, seed: int = 0) -> list[Steer]:
    """Second voices that are as `b` to `a` in everything but their own direction: norm, cosine, layer, multiplier."""
    v, w = a.vector.double(), b.vector.double()
    unit, norm = v / v.norm(), w.norm()
    cosine = (unit @ w / norm).clamp(-1, 1)
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, len(v), generator=random, dtype=torch.float64)
    across = torch.nn.functional.normalize(drawn - (drawn @ unit)[:, None] * unit, dim=1)
    vectors = norm * (cosine * unit + (1 - cosine**2).sqrt() * across)
    return [Steer(vector.float(), b.layer, b.multiplier) for vector in vectors]


@dataclass(frozen=True)
class _AloneControls:
    """Sides that are as a voice in everything but the direction of its vector; see `Alone`."""

    groups: tuple[list[Voice], list[Voice]] = ((), ())
    shuffled_from: str = ""

    def measured(self, random: np.ndarray, shuffled: np.ndarray) -> Alone | None:
        if not len(random):
            return None
        return Alone(reach(random), reach(shuffled), len(random), self.shuffled_from)


def _drawn_alone(
    model: SteerableModel, items: Items, voice: Voice, count: int, seed: int
) -> Generator[Progress, None, _AloneControls]:
    """Controls of one voice; none for a voice that is not one vector. The items stand in for pairs not known."""
    if not (count and voice.vector and len(voice.steers) == 1 and voice.steer.multiplier):
        return _AloneControls()
    known = pairs_behind(voice.vector.provenance.dataset_sha256)
    position = voice.vector.provenance.read_position if known else ""
    pairs = known or Dataset(items.name, "contest items", items.sha256, items.pairs)
    at = [voice.steer.layer]
    random = random_controls(voice.vector, at, count, seed)
    shuffled = yield from shuffled_controls(
        model, pairs, voice.vector, at, count, seed, ReadPosition.parse(position) if position else AUTOMATIC
    )
    groups = [[voice.with_steer(vector=control[voice.steer.layer]) for control in kind] for kind in (random, shuffled)]
    return _AloneControls(tuple(groups), pairs.name)


def _opposite(steer: Steer) -> Steer:
    return replace(steer, multiplier=-steer.multiplier)


def measure_voices(
    model: SteerableModel, items: Items, voices: Sequence[Voice], system: str = ""
) -> Generator[Progress, None, tuple[np.ndarray, np.ndarray]]:
    """m and KL of every item under every voice, [voices, items] each. Yields `Progress`.

    What the model is told and what its answer begins with are part of the prompt, so each takes a pass of its own; the
    KL against a model that is told less is not known, and NaN.
    """
    asked, of_item = items.both_orders()
    count = len(items.pairs)
    there = of_item[count:]
    m, kl = np.full((2, len(voices), count), np.nan)
    for words in dict.fromkeys((voice.system, voice.prefill) for voice in voices):
        told = [i for i, voice in enumerate(voices) if (voice.system, voice.prefill) == words]
        runs = [voices[i].steers for i in told]
        whole = "\n".join(filter(None, (system, words[0])))
        cue = Cue(" ".join(filter(None, (words[1].strip(), items.cue.words))), items.cue.instruction)
        scores = yield from score(model, asked, runs, items.positions, cue, whole)
        found = scores.preference[1:].double().numpy()
        m[told] = found[:, :count]
        m[np.ix_(told, there)] = (found[:, there] + found[:, count:]) / 2
        if not any(words):
            kl[told] = scores.kl[1:, :count].double().numpy()
    return m, kl


def _repetition(
    model: SteerableModel, items: Items, voices: Sequence[Voice], system: str, tokens: int
) -> Generator[Progress, None, tuple[float, ...]]:
    """Mean repetition of greedy answers to the prompts, by voice."""
    prompts = list(dict.fromkeys(pair.prompt for pair in items.pairs))[:WRITTEN_PROMPTS]
    rows = []
    for voice in voices:
        whole = "\n".join(filter(None, (system, voice.system)))
        for prompt in prompts:
            asked = render(model.tokenizer, [{"role": "user", "content": prompt}], whole)
            rows.append(BatchRow(with_prefill(model.tokenizer, asked, voice.prefill), voice.steers, items.positions))
    progress = Progress(len(rows), "answers written", len(rows) * tokens)
    work = generate(model, rows, Decoding(tokens))
    texts = yield from showing(work, lambda texts: progress.reach(sum(len(text.ids) for text in texts)))
    shares = np.array([repetition(text.ids) for text in texts]).reshape(len(voices), -1)
    return tuple(map(float, shares.mean(1)))


def conclude(
    items: Items,
    a: Voice,
    b: Voice,
    m: np.ndarray,
    kl: np.ndarray,
    controls: tuple[float, float] | None = None,
    control_count: int = 0,
    alone_a: Alone | None = None,
    alone_b: Alone | None = None,
) -> Contest:
    """What m and KL, [4, items] each, unsteered, under A, under B and under both, say of two voices; see `Contest`."""
    by = by_prompt(items, m)
    changes = by[1:] - by[0]
    cancels = _cancels(a, b)
    delta_a, delta_b, delta_ab = (estimate(np.mean, change) for change in changes)
    interaction = estimate(lambda x, y, z, axis: (z - x - y).mean(axis), *changes)
    apart = estimate(lambda x, y, axis: (x - y).mean(axis), *changes[:2])
    they_part = apart.is_clear and apart.value > 0 and not cancels
    dominance = estimate(dominance_of, *changes) if they_part else None
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
        interaction=interaction,
        controls=controls,
        control_count=control_count,
        kl=tuple(map(float, kl[1:4].mean(1))),
        contest=False,
        verdict="",
        rows=_rows(items, m),
        alone_a=alone_a,
        alone_b=alone_b,
    )
    found = replace(found, contest=not cancels and _ways(found) == (1, 1))
    return replace(found, verdict=_in_words(found, cancels))


def by_prompt(items: Items, m: np.ndarray) -> np.ndarray:
    """[voices, prompts]: the mean over the items of each prompt."""
    prompts = list(dict.fromkeys(pair.prompt for pair in items.pairs))
    of = np.array([prompts.index(pair.prompt) for pair in items.pairs])
    return np.stack([m[:, of == number].mean(1) for number in range(len(prompts))], axis=1)


def dominance_of(a: np.ndarray, b: np.ndarray, both: np.ndarray, axis: int = -1) -> np.ndarray:
    """D of changes [..., prompts] under A, B and both, of their means over an axis."""
    a, b, both = (change.mean(axis) for change in (a, b, both))
    return (2 * both - a - b) / (a - b)


def _cancels(a: Voice, b: Voice) -> bool:
    """Whether next to nothing is left of the two at one layer, and nobody is told anything."""
    steers = a.steers + b.steers
    if a.system or b.system or len({steer.layer for steer in steers}) != 1:
        return False
    parts = [steer.multiplier * steer.vector.double() for steer in steers]
    return bool(sum(parts).norm() < CANCELS * sum(part.norm() for part in parts))


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
    if found.prompts < FEWEST_PROMPTS:
        return f"{found.prompts} prompts are too few to tell; give at least {FEWEST_PROMPTS}."
    if not found.contest:
        return _no_contest(found)
    dominance, low, high = found.dominance.value, found.dominance.low, found.dominance.high
    followed = f"follows {found.a if dominance > 0 else found.b}" if found.dominance.is_clear else "follows neither"
    return (
        f"The model {followed}: D = {dominance:.2f}, {low:.2f} to {high:.2f}, {_beyond(found)} adding them predicts "
        f"(D₀ = {found.additive:.2f}; {_interaction(found)})."
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
    return tuple(
        0 if not change.is_clear or (alone and alone.reaches(change.value)) else int(np.sign(own * change.value))
        for own, change, alone in ((1, found.delta_a, found.alone_a), (-1, found.delta_b, found.alone_b))
    )


def _no_contest(found: Contest) -> str:
    """Why it is none."""
    said = {
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
                f"random, {_range(alone.shuffled)} from shuffled labels."
            )
    return text


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}"
