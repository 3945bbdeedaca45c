"""The command `steer`."""

import argparse
from typing import Any

from caa_core.cli.arguments import typed
from caa_core.cli.common import load_model, vector_for
from caa_core.errors import InputError
from caa_core.measuring.costs.gate import opened
from caa_core.measuring.costs.strength import check_asked, strength
from caa_core.measuring.inspection import align_answer
from caa_core.metrics.vector_requests import SteeringRequest
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask
from caa_core.progress import finish, tell
from caa_core.steering.generation import CUT_IN_THOUGHT, Completion, side_by_side
from caa_core.steering.interventions import Gate, Steer, parse_spread, parse_steer, scaled
from caa_core.vectors.spread import spread


def steer(options: argparse.Namespace) -> tuple[Any, str]:
    """Answer a prompt without and with vectors."""
    specs = [parse_spread(spec) for spec in options.steer]
    asked = SteeringRequest.parse(prompt=options.prompt, **typed(options, SteeringRequest))
    if options.cost is not None:
        check_asked(options.cost)
        if asked.gate:
            raise InputError("A strength at a cost is found for vectors at every steered token: leave the gate out.")
    model = load_model(options)
    steers: list[Steer] = []
    sources: list[str] = []
    for source, layers, multiplier in specs:
        vector = vector_for(model, source, [model.check_layer(layer) for layer in layers])
        steers += spread(vector, layers, multiplier, asked.operation, asked.shares)
        sources += [source] * len(layers)
    found = None
    if options.cost is not None:
        found = finish(strength(model, tuple(steers), options.cost, asked.positions), tell)
        if found.factor is None:
            raise InputError(str(found))
        steers = [*scaled(tuple(steers), found.factor)]
    gate = gate_at(model, asked.gate)
    prompt = ask(model.tokenizer, asked.prompt, asked.system, asked.think)
    how = asked.positions, asked.decoding, asked.factors, gate
    answers = finish(side_by_side(model, prompt, tuple(steers), *how))
    result = answers.summary()
    parts = {"unsteered": answers.unsteered, "steered": answers.steered}
    parts |= {f"steered × {factor:g}": one for factor, one in answers.by_factor.items()}
    plain = ask(model.tokenizer, asked.prompt, asked.system)  # a thought is no part of what is read
    if options.projections:
        read = [align_answer(model, plain, answers.steered.text, one.vector, one.layer) for one in steers]
        result["projections"] = [vars(one) for one in read]
    text = "\n\n".join(_printed(name, one) for name, one in parts.items())
    if gate:
        result["gate"] = opened(model, plain, answers.steered.text, gate)
        is_open = result["gate"]["open"]
        text += f"\n\nThe gate is open at {sum(is_open)} of {len(is_open)} tokens of the steered answer."
    if not found:
        return result, text
    added = [f"{source}:{one.layer}:{one.multiplier:.4g}" for source, one in zip(sources, steers, strict=True)]
    return {**result, "steer": added, "strength": found.summary()}, f"{' '.join(added)}\n{found}\n\n{text}"


def _printed(name: str, one: Completion) -> str:
    """An answer under its name; behind the thought before it, where there is one."""
    if one.thought_end is None:
        return f"--- {name}\n{one.text}"
    answer = f"--- {name}, answer\n{one.text}" if not one.is_thinking else f"--- {name}: {CUT_IN_THOUGHT}"
    return f"--- {name}, thought\n{one.thought or '(nothing was thought)'}\n\n{answer}"


def gate_at(model: SteerableModel, spec: str) -> Gate | None:
    """A gate as it was typed, where one was."""
    if not spec:
        return None
    source, layer, threshold = parse_steer(spec)
    return Gate(vector_for(model, source, [model.check_layer(layer)]).at(layer), layer, threshold)


RUN = {"steer": steer}
