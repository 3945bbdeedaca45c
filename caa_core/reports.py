"""An evaluation for people and for other programs: a table in words, JSON, CSV."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

from caa_core.errors import InputError
from caa_core.sweeps import Cell
from caa_core.verdicts import Evaluation

ENDINGS = (".json", ".csv")
FORMULA = ("=", "+", "-", "@")


def check_report(path: Path) -> None:
    """Raises InputError for a file whose ending is not of a format that is written."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} should end in {' or '.join(ENDINGS)}.")


def write_report(found: Evaluation, path: Path) -> None:
    """Write everything as JSON, or the cells as CSV with the unsteered model first, by the file's ending.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_report(path)
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".json":
                json.dump(found.summary(), file, ensure_ascii=False, indent=1, allow_nan=False)
                return
            swept, named = found.swept, {"model": found.provenance["model"]}
            named |= {"vector": swept.vector, "data": swept.items.name, "measure": swept.measure}
            rows = [asdict(cell) | named for cell in (swept.unsteered, *swept.cells)]
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
    swapped = "" if cell.swapped is None else f"{cell.swapped:.3f} ({cell.swapped_low:.3f} to {cell.swapped_high:.3f})"
    counts = "" if cell.matching is None else f"{cell.matching} / {cell.not_matching} / {cell.neither}"
    mass = "" if cell.answer_mass is None else f"{cell.answer_mass:.2f}"
    return f"{where}  {value:<24}  {swapped:<22} {counts:<25} {mass:<11}  {cell.kl:.3f}"
