"""Files as numbered records, before anything is known about their fields: JSON, JSON Lines, CSV, TSV, Parquet.

A reader goes by the content of a file, not by its name, and either understands all of it or says what is wrong in
which line. Line ends are read as "\\n", whichever they are.
"""

import hashlib
import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from caa_core.data import delimited, messages, packed, parquet
from caa_core.data.columns import Columns, are_questions, listed, match_columns, names_columns, shown
from caa_core.data.encodings import decode
from caa_core.data.messages import history_of
from caa_core.data.shapes import records_in
from caa_core.errors import InputError
from caa_core.limits import APART, FILE_MB, HERE, ROWS

# Lists and objects of a JSON file take time and memory each, if there is hardly anything in them.
MAX_BRACKETS = 2_000_000
# Names of fields, over all records.
MAX_FIELDS = 1_000
# Bytes of text that are read here and now, in less than a second. What is more is read apart.
SMALL = 200_000
# Files that belong together may have so many times what one may have.
TOGETHER = 2
FORMATS = "JSON, JSON Lines, CSV, TSV, Parquet or an Excel workbook"

# What is no table: comments before JSON, YAML, pages.
COMMENTED = re.compile(r"\s*+(?://[^\n]*+\n\s*+|/\*(?:[^*]++|\*(?!/))*+\*/\s*+|#[^\n]*+\n\s*+)++[\[{]")
YAML = re.compile(
    r"\s*+(?:#[^\n]*+\n\s*+|(?:---|%YAML)[^\n]*+\n\s*+)*+(?:"
    r"(?:prompt|question|positive|negative):[ ][^\n]*+\n[ ]*+(?:prompt|question|positive|negative):[ ]|"
    r"(?:\w++:[ ][^\n,;|\t]*+\n\s*+)*+(?:"
    r"-[ ]+[\w\"']+:(?:[ ]|\n)|\w++:[ ]*+[|>]?-?[ ]*+\n[ ]*+(?:-[ \n]|\w++:[ ])))"
)
TOML = re.compile(r"\s*+\[\[?[A-Za-z_][\w.-]*+\]\]?[ ]*+\n\s*+\w++[ ]*+=")
MARKED_UP = re.compile(r"\s*<(?:\?xml|!doctype|html|table|(\w+)>\s*<\w)", re.IGNORECASE)
# As chats show code.
FENCED = re.compile(r"\s*```\w*\n(.*)\n```\s*", re.DOTALL)

Record = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """A file as numbered records.

    `encoding` says what its text was read as where that is not UTF-8. `conversations` is True where records held lists
    of messages, which are texts now. `out_of` is how many records the file has, where only its first are here.
    """

    name: str
    format: str
    sha256: str
    records: list[Record]
    encoding: str = ""
    conversations: bool = False
    out_of: int = 0

    def first(self, most: int) -> "Table":
        """Its first records; `kind` says so. Itself where it has no more."""
        count = len(self.records)
        return replace(self, records=self.records[:most], out_of=self.out_of or count) if count > most else self

    @cached_property
    def fields(self) -> list[str]:
        """Names of all fields, in the order in which they come up."""
        return list(dict.fromkeys(field for _, record in self.records for field in record))

    @property
    def title(self) -> str:
        """The name without a file's ending."""
        return re.sub(
            r"\.(jsonl?|ndjson|csv|tsv|txt|parquet|xlsx?|xlsb|ods)(\.gz|\.zip)?$", "", self.name, flags=re.IGNORECASE
        )

    @property
    def has_questions(self) -> bool:
        """True for open questions, which have no answers to contrast."""
        return are_questions(self.fields)

    @property
    def kind(self) -> str:
        """The format, and the encoding where it had to be found out."""
        format = f"{self.format} of conversations" if self.conversations else self.format
        format = f"{format} (read as {self.encoding})" if self.encoding else format
        return f"{format} (the first {len(self.records):,} of {self.out_of:,} records)" if self.out_of else format

    def where(self, number: int) -> str:
        """A record in words."""
        return f"{self.name}, {'line' if self.format == 'JSON Lines' else 'pair'} {number}"

    def match_columns(self, chosen: Columns | None = None) -> Columns:
        """The columns that somebody chose, or those whose names say what they hold.

        Raises:
            InputError: there are no such columns, or more than one of equally good names.
        """
        if chosen:
            return self._suited(chosen.check(self.fields, self.name))
        texts = [field for field in self.fields if field not in self._without_text]
        for fields in (texts, self.fields):
            try:
                return self._suited(match_columns(fields, self.name))
            except InputError as error:
                refused = error
        if any(messages.holds_turns(record) for _, record in self.records):
            raise InputError(
                f"{self.name} has conversations in {listed(self.fields)}, and in none are there two answers to one "
                "beginning, all in text."
            ) from refused
        raise InputError(f"{refused}{self._about_header}") from refused

    @property
    def _about_header(self) -> str:
        """What to say of a first line that names nothing."""
        if self.format.startswith("JSON"):
            return ""
        if len(self.fields) == 1 and names_columns(re.split(r"[^\w ]+", self.fields[0])):
            return " No separator is known in its first line: commas, semicolons, tabs and bars (|) are."
        texts = [field for field in self.fields if len(field.split()) > 2 or field[-1:] in ".!?。？！"]
        if not texts:
            return ""
        alone = (
            " A list of texts without prompts makes no pairs: give each pair a prompt." if len(self.fields) < 3 else ""
        )
        return (
            " The first line seems to be no header, since it holds texts: put one above it that names the columns."
            + alone
        )

    @cached_property
    def _without_text(self) -> set[str]:
        """Fields that hold something, and no text in any record: labels, scores."""
        cells = [(field, value) for _, record in self.records for field, value in record.items() if value is not None]
        return {field for field, _ in cells} - {field for field, value in cells if _has_text(value)}

    def _suited(self, columns: Columns) -> Columns:
        """Columns without a system or a history that holds something else throughout."""
        if columns.system in self._without_text:
            columns = replace(columns, system="")
        if columns.history and not any(history_of(record.get(columns.history)) for _, record in self.records):
            columns = replace(columns, history="")
        return columns

    @classmethod
    def of(cls, name: str, format: str, sha256: str, records: list[Record], encoding: str = "") -> "Table":
        """A table of what was read, conversations as texts."""
        seen: set[str] = set()
        for _, record in records:
            seen.update(record)
            if len(seen) > MAX_FIELDS:
                raise InputError(f"{name} has more than {MAX_FIELDS:,} columns.")
        plain = [messages.plain(record) for _, record in records]
        texts = [(number, text or record) for (number, record), text in zip(records, plain, strict=True)]
        return cls(name, format, sha256, texts, encoding, any(plain))


