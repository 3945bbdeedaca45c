"""Numbers with their 95 % intervals, and what is too small, too few or too costly to be called an effect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import ClassVar

import numpy as np
from scipy.stats import binomtest, bootstrap

FEWEST_PROMPTS = 4

# Of the bootstrap; and how many of them are held in memory at once.
RESAMPLES, BATCH = 2000, 200

# The smallest change that is called an effect, in probability or in nats a token.
LEAST = 0.05

# KL in nats up to which a multiplier counts as safe.
SAFE_KL = 0.5

# How far the same score comes out differently where its sums are taken in another order (float32), in nats a token: a
# change that is no larger is none.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap 95 % interval over prompts."""

    value: float
    low: float
    high: float

    # How its numbers are written where nothing else is said.
    spec: ClassVar[str] = "+.2f"

    @property
    def is_clear(self) -> bool:
        """Whether its interval leaves 0 out, by more than `ROUNDING`."""
        return self.low > ROUNDING or self.high < -ROUNDING

    def __format__(self, spec: str) -> str:
        value, low, high = (format(number, spec or self.spec) for number in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"

    def __str__(self) -> str:
        return format(self)


def estimate(statistic: Callable[..., np.ndarray], *changes: np.ndarray) -> Estimate:
    """A statistic of changes [prompts] with its interval; the same prompts are drawn for all of them."""
    value = float(statistic(*changes, axis=-1))
    if len(changes[0]) == 1:
        return Estimate(value, value, value)
    drawn = bootstrap(
        changes,
        statistic,
        n_resamples=RESAMPLES,
        batch=BATCH,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(drawn.low), float(drawn.high))


def interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of values [items] (percentiles, over items)."""
    low, high = intervals(values)
    return float(low), float(high)


def intervals(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap 95 % intervals of the means of values [..., items]: their lower and upper ends, [...].

    The same items are drawn for every mean. One item has no spread: its own value is both ends.
    """
    if values.shape[-1] == 1:
        return values[..., 0], values[..., 0]
    random = np.random.default_rng(0)
    found = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, batch=BATCH, axis=-1, method="percentile", rng=random
    ).confidence_interval
    return found.low, found.high


def mean_of(values: np.ndarray) -> Estimate:
    """The mean of values [items] with its interval."""
    return Estimate(float(values.mean()), *interval(values))


def means_of(values: np.ndarray) -> list[Estimate]:
    """The mean of each row of values [rows, items] with its interval."""
    low, high = intervals(values)
    return [Estimate(float(row.mean()), float(a), float(b)) for row, a, b in zip(values, low, high, strict=True)]


def reach(changes: np.ndarray) -> tuple[float, float] | None:
    """The least and the most of some changes, where no change is always within; None without any."""
    return (min(0.0, float(changes.min())), max(0.0, float(changes.max()))) if changes.size else None


def objections(difference: Estimate, controls: Mapping[str, tuple[float, float] | None]) -> list[str]:
    """Why a difference is not called an effect, beside how far each kind of controls goes."""
    why = []
    if difference.low <= 0 <= difference.high:
        why.append("its interval holds 0")
    if abs(difference.value) < LEAST:
        why.append(f"it is smaller than {LEAST:g}")
    for name, bounds in controls.items():
        if bounds and bounds[0] <= difference.value <= bounds[1]:
            why.append(f"{name} reach as far")
    return why


class Share(Estimate):
    """A number between 0 and 1 with its 95 % interval."""

    spec = ".2f"


def auc(values: np.ndarray, positive: np.ndarray, negative: np.ndarray, prompts: Sequence[str]) -> Share:
    """Area under the ROC curve: how often one of `positive` answers (a mask) lies above one of the negative ones.

    With a bootstrap 95 % interval over prompts, all of whose answers are drawn together; it is never narrower than the
    exact one of as many coins, since a few answers that are all told apart would have none.
    """
    names = list(dict.fromkeys(compress(prompts, positive | negative)))
    of = np.array([names.index(prompt) if prompt in names else -1 for prompt in prompts])
    above, below = values[positive][:, None], values[negative][None]
    wins = (above > below) + 0.5 * (above == below)
    drawn = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), RESAMPLES).astype(float)
    weights = drawn[:, of[positive]], drawn[:, of[negative]]
    total = weights[0].sum(1) * weights[1].sum(1)
    found = ((weights[0] @ wins) * weights[1]).sum(1)[total > 0] / total[total > 0]
    value = float(wins.mean())
    exact = binomtest(round(value * len(names)), len(names)).proportion_ci()
    low, high = np.percentile(found, [2.5, 97.5])
    return Share(value, float(min(low, exact.low)), float(max(high, exact.high)))


def share_of(values: np.ndarray) -> Share:
    """The mean over questions. Where all agree, the interval is the exact one of as many coins."""
    low, high = interval(values)
    if low == high:
        low, high = binomtest(round(values.mean() * len(values)), len(values)).proportion_ci()
    return Share(float(values.mean()), float(low), float(high))
