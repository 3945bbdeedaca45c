import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.model_selection import GroupKFold

from benchmarks.nulls.methods import simulate
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.progress import finish
from caa_core.reports.vectors import best_method
from caa_core.vectors.method_comparison import Comparison, Separation, _aucs, compare, compared, separation
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
    found = [held_out(*noise(random, 40)) for _ in range(40)]
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
        line = [held_out(*noise(random, 24)) for _ in range(8)]
        called.append(Comparison("noise", 24, 10, "last", tuple(range(8)), {}, {"pca": line}).surely("pca"))
    assert np.mean(called) <= 0.07


def test_of_methods_that_are_alike_none_is_called_best():
    random = np.random.default_rng(3)
    called = []
    for folds in random.normal(0.7, 0.1, (300, 4, 10)):
        alike = {name: [separation(line, 40)] for name, line in zip(METHODS, folds, strict=True)}
        called.append(bool(best_method(Comparison("alike", 40, 10, "last", (0,), {}, alike))))
    assert np.mean(called) <= 0.05
    assert simulate(1, prompts=8, layers=1, size=8) == {"better than chance": 0, "best": 0}


def test_a_method_that_is_better_than_each_other_one_is_called_best():
    """Of a signal in one of many directions the first pair tells little."""
    random = np.random.default_rng(5)
    pairs = [ContrastPair(f"Question {n}?", "yes", "no", n) for n in range(40)]
    positive, negative = torch.from_numpy(random.standard_normal((2, 1, 40, 100))).float()
    positive[..., 0] += 3
    separations = finish(compared(pairs, positive, negative))
    found = Comparison("planted", 40, 10, "last", (0,), {}, separations)
    p = found.differences()
    assert len(p) == 6 and p["mean-difference", "single"] < 0.01
    assert next(iter(found.means)) == max(found.means, key=found.means.get)
    two = {name: separations[name] for name in ("mean-difference", "single")}
    assert best_method(Comparison("planted", 40, 10, "last", (0,), {}, two)) == "mean-difference"
    before = {name: [replace(one, aucs=()) for one in line] for name, line in two.items()}
    assert best_method(Comparison("planted", 40, 10, "last", (0,), {}, before)) == ""


def test_what_is_told_alone_is_not_told_among_many():
    """A method from each of three others, and a layer of several from chance."""
    random = np.random.default_rng(0)
    noise = random.standard_normal(10)
    line = random.normal(0.7, 0.05, 10)
    ahead = line + 0.0235 + 0.02 * (noise - noise.mean()) / noise.std(ddof=1)
    folds = {name: ahead if name == "mean-difference" else line for name in METHODS}
    found = Comparison("some", 400, 10, "last", (0,), {}, {n: [separation(line, 400)] for n, line in folds.items()})
    p = [p for pair, p in found.differences().items() if "mean-difference" in pair]
    assert len(p) == 3 and all(0.01 < one <= 0.05 for one in p) and best_method(found) == ""
    one = Separation(0.75, 0.1, 10, 200)
    several = Comparison("some", 200, 10, "last", tuple(range(4)), {}, {"pca": [one] * 4})
    assert one.low > 0.5 and not several.surely("pca")


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
