"""How often intervals cover what they should, in simulation.

`python -m benchmarks.coverage` prints the table of docs/numbers.md, of which a cell is the share of samples of so many
prompts whose 95 % interval holds the true number.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from caa_core.metrics.estimates import exact, intervals

SIZES = (8, 10, 16, 20, 40)
RUNS = 40_000
# Samples that are worked on at once.
AT_ONCE = 1000

# Draws samples [runs, prompts].
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def clusters(random: np.random.Generator, size: tuple[int, int], share: float, apart: float = 6.0) -> np.ndarray:
    """A share of the prompts lies so many standard deviations from the others."""
    return random.normal(size=size) + apart * (random.random(size) < share)


# By name: how a prompt's number is drawn, and its mean.
SHAPES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda random, size: random.normal(size=size), 0.0),
    "exponential": (lambda random, size: random.exponential(size=size), 1.0),
    "two clusters, 50 %": (partial(clusters, share=0.5), 3.0),
    "two clusters, 30 %": (partial(clusters, share=0.3), 1.8),
    "two clusters, 20 %": (partial(clusters, share=0.2), 1.2),
    "two clusters, 10 %": (partial(clusters, share=0.1), 0.6),
    "Student's t, 3 degrees of freedom": (lambda random, size: random.standard_t(3, size=size), 0.0),
    "lognormal": (lambda random, size: random.lognormal(size=size), float(np.exp(0.5))),
    "1 in 10 is 1, else 0": (lambda random, size: (random.random(size) < 0.1).astype(float), 0.1),
}


def of_mean(shape: str, prompts: int, runs: int = RUNS, seed: int = 1) -> float:
    """How often the interval of a mean covers it."""
    return _share(shape, prompts, runs, seed, lambda values: intervals(lambda mean: mean, values)[1:])


def of_students_mean(shape: str, prompts: int, runs: int = RUNS, seed: int = 1) -> float:
    """The same of Student's t interval, on the same samples."""

    def ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reach = student.ppf(0.975, prompts - 1) * values.std(1, ddof=1) / np.sqrt(prompts)
        return values.mean(1) - reach, values.mean(1) + reach

    return _share(shape, prompts, runs, seed, ends)


def _share(
    shape: str, prompts: int, runs: int, seed: int, ends: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> float:
    draw, mean = SHAPES[shape]
    random = np.random.default_rng(seed)
    held = 0
    for first in range(0, runs, AT_ONCE):
        values = draw(random, (min(AT_ONCE, runs - first), prompts))
        low, high = ends(values)
        # No interval where all are equal, which is not to cover.
        held += int(((low <= mean) & (mean <= high) & np.isfinite(low)).sum())
    return held / runs


def of_ratio(prompts: int, dominance: float, runs: int = RUNS, seed: int = 1) -> float:
    """How often the interval of a dominance covers it, where A moves m by +1 and B by -1, on the mean of prompts that
    differ by 0.7, and both together by the dominance.
    """
    random = np.random.default_rng(seed)
    held = 0
    for first in range(0, runs, AT_ONCE):
        size = (min(AT_ONCE, runs - first), prompts)
        a, b, both = (random.normal(mean, 0.7, size) for mean in (1.0, -1.0, dominance))
        _, low, high = intervals(lambda a, b, both: (2 * both - a - b) / (a - b), a, b, both)
        held += int(((low <= dominance) & (dominance <= high)).sum())
    return held / runs


def of_share(prompts: int, share: float) -> float:
    """How often the interval of a share covers it: no simulation, since all that can come is summed up."""
    hits = np.arange(prompts + 1)
    low, high = _of_all_hits(prompts)
    return float(binom.pmf(hits, prompts, share)[(low <= share) & (share <= high)].sum())


@cache
def _of_all_hits(prompts: int) -> np.ndarray:
    """Low and high ends by how many of the prompts are hits, [2, prompts + 1]."""
    return np.array([exact(count, prompts) for count in range(prompts + 1)]).T


def rows(runs: int = RUNS) -> dict[str, list[float]]:
    """By name, how often each kind of interval covers, at each of `SIZES`."""
    found = {f"mean: {shape}": [of_mean(shape, size, runs) for size in SIZES] for shape in SHAPES}
    for shape in ("normal", "exponential", "lognormal", "1 in 10 is 1, else 0"):
        found[f"mean: {shape}, by Student's t"] = [of_students_mean(shape, size, runs) for size in SIZES]
    found |= {f"ratio: D = {d:g}": [of_ratio(size, d, runs) for size in SIZES] for d in (0.0, 0.5, 1.0)}
    return found | {f"share: {p:g}": [of_share(size, p) for size in SIZES] for p in (0.1, 0.3, 0.5)}


def table() -> str:
    """In Markdown."""
    heads = ["number", *(f"n = {size}" for size in SIZES)]
    cells = ([name, *(f"{number:.3f}" for number in line)] for name, line in rows().items())
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *cells))


if __name__ == "__main__":
    print(table())
