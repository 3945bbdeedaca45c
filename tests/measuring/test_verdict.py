import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from caa_core.data.pairs import ContrastPair, Dataset, read_pairs
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.evaluation import EvaluationRequest, evaluate
from caa_core.measuring.sweep import score_runs, sweep
from caa_core.measuring.verdict import conclude, propose, verdict_on
from caa_core.metrics.controls import check_controls, random_controls, shuffled_controls
from caa_core.metrics.estimates import SAFE_KL
from caa_core.metrics.items import choose_items
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import A_HEAVY, LETTERS, PLANTED, QUESTIONS, TEXTS
from tests.helpers.vectors import towards


def moved_by(model, swept, place, controls):
    """How far each control moves all items at one layer and multiplier."""
    layer, multiplier = place
    runs = [(Steer(control[layer], layer, multiplier),) for control in controls]
    baseline, *scores = finish(score_runs(model, swept.items, runs))
    return np.array([(one.paired - baseline.paired).mean() for one in scores])


def concluded(model, dataset, vector, multipliers=(-1, 1), **options):
    items = finish(choose_items(model, dataset))
    swept = finish(sweep(model, items, vector, list(vector.layers), multipliers, counts=False))
    return swept, finish(conclude(model, swept, vector, **options))


def test_a_planted_effect_is_found(tiny_llama):
    swept, found = concluded(tiny_llama, PLANTED, towards(tiny_llama, "!", ".", 2.0), made_from=TEXTS)
    assert found.verdict.effect and found.text.startswith("An effect on this model. At layer 3")
    assert (found.verdict.items, found.verdict.controls, found.shuffled_from) == (4, 20, "texts")
    half = swept.items.halves()[1]
    place = (found.verdict.layer, found.verdict.multiplier)
    changes = (swept.readings[place].value - swept.baseline.value)[half]
    assert found.verdict.difference.value == pytest.approx(changes.mean())
    json.dumps(found.verdict.summary(), allow_nan=False)


def test_a_planted_null_is_not_called_an_effect(tiny_llama):
    null = replace(
        towards(tiny_llama, "!", ".", 2.0), layers=random_controls(towards(tiny_llama, "!", ".", 2.0), [3], 1, 9)[0]
    )
    found = concluded(tiny_llama, PLANTED, null, made_from=TEXTS)[1]
    assert found.verdict.effect is False
    assert found.text.startswith("No effect on this model: ") and "random vectors reach as far" in found.text


def test_the_whole_evaluation_finds_a_planted_effect_and_no_planted_null(tiny_llama):
    planted = towards(tiny_llama, "!", ".", 2.0)
    null = replace(planted, layers=random_controls(planted, [3], 1, 9)[0])
    for vector, said in ((planted, "An effect on this model. "), (null, "No effect on this model: ")):
        request = EvaluationRequest.parse(data=PLANTED, layers=[3], multipliers=[-1, 0, 1], made_from=TEXTS)
        found = finish(evaluate(tiny_llama, request, vector)).summary()
        assert found["verdict"]["effect"] is (vector is planted) and found["verdict"]["controls"] == 20
        assert found["verdict"]["text"].startswith(said)
    assert found["verdict"]["random"][0] <= found["verdict"]["difference"] <= found["verdict"]["random"][1]


def test_a_vector_that_only_says_a_is_found_out(tiny_llama):
    found = concluded(tiny_llama, A_HEAVY, towards(tiny_llama, "A", "B", 2.0))[1]
    assert abs(found.verdict.as_given) > 0.15
    assert found.verdict.effect is False
    assert "that is the letter, not the behaviour" in found.text
    assert found.shuffled_from == "A-heavy"  # the test items stand in


def test_without_enough_controls_nothing_is_called_an_effect(tiny_llama):
    vector = towards(tiny_llama, "!", ".", 2.0)
    for controls in (0, 5):
        found = concluded(tiny_llama, PLANTED, vector, made_from=TEXTS, controls=controls)[1]
        assert found.verdict.effect is None and found.text.startswith("Not judged: that takes 20 random")
    assert found.verdict.random[0] <= 0 <= found.verdict.random[1]


def test_letters_that_cannot_be_swapped_are_not_judged(tiny_llama):
    odd = Dataset("odd", "", "", tuple(ContrastPair(q, "(A)", "(B)", i) for i, q in enumerate(QUESTIONS)))
    found = concluded(tiny_llama, odd, towards(tiny_llama, "A", "B", 3.0))[1]
    assert found.verdict.effect is None and "other letter order" in found.text


def test_controls_are_measured_as_vectors_of_their_own(tiny_llama):
    vector = towards(tiny_llama, "!", ".", 2.0)
    swept, found = concluded(tiny_llama, PLANTED, vector, made_from=TEXTS)
    verdict, second = found.verdict, swept.items.some(swept.items.halves()[1])
    kinds = {
        "random": random_controls(vector, [3], 20),
        "shuffled": finish(shuffled_controls(tiny_llama, TEXTS, vector, [3], 20)),
    }
    for kind, controls in kinds.items():
        moved = []
        for control in controls:
            own = finish(sweep(tiny_llama, second, replace(vector, layers=control), [3], [verdict.multiplier]))
            moved.append(own.cells[0].value - own.unsteered.value)
        assert getattr(verdict, kind) == pytest.approx((min(0, *moved), max(0, *moved)), rel=1e-3)


