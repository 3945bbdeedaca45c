import json
import math
from dataclasses import replace

import numpy as np
import pytest

from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.costs.answers import answers_on, plain_answers, token_costs
from caa_core.measuring.costs.strength import Strength, as_costly, smallest_factor, strength
from caa_core.progress import finish
from caa_core.steering.interventions import AFTER_PROMPT, Steer, scaled
from caa_core.steering.operations import Operation
from tests.helpers.reference import changes_by, steered_logits
from tests.helpers.vectors import random_vector

ASKED = 0.5


def searched(cost, asked=ASKED, start=0.05, largest=16.0):
    """What is found of a planted function, and how often it was asked."""

    def costs(factors):
        yield from ()
        return [cost(factor) for factor in factors]

    return finish(smallest_factor(costs, asked, start, largest))


def smallest(cost, asked=ASKED, largest=16.0):
    """The same by trying a factor every 0.01%; None without one."""
    factors = np.exp(np.arange(math.log(1e-4), math.log(largest), 1e-4))
    there = np.abs(np.array([cost(factor) for factor in factors]) - asked) <= 0.05 * asked
    return factors[there.argmax()] if there.any() else None


def hump(height, at, width, then):
    """Rises to a height, falls again, and rises later."""
    return lambda m: height * math.exp(-(math.log(m / at) ** 2) / width) + then * m**4


