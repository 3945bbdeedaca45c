"""What is chosen in the Steer tab: what is done with a vector, at which layers, how strongly; and that in words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gradio.components import Component

from caa_core.app.forms import component
from caa_core.app.panels.common import plain, strength
from caa_core.app.panels.conversation import captioned
from caa_core.data.text import spans
from caa_core.metrics.grid import number, parse_layers, whole
from caa_core.metrics.options import GATE, OPERATION, SHARES, SPREAD
from caa_core.model.loading import SteerableModel
from caa_core.steering.operations import Operation
from caa_core.steering.scoring import Steers
from caa_core.vectors.spread import EQUAL, WHOLE, spread
from caa_core.vectors.vector import SteeringVector


def more_settings(panel: str) -> dict[str, Component]:
    """Draw what there is to set about a vector beside its layer and its multiplier, by name."""
    return {
        "operation": component(OPERATION, elem_id=f"{panel}-operation"),
        "spread": component(SPREAD, elem_id=f"{panel}-spread"),
        "shares": component(SHARES, elem_id=f"{panel}-shares"),
        "gate": component(GATE, elem_id=f"{panel}-gate"),
    }


@dataclass(frozen=True)
class SteerChoice:
    """What a form says, by the names of `more_settings`, `layer` and `multiplier`."""

    layers: tuple[int, ...]
    multiplier: float
    operation: Operation
    shares: str
    gate: str = ""

    @classmethod
    def of(cls, model: SteerableModel, form: Mapping[str, Any]) -> "SteerChoice":
        """Raises InputError for what cannot be chosen on this model. A form that was kept may say less."""
        several, layer = (form.get("spread") or "").strip(), whole(form["layer"], "The layer")
        layers = parse_layers(several, model.num_layers) if several else [model.check_layer(layer)]
        done, shares = OPERATION.value(form.get("operation")), SHARES.value(form.get("shares"))
        multiplier, gate = number(form["multiplier"], "The multiplier"), GATE.value(form.get("gate"))
        return cls(tuple(layers), multiplier, done, shares, gate)

    @property
    def is_plain(self) -> bool:
        """Whether a vector is added at one layer, which is what measurements of a vector say something about."""
        return self.operation.is_addition and len(self.layers) == 1

    def times(self, multiplier: float) -> "SteerChoice":
        """The same at another multiplier."""
        return replace(self, multiplier=multiplier)

    def steers(self, vector: SteeringVector) -> Steers:
        """Nothing at multiplier 0. Raises InputError where the vector lacks a layer, or a norm for the shares."""
        how = self.layers, self.multiplier, self.operation, self.shares
        return spread(vector, *how) if self.multiplier else ()

    def caption(self, name: str) -> str:
        """In a few words."""
        gate = f" · gate {self.gate}" if self.gate else ""
        return captioned(name, spans(self.layers), self.multiplier, self.operation) + gate

    def said(self, name: str, vector: SteeringVector) -> str:
        """In sentences, as Markdown."""
        gate = f" Only where the gate {plain(self.gate)} is open." if self.gate else ""
        return self._said(name, vector) + gate

    def _said(self, name: str, vector: SteeringVector) -> str:
        if not self.operation.is_sum:
            return self._taken(f"**{plain(name)}**")
        direction = "with" if self.multiplier >= 0 else "away from"
        kept = "" if self.operation.is_addition else ", and the norm kept"
        how = strength(vector, self.layers[0], self.multiplier) if len(self.layers) == 1 else self._shared()
        return f"Steered {direction} **{plain(name)}**{kept}. {how}"

    def in_place_of_strength(self) -> str:
        """What is said of it where a strength would be said of an addition at one layer."""
        if not self.operation.is_sum:
            return self._taken("it")
        return self._shared() if len(self.layers) > 1 else ""

    def _taken(self, vector: str) -> str:
        above = "" if self.operation.name == "ablate" else f" above {self.operation.cap:g}"
        share = f"{abs(self.multiplier):.0%} is {'taken away' if self.multiplier >= 0 else 'added'}"
        if self.multiplier >= 1:
            share = "all is taken away" if self.multiplier == 1 else f"{share}, more than there is"
        return f"Of what lies along {vector}{above} at {spans(self.layers)}, {share}."

    def _shared(self) -> str:
        if self.shares == WHOLE:
            return f"{spans(self.layers).capitalize()} get × {self.multiplier:g} each."
        how = "equally" if self.shares == EQUAL else "by the norm of the residual stream there"
        return f"{spans(self.layers).capitalize()} share × {self.multiplier:g} {how}."
