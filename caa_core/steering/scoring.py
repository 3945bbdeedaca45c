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
from caa_core.errors import InputError
from caa_core.model.loading import Inputs, SteerableModel
from caa_core.model.prompts import NO_CUE, Cue, RenderedPair, render_pair
from caa_core.progress import Progress
from caa_core.steering.batching import batches, budget, cache_budget, in_halves
from caa_core.steering.divergence import kl_divergence
from caa_core.steering.interventions import AFTER_PROMPT, Plan, Positions, Steer
from caa_core.steering.pair_rows import (
    KeysAndValues,
    PairRow,
    SharedPrefix,
    check_attention_mask,
    inputs_of,
    keys_and_values,
    read_shared_prefix,
)
from caa_core.steering.passes import UnsteeredPass, steered_logits_at, unsteered_logits_at

Steers = tuple[Steer, ...]

# How many times as many tokens the cache of keys and values may hold as go through the model in one pass.
CACHED = 16
# How many numbers the logits of one pass may have: places that are predicted times the vocabulary.
LOGITS = 50_000_000


@dataclass(frozen=True)
class Scores:
    """Numbers for each run and item, [runs, items] each; run 0 is the unsteered model.

    positive, negative: log-probability in nats a token, of the answer's own tokens; for multiple-choice items, of the
    token at which the answers part. mass: for multiple-choice items the probability, from the end of the prompt, of
    writing either answer up to and including that token; NaN for free text. kl: KL(unsteered ‖ run) of the next token
    in nats, mean over the answers' positions.
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


def score(
    model: SteerableModel,
    pairs: Sequence[ContrastPair],
    runs: Sequence[Steers] = (),
    positions: Positions = AFTER_PROMPT,
    cue: Cue = NO_CUE,
    system: str = "",
) -> Generator[Progress, None, Scores]:
    """Score every pair unsteered and under each of `runs`. Yields `Progress` over the items.

    Args:
        cue: what leads to the answers; its words are the assistant's, and given.
        system: a system prompt before every item; it is there in the unsteered run too.

    Raises:
        InputError: what `check` raises.
    """
    items = [_Item.of(model, pair, positions, cue, system) for pair in pairs]
    return (yield from _scored(model, items, runs, [positions] * len(runs)))


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
    items = [_Item.placed(model, pair, choice, positions, f"Item {i}") for i, pair in enumerate(pairs, 1)]
    return (yield from _scored(model, items, runs, positions))


def _scored(
    model: SteerableModel, items: Sequence["_Item"], runs: Sequence[Steers], positions: Sequence[Positions]
) -> Generator[Progress, None, Scores]:
    check_attention_mask(model)
    found = torch.full((4, 1 + len(runs), len(items)), torch.nan)
    progress = Progress(len(items), "items scored", sum(item.split + (1 + len(runs)) * item.tail for item in items))
    yield progress
    beginning = read_shared_prefix(model, [item.row for item in items], min(item.split for item in items))

    def together(batch: list[int]) -> Iterator[Progress]:
        chosen = [items[i] for i in batch]
        prefix = yield from _read_prefix(model, chosen, beginning, progress)
        for share, numbers in _PlanBatch(model, chosen, prefix, positions, runs).numbers():
            found[:, torch.tensor(share)[:, None], torch.tensor(batch)[None]] = numbers
            yield progress.advance(0, len(share) * sum(item.tail for item in chosen))
        progress.advance(len(batch), 0)

    cached = min(CACHED * budget(model), cache_budget(model))
    for batch in batches([item.row for item in items], cached, lambda batch: _fit(model, [items[i] for i in batch])):
        yield from in_halves(batch, together)
    yield progress
    return Scores(*found)


def check(model: SteerableModel, pair: ContrastPair, positions: Positions = AFTER_PROMPT, cue: Cue = NO_CUE) -> None:
    """Raises InputError for a pair that cannot be scored: its answers do not share a prompt, do not part in any token,
    or are too long.
    """
    _Item.of(model, pair, positions, cue)


@dataclass(frozen=True)
class _Item:
    """A pair as a row.

    The first `split` tokens come before whatever is steered or predicted, so they are the same under every plan.
    `columns` are the places at which something is predicted. `answers` says what, for the positive and the negative
    answer: indices among the columns, and tokens. A multiple-choice item counts at its last column only, where the
    letters part; what the columns before predict is common to both.
    """

    row: PairRow
    prompt_length: int
    thought: int
    split: int
    choice: bool
    columns: tuple[int, ...]
    answers: tuple[tuple[list[int], list[int]], ...]

    @classmethod
    def of(cls, model: SteerableModel, pair: ContrastPair, positions: Positions, cue: Cue, system: str = "") -> "_Item":
        where = f"Item {pair.line}"
        if pair.negative_prompt:
            raise InputError(f"{where} has two prompts; only answers to one prompt can be scored against each other.")
        rendered = render_pair(model.tokenizer, pair, system, cue)
        return cls.placed(model, rendered, pair.is_choice, [positions], where)

    @classmethod
    def placed(
        cls, model: SteerableModel, rendered: RenderedPair, choice: bool, positions: Sequence[Positions], where: str
    ) -> "_Item":
        if not rendered.part:
            raise InputError(f"{where}: its answers do not part in any token of {model.name}.")
        sides = rendered.positive, rendered.negative
        start = min(side.start for side in sides)
        prompt_length = min(side.prompt_length for side in sides)
        ends = [rendered.shared + 1 if choice else len(side.ids) for side in sides]
        # Token i is predicted where token i - 1 lies, and the last token of an answer predicts nothing that counts.
        row = PairRow.of(rendered, *(end - 1 for end in ends))
        row.check(model, where)
        places = [list(range(start - 1, end - 1)) for end in ends]
        places[1] = row.columns(places[1])
        columns = tuple(dict.fromkeys([*places[0], *places[1]]))
        answers = tuple(
            ([columns.index(place) for place in side], list(answer.ids[start:end]))
            for side, answer, end in zip(places, sides, ends, strict=True)
        )
        thought = sides[0].thought_tokens
        split = min([start - 1, *(rule.span(prompt_length, thought)[0] for rule in positions)])
        return cls(row, prompt_length, thought, split, choice, columns, answers)

    @property
    def tail(self) -> int:
        """Tokens behind the prefix."""
        return self.row.length - self.split


def _fit(model: SteerableModel, items: Sequence[_Item]) -> bool:
    """Whether items may go through the model together, each with one copy of its tail."""
    return (
        len(items) * max(item.tail for item in items) <= budget(model)
        and sum(len(item.columns) for item in items) * model.vocab_size <= LOGITS
    )


def _read_prefix(
    model: SteerableModel, items: Sequence[_Item], beginning: SharedPrefix, progress: Progress
) -> Generator[Progress, None, list[KeysAndValues]]:
    """Keys and values of the items' prefixes, by layer, right-padded to the longest, one row an item."""
    rows = [PairRow(item.row.ids[: item.split], item.split, item.split) for item in items]
    widest = max(row.length for row in rows)
    order, parts = [], []
    for batch in batches(rows, budget(model)):
        order.extend(batch)
        parts.append(_read_rows(model, [rows[i] for i in batch], beginning, widest))
        yield progress.advance(0, sum(rows[i].length for i in batch))
    back = torch.tensor(order, device=model.device).argsort()
    layers = (zip(*layer, strict=True) for layer in zip(*parts, strict=True))
    return [(torch.cat(keys)[back], torch.cat(values)[back]) for keys, values in layers]


