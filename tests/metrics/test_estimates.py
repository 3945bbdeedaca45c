"""Numbers with their intervals: what these cover, in simulation, and where there is none."""

import json
import math
import re

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks import coverage
from caa_core.metrics.estimates import (
    LEAST,
    Estimate,
    Share,
    auc,
    estimate,
    intervals,
    mean_of,
    means_of,
    objections,
    share_of,
)
from caa_core.metrics.plain_data import plain, restored
from tests.helpers.places import ROOT
from tests.helpers.sizes import FULL

RUNS = 40_000 if FULL else 2000
NONE = Estimate(0.4, -math.inf, math.inf)


@pytest.mark.parametrize("prompts", coverage.SIZES)
def test_the_interval_of_a_normal_mean_covers_it_as_often_as_it_says(prompts):
    """Counted by how much more or less often than Student's t, which covers 95% of such samples exactly."""
    sample = "normal", prompts, RUNS
    assert abs(coverage.of_mean(*sample) - coverage.of_students_mean(*sample)) < 0.01


@pytest.mark.parametrize("prompts", coverage.SIZES)
def test_the_interval_of_an_exponential_mean_covers_it(prompts):
    assert coverage.of_mean("exponential", prompts, RUNS) >= 0.92


@pytest.mark.parametrize("share", [20, 30, 50])
@pytest.mark.parametrize("prompts", [16, 20, 40])
def test_the_interval_of_the_mean_of_two_clusters_covers_it(prompts, share):
    assert coverage.of_mean(f"two clusters, {share} %", prompts, RUNS) >= 0.9


@pytest.mark.parametrize("dominance", [0.0, 1.0])
@pytest.mark.parametrize("prompts", [8, 20])
def test_the_interval_of_a_ratio_covers_it(prompts, dominance):
    assert 0.91 <= coverage.of_ratio(prompts, dominance, RUNS // 2) <= 0.98


@pytest.mark.parametrize("prompts", [2, 3, *coverage.SIZES])
def test_the_interval_of_a_share_covers_it_whatever_the_share(prompts):
    assert min(coverage.of_share(prompts, share) for share in np.linspace(0.001, 0.999, 200)) >= 0.95


def test_what_is_printed_is_what_comes_out():
    """Of what is simulated, here with fewer samples."""
    lines = (ROOT / "docs/numbers.md").read_text()
    printed = dict(re.findall(r"^\| ((?:mean|ratio|share): .*?) \| (.*) \|$", lines, re.MULTILINE))
    found = coverage.rows(RUNS if FULL else 300)
    assert list(printed) == list(found)
    for name, numbers in found.items():
        sure = 1e-9 if name.startswith("share") else 0.004 if FULL else 0.06
        expected = [float(number) for number in printed[name].split(" | ")]
        assert [round(number, 3) for number in numbers] == pytest.approx(expected, abs=sure), name


def test_an_interval_is_as_one_computes_it_plainly():
    """Owen's bootstrap t, one resample after the other."""
    values = np.random.default_rng(3).exponential(size=12)
    random = np.random.default_rng(4)
    drawn = []
    for _ in range(10_000):
        weights = random.beta(0.5, 1.5, 12)
        mean = np.average(values, weights=weights)
        drawn.append((mean - values.mean()) / np.sqrt(np.average((values - mean) ** 2, weights=weights)))
    low, high = values.mean() - np.quantile(drawn, [0.975, 0.025]) * values.std()
    found = mean_of(values)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=0.05 * (high - low))


def test_a_ratio_of_means_is_that_of_a_mean_where_nothing_is_divided():
    a, b = np.random.default_rng(0).normal(1, 1, (2, 9))
    found, expected = estimate(lambda a, b: a - 2 * b, a, b), mean_of(a - 2 * b)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_each_row_has_the_interval_that_it_has_alone():
    values = np.random.default_rng(1).normal(0.5, 0.2, (4, 30))
    for row, found in zip(values, means_of(values), strict=True):
        alone = mean_of(row)
        assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_items_of_one_prompt_are_drawn_together():
    """Copies say nothing anew; the number itself stays the mean over all items."""
    values = np.random.default_rng(2).normal(size=10)
    once, copied = mean_of(values), mean_of(np.repeat(values, 3), np.repeat(np.arange(10), 3))
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    uneven = mean_of(np.array([1.0, 1.0, 1.0, 4.0]), [7, 7, 7, 3])
    assert uneven.value == 1.75 and uneven.has_interval
    assert not mean_of(np.array([1.0, 2.0, 4.0]), [5, 5, 5]).has_interval


