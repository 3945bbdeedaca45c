"""Contrast pairs: readers for the formats people bring.

A reader goes by the content of a file, not by its name, and either understands all of it or says what is wrong in
which line. Data is never changed silently.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from caa_core.errors import InputError

MAX_BYTES = 20_000_000
MAX_FIELD = 100_000
PRESETS = Path(__file__).parent.parent / "presets"

# Names of a pair's fields, in the order prompt, positive answer, negative answer.
PAPER_FIELDS = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
TEXT_FIELDS = ("prompt", "positive", "negative")

# An option of a multiple-choice question: a line that begins with its letter in brackets.
OPTION = re.compile(r"^([ \t]*\(([A-Z])\)[ \t]*)(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class ContrastPair:
    """One prompt with an answer that shows the behaviour and one that does not. `line` is where it stood.

    `negative_prompt` is the prompt of the negative answer where the two differ; empty where they share one.
    `swapped_copy` is True for a pair that was made by `swapped` from one of the file.
    """

    prompt: str
    positive: str
    negative: str
    line: int
    negative_prompt: str = ""
    swapped_copy: bool = False

    @property
    def is_lettered(self) -> bool:
        """True for a multiple-choice pair, whose answers are letters such as "(A)"."""
        return all(re.fullmatch(r"\(?[A-Z]\)?", answer) for answer in (self.positive, self.negative))

    @property
    def options(self) -> dict[str, str]:
        """Texts of the question's options by letter; empty where it lists none, or one of more than a line."""
        found = list(OPTION.finditer(self.prompt))
        rest = [self.prompt[a.end() : b.start()] for a, b in pairwise(found)]
        tail = self.prompt[found[-1].end() :] if found else ""
        if any(gap.strip() for gap in rest) or (tail.strip() and not tail.startswith("\n\n")):
            return {}
        return {option[2]: option[3] for option in found}

    def swapped(self) -> "ContrastPair | None":
        """The same question with the texts of its two answers' options exchanged, and the labels with them.

        A vector made from both orders does not carry the letter. None where the options cannot be found.
        """
        texts = self.options
        a, b = (answer.strip("()") for answer in (self.positive, self.negative))
        if not self.is_lettered or a not in texts or b not in texts:
            return None
        exchanged = {a: texts[b], b: texts[a]}
        prompt = OPTION.sub(lambda m: m[1] + exchanged.get(m[2], m[3]), self.prompt)
        return ContrastPair(prompt, self.negative, self.positive, self.line, swapped_copy=not self.swapped_copy)


@dataclass(frozen=True)
class Dataset:
    """Contrast pairs of one file. `kind` says in words what the file was taken for."""

    name: str
    kind: str
    sha256: str
    pairs: tuple[ContrastPair, ...]

    @cached_property
    def is_lettered(self) -> bool:
        return all(pair.is_lettered for pair in self.pairs)

    @property
    def answers(self) -> str:
        return "letter" if self.is_lettered else "text"

    def first(self, count: int | None) -> "Dataset":
        """Its first `count` pairs; all of them where that is None or 0. Raises InputError for fewer than two."""
        if not count:
            return self
        if count < 2:
            raise InputError(f"A limit of {count} pairs is too few; a vector is a mean over at least two.")
        return replace(self, pairs=self.pairs[:count])

    def in_both_letter_orders(self) -> "Dataset":
        """Every pair as it is and with its letters swapped; pairs that cannot be swapped stay as they are.

        Raises:
            InputError: not one pair can be swapped.
        """
        swapped = [pair.swapped() for pair in self.pairs]
        missing = swapped.count(None)
        if missing == len(swapped):
            raise InputError(f"{self.name} has no lettered options, so there are no letters to swap.")
        pairs = self.pairs + tuple(pair for pair in swapped if pair)
        orders = "both letter orders" + (f", {missing} not swapped" if missing else "")
        return replace(self, name=f"{self.name} ({orders})", kind=f"{self.kind}, in {orders}", pairs=pairs)


@dataclass(frozen=True)
class Preset:
    """A behaviour that ships with the project: pairs, and settings found by trying on the embedded model.

    `layer` and `multiplier` are recommended for the model `model` (a catalogue key); `opposes` names the preset that
    pulls the other way, and `prompts` are good first things to say.
    """

    name: str
    description: str
    opposes: str
    model: str
    layer: int
    multiplier: float
    prompts: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return PRESETS / self.name

    @property
    def pairs_file(self) -> Path:
        return self.folder / "pairs.json"

    def dataset(self) -> Dataset:
        return read_pairs(self.pairs_file, self.name)


@cache
def presets() -> dict[str, Preset]:
    """All presets by name."""
    cards = sorted(PRESETS.glob("*/card.json"))
    return {card.parent.name: _preset(card) for card in cards}


def _preset(card: Path) -> Preset:
    fields = json.loads(card.read_text(encoding="utf-8"))
    return Preset(name=card.parent.name, **{**fields, "prompts": tuple(fields["prompts"])})


def find_pairs(data: str | Path) -> Dataset:
    """Contrast pairs of a preset's name or of a file."""
    known = presets()
    return known[str(data)].dataset() if str(data) in known else read_pairs(Path(data))


