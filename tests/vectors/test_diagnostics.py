import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from benchmarks.diagnostics import exchanged, planted, told, true_reliability
from caa_core.app.panels.generate.vectors import about
from caa_core.cli.vectors import made
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.progress import finish
from caa_core.steering.activations import products_of
from caa_core.vectors.arithmetic import scale
from caa_core.vectors.diagnostics import (
    Diagnostics,
    PairGeometry,
    PromptSides,
    aucs,
    d_primes,
    overlap_with,
    reliability,
)
from caa_core.vectors.extraction import extract
from caa_core.vectors.formats import read_vector, write_vector
from caa_core.vectors.known_directions import make
from caa_core.vectors.vector import load_vector
from tests.helpers.data import A_HEAVY, PLANTED


@pytest.mark.parametrize(("count", "push"), [(20, 2.0), (20, 5.0), (60, 2.0)])
def test_a_planted_signal_has_its_known_reliability(count, push):
    """The squared cosine to expect with the true direction; and intervals hold it."""
    true = true_reliability(count, push)
    found = [told(planted(count, push, seed)).layers[5].reliability for seed in range(40)]
    assert np.mean([one.value for one in found]) == pytest.approx(true, abs=0.03)
    assert np.mean([one.low <= true <= one.high for one in found]) > 0.9
    assert all(one.controls[0] < 0 < one.controls[1] < true for one in found)


def test_halves_of_the_pairs_come_to_the_same():
    """Drawn at random, their means' inner product over their mean square, and corrected to all of them."""
    positive, negative = planted(20, 2.0)
    differences, drawn = positive - negative, np.random.default_rng(1)
    inner, squares = [], []
    for _ in range(3000):
        first = drawn.permutation(20)[:10]
        one, other = differences[first].mean(0), np.delete(differences, first, 0).mean(0)
        inner.append(one @ other)
        squares.append((one @ one + other @ other) / 2)
    half = np.mean(inner) / np.mean(squares)
    assert told(np.stack([positive, negative])).layers[5].reliability.value == pytest.approx(
        2 * half / (1 + half), abs=0.01
    )


def geometry(positive, negative, fold_of):
    return PairGeometry.of(products_of(torch.from_numpy(positive), torch.from_numpy(negative)), fold_of)


def test_agreement_and_what_is_left_without_each_prompt_are_those_of_plain_sums():
    positive, negative = planted(9, 2.0)
    d = positive - negative
    at = geometry(positive, negative, np.arange(9) % 2)

    def plainly(some):
        mean = some.mean(0)
        return np.mean(some @ mean / np.linalg.norm(some, axis=1) / np.linalg.norm(mean))

    signs = np.random.default_rng(0).choice([-1.0, 1.0], (3, 9))
    assert at.agreement(signs) == pytest.approx([plainly(row[:, None] * d) for row in signs])
    without = [np.delete(d, i, 0) for i in range(9)]
    assert at.agreement_without() == pytest.approx([plainly(some) for some in without])
    ratios = [np.log((some.sum(0) ** 2).sum() / (some**2).sum()) for some in without]
    assert at.log_ratio_without() == pytest.approx(ratios)
    assert at.log_ratio(np.ones((1, 9)))[0] == pytest.approx(np.log((d.sum(0) ** 2).sum() / (d**2).sum()))
    x, y = at.held_out(np.ones((1, 9)))
    for compute in (aucs, d_primes):
        all_but_one = [compute(np.delete(x, i, 0), np.delete(y, i, 0), np.delete(at.fold_of, i)) for i in range(9)]
        assert compute(x, y, at.fold_of, 1 - np.eye(9)) == pytest.approx(np.array(all_but_one)[:, 0])


def test_held_out_sides_are_as_far_apart_as_was_planted():
    """Along a known direction; an AUC of normal sides is that of their d′."""
    positive, negative = (side[:, :1] for side in planted(4000, 2.0))
    spread = np.sqrt(0.5 + 4)  # of a side: its noise and what its prompt has in common
    found = told_plainly(positive, negative)
    assert found[0] == pytest.approx(2 / spread, abs=0.05)
    assert found[1] == pytest.approx(norm.cdf(2 / spread / np.sqrt(2)), abs=0.02)


