"""The same things written as plainly as possible: one text at a time, plain hooks, no padding, no cache."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from caa_core.model.loading import SteerableModel, hidden_of


def modules(model: SteerableModel) -> list[torch.nn.Module]:
    return [block._module for block in model.blocks]


def handing(look: Callable[[torch.Tensor], object]) -> Callable:
    """A hook that hands on what a block puts out for the first row, [tokens, hidden_size]."""

    def hook(_module, _inputs, out) -> None:
        look(hidden_of(out)[0])

    return hook


@contextmanager
def hooked(model: SteerableModel, looks: Iterable[tuple[int, Callable[[torch.Tensor], object]]]) -> Iterator[None]:
    """Inside it, each layer's function sees what its block puts out, and may change it in place."""
    with ExitStack() as stack:
        for layer, look in looks:
            stack.callback(modules(model)[layer].register_forward_hook(handing(look)).remove)
        yield


@torch.no_grad()
def logits(model: SteerableModel, ids) -> torch.Tensor:
    """[tokens, vocabulary] of one text."""
    return model.module(torch.tensor([list(ids)])).logits[0]


def residuals(model: SteerableModel, ids) -> torch.Tensor:
    """[layers, tokens, hidden_size] residual stream after each block."""
    read: list[torch.Tensor] = []
    with hooked(model, ((layer, lambda hidden: read.append(hidden.clone())) for layer in range(model.num_layers))):
        logits(model, ids)
    return torch.stack(read)


def steered_logits(model: SteerableModel, ids, additions, steered) -> torch.Tensor:
    """[vocabulary] logits of the last token, see `all_steered_logits`."""
    return all_steered_logits(model, ids, additions, steered)[-1]


def all_steered_logits(model: SteerableModel, ids, additions, steered) -> torch.Tensor:
    """[tokens, vocabulary] of one text; `additions` are (layer, what is added), at the indices `steered`, or a layer
    and what is made of the residual stream there, see `changes_by`.
    """

    def adding(addition):
        def add(hidden: torch.Tensor) -> None:
            hidden[steered] = addition(hidden[steered]) if callable(addition) else hidden[steered] + addition

        return add

    with hooked(model, ((layer, adding(addition)) for layer, addition in additions)):
        return logits(model, ids)


def changes_by(steers):
    """The formulas of operations, for `steered_logits`: each a layer, and what is made of streams [tokens, hidden]."""
    return [(steer.layer, partial(_changed, steer)) for steer in steers]


def _changed(steer, h):
    v, m, name = steer.vector, steer.multiplier, steer.operation.name
    if name in ("add", "keep-norm"):
        after = h + m * v
        return after if name == "add" else after * (h.norm(dim=1) / after.norm(dim=1))[:, None]
    along = h @ v / v.norm()
    taken = along if name == "ablate" else torch.clamp(along - steer.operation.cap, min=0)
    return h - m * torch.outer(taken, v / v.norm())


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
