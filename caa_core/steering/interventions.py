"""What is steered where: vectors with their layer, multiplier and operation, and at which positions of a text.

A position is counted in each row's own tokens, from 0, padding left out; that is what a model's position ids are, so
one rule holds for a whole prompt, for a cached decoding step of one token, and for padded batches alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from caa_core.errors import InputError
from caa_core.steering.operations import ADD, Operation

# Naming what is added takes no torch, so the command line does without until a model runs.
if TYPE_CHECKING:
    import torch

NO_END = 1 << 62

POSITIONS = ("after-prompt", "all", "prompt", "last-prompt", "generated")
# What there is where a model thinks before it answers.
OF_THOUGHT = ("thought", "after-thought")


@dataclass(frozen=True)
class Positions:
    """Which tokens are steered.

    after-prompt: from the prompt's last token on, that one included, so that the first written token is steered too.
    all: every token. prompt: the prompt's tokens. last-prompt: its last token only. generated: what the model wrote.
    index:N: one token of the prompt, -2 being its second last. Where words were thought before the answer, thought:
    the prompt's last token, from which the first of them is written, and the words; after-thought: all that follows
    them, so also the token from which the answer is written. The two parts make after-prompt.
    """

    rule: str = "after-prompt"
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "Positions":
        """Raises InputError for anything but the names above."""
        if text in (*POSITIONS, *OF_THOUGHT):
            return cls(text)
        if match := re.fullmatch(r"index:(-?\d{1,6})", text.strip()):
            return cls("index", int(match[1]))
        raise InputError(f"There are no steered positions {text!r}: choose {', '.join(POSITIONS)} or index:N.")

    def __str__(self) -> str:
        return f"index:{self.index}" if self.rule == "index" else self.rule

    @property
    def is_of_thought(self) -> bool:
        """Whether there are such only where something is thought before the answer."""
        return self.rule in OF_THOUGHT

    def span(self, prompt_length: int, thought: int = 0) -> tuple[int, int]:
        """The first position that is steered, and the one behind the last.

        Args:
            prompt_length: tokens of the prompt.
            thought: tokens of the words that were thought between the prompt and the answer; `NO_END` while they come.

        Raises:
            InputError: an index lies outside the prompt.
        """
        if self.rule == "index" and not -prompt_length <= self.index < prompt_length:
            raise InputError(f"index:{self.index} lies outside the prompt, which has {prompt_length} tokens.")
        index = self.index % prompt_length
        return {
            "after-prompt": (prompt_length - 1, NO_END),
            "all": (0, NO_END),
            "prompt": (0, prompt_length),
            "last-prompt": (prompt_length - 1, prompt_length),
            "generated": (prompt_length, NO_END),
            "index": (index, index + 1),
            "thought": (prompt_length - 1, prompt_length + thought),
            "after-thought": (prompt_length + thought, NO_END),
        }[self.rule]


AFTER_PROMPT = Positions()

THOUGHT = Positions("thought")

AFTER_THOUGHT = Positions("after-thought")


@dataclass(frozen=True, eq=False)
class Steer:
    """What is done to the output of block `layer` with `multiplier` times `vector` [hidden_size]; mostly it is added.

    An operation that goes without saying leaves the names of what is kept as they were before there were others.
    """

    vector: "torch.Tensor"
    layer: int
    multiplier: float
    operation: Operation = field(default=ADD, metadata={"unsaid": ADD})


@dataclass(frozen=True, eq=False)
class Gate:
    """Where steering applies: at tokens whose residual stream h after block `layer` points further along `vector` v
    [hidden_size] than `threshold`, which is in the units of the projection h·v / ‖v‖. h is read before anything is done
    to it there.

    After Lee et al., arXiv 2409.05907 (conditional activation steering), who ask it once of a prompt, by a cosine.
    """

    vector: "torch.Tensor"
    layer: int
    threshold: float

    def check(self, steers: Sequence[Steer]) -> None:
        """Raises InputError where something is steered before the gate is read."""
        if low := [steer.layer for steer in steers if steer.layer < self.layer]:
            raise InputError(f"A gate at layer {self.layer} is read too late for what is steered at layer {min(low)}.")


def scaled(steers: Sequence[Steer], factor: float) -> tuple[Steer, ...]:
    """The same so many times as strong."""
    return tuple(replace(steer, multiplier=factor * steer.multiplier) for steer in steers)


def parse_steer(spec: str) -> tuple[str, int, float]:
    """The parts of "FILE:LAYER:MULTIPLIER". Raises InputError for anything else."""
    source, (layer, *further), multiplier = parse_spread(spec)
    if further:
        raise InputError(f"{str(spec)[:80]!r} has several layers, and here there is one.")
    return source, layer, multiplier


def parse_spread(spec: str) -> tuple[str, tuple[int, ...], float]:
    """The same with several layers in place of one: such as joy:12-15:1.5. Raises InputError for anything else."""
    layers, number = r"\d{1,4}(?:-\d{1,4})?", r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,2})?"
    match = re.fullmatch(rf"(.+):({layers}(?:,{layers})*):({number})", str(spec).strip(), re.I)
    if not match:
        raise InputError(f"{str(spec)[:80]!r} is not FILE:LAYER:MULTIPLIER, such as joy:12:1.5.")
    return match[1], layers_named(match[2]), float(match[3])


def layers_named(text: str) -> tuple[int, ...]:
    """Layers such as 12, 12-15 or 10,12-15, in rising order. Raises InputError for anything else."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if not match:
            raise InputError(f"{text[:40]!r} names no layers: write such as 12, 12-15 or 10,12-15.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"The layers {part} run backwards: write {last}-{first}.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
