import numpy as np
import pytest

from benchmarks.nulls.measure import simulate
from caa_core.metrics.cross_fitting import (
    EFFECT,
    NONE_SHOWN,
    UNDECIDED,
    chosen,
    cross_fitted,
    grade,
    random_estimates,
    shuffled_estimates,
    sign_patterns,
    two_sided,
)
from caa_core.metrics.estimates import Estimate

RANDOM = np.random.default_rng(0)


def test_each_half_is_judged_at_the_layer_that_the_other_chose():
    estimates = np.array([[0.1, -0.9, 0.3], [0.5, 0.2, -0.1]])
    assert chosen(estimates).tolist() == [1, 0]
    assert cross_fitted(estimates) == pytest.approx((0.2 + 0.1) / 2)
    many = RANDOM.standard_normal((7, 2, 5))
    for one, found in zip(many, cross_fitted(many), strict=True):
        first, second = abs(one).argmax(1)
        assert found == pytest.approx((one[1, first] + one[0, second]) / 2)


@pytest.mark.parametrize(
    ("found", "p", "direction"),
    [
        (5.0, 2 * 1 / 5, 1),  # beyond all of the first kind, and of the second
        (2.5, 2 * 3 / 5, 1),  # two of the second kind are as far: the larger of the two counts
        (-9.0, 2 * 1 / 5, -1),
        (3.0, 2 * 3 / 5, 1),  # a tie is as far
        (0.0, 1.0, 1),
    ],
)
def test_p_is_the_larger_of_the_kinds_in_each_direction_and_doubled(found, p, direction):
    kinds = [np.array([-2.0, -1.0, 0.5, 1.0]), np.array([-3.0, -0.5, 3.0, 4.0])]
    ranked, way = two_sided(np.array(found), kinds)
    assert (float(ranked), int(way)) == (pytest.approx(min(1, p)), direction)


def test_p_of_a_vector_drawn_as_its_controls_are_is_uniform():
    """Whatever the gradients are: with slopes that favour some directions and layers."""
    slopes = RANDOM.standard_normal((2, 6, 20)) * RANDOM.uniform(0, 3, (6, 20)) + 1
    norms = RANDOM.uniform(1, 5, 6)
    drawn = cross_fitted(random_estimates(slopes, norms, 2000, seed=1))
    found = np.array([float(two_sided(one, [drawn])[0]) for one in cross_fitted(random_estimates(slopes, norms, 500))])
    for level in (0.05, 0.2, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 500))


def test_random_vectors_have_the_norm():
    slopes = RANDOM.standard_normal((2, 3, 1))
    norms = np.array([1.0, 2.0, 0.5])
    found = random_estimates(slopes, norms, 50)
    assert np.allclose(np.abs(found), np.abs(slopes[..., 0]) * norms)
    assert {*np.sign(found[:, 0, 0])} == {-1, 1}


def test_shuffled_vectors_are_the_mean_differences_with_labels_exchanged():
    differences = RANDOM.standard_normal((3, 9, 16)) + 0.5  # layers, prompts, hidden_size
    slopes, norms = RANDOM.standard_normal((2, 3, 16)), np.array([1.0, 2.0, 0.5])
    along = np.einsum("lph,slh->slp", differences, slopes)
    gram = differences @ differences.transpose(0, 2, 1)
    found = shuffled_estimates(along, gram, norms, 20, seed=4)
    for one, signs in zip(found, sign_patterns(9, 20, seed=4), strict=True):
        vectors = np.einsum("p,lph->lh", signs, differences)
        vectors *= (norms / np.linalg.norm(vectors, axis=1))[:, None]
        assert np.allclose(one, (slopes * vectors).sum(-1))


def test_controls_from_few_prompts_hold_the_vector_itself():
    """They are never kept apart from it, so what three prompts made is never told from chance."""
    differences = RANDOM.standard_normal((2, 3, 16)) + 1
    vector = differences.sum(1)
    slopes = np.stack([vector, vector])  # it does as much as any vector could
    norms = np.linalg.norm(vector, axis=1)
    gram = differences @ differences.transpose(0, 2, 1)
    drawn = shuffled_estimates(np.einsum("lph,slh->slp", differences, slopes), gram, norms, 999)
    p, _ = two_sided(cross_fitted((slopes * vector).sum(-1)), [cross_fitted(drawn)])
    assert p == pytest.approx(2 / 8, abs=0.07)


@pytest.mark.parametrize("prompts", [6, 7, 8, 9])
def test_coins_that_are_the_same_for_all_data_of_as_many_prompts_hold_the_error_rate(prompts):
    """Of few prompts there are few ways to exchange labels, so that each comes several times, the vector's own too."""
    random, coins, said = np.random.default_rng(prompts), sign_patterns(prompts, 999), []
    for _ in range(400):
        differences = random.standard_normal((prompts, 20)) + 0.7 * random.standard_normal(20)
        labels = random.choice([-1.0, 1.0], (prompts, 1))
        vector, slopes = (labels * differences).sum(0), random.standard_normal((2, 1, 20))
        norm, shuffled = np.array([np.linalg.norm(vector)]), labels * differences
        along, gram = (slopes @ shuffled.T), (shuffled @ shuffled.T)[None]
        drawn = cross_fitted(shuffled_estimates(along, gram, norm, len(coins)))
        said.append(two_sided(cross_fitted((slopes * vector).sum(-1)), [drawn])[0] <= 0.05)
    assert 0.01 <= np.mean(said) <= 0.07


@pytest.mark.parametrize(
    ("p", "direction", "size", "said"),
    [
        (0.01, 1, (0.3, 0.1, 0.5), EFFECT),
        (0.01, -1, (-0.3, -0.5, -0.1), EFFECT),
        (0.01, 1, (0.3, -0.1, 0.7), UNDECIDED),  # the interval holds 0
        (0.01, 1, (-0.3, -0.5, -0.1), UNDECIDED),  # the other way than the estimates say
        (0.01, 1, (0.04, 0.02, 0.06), UNDECIDED),  # small
        (0.06, 1, (0.3, 0.1, 0.5), NONE_SHOWN),  # controls reach as far
    ],
)
def test_three_grades(p, direction, size, said):
    assert grade(p, direction, Estimate(*size)) == said
    assert grade(p, direction, Estimate(*size), size[0]) == said


def test_where_estimates_do_not_speak_for_what_is_seen_it_is_not_called_none():
    clear, wide = Estimate(0.9, 0.7, 1.1), Estimate(0.9, -0.1, 1.9)
    assert grade(0.2, 1, clear, 0.3) == UNDECIDED and grade(0.2, 1, clear, 0.5) == NONE_SHOWN
    assert grade(0.2, 1, wide, 0.3) == grade(0.2, 1, Estimate(0.03, 0.02, 0.04), 0.001) == NONE_SHOWN
    assert grade(0.01, 1, clear, 0.3) == EFFECT


@pytest.mark.parametrize("prompts", [8, 20])
@pytest.mark.parametrize("spread", [0.0, 0.3, 0.6])
def test_vectors_without_effect_are_called_one_in_seven_percent_at_most(prompts, spread):
    said = simulate(400, prompts, spread, seed=prompts)
    assert sum(share for sentence, share in said.items() if sentence.startswith(EFFECT)) <= 0.07


def test_an_effect_of_one_and_a_half_deviations_is_found_with_twenty_prompts():
    """Eighty in a hundred, where what controls do spreads by 0.3 deviations; never the wrong way round."""
    said = simulate(400, 20, 0.3, effect=1.5)
    assert said[f"{EFFECT}, with"] >= 0.8 and f"{EFFECT}, against" not in said