def told_plainly(positive, negative):
    """d′ and AUC of two folds, whose directions are known to be the only axis there is."""
    fold_of = np.arange(len(positive)) % 2
    return d_primes(positive, negative, fold_of)[0], aucs(positive[:800], negative[:800], fold_of[:800])[0]


def test_held_out_pairs_lie_along_the_direction_that_was_made_without_them():
    positive, negative = planted(12, 3.0)
    fold_of = np.arange(12) % 3
    middle = (positive + negative).mean(0) / 2
    x, y = geometry(positive, negative, fold_of).held_out(np.ones((1, 12)))
    for i in range(12):
        made = (positive - negative)[fold_of != fold_of[i]].sum(0)
        made /= np.linalg.norm(made)
        assert (x[i, 0], y[i, 0]) == pytest.approx(((positive[i] - middle) @ made, (negative[i] - middle) @ made))


def test_sides_exchanged_negate_the_projections():
    positive, negative = planted(12, 2.0)
    fold_of, one = np.arange(12) % 3, np.ones((1, 12))
    x, y = geometry(positive, negative, fold_of).held_out(one)
    turned_x, turned_y = geometry(negative, positive, fold_of).held_out(one)
    assert turned_x == pytest.approx(-y) and turned_y == pytest.approx(-x)
    # Of one pair alone, its own are exchanged, and where it is held out they are all that changes.
    signs = one.copy()
    signs[0, 4] = -1
    some_x, some_y = geometry(positive, negative, fold_of).held_out(signs)
    assert (some_x[4, 0], some_y[4, 0]) == pytest.approx((y[4, 0], x[4, 0]))
    turned = [np.where(signs.T < 0, *sides) for sides in ((negative, positive), (positive, negative))]
    again_x, again_y = geometry(*turned, fold_of).held_out(one)
    assert again_x == pytest.approx(some_x) and again_y == pytest.approx(some_y)
    # What is said of all pairs exchanged is the same of the opposite direction.
    whole, opposite = told(np.stack([positive, negative])), told(np.stack([negative, positive]))
    assert opposite.p == whole.p
    assert opposite.layers[5].auc.value == pytest.approx(whole.layers[5].auc.value)
    assert opposite.layers[5].d_prime.value == pytest.approx(whole.layers[5].d_prime.value)


def test_every_pair_doubled_changes_nothing():
    once, twice = told(planted(12, 2.0)), told(planted(12, 2.0), copies=2)
    assert (once.prompts, once.p, once.grade) == (twice.prompts, twice.p, twice.grade)
    for name in ("agreement", "reliability", "d_prime", "auc"):
        one, other = (getattr(found.layers[5], name) for found in (once, twice))
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-4)


def test_what_cannot_steer_is_called_so_before_anything_is_steered():
    good = planted(24, 4.0)
    found = told(good)
    assert found.grade == "may steer" and found.p == 0.005 and str(found).startswith("It may steer: its pairs point")
    # Noise; and pairs of which half are exchanged.
    for sides in (planted(24, 0.0, seed=1), exchanged(good)):
        found = told(sides)
        assert found.grade == "not likely" and found.p > 0.05 and not found.more_pairs_help
        assert str(found).startswith("It is not likely to steer: its pairs are not shown to point one way")
    same = told(np.zeros((2, 8, 100)))
    assert (same.grade, str(same)[:60]) == ("", "Whether it will steer is not judged: its pairs do not differ")
    few = told(planted(7, 9.0))
    assert (few.grade, few.p, few.layers) == ("", None, {})
    assert str(few) == "Whether it will steer is not judged: 7 prompts are too few, which takes at least 8."


