"""An evaluation for people and for other programs: a table in words, JSON, CSV."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caa_core.errors import InputError
from caa_core.sweeps import Cell
from caa_core.verdicts import Evaluation

ENDINGS = (".json", ".csv")
FORMULA = ("=", "+", "-", "@")


def check_report(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Raises InputError for a file whose ending is not of a format that is written."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{path.name} should end in {' or '.join(endings)}.")


def write_report(found: dict[str, Any], path: Path) -> None:
    """Write an evaluation's summary as JSON, or its cells as CSV with the unsteered model first, by the file's ending.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_report(path)
    named = {"model": found["provenance"]["model"]}
    named |= {name: found[name] for name in ("vector", "data", "measure")}
    write_numbers(found, [cell | named for cell in (found["unsteered"], *found["cells"])], path)


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


def cells_in_words(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Headers and rows that show an evaluation's summary: the unsteered model, then each cell.

    Free text has neither letters nor answers that could be counted.
    """
    headers = ["layer", "multiplier", "change (95 %)", "preference, nats a token (95 %)", "skipped", "KL, nats"]
    choices = found["unsteered"]["probability"] is not None
    if choices:
        headers[3:4] = ["probability of matching (95 %)", "both letter orders (95 %)", "matching / not / neither"]
        headers.insert(-1, "answer mass")
    rows = []
    for cell in (Cell(**cell) for cell in (found["unsteered"], *found["cells"])):
        row = ["unsteered" if cell.layer is None else cell.layer, f"{cell.multiplier:g}"]
        row.append(f"{cell.difference:+.3f} ({cell.difference_low:+.3f} to {cell.difference_high:+.3f})")
        row.append(f"{cell.value:.3f} ({cell.low:.3f} to {cell.high:.3f})")
        row += [_both(cell) or "none", _counts(cell) or "not written"] if choices else []
        row += [cell.skipped, *([f"{cell.answer_mass:.2f}"] if choices else []), f"{cell.kl:.3f}"]
        rows.append(row)
    return headers, rows


def table_of(found: Evaluation) -> str:
    """The cells in lines of text, and what is concluded from them."""
    swept = found.swept
    lines = [
        f"{swept.items.name}: {len(swept.items.pairs)} items, {len(swept.items.skipped)} skipped; {swept.measure}, "
        "with 95 % intervals over items",
        "layer  multiplier  value                     both letter orders     matching / not / neither  answer mass  KL",
        *(_line(cell) for cell in (swept.unsteered, *swept.cells)),
    ]
    if swept.items.are_lettered and swept.items.not_swapped:
        lines.append(f"{swept.items.not_swapped} items have no other letter order.")
    if swept.items.zeros:
        lines.append(f"{len(swept.items.zeros)} items whose matching letter is neither A nor B count as 0.")
    lines += [f"Skipped. {reason}" for reason in swept.items.skipped]
    return "\n".join([*lines, found.conclusion.text])


def _line(cell: Cell) -> str:
    where = f"{'none' if cell.layer is None else cell.layer:>5}  {cell.multiplier:>10g}"
    value = f"{cell.value:.3f} ({cell.low:.3f} to {cell.high:.3f})"
    mass = "" if cell.answer_mass is None else f"{cell.answer_mass:.2f}"
    return f"{where}  {value:<24}  {_both(cell):<22} {_counts(cell):<25} {mass:<11}  {cell.kl:.3f}"


def _both(cell: Cell) -> str:
    return "" if cell.swapped is None else f"{cell.swapped:.3f} ({cell.swapped_low:.3f} to {cell.swapped_high:.3f})"


def _counts(cell: Cell) -> str:
    return "" if cell.matching is None else f"{cell.matching} / {cell.not_matching} / {cell.neither}"
