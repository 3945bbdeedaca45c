"""Contrast pairs, from the columns of a table, from rows that were typed, and back into a file.

Data is never changed silently: what was done to pairs is part of their dataset's name and kind, and so of the
provenance of every vector made from them.
"""

import hashlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from caa_core.data.answers import (
    OPTION_LETTERS,
    Letter,
    bare,
    folded,
    form_of_word,
    is_yes_or_no,
    letters_of,
    named,
    options_in,
    unseen_out,
    without_letters,
)
from caa_core.data.columns import (
    PAPER_FIELDS,
    PROMPT_FIELDS,
    TEXT_FIELDS,
    Columns,
    option_letter,
    prompt_column,
    shown,
)
from caa_core.data.messages import Turn, as_messages, history_of, listed_in, turns_of
from caa_core.data.tables import Table, read_table
from caa_core.errors import InputError
from caa_core.limits import ROWS

MAX_FIELD = 100_000
# Longer answers are no words.
MAX_WORD = 30

Answers = Literal["letter", "word", "text", "prompt"]
KINDS: dict[Answers, str] = {
    "letter": "{count} multiple-choice questions",
    "word": "{count} Yes/No statements",
    "text": "{count} free-text pairs",
    "prompt": "{count} pairs of prompts",
}
SURROGATE = re.compile("[\ud800-\udfff]")
# The same for some pairs of a mixed file.
SOME: dict[Answers, str] = {
    "letter": "multiple choice",
    "word": "Yes/No",
    "text": "free text",
    "prompt": "prompts alone",
}


@dataclass(frozen=True)
class ContrastPair:
    """One prompt with an answer that shows the behaviour and one that does not. `line` is where it stood.

    `negative_prompt` is the prompt of the negative answer where the two differ; empty where they share one. Pairs
    whose prompts differ may have equal answers, or none. `swapped_copy` marks the second of a question's two letter
    orders. `system` and `history` are what the prompt comes behind: a system message, and earlier turns.
    """

    prompt: str
    positive: str
    negative: str
    line: int = field(compare=False)
    negative_prompt: str = ""
    swapped_copy: bool = field(default=False, compare=False)
    system: str = ""
    history: tuple[Turn, ...] = ()

    @property
    def kind_of_answers(self) -> Answers:
        """Letters such as "(A)"; words for yes and no; text; or "prompt" for two prompts without answers."""
        if self.negative_prompt:
            return "text" if self.positive or self.negative else "prompt"
        if self.letters:
            return "letter"
        return "word" if is_yes_or_no(self.positive, self.negative) else "text"

    @cached_property
    def letters(self) -> tuple[Letter, Letter] | None:
        """The letters that the two answers are, however they are written; None where they are something else."""
        return None if self.negative_prompt else letters_of(self.prompt, self.positive, self.negative)

    @property
    def has_context(self) -> bool:
        """True where the prompt is not all that comes before the answers."""
        return bool(self.system or self.history)

    @property
    def is_lettered(self) -> bool:
        """True for a multiple-choice pair, whose answers are letters such as "(A)"."""
        return self.kind_of_answers == "letter"

    @property
    def has_option_texts(self) -> bool:
        """True where the letters stand before the texts of their options: "(A) Keep it"."""
        return bool(self.letters and self.letters[0].text)

    @property
    def is_choice(self) -> bool:
        """True where the answers are what one chooses from: letters, or Yes and No."""
        return self.kind_of_answers in ("letter", "word")

    @property
    def mark(self) -> str:
        """The positive answer by what it is: the letter's name, or the word without what is around it."""
        return self.letters[0].name if self.letters else bare(self.positive)

    @property
    def other_mark(self) -> str:
        """The same for the negative answer."""
        return self.letters[1].name if self.letters else bare(self.negative)

    @property
    def form(self) -> tuple[str, str]:
        """How the letter or the word of each answer is written, the same for all letters and words."""
        answers = self.positive, self.negative
        if self.letters:
            return (self.letters[0].form(answers[0]), self.letters[1].form(answers[1]))
        return (form_of_word(answers[0]), form_of_word(answers[1]))

    @property
    def options(self) -> dict[str, str]:
        """Texts of the question's options by letter; empty where it lists none, or one of more than a line."""
        return self.listed[1]

    @property
    def listed(self) -> tuple[re.Pattern[str], dict[str, str]]:
        """The pattern that finds the question's options, and their texts by letter."""
        return options_in(self.prompt, [letter.name for letter in self.letters or ()])

    def swapped(self) -> "ContrastPair | None":
        """The same question with the texts of its two answers' options exchanged, and the labels with them.

        A vector made from both orders does not carry the letter. None where the options cannot be found.
        """
        if not self.letters:
            return None
        pattern, texts = self.listed
        positive, negative = self.letters
        a, b = positive.name, negative.name
        if a not in texts or b not in texts:
            return None
        exchanged = {a: texts[b], b: texts[a]}
        prompt = pattern.sub(lambda m: m[1] + exchanged.get(named(m[2]), m[3]), self.prompt)
        answers = positive.replaced(self.positive, negative), negative.replaced(self.negative, positive)
        return replace(self, prompt=prompt, positive=answers[0], negative=answers[1])


