"""How strong a multiplier is, in words: by what was measured of a vector at a layer at some multipliers.

Between two of these what it costs is taken to lie on a straight line, which is above a cost that grows ever faster; and
from 0 outwards no multiplier costs less than one nearer to 0.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from caa_core.data.pairs import Dataset
from caa_core.metrics.estimates import SAFE_KL, mean_of
from caa_core.metrics.items import choose_items
from caa_core.metrics.plain_data import plain
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask_pair
from caa_core.progress import Progress
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, Completion, generate
from caa_core.steering.interventions import Steer
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score
from caa_core.vectors.vector import SteeringVector

LIGHT, GOOD, STRONG, BREAKS = "light", "good", "strong", "breaks the text"
# Nats of KL a token below which hardly a token is written otherwise.
LITTLE = 0.1
# Where text falls apart: so much of what is written repeats itself, or so many nats of KL a token.
REPEATED, FAR = 0.5, 1.5

MULTIPLIERS = (-4.0, -3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
# Answers that are written at each multiplier, and how long.
WRITTEN, NEW_TOKENS = 6, 48


@dataclass(frozen=True)
class Dose:
    """What one multiplier costs: KL(unsteered ‖ steered) of the next token in nats, mean over tokens.

    high: the upper end of its 95% interval over prompts; None where it has none. repetition: the share of what is
    written under it that repeats itself; None where nothing was written.
    """

    multiplier: float
    kl: float
    high: float | None = None
    repetition: float | None = None


@dataclass(frozen=True)
class Gauge:
    """What is known of a vector at a layer. source: from what, as a part of a sentence. judged_safe: what was found to
    be safe where the doses' own intervals are not there to tell.
    """

    doses: tuple[Dose, ...]
    source: str = ""
    judged_safe: tuple[float, float] | None = None

    @classmethod
    def of(cls, kept: Iterable[Mapping[str, Any]], source: str = "") -> "Gauge":
        """From what `summary` has of the doses. Raises TypeError for anything else."""
        return cls(tuple(Dose(**one) for one in kept), source)

    def summary(self) -> dict[str, Any]:
        """As plain data, with a word for each multiplier, and which are safe."""
        doses = [{**vars(dose), "word": self.word(dose.multiplier)} for dose in self.doses]
        return {"doses": doses, "safe": plain(self.safe)}

    def __str__(self) -> str:
        said = ", ".join(f"× {dose.multiplier:g} {self.word(dose.multiplier)}" for dose in self.doses)
        safe = "none" if self.safe in (None, (0.0, 0.0)) else "{:g} to {:g}".format(*self.safe or ())
        return f"{said}. Safe multipliers: {safe}."

    def word(self, multiplier: float) -> str:
        """How strong a multiplier is: LIGHT, GOOD, STRONG or BREAKS; empty further out than was measured."""
        side, at = self._sides[multiplier > 0], abs(multiplier)
        if at > side.farthest and not side.breaks(side.farthest):
            return ""
        if side.breaks(at):
            return BREAKS
        if side.at(at, side.high) >= SAFE_KL:
            return STRONG
        return GOOD if side.at(at, side.kl) >= LITTLE else LIGHT

    @property
    def safe(self) -> tuple[float, float] | None:
        """From the lowest to the highest multiplier, 0 between them, such that each one measured costs less than
        `SAFE_KL` by the upper end of its interval; None where there are no intervals.
        """
        if self.judged_safe:
            return self.judged_safe
        if any(dose.high is None for dose in self.doses) or not self.doses:
            return None
        below, above = (side.safe_end for side in self._sides)
        return below, above

    def breaking(self, ends: Sequence[float]) -> list[float]:
        """Which of some multipliers in rising order are the nearest to 0, on either side, at which text falls apart."""
        there = [one for one in ends if self.word(one) == BREAKS]
        return [*[one for one in there if one < 0][-1:], *[one for one in there if one > 0][:1]]

    def bands(self, steps: Sequence[float]) -> list[tuple[float, float, str]]:
        """Runs of one word over multipliers in rising order: the first, the last, and the word."""
        runs = [(word, [*run]) for word, run in groupby(steps, self.word)]
        return [(run[0], run[-1], word) for word, run in runs]

    @cached_property
    def _sides(self) -> "tuple[_Side, _Side]":
        below = tuple(sorted((d for d in self.doses if d.multiplier < 0), key=lambda d: -d.multiplier))
        above = tuple(sorted((d for d in self.doses if d.multiplier > 0), key=lambda d: d.multiplier))
        return _Side(below), _Side(above)


@dataclass(frozen=True)
class _Side:
    """The multipliers of one sign, from 0 outwards."""

    doses: tuple[Dose, ...]

    @property
    def farthest(self) -> float:
        """The size of the last."""
        return abs(self.doses[-1].multiplier) if self.doses else 0.0

    @cached_property
    def kl(self) -> np.ndarray:
        return self._rising([dose.kl for dose in self.doses])

    @cached_property
    def high(self) -> np.ndarray:
        return self._rising([dose.kl if dose.high is None else dose.high for dose in self.doses])

    @cached_property
    def repetition(self) -> np.ndarray:
        return self._rising([dose.repetition or 0.0 for dose in self.doses])

    @property
    def safe_end(self) -> float:
        """The last multiplier before the first that costs too much; 0 where that is the first."""
        end = 0.0
        for dose in self.doses:
            if dose.high is None or dose.high >= SAFE_KL:
                break
            end = dose.multiplier
        return end

    def at(self, size: float, costs: np.ndarray) -> float:
        """A cost at a multiplier of that size."""
        return float(np.interp(size, [0.0, *(abs(dose.multiplier) for dose in self.doses)], costs))

    def breaks(self, size: float) -> bool:
        return self.at(size, self.repetition) >= REPEATED or self.at(size, self.kl) >= FAR

    def _rising(self, costs: list[float]) -> np.ndarray:
        return np.maximum.accumulate([0.0, *costs])


def measure_gauge(
    model: SteerableModel,
    data: Dataset,
    vector: SteeringVector,
    layer: int,
    multipliers: Sequence[float] = MULTIPLIERS,
) -> Generator[Progress | list[Completion], None, Gauge]:
    """Score pairs under each multiplier of a vector at a layer, and write greedy answers to the first of their prompts.
    Yields `Progress`, and then the answers as they grow.

    Raises:
        InputError: there is no such layer, or nothing that could be scored.
    """
    steers = [Steer(vector.at(layer), layer, multiplier) for multiplier in multipliers if multiplier]
    items = yield from choose_items(model, data)
    scores = yield from score(model, items.pairs, [(steer,) for steer in steers])
    prompts = list(dict.fromkeys(ask_pair(model.tokenizer, pair) for pair in items.pairs))[:WRITTEN]
    rows = [BatchRow(prompt, (steer,)) for steer in steers for prompt in prompts]
    texts = yield from generate(model, rows, Decoding(NEW_TOKENS))
    repeated = np.array([repetition(text.ids) for text in texts]).reshape(len(steers), -1).mean(1)
    doses = []
    for steer, kl, share in zip(steers, scores.kl[1:].double().numpy(), repeated, strict=True):
        cost = mean_of(kl, items.prompts)
        doses.append(Dose(steer.multiplier, cost.value, cost.high if cost.has_interval else None, float(share)))
    return Gauge(tuple(doses))
