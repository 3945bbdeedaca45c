"""What is really written: which of an item's two answers comes first in a few greedy tokens."""

import re
from collections.abc import Generator, Iterator, Sequence

import numpy as np

from caa_core.data.answers import bare
from caa_core.data.pairs import ContrastPair
from caa_core.metrics.items import WRITTEN_TOKENS
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import NO_CUE, Cue, ask_pair
from caa_core.progress import Progress
from caa_core.steering.batching import cache_budget
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import AFTER_PROMPT, Positions
from caa_core.steering.scoring import Steers

# Rows that are written in one batch; the more, the less a token costs.
ROWS = {"cpu": 64, "cuda": 512}

MATCHING, NEITHER, NOT_MATCHING = 1, 0, -1


def count_answers(
    model: SteerableModel,
    pairs: Sequence[ContrastPair],
    runs: Sequence[Steers],
    positions: Positions = AFTER_PROMPT,
    cue: Cue = NO_CUE,
) -> Generator[Progress, None, np.ndarray]:
    """Write `WRITTEN_TOKENS` greedy tokens behind every prompt under each of `runs`.

    Yields `Progress`. Returns [runs, items]: 1 where the first of the item's answers in it is the matching one, -1
    where it is the other, 0 where it holds neither.
    """
    prompts = [ask_pair(model.tokenizer, pair, cue=cue) for pair in pairs]
    found = np.zeros((len(runs), len(pairs)), dtype=int)
    progress = Progress(found.size, "answers written", found.size)
    yield progress
    for batch in _batches(model, [prompt.length for prompt in prompts], len(runs)):
        rows = [BatchRow(prompts[item], runs[run], positions) for run, item in batch]
        written = generate(model, rows, Decoding(WRITTEN_TOKENS))
        for texts in written:
            said = [
                first_answer(pairs[item], cue.words + text.text, text.done)
                for (_, item), text in zip(batch, texts, strict=True)
            ]
            if all(answer or text.done for answer, text in zip(said, texts, strict=True)):
                break  # what follows changes nothing
            yield progress
        written.close()
        found[tuple(zip(*batch, strict=True))] = said
        yield progress.advance(len(batch), len(batch))
    return found


def first_answer(pair: ContrastPair, text: str, done: bool = False) -> int:
    """1 where the matching answer is the first of the pair's two in `text`, -1 where the other is, 0 for neither.

    A letter counts before a bracket, punctuation or the end of a text that is `done`: "(A)", "A)", "A.", but not the
    article in "A dog". A word counts where it has ended, so that what is written later changes nothing.
    """
    names = [letter.written for letter in pair.letters] if pair.letters else [pair.positive, pair.negative]
    places = [_place(name, text + "\n" * done) for name in names]
    if places[0] == places[1]:
        return NEITHER
    return MATCHING if places[0] < places[1] else NOT_MATCHING


def _place(name: str, text: str) -> int:
    """Where a letter or a word begins in a text; behind its end where it is not there."""
    name = name if len(name) == 1 else bare(name)
    if len(name) == 1:
        found = re.search(rf"(?<!\w){re.escape(name)}(?=[).:,;\n])", text)
    else:
        found = re.search(rf"(?<!\w){re.escape(name)}(?=\W)", text, re.IGNORECASE)
    return found.start() if found else len(text)


def _batches(model: SteerableModel, lengths: Sequence[int], runs: int) -> Iterator[list[tuple[int, int]]]:
    """Run and item of the rows of each batch: items of similar length lie together, all runs of an item beside it."""
    room = ROWS.get(model.device.type, ROWS["cpu"])
    order = sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True)
    rows = [(run, item) for item in order for run in range(runs)]
    while rows:
        longest = lengths[rows[0][1]] + WRITTEN_TOKENS
        size = max(1, min(room, cache_budget(model) // longest))
        yield rows[:size]
        rows = rows[size:]
