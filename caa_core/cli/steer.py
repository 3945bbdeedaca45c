"""The command `steer`."""

import argparse
from typing import Any

from caa_core.cli.common import add_model, add_option, load_model, vector_for
from caa_core.metrics.options import NEW_TOKENS, POSITIONS, SEED, SYSTEM, TEMPERATURE
from caa_core.model.prompts import render
from caa_core.progress import finish
from caa_core.steering.generation import Decoding, side_by_side
from caa_core.steering.interventions import Steer, parse_steer


def _steer_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--prompt", required=True)
    add_option(parser, "system", SYSTEM)
    parser.add_argument(
        "--steer",
        action="append",
        required=True,
        metavar="FILE:LAYER:MULTIPLIER",
        help="a vector file or a preset, a layer, a multiplier; may be given several times",
    )
    for name, option in (
        ("positions", POSITIONS),
        ("max_new_tokens", NEW_TOKENS),
        ("temperature", TEMPERATURE),
        ("seed", SEED),
    ):
        add_option(parser, name, option)
    parser.set_defaults(run=steer)


def steer(options: argparse.Namespace) -> tuple[Any, str]:
    """Answer a prompt without and with vectors."""
    specs = [parse_steer(spec) for spec in options.steer]
    positions = POSITIONS.value(options.positions)
    decoding = Decoding(options.max_new_tokens, options.temperature, options.seed)
    model = load_model(options)
    steers = []
    for source, layer, multiplier in specs:
        vector = vector_for(model, source, [model.check_layer(layer)])
        steers.append(Steer(vector.at(layer), layer, multiplier))
    prompt = render(model.tokenizer, [{"role": "user", "content": options.prompt}], options.system)
    result = finish(side_by_side(model, prompt, tuple(steers), positions, decoding)).summary()
    return result, f"--- unsteered\n{result['unsteered']}\n\n--- steered\n{result['steered']}"


ADD = {"steer": _steer_arguments}
