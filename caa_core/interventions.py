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

NO_END = 1 << 62
POSITIONS = ("after-prompt", "all", "prompt", "last-prompt", "generated")


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
        if text in POSITIONS:
            return cls(text)
        if match := re.fullmatch(r"index:(-?\d{1,6})", text.strip()):
            return cls("index", int(match[1]))
        raise InputError(f"There are no steered positions {text!r}: choose {', '.join(POSITIONS)} or index:N.")

    def __str__(self) -> str:
        return f"index:{self.index}" if self.rule == "index" else self.rule

    def span(self, prompt_length: int, thought: int = 0) -> tuple[int, int]:
        """The first position that is steered, and the one behind the last, with a prompt and a thought of so many
        tokens.

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

    def __init__(
        self,
        rows: Sequence[Sequence[Steer]],
        positions: Sequence[Positions],
        prompt_lengths: Sequence[int],
        thoughts: Sequence[int] = (),
    ):
        """rows: the additions of each row; positions, prompt_lengths and, where there are any, lengths of thoughts (in
        tokens): one for each row.

        Raises:
            InputError: an index lies outside its row's prompt.
        """
        lengths = zip(positions, prompt_lengths, thoughts or [0] * len(rows), strict=True)
        spans = [rule.span(prompt, thought) for rule, prompt, thought in lengths]
        self.spans = torch.tensor(spans)
        self.sums: dict[int, torch.Tensor] = {}
        for row, steers in enumerate(rows):
            for steer in steers:
                if steer.layer not in self.sums:
                    self.sums[steer.layer] = torch.zeros(len(rows), len(steer.vector), dtype=torch.float32)
                self.sums[steer.layer][row] += steer.multiplier * steer.vector.float()
        self.sums = {layer: total for layer, total in sorted(self.sums.items()) if total.any()}

    @property
    def first_layer(self) -> int | None:
        """The lowest layer at which anything is added."""
        return next(iter(self.sums), None)

    def mask(self, positions: torch.Tensor) -> torch.Tensor:
        """Which of `positions` [rows, tokens] are steered."""
        first, end = self.spans.to(positions.device).unbind(1)
        return (positions >= first[:, None]) & (positions < end[:, None])

    def additions(self, positions: torch.Tensor, dtype: torch.dtype) -> list[tuple[int, torch.Tensor]]:
        """By rising layer, what to add to the output of that block: [rows, tokens, hidden_size].

        A batch may have fewer rows than the plan, each of which then holds the tokens of several of the plan's rows,
        one behind the other (see `branches.inputs_of`).
        """
        if not self.sums:
            return []
        mask = self.mask(positions.reshape(len(self.spans), -1))[..., None]
        return [
            (layer, torch.where(mask, total.to(positions.device, dtype)[:, None], 0).view(*positions.shape, -1))
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


@dataclass(frozen=True)
class Unsteered:
    """What the unsteered model makes of a batch.

    outputs: of some of its blocks, by layer. hidden, head: what goes into the head at some places, [places,
    hidden_size], and what comes out of it. logits: the model's, float32, [places, vocabulary]; some models scale or cap
    what the head puts out.
    """

    outputs: dict[int, torch.Tensor | tuple]
    hidden: torch.Tensor
    head: torch.Tensor
    logits: torch.Tensor


@torch.no_grad()
def unsteered_logits_at(
    model: SteerableModel, inputs: Inputs, rows: Sequence[int], columns: Sequence[int], layers: Sequence[int]
) -> Unsteered:
    """One forward pass, with logits at the given rows and columns.

    The head runs in float32: in bfloat16 its rounding alone moves probabilities by a percent.
    """
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs, every_token=True)) as tracer:
        outputs = nnsight.save({})
        for layer in sorted(layers):
            outputs[layer] = model.blocks[layer].output
        hidden = nnsight.save(model.head.input[rows, columns].float())
        head = nnsight.save(torch.nn.functional.linear(hidden, *_weights(model, torch.float32)))
        model.head.skip(head[None])
        logits = nnsight.save(tracer.result)
    return Unsteered(outputs, hidden, head, logits[0])


@torch.no_grad()
def steered_logits_at(
    model: SteerableModel,
    inputs: Inputs,
    plan: Plan,
    unsteered: Unsteered,
    rows: Sequence[int],
    columns: Sequence[int],
) -> torch.Tensor:
    """The same under `plan`, from its first layer on: the blocks below are not computed again.

    Each row of `inputs` holds copies of the tokens that `unsteered` has seen, one for each of the plan's rows. Returns
    logits [places, copies, vocabulary], where `rows` and `columns` go by place and then by copy. They are the unsteered
    ones and what the head makes of the change, so that the model's dtype rounds the change and not the whole.
    """
    (first, addition), *further = plan.additions(inputs.positions, model.dtype)
    below = unsteered.outputs[first]
    hidden = hidden_of(below)
    start = _like(below, hidden.repeat(1, addition.shape[1] // hidden.shape[1], 1) + addition.to(hidden.device))
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs, every_token=True)) as tracer:
        for block in model.blocks[: first + 1]:
            block.skip(start)
        for layer, addition in further:
            _add(model, layer, addition)
        change = model.head.input[rows, columns].view(len(unsteered.hidden), -1, model.hidden_size)
        model.head.skip(_head_after(model, unsteered, change - unsteered.hidden[:, None]))
        logits = nnsight.save(tracer.result)
    return logits


@torch.no_grad()
def watch(
    model: SteerableModel, inputs: Inputs, plan: Plan, layers: Sequence[int], tokens: slice = slice(None)
) -> torch.Tensor:
    """The residual stream after some layers under `plan`, with what is added there: in float32, on the CPU.

    Returns [layers, rows, tokens, hidden_size], by rising layer, of those tokens of the batch that `tokens` takes.
    """
    additions = dict(plan.additions(inputs.positions, model.dtype))
    deepest = max(layers)
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
        streams = nnsight.save([])
        for layer in range(deepest + 1):
            if layer in additions:
                _add(model, layer, additions[layer])
            if layer in layers:
                # A copy: blocks further up may change the stream in place.
                streams.append(hidden_of(model.blocks[layer].output)[:, tokens].to("cpu", torch.float32, copy=True))
        tracer.stop()
    return torch.stack(streams)


@torch.no_grad()
def logits_of(model: SteerableModel, streams: torch.Tensor) -> torch.Tensor:
    """What the final norm and the head, in float32, make of residual streams [places, hidden_size].

    Returns logits [places, vocabulary] on the CPU, with whatever the model scales or caps behind its head.
    """
    # Each stream takes the place of what the last block puts out for a sequence of one token.
    ids = torch.zeros(len(streams), 1, dtype=torch.long, device=model.device)
    inputs = Inputs(ids, torch.zeros_like(ids), torch.ones_like(ids))
    with model.nn.trace(ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
        output = model.blocks[-1].output
        hidden = hidden_of(output)
        model.blocks[-1].output = _like(output, streams[:, None].to(hidden.device, hidden.dtype))
        model.head.skip(torch.nn.functional.linear(model.head.input.float(), *_weights(model, torch.float32)))
        logits = nnsight.save(tracer.result)
    return logits[:, 0].float().cpu()


def _head_after(model: SteerableModel, unsteered: Unsteered, change: torch.Tensor) -> torch.Tensor:
    """What the head puts out after a change [places, copies, hidden_size] of what goes in."""
    weight, _ = _weights(model, model.dtype)
    return torch.nn.functional.linear(change.to(model.dtype), weight).float().add_(unsteered.head[:, None])


def _weights(model: SteerableModel, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The head's weight and bias."""
    head = model.head._module
    return head.weight.to(dtype), None if head.bias is None else head.bias.to(dtype)


def _add(model: SteerableModel, layer: int, addition: torch.Tensor) -> None:
    """Inside a trace: add to the output of a block."""
    output = model.blocks[layer].output
    hidden = hidden_of(output)
    model.blocks[layer].output = _like(output, hidden + addition.to(hidden.device))


def _like(output: torch.Tensor | tuple, hidden: torch.Tensor) -> torch.Tensor | tuple:
    """A block's output with another residual stream."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