@dataclass(frozen=True)
class Dataset:
    """Contrast pairs of one file. `kind` says in words what the file was taken for."""

    name: str
    kind: str
    sha256: str
    pairs: tuple[ContrastPair, ...]

    @cached_property
    def kind_of_answers(self) -> Answers:
        """What all pairs have as answers; "text" for a mixed set. The same two words in all pairs are words."""
        kinds = self.kinds
        if len(kinds) == 1:
            kind = next(iter(kinds))
            return "word" if kind == "text" and self._has_two_words else kind
        return "text"

    @cached_property
    def kinds(self) -> dict[Answers, int]:
        """How many pairs there are of each kind, the most frequent first.

        Letters with the texts of their options are letters where all are; beside letters alone, they are text.
        """
        return count_kinds(self.pairs)

    @property
    def is_mixed(self) -> bool:
        return len(self.kinds) > 1

    @property
    def described(self) -> str:
        """How many pairs of what."""
        some = f" ({kinds_in_words(self.kinds)})" if self.is_mixed else ""
        kind = self.kind_of_answers
        what = "{count} pairs of one-word answers" if kind == "word" and "word" not in self.kinds else KINDS[kind]
        return what.format(count=len(self.pairs)) + some

    @property
    def _has_two_words(self) -> bool:
        found: set[str] = set()
        for pair in self.pairs:
            if pair.negative_prompt or max(len(pair.positive), len(pair.negative)) > MAX_WORD:
                return False
            found |= {bare(pair.positive), bare(pair.negative)}
            if len(found) != 2:
                return False
        return len(self.pairs) > 1 and all(word and len(word.split()) == 1 and word[0].isalpha() for word in found)

    @property
    def is_lettered(self) -> bool:
        return self.kind_of_answers == "letter"

    @cached_property
    def pairs_sha256(self) -> str:
        """Of the very pairs in their order: whatever was chosen of a file, swapped or mended, has another one."""
        texts = [
            (pair.prompt, pair.positive, pair.negative, pair.negative_prompt)
            + ((pair.system, pair.history) if pair.has_context else ())
            for pair in self.pairs
        ]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def first(self, count: int | None, seed: int | None = None) -> "Dataset":
        """Its first `count` pairs, or so many drawn with a seed; all of them where `count` is None or 0.

        Raises:
            InputError: for fewer than two.
        """
        if not count:
            return self
        if count < 2:
            raise InputError(f"A limit of {count} is too few; a vector is a mean over at least two pairs.")
        if seed is None or count >= len(self.pairs):
            return replace(self, kind=f"{self.kind}, the first {count}", pairs=self.pairs[:count])
        drawn = sorted(random.Random(seed).sample(range(len(self.pairs)), count))
        name = f"{self.name} ({count} drawn with seed {seed})"
        return replace(self, name=name, pairs=tuple(self.pairs[i] for i in drawn))

    def in_both_letter_orders(self) -> "Dataset":
        """Every pair as it is and with its letters swapped; pairs that cannot be swapped stay as they are.

        Raises:
            InputError: not one pair can be swapped.
        """
        swapped = [pair.swapped() for pair in self.pairs]
        missing = swapped.count(None)
        if missing == len(swapped):
            raise InputError(f"{self.name} has no lettered options, so there are no letters to swap.")
        pairs = self.pairs + tuple(replace(pair, swapped_copy=True) for pair in swapped if pair)
        orders = "both letter orders" + (f", {missing} not swapped" if missing else "")
        return replace(self, name=f"{self.name} ({orders})", kind=f"{self.kind}, in {orders}", pairs=pairs)

    def as_questions(self) -> "Dataset":
        """The same texts as A/B questions, "(A)" and "(B)" matching in turns; an answer of several lines becomes one.

        Raises:
            InputError: the pairs have no answers of their own to choose from.
        """
        if not all(pair.kind_of_answers in ("text", "word") and not pair.negative_prompt for pair in self.pairs):
            raise InputError(f"{self.name} cannot be made into A/B questions: each takes one prompt and two texts.")
        pairs = tuple(_as_question(pair, matching_first=i % 2 == 0) for i, pair in enumerate(self.pairs))
        made = f"{self.kind}, made into A/B questions"
        return replace(self, name=f"{self.name} (A/B questions)", kind=made, pairs=pairs)

    def records(self) -> list[dict[str, Any]]:
        """The pairs under the field names by which they are read again."""
        names: tuple[str, ...]
        if any(pair.negative_prompt for pair in self.pairs):
            names = (PROMPT_FIELDS[0], *TEXT_FIELDS[1:], PROMPT_FIELDS[1])
        else:
            names = PAPER_FIELDS if self.is_lettered else TEXT_FIELDS
        parts = ((p.prompt, p.positive, p.negative, p.negative_prompt or p.prompt) for p in self.pairs)
        records: list[dict[str, Any]] = [dict(zip(names, texts, strict=False)) for texts in parts]
        for name in ("system", "history"):
            if any(getattr(pair, name) for pair in self.pairs):
                for pair, record in zip(self.pairs, records, strict=True):
                    record[name] = as_messages(pair.history) if name == "history" else pair.system
        return records

    def table(self) -> Table:
        """The pairs as a table, numbered as they are, for what looks tables over."""
        lines = [pair.line for pair in self.pairs]
        return Table(self.name, "pairs", self.sha256, list(zip(lines, self.records(), strict=True)))


