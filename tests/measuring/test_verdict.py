import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.nulls.measure import on_model
from caa_core.data.pairs import ContrastPair, Dataset, read_pairs
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring import vector_controls
from caa_core.measuring.evaluation import evaluate
from caa_core.measuring.proposal import Proposal, judged_cells, judged_halves, propose
from caa_core.measuring.requests import EvaluationRequest
from caa_core.measuring.sweep import sweep
from caa_core.measuring.vector_controls import AT_ONCE, FirstOrder, Ground, ground, growing_ground
from caa_core.measuring.verdict import BRIEFLY, WAYS, Verdict, conclude, judge
from caa_core.metrics.controls import random_controls
from caa_core.metrics.cross_fitting import cross_fitted, sign_patterns
from caa_core.metrics.estimates import Estimate, middle
from caa_core.metrics.grid import check_controls
from caa_core.metrics.items import choose_items
from caa_core.metrics.plain_data import restored
from caa_core.progress import finish
from caa_core.steering.gradients import NoEstimateError, gradients
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector
from tests.helpers.data import A_HEAVY, LETTERS, PLANTED, QUESTIONS, TEXTS
from tests.helpers.models import make_tiny
from tests.helpers.vectors import shuffled_controls, towards

OWN = Dataset("own", "", "", tuple(ContrastPair(f"{q} Say.", "!!! so", "... no", i) for i, q in enumerate(QUESTIONS)))


def concluded(model, dataset, vector, multipliers=(-1, 1), own=OWN, **options):
    items = finish(choose_items(model, dataset))
    swept = finish(sweep(model, items, vector, list(vector.layers), multipliers, counts=False))
    return swept, finish(conclude(model, swept, vector, own, **options))


def negated(vector):
    return replace(vector, layers={layer: -v for layer, v in vector.layers.items()})


