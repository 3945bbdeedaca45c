"""Parquet files and workbooks, read in a process of their own.

Such a file of a few kilobytes can unpack to gigabytes, and what its metadata says about that may be a lie. So its
reader runs where memory and time are limited by the operating system, and hands back plain JSON.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caa_core.data.columns import may_answer
from caa_core.errors import InputError
from caa_core.limits import ROWS

MAX_CELLS = 2_000_000
MAX_UNPACKED = 50_000_000
# Bytes of memory and seconds for each process. Loading a library takes one on a busy machine.
MEMORY = 1 << 30
SECONDS = 15


def read_apart(module: str, raw: bytes, failed: str) -> Any:
    """What the `main` of a module of this package, which calls `answer`, makes of bytes: plain data.

    Raises:
        InputError: what it says is wrong; or `failed`, where it comes to no end within its limits.
    """
    root = str(Path(__file__).parents[2])
    # Threads and pools of the libraries would reserve memory that counts.
    calm = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **calm, "PYTHONPATH": paths}
    command = [sys.executable, "-P", "-m", module]
    try:
        # Twice the time of a processor, which it shares with others.
        done = subprocess.run(
            command, input=raw, capture_output=True, timeout=2 * SECONDS, check=False, env=environment
        )
        said = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise InputError(failed) from error
    if isinstance(said, str):
        raise InputError(said)
    return said


def answer(work: Callable[[bytes], Any]) -> None:
    """In the process: do the work on standard input within the limits, and write what comes of it as JSON, or the
    sentence of an `InputError`.
    """
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    except (ImportError, ValueError, OSError):
        pass  # Windows has no such limits; the time is kept there as everywhere
    try:
        found: Any = work(sys.stdin.buffer.read())
    except InputError as error:
        found = str(error)
    sys.stdout.write(json.dumps(found, default=str))


def read(raw: bytes, name: str) -> list[dict[str, Any]]:
    """Rows of a Parquet file, with its columns of texts, and of lists and objects of texts.

    Raises:
        InputError: it cannot be read.
    """
    columns = _elsewhere(raw, f"{name} is a Parquet file that is broken or unpacks to too much.", name)
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def read_workbook(raw: bytes, name: str) -> list[tuple[str, list[list[str]]]]:
    """The sheets of a workbook that hold something: name, and rows of cells as text.

    Raises:
        InputError: it cannot be read.
    """
    sheets: list[tuple[str, list[list[str]]]] = _elsewhere(
        raw,
        f"{name} is an Excel workbook that is locked, broken, or unpacks to too much: save the sheet as CSV UTF-8.",
        name,
    )
    return sheets


def _elsewhere(raw: bytes, failed: str, name: str) -> Any:
    """What `main` says of a file. Raises InputError with `failed` where it comes to no end."""
    try:
        return read_apart("caa_core.data.parquet", raw, failed)
    except InputError as error:
        said = str(error)
        raise InputError(said if said == failed else f"{name} {said}") from error


def sheets_of(raw: bytes) -> list[tuple[str, list[list[str]]]]:
    """As `read_workbook`, here and now. Raises InputError, its sentence without a subject."""
    from python_calamine import CalamineWorkbook

    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(raw))
        sheets, cells = [], 0
        for sheet in workbook.sheet_names:
            rows = workbook.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
            cells += sum(map(len, rows))
            if cells > MAX_CELLS:
                raise InputError(f"has {cells:,} cells; at most {MAX_CELLS:,} can be read.")
            texts = [[_cell(cell) for cell in row] for row in rows]
            if any(map(any, texts)):
                sheets.append((sheet, texts))
    except InputError:
        raise
    except BaseException as error:  # whatever a broken file makes the library raise, panics included
        raise InputError("is an Excel workbook that cannot be read: save the sheet as CSV UTF-8.") from error
    return sheets


def _cell(value: Any) -> str:
    """A cell as it is shown: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else "" if value is None else str(value)


def columns_of(raw: bytes) -> dict[str, list[Any]]:
    """The columns that `read` takes, and numbers that answer, here and now. Raises InputError without a subject."""
    import pyarrow as pa
    from pyarrow import types
    from pyarrow.parquet import ParquetFile

    limits = {"thrift_string_size_limit": MAX_UNPACKED, "thrift_container_size_limit": MAX_CELLS}
    try:
        file = ParquetFile(pa.BufferReader(raw), arrow_extensions_enabled=False, pre_buffer=False, **limits)
        _check(file.metadata)
        texts = [
            field.name
            for field in file.schema_arrow
            if _holds_text(field.type) or (may_answer(field.name) and types.is_integer(field.type))
        ]
        if not texts:
            raise InputError("is a Parquet file without a column of text.")
        if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
            raise InputError("is a Parquet file with two columns of one name.")
        columns: dict[str, list[Any]] = file.read(columns=texts, use_threads=False).to_pydict()
        return columns
    except InputError:
        raise
    except Exception as error:  # whatever a broken file makes the library raise
        raise InputError("is a Parquet file that is broken or of a kind that cannot be read.") from error


def _check(metadata: Any) -> None:
    """Raises InputError where the metadata promise more than is taken."""
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    for count, most, unit in (
        (metadata.num_rows, ROWS.value, "rows"),
        (metadata.num_rows * metadata.num_columns, MAX_CELLS, "cells"),
        (unpacked, MAX_UNPACKED, "bytes when unpacked"),
    ):
        if not 0 <= count <= most:
            raise InputError(f"has {count:,} {unit}; at most {most:,} can be read.")


def _holds_text(kind: Any, depth: int = 8) -> bool:
    """True for text, and for lists and objects in which there is some."""
    from pyarrow import types

    if not depth:
        return False
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _holds_text(kind.value_type, depth - 1)
    if types.is_struct(kind):
        return any(_holds_text(kind.field(i).type, depth - 1) for i in range(kind.num_fields))

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return any(is_text(kind) for is_text in (types.is_string, types.is_large_string, types.is_string_view))


def _size(value: Any) -> int:
    """Characters of texts, and one for each value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + _size(item) for key, item in value.items())
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 1


def _work(raw: bytes) -> Any:
    """The columns of a file, or the sheets of a workbook."""
    found: Any = columns_of(raw) if raw.startswith(b"PAR1") else sheets_of(raw)
    size = sum(map(_size, found.values() if isinstance(found, dict) else found))
    if size > MAX_UNPACKED:
        raise InputError(f"has {size:,} characters; at most {MAX_UNPACKED:,} can be read.")
    return found


if __name__ == "__main__":
    answer(_work)
