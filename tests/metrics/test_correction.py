import numpy as np
import pytest
from scipy.stats import ttest_1samp

from caa_core.metrics.correction import among_controls, holm, paired_p
from caa_core.metrics.cross_fitting import LEVEL

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


def test_among_controls_of_which_the_furthest_of_the_list_counts():
    controls = np.array([[1.0, -4.0], [-2.0, 1.0], [0.5, 1.0], [2.0, -1.0]])
    spread = np.sqrt((controls**2).mean(0))
    furthest = np.abs(controls / spread).max(1)
    found = np.array([1.5, 3.0])
    expected = [(1 + (furthest >= one).sum()) / 5 for one in found / spread]
    assert among_controls(found, [controls]) == pytest.approx(expected)
    near = controls / 100
    assert among_controls(found, [controls, near]) == pytest.approx(np.maximum(expected, among_controls(found, [near])))
    assert among_controls(np.array([0.0, 1.0]), [controls * [0, 1]])[0] == 1, "what no control moves is not moved"
    assert among_controls(controls[0], [controls]).min() == 2 / 5, "a tie is as far"


def test_p_among_controls_holds_over_the_list():
    """Of vectors drawn as the controls are, over tests that go together and are of different sizes."""
    mix = RANDOM.standard_normal((5, 8)) * np.geomspace(0.01, 10, 8)
    said = [
        among_controls(RANDOM.standard_normal(5) @ mix, [RANDOM.standard_normal((199, 5)) @ mix]).min()
        for _ in range(400)
    ]
    assert np.mean(np.array(said) <= 0.05) == pytest.approx(0.05, abs=0.033)