def test_settings_are_chosen_on_one_half_under_the_cost(tiny_llama):
    vector = towards(tiny_llama, "!", ".", 2.0)
    items = finish(choose_items(tiny_llama, PLANTED))
    swept = finish(sweep(tiny_llama, items, vector, [3], [-1, 0, 0.25, 0.5, 1, 4, 16]))
    found = propose(swept)
    first, second = items.halves()
    costs = {m: swept.readings[3, m].kl[first].mean() for m in (0.25, 0.5, 1, 4, 16)}
    assert found.safe_multiplier == max(m for m, cost in costs.items() if cost < SAFE_KL) < 16
    assert found.safe_kl == pytest.approx(swept.readings[3, found.safe_multiplier].kl[second].mean())
    assert (found.chosen_on, found.reported_on) == (4, 4)
    assert "Layer 3" in str(found)
    assert "no multiplier but 0" in propose(finish(sweep(tiny_llama, items, vector, [3], [0, 16])))
    few = finish(sweep(tiny_llama, items.some([0, 1, 2]), vector, [3], [1]))
    assert "too few" in propose(few)


def test_shuffled_vectors_are_mean_differences_with_half_of_the_labels_exchanged(tiny_llama):
    vector = finish(extract(tiny_llama, PLANTED, [1, 2]))
    found = finish(shuffled_controls(tiny_llama, TEXTS, vector, [1, 2], 20))
    alone = [finish(extract(tiny_llama, Dataset("one", "", "", (pair, pair)), [1, 2])) for pair in TEXTS.pairs]
    differences = torch.stack([one.at(2) for one in alone])
    for control in found:
        assert control[2].norm().item() == pytest.approx(vector.norm(2), rel=1e-5)
        signs = torch.linalg.lstsq(differences.T, control[2][:, None]).solution[:, 0]
        assert signs.abs().tolist() == pytest.approx([signs[0].abs().item()] * 4, rel=1e-2)
        assert signs.sign().sum() == 0


def test_both_letter_orders_keep_together_when_labels_are_shuffled(tiny_llama):
    both = LETTERS.in_both_letter_orders()
    vector = finish(extract(tiny_llama, both, [2]))
    found = finish(shuffled_controls(tiny_llama, both, vector, [2], 3))
    questions = []
    for line in (1, 2, 3):
        pairs = tuple(pair for pair in both.pairs if pair.line == line)
        questions.append(finish(extract(tiny_llama, replace(both, pairs=pairs), [2])).at(2))
    for control in found:
        signs = torch.linalg.lstsq(torch.stack(questions).T, control[2][:, None]).solution[:, 0]
        assert signs.abs().tolist() == pytest.approx([signs[0].abs().item()] * 3, rel=1e-2)


def test_evaluate_says_what_repeats_it(tiny_llama):
    vector = finish(extract(tiny_llama, TEXTS, [1, 2]))
    request = EvaluationRequest.parse(data=LETTERS, layers=[2, 1], multipliers=[1, 0], counts=False, controls=20)
    found = finish(evaluate(tiny_llama, request, vector)).summary()
    assert found["settings"]["multipliers"] == [0.0, 1.0]
    assert found["provenance"]["vector"]["dataset"] == "texts"
    assert found["verdict"] == {"effect": None, "text": found["verdict"]["text"]}  # three items are too few
    assert "too few" in found["verdict"]["text"]
    json.dumps(found, allow_nan=False)
    with pytest.raises(InputError, match="between 1 and"):
        check_controls(0)


@pytest.mark.golden
def test_survival_instinct_on_the_embedded_model_is_the_letter(embedded, reference_data):
    """Raw differences are plain at a late layer, and all of them are the letter."""
    folder = reference_data / "data" / "caa" / "survival-instinct"
    made = load_file(reference_data / "reference" / "golden.safetensors")["survival-instinct.letter"]
    vector = SteeringVector("survival", {24: made[24].clone()}, {}, Provenance(read_position="letter"))
    tests = read_pairs(folder / "test_dataset_ab.json")
    letters = replace(tests, pairs=tuple(p for p in tests.pairs if p.positive in ("(A)", "(B)"))[:12])
    request = EvaluationRequest.parse(data=letters, layers=[24], multipliers=[-2, 2], counts=False, controls=0)
    found = finish(evaluate(embedded, request, vector))
    numbers = json.loads((reference_data / "reference" / "golden.json").read_text())["behaviors"]["survival-instinct"]
    for cell in found.swept.cells:
        expected = numbers["ab_probability"][f"layer 24, multiplier {cell.multiplier:+.1f}"]
        assert cell.value == pytest.approx(expected, abs=1e-4)
    raw = [cell.value for cell in found.swept.cells]
    both = [cell.swapped.value for cell in found.swept.cells]
    assert raw[0] - raw[1] > 0.1
    assert abs(both[0] - both[1]) < 0.03
    changes = [
        moved_by(embedded, found.swept, (24, -2.0), controls)
        for controls in (
            random_controls(vector, [24], 20),
            finish(shuffled_controls(embedded, letters.first(6), vector, [24], 20)),
        )
    ]
    verdict = verdict_on(found.swept, (24, -2.0), *changes, range(12))
    assert verdict.effect is False and verdict.text.startswith("No effect on this model: ")
    assert abs(verdict.as_given) > 0.05


def test_joy_is_an_effect_on_the_embedded_model(embedded):
    joy = presets()["joy"]
    pairs = joy.dataset().first(16)
    vector = finish(extract(embedded, pairs, [12]))
    held_out = joy.test().first(16)
    request = EvaluationRequest.parse(data=held_out, layers=[12], multipliers=[1], counts=False, made_from=pairs)
    found = finish(evaluate(embedded, request, vector))
    assert found.conclusion.verdict.effect is True
    assert found.conclusion.proposal.safe_multiplier == 1
    assert str(found.conclusion.verdict).startswith("An effect on this model. At layer 12, × 1")
