"""Tables of numbers as JSON and CSV files."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caa_core.errors import InputError

ENDINGS = (".json", ".csv")

FORMULA = ("=", "+", "-", "@")


def check_report(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Raises InputError for a file whose ending is not of a format that is written."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{path.name} should end in {' or '.join(endings)}.")


def write_numbers(found: dict[str, Any], rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write all that was found as JSON, or its rows as CSV, by the file's ending. Raises InputError where it cannot."""
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".json":
                json.dump(found, file, ensure_ascii=False, indent=1, allow_nan=False)
                return
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({key: harmless(value) for key, value in row.items()} for row in rows)
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write plain data as CSV, a line each.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({key: harmless(value) for key, value in row.items()} for row in rows)
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def harmless(value: object) -> object:
    """Text that no spreadsheet takes for a formula; anything else as it is."""
    if isinstance(value, str) and (value.lstrip().startswith(FORMULA) or value.startswith(("\t", "\r"))):
        return f"'{value}"
    return value
