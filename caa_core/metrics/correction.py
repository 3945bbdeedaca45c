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


def holm(p: Sequence[float] | np.ndarray, count: int | None = None) -> np.ndarray:
    """p of a list's entries, corrected after Holm (1979), whatever they have to do with each other; in their order.

    Args:
        count: of the whole list, where some of it is not known yet; what comes to be known makes no p larger.
    """
    given = np.asarray(p, float)
    order = given.argsort()
    steps = (count or len(given)) - np.arange(len(given))
    found = np.empty_like(given)
    found[order] = np.minimum(1, np.maximum.accumulate(given[order] * steps))
    return found


def max_statistic(found: np.ndarray, kinds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """p [entries], two-sided and corrected by the largest statistic, and the direction, 1 or -1, that each is of.

    Westfall and Young's step-down procedure (Resampling-Based Multiple Testing, 1993): an entry is held against the
    largest that any control reaches among it and all weaker entries, in units of each entry's spread. A control is one
    draw for all entries, so what these have in common costs nothing. p is the larger of the kinds'.

    Args:
        found: a number for each entry, [entries].
        kinds: the same of controls of each kind, [controls, entries].
    """
    ranked = []
    for controls in kinds:
        everyone = np.vstack([found, controls])
        centre = everyone.mean(0)
        spread = np.maximum(everyone.std(0), np.finfo(float).tiny)
        far = np.abs(everyone - centre) / spread
        order = (-far[0]).argsort()
        largest = np.maximum.accumulate(far[:, order][:, ::-1], axis=1)[:, ::-1]
        p = (largest >= far[0, order] * (1 - TIE)).mean(0)
        ranked.append(np.empty_like(p))
        ranked[-1][order] = np.maximum.accumulate(p)
    return np.max(ranked, axis=0), np.where(found >= np.mean([kind.mean(0) for kind in kinds], axis=0), 1, -1)


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
