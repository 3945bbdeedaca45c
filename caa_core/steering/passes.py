"""Forward passes, plain and steered: the only room that writes into the residual stream.

Each pass is an nnsight trace of its own, so nothing stays in the model between passes, whatever happens to the caller.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import nnsight
import torch

from caa_core.model.loading import BlockOutput, Inputs, SteerableModel, hidden_of
from caa_core.steering.plan import Plan


@torch.no_grad()
def steered_logits(model: SteerableModel, inputs: Inputs, plan: Plan) -> torch.Tensor:
    """One forward pass under `plan`. Returns logits [rows, 1, vocabulary] of the last tokens, in the model's dtype."""
    changes = plan.changes(inputs.positions, model.dtype)
    if not changes:
        return model.call(inputs)
    logits: torch.Tensor
    # A trace a forward pass: nothing stays in the model between passes, whatever happens to the caller.
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
        for layer, change in changes:
            _change(model, layer, change)
        logits = nnsight.save(tracer.result)
    return logits


@dataclass(frozen=True)
class UnsteeredPass:
    """What the unsteered model makes of a batch.

    outputs: of some of its blocks, by layer. hidden, head: what goes into the head at some places, [places,
    hidden_size], and what comes out of it. logits: the model's, float32, [places, vocabulary]; some models scale or cap
    what the head puts out.
    """

    outputs: dict[int, BlockOutput]
    hidden: torch.Tensor
    head: torch.Tensor
    logits: torch.Tensor


@torch.no_grad()
def unsteered_logits_at(
    model: SteerableModel, inputs: Inputs, rows: Sequence[int], columns: Sequence[int], layers: Sequence[int]
) -> UnsteeredPass:
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
    return UnsteeredPass(outputs, hidden, head, logits[0])


@torch.no_grad()
def steered_logits_at(
    model: SteerableModel,
    inputs: Inputs,
    plan: Plan,
    unsteered: UnsteeredPass,
    rows: Sequence[int],
    columns: Sequence[int],
) -> torch.Tensor:
    """The same under `plan`, from its first layer on: the blocks below are not computed again.

    Each row of `inputs` holds copies of the tokens that `unsteered` has seen, one for each of the plan's rows. Returns
    logits [places, copies, vocabulary], where `rows` and `columns` go by place and then by copy. They are the unsteered
    ones and what the head makes of the change, so that the model's dtype rounds the change and not the whole.
    """
    (first, change_there), *further = plan.changes(inputs.positions, model.dtype)
    below = unsteered.outputs[first]
    hidden = hidden_of(below)
    logits: torch.Tensor
    start = _like(below, change_there(hidden.repeat(1, inputs.ids.shape[1] // hidden.shape[1], 1)))
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs, every_token=True)) as tracer:
        for block in model.blocks[: first + 1]:
            block.skip(start)
        for layer, one in further:
            _change(model, layer, one)
        change = model.head.input[rows, columns].view(len(unsteered.hidden), -1, model.hidden_size)
        model.head.skip(_head_after(model, unsteered, change - unsteered.hidden[:, None]))
        logits = nnsight.save(tracer.result)
    return logits


@torch.enable_grad()
def differentiable_logits_at(
    model: SteerableModel,
    inputs: Inputs,
    additions: Mapping[int, torch.Tensor],
    rows: Sequence[int],
    columns: Sequence[int],
) -> torch.Tensor:
    """One forward pass that autograd follows, with something [rows, tokens, hidden_size] added to the output of some
    blocks, by rising layer.

    Returns float32 logits [places, vocabulary] at the given rows and columns.
    """
    logits: torch.Tensor
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs, every_token=True)) as tracer:
        for layer, addition in additions.items():
            _add(model, layer, addition)
        hidden = model.head.input[rows, columns].float()
        model.head.skip(torch.nn.functional.linear(hidden, *_weights(model, torch.float32))[None])
        logits = nnsight.save(tracer.result)
    return logits[0]


@torch.no_grad()
def watch(
    model: SteerableModel, inputs: Inputs, plan: Plan, layers: Sequence[int], tokens: slice = slice(None)
) -> torch.Tensor:
    """The residual stream after some layers under `plan`, with what is done there: in float32, on the CPU.

    Returns [layers, rows, tokens, hidden_size], by rising layer, of those tokens of the batch that `tokens` takes.
    """
    changes = dict(plan.changes(inputs.positions, model.dtype))
    deepest = max(layers)
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
        streams = nnsight.save([])
        for layer in range(deepest + 1):
            if layer in changes:
                _change(model, layer, changes[layer])
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
    logits: torch.Tensor
    with model.nn.trace(ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
        output = model.blocks[-1].output
        hidden = hidden_of(output)
        model.blocks[-1].output = _like(output, streams[:, None].to(hidden.device, hidden.dtype))
        model.head.skip(torch.nn.functional.linear(model.head.input.float(), *_weights(model, torch.float32)))
        logits = nnsight.save(tracer.result)
    return logits[:, 0].float().cpu()


def _head_after(model: SteerableModel, unsteered: UnsteeredPass, change: torch.Tensor) -> torch.Tensor:
    """What the head puts out after a change [places, copies, hidden_size] of what goes in."""
    weight, _ = _weights(model, model.dtype)
    return torch.nn.functional.linear(change.to(model.dtype), weight).float().add_(unsteered.head[:, None])


def _weights(model: SteerableModel, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The head's weight and bias."""
    head = model.head._module
    return head.weight.to(dtype), None if head.bias is None else head.bias.to(dtype)


def _add(model: SteerableModel, layer: int, addition: torch.Tensor) -> None:
    """Inside a trace: add to the output of a block."""
    _change(model, layer, lambda stream: stream + addition.to(stream.device))


def _change(model: SteerableModel, layer: int, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Inside a trace: change the residual stream in the output of a block."""
    output = model.blocks[layer].output
    model.blocks[layer].output = _like(output, change(hidden_of(output)))


def _like(output: BlockOutput, hidden: torch.Tensor) -> BlockOutput:
    """A block's output with another residual stream."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
