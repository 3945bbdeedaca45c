"""What is asked of two voices, declared once an experiment: contest, surface, thinking, written answers.

Nothing in here needs torch, so that the command line says what there is to choose without it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from caa_core.data.pairs import Dataset
from caa_core.data.presets import Preset
from caa_core.errors import InputError
from caa_core.measuring.requests import FEWEST
from caa_core.metrics.grid import parse_layers, whole
from caa_core.metrics.options import (
    ESTIMATED_CONTROLS,
    LAYERS,
    MULTIPLIERS,
    NEW_TOKENS,
    POSITIONS,
    SEED,
    SYSTEM,
    TEMPERATURE,
    none_or,
)
from caa_core.metrics.requests import Option, Request, option
from caa_core.steering.decoding import Decoding
from caa_core.steering.interventions import Positions

if TYPE_CHECKING:
    from caa_core.measuring.answer_reader import Direction

# What is tried where nothing is asked for: between them, most voices become as strong as they can be at a small cost.
SURFACE_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
STEPS = replace(MULTIPLIERS, default=",".join(f"{step:g}" for step in SURFACE_STEPS))
MOST = {"prompts": 200, "thoughts": 32, "tokens": 1024}


SECOND_VOICES = Option(
    label="Second voices",
    default=FEWEST,
    parse=none_or(FEWEST, "second voices"),
    help=f"so many of B's norm and cosine to A, to tell whether both do more than a sum: at least {FEWEST}",
    info=f"Do both do more than a sum? At least {FEWEST}, or 0.",
    metavar="N",
    off="do not ask whether both do more than a sum",
)


@dataclass(frozen=True, kw_only=True)
class ContestRequest(Request):
    """What two voices are measured on, and how. controls: of each kind, by estimates. second_voices: by exact passes.
    system: a system prompt that is nobody's voice. written_tokens: of the answers whose repetition is looked at.
    """

    data: Dataset
    positions: Positions = option(POSITIONS, help="where vectors are added")
    system: str = option(SYSTEM)
    controls: int = option(ESTIMATED_CONTROLS, off="judge voices by intervals over prompts alone")
    second_voices: int = option(SECOND_VOICES)
    written_tokens: int = option(NEW_TOKENS, default=32)


@dataclass(frozen=True, kw_only=True)
class SurfaceRequest(Request):
    """What is tried of A and of B: multipliers, or else layers where some are given, as they were typed."""

    multipliers_a: tuple[float, ...] = option(STEPS, label="Multipliers of A")
    multipliers_b: tuple[float, ...] = option(STEPS, label="Multipliers of B")
    layers_a: str = option(LAYERS, label="Layers of A", default="")
    layers_b: str = option(LAYERS, label="Layers of B", default="")

    @property
    def multipliers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of A, and of B."""
        return self.multipliers_a, self.multipliers_b

    @property
    def crosses_layers(self) -> bool:
        """Whether layers are tried, not multipliers."""
        return bool(self.layers_a or self.layers_b)

    def layers_in(self, num_layers: int) -> tuple[list[int], list[int]] | None:
        """Which layers are meant, of A and of B; None for a grid of multipliers. Raises InputError for others."""
        if not self.crosses_layers:
            return None
        return parse_layers(self.layers_a, num_layers), parse_layers(self.layers_b, num_layers)


@dataclass(frozen=True, kw_only=True)
class ThinkingRequest(Request):
    """How many prompts, thoughts a prompt and tokens a thought, and how these are drawn."""

    prompts: int = option(
        Option(
            label="Prompts",
            default=12,
            parse=lambda typed: whole(typed, "The number of prompts"),
            help="with --cot: the first so many prompts",
            metavar="N",
        )
    )
    thoughts: int = option(
        Option(label="Thoughts", default=4, parse=lambda typed: whole(typed, "The number of thoughts"))
    )
    tokens: int = option(
        Option(
            label="Tokens",
            default=64,
            parse=lambda typed: whole(typed, "The number of tokens"),
            help="with --cot: tokens a thought",
            flag="--thought-tokens",
            metavar="N",
        )
    )
    seed: int = option(SEED)
    temperature: float = option(TEMPERATURE, default=0.7)

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"{name.capitalize()} must be between 1 and {most}, not {getattr(self, name)}.")
        Decoding(self.tokens, self.temperature, self.seed)

    def decoding(self, prompt: int, thought: int) -> Decoding:
        """How a thought is drawn. Each has random numbers of its own, and the same under whatever it is written."""
        return Decoding(self.tokens, self.temperature, random.Random(f"{self.seed} {prompt} {thought}").getrandbits(62))

    def __str__(self) -> str:
        return (
            f"thoughts: {self.thoughts} a prompt, of at most {self.tokens} tokens, temperature {self.temperature:g}, "
            f"seed {self.seed}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class WrittenRequest(Request):
    """Open questions that two voices answer. directions: along which A and B are heard. held_out: data of each, or the
    preset whose held-out answers they are, by which that is calibrated. samples: answers to each question. system: a
    system prompt that is nobody's voice.
    """

    questions: Sequence[str]
    directions: Sequence["Direction"]
    held_out: Sequence[Preset | Dataset]
    positions: Positions = option(POSITIONS)
    system: str = option(SYSTEM)
    samples: int = option(
        Option(label="Answers a question", default=2, parse=lambda typed: whole(typed, "The number of answers"))
    )
    max_new_tokens: int = option(NEW_TOKENS, default=64)
    temperature: float = option(TEMPERATURE, default=1.0, info="")
    seed: int = option(SEED)

    def __post_init__(self) -> None:
        object.__setattr__(self, "questions", tuple(dict.fromkeys(self.questions)))
        Decoding(self.max_new_tokens, self.temperature, self.seed)

    def decoding(self, question: int, sample: int) -> Decoding:
        """How an answer is drawn: with random numbers of its own, the same under whatever it is written."""
        seed = self.seed + sample * len(self.questions) + question
        return Decoding(self.max_new_tokens, self.temperature, seed)
