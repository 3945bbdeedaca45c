"""What a vector would do at each layer to first order, beside vectors that should do nothing: a map in an instant.

Nothing is chosen here, so that an estimate is a mean over all items that were read; which layers are told from controls
is corrected for all layers, by the furthest of each control (:mod:`caa_core.metrics.correction`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caa_core.metrics.correction import among_controls
from caa_core.metrics.cross_fitting import BEYOND, LEVEL, outgrows, too_few
from caa_core.metrics.estimates import LEAST, Estimate, middle
from caa_core.metrics.plain_data import plain, restored

FIRST_ORDER = (
    "First order: the slope at multiplier 0. It says nothing about what it costs, about text that breaks, or about "
    "what two voices do together."
)

OTHER_WAY, FURTHER = "the other way", f"more than {BEYOND:g} times as far"

# Of 95% of controls.
ENDS = 2.5, 97.5


@dataclass(frozen=True)
class LayerEstimate:
    """At one layer, for a multiplier of 1. random, shuffled: what 95% of controls of its norm lie within; None where
    there are none. p: of how far it reaches, corrected over the layers; None where it is not judged. wrong_random,
    wrong_shuffled: of the prompts that move, the share that goes below 0, within which 95% of controls of each kind
    lie; None where there are none, or gradients of prompts were not kept apart.
    """

    layer: int
    value: float
    random: tuple[float, float] | None = None
    shuffled: tuple[float, float] | None = None
    p: float | None = None
    wrong_random: tuple[float, float] | None = None
    wrong_shuffled: tuple[float, float] | None = None

    def wrong_at(self, multiplier: float) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        """Of controls of each kind, the share of prompts that goes against the sign of a multiplier."""
        if multiplier > 0:
            return self.wrong_random, self.wrong_shuffled
        random, shuffled = (ends and (1 - ends[1], 1 - ends[0]) for ends in (self.wrong_random, self.wrong_shuffled))
        return random, shuffled

    @property
    def is_told(self) -> bool:
        """Whether it is told from controls."""
        return self.p is not None and self.p <= LEVEL

    def unlike(self, change: Estimate, multiplier: float) -> str:
        """How a change that was measured at a multiplier is otherwise than estimated; empty where it is not, or where
        its interval holds 0.
        """
        expected = multiplier * self.value
        beyond = self.random is None or not self.random[0] <= self.value <= self.random[1]
        if beyond and change.is_clear and abs(change.value) >= LEAST and change.value * expected < 0:
            return OTHER_WAY
        return FURTHER if multiplier and outgrows(change, expected) else ""


@dataclass(frozen=True)
class EstimateMap:
    """measure: what the estimates are of. items: how many of `of` were read so far. prompts: of these. controls: of
    each kind.
    """

    vector: str
    data: str
    measure: str
    items: int
    of: int
    prompts: int
    controls: int
    layers: tuple[LayerEstimate, ...]

    @property
    def furthest(self) -> LayerEstimate:
        """Beside how far its controls reach, where there are any."""
        return max(self.layers, key=lambda one: abs(one.value) / (one.random[1] - one.random[0] if one.random else 1))

    def at(self, layer: int) -> LayerEstimate | None:
        """None where none was asked for."""
        return next((one for one in self.layers if one.layer == layer), None)

    def summary(self) -> dict[str, Any]:
        """As plain data, and in words."""
        return {**plain(self), "text": str(self)}

    @classmethod
    def kept_in(cls, found: dict[str, Any]) -> "EstimateMap | None":
        """Of what holds its summary as `estimate`; None where it has none. Raises InputError for anything else."""
        kept = found.get("estimate")
        return None if kept is None else restored(cls, kept, "The estimate that was")

    @property
    def headline(self) -> str:
        """Where it reaches furthest, without what that is held against."""
        best = self.furthest
        read = f"{self.items} items" if self.items == self.of else f"the first {self.items} of {self.of} items"
        where = f"furthest{' beside controls' if best.random else ''} at layer {best.layer}"
        return f"To first order, by {read}, {where}: {best.value:+.3f} for a multiplier of 1"

    def __str__(self) -> str:
        best, text = self.furthest, f"{self.headline} ({self.measure})"
        if best.random:
            text += f"; 95% of {self.controls} random vectors of its norm lie within {_range(best.random)} there"
        if best.shuffled:
            text += f", of as many from shuffled labels within {_range(best.shuffled)}"
        return f"{text}. {self._told()}{FIRST_ORDER}"

    def _told(self) -> str:
        """Which layers are told from controls."""
        if few := too_few(self.prompts):
            return f"{few}. "
        if all(one.p is None for one in self.layers):
            return ""
        told = [str(one.layer) for one in self.layers if one.is_told] or ["none"]
        return f"Layers told from vectors that should do nothing, corrected over all: {', '.join(told)}. "


def layer_estimates(
    layers: Sequence[int],
    own: np.ndarray,
    kinds: Sequence[np.ndarray],
    judged: bool,
    wrong: Sequence[np.ndarray] = (),
) -> tuple[LayerEstimate, ...]:
    """Of a vector [layers] and of controls of each kind, random ones first, [controls, layers].

    judged: whether they are enough for p. wrong: of controls of each kind, the share of prompts that goes below 0,
    [controls, layers].
    """
    bands = [np.percentile(kind, ENDS, axis=0).T for kind in kinds]
    p = among_controls(own, kinds) if judged else None
    found = []
    for i, layer in enumerate(layers):
        random, shuffled, *_ = [*((float(band[i, 0]), float(band[i, 1])) for band in bands), None, None]
        shares = [*(middle(kind[:, i]) for kind in wrong), None, None][:2]
        found.append(LayerEstimate(layer, float(own[i]), random, shuffled, None if p is None else float(p[i]), *shares))
    return tuple(found)


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:+.3f} to {ends[1]:+.3f}"
