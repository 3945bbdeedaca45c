"""CSV and TSV as people have them: separators, quotation marks, comments and titles before the header.

Where a quotation mark may be a mark of the format or just a character, what every line has in common decides: a reader
that would glue lines together is not believed where each line has all its cells.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from caa_core.data.columns import shown
from caa_core.errors import InputError

MAX_COLUMNS = 1000
MAX_LINES = 1_000_000
MAX_CELLS = 2_000_000
# A longer line names no columns.
MAX_HEADER = 100_000
# The separators that are known, the likelier first.
SEPARATORS = "\t;,|"
# Rows before the header that may be a title.
TITLES = 10
# What a cell is kept under that has no name above it.
UNNAMED = "(column {})"
QUOTED = re.compile(r'"[^"\n]*"')
# What spreadsheets are made to take for text: ="007".
FORMULA = re.compile(r'="((?:[^"]|"")*)"', re.DOTALL)
# The line below the head of a table in Markdown.
RULE = re.compile(r"[ ]*:?-{2,}:?[ ]*")
SEP_LINE = re.compile(r'"?sep=([\t;,|])"?[;,\t|]*', re.IGNORECASE)

# A row and the line on which it ends.
Row = tuple[int, list[str]]
# Whether the cells of a row name the columns of pairs.
IsHeader = Callable[[list[str]], bool]


def rows_of(text: str, name: str, is_header: IsHeader) -> tuple[str, Iterator[Row]]:
    """The separator of a text, and its rows that are not empty, the header first.

    Raises:
        InputError: it is no such text, when the rows are read.
    """
    lines = text.split("\n", MAX_LINES)
    if len(lines) > MAX_LINES:
        raise InputError(f"{name} has more than {MAX_LINES:,} lines. Split it, or keep the pairs you need.")
    skipped, separator = _before(lines, is_header)
    lines = lines[skipped:]
    separator = separator or _separator(lines, is_header)
    if max((line.count(separator) for line in islice(filter(str.strip, lines), TITLES)), default=0) > MAX_CELLS:
        raise InputError(f"{name} has more than {MAX_COLUMNS:,} columns.")
    rows = _rows(lines, separator, name, skipped)
    if separator == "|" and lines[0].lstrip().startswith("|"):
        rows = ((number, [cell.strip() for cell in row]) for number, row in rows if not _is_rule(row))
    return separator, headed(rows, is_header)


def _before(lines: list[str], is_header: IsHeader) -> tuple[int, str]:
    """How many lines come before the header: empty ones, comments, and one that names the separator."""
    separator, at = "", 0
    while at < len(lines):
        line = lines[at].strip(" ")
        if line.strip() and not line.startswith("#") and not SEP_LINE.fullmatch(line):
            break
        if line.startswith("#") and len(line) < MAX_HEADER and is_header(cells_of(line[1:], separator_of(line[1:]))):
            lines[at] = line[1:]
            break
        if found := SEP_LINE.fullmatch(line):
            separator = found[1]
        at += 1
    return (at, separator) if at < len(lines) else (0, "")


def _separator(lines: list[str], is_header: IsHeader) -> str:
    """The separator of the line that names the columns, or of the first."""
    first = [line[:MAX_HEADER] for line in islice(filter(str.strip, lines), TITLES)]
    heads = (line for line in first if is_header(cells_of(line, separator_of(line))))
    return separator_of(next(heads, first[0] if first else ""))


def separator_of(header: str) -> str:
    """The separator that a line has most of, outside of quotation marks where there are some outside."""
    bare = QUOTED.sub("", header)
    counted = bare if any(separator in bare for separator in SEPARATORS) else header
    return max(SEPARATORS, key=counted.count)


def cells_of(line: str, separator: str) -> list[str]:
    """What stands between separators; a cell that begins and ends with a quotation mark is without them."""
    return [_unquoted(cell) for cell in line.split(separator)]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) < 2 or not cell.startswith('"') or not cell.endswith('"') or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"')


def _rows(lines: list[str], separator: str, name: str, skipped: int) -> Iterator[Row]:
    """Rows by the reading that is certain."""
    text = "\n".join(lines)
    head = next(filter(str.strip, lines), "")
    quote = "'" if _is_quoted(head, separator, "'") else '"'
    spaced = re.search(rf'{re.escape(separator)} +"', text) is not None and f"{separator} " in head
    if quote != '"' or spaced:
        return iter(list(_strict(text, separator, name, skipped, quotechar=quote, skipinitialspace=spaced)))
    problem: InputError | None = None
    strict: list[Row] | None = None
    try:
        strict = list(_strict(text, separator, name, skipped))
    except InputError as error:
        problem = error
    if strict and all(len(row) == 1 for _, row in strict if row) and separator in "".join(strict[0][1]):
        # Whole rows between quotation marks, as comes of CSV that was read as one column and written again.
        return _rows([row[0] for _, row in strict if row], separator, name, skipped)
    if strict is not None and not _glued(strict, separator):
        return iter(strict)
    if _even(lines, separator):
        return _plain(lines, separator, skipped)
    if strict is not None:
        return iter(strict)
    if '\\"' in text:
        # Quotation marks within a text that are written as programs write them.
        again = re.sub(r'(?<!\\)((?:\\\\)*)\\"', r'\1""', text)
        try:
            return iter(list(_strict(again, separator, name, skipped)))
        except InputError as error:
            raise InputError(
                f'{str(problem).removesuffix(".")}. Write a quotation mark within a text as "" and not as \\".'
            ) from error
    assert problem
    raise problem


def _is_quoted(line: str, separator: str, quote: str) -> bool:
    """True where every cell of a line stands between such marks."""
    cells = [cell.strip() for cell in line[:MAX_HEADER].split(separator)]
    return len(cells) > 1 and all(len(cell) > 1 and cell[0] == cell[-1] == quote for cell in cells)


def _strict(text: str, separator: str, name: str, skipped: int, **dialect: Any) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, **dialect)
    cells = 0
    try:
        for row in reader:
            cells += len(row)
            if cells > MAX_CELLS:
                raise InputError(f"{name} has more than {MAX_CELLS:,} cells. Split it, or keep the pairs you need.")
            yield reader.line_num + skipped, row
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num + skipped}: not valid CSV ({error}).") from error


def _plain(lines: Iterable[str], separator: str, skipped: int) -> Iterator[Row]:
    return ((number, cells_of(line, separator)) for number, line in enumerate(lines, skipped + 1))


def _even(lines: list[str], separator: str) -> bool:
    """True where every line has all its cells."""
    counts = {line.count(separator) for line in lines if line.strip()}
    return len(counts) == 1 and counts != {0}


def _glued(rows: list[Row], separator: str) -> bool:
    """True where a cell holds separators as if it were several cells: any in TSV, and else those of other lines."""
    return any(separator in cell and (separator == "\t" or "\n" in cell) for _, row in rows for cell in row)


def headed(rows: Iterable[Row], is_header: IsHeader) -> Iterator[Row]:
    """Rows in which a cell is filled, without a title: rows of fewer cells before the one that names the columns."""
    filled = (row for row in rows if any(cell.strip() for cell in row[1]))
    first = list(islice(filled, TITLES))
    start = 0
    if first and not is_header(first[0][1]):
        heads = [i for i, (_, row) in enumerate(first) if is_header(row)]
        filled_cells = [sum(bool(cell.strip()) for cell in row) for _, row in first]
        start = heads[0] if heads and max(filled_cells[: heads[0]]) < filled_cells[heads[0]] else 0
    yield from first[start:]
    yield from filled


def _is_rule(row: list[str]) -> bool:
    cells = [cell for cell in row if cell.strip()]
    return len(cells) > 1 and all(map(RULE.fullmatch, cells))


def records_of(rows: Iterator[Row], name: str) -> Iterator[dict[str, str]]:
    """Rows under their header. A row may be short.

    Raises:
        InputError: too many columns, two of one name, or a row that is too long.
    """
    first = next(rows, None)
    if first is None:
        return
    header = [cell.strip() for cell in first[1]]
    named = [cell for cell in header if cell]
    if len(named) > MAX_COLUMNS:
        raise InputError(f"{name} has more than {MAX_COLUMNS:,} columns.")
    if twice := next((cell for i, cell in enumerate(named) if cell in named[:i]), ""):
        raise InputError(f"{name} has two columns that are called '{shown(twice)}'.")
    for line, row in rows:
        if row[: len(first[1])] == first[1]:
            continue  # files that were put one behind the other
        if any(cell.strip() for cell in row[len(header) :]):
            raise InputError(
                f"{name}, line {line}: {len(row)} cells, but the first line names {len(header)} "
                "columns. Put a text that has the separator in it into quotation marks."
            )
        row = [found[1].replace('""', '"') if (found := FORMULA.fullmatch(cell)) else cell for cell in row]
        record = {column: cell for column, cell in zip(header, row, strict=False) if column}
        # A first column without a name holds the numbers of rows.
        nameless = [i for i, cell in enumerate(row[: len(header)]) if i and not header[i] and cell.strip()]
        yield record | {UNNAMED.format(i + 1): row[i] for i in nameless}
