"""A contrast pair as one row of a batch.

Both answers go through the model in one row: the tokens they share once, then the rest of the positive answer, then the
rest of the negative one, which sees the shared tokens but not the positive answer. A pair of lettered answers so costs
two tokens more than its question. Positions are counted in each answer's own tokens, so that whatever goes by positions
(rotary embeddings, sliding windows, what is steered) holds for a row as it does for each answer alone.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from transformers import DynamicCache

from caa_core.errors import InputError
from caa_core.machine import free_memory
from caa_core.model import Inputs, SteerableModel
from caa_core.prompts import RenderedPair

# Tokens of one forward pass, which is what a person who waits for the model waits for.
TOKENS_PER_BATCH = {"cpu": 256, "cuda": 16384}

# How much of the free memory a batch may take, and how many times the hidden size a token's activations take.
SHARE = 0.25
ACTIVATIONS = 24

# Tokens of one row, both answers counted: its attention mask grows with their square.
MAX_ROW = 8192


@dataclass(frozen=True)
class Branches:
    """A pair as one row: `ids` are the shared tokens, the rest of the positive and the rest of the negative answer.

    shared: tokens that both have in common; fork: the index at which the negative answer's own begin.
    """

    ids: tuple[int, ...]
    shared: int
    fork: int

    @classmethod
    def of(cls, pair: RenderedPair, positive_end: int | None = None, negative_end: int | None = None) -> "Branches":
        """The row of a pair, or of the first so many tokens of its two sequences."""
        positive, negative = pair.positive.ids[:positive_end], pair.negative.ids[:negative_end]
        shared = min(pair.shared, len(positive), len(negative))
        return cls(positive + negative[shared:], shared, len(positive))

    @classmethod
    def of_one(cls, ids: Sequence[int]) -> "Branches":
        """A text that stands alone, without another answer."""
        return cls(tuple(ids), len(ids), len(ids))

    def columns(self, negative: Sequence[int]) -> list[int]:
        """Where tokens of the negative sequence lie in the row; those of the positive one lie at their own index."""
        return [i if i < self.shared else self.fork + i - self.shared for i in negative]

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def longest(self) -> int:
        """Tokens of the longer of the two sequences."""
        return max(self.fork, self.shared + self.length - self.fork)

    def check(self, model: SteerableModel, where: str) -> None:
        """Raises InputError, which names `where`, for a row that the model cannot take."""
        for tokens, limit in ((self.longest, model.context_length), (self.length, MAX_ROW)):
            if tokens > limit:
                raise InputError(
                    f"{where} has {tokens} tokens; {model.name} takes {limit} here. Shorten it or leave it out."
                )


def budget(model: SteerableModel) -> int:
    """Tokens of one forward pass on this model's device, as far as its free memory goes."""
    device = model.device.type
    return min(TOKENS_PER_BATCH.get(device, TOKENS_PER_BATCH["cpu"]), cache_budget(model))


def cache_budget(model: SteerableModel) -> int:
    """Tokens whose keys, values and activations fit into a share of the memory that is free now; one at least."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = 2 * model.num_layers * heads * width + ACTIVATIONS * config.hidden_size
    return max(1, int(SHARE * free_memory(model.device.type) / numbers / model.dtype.itemsize))


def batches(
    rows: Sequence[Branches], tokens: int, fits: Callable[[list[int]], bool] = lambda batch: True
) -> Iterator[list[int]]:
    """Indices of rows of similar length together, longest first, at most `tokens` a batch with the padding; `fits` may
    set further bounds.
    """
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: rows[i].length, reverse=True):
        if batch and ((len(batch) + 1) * rows[batch[0]].length > tokens or not fits([*batch, index])):
            yield batch
            batch = []
        batch.append(index)
    yield batch


def in_halves(batch: list[int], work: Callable[[list[int]], Iterator[Any]]) -> Iterator[Any]:
    """What `work` yields with a batch; where memory runs out, with its halves.

    Raises:
        InputError: not even one row fits.
    """
    try:
        yield from work(batch)
        return
    except Exception as error:
        if not out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(batch) == 1:
        raise InputError("Memory runs out with even one row: close other programs, or choose a smaller model.")
    for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
        yield from in_halves(half, work)


def out_of_memory(error: Exception) -> bool:
    """Whether that is what went wrong: torch names it on a GPU; on a CPU it is a plain error of its allocator."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@dataclass(frozen=True)
class Beginning:
    """The tokens that all rows begin with (a system message, say), read once: keys and values of each layer."""

    length: int = 0
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    def cache(self, rows: int) -> DynamicCache:
        """A cache in which each row has read the beginning."""
        return DynamicCache([[kept.expand(rows, -1, -1, -1) for kept in layer] for layer in self.layers])


