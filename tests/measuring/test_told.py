"""System prompts beside a vector."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.app.panels.measuring.evaluation import verdict_in_words
from caa_core.data.presets import presets
from caa_core.measuring.evaluation import Evaluation, evaluate, pack, unpack
from caa_core.measuring.requests import EvaluationRequest
from caa_core.measuring.told import NONE_KNOWN, NOT_ASKED, BesidePrompts
from caa_core.measuring.verdict import KeptNumbers
from caa_core.metrics.estimates import ROUNDING
from caa_core.metrics.plain_data import plain, restored
from caa_core.progress import finish
from caa_core.reports.evaluation import report_of, told_in_words
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from tests.helpers.data import A_HEAVY, PLANTED
from tests.helpers.models import make_tiny
from tests.helpers.reference import modules
from tests.helpers.vectors import towards

WORDINGS = ("Be glad.", "You are very glad, and have been for a long time.")


def measured(model, vector, data=PLANTED, known=None, **options):
    options = {"multipliers": "-1,1", "counts": False, "controls": 0, "told": WORDINGS} | options
    return finish(evaluate(model, EvaluationRequest.parse(data=data, **options), vector, known))


@pytest.mark.parametrize("data", [PLANTED, A_HEAVY], ids=["texts", "letters"])
def test_the_numbers_are_those_of_scoring_with_that_system_prompt(tiny_llama, data):
    vector = towards(tiny_llama, "!", ".", 2.0)
    found = measured(tiny_llama, vector, data)
    told = found.conclusion.verdict.told
    assert [one.told for one in told.wordings] == list(WORDINGS)
    assert {(cell.layer, cell.multipliers) for cell in told.cells} == {(3, (1.0,))}
    verdict = found.conclusion.verdict
    assert told.vector.difference.value == pytest.approx(verdict.positive.value, abs=1e-6)
    asked, of = found.swept.items.both_orders()
    run = (Steer(vector.at(3), 3, 1.0),)

    def values(scores):
        read = scores.probability if data is A_HEAVY else scores.preference
        return np.array([np.bincount(of, row) / np.bincount(of) for row in read])

    plainly = values(finish(score(tiny_llama, asked)))[0]
    for one in told.wordings:
        alone, together = values(finish(score(tiny_llama, asked, [run], system=one.told))) - plainly
        assert one.alone.difference.value == pytest.approx(alone.mean(), abs=1e-4)
        assert one.together.difference.value == pytest.approx(together.mean(), abs=1e-4)
        assert one.alone.away.value == pytest.approx((alone < -ROUNDING).mean())
        assert one.alone.kl > 0.01 and one.together.kl > 0.01


def test_a_prompt_that_changes_nothing_gives_0():
    """Where no token sees another one, an answer's tokens are what they are behind any prompt."""
    model = make_tiny("llama")
    for block in modules(model):
        torch.nn.init.zeros_(block.self_attn.o_proj.weight)
    told = measured(model, towards(model, "!", ".", 2.0)).conclusion.verdict.told
    assert told.vector.difference.value > 0.05 and told.vector.kl > 0.001
    for one in told.wordings:
        assert abs(one.alone.difference.value) < 1e-6 and one.alone.kl < 1e-6 and one.alone.away is None
        assert plain(one.together) == pytest.approx(plain(told.vector), abs=1e-5)


def test_only_negative_multipliers_are_taken_where_no_others_were_tried(tiny_llama):
    vector = towards(tiny_llama, "!", ".", 2.0)
    told = measured(tiny_llama, vector, multipliers="-2,-1").conclusion.verdict.told
    assert {multiplier for cell in told.cells for multiplier in cell.multipliers} < {-2.0, -1.0}
    assert told.vector.difference.value < 0 and told.vector.away.value == 1


def test_a_presets_wordings_stand_beside_its_vector_and_any_other_one_on_its_items(tiny_llama):
    vector = towards(tiny_llama, "!", ".", 2.0)
    joy, gloom = presets()["joy"], presets()["gloom"]
    made = replace(vector, provenance=replace(vector.provenance, dataset_sha256=gloom.dataset().sha256))
    few = joy.test().first(2)
    for one, preset in ((vector, joy), (made, gloom)):
        told = measured(tiny_llama, one, few, told=(), prompts=True).conclusion.verdict.told
        assert told.behaviour == preset.name and tuple(each.told for each in told.wordings) == preset.wordings
    none = measured(tiny_llama, vector, told=(), prompts=True).conclusion.verdict.told
    assert none == BesidePrompts(why=NONE_KNOWN) and "--told" in str(none)
    alone = measured(tiny_llama, vector, told=())
    assert alone.conclusion.verdict.told is None
    report = report_of(json.loads(json.dumps(alone.summary())))
    assert report.text.endswith(NOT_ASKED) and NOT_ASKED in [section.text for section in report.sections]
    assert NOT_ASKED in verdict_in_words(alone.summary(), [])


def test_what_does_not_fit_behind_a_prompt_leaves_the_verdict_as_it_is(tiny_llama):
    long = "glad " * 190
    small = make_tiny("llama", max_position_embeddings=128)
    found = measured(small, towards(small, "!", ".", 2.0), told=[long])
    assert found.swept.cells and "tokens" in found.conclusion.verdict.told.why


def test_what_is_known_is_not_read_again_and_what_is_kept_is_shown(tiny_llama):
    vector, known = towards(tiny_llama, "!", ".", 2.0), KeptNumbers()
    whole = measured(tiny_llama, vector, known=known)
    passes = []
    hook = tiny_llama.blocks[0]._module.register_forward_hook(lambda *_: passes.append(1))
    try:
        again = measured(tiny_llama, vector, known=unpack(json.loads(json.dumps(pack(known)))))
    finally:
        hook.remove()
    assert not passes and str(again.conclusion.verdict.told) == str(whole.conclusion.verdict.told)
    kept = json.loads(json.dumps(whole.summary(), allow_nan=False))
    told = restored(BesidePrompts, kept["verdict"]["told"], "It")
    assert told == whole.conclusion.verdict.told
    assert [row[0] for row in told_in_words(told)] == [
        "the vector alone, layer 3 × 1",
        *(f"told “{one}”{more}" for one in WORDINGS for more in ("", ", and the vector")),
    ]
    report = report_of(kept)
    assert "not comparable" in report.text and "Told “Be glad.”" in report.text
    assert "Beside system prompts" in [section.title for section in report.sections]


def test_a_verdict_is_shown_before_prompts_are_measured(tiny_llama):
    shown = []
    request = EvaluationRequest.parse(data=PLANTED, multipliers="-1,1", counts=False, controls=0, told=WORDINGS)
    finish(evaluate(tiny_llama, request, towards(tiny_llama, "!", ".", 2.0)), shown.append)
    last = [event for event in shown if isinstance(event, Evaluation)][-1]
    assert last.conclusion.verdict and last.conclusion.verdict.told is None
