"""The same things written as plainly as possible: one text at a time, plain hooks, no padding, no cache."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from caa_core.model.loading import SteerableModel, hidden_of


def modules(model: SteerableModel) -> list[torch.nn.Module]:
    return [block._module for block in model.blocks]


@torch.no_grad()
def residuals(model: SteerableModel, ids) -> torch.Tensor:
    """[layers, tokens, hidden_size] residual stream after each block."""
    seen = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: seen.append(hidden_of(out)[0].clone()))
        for block in modules(model)
    ]
    try:
        model.module(torch.tensor([list(ids)]))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen)


@torch.no_grad()
def steered_logits(model: SteerableModel, ids, additions, steered) -> torch.Tensor:
    """[vocabulary] logits of the last token; `additions` are (layer, what is added), at the indices `steered`."""

    def steer(addition):
        def hook(_module, _inputs, out):
            hidden_of(out)[0, steered] += addition

        return hook

    hooks = [modules(model)[layer].register_forward_hook(steer(addition)) for layer, addition in additions]
    try:
        return model.module(torch.tensor([list(ids)])).logits[0, -1]
    finally:
        for hook in hooks:
            hook.remove()


def write(model: SteerableModel, ids, additions, covers, tokens: int) -> list[int]:
    """Greedy tokens, computed anew from the whole text at every step; `covers(i)` says whether token i is steered."""
    ids, written = list(ids), []
    for _ in range(tokens):
        steered = [i for i in range(len(ids)) if covers(i)]
        token = steered_logits(model, ids, additions, steered).argmax().item()
        if token in model.end_tokens:
            break
        ids.append(token)
        written.append(token)
    return written


@contextmanager
def short_of_memory(model: SteerableModel) -> Iterator[list[int]]:
    """Inside it, block 2 has memory for one row only. Gives the rows that were tried."""
    rows = []

    def check(_module, inputs):
        rows.append(inputs[0].shape[0])
        if inputs[0].shape[0] > 1:
            raise torch.OutOfMemoryError("no room")

    hook = modules(model)[2].register_forward_pre_hook(check)
    try:
        yield rows
    finally:
        hook.remove()