@torch.no_grad()
def read_beginning(model: SteerableModel, rows: Sequence[Branches], most: int) -> Beginning:
    """What `rows` begin with, up to `most` tokens."""
    alike = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*(row.ids for row in rows), strict=False))
    length = min(most, len(list(alike)))
    if length <= 0 or len(rows) == 1:
        return Beginning()
    inputs = inputs_of(model, [Branches(rows[0].ids[:length], length, length)])
    inputs.cache = DynamicCache()
    model.call(inputs)
    return Beginning(length, tuple((layer.keys, layer.values) for layer in inputs.cache.layers))


def inputs_of(
    model: SteerableModel, batch: Sequence[Branches], read: Sequence[int] | None = None, copies: int = 1
) -> Inputs:
    """Right-padded rows in which the negative answer continues the shared tokens.

    Args:
        read: how many tokens of each row, no more than the shared ones, a cache already holds, right-padded to the most
            of any row: the inputs are the tokens behind them.
        copies: how many times each row holds these tokens, one copy behind the other. No copy sees another one.
    """
    read = list(read) if read else [0] * len(batch)
    before = max(read)
    width = max(row.length - n for row, n in zip(batch, read, strict=True))
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    # Of every key, in the cache and behind it; padding is seen by itself alone.
    positions = torch.zeros(len(batch), before + width, dtype=torch.long)
    seen = torch.zeros(len(batch), width, before + width, dtype=torch.bool)
    for r, (row, n) in enumerate(zip(batch, read, strict=True)):
        own = row.length - n
        ids[r, :own] = torch.tensor(row.ids[n:])
        positions[r, :n] = torch.arange(n)
        places = [*range(row.fork), *range(row.shared, row.shared + row.length - row.fork)]
        positions[r, before : before + own] = torch.tensor(places[n:])
        seen[r, :, :n] = True
        seen[r, :, before:] = torch.ones(width, width, dtype=torch.bool).tril()
        seen[r, row.fork - n :, before + row.shared - n : before + row.fork - n] = False
    ids, positions, seen = _copied(ids, positions, seen, copies)
    device = model.device
    masks = _masks(model, seen.to(device), positions.to(device), before)
    return Inputs(ids.to(device), positions[:, before:].to(device), masks)


def _copied(
    ids: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, copies: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`copies` of the tokens behind each other, all of which see the cache, and each itself."""
    before = positions.shape[1] - ids.shape[1]
    own = torch.kron(torch.eye(copies, dtype=torch.bool), seen[..., before:])
    return (
        ids.repeat(1, copies),
        torch.cat([positions[:, :before], positions[:, before:].repeat(1, copies)], dim=1),
        torch.cat([seen[..., :before].repeat(1, copies, 1), own], dim=2),
    )


def _masks(
    model: SteerableModel, seen: torch.Tensor, positions: torch.Tensor, before: int
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive attention masks from `seen` [rows, tokens, keys], with the window of layers that have one.

    positions: [rows, keys], of which the first `before` are in the cache.
    """
    window = getattr(model.config, "sliding_window", None)
    kinds = set(getattr(model.config, "layer_types", None) or [])
    full = _additive(seen, model.dtype)
    if not window or kinds == {"full_attention"}:
        return full
    near = positions[:, before:, None] - positions[:, None, :] < window
    sliding = _additive(seen & near, model.dtype)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


# Models whose attention has been seen to keep the two answers of a row apart.
_TRUSTED: WeakSet[SteerableModel] = WeakSet()


def trust(model: SteerableModel) -> None:
    """Make sure, once a model, that a row of two answers reads the same as each answer alone.

    Some older architectures put a mask of their own over the one that they are given, or have no positions.

    Raises:
        InputError: they differ, so vectors of this model would be wrong.
    """
    if model in _TRUSTED:
        return
    if hasattr(model.config, "attention_types"):
        raise InputError(
            f"{model.name} (GPT-Neo) counts its attention window in places, so its vectors would be wrong."
        )
    shared, answers = (1, 2, 3, 4), ((5, 6, 7), (8, 9, 10))
    row = Branches(shared + answers[0] + answers[1], 4, 7)
    try:
        together = [model.last_residual(inputs_of(model, [row]))[0, column] for column in (6, 9)]
        alone = [model.last_residual(model.plain_inputs(shared + answer))[0, -1] for answer in answers]
    except Exception as error:  # each architecture fails in its own way
        raise InputError(f"{model.name} does not take the attention mask that making vectors needs.") from error
    worst = max(((a - b).float().norm() / b.float().norm()).item() for a, b in zip(together, alone, strict=True))
    if worst > (0.01 if model.dtype == torch.float32 else 0.1):
        raise InputError(f"{model.name} does not keep to the attention mask that making vectors needs.")
    _TRUSTED.add(model)
