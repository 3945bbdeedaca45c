"""Written answers, many at once, each with random numbers of its own; and what each costs."""

import math
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.batching import batches, budget, in_halves
from caa_core.steering.decoding import Decoding
from caa_core.steering.divergence import kl_divergence
from caa_core.steering.generation import BatchRow, Completion, generate
from caa_core.steering.pair_rows import PairRow, check_attention_mask, inputs_of
from caa_core.steering.passes import steered_logits_at, unsteered_logits_at
from caa_core.steering.plan import Plan
from caa_core.steering.scored_items import LOGITS

# Rows that are written at a time; the more, the less a token costs.
ROWS = {"cpu": 32, "cuda": 256}

# From this share of repeated tokens on it is said that an answer repeats itself.
REPEATS = 0.2

# Beyond so many nats a perplexity is no number any more.
MOST_NATS = 700.0

# What is written in one go: rows that draw the same random numbers, and how.
Call = tuple[Sequence[BatchRow], Decoding]


def write_all(model: SteerableModel, calls: Sequence[Call]) -> Generator[Progress, None, list[list[Completion]]]:
    """Write the rows of every call, each call with its own seed, as many at a time as fit in one batch.

    One step of the model is for all of them (see `generation.generate`).
    Yields `Progress` over the answers; returns what was written by call and row.

    Raises:
        InputError: what `generate` raises.
    """
    room = ROWS.get(model.device.type, ROWS["cpu"])
    found: list[list[Completion]] = [[] for _ in calls]
    waiting = iter(enumerate(calls))
    running: dict[int, Generator[list[Completion], None, list[Completion]]] = {}
    progress = _progress(calls)
    yield progress
    try:
        while True:
            # One more a step, so that a step stays short while prompts are read.
            rows = sum(len(calls[number][0]) for number in running)
            if rows < room and (new := next(waiting, None)):
                running[new[0]] = generate(model, *new[1])
            if not running:
                return found
            for number, writing in list(running.items()):
                try:
                    found[number] = next(writing)
                except StopIteration:
                    del running[number]
                    progress.done += len(found[number])
            _reach(progress, calls, found, running)
            yield progress
    finally:
        for writing in running.values():
            writing.close()


def _progress(calls: Sequence[Call]) -> Progress:
    rows = sum(len(rows) for rows, _ in calls)
    return Progress(rows, "answers written", sum(len(rows) * decoding.max_new_tokens for rows, decoding in calls))


def _reach(progress: Progress, calls: Sequence[Call], found: list[list[Completion]], running: Collection[int]) -> None:
    """The cost is in tokens; an answer that ended early has cost all that it might have."""
    progress.cost = sum(
        sum(len(text.ids) for text in texts) if number in running else len(texts) * decoding.max_new_tokens
        for number, ((_, decoding), texts) in enumerate(zip(calls, found, strict=True))
    )


@dataclass(frozen=True)
class AnswerCost:
    """What an answer costs.

    repetition: share of tokens that end a run of four which the same text has had before. nats: minus the mean
    log-probability of the answer's tokens under the unsteered model; e to the power of it is their perplexity. kl:
    KL(unsteered ‖ steered) of the next token in nats, mean over the answer's positions. The last two are None for an
    answer without a token.
    """

    repetition: float
    nats: float | None
    kl: float | None

    @property
    def perplexity(self) -> float | None:
        return None if self.nats is None else math.exp(min(self.nats, MOST_NATS))


def costs(
    model: SteerableModel, rows: Sequence[BatchRow], written: Sequence[Completion]
) -> Generator[Progress, None, list[AnswerCost]]:
    """What each written answer costs, read in batches: unsteered, and as it was steered. Yields `Progress`."""
    check_attention_mask(model)
    found = [AnswerCost(repetition(text.ids), None, None) for text in written]
    there = [i for i, text in enumerate(written) if text.ids]
    read = [PairRow.of_one(rows[i].prompt.ids + tuple(written[i].ids)) for i in there]
    progress = Progress(len(there), "answers weighed", sum(row.length for row in read))
    yield progress
    if not there:
        return found

    def weigh(batch: list[int]) -> Iterator[Progress]:
        chosen = [there[i] for i in batch]
        numbers = _weighed(model, [read[i] for i in batch], [rows[i] for i in chosen])
        for i, (nats, kl) in zip(chosen, numbers, strict=True):
            found[i] = replace(found[i], nats=nats, kl=kl)
        yield progress.advance(len(batch), sum(read[i].length for i in batch))

    def fits(batch: list[int]) -> bool:
        return sum(len(written[there[i]].ids) for i in batch) * model.vocab_size <= LOGITS

    for batch in batches(read, budget(model), fits):
        yield from in_halves(batch, weigh)
    return found


def _weighed(model: SteerableModel, read: Sequence[PairRow], rows: Sequence[BatchRow]) -> list[tuple[float, float]]:
    """Nats a token and KL of each answer; `read` are prompt and answer in one."""
    inputs = inputs_of(model, read)
    plan = Plan([row.steers for row in rows], [row.positions for row in rows], [row.prompt.length for row in rows])
    # Token i is predicted where token i - 1 lies.
    spans = [range(len(row.prompt.ids) - 1, one.length - 1) for row, one in zip(rows, read, strict=True)]
    places = [(r, column) for r, span in enumerate(spans) for column in span]
    at = [r for r, _ in places], [column for _, column in places]
    said = torch.tensor([read[r].ids[column + 1] for r, column in places], device=model.device)
    unsteered = unsteered_logits_at(model, inputs, *at, [] if plan.first_layer is None else [plan.first_layer])
    logp = unsteered.logits.log_softmax(-1)
    nats = -logp.gather(-1, said[:, None])[:, 0]
    kl = torch.zeros_like(nats)
    if plan.layers:
        steered = steered_logits_at(model, inputs, plan, unsteered, *at).log_softmax(-1)
        kl = kl_divergence(logp, steered)[:, 0]
    sizes = [len(span) for span in spans]
    answers = zip(torch.split(nats, sizes), torch.split(kl, sizes), strict=True)
    return [(n.mean().item(), k.mean().item()) for n, k in answers]


# A run of so many tokens that the text has had before counts as repeated.
REPEATED = 4


def repetition(ids: Sequence[int]) -> float:
    """Share of tokens that end a run of `REPEATED` tokens which stood earlier in the same text."""
    runs = [tuple(ids[i : i + REPEATED]) for i in range(len(ids) - REPEATED + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
