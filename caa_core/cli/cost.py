"""The command `cost`: what steering does to ordinary text, and to right answers."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caa_core.cli.common import VECTOR, add_columns, add_model, add_option, columns_of, load_model, vector_for
from caa_core.measuring import cost as neutral
from caa_core.measuring import knowledge
from caa_core.metrics.controls import check_controls
from caa_core.metrics.grid import parse_multipliers
from caa_core.metrics.options import CONTROLS, POSITIONS
from caa_core.progress import finish, tell


def _cost_arguments(parser: argparse.ArgumentParser) -> None:
    add_columns(parser)
    add_model(parser)
    parser.add_argument("--vector", required=True, metavar="FILE", help=VECTOR)
    parser.add_argument("--layer", required=True, type=int)
    parser.add_argument("--multipliers", default="", help="such as --multipliers=-1,1")
    parser.add_argument("--text", type=Path, metavar="FILE", help="plain text; by default the neutral one that ships")
    parser.add_argument(
        "--data", metavar="TEST", help="A/B questions whose matching answers are right; 'knowledge': those that ship"
    )
    add_option(parser, "positions", POSITIONS, help="where the vector is added in the questions")
    add_option(parser, "controls", CONTROLS, off="", help="so many random vectors")
    parser.set_defaults(run=cost)


def cost(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure a text, and a test where one is given."""
    multipliers: Sequence[float] = parse_multipliers(options.multipliers) if options.multipliers else ()
    positions, controls = POSITIONS.value(options.positions), check_controls(options.controls)
    text = neutral.read_text(options.text) if options.text else neutral.neutral_text()
    data = options.data and knowledge.check_test(knowledge.find_questions(options.data, columns_of(options)))
    model = load_model(options)
    vector = vector_for(model, options.vector, [model.check_layer(options.layer)])
    direction = vector.at(options.layer)
    costs = finish(neutral.cost(model, text, direction, options.layer, multipliers or neutral.MULTIPLIERS), tell)
    result, lines = {"text": costs.summary(), "test": None}, [str(costs)]
    lines += [f"× {one.multiplier:<5g}  KL {one.kl:.3f} nats  perplexity {one.perplexity:.1f}" for one in costs.steered]
    if data:
        steps = multipliers or knowledge.MULTIPLIERS
        found = finish(knowledge.examine(model, data, vector, options.layer, steps, positions, controls), tell)
        result["test"] = found.summary()
        lines.append(str(found))
    return result, "\n".join(lines)


ADD = {"cost": _cost_arguments}
