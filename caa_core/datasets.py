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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caa_core.errors import InputError

MAX_BYTES = 20_000_000
MAX_FIELD = 100_000
PRESETS = Path(__file__).parent.parent / "presets"

# Names of a pair's fields, in the order prompt, positive answer, negative answer.
PAPER_FIELDS = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
TEXT_FIELDS = ("prompt", "positive", "negative")


@dataclass(frozen=True)
class ContrastPair:
    """One prompt with an answer that shows the behaviour and one that does not. `line` is where it stood."""

    prompt: str
    positive: str
    negative: str
    line: int

    @property
    def is_lettered(self) -> bool:
        """True for a multiple-choice pair, whose answers are letters such as "(A)"."""
        return all(re.fullmatch(r"\(?[A-Z]\)?", answer) for answer in (self.positive, self.negative))


@dataclass(frozen=True)
class Dataset:
    """Contrast pairs of one file. `kind` says in words what the file was taken for."""

    name: str
    kind: str
    sha256: str
    pairs: tuple[ContrastPair, ...]

    @property
    def is_lettered(self) -> bool:
        return all(pair.is_lettered for pair in self.pairs)


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

    def dataset(self) -> Dataset:
        return read_pairs(self.folder / "pairs.json", self.name)


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
    free text as JSON, JSON Lines or CSV with `prompt`, `positive`, `negative`.

    Raises:
        InputError: with the line and the field, for everything that is not such a file.
    """
    raw = _bytes(path)
    text = _decode(raw, path)
    kind, records = _records(text, path.name)
    fields = _fields(records, path.name)
    pairs = tuple(_pair(record, line, fields, path.name) for line, record in records)
    if len(pairs) < 2:
        raise InputError(f"{path.name} has one pair only; a vector is a mean over pairs, so give at least two.")
    lettered = "multiple-choice questions" if all(p.is_lettered for p in pairs) else "free-text pairs"
    origin = "the CAA paper's fields" if fields == PAPER_FIELDS else "prompt, positive, negative"
    kind = f"{kind} with {origin}: {len(pairs)} {lettered}"
    return Dataset(name or path.stem, kind, hashlib.sha256(raw).hexdigest(), pairs)


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
            "it should be JSON, JSON Lines or CSV."
        ) from error
    if "\0" in text:
        raise InputError(f"{path.name} is a binary file; it should be JSON, JSON Lines or CSV.")
    if not text.strip():
        raise InputError(f"{path.name} is empty.")
    return text


Record = tuple[int, dict[str, Any]]


def _records(text: str, name: str) -> tuple[str, list[Record]]:
    """Numbered records (items of a JSON list, lines of the others), and the name of the format."""
    start = text.lstrip()[0]
    if start == "[":
        return "JSON", _numbered(_json(text, name), name)
    if start == "{":
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        return "JSON Lines", [(n, _json_line(line, n, name)) for n, line in lines]
    return "CSV", _csv(text, name)


def _json(text: str, name: str) -> list[Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise InputError(f"{name} is not a list of pairs: it is nested too deeply.") from error


def _json_line(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
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


def _csv(text: str, name: str) -> list[Record]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return _numbered([{(k or "").strip().lower(): v for k, v in row.items()} for row in reader], name)
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: not valid CSV ({error}).") from error


def _fields(records: list[Record], name: str) -> tuple[str, str, str]:
    have = records[0][1].keys()
    for fields in (PAPER_FIELDS, TEXT_FIELDS):
        if fields[1] in have and fields[2] in have:
            return fields
    if "question" in have:
        raise InputError(f"{name} has questions without pairs of answers, so no vector can be made from it.")
    raise InputError(
        f"{name} has the fields {', '.join(map(str, list(have)[:6])) or '(none)'}; needed are "
        f"{', '.join(TEXT_FIELDS)}, or {', '.join(PAPER_FIELDS)}."
    )


def _pair(record: dict[str, Any], line: int, fields: tuple[str, str, str], name: str) -> ContrastPair:
    values = []
    for field in fields:
        value = record.get(field)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name}, pair {line}: the field '{field}' is missing or empty.")
        if len(value) > MAX_FIELD:
            raise InputError(f"{name}, pair {line}: the field '{field}' is longer than {MAX_FIELD} characters.")
        values.append(value)
    # A prompt's white space is part of it; an answer's (the paper writes " (A)") belongs to the rendering.
    prompt, positive, negative = values[0], values[1].strip(), values[2].strip()
    if positive == negative:
        raise InputError(f"{name}, pair {line}: both answers are the same, so there is nothing to contrast.")
    return ContrastPair(prompt, positive, negative, line)
