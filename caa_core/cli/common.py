"""What commands share: what their arguments stand for, and how they say what they found.

What needs torch is imported where it is needed, since commands that need no model answer at once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.cli.arguments import KNOWN_HOST
from caa_core.data.columns import Columns
from caa_core.errors import InputError
from caa_core.progress import Progress, finish, tell
from caa_core.reports.writing import Report, write
from caa_core.vectors.methods import MEAN_DIFFERENCE

if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel
    from caa_core.vectors.vector import SteeringVector


def columns_of(options: argparse.Namespace) -> Columns | None:
    """The columns that were named, where some were."""
    return Columns.parse(options.columns) if options.columns else None


def load_model(options: argparse.Namespace) -> "SteerableModel":
    """The model that was asked for, here or at an NDIF host."""
    if asked := getattr(options, "host", ""):
        from caa_core.remote.host import Host

        host = Host.of("" if asked == KNOWN_HOST else asked)
        check_asked(options)
        from caa_core.remote.loading import load as load_there

        return load_there(options.model, host)
    from caa_core.model.loading import load

    return load(options.model, options.dtype, options.device)


# What is asked for by options of commands and is not done at a host, and what it is.
NOT_THERE = {
    "cost": "A strength at a cost",
    "projections": "Reading an answer along a vector",
    "gate": "Steering by a gate",
    "exact_controls": "Controls by exact passes",
    "by_methods": "Comparing methods",
    "read": "Reading answers token by token",
    "written": "Reading written answers",
    "dtype": "Choosing a dtype",
    "device": "Choosing a device",
}


def check_asked(options: argparse.Namespace) -> None:
    """Raises InputError for what is not done at an NDIF host, before one is asked."""
    for name, what in NOT_THERE.items():
        if getattr(options, name, None) and (name != "read" or options.command == "compete"):
            raise InputError(f"{what} is not done at an NDIF host: leave --host out.")
    method = getattr(options, "method", "")
    if method not in ("", MEAN_DIFFERENCE, "single"):
        raise InputError(f"The method {method} keeps what is read at every pair, which is not done at an NDIF host.")


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