def test_a_planted_effect_is_found_with_its_direction(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    swept, found = concluded(tiny_llama, PLANTED, planted)
    verdict = found.verdict
    assert (verdict.effect, verdict.grade, verdict.direction, verdict.ways) == (True, "effect", "with", "both")
    assert found.text.startswith("An effect on this model, with the vector, both ways: ")
    assert (verdict.prompts, verdict.controls, found.shuffled_from) == (8, 999, "own") and verdict.p == 0.002
    up, down = (swept.readings[3, m].value - swept.baseline.value for m in (1, -1))
    assert verdict.difference.value == pytest.approx((up - down).mean() / 2)
    assert (verdict.positive.value, verdict.negative.value) == pytest.approx((up.mean(), down.mean()))
    json.dumps(verdict.summary(), allow_nan=False)


def test_prompts_that_are_pushed_the_wrong_way_stand_beside_those_of_controls(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    swept, found = concluded(tiny_llama, PLANTED, planted)
    right = found.verdict.anti_steerable
    assert (right.share.value, right.prompts, right.unchanged, right.estimate) == (0, 8, 0, 0)
    assert right.random == (0, 1)  # what moves one of these prompts moves all of them
    assert "Pushed the wrong way: 0.00 of 8 prompts that move (95% interval 0.00 to 0.37); to first" in found.text
    assert [cell.anti_steerable.value for cell in swept.cells] == [0, 0]
    assert (swept.unsteered.anti_steerable, swept.unsteered.unchanged) == (None, None)
    # Two more prompts, of which the answers are exchanged, are pushed the wrong way.
    turned = [replace(pair, positive=".", negative="!", prompt=f"So: {pair.prompt}") for pair in PLANTED.pairs[:2]]
    swept, found = concluded(tiny_llama, replace(PLANTED, pairs=(*PLANTED.pairs, *turned)), planted)
    assert found.verdict.anti_steerable.share.value == found.verdict.anti_steerable.estimate == 0.2
    assert [cell.anti_steerable.value for cell in swept.cells] == [0.2, 0.2]
    kept = json.loads(json.dumps(found.verdict.summary()))
    assert restored(Verdict, kept, "It") == found.verdict
    del kept["anti_steerable"]  # as before it was measured
    assert restored(Verdict, kept, "It").anti_steerable is None


def test_gradients_of_prompts_take_no_more_memory_than_there_is_for_them(tiny_llama, monkeypatch):
    planted = towards(tiny_llama, "!", ".", 2.0)
    for prompts in (3, 0):
        monkeypatch.setattr(vector_controls, "MOST_NUMBERS", prompts * tiny_llama.hidden_size)
        found = concluded(tiny_llama, PLANTED, planted)[1].verdict
        assert (found.grade, found.anti_steerable.prompts) == ("effect", 8)
        assert (found.anti_steerable.estimate, found.anti_steerable.random) == (
            (0, (0, 1)) if prompts else (None, None)
        )


def test_a_vector_that_does_the_opposite_is_called_backwards(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    right, wrong = (concluded(tiny_llama, PLANTED, one)[1] for one in (planted, negated(planted)))
    assert wrong.verdict.anti_steerable.share.value == 1
    assert (wrong.verdict.effect, wrong.verdict.direction) == (True, "against")
    assert wrong.text.startswith("A backwards effect on this model, against the vector, both ways: ")
    assert wrong.verdict.difference.value == pytest.approx(-right.verdict.difference.value)
    assert wrong.verdict.p == right.verdict.p


@pytest.mark.parametrize(
    ("multipliers", "ways", "said"),
    [
        ((0, 1), "only positive tried", "at positive multipliers; no others were tried"),
        ((-1, -0.5), "only negative tried", "at negative multipliers; no others were tried"),
    ],
)
def test_one_sign_that_was_tried_is_said(tiny_llama, multipliers, ways, said):
    planted = towards(tiny_llama, "!", ".", 2.0)
    found = concluded(tiny_llama, PLANTED, planted, multipliers)[1]
    assert (found.verdict.direction, found.verdict.ways) == ("with", ways)
    assert found.text.startswith(f"An effect on this model, with the vector, {said}. ")
    backwards = concluded(tiny_llama, PLANTED, negated(planted), multipliers)[1]
    assert backwards.verdict.direction == "against" and f"against the vector, {said}. " in backwards.text


@pytest.mark.parametrize(
    ("up", "down", "ways"),
    [
        (0.5, -0.5, "both"),
        (0.5, 0.0, "positive"),
        (0.0, -0.5, "negative"),
        (0.5, 0.2, "alike"),
        (-0.2, -0.5, "alike"),
        (0.0, 0.0, "neither"),
    ],
)
@pytest.mark.parametrize("direction", [1, -1])
def test_the_ways_in_which_it_holds(tiny_llama, up, down, ways, direction):
    """Changes of items as a model could have made them, by hand: consistent ones, and such as average to nothing."""
    planted = towards(tiny_llama, "!", ".", 2.0)
    swept, found = concluded(tiny_llama, PLANTED, planted)
    noise = np.random.default_rng(0).permutation(np.linspace(-0.05, 0.05, 8))
    readings = {
        (3, m): replace(swept.baseline, value=swept.baseline.value + direction * (moved + np.roll(noise, int(m))))
        for m, moved in ((1.0, up), (-1.0, down))
    }
    swept, halves = replace(swept, readings=readings), judged_halves(swept.items)
    estimates = FirstOrder(
        np.full((2, 1), float(direction)), np.linspace(-0.5, 0.5, 999), np.linspace(-0.5, 0.5, 999), 8
    )
    verdict = judge(swept, found.proposal, judged_cells(swept, estimates.own, halves), halves, estimates)
    expected = (up - down) / 2
    assert verdict.difference.value == pytest.approx(direction * expected)
    if expected < 0.05:
        assert verdict.grade == "not decided"
    else:
        assert (verdict.ways, verdict.direction) == (ways, "with" if direction > 0 else "against")
        assert WAYS[ways] in verdict.text


def test_a_planted_null_is_not_called_an_effect(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    null = replace(planted, layers=random_controls(planted, [3], 1, 9)[0])
    found = concluded(tiny_llama, PLANTED, null)[1]
    assert (found.verdict.effect, found.verdict.grade, found.verdict.direction) == (False, "none shown", "")
    assert found.text.startswith("No effect is shown on this model: vectors that should do nothing do as much. ")


def test_the_whole_evaluation_finds_a_planted_effect_and_no_planted_null(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    null = replace(planted, layers=random_controls(planted, [3], 1, 9)[0])
    for vector, said in ((planted, "An effect on this model, with"), (null, "No effect is shown on this model: ")):
        request = EvaluationRequest.parse(data=PLANTED, layers=[3], multipliers=[-1, 0, 1], made_from=OWN)
        found = finish(evaluate(tiny_llama, request, vector)).summary()
        assert found["verdict"]["effect"] is (vector is planted) and found["verdict"]["controls"] == 999
        assert found["verdict"]["text"].startswith(said)
    assert found["verdict"]["random"][0] <= found["verdict"]["estimate"] <= found["verdict"]["random"][1]


def test_a_vector_that_only_says_a_is_found_out(tiny_llama):
    found = concluded(tiny_llama, A_HEAVY, towards(tiny_llama, "A", "B", 2.0))[1]
    assert abs(found.verdict.as_given) > 0.1
    assert not found.verdict.effect
    assert "that is the letter, not the behaviour" in found.text


def test_below_eight_prompts_there_is_a_figure_and_no_verdict(tiny_llama):
    """Prompts, not items: what stands in the data twice counts once."""
    planted = towards(tiny_llama, "!", ".", 2.0)
    seven = replace(PLANTED, pairs=PLANTED.pairs[:7])
    twice = replace(seven, pairs=seven.pairs + tuple(replace(pair, line=pair.line + 10) for pair in seven.pairs))
    for dataset in (seven, twice):
        found = concluded(tiny_llama, dataset, planted)[1]
        assert found.verdict.effect is None and found.verdict.prompts == 7 and found.verdict.difference.value > 0.5
        assert found.text.startswith(
            "Not judged: 7 prompts are too few for a verdict, which takes at least 8. At layer 3"
        )
    alone = replace(PLANTED, pairs=(PLANTED.pairs[0], replace(PLANTED.pairs[0], line=9)))
    found = concluded(tiny_llama, alone, planted)[1]
    assert found.proposal is None and found.verdict is None
    assert found.text == "Not judged: 1 prompt is too few to choose on some and judge on others; give at least 8."


def test_what_a_verdict_takes_is_said_where_it_is_missing(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    for options, said in (
        ({"controls": 0}, "Not judged: that takes controls beside it. At layer 3"),
        ({"controls": 20}, "Not judged: that takes at least 999 controls of each kind"),
        (
            {"own": None},
            "Not decided: it is told from vectors that should do nothing (p = 0.002), but no controls from ",
        ),
        ({"own": TEXTS}, "Not judged: the vector was made from 4 prompts, too few to tell it from one with its labels"),
    ):
        found = concluded(tiny_llama, PLANTED, planted, **options)[1]
        assert found.verdict.effect is None and found.text.startswith(said)
        assert found.verdict.difference.value > 0.5 and found.proposal.layer == 3


def test_a_model_without_backward_has_figures_and_no_verdict():
    model = make_tiny("llama")
    planted = towards(model, "!", ".", 2.0)
    model.blocks[3]._module.register_forward_hook(lambda _m, _i, out: out.detach())
    found = concluded(model, PLANTED, planted)[1]
    assert (found.verdict.effect, found.verdict.grade) == (None, "not decided")
    assert found.text.startswith(
        "Not decided: There is no estimate for this model: tiny-llama cannot be differentiated"
    )
    assert found.verdict.difference.value > 0.5 and found.verdict.p is None
    few = concluded(model, replace(PLANTED, pairs=PLANTED.pairs[:7]), planted)[1]
    assert few.verdict.grade == "" and few.text.startswith(
        "Not judged: 7 prompts are too few for a verdict, which takes "
    )


def test_estimates_that_exact_passes_contradict_are_none(tiny_llama):
    """By the gradients that the first figure was made of, which are not computed again."""
    items = finish(choose_items(tiny_llama, PLANTED))
    model = make_tiny("llama")
    model.blocks[1]._module.register_forward_hook(lambda _m, _i, out: 3 * out - 2 * out.detach())
    vector, seen = towards(model, "!", ".", 2.0), []
    with pytest.raises(NoEstimateError, match="no estimate for this model: tiny-llama"):
        finish(growing_ground(model, items, vector, [0, 3], OWN), seen.append)
    assert [part.read for part in seen if isinstance(part, Ground)] == [4]
    found = finish(growing_ground(tiny_llama, items, vector, [0, 3], OWN))
    assert found.read is None and found.slopes.shape[1] == 2


def test_letters_that_cannot_be_swapped_are_not_judged(tiny_llama):
    odd = Dataset("odd", "", "", tuple(ContrastPair(q, "(A)", "(B)", i) for i, q in enumerate(QUESTIONS)))
    found = concluded(tiny_llama, odd, towards(tiny_llama, "A", "B", 3.0))[1]
    assert found.verdict.effect is None and "other letter order" in found.text


def test_estimates_are_those_of_vectors_one_by_one(tiny_llama):
    """The vector's own, and T of mean differences of its pairs under the same exchanges of labels."""
    vector = finish(extract(tiny_llama, OWN, [1, 2, 3]))
    items = finish(choose_items(tiny_llama, PLANTED))
    halves = judged_halves(items)
    stands_on = finish(ground(tiny_llama, items, vector, [1, 2, 3], OWN))
    found = stands_on.first_order(vector, 5)

    def estimates(one):
        own = [
            finish(gradients(tiny_llama, [items.pairs[i] for i in half], torch.full((1, 4), 0.25), [1, 2, 3]))[0]
            for half in halves
        ]
        return np.array([[float(mean[i] @ one[layer]) for i, layer in enumerate((1, 2, 3))] for mean in own])

    assert found.own == pytest.approx(estimates(vector.layers), rel=1e-3)
    alone = {i: finish(extract(tiny_llama, replace(OWN, pairs=(p, p)), [1, 2, 3])) for i, p in enumerate(OWN.pairs)}
    each, shares = finish(gradients(tiny_llama, items.pairs, torch.eye(8), [1, 2, 3])), []
    for value, signs in zip(found.shuffled, sign_patterns(8, 5), strict=True):
        sums = {layer: sum(sign * alone[i].at(layer) for i, sign in enumerate(signs)) for layer in (1, 2, 3)}
        control = {layer: v / v.norm() * vector.norm(layer) for layer, v in sums.items()}
        assert value == pytest.approx(cross_fitted(estimates(control)), rel=1e-3)
        shares.append(
            [np.mean([float(one[i] @ control[layer]) < 0 for one in each]) for i, layer in enumerate(control)]
        )

    def wrong(one, own):
        """The share of prompts whose own gradient points away, each at the layer that the other half chose."""
        at = np.abs(own).argmax(1)[::-1]
        return np.mean([float(each[i, at[h]] @ one[at[h] + 1]) < 0 for h, half in enumerate(halves) for i in half])

    assert found.wrong.own == wrong(vector.layers, found.own)
    assert found.wrong.shuffled[-1] == wrong(control, estimates(control))
    assert len(found.wrong.random) == 5 and 0 < found.wrong.random.mean() < 1
    # In a map nothing is chosen: at each layer all prompts count there.
    by_layer = stands_on.map_of(vector, items, 5).layers
    assert [one.wrong_shuffled for one in by_layer] == [middle(np.array(one)) for one in zip(*shares, strict=True)]
    assert len(set(map(tuple, shares))) > 1 and all(one.wrong_random for one in by_layer)
    assert stands_on.first_order(vector, 5).random.tolist() == found.random.tolist()
    assert stands_on.first_order(vector, 5, seed=1).random.tolist() != found.random.tolist()


@pytest.mark.parametrize(
    ("grade", "direction", "ways", "why", "said"),
    [
        (
            "effect",
            "with",
            "positive",
            "",
            "An effect on this model, with the vector, shown at positive multipliers alone.",
        ),
        ("effect", "against", "both", "", "A backwards effect on this model, against the vector, both ways."),
        ("none shown", "", "", "", "No effect is shown on this model: vectors that should do nothing do as much."),
        ("not decided", "", "", "its interval holds 0", "Not decided: its interval holds 0."),
        ("not decided", "", "", "", "Not decided."),  # as before it was kept why
        ("", "", "", "7 prompts are too few", "Not judged: 7 prompts are too few."),
    ],
)
def test_a_verdict_in_short_is_made_of_its_grade_and_direction(grade, direction, ways, why, said):
    size = Estimate(0.3, 0.1, 0.5)
    verdict = Verdict(1, 1.0, None, 9, size, 0.3, None, None, 999, "m", "At length.", grade, direction, ways, why=why)
    assert verdict.in_short == said and said.startswith(verdict.headline)
    assert BRIEFLY.keys() == WAYS.keys()


def test_exact_controls_are_measured_as_vectors_of_their_own_and_may_contradict(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    swept, found = concluded(tiny_llama, PLANTED, planted, exact=39)
    assert found.verdict.effect and "By exact passes 39 controls of each kind reach " in found.text
    moved = []
    for control in random_controls(planted, [3], 39, 1):
        own = finish(sweep(tiny_llama, swept.items, replace(planted, layers=control), [3], [-1, 1]))
        moved.append((own.readings[3, 1].value - own.readings[3, -1].value).mean() / 2)
    assert found.verdict.exact[0] == pytest.approx((min(moved), max(moved)), rel=1e-3)
    assert len(found.verdict.exact) == 2
    estimates = FirstOrder(np.ones((2, 1)), np.zeros(999), np.zeros(999), 8)
    halves = judged_halves(swept.items)
    cells = judged_cells(swept, estimates.own, halves)
    verdict = judge(swept, found.proposal, cells, halves, estimates, np.array([[-2.0, 2.0], [-0.1, 0.1]]))
    assert verdict.effect is None and "controls by exact passes reach as far" in verdict.text
    # One that does what controls do is settled by some of them.
    alike = replace(planted, layers=random_controls(planted, [3], 1)[0])
    found = concluded(tiny_llama, PLANTED, alike, exact=199)[1]
    drawn = found.verdict.exact_drawn
    assert AT_ONCE <= drawn < 199 and f"By exact passes {drawn} controls of each kind reach" in found.text
    assert any(low <= found.verdict.difference.value <= high for low, high in found.verdict.exact)


def swept_at_a_cost(model, costs, multipliers=(-2, -1, 0, 1, 2)):
    """A sweep of a planted vector at whose multipliers items cost so much: numbers, or one an item."""
    items = finish(choose_items(model, LONGER))
    swept = finish(sweep(model, items, towards(model, "!", ".", 2.0), [3], multipliers))
    readings = {
        (3, m): replace(one, kl=np.broadcast_to(costs[m], len(items.pairs)) + 0.001 * np.arange(len(items.pairs)))
        for (_, m), one in swept.readings.items()
    }
    return replace(swept, readings=readings)


LONGER = Dataset("longer", "", "", tuple(ContrastPair(f"{i}. {q}", "!!", "..", i) for i in range(2) for q in QUESTIONS))
SPREAD = np.where(np.arange(16) % 4 < 2, 0.0, 0.9)  # 0.45 in the mean of either half


@pytest.mark.parametrize(
    ("costs", "safe"),
    [
        ({-2: 0.4, -1: 0.1, 0: 0, 1: 0.1, 2: 0.4}, (-2, 2)),
        ({-2: 0.9, -1: 0.1, 0: 0, 1: 0.1, 2: 0.4}, (-1, 2)),
        ({-2: 0.4, -1: 0.9, 0: 0, 1: 0.9, 2: 0.1}, None),  # from 0 outwards
        ({-2: 0.9, -1: 0.9, 0: 0, 1: 0.1, 2: SPREAD}, (0, 1)),  # the mean lies under the limit, its interval does not
    ],
)
def test_safe_is_a_range_from_0_outwards_with_whole_intervals(tiny_llama, costs, safe):
    swept = swept_at_a_cost(tiny_llama, costs)
    halves = judged_halves(swept.items)
    found = propose(swept, np.ones((2, 1)), halves)
    assert found.safe == safe and found.reported_on == 16
    assert found.safe_multiplier == (safe and (safe[1] or safe[0]))
    assert ("multipliers there: none." in str(found)) is (safe is None)


def test_safe_is_judged_on_prompts_that_the_layer_was_not_chosen_on(tiny_llama):
    """The half that chose it costs nothing, the other one too much; and too few prompts are too few."""
    cheap = {-2: 0, -1: 0, 0: 0, 1: 0, 2: 0}
    swept = swept_at_a_cost(tiny_llama, cheap)
    first, second = judged_halves(swept.items)
    dear = np.zeros(16)
    dear[second] = 1.4
    swept = swept_at_a_cost(tiny_llama, {**cheap, 1: dear, 2: dear})
    other = replace(swept, readings={**swept.readings, **{(2, m): one for (_, m), one in swept.readings.items()}})
    found = propose(other, np.array([[0, 1.0], [1.0, 0]]), (first, second))
    assert (found.layer, found.safe, found.chosen_on, found.reported_on) == (3, (-2, 0), 8, 8)
    few = propose(swept, np.ones((2, 1)), (first[:3], second[:3]))
    assert few.safe is None and "not judged, since that takes at least 8 prompts" in str(few)


def test_the_largest_multiplier_that_the_choosing_half_can_pay_is_judged(tiny_llama):
    swept = swept_at_a_cost(tiny_llama, {-2: 0.9, -1: 0.9, 0: 0, 1: 0.1, 2: 0.4})
    first, second = judged_halves(swept.items)
    cells = judged_cells(swept, np.ones((2, 1)), (first, second))
    assert [(cell.layer, cell.multipliers, cell.items) for cell in cells] == [(3, (-1, 2), 8)] * 2


def test_shuffled_vectors_are_mean_differences_with_labels_exchanged_by_coins(tiny_llama):
    """A coin for each prompt: now and then all fall alike, and the control is the vector, or its opposite."""
    vector = finish(extract(tiny_llama, PLANTED, [1, 2]))
    found = shuffled_controls(tiny_llama, TEXTS, vector, [1, 2], 20)
    alone = [finish(extract(tiny_llama, Dataset("one", "", "", (pair, pair)), [1, 2])) for pair in TEXTS.pairs]
    differences = torch.stack([one.at(2) for one in alone])
    coins = []
    for control in found:
        assert control[2].norm().item() == pytest.approx(vector.norm(2), rel=1e-5)
        signs = torch.linalg.lstsq(differences.T, control[2][:, None]).solution[:, 0]
        assert signs.abs().tolist() == pytest.approx([signs[0].abs().item()] * 4, rel=1e-2)
        coins.append(tuple(signs.sign().tolist()))
    assert {sum(coin) for coin in coins} >= {-4, 0, 2} and len(set(coins)) > 8


def test_both_letter_orders_keep_together_when_labels_are_shuffled(tiny_llama):
    both = LETTERS.in_both_letter_orders()
    vector = finish(extract(tiny_llama, both, [2]))
    found = shuffled_controls(tiny_llama, both, vector, [2], 3)
    questions = []
    for line in (1, 2, 3):
        pairs = tuple(pair for pair in both.pairs if pair.line == line)
        questions.append(finish(extract(tiny_llama, replace(both, pairs=pairs), [2])).at(2))
    for control in found:
        signs = torch.linalg.lstsq(torch.stack(questions).T, control[2][:, None]).solution[:, 0]
        assert signs.abs().tolist() == pytest.approx([signs[0].abs().item()] * 3, rel=1e-2)


def test_evaluate_says_what_repeats_it(tiny_llama):
    vector = finish(extract(tiny_llama, TEXTS, [1, 2]))
    request = EvaluationRequest.parse(data=LETTERS, layers=[2, 1], multipliers=[1, 0], counts=False)
    found = finish(evaluate(tiny_llama, request, vector)).summary()
    assert found["settings"]["multipliers"] == [0.0, 1.0] and found["settings"]["controls"] == 999
    assert found["provenance"]["vector"]["dataset"] == "texts"
    assert found["verdict"]["effect"] is None and "3 prompts are too few" in found["verdict"]["text"]
    json.dumps(found, allow_nan=False)
    with pytest.raises(InputError, match="between 1 and"):
        check_controls(0)
    for few in ({"controls": 998}, {"exact_controls": 38}, {"controls": -1}):
        with pytest.raises(InputError, match="of a kind decide nothing; give 0 or at least"):
            EvaluationRequest.parse(data=LETTERS, **few)


def test_what_was_kept_before_there_were_grades_is_still_read():
    kept = {"layer": 12, "multiplier": 1.0, "effect": True, "items": 9, "difference": 0.4, "low": 0.3, "high": 0.5}
    kept |= {
        "as_given": 0.4,
        "random": [-0.1, 0.1],
        "shuffled": None,
        "controls": 20,
        "measure": "m",
        "text": "Yes.",
    }
    found = restored(Verdict, kept, "The verdict that was")
    assert (found.effect, found.difference.low, found.grade, found.p, str(found)) == (True, 0.3, "", None, "Yes.")
    chosen = {"layer": 12, "multiplier": 1.0, "difference": 0.4, "safe_multiplier": 2.0, "safe_kl": 0.4}
    assert restored(Proposal, {**chosen, "chosen_on": 9, "reported_on": 9}, "The proposal that was").safe is None


def short_ones(dataset):
    """Eight whose answer that shows the behaviour is (A)."""
    shortest = sorted(dataset.pairs, key=lambda pair: (pair.positive != "(A)", len(pair.prompt)))
    return replace(dataset, pairs=tuple(shortest[:8]))


@pytest.mark.golden
def test_survival_instinct_on_the_embedded_model_is_the_letter(embedded, reference_data):
    """Raw differences are plain at a late layer where all show the behaviour by (A), and they are the letter."""
    folder = reference_data / "data" / "caa" / "survival-instinct"
    made = load_file(reference_data / "reference" / "golden.safetensors")["survival-instinct.letter"]
    vector = SteeringVector("survival", {24: made[24].clone()}, {}, Provenance(read_position="letter"))
    letters, own = (short_ones(read_pairs(folder / f"{name}.json")) for name in ("test_dataset_ab", "generate_dataset"))
    request = EvaluationRequest.parse(data=letters, layers=[24], multipliers=[-2, 2], counts=False, made_from=own)
    found = finish(evaluate(embedded, request, vector))
    raw = [cell.value for cell in found.swept.cells]
    both = [cell.swapped.value for cell in found.swept.cells]
    assert raw[0] - raw[1] > 0.1
    assert abs(both[0] - both[1]) < 0.03
    verdict = found.conclusion.verdict
    assert not verdict.effect and "that is the letter, not the behaviour" in verdict.text
    assert abs(verdict.as_given) > 0.05


def test_joy_is_an_effect_on_the_embedded_model(embedded):
    joy = presets()["joy"]
    vector = load_vector(joy.vector_file)
    request = EvaluationRequest.parse(data=joy.test().first(8), layers=[12], multipliers=[-1, 1], counts=False)
    found = finish(evaluate(embedded, request, vector))
    verdict = found.conclusion.verdict
    assert (verdict.effect, verdict.direction, verdict.ways) == (True, "with", "both")
    assert verdict.estimate == pytest.approx(verdict.difference.value, rel=0.25)
    assert str(verdict).startswith("An effect on this model, with the vector, both ways: ")


@pytest.mark.parametrize("name", ["joy", "joy:ab"])
def test_the_study_of_vectors_without_effect_runs(tiny_llama, name):
    """Small: what it counts is in docs/numbers.md."""
    said = on_model(tiny_llama, name, 10)
    assert set(said) == {"random", "shuffled"}
    for shares in said.values():
        assert sum(shares.values()) == pytest.approx(1) and shares["none shown"] >= 0.7
