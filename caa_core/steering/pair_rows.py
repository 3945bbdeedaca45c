"""A contrast pair as one row of a batch.

Both answers go through the model in one row: the tokens they share once, then the rest of the positive answer, then the
rest of the negative one, which sees the shared tokens but not the positive answer. A pair of lettered answers so costs
two tokens more than its question. Positions are counted in each answer's own tokens, so that whatever goes by positions
(rotary embeddings, sliding windows, what is steered) holds for a row as it does for each answer alone.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from caa_core.errors import InputError
from caa_core.model.loading import Inputs, SteerableModel
from caa_core.model.prompts import RenderedPair

# Tokens of one row, both answers counted: its attention mask grows with their square.
MAX_ROW = 8192


@dataclass(frozen=True)
class PairRow:
    """A pair as one row: `ids` are the shared tokens, the rest of the positive and the rest of the negative answer.

    shared: tokens that both have in common; negative_start: the index at which the negative answer's own begin.
    """

    ids: tuple[int, ...]
    shared: int
    negative_start: int

    @classmethod
    def of(cls, pair: RenderedPair, positive_end: int | None = None, negative_end: int | None = None) -> "PairRow":
        """The row of a pair, or of the first so many tokens of its two sequences."""
        positive, negative = pair.positive.ids[:positive_end], pair.negative.ids[:negative_end]
        shared = min(pair.shared, len(positive), len(negative))
        return cls(positive + negative[shared:], shared, len(positive))

    @classmethod
    def of_one(cls, ids: Sequence[int]) -> "PairRow":
        """A text that stands alone, without another answer."""
        return cls(tuple(ids), len(ids), len(ids))

    def columns(self, negative: Sequence[int]) -> list[int]:
        """Where tokens of the negative sequence lie in the row; those of the positive one lie at their own index."""
        return [i if i < self.shared else self.negative_start + i - self.shared for i in negative]

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def longest(self) -> int:
        """Tokens of the longer of the two sequences."""
        return max(self.negative_start, self.shared + self.length - self.negative_start)

    def check(self, model: SteerableModel, where: str) -> None:
        """Raises InputError, which names `where`, for a row that the model cannot take."""
        for tokens, limit in ((self.longest, model.context_length), (self.length, MAX_ROW)):
            if tokens > limit:
                raise InputError(
                    f"{where} has {tokens} tokens; {model.name} takes {limit} here. Shorten it or leave it out."
                )


# What a layer keeps of the tokens it has read, [rows, heads, tokens, head size] each.
KeysAndValues = tuple[torch.Tensor, torch.Tensor]


def keys_and_values(cache: Cache) -> list[KeysAndValues]:
    """By layer, what a cache holds that was made without a model's config and has been read into."""
    kept = []
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        kept.append((layer.keys, layer.values))
    return kept


@dataclass(frozen=True)
class SharedPrefix:
    """The tokens that all rows begin with (a system message, say), read once: keys and values of each layer."""

    length: int = 0
    layers: tuple[KeysAndValues, ...] = ()

    def cache(self, rows: int) -> DynamicCache:
        """A cache in which each row has read the beginning."""
        return DynamicCache([tuple(kept.expand(rows, -1, -1, -1) for kept in layer) for layer in self.layers])


@torch.no_grad()
def read_shared_prefix(model: SteerableModel, rows: Sequence[PairRow], most: int) -> SharedPrefix:
    """What `rows` begin with, up to `most` tokens."""
    alike = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*(row.ids for row in rows), strict=False))
    length = min(most, len(list(alike)))
    if length <= 0 or len(rows) == 1:
        return SharedPrefix()
    inputs = inputs_of(model, [PairRow(rows[0].ids[:length], length, length)])
    inputs.cache = cache = DynamicCache()
    model.call(inputs)
    return SharedPrefix(length, tuple(keys_and_values(cache)))


