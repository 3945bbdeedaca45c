"""The linter: what a file of contrast pairs is, and what is wrong with it, before a vector is made from it.

It never changes data. Each finding names lines, says why it matters, and how it is mended; `mending.py` does that.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, chain
from typing import Any, Literal, Protocol

from caa_core.data.answers import bare, folded, options_in, unseen_out
from caa_core.data.columns import Columns, may_be_of_the_prompt, shown
from caa_core.data.delimited import UNNAMED
from caa_core.data.encodings import encoded_once
from caa_core.data.markup import lines_with_marks, repeats_prompt
from caa_core.data.pairs import (
    Answers,
    ContrastPair,
    as_text,
    count_kinds,
    has_options_left_out,
    is_given,
    kinds_in_words,
    pair_of,
    problem_of,
)
from caa_core.data.tables import Table
from caa_core.data.text import clean
from caa_core.limits import CUT

# An answer that stands for the behaviour in more than this share of the pairs is carried by the vector.
LETTER_SHARE = 0.6
# So often at least: two pairs that match alike are no habit.
OFTEN = 3

# Answers of which one is this many times as long as the other differ in length as much as in behaviour.
LENGTH_RATIO = 2.0

SHUTDOWN = re.compile(
    r"shut(ting)?[ -]?(it |you )?(down|off)|turn(ed|ing)? (you |it )?off|deactivat|power(ed)? down", re.I
)

# Where one cell of CSV ends and another begins, within a cell of several lines.
GLUED = re.compile(r'\n[^\n]*"[,;|]|[,;|]"[^\n]*\n')

NAMELESS = re.compile(re.escape(UNNAMED).replace(r"\{\}", r"\d+"))

# Findings by which the mender knows what is to be cut.
TOO_LONG = "longer than the model's context"

NO_TOKEN = "letters that are no token of their own"

REFUSED = "conversations that the model's template refuses"

# What programs write where nothing is.
NOTHING = {"nan", "null", "n/a", "#n/a", "#value!", "#ref!", "#name?", "<na>", "undefined"}

MANY = "more than two options"

ODD = "answers of more than one kind"

MARKS = "marks of a chat template in the texts"

REPEATS = "answers that repeat their prompt"

UNEVEN = "answers of different length"

WITH_TEXTS = "letters with the texts of their options"

Remedy = Literal["drop", "swap", "truncate", "strip"]


@dataclass(frozen=True)
class Finding:
    """Something to know about the data: in which lines, why it matters, how to mend it.

    `remedies` are those that `mending.mend` can apply, the gentlest first.
    """

    what: str
    lines: tuple[int, ...]
    why: str
    mend: str
    remedies: tuple[Remedy, ...] = ()

    def __str__(self) -> str:
        fault, count = self.what, len(self.lines)
        line_numbers = ", ".join(map(str, self.lines[:5])) + (", ..." if count > 5 else "")
        found = f"{fault}."
        if count:
            found = f"{fault} ({count} pairs: {line_numbers})." if count > 1 else f"{fault} (pair {line_numbers})."
        return f"{found} {self.why} Mend: {self.mend}."


QUESTIONS = Finding(
    "open questions without pairs",
    (),
    "They have no answers to contrast; they serve for reading what a steered model writes.",
    "use them as prompts",
)


@dataclass(frozen=True)
class LintReport:
    """What a file is.

    `usable` counts the pairs that a vector can be made from; `letters` the matching answers; `letter_tokens` the ways
    in which the model's tokenizer cuts lettered answers, in words; `kinds` the pairs by what they are, in words.
    """

    format: str
    pairs: int
    usable: int
    letters: dict[str, int]
    more_than_two_options: int
    duplicates: int
    findings: tuple[Finding, ...]
    letter_tokens: dict[str, int]
    kinds: str = ""

    def summary(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Cut:
    """A pair in tokens: how many its longer sequence has, whether its answers part, and where the letter is."""

    line: int
    tokens: int
    parts: bool = True
    letter: str = ""


class PairTokens(Protocol):
    """How a model cuts pairs into tokens. What renders and tokenizes is not loaded here: see `model.pair_tokens`."""

    @property
    def context_length(self) -> int:
        """Tokens that the model takes."""

    @property
    def special(self) -> Collection[str]:
        """The texts of its special tokens, which texts of people do not have."""

    def cut(self, pairs: Sequence[ContrastPair]) -> Sequence[Cut | None]:
        """Pairs as the model reads them, None for one that cannot be rendered."""

    def fits(self, pair: ContrastPair) -> bool:
        """Whether the model takes its longer sequence."""


def lint(
    table: Table,
    columns: Columns | None = None,
    tokens: "PairTokens | None" = None,
) -> LintReport:
    """Look a file over.

    Args:
        columns: which columns hold what; matched by their names by default.
        tokens: the model's; without it neither lengths nor letter tokens are looked at.

    Raises:
        InputError: the file has neither pairs nor questions.
    """
    if not columns and table.has_questions:
        return LintReport(f"{table.kind}, open questions", 0, 0, {}, 0, 0, (QUESTIONS,), {})
    columns = table.match_columns(columns)
    problems = [(line, problem_of(record, columns)) for line, record in table.records]
    broken = {line for line, problem in problems if problem}
    pairs = [pair_of(record, columns, line) for line, record in table.records if line not in broken]
    lettered = [pair for pair in pairs if pair.is_lettered]
    looked_at = _looked_at(pairs)
    cut = tokens.cut(looked_at) if tokens else []
    cuts = [one for one in cut if one]
    unread = {
        TOO_LONG: [cut.line for cut in cuts if tokens and cut.tokens > tokens.context_length],
        NO_TOKEN: [cut.line for cut in cuts if not cut.parts],
        REFUSED: [pair.line for pair, one in zip(looked_at, cut, strict=False) if not one],
    }
    many = [pair.line for pair in lettered if len(pair.options) > 2]
    copies = _copies(pairs)
    findings = chain(
        _problems(problems),
        _left_out(table, columns, pairs),
        _written(table, pairs),
        _marks(pairs, tokens.special if tokens else ()),
        _kinds(pairs, bool(tokens)),
        _twice(pairs, copies),
        _unread(unread),
        _letter_tokens(cuts),
        _not_cut(pairs[len(looked_at) :] if tokens else []),
        _finding(MANY, many, "The pair contrasts two; the others are only read.", "drop them", "drop"),
        _balance(pairs, lettered),
        _swaps(lettered),
        _lengths([pair for pair in pairs if not pair.is_lettered]),
        _shutdown(pairs),
    )
    return LintReport(
        format=f"{table.kind} with {columns}",
        pairs=len(table.records),
        usable=len(pairs) - len(set().union(*unread.values())),
        letters=dict(Counter(pair.mark for pair in lettered)),
        more_than_two_options=len(many),
        duplicates=len(copies),
        findings=tuple(findings),
        letter_tokens=dict(Counter(cut.letter for cut in cuts if cut.letter).most_common()),
        kinds=kinds_in_words(count_kinds(pairs)),
    )


def _unread(unread: Mapping[str, list[int]]) -> Iterator[Finding]:
    """Pairs of which the model can make nothing."""
    yield from _finding(
        TOO_LONG, unread[TOO_LONG], "The model cannot read them.", "cut or drop them", "truncate", "drop"
    )
    why = "Its turns come in an order that it does not take."
    yield from _finding(REFUSED, unread[REFUSED], why, "drop them", "drop")
    yield from _finding(NO_TOKEN, unread[NO_TOKEN], "They cannot be told apart at any token.", "drop", "drop")


def _written(table: Table, pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Cells that were written otherwise than was meant."""
    yield from _glued(table)
    yield from _encodings(table, pairs)
    yield from _nothing(pairs)


