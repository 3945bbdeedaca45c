"""What Measure says of vectors without effect, and of vectors that have one.

Vectors without effect are drawn as the controls are, so each has one of its own by chance; in the simulation `spread`
says how far apart these lie, in standard deviations between items. On the model they are drawn with the norm of a
preset's vector at every layer: at random, and from its pairs with labels exchanged by coins.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from caa_core.data.presets import find_pairs, find_test_pairs, presets
from caa_core.measuring.proposal import judged_cells, judged_halves, propose
from caa_core.measuring.sweep import sweep
from caa_core.measuring.vector_controls import Ground, ground
from caa_core.measuring.verdict import judge
from caa_core.metrics.controls import random_controls
from caa_core.metrics.cross_fitting import (
    CONTROLS,
    LEVEL,
    NONE_SHOWN,
    chosen,
    cross_fitted,
    grade,
    sign_patterns,
    two_sided,
)
from caa_core.metrics.estimates import means_of
from caa_core.metrics.items import Items, choose_items
from caa_core.model.loading import SteerableModel
from caa_core.progress import finish
from caa_core.vectors.extraction import preset_vector
from caa_core.vectors.vector import SteeringVector

# Layers of a simulated model; an effect is there at some of them, as in a real one.
LAYERS, WIDTH = 12, 2.0

# Multipliers at which what is told from controls is measured.
MULTIPLIERS = (-1.0, 1.0)


def simulate(
    runs: int, prompts: int, spread: float, effect: float = 0.0, controls: int = CONTROLS, seed: int = 0
) -> dict[str, float]:
    """Share of runs in which each thing is said, in a simulation of the whole procedure.

    An item's change at a layer is the vector's own effect there and a normal deviate of variance 1. effect: at the best
    layer, in standard deviations between items.
    """
    random = np.random.default_rng(seed)
    bump = effect * np.exp(-(((np.arange(LAYERS) - LAYERS // 2) / WIDTH) ** 2))
    said: Counter[str] = Counter()
    for _ in range(runs):
        own = bump + spread * random.standard_normal(LAYERS)
        changes = own + random.standard_normal((prompts, LAYERS))
        halves = np.arange(prompts) % 2
        estimates = np.stack([changes[halves == half].mean(0) for half in (0, 1)])
        kinds = [_controls(random, controls, prompts, spread) for _ in range(2)]
        p, direction = two_sided(cross_fitted(estimates), [cross_fitted(one) for one in kinds])
        if p > LEVEL:
            said[NONE_SHOWN] += 1
            continue
        there = chosen(estimates)[1 - halves]
        (size,) = means_of(changes[np.arange(prompts), there][None])
        said[_sentence(grade(float(p), int(direction), size), int(direction))] += 1
    return {sentence: count / runs for sentence, count in sorted(said.items())}


def _controls(random: np.random.Generator, count: int, prompts: int, spread: float) -> np.ndarray:
    """[count, 2, layers]: means of either half."""
    own = spread * random.standard_normal((count, 1, LAYERS))
    return own + random.standard_normal((count, 2, LAYERS)) * np.sqrt(2 / prompts)


def _sentence(said: str, direction: int) -> str:
    return f"{said}, {'with' if direction > 0 else 'against'}" if said == "effect" else said


def on_model(model: SteerableModel, name: str, vectors: int) -> dict[str, dict[str, float]]:
    """By the kind of vectors without effect, the share of `vectors` of them of which each thing is said on a preset's
    held-out items ("joy", "joy:ab").
    """
    vector = finish(preset_vector(model, presets()[name.partition(":")[0]]))
    items = finish(choose_items(model, find_test_pairs(name)))
    stands_on = finish(ground(model, items, vector, list(vector.layers), find_pairs(name)))
    stands_on = replace(stands_on, by_prompt=None)  # shares of prompts are not asked for
    drawn = {"random": _random(vector, vectors), "shuffled": _shuffled(vector, stands_on, vectors)}
    found = {}
    for kind, nulls in drawn.items():
        said = Counter(_said(model, items, null, stands_on, seed) for seed, null in enumerate(nulls))
        found[kind] = {sentence: count / vectors for sentence, count in sorted(said.items())}
    return found


def _said(model: SteerableModel, items: Items, vector: SteeringVector, stands_on: Ground, seed: int) -> str:
    """What is said of a vector: by exact passes where estimates tell it from controls."""
    found = stands_on.first_order(vector, CONTROLS, seed)
    if found.rank[0] > LEVEL:
        return NONE_SHOWN
    layers = sorted({stands_on.layers[i] for i in chosen(found.own)})
    kept = [stands_on.layers.index(layer) for layer in layers]
    found, halves = replace(found, own=found.own[:, kept]), judged_halves(items)
    swept = finish(sweep(model, items, vector, layers, MULTIPLIERS, counts=False))
    cells = judged_cells(swept, found.own, halves)
    verdict = judge(swept, propose(swept, found.own, halves), cells, halves, found)
    return f"{verdict.grade}, {verdict.direction}" if verdict.effect else verdict.grade


def _random(vector: SteeringVector, count: int) -> Iterator[SteeringVector]:
    for layers in random_controls(vector, list(vector.layers), count, seed=77):
        yield replace(vector, layers=layers)


def _shuffled(vector: SteeringVector, stands_on: Ground, count: int) -> Iterator[SteeringVector]:
    differences = stands_on.differences
    assert differences, "a preset's pairs are known"
    for signs in sign_patterns(differences.value.shape[1], count, seed=77_000):
        means = torch.nn.functional.normalize(differences.mean_with(signs), dim=-1)
        layers = {layer: mean * vector.norm(layer) for layer, mean in zip(stands_on.layers, means, strict=True)}
        yield replace(vector, layers=layers)
