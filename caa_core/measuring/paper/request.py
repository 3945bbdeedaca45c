"""What is asked of behaviours: which of the paper's experiments, and how they are made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from caa_core.errors import InputError
from caa_core.metrics.grid import parse_layers, whole
from caa_core.metrics.options import CONTROLS, COUNTS, CUE, LAYER, LETTER_SWAP, OPERATION, POSITIONS, SEED
from caa_core.metrics.options import LAYERS as ALL_LAYERS
from caa_core.metrics.options import MULTIPLIERS as ALL_MULTIPLIERS
from caa_core.metrics.requests import Option, Request, option
from caa_core.model.prompts import Cue
from caa_core.steering.interventions import Positions
from caa_core.steering.operations import ADD, Operation

if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel
    from caa_core.vectors.vector import SteeringVector

LAYERS, MULTIPLIERS, TRANSFER, PROMPTS = "layers", "multipliers", "transfer", "prompts"
COMPONENTS, TOKENS = "components", "tokens"
# More than any model has: which of them there are is known when it is.
MOST_LAYERS = 10_000
EXPERIMENTS = (LAYERS, MULTIPLIERS, TRANSFER, PROMPTS, COMPONENTS, TOKENS)


def parse_experiments(typed: str | Sequence[str]) -> tuple[str, ...]:
    """Names of experiments, with commas between where they are typed; no text is all of them. Raises InputError for
    anything else.
    """
    names = [name.strip() for name in typed.split(",")] if isinstance(typed, str) else typed
    names = [name for name in names if name]
    for name in names:
        if name not in EXPERIMENTS:
            raise InputError(f"There is no experiment {name[:40]!r}: choose some of {', '.join(EXPERIMENTS)}.")
    chosen = tuple(name for name in EXPERIMENTS if name in names)
    return chosen or (EXPERIMENTS if isinstance(typed, str) else ())


def _layers(typed: str | Sequence[int] | None) -> tuple[int, ...] | None:
    """Layers by number; None for all."""
    if typed is None or isinstance(typed, str):
        return tuple(parse_layers(typed, MOST_LAYERS)) if typed and typed.strip().lower() != "all" else None
    return tuple(typed)


def _count(typed: Any) -> int | None:
    """How many; None for all."""
    return whole(typed, "The number of pairs and of items") or None


def _perhaps(what: str) -> Callable[[Any], int | None]:
    """A parser of a whole number that may be left out."""
    return lambda typed: None if typed is None or typed == "" else whole(typed, what)


@dataclass(frozen=True, kw_only=True)
class PaperRequest(Request):
    """How behaviours are measured.

    layers: those of the per-layer effect, all where None. multipliers: of the effect at one layer; -1, 0 and 1 are
    always among them. letter_swap: vectors are made from pairs in both letter orders, where pairs have letters.
    controls: how many vectors of each kind. layer: at which multipliers, transfer and prompts are measured; where None,
    what is chosen on one half of the items. counts: write answers too. pairs, items, seed: how many are used, see
    `Behaviour.sample`. experiments: which of `EXPERIMENTS` are made; what is left out leaves its place in the findings
    empty. positions, cue: which tokens are steered, and what leads to an answer. operation: what is done with every
    vector, at one layer at a time.
    """

    layers: tuple[int, ...] | None = option(ALL_LAYERS, parse=_layers)
    multipliers: tuple[float, ...] = option(ALL_MULTIPLIERS)
    letter_swap: bool = option(LETTER_SWAP, help="make vectors from both letter orders")
    controls: int = option(CONTROLS)
    layer: int | None = option(
        LAYER,
        parse=_perhaps("The layer"),
        help="of multipliers, transfer and prompts; by default chosen on one half of the items",
        info="Of multipliers, transfer and prompts",
        required=False,
    )
    counts: bool = option(COUNTS, default=False, help="write answers too, which is slow", info="Choices only; slow.")
    pairs: int | None = option(
        Option(
            label="At most so many pairs of each",
            default=0,
            parse=_count,
            help="use so many pairs of each: the first, or drawn",
            info="0: all of them",
            flag="--limit",
            metavar="N",
        )
    )
    items: int | None = option(
        Option(
            label="At most so many items of each",
            default=0,
            parse=_count,
            help="use so many test items of each: the first, or drawn",
            info="0: all of them",
            metavar="N",
        )
    )
    seed: int | None = option(
        SEED, default=None, parse=_perhaps("The seed"), help="draw what --limit and --items take at random"
    )
    experiments: tuple[str, ...] = option(
        Option(
            label="Experiments",
            default="",
            parse=parse_experiments,
            help=f"some of {', '.join(EXPERIMENTS)}, with commas between",
            flag="--only",
            metavar="NAMES",
        )
    )
    positions: Positions = option(POSITIONS)
    cue: Cue = option(CUE)
    # What was kept before there were others is found again.
    operation: Operation = field(default=ADD, metadata={"option": OPERATION, "unsaid": ADD})

    def layers_of(self, model: "SteerableModel", vector: "SteeringVector | None" = None) -> list[int]:
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
