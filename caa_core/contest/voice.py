"""A voice: what one side of a contest adds to the residual stream, or tells the model."""

from dataclasses import dataclass, replace
from typing import Any

from caa_core.measuring.answer_reader import Direction
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import Steers
from caa_core.vectors.vector import SteeringVector


@dataclass(frozen=True)
class Voice:
    """What is added to the residual stream, what the model is told (a system prompt), words that its answer already
    begins with (a prefill), or several of these. vector: what its one addition is made from; where that is known, the
    voice alone has controls.
    """

    name: str
    steers: Steers = ()
    system: str = ""
    prefill: str = ""
    vector: SteeringVector | None = None

    @classmethod
    def of(
        cls, vector: SteeringVector, layer: int, multiplier: float, name: str = "", system: str = "", prefill: str = ""
    ) -> "Voice":
        """A voice that adds a vector at one layer, and has its name where it is given none. Raises InputError where
        the vector has no such layer.
        """
        return cls(name or vector.name, (Steer(vector.at(layer), layer, multiplier),), system, prefill, vector)

    @property
    def steer(self) -> Steer:
        """Its one addition."""
        (steer,) = self.steers
        return steer

    @property
    def relative_strength(self) -> float | None:
        """Norm of what is added over that of the residual stream there; None where it is not known."""
        return self.vector.relative_strength(self.steer.layer, self.steer.multiplier) if self.vector else None

    @property
    def direction(self) -> Direction:
        """What an answer is read along to hear this voice: its vector, whatever it is multiplied with."""
        return Direction(self.vector.name if self.vector else self.name, self.steer.vector, self.steer.layer)

    def with_steer(self, **changes: Any) -> "Voice":
        """With its one addition changed: another `layer`, `multiplier` or `vector`."""
        return replace(self, steers=(replace(self.steer, **changes),))

    def beside(self, other: "Voice") -> "Voice":
        """Both voices at once; what is told, and what the answer begins with, one after the other."""
        system = "\n".join(filter(None, (self.system, other.system)))
        prefill = " ".join(filter(None, (self.prefill, other.prefill)))
        return Voice(f"{self.name} and {other.name}", self.steers + other.steers, system, prefill)
