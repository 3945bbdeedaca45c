import json
from dataclasses import replace

import pytest
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.measuring.effect import Effect, measure
from caa_core.metrics.controls import random_vectors
from caa_core.progress import Progress, finish
from caa_core.steering.interventions import Steer
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score
from tests.helpers.data import PLANTED, QUESTIONS
from tests.helpers.vectors import towards


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


OWN = Dataset("own", "", "", tuple(ContrastPair(f"{q} Say.", "!!! so", "... no", i) for i, q in enumerate(QUESTIONS)))


def test_a_planted_effect_is_found_and_a_random_vector_has_none(tiny_llama):
    planted, events = towards(tiny_llama, "!", ".", 2.0), []
    found = finish(measure(tiny_llama, PLANTED, planted, 3, 1.0, OWN), events.append)
    assert found.effect.low > 0 and found.beaten == found.random_vectors == 999 and found.kl > 0
    assert (found.grade, found.p) == ("effect", 0.002)
    scores = finish(score(tiny_llama, PLANTED.pairs, [(Steer(planted.at(3), 3, 1.0),)]))
    assert found.effect.value == pytest.approx((scores.preference[1] - scores.preference[0]).mean().item(), abs=1e-5)
    assert found.kl == pytest.approx(scores.kl[1].mean().item(), rel=1e-5)
    assert any(isinstance(event, Progress) for event in events)
    assert finish(measure(tiny_llama, PLANTED, planted, 3, -1.0, OWN)).grade == "effect"
    turned = finish(measure(tiny_llama, PLANTED, replace(planted, layers={3: -planted.at(3)}), 3, 1.0, OWN))
    assert turned.grade == "effect" and str(turned).startswith("A backwards effect, against the vector. On 8 ")
    assert str(found).startswith("An effect, with the vector. On 8 held-out prompts")
    assert "new prompts. An effect, with the vector. Price: " in found.in_short
    assert found.wrong_way.startswith(
        "Pushed the wrong way: 0% of the prompts (0% to 37%); random vectors, estimated, "
    )
    again = finish(measure(tiny_llama, PLANTED, planted, 3, 1.0, OWN, written=(0.5, 0.25)))
    assert again == replace(found, repetition_unsteered=0.5, repetition=0.25)
    null = replace(planted, layers={3: random_vectors(planted.at(3), 3, seed=9)[2]})
    nothing = finish(measure(tiny_llama, PLANTED, null, 3, 1.0, OWN))
    assert nothing.grade == "none shown" and str(nothing).startswith("No effect is shown. On 8 held-out prompts")
    few = finish(measure(tiny_llama, replace(PLANTED, pairs=PLANTED.pairs[:7]), planted, 3, 1.0, OWN))
    needed = "Not judged: 7 prompts are too few for a verdict, which takes at least 8."
    assert few.grade == "" and str(few).startswith(f"{needed} On 7 held-out prompts") and needed in few.in_short
    own = replace(OWN, pairs=OWN.pairs[:5])
    assert "Not judged: the vector was made from 5 prompts" in str(
        finish(measure(tiny_llama, PLANTED, planted, 3, 1.0, own))
    )
    json.dumps(found.summary(), allow_nan=False)
    assert f"{found.effect.value:+.2f} nats" in str(Effect.of(found.summary()))


def test_a_card_that_was_measured_before_is_read():
    kept = {"layer": 12, "multiplier": 2.0, "items": 18, "effect": 0.73, "low": 0.61, "high": 0.84}
    kept |= {"random_vectors": 20, "beaten": 20, "kl": 0.6, "repetition": 0.25, "repetition_unsteered": 0.07}
    found = Effect.of(kept)
    assert str(found).startswith("On 18 held-out prompts at layer 12") and "20 of 20 random" in str(found)
    assert found.wrong_way == ""