def count_kinds(pairs: Iterable[ContrastPair]) -> dict[Answers, int]:
    """As `Dataset.kinds`."""
    found = Counter((pair.kind_of_answers, pair.has_option_texts) for pair in pairs)
    if found["letter", False]:
        found["text", False] += found.pop(("letter", True), 0)
    kinds: Counter[Answers] = Counter()
    for (kind, _), count in found.items():
        kinds[kind] += count
    return {kind: count for kind, count in kinds.most_common() if count}


def kinds_in_words(kinds: Mapping[Answers, int]) -> str:
    """ "9 multiple choice, 1 free text"."""
    return ", ".join(f"{count} {SOME[kind]}" for kind, count in kinds.items())


def _as_question(pair: ContrastPair, matching_first: bool) -> ContrastPair:
    texts = (pair.positive, pair.negative) if matching_first else (pair.negative, pair.positive)
    a, b = (re.sub(r"\s*\n\s*", " ", text) for text in texts)
    letters = ("(A)", "(B)") if matching_first else ("(B)", "(A)")
    prompt = f"{pair.prompt}\n\nChoices:\n (A) {a}\n (B) {b}"
    return replace(pair, prompt=prompt, positive=letters[0], negative=letters[1])


def read_pairs(path: Path, name: str = "", columns: Columns | None = None) -> Dataset:
    """Read a file of contrast pairs: JSON, JSON Lines, CSV, TSV or Parquet, by its content.

    Understood: the CAA paper's fields (`question`, `answer_matching_behavior`, `answer_not_matching_behavior`), free
    text with `prompt`, `positive`, `negative` or names that mean the same, and pairs that differ in the prompt, with
    `positive_prompt`, `negative_prompt` and, if they like, answers.

    Args:
        columns: which columns hold what; matched by their names by default.

    Raises:
        InputError: with the line and the field, for everything that is not such a file.
    """
    return pairs_of(read_table(path), columns, name or path.stem)


