"""The study of what is said of vectors before anything is steered: numbers that follow from planted ones."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from benchmarks import will_it_steer
from benchmarks.will_it_steer import (
    STRENGTH,
    Measured,
    Row,
    Source,
    coverage,
    half_exchanged,
    held,
    measured,
    prediction,
    report,
    sources,
    spearman,
)
from caa_core.data.presets import presets
from caa_core.measuring.study import ROLE, asked_of
from caa_core.measuring.study_results import AS_IS, ASKED, BARE, IN_A_ROLE
from caa_core.metrics.estimates import exact
from caa_core.model.prompts import ask
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from caa_core.vectors.known_directions import make
from tests.helpers.data import PLANTED


def test_rank_correlations_are_those_of_scipy():
    drawn = np.random.default_rng(0).integers(0, 5, (3, 2, 14)).astype(float)
    assert spearman(drawn[:, 0], drawn[:, 1]) == pytest.approx([spearmanr(*both)[0] for both in drawn])
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_what_predicts_is_told_from_what_cannot_be_told():
    x = np.arange(40.0)
    same = prediction(x, x**3)
    assert (same.rho.value, same.rho.low, same.said) == (pytest.approx(1), pytest.approx(1), "predicts it")
    assert prediction(x, -x).said == "predicts the opposite"
    assert same.by_chance == (pytest.approx(-0.31, abs=0.04), pytest.approx(0.31, abs=0.04))
    few = np.random.default_rng(0).normal(size=(2, 10))
    assert prediction(*few).said == "cannot tell" == prediction(np.ones(10), few[0]).said
    # One vector that stands apart is drawn in two of three samples: the others tell nothing.
    alone = prediction([*[1.0] * 9, 0.0], [*range(1, 10), 0.0])
    assert alone.rho.low == -1 and alone.said == "cannot tell"


def test_intervals_hold_the_true_correlation_about_as_often_as_they_say():
    assert coverage(14, 0.5, runs=60) > 0.85


def row(name, effect, grade="may steer", texts=True, **others):
    """A vector of which the prompts change by so much, and a little more or less."""
    spread = np.linspace(-0.2, 0.2, 12)
    ways = {
        way: Measured(tuple(size + spread), (0.01,), 0.1, (0.5,)) for way, size in {AS_IS: effect, **others}.items()
    }
    told = dict.fromkeys(("agreement", "reliability", "d_prime", "auc"), effect)
    return Row(name, texts, grade, 0.01, told, ways)


def test_what_holds_is_counted_of_what_held_as_it_was():
    rows = [row("a", 1.0, **{IN_A_ROLE: 0.5}), row("b", 2.0, **{IN_A_ROLE: 0.0}), row("c", 0.0, **{IN_A_ROLE: 1.0})]
    said = "2 of 3 vectors move answers their way as the items are. Of these, in a role: 1 of 2, with 0.25 times the "
    assert held(rows).startswith(said)
    assert rows[0].measured[AS_IS].right_way == 1 and row("d", 0.1).measured[AS_IS].right_way == 0.75
    right = row("d", 0.1).measured[AS_IS].right_share
    assert (right.low, right.high) == exact(9, 12) and Measured((0.0, 0.0), (), 0.0).right_way == 0.5
    assert Row.of(json.loads(json.dumps(asdict(rows[0])))) == rows[0]


def test_the_report_says_what_was_said_wrongly(monkeypatch):
    monkeypatch.setattr(will_it_steer, "coverage", lambda *_: 0.95)
    rows = [row(f"v{i}", 0.1 * i, **{IN_A_ROLE: 0.1 * i}) for i in range(10)] + [
        row("w", 1.0, "not likely", texts=False)
    ]
    text = report(rows, [row("v1, half exchanged", 0.0, "not likely")], "tiny", 3)
    assert (
        "10 of 11 are said to be ones that may steer. Said otherwise than measured: v0 (may steer), w (not likely)."
        in text
    )
    assert "**In short**: 10 of 11 vectors are said to be ones that may steer, and 9 of these do." in text
    assert "1 of 1 presets' vectors are called not likely to steer; 0 of them move answers their way." in text
    assert "of the texts alone 8 of 8 can be told. " in text and "| +1.00 (+0.92 to +1.08) | 0.01 | 100% (" in text
    assert "| auc | +1.00 | +1.00 to +1.00 |" in text and "predicts it" in text and ROLE in text


def test_what_is_measured_is_what_a_direct_score_says(tiny_llama):
    source = Source("planted", PLANTED, PLANTED)
    found = finish(measured(tiny_llama, source, (AS_IS, IN_A_ROLE, BARE)))
    assert found.grade == "may steer" and list(found.measured) == [AS_IS, IN_A_ROLE, BARE]
    vector, layer = finish(make(tiny_llama, PLANTED)), 1
    assert found.told["agreement"] == pytest.approx(vector.diagnostics.layers[layer].agreement.value)
    assert found.told["cosine to letter, either way"] == abs(vector.diagnostics.overlap["letter"][layer].value)
    direction = vector.at(layer) / vector.norm(layer) * STRENGTH * vector.residual_norms[layer]
    steers = [(Steer(direction, layer, sign),) for sign in (1.0, -1.0)]
    for way, system, model in (
        (AS_IS, "", tiny_llama),
        (IN_A_ROLE, ROLE, tiny_llama),
        (BARE, "", asked_of(tiny_llama, BARE)),
    ):
        up, down = finish(score(model, PLANTED.pairs, steers, system=system)).preference[1:].double()
        assert found.measured[way].changes == pytest.approx(((up - down) / 2).tolist(), abs=1e-4)
        others = will_it_steer.CONTROLS if way == AS_IS else 0
        assert len(found.measured[way].random) == len(found.measured[way].random_right) == others
    weak = [(Steer(direction, layer, sign * 1e-3),) for sign in (1.0, -1.0)]
    up, down = finish(score(tiny_llama, PLANTED.pairs, weak)).preference[1:].double().mean(1)
    assert found.told[will_it_steer.ESTIMATE] == pytest.approx((up - down).item() / 2e-3, rel=0.02)
    assert ask(asked_of(tiny_llama, BARE).tokenizer, "Rain?").text == "Input: Rain?\nResponse:"
    assert torch.equal(asked_of(tiny_llama, BARE).module.lm_head.weight, tiny_llama.module.lm_head.weight)


def test_half_of_the_pairs_are_exchanged():
    pairs, turned = PLANTED.pairs, half_exchanged(Source("planted", PLANTED, PLANTED)).pairs.pairs
    assert [pair.positive for pair in turned] == ["!!", ".."] * 4 and [pair.prompt for pair in turned] == [
        pair.prompt for pair in pairs
    ]


def test_all_presets_are_studied_in_two_wordings():
    found = list(sources())
    assert [one.name for one in found] == list(presets()) and len(ASKED) == 4
    for one in found:
        assert len(one.test.pairs) == len(one.reworded.pairs) == will_it_steer.ITEMS
        assert one.vector.provenance.dataset_sha256 == one.pairs.sha256
