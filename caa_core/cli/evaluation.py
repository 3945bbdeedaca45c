"""The command `evaluate`."""

import argparse
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import columns_of, load_model, reported, say, vector_for
from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.measuring.evaluation import estimate_only, provenance_of
from caa_core.measuring.evaluation import evaluate as measure
from caa_core.measuring.requests import EvaluationRequest
from caa_core.progress import finish, tell
from caa_core.reports.evaluation import estimate_report, report_of
from caa_core.reports.writing import check_report


def evaluate(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure, report, and return it as plain data and in words."""
    if options.out:
        check_report(options.out)
    data = find_test_pairs(options.data, columns_of(options)).first(options.limit)
    own = find_pairs(options.made_from) if options.made_from else None
    request = EvaluationRequest.parse(data=data, made_from=own, **typed(options, EvaluationRequest))
    tell(f"{data.name}: {data.kind}")
    model = load_model(options)
    vector = vector_for(model, options.vector, request.layers_known(model.num_layers))
    if options.estimate:
        estimated = finish(estimate_only(model, request, vector), say)
        report = estimate_report(estimated, request.settings(), provenance_of(model, data, vector))
    else:
        report = report_of(finish(measure(model, request, vector), say).summary())
    return report.data, reported(report, options.out)


RUN = {"evaluate": evaluate}
