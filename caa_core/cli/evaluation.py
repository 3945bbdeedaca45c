"""The command `evaluate`."""

import argparse
from pathlib import Path
from typing import Any

from caa_core.cli.common import (
    TEST,
    VECTOR,
    add_columns,
    add_model,
    add_options,
    columns_of,
    load_model,
    reported,
    say,
    typed,
    vector_for,
)
from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.measuring.evaluation import EvaluationRequest
from caa_core.measuring.evaluation import evaluate as measure
from caa_core.progress import finish, tell
from caa_core.reports.evaluation import report_of
from caa_core.reports.writing import check_report


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    add_columns(parser)
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="TEST", help=TEST)
    parser.add_argument("--vector", required=True, metavar="FILE", help=VECTOR)
    parser.add_argument(
        "--made-from", metavar="DATA", help="the pairs that the vector was made from, if not a preset's"
    )
    add_options(parser, EvaluationRequest)
    parser.add_argument("--out", type=Path, metavar="FILE", help="an .html report, or all numbers as .json or .csv")
    parser.set_defaults(run=evaluate)


def evaluate(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure, report, and return it as plain data and in words."""
    if options.out:
        check_report(options.out)
    data = find_test_pairs(options.data, columns_of(options))
    own = find_pairs(options.made_from) if options.made_from else None
    request = EvaluationRequest.parse(data=data, made_from=own, **typed(options, EvaluationRequest))
    tell(f"{data.name}: {data.kind}")
    model = load_model(options)
    vector = vector_for(model, options.vector, request.layers_known(model.num_layers))
    found = finish(measure(model, request, vector), say)
    report = report_of(found.summary())
    return report.data, reported(report, options.out)


ADD = {"evaluate": _evaluate_arguments}
