"""Contrast pairs as what is scored: which tokens are predicted where; the tokens before them, which are read once."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from caa_core.data.pairs import ContrastPair
from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue, RenderedPair, render_pair
from caa_core.progress import Progress
from caa_core.steering.batching import batches, budget
from caa_core.steering.interventions import Positions
from caa_core.steering.pair_rows import KeysAndValues, PairRow, SharedPrefix, inputs_of, keys_and_values

# How many numbers the logits of one pass may have: places that are predicted times the vocabulary.
LOGITS = 50_000_000


@dataclass(frozen=True)
class ScoredItem:
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
    def of(
        cls, model: SteerableModel, pair: ContrastPair, positions: Positions, cue: Cue, system: str = ""
    ) -> "ScoredItem":
        where = f"Item {pair.line}"
        if pair.negative_prompt:
            raise InputError(f"{where} has two prompts; only answers to one prompt can be scored against each other.")
        rendered = render_pair(model.tokenizer, pair, system, cue)
        return cls.placed(model, rendered, pair.is_choice, [positions], where)

    @classmethod
    def placed(
        cls, model: SteerableModel, rendered: RenderedPair, choice: bool, positions: Sequence[Positions], where: str
    ) -> "ScoredItem":
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


def fit(model: SteerableModel, items: Sequence[ScoredItem]) -> bool:
    """Whether items may go through the model together, each with one copy of its tail."""
    return (
        len(items) * max(item.tail for item in items) <= budget(model)
        and sum(len(item.columns) for item in items) * model.vocab_size <= LOGITS
    )


def read_prefixes(
    model: SteerableModel, items: Sequence[ScoredItem], beginning: SharedPrefix, progress: Progress
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


def aligned_places(
    logp: torch.Tensor, sizes: Sequence[int], wanted: Sequence[int], apart: Sequence[bool]
) -> torch.Tensor:
    """Rows [places, vocabulary] of some items, `sizes` each, as rows of `wanted` each: those that are `apart` from what
    is wanted are filled with anything.
    """
    parts = zip(torch.split(logp, list(sizes)), wanted, apart, strict=True)
    return torch.cat([logp[:1].expand(size, -1) if other else part for part, size, other in parts])


def answers_of(
    item: ScoredItem, logits: torch.Tensor, sums: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positive, negative and mass [runs] of one item, from logits [places, runs, vocabulary] and their `log_sums`
    [places, runs].
    """
    return answers_at(item.answers, item.choice, logits, sums)


def answers_at(
    answers: Sequence[tuple[list[int], list[int]]], choice: bool, logits: torch.Tensor, sums: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same by what `ScoredItem` says of the item."""
    positive, negative = (logits[places, :, tokens] - sums[places] for places, tokens in answers)
    if not choice:
        return positive.mean(0), negative.mean(0), sums.new_full(sums.shape[1:], torch.nan)
    mass = (positive[:-1].sum(0) + torch.logaddexp(positive[-1], negative[-1])).exp()
    return positive[-1], negative[-1], mass
