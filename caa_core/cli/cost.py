"""The command `cost`: what steering does to ordinary text, to right answers, and to refusals."""

import argparse
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import columns_of, load_model, vector_for
from caa_core.data.presets import find_test_pairs
from caa_core.errors import InputError
from caa_core.measuring.costs import text as neutral
from caa_core.measuring.costs.gauge import MULTIPLIERS, measure_gauge
from caa_core.measuring.costs.knowledge import OWN, examine, find_questions
from caa_core.measuring.costs.refusals import count_refusals
from caa_core.measuring.costs.strength import check_asked, strength
from caa_core.measuring.requests import KnowledgeRequest, RefusalsRequest
from caa_core.progress import finish, tell


def cost(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure a text, and a test where one is given."""
    data = find_questions(options.data or OWN, columns_of(options))
    pairs = find_test_pairs(options.gauge) if options.gauge else None
    request = KnowledgeRequest.parse(data=data, **typed(options, KnowledgeRequest))
    steps = request.multipliers if options.multipliers else neutral.MULTIPLIERS
    if options.strength is not None:
        check_asked(options.strength)
    if pairs and (request.spread or not request.operation.is_addition):
        raise InputError("The words of a gauge are of vectors that are added at one layer: leave --gauge out.")
    text = neutral.read_text(options.text) if options.text else neutral.neutral_text()
    model = load_model(options)
    layers = [*map(model.check_layer, request.layers)]
    vector = vector_for(model, options.vector, layers)
    steers = request.steers(vector)
    costs = finish(neutral.cost(model, text, steers, steps), tell)
    result, lines = {"text": costs.summary(), "test": None}, [str(costs)]
    lines += [f"× {one.multiplier:<5g}  KL {one.kl:.3f} nats  perplexity {one.perplexity:.1f}" for one in costs.steered]
    if options.strength is not None:
        strong = finish(strength(model, steers, options.strength, request.positions), tell)
        result["strength"] = strong.summary()
        lines.append(str(strong))
    if pairs:
        asked = model, pairs, vector, request.layer
        gauge = finish(measure_gauge(*asked, request.multipliers if options.multipliers else MULTIPLIERS), tell)
        result["gauge"] = gauge.summary()
        lines.append(str(gauge))
    if options.data:
        found = finish(examine(model, request, vector), tell)
        result["test"] = found.summary()
        lines.append(str(found))
    if options.refusals:
        counted = finish(count_refusals(model, RefusalsRequest.parse(**typed(options, RefusalsRequest)), vector), tell)
        result["refusals"] = counted.summary()
        lines.append(str(counted))
    return result, "\n".join(lines)


RUN = {"cost": cost}
