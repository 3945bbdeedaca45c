"""A voice: what one side of a contest adds to the residual stream, or tells the model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from caa_core.data.pairs import Dataset
from caa_core.data.presets import pairs_behind
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import Direction
from caa_core.steering.interventions import Steer, scaled
from caa_core.steering.operations import ADD, Operation
from caa_core.steering.scoring import Steers
from caa_core.vectors.spread import EQUAL, spread
from caa_core.vectors.vector import SteeringVector


@dataclass(frozen=True)
class Voice:
    """What is added to the residual stream, what the model is told (a system prompt), words that its answer already
    begins with (a prefill), or several of these. vector: what its one addition is made from; where that is known, and
    nothing is said beside it, the voice has controls. made_from: the pairs of that vector, where they are known and no
    preset's.
    """

    name: str
    steers: Steers = ()
    system: str = ""
    prefill: str = ""
    vector: SteeringVector | None = None
    made_from: Dataset | None = None

    @classmethod
    def of(
        cls,
        vector: SteeringVector,
        layer: int | Sequence[int],
        multiplier: float,
        name: str = "",
        system: str = "",
        prefill: str = "",
        operation: Operation = ADD,
        shares: str = EQUAL,
    ) -> "Voice":
        """A voice that adds a vector at a layer or several, or does something else with it, and has its name where it
        is given none; see `vectors.spread`. Raises InputError where the vector has no such layer.
        """
        steers = spread(vector, [layer] if isinstance(layer, int) else layer, multiplier, operation, shares)
        return cls(name or vector.name, steers, system, prefill, vector)

    @property
    def steer(self) -> Steer:
        """What it does at its one layer. Raises InputError where it has none or several."""
        if len(self.steers) != 1:
            raise InputError(f"{self.name} does not steer at one layer, which is asked for here.")
        return self.steers[0]

    @property
    def adds(self) -> bool:
        """Whether all that it does to the residual stream is to add vectors, so that it can be part of one sum."""
        return all(steer.operation.is_addition for steer in self.steers)

    @property
    def is_vector(self) -> bool:
        """Whether it is one vector that is added, and no words: estimates of other vectors can stand beside it."""
        added = self.vector and len(self.steers) == 1 and self.steer.multiplier
        return bool(added) and self.adds and not self.system and not self.prefill

    @property
    def pairs(self) -> Dataset | None:
        """The very pairs of its vector; None where they are not known."""
        return self.made_from or (pairs_behind(self.vector.provenance) if self.vector else None)

    @property
    def relative_strength(self) -> float | None:
        """Norm of what is added over that of the residual stream there; None where it is not known, or not one that is
        added.
        """
        if not self.vector or len(self.steers) != 1 or not self.steer.operation.is_sum:
            return None
        return self.vector.relative_strength(self.steer.layer, self.steer.multiplier)

    @property
    def direction(self) -> Direction:
        """What an answer is read along to hear this voice: its vector, whatever it is multiplied with, at the middle
        one of its layers. Raises InputError where it steers at none.
        """
        steer = self.steers[len(self.steers) // 2] if self.steers else self.steer
        return Direction(self.vector.name if self.vector else self.name, steer.vector, steer.layer)

    def with_steer(self, **changes: Any) -> "Voice":
        """With its one addition changed: another `layer`, `multiplier` or `vector`."""
        return replace(self, steers=(replace(self.steer, **changes),))

    def times(self, factor: float) -> "Voice":
        """With all multipliers so many times as large."""
        return replace(self, steers=scaled(self.steers, factor))

    def beside(self, other: "Voice") -> "Voice":
        """Both voices at once; what is told, and what the answer begins with, one after the other."""
        system = "\n".join(filter(None, (self.system, other.system)))
        prefill = " ".join(filter(None, (self.prefill, other.prefill)))
        return Voice(f"{self.name} and {other.name}", self.steers + other.steers, system, prefill)
