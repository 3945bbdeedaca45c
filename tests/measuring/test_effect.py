import json

import pytest
import torch

from caa_core.measuring.effect import Effect, measure
from caa_core.metrics.controls import random_vectors
from caa_core.progress import Progress, finish
from caa_core.steering.interventions import Steer
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score
from tests.helpers.data import TEXTS


def test_random_vectors_have_the_norm_and_nothing_else_in_common():
    vector = torch.arange(64.0)
    drawn = random_vectors(vector, 20)
    assert [v.norm().item() for v in drawn] == pytest.approx([vector.norm().item()] * 20, rel=1e-5)
    stacked = torch.stack([vector, *drawn])
    cosines = torch.nn.functional.normalize(stacked) @ torch.nn.functional.normalize(stacked).T
    assert (cosines - torch.eye(21)).abs().max() < 0.6
    assert torch.equal(drawn[3], random_vectors(vector, 20)[3])


def test_repetition():
    assert repetition(range(40)) == 0
    assert repetition([1, 2, 3, 4] * 10) == pytest.approx(33 / 37)
    assert repetition([1, 2]) == 0


def test_a_planted_effect_is_found_and_a_random_vector_has_none(tiny_llama):
    planted = _uphill(tiny_llama, TEXTS.pairs, layer=2)
    events = []
    found = finish(measure(tiny_llama, TEXTS.pairs, planted, 2, 1.0), events.append)
    assert found.effect.low > 0 and found.beaten == 20 and found.kl > 0
    scores = finish(score(tiny_llama, TEXTS.pairs, [(Steer(planted, 2, 1.0),)]))
    assert found.effect.value == pytest.approx((scores.preference[1] - scores.preference[0]).mean().item(), abs=1e-5)
    assert found.kl == pytest.approx(scores.kl[1].mean().item(), rel=1e-5)
    assert any(isinstance(event, Progress) for event in events)
    nothing = finish(measure(tiny_llama, TEXTS.pairs, random_vectors(planted, 3, seed=9)[2], 2, 1.0))
    assert nothing.beaten < 20 and nothing.effect.value < found.effect.value / 2
    json.dumps(found.summary(), allow_nan=False)
    assert f"{found.effect.value:+.2f} nats" in str(Effect.of(found.summary()))


def _uphill(model, pairs, layer, size=3.0):
    """The best of many random directions and its sums with others: no gradient, but plainly better than chance."""
    best = torch.zeros(model.hidden_size)
    for seed in range(3):
        steps = random_vectors(torch.ones(model.hidden_size), 30, seed)
        tried = [torch.nn.functional.normalize(best + step, dim=0) * size for step in steps]
        scores = finish(score(model, pairs, [(Steer(v, layer, 1.0),) for v in tried]))
        best = tried[(scores.preference[1:] - scores.preference[0]).mean(1).argmax()]
    return best
