"""What is said of the members of a list, corrected together: of lists in which nothing is so, one in twenty at most
says that something is.

Where there are controls, by the largest statistic over the list among the same controls (Westfall and Young,
"Resampling-Based Multiple Testing", 1993); where there are none, by Holm ("A simple sequentially rejective multiple
test procedure", Scandinavian Journal of Statistics 6, 1979).
"""

from collections.abc import Sequence

import numpy as np

from caa_core.metrics.cross_fitting import ENOUGH_PROMPTS, TIE
from caa_core.metrics.estimates import ROUNDING


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p of a list [tests]."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    return adjusted


def corrected_so_far(p: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    """After Holm, of a list of `count` of which the rest is not known yet; what comes to be known makes no p larger."""
    return holm([*p, *[1.0] * (count - len(p))])[: len(p)]


def among_controls(found: np.ndarray, kinds: Sequence[np.ndarray]) -> np.ndarray:
    """Adjusted p, both ways, of statistics [tests] of one vector among those of controls of each kind [controls,
    tests]: the larger of the kinds' shares of controls of which the furthest of all tests is at least as far.

    How far is counted in each test's own spread among the controls; where that is none, so is what is found.
    """
    return np.max([_among(found, of) for of in kinds], axis=0)


def _among(found: np.ndarray, controls: np.ndarray) -> np.ndarray:
    spread = np.sqrt((controls**2).mean(0))
    scale = np.where(spread > 0, spread, np.inf)
    furthest = np.abs(controls / scale).max(1)
    far = np.abs(found / scale) * (1 - TIE)
    return (1 + (furthest[:, None] >= far).sum(0)) / (1 + len(controls))


def paired_p(differences: np.ndarray, prompts: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Of the mean of each row of paired differences [rows, items], p [rows] by Student's t over prompts; not corrected.

    1 where all prompts say the same or there are fewer than `ENOUGH_PROMPTS`.
    """
    from scipy.stats import t as student  # a second of imports, which only who measures needs

    of = np.unique(prompts, return_inverse=True)[1] if prompts is not None else np.arange(differences.shape[1])
    sizes = np.bincount(of)
    if len(sizes) < ENOUGH_PROMPTS:
        return np.ones(len(differences))
    value = differences.mean(1, dtype=float)
    sums = np.stack([np.bincount(of, row) for row in differences])
    linear = (sums - value[:, None] * sizes) / sizes.mean()
    there = np.ptp(linear, axis=1) > ROUNDING
    error = np.where(there, linear.std(1, ddof=1), np.inf) / np.sqrt(len(sizes))
    return np.asarray(2 * student.sf(np.abs(value) / error, len(sizes) - 1))
