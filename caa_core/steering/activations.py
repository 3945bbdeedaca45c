"""Reading the residual stream at both answers of each contrast pair, or at answers that stand alone."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import nnsight
import torch

from caa_core.data.pairs import ContrastPair, Dataset, kinds_in_words
from caa_core.errors import InputError
from caa_core.model.loading import BlockOutput, SteerableModel, hidden_of
from caa_core.model.prompts import Answer, render_pair
from caa_core.progress import Progress, showing
from caa_core.steering.batching import batches, budget, cache_budget, in_halves
from caa_core.steering.pair_rows import PairRow, SharedPrefix, check_attention_mask, inputs_of, read_shared_prefix
from caa_core.steering.read_position import ReadPosition

RENDERED_AT_ONCE = 50
# So many steps' tokens in one pass: with AMX a token takes half as long then, on other processors a fifth less.
WIDE = 8


@dataclass(frozen=True)
class ActivationRow:
    """A pair as a row, the columns that are read for each of its answers, and what `prompts.Answer` calls merged.

    An answer that stands alone is a row without a negative one.
    """

    pair_row: PairRow
    positive: tuple[int, ...]
    negative: tuple[int, ...]
    merged: bool


# Is given pair numbers, and what was read at their positive and negative answers: [layers, pairs, hidden_size] each,
# float32, on the CPU.
Collect = Callable[[list[int], torch.Tensor, torch.Tensor], None]


def read_all(
    model: SteerableModel, dataset: Dataset, layers: Sequence[int], position: ReadPosition, *collectors: Collect
) -> Generator[Progress, None, torch.Tensor]:
    """Read every pair and hand what was read to `collectors`, batch by batch, the longest pairs first.

    Yields `Progress` over the pairs. Returns the median norm of the residual stream at the tokens read, [layers].

    Raises:
        InputError: a pair that is too long, or has no token at the read position.
    """
    check_here(model, "Keeping what is read at every pair")
    rows, note = yield from _rows_with_note(model, dataset, position)
    progress = Progress(len(rows), "pairs", sum(row.pair_row.length for row in rows), note=note)
    yield progress
    return (yield from _read_rows(model, rows, layers, collectors, progress)).median(dim=1).values


def read_sums(
    model: SteerableModel,
    dataset: Dataset,
    layers: Sequence[int],
    position: ReadPosition,
    weights: torch.Tensor,
    prompts: torch.Tensor,
) -> Generator[Progress, None, tuple[torch.Tensor, torch.Tensor, list[int], torch.Tensor]]:
    """Of a model that runs elsewhere, what `StandIn.read` says of pairs, with medians as of `read_all`. Raises what
    that raises.
    """
    assert model.elsewhere
    rows, note = yield from _rows_with_note(model, dataset, position)
    yield Progress(len(rows), "pairs", sum(row.pair_row.length for row in rows), note=note)
    return (yield from model.elsewhere.read(rows, layers, weights, prompts))


def products_of(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """All of what was read at both sides, [..., prompts, hidden_size] each, that a layer's numbers are made of: inner
    products of the prompts' differences, and of the middles of both sides with them, [..., 2, prompts, prompts].

    What all answers have in common moves both sides alike, and is left out. It runs at an NDIF host, too.
    """
    positive, negative = positive.double(), negative.double()
    differences, middles = positive - negative, (positive + negative) / 2
    middles = middles - middles.mean(-2, keepdim=True)
    return torch.stack([differences @ differences.mT, middles @ differences.mT], dim=-3)


def _rows_with_note(
    model: SteerableModel, dataset: Dataset, position: ReadPosition
) -> Generator[Progress, None, tuple[list[ActivationRow], str]]:
    """All pairs as rows, and what is to be known of them."""
    rule = position.of(dataset)
    rows = yield from _rows(model, dataset, rule)
    notes = []
    if position.rule == "auto" and dataset.is_mixed:
        kinds = kinds_in_words(dataset.kinds)
        notes.append(f"{dataset.name} has pairs of more than one kind ({kinds}), so all are read at '{rule}'.")
    if merged := sum(row.merged for row in rows):
        notes.append(
            f"In {merged} pairs a token holds the end of the prompt and the prefix of the answer; "
            "it was taken for the answer's."
        )
    return rows, " ".join(notes)


def read_answers(
    model: SteerableModel, answers: Sequence[Answer], layers: Sequence[int]
) -> Generator[Progress, None, torch.Tensor]:
    """Read answers that stand alone, each by the mean over its own tokens, batch by batch.

    Yields `Progress` over the answers. Returns [layers, answers, hidden_size] in the order given, float32, on the CPU.

    Raises:
        InputError: an answer without a token of its own, or too long; or the model runs elsewhere.
    """
    check_here(model, "Reading answers one by one")
    check_attention_mask(model)
    rows = [_alone(model, number, answer) for number, answer in enumerate(answers, 1)]
    means = torch.empty(len(layers), len(rows), model.hidden_size, dtype=torch.float32)
    progress = Progress(len(rows), "answers read", sum(row.pair_row.length for row in rows))
    yield progress

    def keep(batch: list[int], read: torch.Tensor, _: torch.Tensor) -> None:
        means[:, batch] = read

    yield from _read_rows(model, rows, layers, [keep], progress)
    return means


def _alone(model: SteerableModel, number: int, answer: Answer) -> ActivationRow:
    if answer.start >= len(answer.ids):
        raise InputError(f"Answer {number} has no token of its own under {model.name}.")
    pair_row = PairRow.of_one(answer.ids)
    pair_row.check(model, f"Answer {number}")
    return ActivationRow(pair_row, tuple(range(answer.start, pair_row.length)), (), answer.merged)


def check_here(model: SteerableModel, what: str) -> None:
    """Raises InputError where a model runs elsewhere and `what` is done here alone."""
    if model.elsewhere:
        raise InputError(f"{what} is not done {model.elsewhere.place}: run it on this machine.")


def reading_budget(model: SteerableModel) -> int:
    """Tokens of one pass over pairs, which takes several steps, each of one block at least."""
    return min(min(WIDE, model.num_layers) * budget(model), cache_budget(model))


def _read_rows(
    model: SteerableModel,
    rows: list[ActivationRow],
    layers: Sequence[int],
    collectors: Sequence[Collect],
    progress: Progress,
) -> Generator[Progress, None, torch.Tensor]:
    """Hand what is read to `collectors`. Returns the residual stream's norms at every token read, [layers, tokens]."""
    first_read = min(column for row in rows for column in (*row.positive, *row.negative))
    prefix = read_shared_prefix(model, [row.pair_row for row in rows], first_read)
    norms, finished = [], progress.cost

    def read(batch: list[int]) -> Iterator[Progress]:
        nonlocal finished
        progress.cost, cost = finished, sum(rows[i].pair_row.length for i in batch)
        work = _read(model, [rows[i] for i in batch], list(layers), prefix)
        positive, negative, seen = yield from showing(work, lambda share: progress.advance(0, share * cost))
        for collect in collectors:
            collect(batch, positive, negative)
        norms.append(seen)
        finished += cost
        progress.cost = finished
        yield progress.advance(len(batch), 0)

    for batch in batches([row.pair_row for row in rows], reading_budget(model)):
        yield from in_halves(batch, read)
    return torch.cat(norms, dim=1)


