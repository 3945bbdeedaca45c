"""The command `study`: positions and cues."""

import argparse
from pathlib import Path
from typing import Any

from caa_core.cli.common import (
    DATA,
    TEST,
    add_columns,
    add_model,
    add_options,
    columns_of,
    load_model,
    reported,
    say,
    typed,
)
from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.measuring.study import StudyRequest, size
from caa_core.measuring.study import study as measure
from caa_core.progress import finish, tell
from caa_core.reports.study import report_of
from caa_core.reports.writing import check_report


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    add_columns(parser)
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="PAIRS", help=f"what vectors are made from: {DATA}")
    parser.add_argument("--test", required=True, metavar="ITEMS", help=TEST)
    add_options(parser, StudyRequest)
    parser.add_argument("--items", type=int, metavar="N", help="at most so many test items")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many pairs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .json, .csv or .html file")
    parser.set_defaults(run=study)


def study(options: argparse.Namespace) -> tuple[Any, str]:
    """Compare arms, report, and return the study as plain data and in words."""
    if options.out:
        check_report(options.out)
    columns = columns_of(options)
    pairs = find_pairs(options.data, columns).first(options.limit)
    items = find_test_pairs(options.test, columns).first(options.items)
    request = StudyRequest.parse(pairs=pairs, items=items, **typed(options, StudyRequest))
    model = load_model(options)
    tell(size(request, model.num_layers))
    report = report_of(finish(measure(model, request), say))
    return report.data, reported(report, options.out)


ADD = {"study": _study_arguments}
