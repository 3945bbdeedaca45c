"""One report and its files: all of it as JSON, its rows as CSV, words, figures and tables as HTML that opens offline.

A number that is none (infinite, or not known) is null in JSON and an empty cell in CSV. What comes into HTML is escaped
by the template, and by plotly in its figures, whose script lies in the file once.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.errors import InputError
from caa_core.reports.page.template import PAGE, SAME, headline, parted

# The command line writes JSON without drawing anything, so plotly waits until there is a page to write.
if TYPE_CHECKING:
    import plotly.graph_objects as go

FORMULA = ("=", "+", "-", "@")
# A toolbar with "download as SVG", and the same letters on a light screen as on a dark one.
CONFIG = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"format": "svg"}}
PACKAGES = ("torch", "transformers", "nnsight")


@dataclass(frozen=True)
class Section:
    """A part of a report. counterpart: the figure or table of a paper that it stands beside, where there is one.
    markup: HTML of `markup`, in which everything is escaped already. drawing: its figure, or what draws it.
    """

    title: str
    text: str = ""
    counterpart: str = ""
    drawing: "go.Figure | Callable[[], go.Figure] | None" = field(default=None, repr=False)
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    markup: str = ""

    @cached_property
    def figure(self) -> "go.Figure | None":
        """Drawn when it is first asked for: of many sections, a page shows one."""
        return self.drawing() if callable(self.drawing) else self.drawing


# What a card's edge says beside its words: along a vector (or for voice A), against it (for B), or neither.
WITH, AGAINST, NEITHER = "with", "against", "neither"


@dataclass(frozen=True)
class Card:
    """What was found of one thing, such as a behaviour or a contest, at a glance.

    said: a sentence. tone: `WITH`, `AGAINST` or `NEITHER`. facts: a few numbers by name.
    """

    title: str
    said: str
    tone: str = NEITHER
    facts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, title: str, verdict: str, way: int = 0, facts: Mapping[str, Any] | None = None) -> "Card":
        """Of a whole verdict, by what it begins with; facts that are None are left out.

        way: 1 along the vector, or for A; -1 against it, or for B; 0 where neither is said.
        """
        there = {name: str(value) for name, value in (facts or {}).items() if value is not None}
        return cls(title, headline(verdict), {1: WITH, -1: AGAINST}.get(way, NEITHER), there)


@dataclass(frozen=True)
class Report:
    """What an experiment found.

    name: of its files, without an ending. cards, sections, settings, provenance: its HTML. rows: its CSV, of which
    every row has the same fields. data: its JSON. text: what the command line prints.
    """

    name: str
    title: str
    sections: Sequence[Section]
    rows: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    text: str = ""
    cards: Sequence[Card] = ()


def write(report: Report, path: Path) -> None:
    """Write a report by the file's ending. Raises InputError as `check_report` does, and where the disk is full."""
    check_report(path)
    text = WRITERS[path.suffix.lower()](report)
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def check_report(path: Path) -> None:
    """Raises InputError where no report can be written: for another ending, or a folder that is not there."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} should end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")
    check_place(path)


def check_place(path: Path) -> None:
    """Raises InputError where no file can be written."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"The result cannot be written to {path}: give a file in a folder that exists.")


def as_json(data: Any, indent: int | None = None) -> str:
    """Plain data as JSON, with null for every number that is none."""
    return json.dumps(finite(data), ensure_ascii=False, indent=indent, allow_nan=False)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under the names of their fields; nothing at all where there are none."""
    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows({name: harmless(finite(value)) for name, value in row.items()} for row in rows)
    return text.getvalue()


def as_html(report: Report) -> str:
    """A page with everything in it."""
    from plotly.offline import get_plotlyjs

    def drawn(figure: "go.Figure") -> str:
        return figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG)

    parts = {"flat": _flat, "drawn": drawn, "is_wide": _is_wide, "parted": parted}
    return PAGE.render(report=report, plotly=get_plotlyjs(), **parts, **SAME)


WRITERS: dict[str, Callable[[Report], str]] = {
    ".json": lambda report: as_json(report.data, indent=1),
    ".csv": lambda report: as_csv(report.rows),
    ".html": as_html,
}
ENDINGS = tuple(WRITERS)


def finite(data: Any) -> Any:
    """Plain data with None in place of every number that is none."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {name: finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(map(finite, data))
    return data


def harmless(value: object) -> object:
    """Text that no spreadsheet takes for a formula; anything else as it is."""
    if isinstance(value, str) and (value.lstrip().startswith(FORMULA) or value.startswith(("\t", "\r"))):
        return f"'{value}"
    return value


def cell(value: Any) -> str:
    """What stands in a table for a number, an estimate, a word, or for nothing."""
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def aligned(*rows: Sequence[Any]) -> list[str]:
    """A table in lines of text."""
    widths = [max(len(str(value)) for value in column) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{value!s:<{width}}" for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on."""
    return {package: version(package) for package in PACKAGES}


def _is_wide(figure: "go.Figure") -> bool:
    """Whether a figure has panels beside each other, which a phone cannot show all at once."""
    return len({axis.domain for axis in figure.select_xaxes()}) > 1


def _flat(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings as the rows of a table."""
    return [(name.replace("_", " "), _setting(value)) for name, value in fields.items()]


def _setting(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return as_json(value) if isinstance(value, dict | list | tuple) else str(value)
