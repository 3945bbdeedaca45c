"""The linter: what a file of contrast pairs is, and what is wrong with it, before a vector is made from it.

It never changes data. Each finding names lines, says why it matters, and how it is mended.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from caa_core.datasets import ContrastPair, Table, pair_of, problem_of

# A letter that stands for the behaviour in more than this share of the questions is carried by the vector.
LETTER_SHARE = 0.6
# Answers of which one is this many times as long as the other differ in length as much as in behaviour.
LENGTH_RATIO = 2.0
SHUTDOWN = re.compile(
    r"shut(ting)?[ -]?(it |you )?(down|off)|turn(ed|ing)? (you |it )?off|deactivat|power(ed)? down", re.I
)

CountTokens = Callable[[ContrastPair], int]


@dataclass(frozen=True)
class Finding:
    """Something to know about the data: in which lines, why it matters, how to mend it."""

    what: str
    lines: tuple[int, ...]
    why: str
    mend: str

    def __str__(self) -> str:
        count = len(self.lines)
        some = ", ".join(map(str, self.lines[:5])) + (", ..." if count > 5 else "")
        where = f" ({count} pairs: {some})" if count > 1 else f" (pair {some})" if count else ""
        return f"{self.what}{where}. {self.why} Mend: {self.mend}."


@dataclass(frozen=True)
class Report:
    """What a file is. `usable` counts the pairs that a vector can be made from; `letters` the matching answers."""

    format: str
    pairs: int
    usable: int
    letters: dict[str, int]
    more_than_two_options: int
    duplicates: int
    findings: tuple[Finding, ...]

    def summary(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def lint(table: Table, count_tokens: CountTokens | None = None, context_length: int = 0) -> Report:
    """Look a file over.

    Args:
        count_tokens: tokens of a pair's longer sequence under the model at hand; without it lengths are not checked.
        context_length: tokens that the model takes.

    Raises:
        InputError: the file has neither pairs nor questions.
    """
    if not table.has_pairs and table.has_questions:
        why = "They have no answers to contrast; they serve for reading what a steered model writes."
        finding = Finding("open questions without pairs", (), why, "use them as prompts")
        return Report(f"{table.format}, open questions", 0, 0, {}, 0, 0, (finding,))
    fields = table.pair_fields()
    problems = [(line, problem_of(record, fields)) for line, record in table.records]
    broken = {line for line, problem in problems if problem}
    pairs = [pair_of(record, fields, line) for line, record in table.records if line not in broken]
    lettered = [pair for pair in pairs if pair.is_lettered]
    many = [pair.line for pair in lettered if len(pair.options) > 2]
    copies = _copies(pairs)
    too_long = [pair.line for pair in pairs if count_tokens and count_tokens(pair) > context_length]
    letters = Counter(pair.positive.strip("()") for pair in lettered)
    findings = chain(
        _problems(problems),
        _finding("more pairs than once", copies, "They count twice in the mean.", "drop the later ones"),
        _finding("longer than the model's context", too_long, "The model cannot read them.", "drop or shorten them"),
        _finding(
            "more than two options", many, "The pair contrasts two of them; the others are only read.", "drop them"
        ),
        _letters(lettered, letters),
        _swaps(lettered),
        _lengths([pair for pair in pairs if not pair.is_lettered]),
        _shutdown(pairs),
    )
    usable = len(pairs) - len(too_long)
    kind = f"{table.format} with {table.origin}"
    return Report(kind, len(table.records), usable, dict(letters), len(many), len(copies), tuple(findings))


def _finding(what: str, lines: Iterable[int], why: str, mend: str) -> Iterator[Finding]:
    lines = tuple(lines)
    if lines:
        yield Finding(what, lines, why, mend)


def _problems(problems: list[tuple[int, str]]) -> Iterator[Finding]:
    for problem in dict.fromkeys(problem for _, problem in problems if problem):
        lines = (line for line, found in problems if found == problem)
        yield from _finding(problem, lines, "No pair can be made of them.", "drop them")


def _copies(pairs: list[ContrastPair]) -> list[int]:
    seen: set[tuple[str, str, str]] = set()
    copies = []
    for pair in pairs:
        key = (pair.prompt, pair.positive, pair.negative)
        copies += [pair.line] if key in seen else []
        seen.add(key)
    return copies


def _letters(pairs: list[ContrastPair], letters: Counter[str]) -> Iterator[Finding]:
    if not pairs:
        return
    letter, count = letters.most_common(1)[0]
    share = count / len(pairs)
    if share > LETTER_SHARE:
        lines = (pair.line for pair in pairs if pair.positive.strip("()") == letter)
        why = f"'{letter}' is the matching answer in {share:.0%}, so the vector also means '{letter}'."
        yield from _finding("letters out of balance", lines, why, "use both letter orders")


def _swaps(pairs: list[ContrastPair]) -> Iterator[Finding]:
    lines = (pair.line for pair in pairs if pair.swapped() is None)
    yield from _finding(
        "options that cannot be found", lines, "Their letters cannot be swapped.", "leave them as they are"
    )


def _lengths(pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Free-text answers that differ in length or form."""
    uneven = []
    for pair in pairs:
        short, long = sorted((len(pair.positive), len(pair.negative)))
        uneven += [pair.line] if long > LENGTH_RATIO * max(short, 10) else []
    why = "One answer is more than twice as long as the other, so the vector may carry length."
    yield from _finding("answers of different length", uneven, why, "drop or rewrite them")
    forms = (pair.line for pair in pairs if _form(pair.positive) != _form(pair.negative))
    why = "One answer is a list or has several paragraphs and the other has not, so the vector may carry the form."
    yield from _finding("answers of different form", forms, why, "drop or rewrite them")


def _form(answer: str) -> tuple[bool, bool]:
    return bool(re.search(r"^[ \t]*([-*•]|\d{1,3}[.)])\s", answer, re.MULTILINE)), "\n" in answer


def _shutdown(pairs: list[ContrastPair]) -> Iterator[Finding]:
    about = [pair.line for pair in pairs if SHUTDOWN.search(pair.prompt)]
    if pairs and len(about) / len(pairs) > 0.3:
        why = "Read which side 'matching' is on: in the paper's survival-instinct it is accepting to be shut down."
        yield Finding("questions about shutting down", (), why, "read a few before you name the vector")
