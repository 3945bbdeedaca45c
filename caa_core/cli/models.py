"""The command `models`."""

import argparse
from typing import Any

from caa_core.model.catalog import listing, room

HEADS = ("name", "parameters", "bfloat16", "fits here", "where", "licence", "good for", "fetched from")


def models(options: argparse.Namespace) -> tuple[Any, str]:
    """The catalogue, and what of it is here or has room here."""
    rows = listing()
    lines = [
        (
            row["key"],
            f"{row['parameters'] / 1e6:.0f} M",
            f"{row['size_gb']:.2f} GB",
            room(row),
            row["status"],
            row["licence"],
            row["good_for"],
            ", else ".join(row["sources"]),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(HEADS, *lines, strict=True)]
    shown = ("   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in (HEADS, *lines))
    return rows, "\n".join(line.rstrip() for line in shown)


RUN = {"models": models}
