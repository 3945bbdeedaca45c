"""The command `steer`."""

import argparse
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import load_model, vector_for
from caa_core.metrics.vector_requests import SteeringRequest
from caa_core.model.prompts import ask
from caa_core.progress import finish
from caa_core.steering.generation import side_by_side
from caa_core.steering.interventions import Steer, parse_steer


def steer(options: argparse.Namespace) -> tuple[Any, str]:
    """Answer a prompt without and with vectors."""
    specs = [parse_steer(spec) for spec in options.steer]
    asked = SteeringRequest.parse(prompt=options.prompt, **typed(options, SteeringRequest))
    model = load_model(options)
    steers = []
    for source, layer, multiplier in specs:
        vector = vector_for(model, source, [model.check_layer(layer)])
        steers.append(Steer(vector.at(layer), layer, multiplier))
    prompt = ask(model.tokenizer, asked.prompt, asked.system)
    result = finish(side_by_side(model, prompt, tuple(steers), asked.positions, asked.decoding)).summary()
    return result, f"--- unsteered\n{result['unsteered']}\n\n--- steered\n{result['steered']}"


RUN = {"steer": steer}
