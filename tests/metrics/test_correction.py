import numpy as np
import pytest
from scipy.stats import ttest_1samp

from caa_core.metrics.correction import holm, max_statistic, paired_p
from caa_core.metrics.cross_fitting import LEVEL
from caa_core.metrics.estimates import means_of, p_of_means

RANDOM = np.random.default_rng(0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1]) and holm([]).tolist() == []


def test_paired_p_is_that_of_a_t_test_over_prompts():
    differences = RANDOM.normal(0.4, 1, (3, 10))
    assert paired_p(differences) == pytest.approx([ttest_1samp(row, 0).pvalue for row in differences])
    twice = np.repeat(differences, 2, axis=1)
    assert paired_p(twice, np.repeat(np.arange(10), 2)) == pytest.approx(paired_p(differences))
    assert paired_p(differences[:, :7]).tolist() == [1, 1, 1], "too few prompts"
    assert paired_p(np.full((1, 10), 0.3)).tolist() == [1], "a spread that was not seen"


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_of_lists_in_which_nothing_differs_one_in_twenty_says_something(shared):
    wrong = []
    for _ in range(300):
        differences = np.sqrt(1 - shared) * RANDOM.standard_normal((6, 12)) + np.sqrt(shared) * RANDOM.standard_normal(
            12
        )
        wrong.append((holm(paired_p(differences)) <= LEVEL).any())
    assert np.mean(wrong) <= 0.07


def test_what_no_control_moves_is_not_moved():
    controls = np.array([[0.0, -4.0], [0.0, 1.0], [0.0, 1.0], [0.0, -1.0]])
    assert max_statistic(np.array([0.0, 1.0]), [controls])[0][0] == 1


def test_what_comes_to_be_known_makes_no_p_larger():
    p = RANDOM.uniform(0, 0.2, 7)
    for known in range(1, 8):
        assert (holm(p[:known], 7) >= holm(p)[:known] - 1e-12).all()


def test_one_entry_alone_is_its_rank_in_both_directions():
    controls = RANDOM.standard_normal((999, 1))
    p, direction = max_statistic(np.array([-2.5]), [controls])
    assert p[0] == pytest.approx(2 * 0.0062, abs=0.012) and direction.tolist() == [-1]


def drawn(runs, entries, true):
    """Lists whose entries have half of what they vary by in common; the first `true` of them lie far from 0."""
    noise = RANDOM.standard_normal((runs, entries)) + RANDOM.standard_normal((runs, 1))
    return noise * np.linspace(0.1, 3, entries) + np.where(np.arange(entries) < true, 20, 0)


@pytest.mark.parametrize("true", [0, 3])
def test_of_lists_of_controls_five_in_a_hundred_say_anything_wrong(true):
    """However wide its entries are, and whichever of them are right; each of these is found."""
    kinds = [drawn(199, 12, 0) for _ in range(2)]
    p = np.array([max_statistic(found, kinds)[0] for found in drawn(600, 12, true)])
    assert (p[:, true:].min(1) <= 0.05).mean() <= 0.07
    assert (p[:, true:].min(1) <= 0.05).mean() > 0.005, "so many it may say"
    assert (p[:, :true] <= 0.05).all()


@pytest.mark.parametrize("true", [0, 2])
def test_of_lists_without_controls_five_in_a_hundred_say_anything_wrong(true):
    """By their means over eight prompts, a third of which they have in common."""
    values = RANDOM.standard_normal((600, 7, 8)) + RANDOM.standard_normal((600, 1, 8)) / np.sqrt(2)
    values[:, :true] += 8
    p = np.array([holm(one) for one in p_of_means(values, among=7)])
    assert (p[:, true:].min(1) <= 0.05).mean() <= 0.07 and (p[:, :true] <= 0.05).sum() >= 0.95 * 600 * true


def test_p_is_small_where_the_interval_leaves_0_out():

    values = RANDOM.standard_normal((200, 10)) + 0.6
    clear = [one.is_clear for one in means_of(values)]
    assert (p_of_means(values) <= 0.05).tolist() == clear and 0 < sum(clear) < 200
    assert p_of_means(np.stack([np.zeros(8), np.ones(8)])).tolist() == [1, 1]
