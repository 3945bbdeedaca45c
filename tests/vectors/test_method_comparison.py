import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.model_selection import GroupKFold

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.progress import finish
from caa_core.vectors.method_comparison import Comparison, _aucs, compare, separation
from caa_core.vectors.methods import METHODS
from tests.helpers.data import LETTERS, TEXTS


def noise(random, pairs, size=16):
    return [torch.from_numpy(random.normal(size=(pairs, size))).float() for _ in range(2)]


def held_out(positive, negative, folds=10):
    groups = np.arange(len(positive))
    parts = list(GroupKFold(folds).split(groups, groups=groups))
    return separation(_aucs("mean-difference", positive, negative, groups, parts), len(positive))


def test_the_auc_is_that_of_held_out_answers():
    random = np.random.default_rng(0)
    positive, negative = noise(random, 40)
    positive[:, 0] += 2
    found = held_out(positive, negative)
    by_hand = []
    for part in GroupKFold(10).split(np.arange(40), groups=np.arange(40)):
        direction = (positive[part[0]] - negative[part[0]]).mean(0)
        wins = (positive[part[1]] @ direction)[:, None] > (negative[part[1]] @ direction)[None]
        by_hand.append(wins.float().mean().item())
    assert found.auc == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert 0.5 < found.low < found.auc < found.high <= 1


def test_the_interval_covers_what_it_should():
    """Of noise, the interval leaves out one half in about one of twenty; a plain bootstrap did so in one of six."""
    random = np.random.default_rng(1)
    found = [held_out(*noise(random, 40)) for _ in range(100)]
    outside = np.mean([not s.low <= 0.5 <= s.high for s in found])
    assert outside < 0.1


def test_a_few_perfect_pairs_are_no_proof():
    perfect = separation([1.0] * 4, 4)
    assert perfect.auc == perfect.high == 1 and perfect.low < 0.5
    assert 0.9 < separation([1.0] * 10, 43).low < 1


def test_the_best_of_many_layers_of_noise_is_not_called_better_than_chance():
    random = np.random.default_rng(2)
    called = []
    for _ in range(10):
        line = [held_out(*noise(random, 24), folds=5) for _ in range(12)]
        called.append(Comparison("noise", 24, 5, "last", tuple(range(12)), {}, {"pca": line}).surely("pca"))
    assert np.mean(called) < 0.15


def test_a_behaviour_is_separated_and_noise_is_not(tiny_llama):
    """Held-out pairs of a real difference come apart; pairs whose sides were dealt at random do not."""
    pairs = presets()["french"].dataset().pairs[:24]
    real = finish(compare(tiny_llama, Dataset("real", "", "", pairs)))
    assert {name: len(line) for name, line in real.separations.items()} == dict.fromkeys(METHODS, 4)
    assert real.surely("mean-difference")
    dealt = tuple(
        pair if n % 2 else ContrastPair(pair.prompt, pair.negative, pair.positive, pair.line)
        for n, pair in enumerate(pairs)
    )
    chance = finish(compare(tiny_llama, Dataset("noise", "", "", dealt)))
    assert not chance.surely("mean-difference")
    best, layers = real.best("probe")
    assert best.low == max(s.low for s in real.separations["probe"])
    assert all(real.separations["probe"][layer].low == best.low for layer in layers)


def test_cosines_are_of_directions_from_all_pairs(tiny_llama):
    found = finish(compare(tiny_llama, TEXTS, layers=[1, 3]))
    assert found.layers == (1, 3) and found.folds == 4 and found.read_position == "answer-mean"
    assert len(found.cosines) == 6
    assert all(-1 <= cosine <= 1 and len(line) == 2 for line in found.cosines.values() for cosine in line)
    json.dumps(found.summary(), allow_nan=False)


def test_too_few_prompts(tiny_llama):
    """However often they stand there."""
    for pairs in (LETTERS.pairs, LETTERS.pairs * 4):
        with pytest.raises(InputError, match=r"has pairs of 3 prompts; .* takes four or more"):
            finish(compare(tiny_llama, replace(LETTERS, pairs=pairs)))


def test_prompts_that_stand_in_a_file_several_times_prove_nothing(tiny_llama):
    """Noise is told apart by nothing that was held out; with its own copy on the other side it would be."""
    random = np.random.default_rng(4)
    words = ["red", "green", "blue", "black", "white", "round", "square", "long", "short", "old", "new", "hot", "cold"]
    answers = [" ".join(random.choice(words, 4)) for _ in range(60)]
    pairs = tuple(ContrastPair(f"What is number {n}?", *answers[2 * n : 2 * n + 2], n) for n in range(30))
    copies = tuple(replace(pair, line=4 * pair.line + copy) for pair in pairs for copy in range(4))
    once, often = (finish(compare(tiny_llama, Dataset("noise", "", "", given))) for given in (pairs, copies))
    for method, line in often.separations.items():
        assert not often.surely(method) and all(s.prompts == 30 and s.auc < 0.7 for s in line), method
    for method in ("mean-difference", "pca"):
        expected = [s.auc for s in once.separations[method]]
        assert [s.auc for s in often.separations[method]] == pytest.approx(expected, abs=1e-3)
