import json

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from caa_core.comparison import compare, separation
from caa_core.datasets import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.methods import METHODS
from caa_core.presets import presets
from caa_core.progress import finish
from tests.test_extraction import LETTERS, TEXTS


def test_the_auc_is_the_librarys_and_its_interval_scipys():
    random = np.random.default_rng(0)
    positive, negative = random.normal(0.7, 1, 60).round(1), random.normal(0, 1, 60).round(1)
    found = separation(positive, negative, np.arange(60))
    labels = np.repeat([1, 0], 60)
    assert found.auc == pytest.approx(roc_auc_score(labels, np.concatenate([positive, negative])))

    def auc(p, n):
        return roc_auc_score(labels, np.concatenate([p, n]))

    expected = bootstrap(
        (positive, negative), auc, paired=True, vectorized=False, method="percentile", n_resamples=2000
    )
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval, abs=0.02)


def test_resampling_keeps_the_two_orders_of_a_question_together():
    """Twice the same pairs is not twice the evidence."""
    random = np.random.default_rng(1)
    positive, negative = random.normal(0.7, 1, 30), random.normal(0, 1, 30)
    once = separation(positive, negative, np.arange(30))
    twice = separation(np.tile(positive, 2), np.tile(negative, 2), np.tile(np.arange(30), 2))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_a_behaviour_is_separated_and_noise_is_not(tiny_llama):
    """Held-out pairs of a real difference come apart; pairs whose sides were dealt at random do not."""
    pairs = presets()["french"].dataset().pairs[:24]
    real = finish(compare(tiny_llama, Dataset("real", "", "", pairs)))
    assert {name: len(line) for name, line in real.separations.items()} == dict.fromkeys(METHODS, 4)
    assert real.separations["mean-difference"][2].low > 0.6
    dealt = tuple(
        pair if n % 2 else ContrastPair(pair.prompt, pair.negative, pair.positive, pair.line)
        for n, pair in enumerate(pairs)
    )
    noise = finish(compare(tiny_llama, Dataset("noise", "", "", dealt)))
    assert noise.separations["mean-difference"][2].low < 0.6
    assert noise.separations["probe"][2].low < 0.6
    best, layers = real.best("probe")
    assert best.low == max(s.low for s in real.separations["probe"])
    assert all(real.separations["probe"][layer].low == best.low for layer in layers)


def test_cosines_are_of_directions_from_all_pairs(tiny_llama):
    found = finish(compare(tiny_llama, TEXTS, layers=[1, 3]))
    assert found.layers == (1, 3) and found.folds == 4 and found.read_position == "answer-mean"
    assert len(found.cosines) == 6
    assert all(-1 <= cosine <= 1 and len(line) == 2 for line in found.cosines.values() for cosine in line)
    json.dumps(found.summary(), allow_nan=False)


def test_too_few_pairs(tiny_llama):
    with pytest.raises(InputError, match="takes four or more"):
        finish(compare(tiny_llama, LETTERS))
