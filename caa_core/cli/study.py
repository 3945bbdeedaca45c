"""The command `study`: positions and cues."""

import argparse
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import columns_of, load_model, reported, say
from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.measuring.requests import StudyRequest
from caa_core.measuring.study import size
from caa_core.measuring.study import study as measure
from caa_core.progress import finish, tell
from caa_core.reports.study import report_of
from caa_core.reports.writing import check_report


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


RUN = {"study": study}
