import numpy as np
import pytest
from scipy.stats import binomtest

from caa_core.metrics.anti_steerability import AntiSteerable, WrongShares, wrong_shares
from caa_core.metrics.cross_fitting import at_chosen

HUNDRED = np.concatenate([np.full(30, -0.2), np.full(70, 0.3)])


def test_thirty_of_a_hundred_planted_wrong_are_0_30_with_the_exact_interval():
    found = AntiSteerable.of(HUNDRED, range(100))
    exact = binomtest(30, 100).proportion_ci(0.95, "exact")
    assert (found.share.value, found.share.low, found.share.high) == pytest.approx((0.3, exact.low, exact.high))
    assert (found.prompts, found.unchanged) == (100, 0)
    turned = AntiSteerable.of(-HUNDRED, range(100)).share
    assert (turned.value, turned.low, turned.high) == pytest.approx((0.7, 1 - exact.high, 1 - exact.low))
    assert str(found).startswith("0.30 of 100 prompts that move (95% interval 0.21 to 0.40); ")


def test_changes_under_rounding_count_apart():
    found = AntiSteerable.of(np.concatenate([HUNDRED, [0.0, 9e-6, -9e-6]]), range(103))
    assert (found.share, found.prompts, found.unchanged) == (AntiSteerable.of(HUNDRED, range(100)).share, 100, 3)
    nothing = AntiSteerable.of(np.zeros(4), range(4))
    assert (nothing.share, nothing.prompts, nothing.unchanged) == (None, 0, 4)


def test_items_of_one_prompt_count_once_by_their_mean():
    """Copies change nothing, and of two items that are pushed apart the prompt goes with the larger change."""
    assert AntiSteerable.of(np.tile(HUNDRED, 3), np.tile(np.arange(100), 3)) == AntiSteerable.of(HUNDRED, range(100))
    found = AntiSteerable.of(np.array([0.3, -0.1, -0.3, 0.1]), [7, 7, 2, 2])
    assert (found.share.value, found.prompts) == (0.5, 2)
    assert not AntiSteerable.of(np.array([-1.0, -1.0]), [1, 1]).share.has_interval


def test_what_does_nothing_pushes_half_the_wrong_way():
    drawn = np.random.default_rng(0).standard_normal((500, 40))
    drawn[:, :10] = 0
    assert wrong_shares(drawn).mean() == pytest.approx(0.5, abs=0.02)
    assert np.isnan(wrong_shares(np.zeros((1, 5)))).all()


def test_shares_stand_beside_those_of_controls_and_turn_with_the_way():
    shares = WrongShares(0.1, np.linspace(0.2, 0.6, 101), np.array([np.nan]))
    found = AntiSteerable.of(HUNDRED, range(100)).beside(shares)
    assert found.estimate == 0.1 and found.random == pytest.approx((0.21, 0.59)) and found.shuffled is None
    assert "to first order 0.10, where 95% of controls lie, random vectors within 0.21 to 0.59" in str(found)
    turned = AntiSteerable.of(-HUNDRED, range(100)).beside(shares, -1)
    assert turned.estimate == 0.9 and turned.random == pytest.approx((0.41, 0.79))


def test_each_prompt_speaks_where_the_other_half_chose():
    estimates = np.array([[5.0, 0, 1], [0.0, 1, -7]])  # the first half chooses layer 0, the second layer 2
    by_prompt = np.arange(12.0).reshape(4, 3)
    assert at_chosen(estimates, by_prompt, np.array([0, 1, 1, 0])).tolist() == [2, 3, 6, 11]
    both = at_chosen(np.stack([estimates, estimates[::-1]]), np.stack([by_prompt] * 2), np.array([0, 1, 1, 0]))
    assert both.tolist() == [[2, 3, 6, 11], [0, 5, 8, 9]]
