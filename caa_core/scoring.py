"""How probable the two answers of a contrast pair are, under any number of plans at once.

A pair is one row (see :mod:`caa_core.branches`), and every plan is a row of its own beside the unsteered one, so that
what is compared comes out of one batch. Logits come from a float32 head over the tokens that matter only.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import torch

from caa_core.branches import Branches, batches, budget, inputs_of, trust
from caa_core.datasets import ContrastPair
from caa_core.errors import InputError
from caa_core.interventions import AFTER_PROMPT, Plan, Positions, Steer, steered_logits_at
from caa_core.model import SteerableModel
from caa_core.progress import Progress
from caa_core.prompts import render_pair

Steers = tuple[Steer, ...]


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
    items = [_Item.of(model, pair) for pair in pairs]
    plans = [(), *runs]
    found = torch.full((4, len(plans), len(items)), torch.nan)
    progress = Progress(len(items), "items scored", sum(item.row.length for item in items))
    yield progress
    # Each batch has the unsteered row and a share of the steered ones, for as many items as its tokens allow.
    longest = max(item.row.length for item in items)
    at_once = max(1, min(len(runs), budget(model) // longest - 1))
    shares = [range(i, min(i + at_once, len(plans))) for i in range(1, len(plans), at_once)] or [range(0)]
    for batch in batches([item.row for item in items], budget(model) // (1 + len(shares[0]))):
        for share in shares:
            chosen = [0, *share]
            scored = _score(model, [items[i] for i in batch], [plans[run] for run in chosen], positions)
            found[:, torch.tensor(chosen)[:, None], torch.tensor(batch)[None]] = scored
            cost = sum(items[i].row.length for i in batch) / len(shares)
            yield progress.advance(len(batch) if share is shares[-1] else 0, cost)
    return Scores(*found)


@dataclass(frozen=True)
class _Item:
    """A pair as a row. What is predicted at `columns` are `tokens`; `sides` says whose: 0 positive, 1 negative.

    `common` counts the tokens of a multiple-choice item that come before the answers part; they are both sides'.
    """

    row: Branches
    prompt_length: int
    lettered: bool
    columns: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    common: int = 0

    @classmethod
    def of(cls, model: SteerableModel, pair: ContrastPair) -> "_Item":
        where = f"Item {pair.line}"
        if pair.negative_prompt:
            raise InputError(f"{where} has two prompts; only answers to one prompt can be scored against each other.")
        rendered = render_pair(model.tokenizer, pair)
        if not rendered.part:
            raise InputError(f"{where}: its answers do not part in any token of {model.name}.")
        positive, negative = rendered.positive, rendered.negative
        start, shared = min(positive.start, negative.start), rendered.shared
        if pair.is_lettered:
            row = Branches.of(rendered, shared + 1, shared + 1)
            item = cls(row, start, True, common=shared - start)
            item._predict(range(start, shared), positive.ids, 0)
            item._predict([shared], positive.ids, 0)
            item._predict([shared], negative.ids, 1)
        else:
            row = Branches.of(rendered)
            item = cls(row, start, False)
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


def _score(
    model: SteerableModel, items: Sequence[_Item], plans: Sequence[Steers], positions: Positions
) -> torch.Tensor:
    """[4, plans, items] of a batch with a row for each plan and item: positive, negative, mass, KL."""
    inputs = inputs_of(model, [item.row for _ in plans for item in items])
    lengths = [item.prompt_length for _ in plans for item in items]
    plan = Plan([steers for steers in plans for _ in items], [positions] * len(lengths), lengths)
    rows = [r for r, item in enumerate(items * len(plans)) for _ in item.columns]
    columns = [column for item in items * len(plans) for column in item.columns]
    logits = steered_logits_at(model, inputs, plan, rows, columns)
    places = logits.log_softmax(-1).view(len(plans), -1, logits.shape[-1])
    sizes = [len(item.columns) for item in items]
    by_item = [
        torch.stack([_numbers(item, run, unsteered) for run in part])
        for item, part, unsteered in zip(items, places.split(sizes, 1), places[0].split(sizes), strict=True)
    ]
    return torch.stack(by_item, dim=-1).permute(1, 0, 2).cpu()


def _numbers(item: _Item, logp: torch.Tensor, unsteered: torch.Tensor) -> torch.Tensor:
    """The four numbers of one item under one plan, from log-probabilities [places, vocabulary]."""
    own = logp[range(len(item.tokens)), item.tokens]
    kl = (unsteered.exp() * (unsteered - logp)).sum(-1).mean()
    if item.lettered:
        before, (positive, negative) = own[: item.common].sum(), own[item.common :]
        mass = (before + torch.logaddexp(positive, negative)).exp()
    else:
        sides = torch.tensor(item.sides, device=own.device)
        positive, negative = own[sides == 0].mean(), own[sides == 1].mean()
        mass = own.new_tensor(torch.nan)
    return torch.stack([positive, negative, mass, kl])
