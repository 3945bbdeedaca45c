"""Numbers with their 95% intervals, and what is too small, too few or too costly to be called an effect."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from math import inf, isfinite
from typing import ClassVar

import numpy as np

# Of the bootstrap: with one less than a multiple of 40, the ends of 95% are the 50th and the 1950th; and how many are
# held in memory at once, where there are more than so many numbers.
RESAMPLES, BATCH, AT_ONCE = 1999, 200, 4

# Up to so many prompts the weights of the resamples, which are the same for all data, are drawn once (3 MB).
FEW = 200

# The smallest change that is called an effect, in probability or in nats a token.
LEAST = 0.05

# KL in nats up to which a multiplier counts as safe.
SAFE_KL = 0.5

# How far the same score comes out differently where its sums are taken in another order (float32), in nats a token: a
# change that is no larger is none.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval over prompts; from -inf to inf where there is none, since that rules out nothing.

    There is none over one prompt, nor where all say the same: a spread that was not seen is not one of nothing.
    """

    value: float
    low: float
    high: float

    # How its numbers are written where nothing else is said.
    spec: ClassVar[str] = "+.2f"

    def __post_init__(self) -> None:
        if any(end is None or not isfinite(end) for end in (self.low, self.high)):
            object.__setattr__(self, "low", -inf)
            object.__setattr__(self, "high", inf)

    @property
    def has_interval(self) -> bool:
        return isfinite(self.low)

    @property
    def is_clear(self) -> bool:
        """Whether its interval leaves 0 out, by more than `ROUNDING`."""
        return self.low > ROUNDING or self.high < -ROUNDING

    def ends(self, spec: str = "") -> str:
        """Its interval in words: "+0.10 to +0.30", or "none"."""
        low, high = (format(end, spec or self.spec) for end in (self.low, self.high))
        return f"{low} to {high}" if self.has_interval else "none"

    def __format__(self, spec: str) -> str:
        interval = self.ends(spec) if self.has_interval else "interval: none"
        return f"{format(self.value, spec or self.spec)} ({interval})"

    def __str__(self) -> str:
        return format(self)


def estimate(of_means: Callable[..., np.ndarray], *changes: np.ndarray) -> Estimate:
    """A function of the means of changes [prompts], such as their ratio, with its interval.

    Args:
        of_means: is given a mean, or many in an array, for each of the changes; made of sums, products and quotients.
    """
    value, low, high = intervals(of_means, *changes)
    return Estimate(float(value), float(low), float(high))


