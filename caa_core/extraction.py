"""Contrast pairs to steering vectors: read the residual stream at both answers, average the difference.

Contrastive Activation Addition, Panickssery et al., "Steering Llama 2 via Contrastive Activation Addition",
arXiv 2312.06681, section 3.

Both answers of a pair go through the model in one row: the tokens they share once, then the rest of the positive
answer, then the rest of the negative one, which sees the shared tokens but not the positive answer. A pair of lettered
answers so costs two tokens more than its question.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakSet

import nnsight
import torch

from caa_core.datasets import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.model import Inputs, SteerableModel, hidden_of
from caa_core.progress import Progress
from caa_core.prompts import RenderedPair, render_pair
from caa_core.vectors import Provenance, SteeringVector

# Tokens of one forward pass. On a CPU larger batches are no faster a token, and a person who waits for the
# model waits for the batch.
TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 16384}

# Tokens of one row, both answers counted: its attention mask grows with their square.
MAX_ROW = 8192
RENDERED_AT_ONCE = 50


@dataclass(frozen=True)
class Branches:
    """A pair as one row: `ids` are the shared tokens, the rest of the positive and the rest of the negative answer.

    `positive` and `negative` are the row's indices at which the stream is read. `merged`: see `prompts.Answer`.
    """

    ids: tuple[int, ...]
    shared: int
    fork: int
    positive: tuple[int, ...]
    negative: tuple[int, ...]
    merged: bool = False

    @classmethod
    def of(cls, pair: RenderedPair, at_letter: bool) -> "Branches":
        """Read at the token where the answers part (`at_letter`), else over each answer's own tokens."""
        shared = pair.shared
        positive, negative = pair.positive.ids, pair.negative.ids
        if at_letter:
            positive, negative = positive[: shared + 1], negative[: shared + 1]
            starts = (shared, shared)
        else:
            starts = (pair.positive.start, pair.negative.start)
        fork = len(positive)
        own = range(starts[0], fork)
        # An index of the negative sequence lies in the shared part or behind the positive answer.
        other = (i if i < shared else fork + i - shared for i in range(starts[1], len(negative)))
        merged = pair.positive.merged or pair.negative.merged
        return cls(positive + negative[shared:], shared, fork, tuple(own), tuple(other), merged)

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def longest(self) -> int:
        """Tokens of the longer of the two sequences."""
        return max(self.fork, self.shared + self.length - self.fork)


def extract(
    model: SteerableModel,
    dataset: Dataset,
    layers: Sequence[int] | None = None,
    name: str = "",
) -> Generator[Progress, None, SteeringVector]:
    """Mean difference of the residual stream between positive and negative answers, at each layer.

    Read at the letter for multiple-choice pairs (the first token at which the answers differ), and as the mean over
    the answer's own tokens for free text. Yields `Progress` over the pairs; returns the vector.

    Args:
        layers: which ones; all by default.

    Raises:
        InputError: a layer that the model does not have, a pair whose answers do not part or that is too long.
    """
    layers = sorted({model.check_layer(layer) for layer in layers}) if layers is not None else range(model.num_layers)
    if not layers:
        raise InputError("Choose at least one layer.")
    rows = yield from _rows(model, dataset)
    progress = Progress(len(rows), "pairs", sum(row.length for row in rows))
    if merged := sum(row.merged for row in rows):
        progress.note = (
            f"In {merged} pairs a token holds the end of the prompt and the beginning of the answer; it was "
        )
        progress.note += "taken for the answer's."
    yield progress

    total = torch.zeros(len(layers), model.hidden_size, dtype=torch.float32)
    norms = []
    for batch in _batches(rows, TOKENS_PER_BATCH.get(model.device.type, TOKENS_PER_BATCH["cpu"])):
        difference, seen = _read(model, batch, list(layers))
        total += difference
        norms.append(seen)
        yield progress.advance(len(batch), sum(row.length for row in batch))

    mean = total / len(rows)
    medians = torch.cat(norms, dim=1).median(dim=1).values
    lettered = dataset.is_lettered
    return SteeringVector(
        name or dataset.name,
        {layer: mean[i].clone() for i, layer in enumerate(layers)},
        {layer: medians[i].item() for i, layer in enumerate(layers)},
        Provenance(
            model=model.name,
            model_fingerprint=model.fingerprint,
            num_layers=model.num_layers,
            method="mean-difference",
            read_position="letter" if lettered else "answer-mean",
            dataset=dataset.name,
            dataset_sha256=dataset.sha256,
            num_pairs=len(rows),
            chat_template_sha256=model.template_sha256,
        ),
    )


# Models whose attention has been seen to keep the two answers of a row apart.
_TRUSTED: WeakSet[SteerableModel] = WeakSet()