def read_pairs(path: Path, name: str = "") -> Dataset:
    """Read a file of contrast pairs.

    Understood: the CAA paper's JSON (`question`, `answer_matching_behavior`, `answer_not_matching_behavior`), and
    free text with `prompt`, `positive`, `negative`; each as JSON, JSON Lines, CSV or TSV.

    Raises:
        InputError: with the line and the field, for everything that is not such a file.
    """
    table = read_table(path)
    fields = table.pair_fields()
    for line, record in table.records:
        if problem := problem_of(record, fields):
            unit = "line" if table.format == "JSON Lines" else "pair"
            raise InputError(f"{path.name}, {unit} {line}: {problem}.")
    pairs = tuple(pair_of(record, fields, line) for line, record in table.records)
    if len(pairs) < 2:
        raise InputError(f"{path.name} has one pair only; a vector is a mean over pairs, so give at least two.")
    lettered = "multiple-choice questions" if all(p.is_lettered for p in pairs) else "free-text pairs"
    kind = f"{table.format} with {table.origin}: {len(pairs)} {lettered}"
    return Dataset(name or path.stem, kind, table.sha256, pairs)


@dataclass(frozen=True)
class Table:
    """A file as numbered records, before anything is known about their fields."""

    name: str
    format: str
    sha256: str
    records: list[tuple[int, dict[str, Any]]]

    @property
    def fields(self) -> list[str]:
        return [str(field) for field in self.records[0][1]]

    @property
    def has_pairs(self) -> bool:
        return any(set(fields[1:]) <= set(self.fields) for fields in (PAPER_FIELDS, TEXT_FIELDS))

    @property
    def has_questions(self) -> bool:
        have = set(self.fields)
        return bool({"question", "prompt"} & have) and have <= {"question", "prompt", "id", "category"}

    @property
    def origin(self) -> str:
        """Whose fields they are, in words."""
        return "the CAA paper's fields" if self.pair_fields() == PAPER_FIELDS else "prompt, positive, negative"

    def pair_fields(self) -> tuple[str, str, str]:
        """Names of prompt, positive and negative. Raises InputError where there are none."""
        for fields in (PAPER_FIELDS, TEXT_FIELDS):
            if set(fields[1:]) <= set(self.fields):
                return fields
        if self.has_questions:
            raise InputError(f"{self.name} has questions without pairs of answers, so no vector can be made from it.")
        raise InputError(
            f"{self.name} has the fields {', '.join(field[:40] for field in self.fields[:6]) or '(none)'}; needed are "
            f"{', '.join(TEXT_FIELDS)}, or {', '.join(PAPER_FIELDS)}."
        )


def read_table(path: Path) -> Table:
    """Read a file by its content. Raises InputError for what is no table of records."""
    raw = _bytes(path)
    kind, records = _records(_decode(raw, path), path.name)
    return Table(path.name, kind, hashlib.sha256(raw).hexdigest(), records)


def problem_of(record: dict[str, Any], fields: tuple[str, str, str]) -> str:
    """What keeps a record from being a contrast pair, in words; empty where nothing does."""
    for field in fields:
        value = record.get(field)
        if not isinstance(value, str) or not value.strip():
            return f"the field '{field}' is missing or empty"
        if len(value) > MAX_FIELD:
            return f"the field '{field}' is longer than {MAX_FIELD} characters"
        if re.search("[\ud800-\udfff]", value):
            return f"the field '{field}' holds half a character (a lone surrogate)"
    if record[fields[1]].strip() == record[fields[2]].strip():
        return "both answers are the same, so there is nothing to contrast"
    return ""


def pair_of(record: dict[str, Any], fields: tuple[str, str, str], line: int) -> ContrastPair:
    """A record without problems as a contrast pair."""
    prompt, positive, negative = (record[field] for field in fields)
    # A prompt's white space is part of it; an answer's (the paper writes " (A)") belongs to the rendering.
    return ContrastPair(prompt, positive.strip(), negative.strip(), line)


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path.name} has {size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB can be read. "
                "Split it, or keep the pairs you need."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error


def _decode(raw: bytes, path: Path) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name} is not text in UTF-8 (byte {error.start} is {raw[error.start]:#04x}); "
            "it should be JSON, JSON Lines, CSV or TSV."
        ) from error
    if "\0" in text:
        raise InputError(f"{path.name} is a binary file; it should be JSON, JSON Lines, CSV or TSV.")
    if not text.strip():
        raise InputError(f"{path.name} is empty.")
    return text


Record = tuple[int, dict[str, Any]]


def _records(text: str, name: str) -> tuple[str, list[Record]]:
    """Records and the name of the format; numbered by line in JSON Lines, by item otherwise."""
    start = text.lstrip()[0]
    if start == "[":
        return "JSON", _numbered(_json(text, name), name)
    if start == "{":
        lines = [(n, line) for n, line in enumerate(io.StringIO(text), 1) if line.strip()]
        return "JSON Lines", [(n, _json_line(line, n, name)) for n, line in lines]
    header = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=header.count)
    return ("TSV" if delimiter == "\t" else "CSV"), _csv(text, name, delimiter)


def _json(text: str, name: str) -> list[Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name} is not a list of pairs: it holds lists too deep or numbers too long.") from error


def _json_line(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}, line {number}: not valid JSON. Give a JSON list, or one JSON object a line."
        ) from error
    return _numbered([record], name, number)[0][1]


def _numbered(items: Iterable[Any], name: str, first: int = 1) -> list[Record]:
    records = list(enumerate(items, first))
    for number, item in records:
        if not isinstance(item, dict):
            raise InputError(f"{name}, item {number}: an object with fields was expected, not {json.dumps(item)[:60]}.")
    if not records:
        raise InputError(f"{name} has no pairs in it.")
    return records


def _csv(text: str, name: str, delimiter: str) -> list[Record]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return _numbered([{(k or "").strip().lower(): v for k, v in row.items()} for row in reader], name)
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not valid CSV ({error}).") from error