@np.errstate(all="ignore")
def intervals(of_means: Callable[..., np.ndarray], *changes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A function of the means of changes [..., prompts], and both ends of its 95% intervals, [...] each.

    Bootstrap t: Art B. Owen, "Better bootstrap t confidence intervals for the mean", arXiv 2508.10083. Prompts get
    weights drawn from Beta(1/2, 3/2), the same for all changes, and the standard error is that of the function's linear
    part at the weighted means. What it covers is tested, and stands in docs/numbers.md.
    """
    centres = [change.mean(-1, dtype=float) for change in changes]
    off = [change - mean[..., None] for change, mean in zip(changes, centres, strict=True)]
    value, slopes = _with_slopes(of_means, centres)
    linear = sum(slope[..., None] * change for slope, change in zip(slopes, off, strict=True))
    spread = np.ptp(linear, axis=-1)
    drawn = np.empty((RESAMPLES, *value.shape))
    products = {(i, j): off[i] * off[j] for i in range(len(off)) for j in range(i, len(off))}
    first = 0
    for weights in _weights(off[0].shape[-1], value.size):
        shifts = [np.tensordot(weights, change, (1, -1)) for change in off]
        found, slopes = _with_slopes(of_means, [centre + shift for centre, shift in zip(centres, shifts, strict=True)])
        terms = {
            (i, j): slopes[i] * slopes[j] * (np.tensordot(weights, product, (1, -1)) - shifts[i] * shifts[j])
            for (i, j), product in products.items()
        }
        variance = sum(terms[min(i, j), max(i, j)] for i in range(len(off)) for j in range(len(off)))
        drawn[first : first + len(weights)] = (found - value) / np.sqrt(np.maximum(variance, 0))
        first += len(weights)
    ends = (RESAMPLES + 1) // 40 - 1
    drawn.partition([ends, -1 - ends], axis=0)
    error = linear.std(-1)
    low, high = value - drawn[-1 - ends] * error, value - drawn[ends] * error
    there = (spread > ROUNDING) & np.isfinite(low) & np.isfinite(high)
    return value, np.where(there, low, -inf), np.where(there, high, inf)


def _weights(prompts: int, numbers: int) -> Iterable[np.ndarray]:
    """Of the prompts in each resample, in batches [resamples, prompts]; they sum to 1."""
    if prompts > FEW:
        return _drawn_weights(prompts)
    kept = _kept_weights(prompts)
    return [kept] if numbers <= AT_ONCE else (kept[first : first + BATCH] for first in range(0, RESAMPLES, BATCH))


@lru_cache(maxsize=8)
def _kept_weights(prompts: int) -> np.ndarray:
    return np.concatenate([*_drawn_weights(prompts)])


def _drawn_weights(prompts: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    for first in range(0, RESAMPLES, BATCH):
        drawn = random.beta(0.5, 1.5, (min(BATCH, RESAMPLES - first), prompts))
        yield drawn / drawn.sum(1, keepdims=True)


def _with_slopes(
    of_means: Callable[..., np.ndarray], means: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A function's values, and its derivative by each mean (by a step into the complex plane, which is exact)."""
    step = 1e-30
    slopes = [
        np.imag(of_means(*(mean + step * 1j if i == k else mean for i, mean in enumerate(means)))) / step
        for k in range(len(means))
    ]
    return np.asarray(of_means(*means)), slopes


def mean_of(
    values: np.ndarray, prompts: Sequence[int] | np.ndarray | None = None, within: tuple[float, float] = (-inf, inf)
) -> Estimate:
    """The mean of values [items] with its interval; see `means_of`."""
    return means_of(values[None], prompts, within)[0]


def means_of(
    values: np.ndarray, prompts: Sequence[int] | np.ndarray | None = None, within: tuple[float, float] = (-inf, inf)
) -> list[Estimate]:
    """The mean of each row of values [rows, items] with its interval.

    Args:
        prompts: the number of each item's prompt, where several items may have one: they are drawn together.
        within: what a mean can be at least and at most.
    """
    of = np.unique(prompts, return_inverse=True)[1] if prompts is not None else np.arange(values.shape[1])
    sizes = np.bincount(of)
    if len(sizes) == values.shape[1]:
        found = intervals(lambda mean: mean, values)
    else:
        sums = np.stack([np.bincount(of, row) for row in values])
        found = intervals(np.divide, sums, np.broadcast_to(sizes, sums.shape))
    value, *ends = found
    low, high = (np.where(np.isfinite(end), np.clip(end, *within), end) for end in ends)
    return [Estimate(*map(float, one)) for one in zip(value, low, high, strict=True)]


def by_prompt(values: np.ndarray, prompts: Sequence[int] | np.ndarray) -> np.ndarray:
    """[..., prompts] of values [..., items]: the mean over the items of each prompt, by the prompts' numbers."""
    order = np.argsort(prompts, kind="stable")
    _, first, sizes = np.unique(np.asarray(prompts)[order], return_index=True, return_counts=True)
    return np.add.reduceat(values[..., order], first, axis=-1) / sizes


def ends(drawn: np.ndarray, percent: float = 100) -> tuple[float, float] | None:
    """What so many percent of some numbers lie within, those left out that are NaN; None without any."""
    there = drawn[~np.isnan(drawn)]
    if not len(there):
        return None
    low, high = np.percentile(there, [50 - percent / 2, 50 + percent / 2])
    return float(low), float(high)


def middle(drawn: np.ndarray) -> tuple[float, float] | None:
    """What 95% of some numbers lie within; None without any."""
    return ends(drawn, 95)


def reach(changes: np.ndarray) -> tuple[float, float] | None:
    """The least and the most of some changes, where no change is always within; None without any."""
    return (min(0.0, float(changes.min())), max(0.0, float(changes.max()))) if changes.size else None


def objections(difference: Estimate, controls: Mapping[str, tuple[float, float] | None]) -> list[str]:
    """Why a difference is not called an effect, beside how far each kind of controls goes."""
    why = []
    if not difference.has_interval:
        why.append("it has no interval")
    elif difference.low <= 0 <= difference.high:
        why.append("its interval holds 0")
    if abs(difference.value) < LEAST:
        why.append(f"it is smaller than {LEAST:g}")
    for name, bounds in controls.items():
        if bounds and bounds[0] <= difference.value <= bounds[1]:
            why.append(f"{name} reach as far")
    return why


class Share(Estimate):
    """A number between 0 and 1 with its 95% interval."""

    spec = ".2f"


def auc(
    values: np.ndarray, positive: np.ndarray, negative: np.ndarray, prompts: Sequence[Hashable] | np.ndarray
) -> Share:
    """Area under the ROC curve: how often one of `positive` answers (a mask) lies above one of the negative ones.

    With a bootstrap 95% interval over prompts, all of whose answers are drawn together; it is never narrower than the
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
    ends = np.percentile(found, [2.5, 97.5]), exact(value * len(names), len(names))
    return Share(value, *(float(end(pair)) for end, pair in zip((min, max), zip(*ends, strict=True), strict=True)))


def share_of(values: np.ndarray, prompts: Sequence[int] | np.ndarray | None = None) -> Share:
    """The mean of values [items] from 0 to 1, with the exact interval (Clopper-Pearson) of a coin for each prompt.

    What lies between 0 and 1 varies less than a coin, so that its interval is wider than it need be.
    """
    count = len(values) if prompts is None else len(np.unique(prompts))
    value = float(values.mean())
    return Share(value, *(exact(value * count, count) if count > 1 else (-inf, inf)))


def exact(hits: float, count: int) -> tuple[float, float]:
    """Clopper and Pearson's 95% interval of a share of `count`, of which `hits` need not be a whole number."""
    from scipy.stats import beta  # a second of imports, which only who measures needs

    low = beta.ppf(0.025, hits, count - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)