HALF_EXCHANGED = replace(
    PLANTED,
    pairs=tuple(
        replace(pair, positive=pair.negative, negative=pair.positive) if i % 2 else pair
        for i, pair in enumerate(PLANTED.pairs)
    ),
)
WORDS = [
    "tree",
    "seven",
    "run",
    "cold",
    "of",
    "blue",
    "why",
    "ten",
    "sat",
    "map",
    "so",
    "jam",
    "at",
    "fog",
    "pin",
    "us",
]
NOISE = replace(
    PLANTED,
    pairs=tuple(
        replace(pair, positive=WORDS[2 * i], negative=WORDS[2 * i + 1]) for i, pair in enumerate(PLANTED.pairs)
    ),
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PLANTED, "It may steer: its pairs point one way"),
        (HALF_EXCHANGED, "It is not likely to steer: its pairs are not shown to point one way"),
        (NOISE, "It is not likely to steer: its pairs are not shown to point one way"),
        (PLANTED.first(7), "Whether it will steer is not judged: 7 prompts are too few"),
    ],
    ids=["sound", "half exchanged", "noise", "few"],
)
def test_who_makes_a_vector_is_told_whether_it_can_steer(tiny_llama, tmp_path, data, said):
    """On the page and on the command line, out of the pairs themselves."""
    vector = finish(make(tiny_llama, data, [1, 2]))
    assert said in about(vector, [])
    found, words = made(vector, tmp_path / "v.safetensors")
    assert said in words and found["diagnostics"]["text"] == str(vector.diagnostics)


def test_noise_is_said_to_point_one_way_in_one_of_twenty():
    found = [told(planted(10, 0.0, seed)).grade == "may steer" for seed in range(200)]
    assert np.mean(found) < 0.09


def test_of_the_fewest_prompts_all_exchanges_count_once():
    """There are 128 ways to exchange the sides of 8 prompts, but for all at once: p is exact."""
    found = [told(planted(8, push, seed)).p for push in (0.0, 2.0) for seed in range(20)]
    assert all((128 * p).is_integer() for p in found)
    assert told(planted(8, 50.0)).p == 1 / 128


def test_more_pairs_would_help_where_halves_say_so():
    weak, strong = told(planted(12, 3.0)), told(planted(60, 8.0))
    assert weak.more_pairs_help and "More pairs would help" in str(weak)
    alpha = weak.layers[5].reliability.value
    assert weak.nearer == pytest.approx((np.sqrt(alpha), np.sqrt(2 * alpha / (1 + alpha))))
    assert strong.grade == "may steer" and not strong.more_pairs_help and "More pairs" not in str(strong)


def test_a_sample_of_the_prompts_stands_for_all_of_them():
    """Corrected to how many there are: Spearman and Brown."""
    ratios = np.log([3.0])
    alpha = reliability(ratios, 20)
    assert reliability(ratios, 20, 5.0) == pytest.approx(5 * alpha / (1 + 4 * alpha))
    many = Dataset("many", "", "", tuple(ContrastPair(f"{i}. Say?", "yes", "no", i) for i in range(500)))
    sides = PromptSides(many, 2, 16)
    assert sides.kept.prompts == 500 and sides.positive.shape == (2, 200, 16) and len(sides.kept.folds()) == 200


@pytest.mark.parametrize("data", [A_HEAVY.in_both_letter_orders(), PLANTED], ids=["letters", "texts"])
def test_a_vector_has_them_of_what_was_read_and_keeps_them_in_its_file(tiny_llama, data, tmp_path):
    vector = finish(make(tiny_llama, data, [1, 2]))
    found = vector.diagnostics
    assert set(found.overlap) == {"refusal", "letter"}
    assert list(found.layers) == [1, 2] and 0 < found.p <= 1
    alone = [finish(extract(tiny_llama, replace(data, pairs=(pair, pair)), [1, 2])).at(2) for pair in data.pairs]
    lines = [pair.line for pair in data.pairs]
    by_prompt = torch.stack(
        [torch.stack(alone)[[one == line for one in lines]].mean(0) for line in dict.fromkeys(lines)]
    )
    expected = torch.cosine_similarity(by_prompt, by_prompt.mean(0)[None]).mean().item()
    assert found.layers[2].agreement.value == pytest.approx(expected, abs=1e-3)
    for ending in (".safetensors", ".gguf"):
        write_vector(vector, tmp_path / f"v{ending}")
        again = read_vector(tmp_path / f"v{ending}").diagnostics
        assert again == found
    summary = json.loads(json.dumps(vector.summary(), allow_nan=False))
    assert summary["diagnostics"]["text"] == str(found)
    assert summary["layers"][1]["reliability"]["value"] == found.layers[2].reliability.value
    assert scale(vector, 2).diagnostics is None  # another vector than its pairs made


