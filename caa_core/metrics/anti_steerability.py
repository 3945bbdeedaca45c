"""Which share of prompts is pushed the wrong way, which a mean over them hides.

Anti-steerable inputs: Tan et al., "Analyzing the Generalization and Reliability of Steering Vectors", arXiv 2407.12404.
What does nothing pushes half of the prompts that move the wrong way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from caa_core.metrics.estimates import ROUNDING, Share, by_prompt, middle, share_of


@dataclass(frozen=True)
class AntiSteerable:
    """share: of the prompts that move, those that are pushed the wrong way, with the exact interval (Clopper-Pearson);
    None where none moves. prompts: how many move; unchanged: how many do not, by more than rounding.

    estimate: the same share by first-order estimates of each prompt; random, shuffled: what 95% of the controls of
    each kind lie within, by their estimates. None without.
    """

    share: Share | None
    prompts: int
    unchanged: int
    estimate: float | None = None
    random: tuple[float, float] | None = None
    shuffled: tuple[float, float] | None = None

    @classmethod
    def of(cls, changes: np.ndarray, prompts: Sequence[int] | np.ndarray) -> "AntiSteerable":
        """Of changes [items], above 0 the way they should go; what belongs to one prompt counts by its mean."""
        signs = pushed(by_prompt(changes, prompts))
        moved = signs[signs != 0]
        share = share_of((moved < 0).astype(float)) if len(moved) else None
        return cls(share, len(moved), len(signs) - len(moved))

    def beside(self, estimates: "WrongShares | None", way: int = 1) -> "AntiSteerable":
        """With shares to first order; way: -1 where what they count as wrong is right here."""
        if estimates is None:
            return self
        found = estimates if way > 0 else estimates.turned
        own = None if np.isnan(found.own) else found.own
        return replace(self, estimate=own, random=middle(found.random), shuffled=middle(found.shuffled))

    @property
    def brief(self) -> str:
        """For a table."""
        if self.share is None:
            return "none moves"
        if self.estimate is None or not self.random:
            return str(self.share)
        (low, high), own = self.random, self.estimate
        beside = f"; to first order {own:.2f}, controls {low:.2f} to {high:.2f}"
        if self.shuffled:  # all of it once more, since it is translated in one piece
            least, most = self.shuffled
            beside = f"; to first order {own:.2f}, controls {low:.2f} to {high:.2f} and {least:.2f} to {most:.2f}"
        return f"{self.share}{beside}"

    def __str__(self) -> str:
        apart = f"; {self.unchanged} more do not move" if self.unchanged else ""
        if self.share is None:
            return f"none, since no prompt moves by more than rounding{apart}"
        moved = f"{self.share.value:.2f} of {self.prompts} prompts that move (95% interval {self.share.ends()}{apart})"
        if self.estimate is None or not self.random:
            return f"{moved}; of a vector that does nothing it is half"
        low, high = self.random
        beside = f"random vectors within {low:.2f} to {high:.2f}"
        if self.shuffled:
            x, y = self.shuffled
            beside = f"random vectors within {low:.2f} to {high:.2f}, from shuffled labels within {x:.2f} to {y:.2f}"
        return f"{moved}; to first order {self.estimate:.2f}, where 95% of controls lie, {beside}"


@dataclass(frozen=True, eq=False)
class WrongShares:
    """Shares of prompts that a multiplier above 0 pushes the wrong way, by first-order estimates: of a vector, and of
    its controls of each kind, [controls]; NaN where no prompt moves.
    """

    own: float
    random: np.ndarray
    shuffled: np.ndarray

    @property
    def turned(self) -> "WrongShares":
        """Where the other way is the wrong one."""
        return WrongShares(1 - self.own, 1 - self.random, 1 - self.shuffled)


def pushed(changes: np.ndarray) -> np.ndarray:
    """Which way changes go: 1, -1, or 0 where they are no more than rounding."""
    return np.sign(np.where(np.abs(changes) > ROUNDING, changes, 0))


def wrong_shares(changes: np.ndarray) -> np.ndarray:
    """[...] of changes [..., prompts]: of those that move, the share that goes below 0; NaN where none moves."""
    signs = pushed(changes)
    moved = (signs != 0).sum(-1)
    return np.where(moved > 0, (signs < 0).sum(-1) / np.maximum(moved, 1), np.nan)
