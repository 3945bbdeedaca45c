"""What steering costs on a test whose right answers are known: planted models that know, that do not, that are hurt."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.cli.main import main
from caa_core.errors import InputError
from caa_core.measuring.costs.knowledge import (
    OWN,
    Knowledge,
    KnowledgeLevel,
    examine,
    find_questions,
    levels_of,
    questions,
)
from caa_core.measuring.requests import KnowledgeRequest
from caa_core.measuring.sweep import RunScores
from caa_core.metrics.controls import random_vectors
from caa_core.metrics.correction import paired_p
from caa_core.metrics.estimates import Estimate
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.models import save_tiny


def request_for(data, layer=2, **options):
    return KnowledgeRequest.parse(data=data, layer=layer, **options)


def test_the_questions_that_ship_are_forty_with_letters_in_balance():
    found = questions()
    assert len(found.pairs) == len({pair.prompt for pair in found.pairs}) == 40
    assert [pair.positive for pair in found.pairs].count("(A)") == 20
    assert all(pair.swapped() for pair in found.pairs)
    assert find_questions(OWN) == found and find_questions("joy:ab").is_lettered


def vector(model, size=2.0, seed=3):
    direction = random_vectors(torch.ones(model.hidden_size), 1, seed)[0]
    return SteeringVector("some", {2: direction / direction.norm() * size}, {}, Provenance())


def test_numbers_are_those_of_a_direct_score_in_both_letter_orders(tiny_llama):
    test, steering = questions().first(6), vector(tiny_llama)
    found = finish(examine(tiny_llama, request_for(test, multipliers=[-1, 0, 1], controls=3), steering))
    assert [row.multiplier for row in found.rows] == [0, -1, 1]
    asked = [*test.pairs, *(pair.swapped() for pair in test.pairs)]
    beside = random_vectors(steering.at(2), 3)
    for row in found.rows[1:]:
        runs = [(Steer(one, 2, row.multiplier),) for one in (steering.at(2), *beside)]
        first, second = finish(score(tiny_llama, asked, runs)).probability.double().chunk(2, dim=1)
        both = (first + second) / 2
        right = (both > 0.5).double().mean(1)
        assert row.probability.value == pytest.approx(both[1].mean().item(), abs=1e-5)
        assert row.probability_change.value == pytest.approx((both[1] - both[0]).mean().item(), abs=1e-5)
        found_right = (row.accuracy.value, row.accuracy_change.value)
        assert found_right == pytest.approx((right[1].item(), (right[1] - right[0]).item()))
        moved = (right[2:] - right[0]).tolist()
        assert row.random == pytest.approx((min(0, *moved), max(0, *moved)))
    assert Knowledge.of(json.loads(json.dumps(found.summary(), allow_nan=False))) == found
    with pytest.raises(InputError, match="cannot be read"):
        Knowledge.of({"rows": 3})


def test_a_model_at_chance_has_nothing_to_lose(tiny_llama):
    found = finish(examine(tiny_llama, request_for(questions().first(8), controls=2), vector(tiny_llama, 30.0)))
    p = [paired for row in found.rows[1:] for paired in (row.p_accuracy, row.p_probability)]
    assert len(p) == 4 and all(0 <= one <= 1 for one in p) and found.rows[0].p_accuracy is None
    assert not found.answers
    assert str(found).startswith("This test cannot show a loss: unsteered, the model is not shown to answer")
    twice = questions().first(4)
    twice = replace(twice, pairs=twice.pairs + tuple(replace(pair, line=pair.line + 90) for pair in twice.pairs))
    few = finish(examine(tiny_llama, request_for(twice, controls=0), vector(tiny_llama, 30.0)))
    assert str(few).startswith("Not judged: 4 questions are too few for a verdict"), "the same again is no other one"


def answered(multiplier, accuracy, change, random, probability=0.8, p=0.01):
    changed = Estimate(change, change - 0.05, change + 0.05)
    return KnowledgeLevel(
        multiplier=multiplier,
        accuracy=Estimate(accuracy, accuracy - 0.05, accuracy + 0.05),
        probability=Estimate(probability, probability - 0.1, probability + 0.1),
        accuracy_change=changed,
        probability_change=changed,
        random=random,
        mass=0.9,
        kl=0.1,
        p_accuracy=p,
        p_probability=p,
    )


def test_what_is_lost_is_said_beside_random_vectors():
    rows = (
        answered(0.0, 0.9, 0.0, None),
        answered(-1.0, 0.6, -0.3, (-0.1, 0.0)),
        answered(1.0, 0.7, -0.2, (-0.25, 0.0)),
        answered(0.5, 0.89, -0.01, (-0.1, 0.0)),
    )
    found = Knowledge("some", "test", 2, 40, (), 0, 20, rows)
    unsteered, down, up, half = str(found).splitlines()
    assert unsteered.startswith("Unsteered: 90% of 40 questions of test right (85% to 95%)")
    assert down.startswith("Layer 2, × -1 costs capability: accuracy -30 points (-35 to -25)")
    assert down.endswith("change accuracy by -10 to +0, none as much.")
    assert up.endswith("change accuracy by -25 to +0, as much.")
    assert half.startswith("Layer 2, × 0.5: no loss of capability is shown (one of 6 points or less is not ruled out)")
    alike = Estimate(0.0, -math.inf, math.inf)
    same = replace(rows[3], accuracy_change=alike, probability_change=alike)
    none = str(replace(found, rows=(rows[0], same))).splitlines()[1]
    assert "no loss of capability is shown (one of any size is not ruled out): accuracy +0 points (none)" in none
    assert not replace(found, rows=(answered(0.0, 0.54, 0.0, None), *rows[1:])).answers
    listed = replace(found, rows=(rows[0], answered(-1.0, 0.8, -0.06, None, p=0.06)))
    assert "no loss of capability is shown (one of 11 points" in str(listed), "clear alone, not among all multipliers"
    before = replace(found, rows=(rows[0], answered(-1.0, 0.8, -0.06, None, p=None)))
    assert "× -1 costs capability" in str(before), "what was kept before there was a p"
    assert str(replace(found, questions=7)).startswith("Not judged: 7 questions are too few for a verdict")


def test_what_is_no_test_of_knowledge_is_refused(tiny_llama):
    with pytest.raises(InputError, match="texts is no test of knowledge: its answers must be letters"):
        request_for(TEXTS)
    with pytest.raises(InputError, match="no layer 77"):
        finish(examine(tiny_llama, request_for(LETTERS, layer=77), vector(tiny_llama)))


def test_cost_on_the_command_line(capsys, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("It rained all day, and the streets were empty.")
    given = [
        "cost",
        "--model",
        str(save_tiny(tmp_path / "tiny")),
        "--dtype",
        "float32",
        "--vector",
        "joy",
        "--layer",
        "1",
    ]
    few = ["--multipliers=-1,1", "--text", str(text), "--control-seeds", "2"]
    assert main([*given, *few, "--data", OWN, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["multiplier"] for row in found["text"]["steered"]] == [-1, 1]
    assert found["test"]["questions"] == 40 and found["test"]["controls"] == 2
    assert [row["multiplier"] for row in found["test"]["rows"]] == [0, -1, 1]
    assert main([*given, *few, "--strength", "0.2"]) == 0
    said = capsys.readouterr().out
    assert "perplexity" in said and "nothing to lose" not in said
    assert "asked for: 0.2. On" in said
    text.write_bytes(b"\xff\xfe\x00")
    for wrong, message in ((["--text", str(text)], "cannot be read as a text"), (["--data", "joy"], "no test of know")):
        assert main([*given, "--multipliers=1", "--control-seeds", "1", *wrong]) == 2
        assert message in capsys.readouterr().err


def test_losses_are_corrected_over_both_measures_at_all_multipliers():
    """The probability of the right answer is told from the unsteered one by itself, and is not among several."""
    lost = 0.065 + np.linspace(-0.1, 0.1, 8)
    raw = float(paired_p(-lost[None])[0])
    before, after = (RunScores(value, value, np.ones(8), np.zeros(8)) for value in (np.full(8, 0.9), 0.9 - lost))
    for multipliers in ((1.0,), (-1.0, 1.0)):
        _, *rows = levels_of(before, {m: [after] for m in multipliers}, range(8))
        assert raw <= 0.05 and all(row.probability_change.high < 0 and not row.costs for row in rows)
        assert [row.p_probability for row in rows] == pytest.approx([2 * len(rows) * raw] * len(rows))
