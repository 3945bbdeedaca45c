"""What was read at pairs last is kept, so that nobody waits for it twice."""

import gc
import weakref
from dataclasses import replace

import torch

from caa_core.data.presets import find_pairs
from caa_core.progress import finish
from caa_core.steering.read_position import ReadPosition
from caa_core.vectors import pair_differences
from caa_core.vectors.extraction import extract
from caa_core.vectors.pair_differences import MOST_PROMPTS, PairDifferences, differences_of
from tests.helpers.models import make_tiny

PAIRS = find_pairs("joy").first(4)
LAYERS = [0, 1, 3]


def vector_of(model, pairs=PAIRS, **given):
    return finish(extract(model, pairs, LAYERS, **given))


def read_anew(work):
    """What it comes to, and whether anything had to be read for it."""
    steps = []
    while True:
        try:
            steps.append(next(work))
        except StopIteration as end:
            return end.value, bool(steps)


def test_what_a_vector_was_made_of_is_not_read_again():
    model = make_tiny("llama")
    vector = vector_of(model)
    kept, again = read_anew(differences_of(model, vector, LAYERS, PAIRS))
    assert not again
    torch.testing.assert_close(kept.value.mean(1), torch.stack([vector.at(layer) for layer in LAYERS]))
    some, again = read_anew(differences_of(model, vector, [3, 0], PAIRS))
    assert not again and torch.equal(some.value, kept.value[[2, 0]])
    fresh, again = read_anew(differences_of(make_tiny("llama"), vector, LAYERS, PAIRS))
    assert again and torch.equal(fresh.value, kept.value)


def test_other_layers_pairs_and_positions_are_read():
    model = make_tiny("llama")
    vector = vector_of(model)
    last = vector_of(make_tiny("llama"), read=ReadPosition("last"))
    for asked in ((vector, [2], PAIRS), (vector, LAYERS, PAIRS.first(3)), (last, LAYERS, PAIRS)):
        assert read_anew(differences_of(model, *asked))[1]
        assert not read_anew(differences_of(model, *asked))[1]


def test_the_oldest_makes_room_and_a_model_that_is_gone_is_forgotten(monkeypatch):
    model = make_tiny("llama")
    monkeypatch.setattr(pair_differences, "MOST_KEPT", 7 * len(LAYERS) * model.hidden_size)
    of_four, of_three = vector_of(model), vector_of(model, PAIRS.first(3))
    assert not read_anew(differences_of(model, of_four, LAYERS, PAIRS))[1]
    vector_of(model, PAIRS.first(2))
    assert not read_anew(differences_of(model, of_three, LAYERS, PAIRS.first(3)))[1]
    assert read_anew(differences_of(model, of_four, LAYERS, PAIRS))[1]
    monkeypatch.setattr(pair_differences, "MOST_KEPT", 1)
    others = replace(PAIRS, pairs=PAIRS.pairs[2:])
    assert read_anew(differences_of(model, vector_of(model, others), LAYERS, others))[1]
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert not gone()


def test_the_pairs_of_the_first_prompts_count():
    pairs = tuple(replace(PAIRS.pairs[0], prompt=f"{number}?") for number in range(MOST_PROMPTS + 5))
    collect = PairDifferences(replace(PAIRS, pairs=(*pairs, *pairs)), [1], 2)
    ones = torch.ones(1, 2 * len(pairs), 2)
    collect([*range(2 * len(pairs))], ones, torch.zeros_like(ones))
    assert collect.value.shape == (1, MOST_PROMPTS, 2) and (collect.value == 2).all()


def test_of_many_prompts_the_same_is_read_anew_as_was_kept(monkeypatch):
    """Pairs of the first prompts stand among others, as copies do that come behind all."""
    monkeypatch.setattr(pair_differences, "MOST_PROMPTS", 2)
    pairs = replace(PAIRS, pairs=(*PAIRS.pairs, *(replace(pair, positive="Yes.") for pair in PAIRS.pairs)))
    model = make_tiny("llama")
    vector = vector_of(model, pairs)
    kept, again = read_anew(differences_of(model, vector, LAYERS, pairs))
    fresh, anew = read_anew(differences_of(make_tiny("llama"), vector, LAYERS, pairs))
    assert anew and not again and fresh.value.shape[1] == 2
    torch.testing.assert_close(fresh.value, kept.value)
