"""What is asked of behaviours: which of the paper's experiments, and how they are made."""

from dataclasses import asdict, dataclass
from typing import Any

from caa_core.errors import InputError
from caa_core.metrics.controls import CONTROLS
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import NO_CUE
from caa_core.steering.interventions import AFTER_PROMPT
from caa_core.vectors.vector import SteeringVector

LAYERS, MULTIPLIERS, TRANSFER, PROMPTS = "layers", "multipliers", "transfer", "prompts"
COMPONENTS, TOKENS = "components", "tokens"
EXPERIMENTS = (LAYERS, MULTIPLIERS, TRANSFER, PROMPTS, COMPONENTS, TOKENS)


def parse_experiments(text: str) -> tuple[str, ...]:
    """Names of experiments with commas between; nothing is all of them. Raises InputError for anything else."""
    names = [name for part in text.split(",") if (name := part.strip())]
    for name in names:
        if name not in EXPERIMENTS:
            raise InputError(f"There is no experiment {name[:40]!r}: choose some of {', '.join(EXPERIMENTS)}.")
    return tuple(name for name in EXPERIMENTS if name in names) or EXPERIMENTS


@dataclass(frozen=True)
class PaperRequest:
    """How behaviours are measured.

    layers: those of the per-layer effect, all where None. multipliers: of the effect at one layer; -1, 0 and 1 are
    always among them. letter_swap: vectors are made from pairs in both letter orders. controls: how many vectors of
    each kind. layer: at which multipliers, transfer and prompts are measured; where None, what is chosen on one half of
    the items. counts: write answers too. pairs, items, seed: how many are used, see `Behaviour.sample`. experiments:
    which of `EXPERIMENTS` are made; what is left out leaves its place in the findings empty. positions, cue: which
    tokens are steered, and what leads to an answer.
    """

    layers: tuple[int, ...] | None = None
    multipliers: tuple[float, ...] = (-2.0, -1.0, 0.0, 1.0, 2.0)
    letter_swap: bool = False
    controls: int = CONTROLS
    layer: int | None = None
    counts: bool = False
    pairs: int | None = None
    items: int | None = None
    seed: int | None = None
    experiments: tuple[str, ...] = EXPERIMENTS
    positions: str = str(AFTER_PROMPT)
    cue: str = str(NO_CUE)

    def layers_of(self, model: SteerableModel, vector: SteeringVector | None = None) -> list[int]:
        """Layers that are measured, of those that a vector has. Raises InputError for layers that are not there."""
        there = range(model.num_layers) if vector is None else vector.layers
        layers = {model.check_layer(layer) for layer in (there if self.layers is None else self.layers)}
        if self.layer is not None:
            layers.add(model.check_layer(self.layer))
        if vector:
            for layer in layers:
                vector.at(layer)
        return sorted(layers)

    @property
    def judges(self) -> bool:
        """Whether anything is measured that stands beside controls."""
        return self.controls > 0 and (LAYERS in self.experiments or MULTIPLIERS in self.experiments)

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)