def _has_text(value: Any) -> bool:
    """True for text, alone, in a list or in an object."""
    if isinstance(value, list):
        return any(isinstance(item, str | dict | list) for item in value)
    return isinstance(value, str | dict)


def read_table(path: Path) -> Table:
    """Read a file by its content. Raises InputError for what is no table of records."""
    return read_tables([path])[0]


def read_tables(paths: Sequence[Path]) -> list[Table]:
    """Read several files that belong together. Raises InputError for what is no table of records."""
    with (HERE if _are_little_work(paths) else APART)():
        return _read(paths)


def _are_little_work(paths: Sequence[Path]) -> bool:
    """Whether no process of its own can be needed to read them."""
    starts = [_bytes(path, most=8) for path in paths]
    return not any(map(packed.may_hold_more, starts)) and sum(path.stat().st_size for path in paths) <= SMALL


def _read(paths: Sequence[Path]) -> list[Table]:
    raws = [_bytes(path) for path in paths]
    sums = [hashlib.sha256(raw).hexdigest() for raw in raws]
    files = [(path.name, packed.unpacked(raw, path.name)) for path, raw in zip(paths, raws, strict=True)]
    if len(files) > 1 and sum(len(raw) for _, raw in files) > TOGETHER * FILE_MB.value * 1e6:
        raise InputError(f"These files have more than {TOGETHER * FILE_MB.value} MB together.")
    texts = [(name, raw) for name, raw in files if not (packed.is_workbook(raw) or raw.startswith(b"PAR1"))]
    if sum(len(raw) for _, raw in texts) > SMALL:
        failed = f"{texts[0][0]} takes too much time or memory to be read. Split it, or keep the pairs you need."
        read = [_unpacked(found) for found in parquet.read_apart("caa_core.data.tables", _pack(texts), failed)]
    else:
        read = [_text(raw, name) for name, raw in texts]
    known = iter(read)
    tables = [next(known) if (name, raw) in texts else _container(raw, name) for name, raw in files]
    return [replace(table, sha256=sha256) for table, sha256 in zip(tables, sums, strict=True)]


def _container(raw: bytes, name: str) -> Table:
    """A workbook, or a Parquet file."""
    if packed.is_workbook(raw):
        kind, records = _sheet(parquet.read_workbook(raw, name), name)
        return Table.of(name, kind, "", records)
    return Table.of(name, "Parquet", "", _numbered(parquet.read(raw, name), name))


def _text(raw: bytes, name: str) -> Table:
    """A table of text, here and now: work in proportion to its bytes."""
    text, encoding = decode(raw, name, FORMATS)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{name} is empty.")
    kind, records = _records(text, name)
    return Table.of(name, kind, "", records, encoding)


