"""The same rows, each steered by a plan of its own, with bare hooks as the floor; and two of them, the second steered,
in every form that nnsight offers.

Trace blocks are compiled from this file, so they stand in functions of the module.
"""

from collections.abc import Callable, Sequence
from functools import partial

import nnsight
import torch
from nnsight.intervention.envoy import Envoy
from transformers import DynamicCache, PreTrainedModel

from caa_core.model.loading import BlockOutput, SteerableModel, hidden_of
from caa_core.steering.interventions import Steer

Forward = Callable[[torch.Tensor, DynamicCache], torch.Tensor]


def bare(module: PreTrainedModel, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """One forward pass of a module that nnsight may or may not have. Returns the last logits, [rows, vocabulary]."""
    keep = torch.tensor([-1])
    return module(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits[:, -1]


@torch.no_grad()
def decode(ids: torch.Tensor, steps: int, forward: Forward) -> None:
    """Greedy steps behind prompts [rows, tokens]."""
    cache = DynamicCache()
    for _ in range(steps):
        ids = forward(ids, cache).argmax(-1, keepdim=True)


def additions(plans: Sequence[Sequence[Steer]], dtype: torch.dtype) -> dict[int, torch.Tensor]:
    """What a plan a row adds, by layer: [rows, 1, hidden_size]; zeros for rows that are not steered there."""
    found: dict[int, torch.Tensor] = {}
    for row, steer in [(row, steer) for row, plan in enumerate(plans) for steer in plan]:
        added = found.setdefault(steer.layer, torch.zeros(len(plans), 1, len(steer.vector)))
        added[row] += steer.multiplier * steer.vector
    return {layer: added.to(dtype) for layer, added in found.items()}


def addition(steer: Steer, dtype: torch.dtype) -> torch.Tensor:
    """[2, 1, hidden_size]: nothing for the first row."""
    return additions([(), (steer,)], dtype)[steer.layer]


def hooks(
    module: PreTrainedModel,
    blocks: Sequence[torch.nn.Module],
    ids: torch.Tensor,
    steps: int,
    plans: Sequence[Sequence[Steer]],
) -> None:
    """A bare forward hook on each block of a plain module where a plan adds something. ids: [rows, tokens]."""
    handles = [
        blocks[layer].register_forward_hook(partial(_add, added))
        for layer, added in additions(plans, module.dtype).items()
    ]
    try:
        decode(ids, steps, partial(bare, module))
    finally:
        for handle in handles:
            handle.remove()


def _add(added: torch.Tensor, _module: torch.nn.Module, _inputs: object, output: BlockOutput) -> None:
    hidden_of(output)[:, -1:] += added


def traces(model: SteerableModel, ids: torch.Tensor, steps: int, steer: Steer) -> None:
    """A trace for each step."""
    added = addition(steer, model.dtype)
    decode(ids, steps, lambda ids, cache: _traced(model, ids, cache, steer.layer, added))


def _traced(
    model: SteerableModel, ids: torch.Tensor, cache: DynamicCache, layer: int, added: torch.Tensor
) -> torch.Tensor:
    with model.nn.trace(ids, fn=lambda *_, **__: bare(model.module, ids, cache)) as tracer:
        model.blocks[layer].output[:, -1:] += added
        logits = nnsight.save(tracer.result)
    return logits


def edit(model: SteerableModel, ids: torch.Tensor, steps: int, steer: Steer) -> None:
    """An edit stored once, and run in a trace for each step that holds nothing else."""
    added = addition(steer, model.dtype)
    edited = _edited(model, steer.layer, added)
    decode(ids, steps, lambda ids, cache: _run(model, edited, ids, cache))


def _edited(model: SteerableModel, layer: int, added: torch.Tensor) -> Envoy:
    path = model.blocks[layer].path.removeprefix("model.")
    with model.nn.edit() as (_tracer, edited):
        edited.get(path).output[:, -1:] += added
    return edited


def _run(model: SteerableModel, edited: Envoy, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    with edited.trace(ids, fn=lambda *_, **__: bare(model.module, ids, cache)) as tracer:
        logits = nnsight.save(tracer.result)
    return logits


def iterator(model: SteerableModel, ids: torch.Tensor, steps: int, steer: Steer) -> None:
    """One trace around the whole loop, which writes at every occurrence of the block."""
    added = addition(steer, model.dtype)
    with model.nn.trace(ids, fn=lambda *_, **__: decode(ids, steps, partial(bare, model.module))) as tracer:
        for _step in tracer.iter[:steps]:
            model.blocks[steer.layer].output[:, -1:] += added
