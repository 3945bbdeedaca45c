"""How many rows go through the model at once: by tokens, by free memory, and by halves where it falls short."""

from collections.abc import Callable, Iterator, Sequence

import torch

from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.model.machine import free_memory
from caa_core.progress import Event
from caa_core.steering.pair_rows import PairRow

# Tokens of one forward pass, which is what a person who waits for the model waits for.
TOKENS_PER_BATCH = {"cpu": 256, "cuda": 16384}

# How much of the free memory a batch may take, and how many times the hidden size a token's activations take.
SHARE = 0.25

ACTIVATIONS = 24


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
    rows: Sequence[PairRow], tokens: int, fits: Callable[[list[int]], bool] = lambda batch: True
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


def in_halves(batch: list[int], work: Callable[[list[int]], Iterator[Event]]) -> Iterator[Event]:
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
