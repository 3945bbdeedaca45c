"""What commands share: arguments that several take, and what these stand for.

What needs torch is imported where it is needed, since commands that need no model answer at once.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.data.columns import Columns
from caa_core.metrics.requests import Option, Request
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.progress import Progress, finish, tell
from caa_core.reports.writing import Report, write

if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel
    from caa_core.vectors.vector import SteeringVector

DATA = "a file of contrast pairs, hub:OWNER/NAME[:CONFIG][@SPLIT], or a preset (its A/B questions: joy:ab)"
TEST = "a file of test items, hub:OWNER/NAME[:CONFIG][@SPLIT], or a preset for its held-out ones (questions: joy:ab)"
COLUMNS = "which columns hold what (a fourth: the negative answer's prompt); by default those of matching names"
VECTOR = "a vector file, or a preset"


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Which columns of a file hold what."""
    parser.add_argument("--columns", metavar="PROMPT,POSITIVE,NEGATIVE", help=COLUMNS)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is loaded."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help="catalogue key, hub id, folder or .gguf file")
    parser.add_argument("--dtype", default="", help="bfloat16, float16, float32; by default what suits the hardware")
    parser.add_argument("--device", default="", help="cpu or cuda; by default cuda where there is one")


def add_option(parser: argparse.ArgumentParser, name: str, option: Option[Any], **otherwise: Any) -> None:
    """The argument of an option; `otherwise` is what is other than it was declared."""
    option, dashed = replace(option, **otherwise), name.replace("_", "-")
    if option.kind is bool:
        flag, action = (f"--no-{dashed}", "store_false") if option.default else (f"--{dashed}", "store_true")
        parser.add_argument(flag, dest=name, action=action, help=option.off if option.default else option.help)
        return
    flag = option.flag or f"--{dashed}"
    also: dict[str, Any] = {"dest": name, "metavar": option.metavar, "help": option.help or None}
    if option.kind is tuple:
        parser.add_argument(flag, action="append", default=[], **also)
        return
    parser.add_argument(flag, type=option.kind, default=option.default, required=option.required, **also)
    if option.off:
        parser.add_argument(f"--no-{dashed}", action="store_true", help=option.off)


def add_options(
    parser: argparse.ArgumentParser, request: type[Request], without: Sequence[str] = (), **otherwise: dict[str, Any]
) -> None:
    """The arguments of a request's options, for `typed`; `otherwise` is what is other than declared, by option."""
    for name, option in request.options().items():
        if name not in without:
            add_option(parser, name, option, **otherwise.get(name, {}))


def typed(options: argparse.Namespace, request: type[Request]) -> dict[str, Any]:
    """What was typed of a request's options, for `Request.parse`."""
    found = request.chosen(vars(options))
    if "controls" in found:
        from caa_core.metrics.controls import check_controls

        found["controls"] = 0 if getattr(options, "no_controls", False) else check_controls(found["controls"])
    return found


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
