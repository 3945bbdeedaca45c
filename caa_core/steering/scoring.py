"""How probable the two answers of a contrast pair are, under any number of plans at once.

A pair is one row (see :mod:`caa_core.steering.pair_rows`). Nothing is computed twice: what comes before anything is
steered is read once for all plans, and so are the blocks below the lowest layer that a plan steers. What is left of a
plan, a few tokens and the blocks above, goes through the model beside that of other plans, as copies in the same row.
Logits come from a float32 head over the tokens that matter only.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from caa_core.data.pairs import ContrastPair
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import Inputs, SteerableModel
from caa_core.model.prompts import NO_CUE, Cue, RenderedPair
from caa_core.progress import Progress
from caa_core.steering.batching import batches, budget, cache_budget, in_halves
from caa_core.steering.divergence import kl_divergence, log_sums
from caa_core.steering.interventions import AFTER_PROMPT, Positions, Steer
from caa_core.steering.pair_rows import KeysAndValues, check_attention_mask, inputs_of, read_shared_prefix
from caa_core.steering.passes import UnsteeredPass, steered_logits_at, unsteered_logits_at
from caa_core.steering.plan import Plan
from caa_core.steering.scored_items import LOGITS, ScoredItem, answers_of, fit, read_prefixes

Steers = tuple[Steer, ...]

# How many times as many tokens the cache of keys and values may hold as go through the model in one pass.
CACHED = 16


@dataclass(frozen=True)
class Scores:
    """Numbers for each run and item, [runs, items] each; run 0 is the unsteered model.

    positive, negative: log-probability in nats a token, of the answer's own tokens; for multiple-choice items, of the
    token at which the answers part. mass: for multiple-choice items the probability, from the end of the prompt, of
    writing either answer up to and including that token; NaN for free text. kl: KL(unsteered ‖ run) of the next token
    in nats, mean over the answers' positions; NaN where it was not asked.
    """

    positive: torch.Tensor
    negative: torch.Tensor
    mass: torch.Tensor
    kl: torch.Tensor

    @property
    def preference(self) -> torch.Tensor:
        """log p(positive) - log p(negative) in nats a token, [runs, items]."""
        return self.positive - self.negative

    @property
    def probability(self) -> torch.Tensor:
        """p(positive) / (p(positive) + p(negative)) of a multiple-choice item, [runs, items]."""
        return self.preference.sigmoid()


@handed_over
def score(
    model: SteerableModel,
    pairs: Sequence[ContrastPair],
    runs: Sequence[Steers] = (),
    positions: Positions = AFTER_PROMPT,
    cue: Cue = NO_CUE,
    system: str = "",
    costs: bool = True,
) -> Generator[Progress, None, Scores]:
    """Score every pair unsteered and under each of `runs`. Yields `Progress` over the items.

    Args:
        cue: what leads to the answers; its words are the assistant's, and given.
        system: a system prompt before every item; it is there in the unsteered run too.
        costs: whether the KL is wanted, which goes over the whole vocabulary; controls do without.

    Raises:
        InputError: what `check` raises.
    """
    items = [ScoredItem.of(model, pair, positions, cue, system) for pair in pairs]
    return (yield from _scored(model, items, runs, [positions] * len(runs), costs))


def score_rendered(
    model: SteerableModel,
    pairs: Sequence[RenderedPair],
    choice: bool,
    runs: Sequence[Steers],
    positions: Sequence[Positions],
) -> Generator[Progress, None, Scores]:
    """As `score`, of pairs that are tokens already, with positions of its own for each run.

    choice: whether the answers are letters, or Yes and No, rather than texts.

    Raises:
        InputError: answers that do not part in any token, or sequences that are too long.
    """
    items = [ScoredItem.placed(model, pair, choice, positions, f"Item {i}") for i, pair in enumerate(pairs, 1)]
    return (yield from _scored(model, items, runs, positions))


def _scored(
    model: SteerableModel,
    items: Sequence[ScoredItem],
    runs: Sequence[Steers],
    positions: Sequence[Positions],
    costs: bool = True,
) -> Generator[Progress, None, Scores]:
    if model.elsewhere:
        return Scores(*(yield from model.elsewhere.score(items, runs, positions, costs)))
    check_attention_mask(model)
    found = torch.full((4, 1 + len(runs), len(items)), torch.nan)
    progress = Progress(len(items), "items scored", sum(item.split + (1 + len(runs)) * item.tail for item in items))
    yield progress
    beginning = read_shared_prefix(model, [item.row for item in items], min(item.split for item in items))

    def together(batch: list[int]) -> Iterator[Progress]:
        chosen = [items[i] for i in batch]
        prefix = yield from read_prefixes(model, chosen, beginning, progress)
        for share, numbers in PlanBatch(model, chosen, prefix, positions, runs, costs=costs).numbers():
            found[:, torch.tensor(share)[:, None], torch.tensor(batch)[None]] = numbers
            yield progress.advance(0, len(share) * sum(item.tail for item in chosen))
        progress.advance(len(batch), 0)

    cached = min(CACHED * budget(model), cache_budget(model))
    for batch in batches([item.row for item in items], cached, lambda batch: fit(model, [items[i] for i in batch])):
        yield from in_halves(batch, together)
    yield progress
    return Scores(*found)


def check(model: SteerableModel, pair: ContrastPair, positions: Positions = AFTER_PROMPT, cue: Cue = NO_CUE) -> None:
    """Raises InputError for a pair that cannot be scored: its answers do not share a prompt, do not part in any token,
    or are too long.
    """
    ScoredItem.of(model, pair, positions, cue)


class PlanBatch:
    """Items whose plans go through the model together, behind a prefix that is read already.

    logp: log-probabilities of the unsteered model [places, vocabulary], once `numbers` has begun. against: those from
    which the KL is counted in place of them, of the same tokens behind other ones. costs: whether it is counted.
    """

    def __init__(
        self,
        model: SteerableModel,
        items: Sequence[ScoredItem],
        prefix: list[KeysAndValues],
        positions: Sequence[Positions],
        runs: Sequence[Steers],
        against: torch.Tensor | None = None,
        costs: bool = True,
    ):
        self.model, self.items, self.prefix, self.positions, self.runs = model, items, prefix, positions, runs
        self.against, self.costs = against, costs
        self.width = max(item.tail for item in items)
        # The runs that add nothing, 0 being the unsteered one, and the others by the layer at which they begin.
        self.unsteered = [0]
        self.steered: dict[int, list[int]] = {}
        for run in range(1, len(runs) + 1):
            first = self._plan([run]).first_layer
            (self.unsteered if first is None else self.steered.setdefault(first, [])).append(run)

    def numbers(self) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Numbers of runs, 0 being the unsteered one, and what `_numbers` says of them."""
        unsteered = unsteered_logits_at(self.model, self._inputs(1), *self._places(1), list(self.steered))
        self.logp = logp = unsteered.logits.log_softmax(-1)
        nothing = logp.new_zeros(len(logp), 1)
        yield self.unsteered, self._numbers(logp[:, None], nothing).expand(-1, len(self.unsteered), -1)
        places = sum(len(item.columns) for item in self.items)
        copies = min(budget(self.model) // (len(self.items) * self.width), LOGITS // (places * logp.shape[-1]))
        for runs in self.steered.values():
            for first in range(0, len(runs), max(1, copies)):
                share = runs[first : first + max(1, copies)]
                logits = self._steered(share, unsteered)
                yield share, self._numbers(logits, log_sums(logits))

    def _steered(self, share: Sequence[int], unsteered: UnsteeredPass) -> torch.Tensor:
        """Logits [places, runs, vocabulary] of runs that begin at the same layer."""
        plan = self._plan(share)
        places = self._places(len(share))
        return steered_logits_at(self.model, self._inputs(len(share)), plan, unsteered, *places)

    def _numbers(self, logits: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
        """[4, runs, items]: positive, negative, mass and KL, from logits [places, runs, vocabulary] and their
        `log_sums` [places, runs].
        """
        against = self.logp if self.against is None else self.against
        kl = kl_divergence(against, logits, sums) if self.costs else torch.full_like(sums, torch.nan)
        sizes = [len(item.columns) for item in self.items]
        parts = zip(self.items, *(torch.split(numbers, sizes) for numbers in (logits, sums, kl)), strict=True)
        found = [torch.stack([*answers_of(item, *own), cost.mean(0)]) for item, *own, cost in parts]
        return torch.stack(found, dim=-1).cpu()

    def _plan(self, share: Sequence[int]) -> Plan:
        """One of the plan's rows for every item and, within it, for each of some runs."""
        rows = [(item, run - 1) for item in self.items for run in share]
        return Plan(
            [self.runs[run] for _, run in rows],
            [self.positions[run] for _, run in rows],
            [item.prompt_length for item, _ in rows],
            [item.thought for item, _ in rows],
        )

    def _inputs(self, copies: int) -> Inputs:
        rows, read = [item.row for item in self.items], [item.split for item in self.items]
        inputs = inputs_of(self.model, rows, read, copies)
        inputs.cache = DynamicCache(self.prefix)
        return inputs

    def _places(self, copies: int) -> tuple[list[int], list[int]]:
        """Row and column of everything predicted: by item, place of the item, copy."""
        places = [
            (r, copy * self.width + column - item.split)
            for r, item in enumerate(self.items)
            for column in item.columns
            for copy in range(copies)
        ]
        return [r for r, _ in places], [column for _, column in places]