PLANTED = {
    "as it begins": lambda m: 0.8 * m**2,
    "steep": lambda m: 40 * m**2,
    "flat at last": lambda m: 0.6 * (1 - math.exp(-(m**2))),
    "falls after it was there": hump(1.2, 0.8, 0.5, 1e-4),
    "falls before it is there": hump(0.3, 0.8, 0.5, 1e-3),
    "comes just within 5%": hump(0.485, 1.07, 0.3, 1e-4),
    "stays just below 5%": hump(0.465, 1.07, 0.3, 1e-3),
    "its top is between two that are tried": hump(0.55, 0.336, 0.1, 1e-4),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("start", [0.05, 0.003])
def test_the_smallest_factor_is_found_where_cost_is_no_monotone_function(name, start):
    cost = PLANTED[name]
    found, known = searched(cost, start=start)
    assert abs(cost(found) - ASKED) <= 0.05 * ASKED
    assert found == pytest.approx(smallest(cost), rel=0.021)
    assert len(known) < 60 and known[found] == cost(found)


@pytest.mark.parametrize(
    "cost",
    [
        lambda m: 0.4 * (1 - math.exp(-(m**2))),
        lambda m: 0.0,
        hump(0.46, 1.07, 0.3, 0.0),
        lambda m: 0.1 * m if m < 2 else 3.0,  # past it at once
        lambda m: 0.1 * m if m < 2 else math.inf,
    ],
    ids=["levels off", "nothing", "a hump", "a jump", "overflows"],
)
def test_what_is_not_reachable_is_said(cost):
    assert smallest(cost) is None and searched(cost)[0] is None


PAIRS = plain_answers()


def by_hooks(model, answers, steers, factor):
    """KL at each token of answers, one forward pass a token."""
    found = []
    for answer in answers:
        for i in range(answer.start, len(answer.ids)):
            added = changes_by(scaled(steers, factor))
            steered = list(range(answer.start - 1, i))
            before, after = (steered_logits(model, answer.ids[:i], adds, steered) for adds in ([], added))
            before, after = before.log_softmax(-1), after.log_softmax(-1)
            found.append((before.exp() * (before - after)).sum().item())
    return np.array(found)


def test_costs_of_tokens_are_those_of_plain_hooks(tiny_llama):
    ablated = Steer(random_vector(tiny_llama, 2), 3, 0.5, Operation("ablate"))
    steers = (Steer(random_vector(tiny_llama), 2, 1.0), Steer(random_vector(tiny_llama, 1), 1, -0.5), ablated)
    answers = answers_on(tiny_llama, PAIRS[0][:2])
    found = finish(token_costs(tiny_llama, answers, steers, [0, 2.0], AFTER_PROMPT))
    assert (found[0] == 0).all()
    assert found[1] == pytest.approx(by_hooks(tiny_llama, answers, steers, 2.0), rel=1e-2, abs=1e-5)


def test_plain_answers_are_many_in_two_parts_without_a_prompt_in_common(tiny_llama):
    one, other = ({pair.prompt for pair in part} for part in PAIRS)
    assert min(len(one), len(other)) > 40 and not one & other
    made_from = {pair.prompt for preset in presets().values() for pair in preset.dataset().pairs}
    assert not (one | other) & made_from


def test_a_strength_costs_what_is_asked_for_and_as_much_on_fresh_answers(tiny_llama):
    asked, steers = 0.3, (Steer(random_vector(tiny_llama), 2, -1.0),)
    found = finish(strength(tiny_llama, steers, asked))
    assert abs(found.kl - asked) <= 0.05 * asked and found.holds and abs(found.fresh_kl - asked) <= 0.1 * asked
    assert found.p95 > found.kl and found.tokens > 1000 < found.fresh_tokens
    smaller = [cost for factor, cost in found.tried if factor < found.factor / 1.04]
    assert max(smaller) < 0.95 * asked
    answers = answers_on(tiny_llama, PAIRS[0])
    (costs,) = finish(token_costs(tiny_llama, answers, steers, [found.factor], AFTER_PROMPT))
    assert (found.kl, found.p95) == pytest.approx((costs.mean(), np.percentile(costs, 95)))
    kept = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert Strength.of(kept) == found and f"× {found.factor:g} costs" in str(found)


def test_one_is_made_as_strong_as_costs_what_another_does(tiny_llama):
    """Another layer, another length, another sign; and both cost the same in answers read again."""
    like = (Steer(random_vector(tiny_llama), 2, 1.0),)
    steers = (Steer(5 * random_vector(tiny_llama, 1), 1, -1.0), Steer(random_vector(tiny_llama, 3), 3, -2.0))
    found = finish(as_costly(tiny_llama, like, steers, most=4))
    answers = answers_on(tiny_llama, PAIRS[0][:4])
    costs = [
        finish(token_costs(tiny_llama, answers, added, [1.0], AFTER_PROMPT)).mean()
        for added in (like, scaled(steers, found.factor))
    ]
    assert found.wanted == pytest.approx(costs[0]) and costs[1] == pytest.approx(costs[0], rel=0.051)
    assert found.factor != 1 and costs[0] > 0.001
    with pytest.raises(InputError, match="A cost must be between"):
        finish(as_costly(tiny_llama, (replace(like[0], multiplier=0.0),), steers, most=2))


def test_what_cannot_be_asked_for_is_said(tiny_llama):
    steers = (Steer(random_vector(tiny_llama), 2, 1.0),)
    assert "is not reachable: up to ×" in str(finish(strength(tiny_llama, steers, 20.0, most=2)))
    for asked in (0, -1, math.nan, 21):
        with pytest.raises(InputError, match="A cost must be between"):
            finish(strength(tiny_llama, steers, asked))
    with pytest.raises(InputError, match="Nothing is added"):
        finish(strength(tiny_llama, (replace(steers[0], multiplier=0.0),), 0.5))
    with pytest.raises(InputError, match="Nothing lies above the cap"):
        finish(strength(tiny_llama, (replace(steers[0], operation=Operation("cap", 1e6)),), 0.5))


def test_no_more_than_all_of_it_is_taken_away(tiny_llama):
    """Twice an ablation were the mirror image, which costs more."""
    ablated = (Steer(random_vector(tiny_llama), 2, 0.5, Operation("ablate")),)
    answers = answers_on(tiny_llama, PAIRS[0][:2])
    whole, mirrored = finish(token_costs(tiny_llama, answers, ablated, [2.0, 4.0], AFTER_PROMPT)).mean(1)
    found = finish(strength(tiny_llama, ablated, 0.8 * whole, most=2))
    assert found.factor and 1 < found.factor < 2
    beyond = finish(strength(tiny_llama, ablated, (whole + mirrored) / 2, most=2))
    assert whole < mirrored and beyond.factor is None and max(factor for factor, _ in beyond.tried) <= 2
