"""Which pairs ask the same, and parts of them to be held out in turns.

What stands in a file twice must not be chosen on and judged on, nor a direction be made from one copy and tested on the
other: pairs of one prompt are always in one part. Parts are alike in what the matching answer is (its letter, Yes or
No), in how often a prompt stands there, and in length.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace

from caa_core.data.answers import OPTION
from caa_core.data.pairs import ContrastPair, Dataset

# The part of the pairs that is kept to measure on, where there are enough: one in so many.
ONE_IN = 4


def prompts_of(pairs: Sequence[ContrastPair]) -> list[int]:
    """For each pair the number of its prompt, from 0 in the order in which they come; pairs that ask the same have one
    number.

    The same is what differs in capitals, white space or Unicode's compatible forms only, and a question whose options
    stand in another order. Pairs of two prompts belong together where they have one of them in common.
    """
    groups: dict[str, int] = {}
    for number, pair in enumerate(pairs):
        texts = [*_texts(pair)]
        known = {groups[text] for text in texts if text in groups}
        group = min(known, default=number)
        if len(known) > 1:
            groups = {text: group if other in known else other for text, other in groups.items()}
        groups.update(dict.fromkeys(texts, group))
    found = [groups[next(_texts(pair))] for pair in pairs]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(found))}
    return [numbers[group] for group in found]


def halves(pairs: Sequence[ContrastPair]) -> tuple[list[int], list[int]]:
    """Indices of pairs, one half to choose on and the other to judge on. The second is empty for a single prompt."""
    first, second = parts(pairs, 2)
    return first, second


def parts(pairs: Sequence[ContrastPair], count: int) -> list[list[int]]:
    """Indices of pairs in `count` parts that have no prompt in common, and are as alike as they can be.

    Prompts are sorted into strata by their matching answers and by how many pairs they have. Of each stratum they are
    dealt out in rounds, the longest first, and in each round the longest to the part that has the least so far.
    """
    members: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts_of(pairs)):
        members.setdefault(prompt, []).append(index)
    strata: dict[tuple[tuple[str, ...], int], list[list[int]]] = {}
    for indices in members.values():
        answers = {pairs[i].positive.lower() for i in indices if pairs[i].is_choice}
        strata.setdefault((tuple(sorted(answers)), len(indices)), []).append(indices)
    found: list[list[int]] = [[] for _ in range(count)]
    lengths = [0] * count
    for _, stratum in sorted(strata.items()):
        stratum.sort(key=lambda indices: -_length(pairs, indices))
        for first in range(0, len(stratum), count):
            dealt = stratum[first : first + count]
            short = sorted(range(count), key=lambda part: lengths[part])
            if len(dealt) < count:  # what is left over fills up
                short.sort(key=lambda part: len(found[part]))
            for indices, part in zip(dealt, short, strict=False):
                found[part] += indices
                lengths[part] += _length(pairs, indices)
    return [sorted(part) for part in found]


def kept_apart(dataset: Dataset, least: int) -> tuple[Dataset, Dataset | None]:
    """Pairs to make a vector of, and a quarter to measure it on, which has at least so many prompts; all of them and
    None where the other part would have fewer.
    """
    pairs = dataset.pairs
    count = min(ONE_IN, len(set(prompts_of(pairs))) // least)
    if count < 2:
        return dataset, None
    *others, held = parts(pairs, count)
    used = sorted(index for part in others for index in part)

    def some(indices: Sequence[int], said: str) -> Dataset:
        chosen = tuple(pairs[i] for i in indices)
        return replace(dataset, name=f"{dataset.name} ({said})", kind=f"{dataset.kind}, {said}", pairs=chosen)

    return some(used, f"without {len(held)} held out"), some(held, "held out")


def _texts(pair: ContrastPair) -> Iterator[str]:
    """What a pair asks, normalised: its prompt, and the other one where it has two."""
    options = pair.options
    stem = OPTION.sub("", pair.prompt) if options else pair.prompt
    yield "\n".join([_normal(stem), *sorted(map(_normal, options.values()))])
    if pair.negative_prompt:
        yield _normal(pair.negative_prompt)


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


def _length(pairs: Sequence[ContrastPair], indices: Sequence[int]) -> int:
    """Of some pairs, in characters."""
    return sum(len(pairs[i].prompt) + len(pairs[i].positive) + len(pairs[i].negative) for i in indices)
