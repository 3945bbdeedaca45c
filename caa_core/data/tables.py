"""Files as numbered records, before anything is known about their fields: JSON, JSON Lines, CSV, TSV, Parquet.

A reader goes by the content of a file, not by its name, and either understands all of it or says what is wrong in
which line. Line ends are read as "\\n", whichever they are.
"""

import codecs
import hashlib
import json
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from caa_core.data import delimited, messages, parquet
from caa_core.data.columns import Columns, are_questions, match_columns, names_columns
from caa_core.data.messages import turns_of
from caa_core.errors import InputError
from caa_core.limits import FILE_MB, ROWS

# Lists and objects of a JSON file take time and memory each, if there is hardly anything in them.
MAX_BRACKETS = 2_000_000
FORMATS = "JSON, JSON Lines, CSV, TSV or Parquet"

# Encodings that are tried on text which is no UTF-8. Where two fit equally well the first is meant more often.
LEGACY = {
    "cp1252": "Windows-1252",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "cp932": "Shift JIS",
    "euc_jp": "EUC-JP",
    "gb18030": "GB 18030",
    "big5": "Big5",
    "cp949": "Korean Windows-949",
    "koi8_r": "KOI8-R",
    "mac_roman": "Mac Roman",
}
# Bytes that an encoding is guessed from, and bytes before the first that is no ASCII.
SAMPLE = 20_000
CONTEXT = 200

Record = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """A file as numbered records.

    `encoding` says what its text was read as where that is not UTF-8. `conversations` is True where records held lists
    of messages, which are texts now.
    """

    name: str
    format: str
    sha256: str
    records: list[Record]
    encoding: str = ""
    conversations: bool = False

    @cached_property
    def fields(self) -> list[str]:
        """Names of all fields, in the order in which they come up."""
        return list(dict.fromkeys(field for _, record in self.records for field in record))

    @property
    def title(self) -> str:
        """The name without a file's ending."""
        return re.sub(r"\.(jsonl?|ndjson|csv|tsv|txt|parquet)$", "", self.name, flags=re.IGNORECASE)

    @property
    def has_questions(self) -> bool:
        """True for open questions, which have no answers to contrast."""
        return are_questions(self.fields)

    @property
    def kind(self) -> str:
        """The format, and the encoding where it had to be found out."""
        format = f"{self.format} of conversations" if self.conversations else self.format
        return f"{format} (read as {self.encoding})" if self.encoding else format

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
        try:
            return self._suited(match_columns(texts, self.name))
        except InputError:
            return self._suited(match_columns(self.fields, self.name))

    @cached_property
    def _without_text(self) -> set[str]:
        """Fields that hold something, and no text in any record: labels, scores."""
        cells = [(field, value) for _, record in self.records for field, value in record.items() if value is not None]
        return {field for field, _ in cells} - {field for field, value in cells if _has_text(value)}

    def _suited(self, columns: Columns) -> Columns:
        """Columns without a system or a history that holds something else throughout."""
        if columns.system in self._without_text:
            columns = replace(columns, system="")
        if columns.history and not any(turns_of(record.get(columns.history)) for _, record in self.records):
            columns = replace(columns, history="")
        return columns

    @classmethod
    def of(cls, name: str, format: str, sha256: str, records: list[Record], encoding: str = "") -> "Table":
        """A table of what was read, conversations as texts."""
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
    raw = _bytes(path)
    sha256 = hashlib.sha256(raw).hexdigest()
    if raw.startswith(b"PAR1"):
        return Table.of(path.name, "Parquet", sha256, _numbered(parquet.read(raw, path.name), path.name))
    text, encoding = _decode(raw, path.name)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{path.name} is empty.")
    kind, records = _records(text, path.name)
    return Table.of(path.name, kind, sha256, records, encoding)


def _bytes(path: Path) -> bytes:
    if "\0" in str(path):
        raise InputError("There is no file of that name.")
    try:
        size = path.stat().st_size
        if size > FILE_MB.value * 1e6:
            raise InputError(
                f"{path.name} has {size / 1e6:.0f} MB; at most {FILE_MB.value} MB can be read. "
                "Split it, or keep the pairs you need."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error


def _decode(raw: bytes, name: str) -> tuple[str, str]:
    """The text of a file, and its encoding where that is not UTF-8."""
    try:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text, encoding = raw.decode("utf-16"), "UTF-16"
        elif _is_binary(raw.decode("latin-1")):
            text, encoding = "\0", ""
        else:
            text, encoding = _decode_bytes(raw)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not text in an encoding that can be told (byte {error.start} is {raw[error.start]:#04x}); "
            "save it as UTF-8."
        ) from error
    if _is_binary(text):
        raise InputError(f"{name} is a binary file; it should be {FORMATS}.")
    return text, encoding


def _decode_bytes(raw: bytes) -> tuple[str, str]:
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        if not (codec := _guess(raw)):
            raise error
        return raw.decode(codec), LEGACY[codec]


def _guess(raw: bytes) -> str:
    """The codec that the lines with letters beyond ASCII look like; empty where none does."""
    from charset_normalizer import from_bytes

    odd = b"\n".join(line for line in raw.splitlines() if not line.isascii())
    start = max(0, next(re.finditer(rb"[\x80-\xff]", odd)).start() - CONTEXT)
    # These are no part of a character of several bytes, so none is cut in two.
    end = re.compile(rb"[\n ,;]").search(odd, start + SAMPLE, start + SAMPLE + CONTEXT)
    sample = odd[start : end.start() if end else start + SAMPLE]
    ranks = {codec: rank for rank, codec in enumerate(LEGACY)}
    found = [
        (match.chaos, -match.coherence, ranks[codec], codec)
        for match in from_bytes(sample, cp_isolation=list(LEGACY))
        for codec in match.could_be_from_charset
        if codec in ranks
    ]
    return min(found)[-1] if found else ""


def _is_binary(text: str) -> bool:
    """True where there is a null character, or about one control character in a hundred at the beginning."""
    sample = text[:SAMPLE]
    controls = re.findall(r"[\x01-\x08\x0b\x0e-\x1f\x7f]", sample)
    return "\0" in text or len(controls) > 2 + len(sample) / 100


def _records(text: str, name: str) -> tuple[str, list[Record]]:
    """Name of the format and records; numbered by line in JSON Lines, by item otherwise."""
    start = text.lstrip()[0]
    if start in "[{" and text.count("[") + text.count("{") > MAX_BRACKETS:
        raise InputError(f"{name} has too many lists in it. Split it, or keep the pairs you need.")
    if start == "[":
        return "JSON", _numbered(_json(text, name), name)
    if start == "{":
        return _objects(text, name)
    separator, rows = delimited.rows_of(text, name, names_columns)
    return ("TSV" if separator == "\t" else "CSV"), _numbered(delimited.records_of(rows, name), name)


def _json(text: str, name: str) -> list[Any]:
    try:
        items: list[Any] = json.loads(text)
        return items
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name} is not a list of pairs: it holds lists too deep or numbers too long.") from error


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
    return "JSON", _numbered(_unwrapped(records[0][1]), name)


def _unwrapped(record: dict[str, Any]) -> list[Any]:
    """The one list that an object wraps, or the object itself as the only record."""
    lists = [value for value in record.values() if isinstance(value, list)]
    wraps = len(lists) == 1 and (len(record) == 1 or any(isinstance(item, dict) for item in lists[0]))
    return lists[0] if wraps else [record]


def _numbered(items: Iterable[Any], name: str, first: int = 1) -> list[Record]:
    records = list(enumerate(islice(items, ROWS.value + 1), first))
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