def pairs_of(table: Table, columns: Columns | None = None, name: str = "") -> Dataset:
    """The pairs of a table. Raises InputError for the first record that is none."""
    columns = table.match_columns(columns)
    for number, record in table.records:
        if problem := problem_of(record, columns):
            raise InputError(f"{table.where(number)}: {problem}.")
    pairs = tuple(pair_of(record, columns, number) for number, record in table.records)
    return _dataset(name or table.title, f"{table.kind} with {columns}", table.sha256, pairs)


def read_questions(path: Path) -> tuple[str, ...]:
    """Open questions of a file: its column of prompts, whatever else stands beside it.

    Raises:
        InputError: it has no such column, or a record without text in it.
    """
    table = read_table(path)
    column = prompt_column(table.fields, table.name)
    for number, record in table.records:
        if problem := _problem(record.get(column), column):
            raise InputError(f"{table.where(number)}: {problem}.")
    return tuple(_text(record, column) for _, record in table.records)


def pairs_from_rows(rows: Sequence[Sequence[str | None]], name: str) -> Dataset:
    """Pairs typed into a table of the page: prompt, positive, negative. Empty rows are none.

    Raises:
        InputError: a row is filled in half, with its number, counted from 1; or there are too many.
    """
    ROWS.check(len(rows))
    records = [
        (number, dict(zip(TEXT_FIELDS, row, strict=False)))
        for number, row in enumerate(rows, 1)
        if any(is_given(cell) for cell in row)
    ]
    columns = Columns(*TEXT_FIELDS)
    for number, record in records:
        if problem := problem_of(record, columns):
            raise InputError(f"Row {number}: {problem}.")
    pairs = tuple(pair_of(record, columns, number) for number, record in records)
    typed = _dataset(name, "typed in", "", pairs)
    canonical = json.dumps(typed.records(), sort_keys=True, separators=(",", ":"))
    return replace(typed, sha256=hashlib.sha256(canonical.encode()).hexdigest())


def write_pairs(dataset: Dataset, path: Path) -> None:
    """Write pairs as JSON that `read_pairs` reads as the same pairs. Raises InputError where that cannot be."""
    text = json.dumps(dataset.records(), ensure_ascii=False, indent=1)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def problem_of(record: dict[str, Any], columns: Columns) -> str:
    """What keeps a record from being a contrast pair, in words; empty where nothing does."""
    answers = tuple(filter(None, (columns.positive, columns.negative)))
    prompts_differ = len({_text(record, column) for column in columns.prompts}) > 1
    bare = prompts_differ and not any(is_given(record.get(column)) for column in answers)
    for column in columns.prompts if bare else columns.prompts + answers:
        if problem := _problem(record.get(column), column):
            return problem
    for column in filter(None, (*columns.more, columns.system)):
        if is_given(record.get(column)) and (problem := _problem(record[column], column)):
            return problem
    before = record.get(columns.history)
    if columns.history and is_given(before) and before != "[]" and not _history(record, columns):
        return f"the field '{shown(columns.history)}' is no list of messages, or of questions with their answers"
    if not prompts_differ and len({_text(record, column) for column in answers}) < 2:
        return f"both {'answers' if answers else 'prompts'} are the same, so there is nothing to contrast"
    return ""


def as_text(value: Any) -> str | None:
    """What a field says: text, a number, or a list of one of these; None for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return str(value)


def _problem(value: Any, column: str) -> str:
    column = shown(column)
    text = as_text(value)
    if value is not None and text is None:
        if isinstance(value, list) and len(value) > 1 and all(as_text(item) is not None for item in value):
            return f"the field '{column}' holds {len(value)} texts in a list: choose one"
        if turns_of(value):
            return f"the field '{column}' is part of conversations that are not two answers to the same beginning"
        return f"the field '{column}' is not text"
    if text is None or not unseen_out(text).strip():
        return f"the field '{column}' is missing or empty"
    if len(text) > MAX_FIELD:
        return f"the field '{column}' is longer than {MAX_FIELD} characters"
    if SURROGATE.search(text):
        return f"the field '{column}' holds half a character (a lone surrogate)"
    return ""


def is_given(value: Any) -> bool:
    """True for a cell or a field that holds something."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != []


def _text(record: dict[str, Any], column: str) -> str:
    return (as_text(record.get(column)) or "").strip()