@torch.no_grad()
def _read_rows(
    model: SteerableModel, rows: Sequence[PairRow], beginning: SharedPrefix, widest: int
) -> list[KeysAndValues]:
    """Keys and values of some rows by layer, [rows, heads, widest, head size] each; none where rows are empty."""
    cache = beginning.cache(len(rows))
    if max(row.length for row in rows) > beginning.length:
        inputs = inputs_of(model, rows, [beginning.length] * len(rows))
        inputs.cache = cache
        model.call(inputs)

    def padded(kept: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(kept, (0, 0, 0, widest - kept.shape[2]))

    return [(padded(keys), padded(values)) for keys, values in keys_and_values(cache)]


class _PlanBatch:
    """Items whose plans go through the model together, behind a prefix that is read already."""

    def __init__(
        self,
        model: SteerableModel,
        items: Sequence[_Item],
        prefix: list[KeysAndValues],
        positions: Sequence[Positions],
        runs: Sequence[Steers],
    ):
        self.model, self.items, self.prefix, self.positions, self.runs = model, items, prefix, positions, runs
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
        logp = unsteered.logits.log_softmax(-1)
        yield self.unsteered, _numbers(self.items, logp, logp[:, None]).expand(-1, len(self.unsteered), -1)
        places = sum(len(item.columns) for item in self.items)
        copies = min(budget(self.model) // (len(self.items) * self.width), LOGITS // (places * logp.shape[-1]))
        for runs in self.steered.values():
            for first in range(0, len(runs), max(1, copies)):
                share = runs[first : first + max(1, copies)]
                yield share, _numbers(self.items, logp, self._steered(share, unsteered))

    def _steered(self, share: Sequence[int], unsteered: UnsteeredPass) -> torch.Tensor:
        """Log-probabilities [places, runs, vocabulary] of runs that begin at the same layer."""
        plan = self._plan(share)
        places = self._places(len(share))
        return steered_logits_at(self.model, self._inputs(len(share)), plan, unsteered, *places).log_softmax(-1)

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


def _numbers(items: Sequence[_Item], unsteered: torch.Tensor, steered: torch.Tensor) -> torch.Tensor:
    """[4, runs, items]: positive, negative, mass and KL.

    unsteered: log-probabilities [places, vocabulary]; steered: [places, runs, vocabulary].
    """
    kl = kl_divergence(unsteered, steered)
    sizes = [len(item.columns) for item in items]
    parts = zip(items, torch.split(steered, sizes), torch.split(kl, sizes), strict=True)
    return torch.stack([torch.stack([*_answers(item, logp), kl.mean(0)]) for item, logp, kl in parts], dim=-1).cpu()


def _answers(item: _Item, logp: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positive, negative and mass [runs] of one item, from log-probabilities [places, runs, vocabulary]."""
    positive, negative = (logp[places, :, tokens] for places, tokens in item.answers)
    if not item.choice:
        return positive.mean(0), negative.mean(0), logp.new_full(logp.shape[1:2], torch.nan)
    mass = (positive[:-1].sum(0) + torch.logaddexp(positive[-1], negative[-1])).exp()
    return positive[-1], negative[-1], mass
