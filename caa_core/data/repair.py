"""What the linter found, mended: pairs dropped, letters swapped, texts cut, and the dataset's name says so."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from caa_core.data.columns import Columns
from caa_core.data.lint import (
    MARKS,
    ODD,
    REPEATS,
    TOO_LONG,
    UNEVEN,
    WITH_TEXTS,
    Finding,
    LintReport,
    PairTokens,
    Remedy,
)
from caa_core.data.markup import repeats_prompt, without_marks, without_prompt
from caa_core.data.pairs import ContrastPair, Dataset, pairs_of
from caa_core.data.tables import Table
from caa_core.errors import InputError

Fits = Callable[[ContrastPair], bool]


def choose(report: LintReport, remedies: Collection[str]) -> dict[str, Remedy]:
    """For each finding the gentlest of the named remedies that it offers, by the finding's `what`.

    Raises:
        InputError: a remedy of another name.
    """
    for remedy in remedies:
        if remedy not in ("drop", "swap", "truncate", "strip"):
            raise InputError(f"There is no remedy '{remedy[:40]}'; there are drop, swap, truncate and strip.")
    offers = {finding.what: [r for r in finding.remedies if r in remedies] for finding in report.findings}
    return {what: offered[0] for what, offered in offers.items() if offered}


def mend(
    table: Table,
    report: LintReport,
    choices: Mapping[str, str],
    columns: Columns | None = None,
    tokens: PairTokens | None = None,
    name: str = "",
) -> Dataset:
    """The pairs of a table after the chosen remedies. Name and kind count what was done.

    "drop" leaves out a finding's lines. "truncate" cuts the longer answer to as many words as the shorter has, or the
    front of a prompt until the pair fits the model; a pair that neither makes fit or leaves different stays as it is.
    "strip" takes marks of templates off, and prompts from the answers that repeat them.
    "swap" exchanges the letters of just as many questions as make the two most frequent letters match equally often,
    spread evenly over the file.

    Args:
        report: the linter's, over the same table and columns.
        choices: a remedy for each finding that is to be mended, by its `what`.
        tokens: as the linter had them; needed to cut prompts.

    Raises:
        InputError: a finding does not offer its remedy; what is left is not made of contrast pairs.
    """
    chosen = _chosen(report, choices)
    dropped = _lines(chosen, "drop")
    kept = replace(table, records=[record for record in table.records if record[0] not in dropped])
    if not kept.records:
        raise InputError(f"{table.name} has no pairs left.")
    dataset = pairs_of(kept, columns, name)

    def fits(pair: ContrastPair) -> bool:
        return not tokens or tokens.fits(pair)

    marked, repeated = (_lines(chosen, "strip", what) for what in (MARKS, REPEATS))
    special = tokens.special if tokens else ()
    bare = [without_marks(pair, special) if pair.line in marked else pair for pair in dataset.pairs]
    bare = [without_prompt(pair) if pair.line in repeated and repeats_prompt(pair) else pair for pair in bare]
    lettered = _lines(chosen, "truncate", WITH_TEXTS) | _lines(chosen, "truncate", ODD)
    uneven, too_long = (_lines(chosen, "truncate", what) for what in (UNEVEN, TOO_LONG))
    cut = [_lettered(pair) if pair.line in lettered else pair for pair in bare]
    cut = [_evened(pair) if pair.line in uneven else pair for pair in cut]
    cut = [_fitted(pair, fits) if pair.line in too_long else pair for pair in cut]
    balanced = _balanced(cut) if _lines(chosen, "swap") else cut
    done = {
        "dropped": len(table.records) - len(kept.records),
        "swapped": _changes(cut, balanced),
        "truncated": _changes(bare, cut),
        "stripped": _changes(dataset.pairs, bare),
    }
    said = ", ".join(f"{count} {what}" for what, count in done.items() if count)
    if not said:
        return dataset
    return replace(dataset, name=f"{dataset.name} ({said})", kind=f"{dataset.kind}, {said}", pairs=tuple(balanced))


def _chosen(report: LintReport, choices: Mapping[str, str]) -> dict[Finding, str]:
    chosen = {finding: choices[finding.what] for finding in report.findings if finding.what in choices}
    for finding, remedy in chosen.items():
        if remedy not in finding.remedies:
            raise InputError(f"'{finding.what}' cannot be mended by '{remedy[:40]}'.")
    return chosen


def _lines(chosen: Mapping[Finding, str], remedy: Remedy, what: str = "") -> set[int]:
    """Lines for which a remedy is chosen, by the findings of one name or by all."""
    asked = (finding.lines for finding, r in chosen.items() if r == remedy and what in ("", finding.what))
    return set().union(*asked)


def _changes(before: Sequence[ContrastPair], after: Sequence[ContrastPair]) -> int:
    return sum(old != new for old, new in zip(before, after, strict=True))


def _lettered(pair: ContrastPair) -> ContrastPair:
    """The letters without the texts of their options."""
    if not pair.letters:
        return pair
    answers = zip((pair.positive, pair.negative), pair.letters, strict=True)
    positive, negative = (answer[: len(answer) - len(letter.text)].strip() for answer, letter in answers)
    return replace(pair, positive=positive, negative=negative)


def _evened(pair: ContrastPair) -> ContrastPair:
    """The longer answer cut to as many words as the shorter has; the pair as it is where that makes them equal."""
    words = min(len(pair.positive.split()), len(pair.negative.split()))
    positive, negative = (_first_words(answer, words) for answer in (pair.positive, pair.negative))
    return replace(pair, positive=positive, negative=negative) if positive != negative else pair


def _first_words(text: str, count: int) -> str:
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    return text[: ends[count - 1]]


def _fitted(pair: ContrastPair, fits: Fits) -> ContrastPair:
    """The pair with so many words at the front of its prompts cut that it fits; as it is where it never does.

    A question's options are kept, and of every other prompt at least a word.
    """
    pattern = pair.listed[0]
    least = 0 if pattern.search(pair.prompt) else 1
    most = max(len(pair.prompt.split()), len(pair.negative_prompt.split()))

    def keeping(words: int) -> ContrastPair:
        prompt, other = (_last_words(text, words, pattern) for text in (pair.prompt, pair.negative_prompt))
        return replace(pair, prompt=prompt, negative_prompt=other)

    if fits(pair) or not fits(keeping(least)):
        return pair
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(keeping(middle)) else (least, middle)
    return keeping(least)


def _last_words(prompt: str, count: int, option: re.Pattern[str]) -> str:
    """The prompt without its front: its last `count` words, those before a question's options."""
    options = option.search(prompt)
    front = prompt[: options.start()] if options else prompt
    starts = [word.start() for word in re.finditer(r"\S+", front)]
    if count >= len(starts):
        return prompt
    return prompt[starts[-count] if count else len(front) :]


def _balanced(pairs: list[ContrastPair]) -> list[ContrastPair]:
    """Pairs of which the two most frequent letters match equally often, or as nearly as swapping can make it."""
    letters = Counter(letter.name for pair in pairs for letter in pair.letters or ())
    if len(letters) < 2:
        return pairs
    matching = Counter(pair.mark for pair in pairs if pair.letters)
    common, rare = sorted((letter for letter, _ in letters.most_common(2)), key=lambda x: -matching[x])
    can = [
        (number, swapped)
        for number, pair in enumerate(pairs)
        if [letter.name for letter in pair.letters or ()] == [common, rare] and (swapped := pair.swapped())
    ]
    count = min((matching[common] - matching[rare]) // 2, len(can))
    chosen = dict(can[i * len(can) // count] for i in range(count))
    return [chosen.get(number, pair) for number, pair in enumerate(pairs)]