def pair_of(record: dict[str, Any], columns: Columns, line: int) -> ContrastPair:
    """A record without problems as a contrast pair."""
    # A prompt's white space is part of it; an answer's (the paper writes " (A)") belongs to the rendering.
    prompt, other = (as_text(record[column]) or "" for column in (columns.prompt, columns.prompts[-1]))
    negative_prompt = other if other.strip() != prompt.strip() else ""
    for more in (_text(record, column) for column in columns.more):
        prompt = prompt if more in prompt else f"{prompt.rstrip()}\n{more}"
    answers = (_text(record, columns.positive), _text(record, columns.negative))
    listed = _options(record, columns)
    if listed and not negative_prompt:
        prompt, answers = _with_options(prompt, answers, listed)
    system, history = _text(record, columns.system), _history(record, columns)
    return ContrastPair(prompt, *answers, line, negative_prompt, system=system, history=history)


def _history(record: dict[str, Any], columns: Columns) -> tuple[Turn, ...]:
    turns = history_of(record.get(columns.history)) or []
    usable = sum(len(text) for _, text in turns) <= MAX_FIELD and not any(SURROGATE.search(text) for _, text in turns)
    return tuple(turns) if usable and all(role in ("user", "assistant") for role, _ in turns) else ()


def _options(record: dict[str, Any], columns: Columns) -> dict[str, str]:
    """An answer's options by letter: an object, lists of letters and texts, texts in order, a text that lists them,
    or a column a letter. Options without text are none.
    """
    if len(columns.options) > 1:
        found: Any = {option_letter(column): record.get(column) for column in columns.options}
    else:
        found = record.get(columns.options[0]) if columns.options else None
    if isinstance(found, str):
        found = options_in(found)[1] or listed_in(found)
    if isinstance(found, dict) and all(isinstance(found.get(key), list) for key in ("text", "label")):
        found = dict(zip(map(str, found["label"]), found["text"], strict=False))
    if isinstance(found, list):
        found = dict(_option(item) or (letter, item) for letter, item in zip(OPTION_LETTERS, found, strict=False))
    if not isinstance(found, dict):
        return {}
    given = {str(letter): as_text(text) for letter, text in found.items() if is_given(text)}
    options = {named(letter.strip(" ().:")): " ".join(text.split()) for letter, text in given.items() if text}
    whole = len(options) == len(given) > 1 and all(len(letter) == 1 for letter in options)
    return without_letters(options) if whole else {}


def _option(item: Any) -> tuple[str, Any] | None:
    """Letter and text of an option that is an object; None for a text."""
    if not isinstance(item, dict):
        return None
    if len(item) == 1:
        return next(iter(item.items()))
    letter = next((item[key] for key in ("label", "letter", "key", "id", "option", "name") if key in item), "")
    return str(letter), next((item[key] for key in ("text", "value", "content", "answer") if key in item), None)


def has_options_left_out(record: dict[str, Any], columns: Columns, pair: ContrastPair) -> bool:
    """Whether a record has options that its pair does not."""
    texts = _options(record, columns).values()
    given = any(is_given(record.get(column)) for column in columns.options)
    return given and not (texts and all(text in " ".join(pair.prompt.split()) for text in texts))


def _with_options(prompt: str, answers: tuple[str, str], options: dict[str, str]) -> tuple[str, tuple[str, str]]:
    """A question with its options behind it, and the letters, or the texts, that answer it; as they are for others."""
    lines = "\n".join(f"({letter}) {text}" for letter, text in options.items())
    asked = prompt if options_in(prompt, options)[1] else f"{prompt.rstrip()}\n\n{lines}"
    letters = letters_of(lines, *answers)
    if letters is None or not {letter.name for letter in letters} <= options.keys():
        texts = set(map(folded, options.values()))
        return (asked if {folded(answer) for answer in answers} <= texts else prompt), answers
    return asked, (f"({letters[0].name})", f"({letters[1].name})")


def _dataset(name: str, kind: str, sha256: str, pairs: tuple[ContrastPair, ...]) -> Dataset:
    """Pairs under the name of what they are. Raises InputError for fewer than two."""
    if len(pairs) < 2:
        count = "one pair only" if pairs else "no pairs"
        raise InputError(f"{name} has {count}; a vector is a mean over pairs, so give at least two.")
    dataset = Dataset(name, "", sha256, pairs)
    return replace(dataset, kind=f"{kind}: {dataset.described}")
