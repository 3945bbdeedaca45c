"""How probable answers are where the model is told something, and how far that is from telling it nothing."""

from collections.abc import Generator, Iterator, Sequence

import torch

from caa_core.data.pairs import ContrastPair
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import NO_CUE, Cue
from caa_core.progress import Progress
from caa_core.steering.batching import batches, budget, cache_budget, in_halves
from caa_core.steering.interventions import AFTER_PROMPT, Positions
from caa_core.steering.pair_rows import check_attention_mask, read_shared_prefix
from caa_core.steering.scored_items import ScoredItem, aligned_places, fit, read_prefixes
from caa_core.steering.scoring import CACHED, PlanBatch, Scores, Steers

KL = 3  # of the numbers of `Scores`, in their order


def score_told(
    model: SteerableModel,
    pairs: Sequence[ContrastPair],
    systems: Sequence[str],
    runs: Sequence[Steers] = (),
    positions: Positions = AFTER_PROMPT,
    cue: Cue = NO_CUE,
) -> Generator[Progress, None, list[Scores]]:
    """As `score`, behind each of some system prompts: a `Scores` for each. Yields `Progress` over the items.

    Its `kl` is KL(told nothing, unsteered ‖ told, run) at the same tokens of the answers, whose contexts differ: it is
    not 0 unsteered, and cannot be compared with what a vector costs in one context. NaN where an answer's tokens are
    not the same behind both prompts.

    Raises:
        InputError: what `score` raises.
    """
    check_attention_mask(model)
    plain, *told = [[ScoredItem.of(model, pair, positions, cue, system) for pair in pairs] for system in ("", *systems)]
    if model.elsewhere:
        there: torch.Tensor = yield from model.elsewhere.score_told([plain, *told], runs, positions)
        return [Scores(*numbers) for numbers in there]
    found = torch.full((len(told), 4, 1 + len(runs), len(pairs)), torch.nan)
    tokens = sum(item.row.length for item in plain)
    tokens += sum(item.row.length + len(runs) * item.tail for items in told for item in items)
    progress = Progress(len(pairs), "items told", tokens)
    yield progress
    beginnings = [read_shared_prefix(model, [i.row for i in of], min(i.split for i in of)) for of in (plain, *told)]

    def scored(batch: list[int], context: int, against: torch.Tensor | None) -> Generator[Progress, None, PlanBatch]:
        """The items of a batch in one context, 0 being the one in which nothing is told."""
        chosen = [(plain, *told)[context][i] for i in batch]
        prefix = yield from read_prefixes(model, chosen, beginnings[context], progress)
        here = runs if context else ()
        work = PlanBatch(model, chosen, prefix, [positions] * len(here), here, against)
        for share, numbers in work.numbers():
            if context:
                found[context - 1][:, torch.tensor(share)[:, None], torch.tensor(batch)[None]] = numbers
            yield progress.advance(0, len(share) * sum(item.tail for item in chosen))
        return work

    def together(batch: list[int]) -> Iterator[Progress]:
        nothing_told = (yield from scored(batch, 0, None)).logp
        for context, items in enumerate(told, 1):
            against, apart = _against([plain[i] for i in batch], [items[i] for i in batch], nothing_told)
            yield from scored(batch, context, against)
            found[context - 1, KL, :, torch.tensor(batch)[apart]] = torch.nan
        progress.advance(len(batch), 0)

    longest = [max((items[i].row for items in (plain, *told)), key=lambda row: row.length) for i in range(len(pairs))]
    cached = min(CACHED * budget(model), cache_budget(model))
    every = (plain, *told)
    for batch in batches(longest, cached, lambda batch: all(fit(model, [of[i] for i in batch]) for of in every)):
        yield from in_halves(batch, together)
    yield progress
    return [Scores(*numbers) for numbers in found]


def _against(
    plain: Sequence[ScoredItem], told: Sequence[ScoredItem], logp: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the answers of told items are held against, [places, vocabulary], from `logp` of the plain ones; and which
    items have other tokens, whose places are filled with anything.
    """
    apart = [one.answers != other.answers for one, other in zip(plain, told, strict=True)]
    here, wanted = ([len(item.columns) for item in items] for items in (plain, told))
    return aligned_places(logp, here, wanted, apart), torch.tensor(apart)