def inputs_of(
    model: SteerableModel, batch: Sequence[PairRow], read: Sequence[int] | None = None, copies: int = 1
) -> Inputs:
    """Right-padded rows in which the negative answer continues the shared tokens.

    Args:
        read: how many tokens of each row, no more than the shared ones, a cache already holds, right-padded to the most
            of any row: the inputs are the tokens behind them.
        copies: how many times each row holds these tokens, one copy behind the other. No copy sees another one.
    """
    read = list(read) if read else [0] * len(batch)
    ids, positions, seen = laid_out([(row.ids, row.shared, row.negative_start) for row in batch], read, copies)
    device, before = model.device, max(read)
    window, kinds = windows_of(model.config)
    masks = additive_masks(seen.to(device), positions.to(device), before, window, kinds, model.dtype)
    return Inputs(ids.to(device), positions[:, before:].to(device), masks)


def laid_out(
    rows: Sequence[tuple[Sequence[int], int, int]], read: Sequence[int], copies: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids [rows, tokens], positions [rows, keys] and what each token sees [rows, tokens, keys] of rows of two answers,
    each given by what `PairRow` says of it: ids, shared tokens, where the negative answer's own begin. For the rest see
    `inputs_of`.
    """
    before = max(read)
    width = max(len(row[0]) - n for row, n in zip(rows, read, strict=True))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    # Of every key, in the cache and behind it; padding is seen by itself alone.
    positions = torch.zeros(len(rows), before + width, dtype=torch.long)
    seen = torch.zeros(len(rows), width, before + width, dtype=torch.bool)
    for r, ((tokens, shared, negative_start), n) in enumerate(zip(rows, read, strict=True)):
        own = len(tokens) - n
        ids[r, :own] = torch.tensor(tokens[n:])
        positions[r, :n] = torch.arange(n)
        places = [*range(negative_start), *range(shared, shared + len(tokens) - negative_start)]
        positions[r, before : before + own] = torch.tensor(places[n:])
        seen[r, :, :n] = True
        seen[r, :, before:] = torch.ones(width, width, dtype=torch.bool).tril()
        seen[r, negative_start - n :, before + shared - n : before + negative_start - n] = False
    return _copied(ids, positions, seen, copies)


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


def windows_of(config: Any) -> tuple[int | None, list[str]]:
    """The window of a model's layers that have one, and the kinds of its layers, where the config names them."""
    window = getattr(config, "sliding_window", None)
    kinds = sorted(set(getattr(config, "layer_types", None) or []))
    return (None if kinds == ["full_attention"] else window), kinds


def additive_masks(
    seen: torch.Tensor, positions: torch.Tensor, before: int, window: int | None, kinds: list[str], dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive attention masks from `seen` [rows, tokens, keys], with the window of layers that have one.

    positions: [rows, keys], of which the first `before` are in the cache. window, kinds: see `windows_of`.
    """
    full = _additive(seen, dtype)
    if not window:
        return full
    near = positions[:, before:, None] - positions[:, None, :] < window
    sliding = _additive(seen & near, dtype)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


# Models whose attention has been seen to keep the two answers of a row apart.
_CHECKED: WeakSet[SteerableModel] = WeakSet()


def check_attention_mask(model: SteerableModel) -> None:
    """Make sure, once a model, that a row of two answers reads the same as each answer alone.

    Some older architectures put a mask of their own over the one that they are given, or have no positions.

    Raises:
        InputError: they differ, so vectors of this model would be wrong.
    """
    if model in _CHECKED or model.elsewhere:  # where it runs elsewhere, that is looked at when it is first asked for
        return
    if hasattr(model.config, "attention_types"):
        raise InputError(
            f"{model.name} (GPT-Neo) counts its attention window in places, so its vectors would be wrong."
        )
    shared, answers = (1, 2, 3, 4), ((5, 6, 7), (8, 9, 10))
    row = PairRow(shared + answers[0] + answers[1], 4, 7)
    try:
        together = [model.last_residual(inputs_of(model, [row]))[0, column] for column in (6, 9)]
        alone = [model.last_residual(model.plain_inputs(shared + answer))[0, -1] for answer in answers]
    except Exception as error:  # each architecture fails in its own way
        raise InputError(f"{model.name} does not take the attention mask that making vectors needs.") from error
    worst = max(((a - b).float().norm() / b.float().norm()).item() for a, b in zip(together, alone, strict=True))
    # Rounding to 8 bits alone moves it by up to a tenth; a second answer that sees the first one is more than one away.
    if worst > (0.01 if model.precision == "float32" else 0.3):
        raise InputError(f"{model.name} does not keep to the attention mask that making vectors needs.")
    _CHECKED.add(model)