def _trust(model: SteerableModel) -> None:
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
    row = Branches(shared + answers[0] + answers[1], 4, 7, (6,), (9,))
    try:
        together = [model.last_residual(_inputs(model, [row]))[0, column] for column in (6, 9)]
        alone = [model.last_residual(model.plain_inputs(shared + answer))[0, -1] for answer in answers]
    except Exception as error:  # each architecture fails in its own way
        raise InputError(f"{model.name} does not take the attention mask that making vectors needs.") from error
    worst = max(((a - b).float().norm() / b.float().norm()).item() for a, b in zip(together, alone, strict=True))
    if worst > (0.01 if model.dtype == torch.float32 else 0.1):
        raise InputError(f"{model.name} does not keep to the attention mask that making vectors needs.")
    _TRUSTED.add(model)


def _rows(model: SteerableModel, dataset: Dataset) -> Generator[Progress, None, list[Branches]]:
    """All pairs as rows, after making sure that rows work on this model."""
    progress = Progress(len(dataset.pairs), "pairs rendered", len(dataset.pairs))
    yield progress
    _trust(model)
    rows = []
    for pair in dataset.pairs:
        rows.append(_branches(model, dataset, pair))
        if len(rows) % RENDERED_AT_ONCE == 0:
            yield progress.advance(RENDERED_AT_ONCE, RENDERED_AT_ONCE)
    return rows


def _branches(model: SteerableModel, dataset: Dataset, pair: ContrastPair) -> Branches:
    rendered = render_pair(model.tokenizer, pair)
    if dataset.is_lettered and not rendered.part:
        raise InputError(f"{dataset.name}, pair {pair.line}: its answers do not part in any token of {model.name}.")
    row = Branches.of(rendered, at_letter=dataset.is_lettered)
    if not row.positive or not row.negative:
        raise InputError(f"{dataset.name}, pair {pair.line}: an answer has no token of its own under {model.name}.")
    for tokens, limit in ((row.longest, model.context_length), (row.length, MAX_ROW)):
        if tokens > limit:
            raise InputError(
                f"{dataset.name}, pair {pair.line} has {tokens} tokens; {model.name} takes {limit} here. "
                "Shorten it or leave it out."
            )
    return row


def _batches(rows: Sequence[Branches], budget: int) -> Iterator[list[Branches]]:
    """Rows of similar length together, longest first, at most `budget` tokens a batch with the padding."""
    batch: list[Branches] = []
    for row in sorted(rows, key=lambda row: row.length, reverse=True):
        if batch and (len(batch) + 1) * batch[0].length > budget:
            yield batch
            batch = []
        batch.append(row)
    yield batch


@torch.no_grad()
def _read(model: SteerableModel, batch: list[Branches], layers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One forward pass over a batch of pairs.

    Returns the sum over pairs of positive minus negative, [layers, hidden_size], and the norms of the residual stream
    at every position read, [layers, positions]; both float32, on the CPU.
    """
    inputs = _inputs(model, batch)
    rows, columns, weights = _readings(batch)
    weights = weights.to(model.device)
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
        differences, norms = nnsight.save([]), nnsight.save([])
        for layer in layers:
            stream = hidden_of(model.blocks[layer].output)[rows, columns].float()
            differences.append((weights.to(stream.device) @ stream).cpu())
            norms.append(stream.norm(dim=-1).cpu())
        tracer.stop()  # neither the blocks behind the deepest layer wanted nor the head are computed
    return torch.stack(differences), torch.stack(norms)


def _readings(batch: list[Branches]) -> tuple[list[int], list[int], torch.Tensor]:
    """Row and column of every position read, and its weight in the sum over pairs of positive minus negative mean."""
    readings = [
        (row, column, sign / len(columns))
        for row, pair in enumerate(batch)
        for sign, columns in ((1, pair.positive), (-1, pair.negative))
        for column in columns
    ]
    rows, columns, weights = zip(*readings, strict=True)
    return list(rows), list(columns), torch.tensor(weights, dtype=torch.float32)


def _inputs(model: SteerableModel, batch: list[Branches]) -> Inputs:
    """Right-padded rows in which the negative answer continues the shared tokens."""
    width = max(row.length for row in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    positions = torch.zeros(len(batch), width, dtype=torch.long)
    seen = torch.zeros(len(batch), width, width, dtype=torch.bool)
    for r, row in enumerate(batch):
        ids[r, : row.length] = torch.tensor(row.ids)
        positions[r, : row.length] = torch.tensor(
            [*range(row.fork), *range(row.shared, row.shared + row.length - row.fork)]
        )
        seen[r] = torch.ones(width, width, dtype=torch.bool).tril()
        seen[r, row.fork :, row.shared : row.fork] = False
    device = model.device
    return Inputs(ids.to(device), positions.to(device), _masks(model, seen.to(device), positions.to(device)))


def _masks(
    model: SteerableModel, seen: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive attention masks from `seen` [rows, tokens, tokens], with the window of layers that have one."""
    window = getattr(model.config, "sliding_window", None)
    kinds = set(getattr(model.config, "layer_types", None) or [])
    full = _additive(seen, model.dtype)
    if not window or kinds == {"full_attention"}:
        return full
    near = positions[:, :, None] - positions[:, None, :] < window
    sliding = _additive(seen & near, model.dtype)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]
