"""The command `open`: answers to open questions."""

import argparse
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import load_model, say, vector_for
from caa_core.data.presets import find_questions, find_test_pairs, preset_behind, presets
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import held_out
from caa_core.measuring.open_questions import answer
from caa_core.measuring.requests import OpenQuestionsRequest
from caa_core.progress import finish, tell
from caa_core.reports.open_questions import report_of
from caa_core.reports.writing import check_report, write


def open_questions(options: argparse.Namespace) -> tuple[Any, str]:
    """Answer questions, report, and return what was found as plain data and as a table."""
    if options.out:
        check_report(options.out)
    preset = presets().get(options.vector)
    asked = _request(options)
    data = find_test_pairs(options.held_out) if options.held_out else preset
    model = load_model(options)
    vector = vector_for(model, options.vector, None)
    data = data or preset_behind(vector.provenance.dataset_sha256)
    if not data:
        tell("Nothing reads the answers: give held-out answers of the behaviour (--held-out).")
    found = finish(answer(model, vector, asked, held_out(data) if data else None), say)
    report = report_of(found)
    if options.out:
        write(report, options.out)
    return found.summary(), report.text


def _request(options: argparse.Namespace) -> OpenQuestionsRequest:
    """Raises InputError for what cannot be asked."""
    preset = presets().get(options.vector)
    layer = preset.layer if preset and options.layer is None else options.layer
    if layer is None:
        raise InputError("Give the layer at which the vector is added (--layer).")
    if not (source := options.questions or (preset and preset.name)):
        raise InputError("Give open questions: --questions with a file, or a preset's name.")
    questions = find_questions(source)
    some = questions[: options.limit] if options.limit > 0 else questions
    return OpenQuestionsRequest.parse(questions=some, **typed(options, OpenQuestionsRequest) | {"layer": layer})


RUN = {"open": open_questions}
