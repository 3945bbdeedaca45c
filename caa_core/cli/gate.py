"""The command `gate`: a threshold above which steering applies."""

import argparse
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import columns_of, load_model, vector_for
from caa_core.data.presets import find_pairs, find_questions, find_test_pairs, presets
from caa_core.errors import InputError
from caa_core.measuring.costs.gate import calibrate_gate, messages, sides_of
from caa_core.measuring.requests import GateRequest
from caa_core.progress import finish, tell


def gate(options: argparse.Namespace) -> tuple[Any, str]:
    """Choose a threshold, count its mistakes, and say what `steer` takes."""
    asked = _request(options)
    model = load_model(options)
    vector = vector_for(model, options.vector, [model.check_layer(asked.layer)])
    found = finish(calibrate_gate(model, asked, vector), tell)
    spec = found.spec(options.vector)
    return found.summary() | {"gate": spec}, f"{found}\n--gate {spec}"


def _request(options: argparse.Namespace) -> GateRequest:
    """Raises InputError for what cannot be asked."""
    if bool(options.data) == bool(options.applies and options.elsewhere):
        raise InputError(
            "Give pairs (--data), or messages where steering should apply and where not (--applies, --elsewhere)."
        )
    if options.data:
        texts = sides_of(find_test_pairs(options.data, columns_of(options)))
    else:
        texts = {side: messages(find_questions(getattr(options, side))) for side in ("applies", "elsewhere")}
    preset = presets().get(options.vector)
    layer = preset.layer if preset and options.layer is None else options.layer
    if layer is None:
        raise InputError("Give the layer at which the gate is read (--layer).")
    own = find_pairs(options.made_from) if options.made_from else None
    return GateRequest.parse(**texts, made_from=own, **typed(options, GateRequest) | {"layer": layer})


RUN = {"gate": gate}
