"""The comparison of operations at equal cost, on a tiny model."""

from dataclasses import replace

import pytest

from benchmarks.operations import ADDED, COST, ONE, TAKEN, Case, Row, added, report, taken
from caa_core.measuring.costs.answers import answers_on, plain_answers, token_costs
from caa_core.metrics.controls import random_controls
from caa_core.metrics.items import choose_items
from caa_core.progress import finish
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.steering.scoring import score
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import TEXTS
from tests.helpers.vectors import random_vector


@pytest.fixture
def case(tiny_llama):
    layers = {layer: random_vector(tiny_llama, layer) for layer in range(4)}
    vector = SteeringVector("v", layers, dict.fromkeys(layers, 5.0), Provenance())
    items = finish(choose_items(tiny_llama, TEXTS))
    drawn = [replace(vector, layers=one) for one in random_controls(vector, range(4), 2)]
    return Case("v", tiny_llama, vector, 2, items, tuple(drawn))


def test_ways_are_compared_at_equal_cost_beside_random_vectors(case):
    rows = [finish(added(case, ONE)), finish(added(case, "added at five layers, equally"))]
    rows.append(finish(taken(case, "ablated at one layer")))
    one, several, ablated = rows
    for row in (one, several):
        assert abs(row.kl - COST) <= 0.06 * COST and len(row.random) == len(row.random_kl) == 2
        assert row.random_kl == pytest.approx([COST] * 2, rel=0.06)
    # Each is what a pass says, prompt by prompt.
    steer = Steer(case.vector.at(2), 2, one.factor)
    scores = finish(score(case.model, case.items.pairs, [(steer,)]))
    assert one.changes == pytest.approx((scores.preference[1] - scores.preference[0]).tolist(), abs=1e-4)
    # What is ablated is ablated whole, and its opposite may cost as much.
    steers, answers = case.steers("ablated at one layer", case.vector), answers_on(case.model, plain_answers()[0][:8])
    (cost,) = finish(token_costs(case.model, answers, steers, [1.0], AFTER_PROMPT))
    assert ablated.kl == pytest.approx(cost.mean()) and len(ablated.opposite) == len(ablated.changes) == 4
    said = report([Row.of(vars(row)) for row in rows], "tiny")
    assert "of 2 differences from addition at equal cost" in said and "| ablated at one layer | 1 |" in said


def test_each_way_is_one_of_its_layers_and_operation(case):
    steers = {way: case.steers(way, case.vector) for way in (*ADDED, *TAKEN)}
    layers = {way: [steer.layer for steer in of] for way, of in steers.items()}
    assert layers["ablated at every layer"] == [0, 1, 2, 3] and layers["added, and the norm kept"] == [2]
    assert [steer.multiplier for steer in steers["added at five layers, equally"]] == [0.25] * 4
    assert steers["capped at one layer"][0].operation.cap == case.median_along(case.vector)