def _rows(
    model: SteerableModel, dataset: Dataset, position: ReadPosition
) -> Generator[Progress, None, list[ActivationRow]]:
    """All pairs as rows, after making sure that rows work on this model."""
    progress = Progress(len(dataset.pairs), "pairs rendered", len(dataset.pairs))
    yield progress
    check_attention_mask(model)
    rows = []
    for pair in dataset.pairs:
        rows.append(_row(model, dataset.name, pair, position))
        if len(rows) % RENDERED_AT_ONCE == 0:
            yield progress.advance(RENDERED_AT_ONCE, RENDERED_AT_ONCE)
    return rows


def _row(model: SteerableModel, name: str, pair: ContrastPair, position: ReadPosition) -> ActivationRow:
    rendered = render_pair(model.tokenizer, pair)
    read = [position.tokens(rendered, answer) for answer in (rendered.positive, rendered.negative)]
    where = f"{name}, pair {pair.line}"
    if not all(read):
        raise InputError(f"{where}: {_nothing_there(position, model.name)}.")
    # What lies behind the last token read need not be computed.
    pair_row = PairRow.of(rendered, *(tokens[-1] + 1 for tokens in read))
    pair_row.check(model, where)
    merged = rendered.positive.merged or rendered.negative.merged
    return ActivationRow(pair_row, tuple(read[0]), tuple(pair_row.columns(read[1])), merged)


