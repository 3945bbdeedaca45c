"""What commands share: what their arguments stand for, and how they say what they found.

What needs torch is imported where it is needed, since commands that need no model answer at once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.data.columns import Columns
from caa_core.progress import Progress, finish, tell
from caa_core.reports.writing import Report, write

if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel
    from caa_core.vectors.vector import SteeringVector


def columns_of(options: argparse.Namespace) -> Columns | None:
    """The columns that were named, where some were."""
    return Columns.parse(options.columns) if options.columns else None


def load_model(options: argparse.Namespace) -> "SteerableModel":
    """The model that was asked for."""
    from caa_core.model.loading import load

    return load(options.model, options.dtype, options.device)


def vector_for(model: "SteerableModel", source: str, layers: Sequence[int] | None) -> "SteeringVector":
    """The vector of a file, or a preset's, made on the spot where the model is not the one that it ships for."""
    from caa_core.vectors.finding import find_vector

    vector = finish(find_vector(model, source, layers), tell)
    for difference in vector.differences(model):
        tell(f"Note on {source}: {difference}.")
    return vector


def reported(report: Report, out: Path | None) -> str:
    """What a report says in words, once it is written."""
    if not out:
        return report.text
    write(report, out)
    return f"{report.text}\nwritten to {out}"


def say(event: Any) -> None:
    """Say progress on standard error, and nothing of what has come by then."""
    if isinstance(event, Progress):
        tell(event)
