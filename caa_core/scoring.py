"""How probable the two answers of a contrast pair are, under any number of plans at once.

A pair is one row (see :mod:`caa_core.branches`). What comes before anything is steered is the same under every plan,
so it is read once; then every plan is a row of its own, of the tokens behind that. Logits come from a float32 head over
the tokens that matter only.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache

from caa_core.branches import Branches, batches, budget, inputs_of, trust
from caa_core.datasets import ContrastPair
from caa_core.errors import InputError
from caa_core.interventions import AFTER_PROMPT, Plan, Positions, Steer, steered_logits_at
from caa_core.model import SteerableModel
from caa_core.progress import Progress
from caa_core.prompts import render_pair

Steers = tuple[Steer, ...]

# How many times as many tokens may lie in the cache as go through the model at once, and numbers in the logits.
CACHED = 16
LOGITS = 50_000_000


@dataclass(frozen=True)
class Scores:
    """Numbers for each run and item, [runs, items] each; run 0 is the unsteered model.

    positive, negative: log-probability in nats a token, of the answer's own tokens; for multiple-choice items, of the
    token at which the answers part. mass: for multiple-choice items the probability, from the end of the prompt, of
    writing either answer up to and including that token; NaN for free text. kl: KL(unsteered ‖ run) of the next token
    in nats, mean over the answers' tokens.
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
) -> Generator[Progress, None, Scores]:
    """Score every pair unsteered and under each of `runs`. Yields `Progress` over the items.

    Raises:
        InputError: pairs that do not share a prompt, do not part in any token, or are too long.
    """
    trust(model)
    items = [_Item.of(model, pair, positions) for pair in pairs]
    plans = [(), *runs]
    found = torch.full((4, len(plans), len(items)), torch.nan)
    progress = Progress(len(items), "items scored", sum(item.row.length for item in items) * len(plans))
    yield progress
    for batch in batches([item.row for item in items], budget(model)):
        chosen = [items[i] for i in batch]
        prefix = _read_prefix(model, chosen)
        unsteered = None
        for share in _shares(model, chosen, len(plans)):
            logp = _log_probabilities(model, chosen, prefix, [plans[run] for run in share], positions)
            unsteered = logp[:, 0] if unsteered is None else unsteered
            found[:, torch.tensor(share)[:, None], torch.tensor(batch)[None]] = _numbers(chosen, logp, unsteered)
            done = len(batch) if share[-1] == len(plans) - 1 else 0
            yield progress.advance(done, len(share) * sum(item.row.length for item in chosen))
    return Scores(*found)


@dataclass(frozen=True)
class _Item:
    """A pair as a row. What is predicted at `columns` are `tokens`; `sides` says whose: 0 positive, 1 negative.

    The first `split` tokens come before whatever is steered or predicted, so they are the same under every plan.
    `common` counts the tokens of a multiple-choice item that come before the answers part; they are both sides'.
    """

    row: Branches
    prompt_length: int
    split: int
    lettered: bool
    columns: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    common: int = 0

    @classmethod
    def of(cls, model: SteerableModel, pair: ContrastPair, positions: Positions) -> "_Item":
        where = f"Item {pair.line}"
        if pair.negative_prompt:
            raise InputError(f"{where} has two prompts; only answers to one prompt can be scored against each other.")
        rendered = render_pair(model.tokenizer, pair)
        if not rendered.part:
            raise InputError(f"{where}: its answers do not part in any token of {model.name}.")
        positive, negative = rendered.positive, rendered.negative
        start, shared = min(positive.start, negative.start), rendered.shared
        positions.check(start)
        steered = positions.cover(torch.arange(start)[None], torch.tensor([[start]]))[0]
        split = min([start - 1, *steered.nonzero().flatten().tolist()[:1]])
        if pair.is_lettered:
            row = Branches.of(rendered, shared + 1, shared + 1)
            item = cls(row, start, split, True, common=shared - start)
            item._predict(range(start, shared), positive.ids, 0)
            item._predict([shared], positive.ids, 0)
            item._predict([shared], negative.ids, 1)
        else:
            row = Branches.of(rendered)
            item = cls(row, start, split, False)
            item._predict(range(start, len(positive.ids)), positive.ids, 0)
            item._predict(range(start, len(negative.ids)), negative.ids, 1)
        row.check(model, where)
        return item

    def _predict(self, indices: Sequence[int], ids: Sequence[int], side: int) -> None:
        """Token i of a sequence is predicted where token i - 1 lies."""
        before = [i - 1 for i in indices]
        self.columns.extend(self.row.columns(before) if side else before)
        self.tokens.extend(ids[i] for i in indices)
        self.sides.extend([side] * len(before))

    @property
    def tail(self) -> int:
        """Tokens behind the prefix."""
        return self.row.length - self.split