@pytest.mark.parametrize("count", [1, 2, 8, 40])
@pytest.mark.parametrize("value", [0.0, 0.4])
def test_where_all_say_the_same_there_is_no_interval(count, value):
    """Nor where they differ only by the order in which a sum was taken."""
    for values in (np.full(count, value), value + 1e-6 * np.arange(count) / count):
        found = mean_of(values)
        assert not found.has_interval and not found.is_clear
        assert found.value == pytest.approx(value, abs=1e-6)
    ratio = estimate(np.divide, np.full(count, value), np.full(count, 2.0))
    assert ratio == Estimate(value / 2, -math.inf, math.inf)


def test_numbers_that_are_none_have_no_interval():
    assert not mean_of(np.array([1.0, math.nan, 2.0])).has_interval
    assert not mean_of(np.array([1.0, math.inf, 2.0])).has_interval


def test_a_missing_interval_is_written_as_none():
    assert str(NONE) == "+0.40 (interval: none)" and NONE.ends() == "none"
    assert (
        str(Estimate(0.4, 0.1, 0.5)) == "+0.40 (+0.10 to +0.50)" and Estimate(0.4, 0.1, 0.5).ends(".1f") == "0.1 to 0.5"
    )
    assert f"{share_of(np.ones(1)):.0%}" == "100% (interval: none)"


def test_a_missing_interval_is_null_and_comes_back():
    kept = json.loads(json.dumps(plain(NONE), allow_nan=False))
    assert kept == {"value": 0.4, "low": None, "high": None}
    assert restored(Estimate, kept, "It") == NONE


def test_nothing_is_called_an_effect_without_an_interval():
    assert objections(NONE, {}) == ["it has no interval"]
    assert objections(Estimate(0.4, -0.1, 0.9), {}) == ["its interval holds 0"]
    assert objections(Estimate(0.4, 0.1, 0.9), {}) == [] and LEAST < 0.4


def test_a_mean_of_probabilities_stays_one():
    values = np.array([1.0, 0.9, 0.95])
    assert mean_of(values).high > 1 and mean_of(1 - values).low < 0
    assert mean_of(values, within=(0, 1)).high == 1 and mean_of(1 - values, within=(0, 1)).low == 0
    assert not mean_of(np.full(8, 0.9), within=(0, 1)).has_interval


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (3, 8), (20, 20), (1, 2)])
def test_a_share_has_the_exact_interval_of_coins(hits, count):
    found = share_of(np.repeat([1.0, 0.0], [hits, count - hits]))
    expected = binomtest(hits, count).proportion_ci()
    assert (found.value, found.low, found.high) == pytest.approx((hits / count, expected.low, expected.high))
    assert isinstance(found, Share)


def test_a_share_is_of_prompts_and_between_the_coins_beside_it():
    half, copies = share_of(np.array([1, 1, 0.5, 0, 0, 0, 0, 0])), np.repeat([1.0, 0.0], [2, 6])
    fewer, more = (binomtest(hits, 8).proportion_ci() for hits in (2, 3))
    assert fewer.low < half.low < more.low and fewer.high < half.high < more.high
    assert share_of(np.repeat(copies, 5), np.repeat(np.arange(8), 5)) == share_of(copies)


def test_the_interval_of_an_auc_covers_it():
    """Of normal answers whose kinds lie 1.5 standard deviations apart, and of a half that is chance."""
    random, prompts = np.random.default_rng(0), [str(i) for i in range(10)] * 2
    positive = np.arange(20) < 10
    for apart, true in ((0.0, 0.5), (1.5, 0.8556)):
        found = [auc(random.normal(size=20) + apart * positive, positive, ~positive, prompts) for _ in range(200)]
        assert np.mean([one.low <= true <= one.high for one in found]) >= 0.93


def test_intervals_have_the_shape_of_their_rows():
    found = intervals(lambda mean: mean, np.random.default_rng(0).normal(size=(3, 2, 9)))
    assert [part.shape for part in found] == [(3, 2)] * 3