def _pack(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Names and contents as one piece."""
    head = json.dumps([(name, len(raw)) for name, raw in files]).encode()
    return b"\n".join([head, b"".join(raw for _, raw in files)])


def _texts_of(piece: bytes) -> list[dict[str, Any]]:
    """The tables of such a piece, as plain data."""
    head, _, rest = piece.partition(b"\n")
    tables = []
    for name, size in json.loads(head):
        tables.append(vars(_text(rest[:size], name)))
        rest = rest[size:]
    return tables


def _unpacked(kept: dict[str, Any]) -> Table:
    return Table(**{**kept, "records": [(number, record) for number, record in kept["records"]]})


def _bytes(path: Path, most: int = -1) -> bytes:
    """A file's bytes, or its first."""
    if "\0" in str(path):
        raise InputError("There is no file of that name.")
    try:
        size = path.stat().st_size
        if size > FILE_MB.value * 1e6:
            raise InputError(
                f"{path.name} has {size / 1e6:.0f} MB; at most {FILE_MB.value} MB can be read. "
                "Split it, or keep the pairs you need."
            )
        with open(path, "rb") as file:
            return file.read(most)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error


def _records(text: str, name: str) -> tuple[str, list[Record]]:
    """Name of the format and records; numbered by line in JSON Lines, by item otherwise."""
    if fenced := FENCED.fullmatch(text):
        text = fenced[1]
    start = text.lstrip()[:1]
    if start and start in "[{" and text.count("[") + text.count("{") > MAX_BRACKETS:
        raise InputError(f"{name} has too many lists in it. Split it, or keep the pairs you need.")
    if TOML.match(text):
        raise InputError(f"{name} seems to be TOML, which is not read: save it as JSON.")
    if start == "[":
        return "JSON", _numbered(records_in(_json(text, name), name), name)
    if start == "{":
        return _objects(text, name)
    _refuse(text, name)
    separator, rows = delimited.rows_of(text, name, names_columns)
    if "\n" not in text.strip() and not names_columns(delimited.cells_of(text.strip(), separator)):
        raise InputError(f"{name} has no pairs in it: its one line is neither JSON nor the head of a table.")
    return ("TSV" if separator == "\t" else "CSV"), _numbered(delimited.records_of(rows, name), name)


def _sheet(sheets: list[tuple[str, list[list[str]]]], name: str) -> tuple[str, list[Record]]:
    """The records of the one sheet that holds some, or whose columns are those of pairs."""
    if not sheets:
        raise InputError(f"{name} is empty.")
    tables = [(sheet, list(delimited.headed(enumerate(rows, 1), names_columns))) for sheet, rows in sheets]
    known = [(sheet, rows) for sheet, rows in tables if names_columns(rows[0][1])]
    if len(sheets) > 1 and len(known) != 1:
        names = ", ".join(shown(sheet) for sheet, _ in (known or tables)[:5])
        raise InputError(f"{name} is a workbook of several sheets ({names}): save the one with the pairs as CSV UTF-8.")
    _, rows = (known or tables)[0]
    return "Excel workbook", _numbered(delimited.records_of(iter(rows), name), name)


def _json(text: str, name: str) -> list[Any]:
    try:
        items: list[Any] = json.loads(text)
        return items
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and (rows := _lists(text)):
            return rows
        raise InputError(
            f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name} is not a list of pairs: it holds lists too deep or numbers too long.") from error


def _lists(text: str) -> list[Any]:
    """JSON lists, one a line; empty for anything else."""
    try:
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        return []
    return rows if all(isinstance(row, list) for row in rows) else []


def _refuse(text: str, name: str) -> None:
    """Raises InputError for what is known, and is no table of text."""
    if COMMENTED.match(text):
        raise InputError(f"{name} is not valid JSON: it begins with a comment, which JSON does not have. Take it out.")
    if YAML.match(text):
        raise InputError(f"{name} seems to be YAML, which is not read: save it as JSON.")
    if MARKED_UP.match(text):
        raise InputError(f"{name} is a page (HTML or XML), not a table: download the file itself.")


def _objects(text: str, name: str) -> tuple[str, list[Record]]:
    """JSON objects one after the other, numbered by the line on which each begins; or one that wraps a list."""
    decode = json.JSONDecoder().raw_decode
    records: list[Record] = []
    position, line, most = 0, 1, ROWS.value
    while start := re.compile(r"[^ \t\n]").search(text, position):
        line += text.count("\n", position, start.start())
        if records and records[-1][0] == line:
            raise InputError(f"{name}, line {line}: not valid JSON Lines; something follows the object.")
        try:
            item, position = decode(text, start.start())
        except (ValueError, RecursionError) as error:
            detail = f"{error.msg} at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "too deep"
            raise InputError(
                f"{name}, line {line}: not valid JSON ({detail}). Give a JSON list, or one JSON object a line."
            ) from error
        records.append((line, _object(item, name, line)))
        line += text.count("\n", start.start(), position)
        if len(records) > most:
            _check_count(len(records), name)
    if len(records) > 1:
        return "JSON Lines", records
    return "JSON", _numbered(records_in(records[0][1], name), name)


def _numbered(items: Iterable[Any], name: str) -> list[Record]:
    records = list(enumerate(islice(items, ROWS.value + 1), 1))
    _check_count(len(records), name)
    for number, item in records:
        _object(item, name, number)
    if not records:
        raise InputError(f"{name} has no pairs in it.")
    return records


def _object(item: Any, name: str, number: int) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise InputError(f"{name}, item {number}: an object with fields was expected, not {reprlib.repr(item)[:60]}.")
    return item


def _check_count(count: int, name: str) -> None:
    if count > ROWS.value:
        raise InputError(f"{name} has more than {ROWS.value:,} records. Split it, or keep the pairs you need.")


if __name__ == "__main__":
    parquet.answer(_texts_of)