def _shares(model: SteerableModel, items: Sequence[_Item], plans: int) -> list[range]:
    """Numbers of the plans that go through the model together, as rows beside each other for every item."""
    tokens = len(items) * max(item.tail for item in items)
    cached = len(items) * max(item.row.length for item in items)
    logits = sum(len(item.columns) for item in items) * model.config.vocab_size
    together = max(1, min(budget(model) // tokens, CACHED * budget(model) // cached, LOGITS // logits))
    return [range(first, min(first + together, plans)) for first in range(0, plans, together)]


@torch.no_grad()
def _read_prefix(model: SteerableModel, items: Sequence[_Item]) -> DynamicCache:
    """Keys and values of the items' prefixes, right-padded to the longest, one row an item."""
    cache = DynamicCache()
    if any(item.split for item in items):
        inputs = inputs_of(model, [Branches(item.row.ids[: item.split], item.split, item.split) for item in items])
        inputs.cache = cache
        model.call(inputs)
    return cache


def _log_probabilities(
    model: SteerableModel,
    items: Sequence[_Item],
    prefix: DynamicCache,
    plans: Sequence[Steers],
    positions: Positions,
) -> torch.Tensor:
    """[places, plans, vocabulary] at the columns of every item, behind a prefix that is not computed again."""
    rows = [item for item in items for _ in plans]
    lengths = [item.prompt_length for item in rows]
    plan = Plan([steers for _ in items for steers in plans], [positions] * len(rows), lengths)
    copies = [
        (layer.keys.repeat_interleave(len(plans), 0), layer.values.repeat_interleave(len(plans), 0))
        for layer in prefix.layers
    ]
    inputs = inputs_of(model, [item.row for item in rows], [item.split for item in rows])
    inputs.cache = DynamicCache(copies)
    places = [(r, column - item.split) for r, item in enumerate(rows) for column in item.columns]
    logits = steered_logits_at(model, inputs, plan, *map(list, zip(*places, strict=True)))
    by_item = logits.log_softmax(-1).split([len(item.columns) * len(plans) for item in items])
    return torch.cat([part.view(len(plans), -1, part.shape[-1]).transpose(0, 1) for part in by_item])


def _numbers(items: Sequence[_Item], logp: torch.Tensor, unsteered: torch.Tensor) -> torch.Tensor:
    """[4, plans, items]: positive, negative, mass and KL, from log-probabilities [places, plans, vocabulary]."""
    tokens = torch.tensor([token for item in items for token in item.tokens], device=logp.device)
    own = logp.gather(-1, tokens[:, None, None].expand(-1, logp.shape[1], 1))[..., 0]
    kl = torch.stack([(unsteered.exp() * (unsteered - logp[:, run])).sum(-1) for run in range(logp.shape[1])], 1)
    sizes = [len(item.columns) for item in items]
    parts = zip(items, own.split(sizes), kl.split(sizes), strict=True)
    return torch.stack([torch.stack([*_answers(item, own), kl.mean(0)]) for item, own, kl in parts], dim=-1).cpu()


def _answers(item: _Item, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positive, negative and mass [plans] of one item, from log-probabilities [places, plans] of its tokens."""
    if item.lettered:
        before, (positive, negative) = own[: item.common].sum(0), own[item.common :]
        return positive, negative, (before + torch.logaddexp(positive, negative)).exp()
    sides = torch.tensor(item.sides, device=own.device)
    return own[sides == 0].mean(0), own[sides == 1].mean(0), own.new_full(own.shape[1:], torch.nan)