def _nothing_there(position: ReadPosition, model: str) -> str:
    if position.rule == "letter":
        return f"its answers do not part in any token of {model}"
    if position.rule == "index":
        return f"one of its answers has no token {position.index} under {model}"
    return f"an answer has no token of its own under {model}"


@torch.no_grad()
def _read(
    model: SteerableModel, batch: list[ActivationRow], layers: list[int], prefix: SharedPrefix
) -> Generator[float, None, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """One forward pass over a batch of pairs, behind what they all begin with, a few blocks a step, so that a step is
    no longer than a pass over `budget` tokens.

    Yields the share of the pass that each step was. Returns the mean over the tokens read of each positive and of each
    negative answer, [layers, pairs, hidden_size], and the norms of the residual stream at every token read, [layers,
    tokens]; all float32, on the CPU.
    """
    inputs = inputs_of(model, [row.pair_row for row in batch], [prefix.length] * len(batch))
    rows, columns, weights = _readings(batch, prefix.length)
    deepest, step = max(layers), max(1, budget(model) * model.num_layers // inputs.ids.numel())
    below: BlockOutput | None = None
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for first in range(0, deepest + 1, step):
        last = min(first + step - 1, deepest)
        inputs.cache = prefix.cache(len(batch)) if prefix.length else None
        with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs)) as tracer:
            here = nnsight.save({})
            for block in model.blocks[:first]:
                block.skip(below)
            for layer in range(first, last + 1):
                output = model.blocks[layer].output
                if layer in layers:
                    stream = hidden_of(output)[rows, columns].float()
                    here[layer] = (weights.to(stream.device) @ stream).cpu(), stream.norm(dim=-1).cpu()
            above = nnsight.save(output)
            tracer.stop()  # neither the blocks behind nor the head are computed
        below = above
        found |= here
        yield (last + 1 - first) / (deepest + 1)
    both, norms = (torch.stack([found[layer][kind] for layer in layers]) for kind in range(2))
    return both[:, : len(batch)], both[:, len(batch) :], norms


def _readings(batch: list[ActivationRow], before: int) -> tuple[list[int], list[int], torch.Tensor]:
    """Row and column of every token read, behind the first `before` ones, and weights [2 · pairs, tokens] that average
    them answer by answer.
    """
    answers = [(r, row.positive) for r, row in enumerate(batch)] + [(r, row.negative) for r, row in enumerate(batch)]
    places = [(a, r, column - before) for a, (r, columns) in enumerate(answers) for column in columns]
    weights = torch.zeros(len(answers), len(places), dtype=torch.float32)
    shares = torch.tensor([1 / len(answers[answer][1]) for answer, _, _ in places], dtype=torch.float32)
    weights[[answer for answer, _, _ in places], torch.arange(len(places))] = shares
    return [r for _, r, _ in places], [column for _, _, column in places], weights