def _balance(pairs: list[ContrastPair], lettered: list[ContrastPair]) -> Iterator[Finding]:
    """Answers of which one matches too often."""
    yield from _letters(lettered, Counter(pair.mark for pair in lettered))
    yield from _words([pair for pair in pairs if pair.kind_of_answers == "word"])
    yield from _often(pairs)


def _encodings(table: Table, pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Bytes that are not in the encoding of the rest, and texts that were encoded twice."""
    if ", but " in table.encoding:
        why = f"The file was read as {table.encoding}."
        yield Finding("lines in another encoding", (), why, "look at these lines, and save the file as UTF-8")
    twice = {pair.line: again for pair in pairs if (again := next(filter(None, map(encoded_once, _texts(pair))), ""))}
    why = f"They are UTF-8 that was read as another encoding: '{clean(next(iter(twice.values()), '')[:40])}' was meant."
    yield from _finding("letters that were encoded twice", twice, why, "save the file again from its source", "drop")


def _nothing(pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Cells in which a program says that there is none."""
    parts = ((pair.line, (pair.prompt, pair.positive, pair.negative)) for pair in pairs)
    lines = (line for line, texts in parts if any(text.strip().lower() in NOTHING for text in texts))
    why = "Programs write 'nan' or 'null' where a cell was empty, and it would be read as a text."
    yield from _finding("texts that say that nothing is there", lines, why, "fill them in, or drop them", "drop")


def _texts(pair: ContrastPair) -> tuple[str, ...]:
    return (pair.prompt, pair.positive, pair.negative, pair.negative_prompt, pair.system)


def _marks(pairs: list[ContrastPair], special: Collection[str]) -> Iterator[Finding]:
    """Texts that are rendered already."""
    why = "Another template would be put around it, and the marks would be read as the texts' own."
    yield from _finding(
        MARKS, lines_with_marks(pairs, special), why, "take the marks off, or drop them", "strip", "drop"
    )
    lines = (pair.line for pair in pairs if repeats_prompt(pair))
    why = "The prompt stands before them already, and would be read as a part of the answers."
    yield from _finding(REPEATS, lines, why, "cut the prompt from the answers, or drop them", "strip", "drop")


def _twice(pairs: list[ContrastPair], copies: list[int]) -> Iterator[Finding]:
    """Pairs that say the same as another, its opposite, or nothing."""
    yield from _finding("the same pair again", copies, "They count twice in the mean.", "drop the later ones", "drop")
    sides = [(_sides(pair), _content(pair)) for pair in pairs]
    there = {one for both in sides for one in both}
    lines = (
        pair.line for pair, both in zip(pairs, sides, strict=True) if any(a != b and (b, a) in there for a, b in both)
    )
    why = "In the mean the two cancel each other."
    yield from _finding("the opposite of another pair", lines, why, "drop both, or the one that is wrong", "drop")
    alike = [pair for pair in pairs if _seen(pair.positive) == _seen(pair.negative)]
    why = "To a reader both {} are the same; to the model the vector would mean these characters."
    for what, some in (
        ("answers", [pair for pair in alike if not pair.negative_prompt]),
        ("prompts", [pair for pair in alike if _seen(pair.negative_prompt) == _seen(pair.prompt)]),
    ):
        lines = (pair.line for pair in some)
        unseen = f"{what} that differ only in characters that are not seen"
        yield from _finding(unseen, lines, why.format(what), "drop them", "drop")
    lines = (pair.line for pair in pairs if pair.is_choice and pair.mark == pair.other_mark)
    why = "They are written in two ways, and say the same, so there is nothing to contrast."
    yield from _finding("answers that are the same letter or word", lines, why, "correct or drop them", "drop")


def _seen(text: str) -> str:
    """What is seen of a text: no characters without a shape, and space as space."""
    return " ".join(unicodedata.normalize("NFC", unseen_out(text)).split())


def _sides(pair: ContrastPair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts of either side of a pair, by which near copies are the same."""
    before = (folded(pair.system), *(folded(text) for _, text in pair.history))
    prompts = (pair.prompt, pair.negative_prompt or pair.prompt)
    answers = (pair.mark, pair.other_mark) if pair.is_choice else (pair.positive, pair.negative)
    positive, negative = (
        (*before, folded(prompt).rstrip(".,:;!?… "), folded(answer))
        for prompt, answer in zip(prompts, answers, strict=True)
    )
    return positive, negative


def _content(pair: ContrastPair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same of a question whose options are known: the question without them, and what each letter stands for."""
    pattern, options = pair.listed
    if not pair.letters or {pair.mark, pair.other_mark} - options.keys():
        return _sides(pair)
    asked = folded(pattern.sub("", pair.prompt))
    positive, negative = ((asked, folded(options[letter])) for letter in (pair.mark, pair.other_mark))
    return positive, negative


def _looked_at(pairs: list[ContrastPair]) -> list[ContrastPair]:
    """The first ones, which have together no more characters than are cut into tokens here."""
    sizes = (
        sum(map(len, (pair.system, pair.prompt, pair.negative_prompt, pair.positive, pair.negative)))
        + sum(len(text) for _, text in pair.history)
        for pair in pairs
    )
    return [pair for pair, size in zip(pairs, accumulate(sizes), strict=True) if size <= CUT.value]


def _not_cut(pairs: list[ContrastPair]) -> Iterator[Finding]:
    why = "There are too many or too long ones before them; whether they fit the model shows when a vector is made."
    lines = (pair.line for pair in pairs)
    yield from _finding("not looked at in tokens", lines, why, "leave them, or bring fewer pairs")


def _letter_tokens(cuts: list[Cut]) -> Iterator[Finding]:
    """Letters that the tokenizer does not cut as it does most of them."""
    usual = Counter(cut.letter for cut in cuts if cut.letter).most_common(1)
    lines = (cut.line for cut in cuts if cut.letter and cut.letter != usual[0][0])
    why = "The vector is read at the letter; there it stands in other tokens than in the rest."
    yield from _finding("letters in other tokens", lines, why, "write all answers alike, or drop them", "drop")


def _finding(what: str, lines: Iterable[int], why: str, mend: str, *remedies: Remedy) -> Iterator[Finding]:
    lines = tuple(lines)
    if lines:
        yield Finding(what, lines, why, mend, remedies)


def _problems(problems: list[tuple[int, str]]) -> Iterator[Finding]:
    for problem in dict.fromkeys(problem for _, problem in problems if problem):
        lines = (line for line, found in problems if found == problem)
        yield from _finding(problem, lines, "No pair can be made of them.", "drop them", "drop")


def _left_out(table: Table, columns: Columns, pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Columns whose names say that they may belong to the prompt, and options that no answer is one of."""
    read = {pair.line: pair for pair in pairs}
    lines = (
        n
        for n, record in table.records
        if columns.options and n in read and has_options_left_out(record, columns, read[n])
    )
    why = "Its answers are none of them, or it is not certain which, so the question is read without them."
    yield from _finding("options that are not read", lines, why, "write the option's letter as the answer", "drop")
    for column in may_be_of_the_prompt(table.fields, columns):
        if any(n in read and _is_elsewhere(record.get(column), read[n]) for n, record in table.records):
            why = "What stands in it may belong to the prompt, and is left out."
            mend = f"name it as a part of the prompt (--columns '{shown(columns.prompt)}+{shown(column)},...')"
            yield Finding(f"the column '{shown(column)}' is not read", (), why, mend)


def _is_elsewhere(value: Any, pair: ContrastPair) -> bool:
    """Whether a cell holds something that the pair does not say itself."""
    said = as_text(value)
    return is_given(value) and (said is None or not any(said.strip() in text for text in _texts(pair)))


def _glued(table: Table) -> Iterator[Finding]:
    """Cells without a column; and cells that hold separators beside quotation marks, as if several had become one."""
    if table.format not in ("CSV", "TSV", "Excel workbook"):
        return
    lost = (line for line, record in table.records if any(NAMELESS.fullmatch(field) for field in record))
    why = "They belong to no column, and are left out."
    mend = "name the column, or put a text that has the separator in it into quotation marks"
    yield from _finding("cells without a name above them", lost, why, mend, "drop")
    glue = re.compile("\t") if table.format == "TSV" else GLUED
    lines = (line for line, record in table.records if any(glue.search(str(cell)) for cell in record.values()))
    why = "A quotation mark without its second makes one cell of all up to the next."
    yield from _finding("cells that may be several", lines, why, "look at them, and mend the file", "drop")


def _copies(pairs: list[ContrastPair]) -> list[int]:
    """Lines of pairs that an earlier one is the same as, but for case, width and space."""
    seen: set[tuple[tuple[str, ...], ...]] = set()
    copies = []
    for pair in pairs:
        sides = _sides(pair)
        copies += [pair.line] if sides in seen and sides[0] != sides[1] else []
        seen.add(sides)
    return copies


def _kinds(pairs: list[ContrastPair], tokenized: bool) -> Iterator[Finding]:
    """Answers of another kind than most, or letters and words that are written in another way."""
    mend = "drop them, or write them as the others are"
    kinds = count_kinds(pairs)
    usual = next(iter(kinds), "text")
    if len(kinds) > 1:
        odd = [pair for pair in pairs if _kind(pair, kinds) != usual]
        cut = usual == "letter" and all(pair.has_option_texts for pair in odd)
        remedies: tuple[Remedy, ...] = ("truncate", "drop") if cut else ("drop",)
        why = f"There are {kinds_in_words(kinds)}, so all would be read at the mean of the answer"
        why += {"letter": ", not at the letter.", "word": ", not at the word."}.get(usual, ".")
        yield from _finding(ODD, (pair.line for pair in odd), why, mend, *remedies)
    elif usual in ("letter", "word"):
        # How a model's tokenizer cuts letters says more than their form.
        form = Counter(pair.form for pair in pairs).most_common(1)[0][0]
        lines = (pair.line for pair in pairs if pair.form != form and not (tokenized and usual == "letter"))
        why = f"They are written in another way than the rest ('{form[0]}'), so they stand in other tokens."
        yield from _finding(ODD, lines, why, mend, "drop")
    if set(kinds) == {"letter"}:
        lines = (pair.line for pair in pairs if pair.has_option_texts)
        why = "The vector is read at the letter, and what stands behind it is read by nobody."
        yield from _finding(WITH_TEXTS, lines, why, "cut them to the letter", "truncate", "drop")


def _kind(pair: ContrastPair, kinds: dict[Answers, int]) -> Answers:
    """The kind under which a pair of a mixed file is counted."""
    return "text" if pair.has_option_texts and "text" in kinds else pair.kind_of_answers


def _letters(pairs: list[ContrastPair], letters: Counter[str]) -> Iterator[Finding]:
    if not pairs:
        return
    letter, count = letters.most_common(1)[0]
    share = count / len(pairs)
    if share > LETTER_SHARE:
        lines = (pair.line for pair in pairs if pair.mark == letter)
        why = f"'{letter}' is the matching answer in {share:.0%}, so the vector also means '{letter}'."
        mend = "swap the letters of some, or use both letter orders"
        yield from _finding("letters out of balance", lines, why, mend, "swap")


def _words(pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Yes and No, of which one matches too often."""
    words = Counter(pair.mark for pair in pairs)
    for word, count in words.items():
        if (share := count / len(pairs)) > LETTER_SHARE:
            lines = (pair.line for pair in pairs if pair.mark == word)
            why = f"'{word}' is the matching answer in {share:.0%}, so the vector also means '{word}'."
            yield from _finding("Yes and No out of balance", lines, why, "add statements that match the other word")


def _often(pairs: list[ContrastPair]) -> Iterator[Finding]:
    """One text, in whatever form, that is the positive answer of most pairs; letters and words alone are looked at
    elsewhere.
    """
    marks = {pair.line: bare(pair.positive) for pair in pairs if pair.kind_of_answers in ("text", "word")}
    text = {pair.line for pair in pairs if pair.kind_of_answers == "text"}
    for mark, count in Counter(marks.values()).most_common(1):
        among_text = any(marks[line] == mark for line in text)
        if among_text and count >= OFTEN and (share := count / len(pairs)) > LETTER_SHARE:
            short = f"{mark[:40]}..." if len(mark) > 40 else mark
            why = f"'{clean(short)}' is the matching answer in {share:.0%}, so the vector also means that."
            lines = (line for line, found in marks.items() if found == mark)
            yield from _finding("one answer matches too often", lines, why, "add pairs that match other answers")


def _swaps(pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Questions whose letters have no options, or others."""
    listed = {pair.line: options_in(pair.prompt)[1].keys() for pair in pairs if pair.swapped() is None}
    wrong = {
        pair.line: letter.name
        for pair in pairs
        for letter in pair.letters or ()
        if listed.get(pair.line) and letter.name not in listed[pair.line]
    }
    names = ", ".join(f"({name})" for name in dict.fromkeys(list(wrong.values())[:5]))
    why = f"{names} {'is' if len(set(wrong.values())) == 1 else 'are'} none of the options of the question."
    yield from _finding("letters that are none of the options", wrong, why, "drop or correct them", "drop")
    yield from _finding(
        "options that cannot be found",
        [line for line in listed if line not in wrong],
        "Their letters cannot be swapped.",
        "leave them as they are",
    )


def _lengths(pairs: list[ContrastPair]) -> Iterator[Finding]:
    """Free-text answers that differ in length or form."""
    uneven = []
    for pair in pairs:
        short, long = sorted((len(pair.positive), len(pair.negative)))
        uneven += [pair.line] if long > LENGTH_RATIO * max(short, 10) else []
    why = "One answer is more than twice as long as the other, so the vector may carry length."
    yield from _finding(UNEVEN, uneven, why, "cut the longer answer, drop or rewrite them", "truncate", "drop")
    forms = (pair.line for pair in pairs if _form(pair.positive) != _form(pair.negative))
    why = "One answer is a list or has several paragraphs and the other has not, so the vector may carry the form."
    yield from _finding("answers of different form", forms, why, "drop or rewrite them", "drop")


def _form(answer: str) -> tuple[bool, bool]:
    return bool(re.search(r"^[ \t]*([-*•]|\d{1,3}[.)])\s", answer, re.MULTILINE)), "\n" in answer


def _shutdown(pairs: list[ContrastPair]) -> Iterator[Finding]:
    about = [pair.line for pair in pairs if SHUTDOWN.search(pair.prompt)]
    if pairs and len(about) / len(pairs) > 0.3:
        why = "Read which side 'matching' is on: in the paper's survival-instinct it is accepting to be shut down."
        yield Finding("questions about shutting down", tuple(about), why, "read a few before you name the vector")
