import pytest
import torch

from caa_core.data.presets import presets
from caa_core.progress import finish
from caa_core.vectors.extraction import extract
from caa_core.vectors.known_directions import at_hand, known_directions, letter_pairs, make, overlaps, random_cosine
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import A_HEAVY


def test_the_letter_is_what_is_left_where_answers_cancel():
    pairs = letter_pairs().pairs
    assert {(pair.positive, pair.negative) for pair in pairs} == {("(A)", "(B)")} and len(pairs) == 40
    half = len(pairs) // 2
    for given, swapped in zip(pairs[:half], pairs[half:], strict=True):
        assert given.options == {"A": swapped.options["B"], "B": swapped.options["A"]}


def test_random_directions_lie_as_near_as_is_said():
    drawn = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    cosines = torch.cosine_similarity(drawn, torch.eye(64)[:1]).abs()
    assert (cosines < random_cosine(64)).float().mean().item() == pytest.approx(0.95, abs=0.01)


def test_they_are_made_once_on_a_model_and_a_vector_of_letters_lies_along_the_letter(tiny_llama):
    first = finish(known_directions(tiny_llama))
    assert set(first) == {"refusal", "letter"} and at_hand(tiny_llama) == first == finish(known_directions(tiny_llama))
    fresh = finish(extract(tiny_llama, presets()["refusal"].dataset()))
    assert torch.equal(first["refusal"].at(2), fresh.at(2))
    vector = finish(make(tiny_llama, A_HEAVY, [1, 2]))
    along = overlaps(vector, first)
    assert along == vector.diagnostics.overlap

    assert all(one.value > 0.6 and one.is_said for one in along["letter"].values())
    assert "is an answer's letter, not the behaviour" in str(vector.diagnostics)


def test_a_vector_without_pairs_is_held_to_random_directions(tiny_llama):
    known = finish(known_directions(tiny_llama))
    turned = SteeringVector("v", {2: -known["refusal"].at(2)}, {}, Provenance())
    found = overlaps(turned, known)["refusal"]
    assert found[2].value == pytest.approx(-1) and list(found) == [2]
    assert found[2].controls[1] == random_cosine(tiny_llama.hidden_size) and "random directions" in str(found[2])
    assert overlaps(SteeringVector("v", {2: torch.ones(3)}, {}, Provenance()), known) == {}
