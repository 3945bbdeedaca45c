"""The command `study`: positions and cues."""

import argparse
from pathlib import Path
from typing import Any

from caa_core.cli.common import (
    DATA,
    TEST,
    add_columns,
    add_model,
    add_option,
    columns_of,
    load_model,
    reported,
    say,
)
from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.measuring.study import StudyRequest, size
from caa_core.measuring.study import study as measure
from caa_core.metrics.controls import check_controls
from caa_core.metrics.grid import parse_layers, parse_multipliers
from caa_core.metrics.options import CONTROLS
from caa_core.progress import finish, tell
from caa_core.reports.study import report_of
from caa_core.reports.writing import check_report


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    add_columns(parser)
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="PAIRS", help=f"what vectors are made from: {DATA}")
    parser.add_argument("--test", required=True, metavar="ITEMS", help=TEST)
    parser.add_argument("--layer", required=True, help="one, or a few such as 10,12")
    parser.add_argument("--multipliers", default="-1,1", help="such as --multipliers=-1,1")
    parser.add_argument("--positions", default="", help="steered positions with commas between; all by default")
    parser.add_argument(
        "--reads", default="", help="read positions with commas between; all that make sense by default"
    )
    parser.add_argument(
        "--cue", action="append", default=[], metavar="TEXT", help="how answers begin, or 'instruction'"
    )
    parser.add_argument("--full", action="store_true", help="every combination, not one factor at a time")
    parser.add_argument("--items", type=int, metavar="N", help="at most so many test items")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many pairs")
    add_option(parser, "controls", CONTROLS, off="", help="so many random vectors for each, and as many shuffled")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .json, .csv or .html file")
    parser.set_defaults(run=study)


def study(options: argparse.Namespace) -> tuple[Any, str]:
    """Compare arms, report, and return the study as plain data and in words."""
    if options.out:
        check_report(options.out)
    columns = columns_of(options)
    pairs = find_pairs(options.data, columns).first(options.limit)
    items = find_test_pairs(options.test, columns).first(options.items)
    levels = (list(filter(None, text.split(","))) for text in (options.positions, options.reads))
    design = StudyRequest.of(pairs, items, *levels, options.cue, options.full)
    multipliers, controls = parse_multipliers(options.multipliers), check_controls(options.controls)
    model = load_model(options)
    layers = parse_layers(options.layer, model.num_layers)
    tell(size(pairs, design, layers, multipliers, controls))
    found = finish(measure(model, pairs, items, layers, multipliers, design, controls), say)
    report = report_of(found)
    return report.data, reported(report, options.out)


ADD = {"study": _study_arguments}
