"""How tokens are chosen when a model writes."""

from dataclasses import dataclass

from caa_core.errors import InputError

MAX_NEW_TOKENS = 2048


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. Temperature 0 is greedy; rows with the same seed draw the same random numbers."""

    max_new_tokens: int = 80
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_new_tokens <= MAX_NEW_TOKENS:
            raise InputError(f"New tokens must be between 1 and {MAX_NEW_TOKENS}, not {self.max_new_tokens}.")
        if not 0 <= self.temperature <= 10:
            raise InputError(f"The temperature must be between 0 and 10, not {self.temperature}.")
        if not 0 <= self.seed < 1 << 63:
            raise InputError("The seed must be a whole number from 0 on.")
