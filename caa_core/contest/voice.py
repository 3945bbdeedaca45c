"""A voice: what one side of a contest adds to the residual stream, or tells the model."""

from dataclasses import dataclass

from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import Steers
from caa_core.vectors.vector import SteeringVector


@dataclass(frozen=True)
class Side:
    """A voice in a contest: what is added to the residual stream, what the model is told, words that its answer already
    begins with, or several of these. vector: what its one addition is made from; where that is known, the voice alone
    has controls.
    """

    name: str
    steers: Steers = ()
    system: str = ""
    begin: str = ""
    vector: SteeringVector | None = None

    @classmethod
    def of(
        cls,
        name: str,
        vector: SteeringVector | None = None,
        layer: int = 0,
        multiplier: float = 0.0,
        system: str = "",
        begin: str = "",
    ) -> "Side":
        """A voice that adds a vector at one layer, or that is words. Raises InputError where the vector has no such
        layer.
        """
        steers = (Steer(vector.at(layer), layer, multiplier),) if vector else ()
        return cls(name, steers, system, begin, vector)

    def beside(self, other: "Side") -> "Side":
        """Both voices at once; what is told, and what the answer begins with, one after the other."""
        told = "\n".join(filter(None, (self.system, other.system)))
        words = " ".join(filter(None, (self.begin, other.begin)))
        return Side(f"{self.name} and {other.name}", self.steers + other.steers, told, words)


@dataclass(frozen=True)
class Voice:
    """One of two competing vectors: at which layer, times which multiplier."""

    vector: SteeringVector
    layer: int
    multiplier: float

    def steer(self) -> Steer:
        return Steer(self.vector.at(self.layer), self.layer, self.multiplier)

    @property
    def relative_strength(self) -> float | None:
        return self.vector.relative_strength(self.layer, self.multiplier)
