"""Operations wherever a vector is measured, and compared at equal cost, on a tiny model."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.operations import ADDED, BEST, COST, ONE, TAKEN, Case, Row, added, best_layer, in_short, report, taken
from caa_core.errors import InputError
from caa_core.measuring.costs import refusals
from caa_core.measuring.costs.answers import answers_on, plain_answers, token_costs
from caa_core.measuring.costs.knowledge import examine
from caa_core.measuring.costs.refusals import count_refusals
from caa_core.measuring.costs.text import cost
from caa_core.measuring.evaluation import estimate_only, evaluate
from caa_core.measuring.inspection import inspect
from caa_core.measuring.open_questions import answer
from caa_core.measuring.requests import (
    EvaluationRequest,
    InspectionRequest,
    KnowledgeRequest,
    OpenQuestionsRequest,
    RefusalsRequest,
    StudyRequest,
)
from caa_core.measuring.study import study
from caa_core.metrics.controls import random_controls
from caa_core.metrics.items import choose_items
from caa_core.progress import finish
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.steering.scoring import score
from caa_core.vectors.spread import spread
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import LETTERS, TEXTS
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
    # By its own items the best layer does as much as any.
    best = replace(case, layer=finish(best_layer(case, case.items, every=1)))
    rows.append(finish(added(best, BEST)))
    one, several, ablated, most = rows
    assert np.mean(most.changes) >= np.mean(one.changes) - 1e-6
    for row in (one, several, most):
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
    assert "of 1 times that another way adds" in said and "| ablated at one layer | 1 |" in said


def test_it_is_told_how_often_a_way_does_more_and_how_often_less():
    spread = np.linspace(-0.1, 0.1, 12)
    less, alike, more = (tuple(size + spread * turned) for size, turned in ((-1.0, -1), (0.0, 1), (1.0, -1)))

    def row(way, changes, opposite=()):
        return Row("joy", way, 1, 1.0, 0.3, 0.3, changes, (0.5,), (0.3,), opposite)

    ways = [row(way, changes) for way, changes in zip(ADDED, (less, alike, more, less, alike), strict=True)]
    ways += [row(way, changes, alike) for way, changes in zip(TAKEN, (less, less, more, alike), strict=True)]
    said = in_short(ways)
    assert "of 3 times that another way adds at the cost of addition at the best single layer it does more 1" in said
    assert "it goes further that way 2 times, and less far, or the other way, 1 times. " in said


def test_each_way_is_one_of_its_layers_and_operation(case):
    steers = {way: case.steers(way, case.vector) for way in (*ADDED, *TAKEN)}
    layers = {way: [steer.layer for steer in of] for way, of in steers.items()}
    assert layers["ablated at every layer"] == [0, 1, 2, 3] and layers["added, and the norm kept"] == [2]
    assert [steer.multiplier for steer in steers["added at five layers, equally"]] == [0.25] * 4
    assert steers["capped at one layer"][0].operation.cap == case.median_along(case.vector)


# Nothing lies above it, so nothing is taken away.
FAR_ABOVE, ALL = "cap:100000", "ablate"


def measured(model, vector, multiplier=1.0, **how):
    """KL of next tokens, right answers, open answers and neutral text; and refusals."""
    views = finish(inspect(model, InspectionRequest.parse(text="Why?", multiplier=multiplier, **how), vector))
    right = KnowledgeRequest.parse(data=LETTERS, multipliers=[multiplier], controls="0", **how)
    known = finish(examine(model, right, vector))
    asked = OpenQuestionsRequest.parse(questions=("Why?", "Rain?"), multipliers=[multiplier], max_new_tokens=6, **how)
    written = finish(answer(model, vector, asked))
    text = finish(cost(model, "It rains, and it is late.", right.steers(vector), [multiplier]))
    refused = RefusalsRequest.parse(multipliers=[multiplier], controls="0", **how)
    kl = [views.next_token.kl, known.rows[1].kl, written.levels[1].kl, text.steered[0].kl]
    return kl, finish(count_refusals(model, refused, vector))


@pytest.mark.parametrize(("operation", "is_something"), [(FAR_ABOVE, False), (ALL, True)])
def test_every_measurement_does_with_a_vector_what_it_is_asked(tiny_llama, monkeypatch, operation, is_something):
    monkeypatch.setattr(refusals, "NEW_TOKENS", 6)
    vector = SteeringVector("v", {2: random_vector(tiny_llama)}, {}, Provenance())
    found, refused = measured(tiny_llama, vector, layer=2, operation=operation)
    said = [one.text for one in refused.answers]
    assert all((abs(kl) > 1e-6) == is_something for kl in found), found
    assert (said[:40] != said[40:]) == is_something and f", {operation}: " in str(refused)


def test_every_measurement_steers_at_several_layers_at_once(tiny_llama, monkeypatch):
    """Where next to nothing is added at one of two layers, what is left is half a multiplier at the other."""
    monkeypatch.setattr(refusals, "NEW_TOKENS", 6)
    v = 4 * random_vector(tiny_llama)
    vector = SteeringVector("v", {1: 1e-6 * v, 2: v}, {}, Provenance())
    half, refused = measured(tiny_llama, vector, 0.5, layer=2)
    shared, alike = measured(tiny_llama, vector, 1.0, layer=2, spread="1-2")
    assert shared == pytest.approx(half, rel=1e-3) and min(half) > 1e-4
    assert [one.text for one in alike.answers] == [one.text for one in refused.answers]
    assert "Layers 1 to 2, × 1: " in str(alike)


def test_a_study_of_what_is_no_addition_has_passes_and_no_estimates(tiny_llama):
    what = {"positions": "after-prompt", "reads": "auto", "cues": "", "controls": "0"}
    asked = StudyRequest.parse(pairs=TEXTS, items=TEXTS, layers="2", multipliers="1", operation=FAR_ABOVE, **what)
    found = finish(study(tiny_llama, asked))
    assert [row.difference.value for row in found.rows] == pytest.approx([0.0] * len(found.rows), abs=1e-5)
    assert all(row.verdict.startswith("Not decided: There is no estimate of this") for row in found.rows)


@pytest.mark.parametrize("shares", ["equal", "norm"])
def test_layers_at_once_are_measured_by_passes_under_their_shares(case, shares):
    asked = EvaluationRequest.parse(
        data=TEXTS, layers="1-2", multipliers="-1,1", together=True, shares=shares, exact_controls=39, counts=False
    )
    found = finish(evaluate(case.model, asked, case.vector))
    steers = [spread(case.vector, [1, 2], m, shares=shares) for m in (-1.0, 1.0)]
    scores = finish(score(case.model, TEXTS.pairs, steers))
    changes = (scores.preference[1:] - scores.preference[:1]).mean(1)
    assert [cell.difference.value for cell in found.swept.cells] == pytest.approx(changes.tolist(), abs=1e-4)
    assert [cell.layer for cell in found.swept.cells] == [1, 1] and found.map is None
    assert found.conclusion.text.startswith("Layers 1 to 2 at once, which share each multiplier")
    low, high = found.conclusion.verdict.exact[0]
    assert low < high and found.settings["layers"] == [1, 2]
    with pytest.raises(InputError, match="no estimate of several layers"):
        finish(estimate_only(case.model, asked, case.vector))
