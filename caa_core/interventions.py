"""What is added where: the only room that writes into the residual stream.

A position is counted in each row's own tokens, from 0, padding left out; that is what a model's position ids are, so
one rule holds for a whole prompt, for a cached decoding step of one token, and for padded batches alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import nnsight
import torch

from caa_core.errors import InputError
from caa_core.model import Inputs, SteerableModel, hidden_of

POSITIONS = ("after-prompt", "all", "prompt", "last-prompt", "generated")


@dataclass(frozen=True)
class Positions:
    """Which tokens are steered.

    after-prompt: from the prompt's last token on, that one included, so that the first written token is steered too.
    all: every token. prompt: the prompt's tokens. last-prompt: its last token only. generated: what the model wrote.
    index:N: one token of the prompt, -2 being its second last.
    """

    rule: str = "after-prompt"
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "Positions":
        """Raises InputError for anything but the names above."""
        if text in POSITIONS:
            return cls(text)
        if match := re.fullmatch(r"index:(-?\d{1,6})", text.strip()):
            return cls("index", int(match[1]))
        raise InputError(f"There are no steered positions {text!r}: choose {', '.join(POSITIONS)} or index:N.")

    def check(self, prompt_length: int) -> None:
        if self.rule == "index" and not -prompt_length <= self.index < prompt_length:
            raise InputError(f"index:{self.index} lies outside the prompt, which has {prompt_length} tokens.")

    def cover(self, positions: torch.Tensor, prompt_lengths: torch.Tensor) -> torch.Tensor:
        """Boolean mask of the steered ones among `positions` [rows, tokens], for prompts of [rows, 1] tokens."""
        if self.rule == "all":
            return torch.ones_like(positions, dtype=torch.bool)
        if self.rule == "prompt":
            return positions < prompt_lengths
        if self.rule == "generated":
            return positions >= prompt_lengths
        if self.rule == "after-prompt":
            return positions >= prompt_lengths - 1
        if self.rule == "last-prompt":
            return positions == prompt_lengths - 1
        return positions == (self.index if self.index >= 0 else prompt_lengths + self.index)


AFTER_PROMPT = Positions()


@dataclass(frozen=True, eq=False)
class Steer:
    """One addition: `multiplier` times `vector` [hidden_size] to the output of block `layer`."""

    vector: torch.Tensor
    layer: int
    multiplier: float


def parse_steer(spec: str) -> tuple[str, int, float]:
    """The parts of "FILE:LAYER:MULTIPLIER". Raises InputError for anything else."""
    match = re.fullmatch(r"(.+):(\d{1,4}):([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,2})?)", str(spec).strip(), re.I)
    if not match:
        raise InputError(f"{str(spec)[:80]!r} is not FILE:LAYER:MULTIPLIER, such as joy:12:1.5.")
    return match[1], int(match[2]), float(match[3])


class Plan:
    """For each row of a batch, what is added to the residual stream, and at which positions.

    What is added to a row at one layer is summed in float32 first and added once, in the model's dtype, so that v with
    -v is exactly nothing. Rows with nothing to add, and multiplier 0, leave the stream untouched.
    """

    def __init__(self, rows: Sequence[Sequence[Steer]], positions: Sequence[Positions], prompt_lengths: Sequence[int]):
        """rows: the additions of each row; positions and prompt_lengths (in tokens): one for each row.

        Raises:
            InputError: an index lies outside its row's prompt.
        """
        for rule, length in zip(positions, prompt_lengths, strict=True):
            rule.check(length)
        self.rules = tuple(positions)
        self.prompt_lengths = torch.tensor(prompt_lengths)[:, None]
        self.sums: dict[int, torch.Tensor] = {}
        for row, steers in enumerate(rows):
            for steer in steers:
                if steer.layer not in self.sums:
                    self.sums[steer.layer] = torch.zeros(len(rows), len(steer.vector), dtype=torch.float32)
                self.sums[steer.layer][row] += steer.multiplier * steer.vector.float()
        self.sums = {layer: total for layer, total in sorted(self.sums.items()) if total.any()}

    def mask(self, positions: torch.Tensor) -> torch.Tensor:
        """Which of `positions` [rows, tokens] are steered."""
        lengths = self.prompt_lengths.to(positions.device)
        covered = [rule.cover(positions[row : row + 1], lengths[row : row + 1]) for row, rule in enumerate(self.rules)]
        return torch.cat(covered)

    def additions(self, positions: torch.Tensor, dtype: torch.dtype) -> list[tuple[int, torch.Tensor]]:
        """By rising layer, what to add to the output of that block: [rows, tokens, hidden_size]."""
        if not self.sums:
            return []
        mask = self.mask(positions)[..., None]
        return [
            (layer, torch.where(mask, total.to(positions.device, dtype)[:, None], 0))
            for layer, total in self.sums.items()
        ]


@torch.no_grad()
def steered_logits(model: SteerableModel, inputs: Inputs, plan: Plan) -> torch.Tensor:
    """One forward pass under `plan`. Returns logits [rows, 1, vocabulary] of the last tokens, in the model's dtype."""
    additions = plan.additions(inputs.positions, model.dtype)
    if not additions:
        return model.call(inputs)
    # A trace a forward pass: nothing stays in the model between passes, whatever happens to the caller.
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
        for layer, addition in additions:
            _add(model, layer, addition)
        logits = nnsight.save(tracer.result)
    return logits


@torch.no_grad()
def steered_logits_at(
    model: SteerableModel, inputs: Inputs, plan: Plan, rows: Sequence[int], columns: Sequence[int]
) -> torch.Tensor:
    """One forward pass under `plan`. Returns float32 logits [places, vocabulary] at the given rows and columns.

    The head runs in float32 over these places only: in bfloat16 its rounding alone moves probabilities by a percent.
    """
    additions = plan.additions(inputs.positions, model.dtype)
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs, every_token=True)) as tracer:
        for layer, addition in additions:
            _add(model, layer, addition)
        model.head.skip(exact_head(model, model.head.input[rows, columns])[None])
        logits = nnsight.save(tracer.result)
    return logits[0]


def _add(model: SteerableModel, layer: int, addition: torch.Tensor) -> None:
    """Inside a trace: add to the output of a block."""
    output = model.blocks[layer].output
    steered = hidden_of(output) + addition.to(hidden_of(output).device)
    model.blocks[layer].output = (steered, *output[1:]) if isinstance(output, tuple) else steered


def exact_head(model: SteerableModel, hidden: torch.Tensor) -> torch.Tensor:
    """The head's logits in float32, [places, vocabulary], of its inputs [places, hidden_size]."""
    head = model.head._module
    bias = None if head.bias is None else head.bias.float()
    return torch.nn.functional.linear(hidden.float(), head.weight.float(), bias)