def test_files_from_before_and_hostile_ones(tiny_llama, tmp_path):
    vector = replace(finish(extract(tiny_llama, PLANTED, [1])), diagnostics=None)
    vector.save(tmp_path / "old.safetensors")
    assert load_vector(tmp_path / "old.safetensors").diagnostics is None
    assert vector.summary()["diagnostics"] is None
    for text in (
        "",
        "[]",
        "{}",
        '{"prompts": 1, "p": 1e999, "layers": {}}',
        "[" * 9999,
        '{"prompts": 9, "p": 0, "layers": {"1": [1]}}',
    ):
        with pytest.raises(InputError, match="its diagnostics are not"):
            Diagnostics.unpacked(text, [1])


def drawn_halves(prompts, count=199):
    return np.random.default_rng(0).choice([-1.0, 1.0], (count, prompts))


@pytest.mark.parametrize("cosine", [0.6, -0.6])
def test_a_planted_part_along_a_known_direction_has_its_cosine(cosine):
    """Differences of which the mean lies at a known angle to it, beside halves of prompts."""
    along, across = np.eye(100)[:2]
    apart = 3 * (cosine * along + np.sqrt(1 - cosine**2) * across)
    found = []
    for seed in range(20):
        positive, negative = planted(40, 0.0, seed)
        found.append(overlap_with(5 * along, positive + apart / 2, negative - apart / 2, drawn_halves(40)))
    # Noise in 100 directions, of variance 1 / 40 each, makes the vector longer.
    true = 3 * cosine / np.sqrt(9 + 100 / 40)
    assert np.mean([one.value for one in found]) == pytest.approx(true, abs=0.02)
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.85
    assert all(one.is_said and one.controls[0] < 0 < one.controls[1] for one in found)
    # Sides exchanged, it points the other way; and halves of the prompts are what they were.
    positive, negative = planted(40, 3.0)
    one, other = (
        overlap_with(along, *sides, drawn_halves(40)) for sides in ((positive, negative), (negative, positive))
    )
    assert (other.value, other.controls) == (pytest.approx(-one.value), pytest.approx(one.controls))


def test_what_has_no_part_along_a_known_direction_is_said_to_have_one_in_few():
    """The push lies across; and where prompts vary most along it, so do their halves."""
    across = np.eye(100)[7]
    found = [overlap_with(across, *planted(20, 4.0, seed), drawn_halves(20)) for seed in range(100)]
    assert np.mean([one.is_said for one in found]) <= 0.05
    topics = np.random.default_rng(1).normal(0, 30, (20, 1)) * across
    positive, negative = planted(20, 4.0)
    wide = overlap_with(across, positive + topics, negative + topics, drawn_halves(20))
    assert wide.controls[0] < -0.7 and wide.controls[1] > 0.7 and not wide.is_said


def test_parts_of_a_vector_are_named_in_its_sentence_and_kept_in_its_file():
    directions = {"refusal": torch.eye(100)[0], "letter": -torch.eye(100)[0]}
    found = told(planted(24, 6.0), known={name: {5: one} for name, one in directions.items()})
    assert found.overlap["refusal"][5].value == pytest.approx(-found.overlap["letter"][5].value) and found.best == 5
    refusal, letter = found.parts
    cosine = found.overlap["refusal"][5].value
    assert refusal.startswith(f"A part of it (cosine {cosine:+.2f}) lies along refusal: the model may decline more.")
    assert letter.startswith(f"A part of it (cosine {-cosine:+.2f}) is an answer's letter, not the behaviour")
    assert all(part in str(found) for part in found.parts)
    assert (
        f"Along refusal: {found.overlap['refusal'][5]}." in found.numbers and "halves of the prompts" in found.numbers
    )
    assert Diagnostics.unpacked(found.packed(), [5]) == found
    assert found.at(5)["overlap"]["letter"]["value"] == found.overlap["letter"][5].value
    away = told(planted(24, 6.0), known={"refusal": {5: -torch.eye(100)[0]}})
    assert "goes against refusal: the model may decline less" in away.parts[0]
    for name in ("refusal", "another"):
        broken = json.loads(found.packed()) | {"overlap": {name: 5}}
        if name == "another":
            assert Diagnostics.unpacked(json.dumps(broken), [5]).overlap == {}
            continue
        with pytest.raises(InputError, match="its diagnostics are not"):
            Diagnostics.unpacked(json.dumps(broken), [5])
