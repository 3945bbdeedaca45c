"""What making a vector, and answering with vectors, are asked for, declared once each."""

from dataclasses import dataclass
from functools import cached_property

from caa_core.data.pairs import Dataset
from caa_core.metrics.grid import parse_layers
from caa_core.metrics.options import (
    FACTORS,
    GATE,
    LAYERS,
    LETTER_SWAP,
    METHOD,
    NAME,
    NEW_TOKENS,
    OPERATION,
    POSITIONS_OR_THOUGHT,
    READ,
    SEED,
    SHARES,
    SYSTEM,
    TEMPERATURE,
    THINK,
)
from caa_core.metrics.requests import Request, option
from caa_core.steering.decoding import Decoding
from caa_core.steering.interventions import Positions
from caa_core.steering.operations import Operation
from caa_core.steering.read_position import ReadPosition


@dataclass(frozen=True, kw_only=True)
class ExtractionRequest(Request):
    """What a vector is made from, and how. given: the pairs in the letter order that they came in. layers: as the
    person wrote them. name: the vector's; that of the pairs where it is empty.
    """

    given: Dataset
    layers: str = option(LAYERS)
    letter_swap: bool = option(LETTER_SWAP)
    read: ReadPosition = option(READ)
    method: str = option(METHOD)
    name: str = option(NAME)

    @cached_property
    def pairs(self) -> Dataset:
        """The pairs that are read, in both letter orders where that was chosen. Raises InputError for ones without."""
        return self.given.in_both_letter_orders() if self.letter_swap else self.given

    def layers_in(self, num_layers: int) -> list[int]:
        """Which layers are meant. Raises InputError where the model does not have them."""
        return parse_layers(self.layers, num_layers)


@dataclass(frozen=True, kw_only=True)
class SteeringRequest(Request):
    """What is said to the model, and how it answers, without vectors and with them. gate: VECTOR:LAYER:THRESHOLD, or
    nothing.
    """

    prompt: str
    system: str = option(SYSTEM)
    positions: Positions = option(POSITIONS_OR_THOUGHT)
    max_new_tokens: int = option(NEW_TOKENS)
    temperature: float = option(TEMPERATURE)
    seed: int = option(SEED)
    factors: tuple[float, ...] = option(FACTORS)
    operation: Operation = option(OPERATION)
    shares: str = option(SHARES)
    think: bool = option(THINK)
    gate: str = option(GATE)

    def __post_init__(self) -> None:
        Decoding(self.max_new_tokens, self.temperature, self.seed)

    @property
    def decoding(self) -> Decoding:
        """How its tokens are chosen."""
        return Decoding(self.max_new_tokens, self.temperature, self.seed)
