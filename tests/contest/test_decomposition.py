import pytest
import torch

from caa_core.contest.decomposition import decompose, less_shared, same_strength, shared_part, without_shared
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.steering.operations import Operation
from caa_core.vectors.vector import Provenance, SteeringVector


def voice(*numbers, layer=1, multiplier=1.0, norm=10.0):
    vector = SteeringVector("v", {1: torch.tensor(numbers), 2: torch.tensor(numbers)}, {1: norm, 2: norm}, Provenance())
    return Voice.of(vector, layer, multiplier)


def test_at_equal_multipliers_only_the_shared_part_is_left():
    a, b = voice(3.0, 1.0), voice(3.0, -1.0)
    found = decompose(a, b)
    assert found.shared == pytest.approx(1)
    assert found.opposed == pytest.approx(0)
    assert found.sum_norm == pytest.approx(6)
    assert found.cosine == pytest.approx(0.8)
    # Whether two voices make a contest is measured, and not said of an angle.
    assert "mostly agree" in found.verdict and "contest" not in found.verdict


def test_the_two_parts_make_the_sum():
    a, b = voice(3.0, 1.0, multiplier=1.5), voice(-1.0, 2.0, multiplier=-0.5)
    v, w = a.vector.at(1), b.vector.at(1)
    shared, opposed = 1.0 * (v + w) / 2, 2.0 * (v - w) / 2
    assert torch.allclose(shared + opposed, 1.5 * v - 0.5 * w)
    found = decompose(a, b)
    assert found.sum_norm == pytest.approx((1.5 * v - 0.5 * w).norm().item())
    total = shared.norm() ** 2 + opposed.norm() ** 2
    assert found.shared == pytest.approx((shared.norm() ** 2 / total).item())
    assert found.shared + found.opposed == pytest.approx(1)
    assert found.remains == pytest.approx(found.sum_norm / (found.norm_a + found.norm_b))


@pytest.mark.parametrize(
    ("b", "said"),
    [
        ((3.0, -1.0), "mostly agree"),
        ((1.0, -3.0), "nearly independent"),
        ((-3.0, 1.5), "mostly cancel"),
        ((-3.0, -1.01), "They cancel"),
    ],
)
def test_at_equal_multipliers_the_sentence_goes_by_the_angle(b, said):
    """There only the shared part is left, whatever the angle, so its share tells nothing."""
    found = decompose(voice(3.0, 1.0), voice(*b))
    assert found.shared == pytest.approx(1)
    assert said in found.verdict


def test_only_vectors_that_are_added_are_one_sum():
    a, b = voice(3.0, 1.0), voice(3.0, -1.0, multiplier=0.5).with_steer(operation=Operation("ablate"))
    found = decompose(a, b)
    assert found.remains is None and found.cosine == pytest.approx(0.8)
    assert found.verdict.startswith("Not both vectors are added: they are not one sum")
    assert shared_part(a, b) is None and less_shared(a, b) == () and same_strength(a, b) is None
    with pytest.raises(InputError, match="here not both are"):
        without_shared(a, b)


def test_a_negative_multiplier_turns_a_voice_round():
    found = decompose(voice(3.0, 1.0), voice(3.0, -1.0, multiplier=-1.0))
    assert found.agreement == pytest.approx(-0.8)
    assert "mostly cancel" in found.verdict


def test_v_against_minus_v_cancels():
    found = decompose(voice(3.0, 1.0), voice(-3.0, -1.0))
    assert found.sum_norm == pytest.approx(0)
    assert "cancel" in found.verdict


def test_different_layers_are_no_sum():
    found = decompose(voice(3.0, 1.0), voice(3.0, -1.0, layer=2))
    assert (found.sum_norm, found.remains, found.shared, found.opposed) == (None, None, None, None)
    assert "different layers" in found.verdict


@pytest.mark.parametrize(("a", "b", "said"), [(0, 1, "A is"), (1, 0, "B is"), (0, 0, "A and B are")])
def test_a_multiplier_of_0_switches_a_voice_off(a, b, said):
    found = decompose(voice(3.0, 1.0, multiplier=a), voice(3.0, -1.0, multiplier=b))
    assert found.verdict.startswith(said)


def test_same_strength():
    a, b = voice(3.0, 4.0, multiplier=2.0), voice(0.0, 2.0, multiplier=-1.0, norm=4.0)
    multiplier = same_strength(a, b)
    assert multiplier == pytest.approx(-2.0)
    assert b.vector.relative_strength(1, multiplier) == pytest.approx(a.relative_strength)


def test_a_layer_the_vector_does_not_have():
    with pytest.raises(InputError, match="no layer 5"):
        voice(1.0, 0.0, layer=5)


def test_what_both_share_is_a_column_of_its_own_only_where_it_is_something_else():
    a, b = voice(3.0, 1.0, multiplier=1.5), voice(3.0, -1.0, multiplier=0.5)
    shared = shared_part(a, b)
    assert shared.steer.multiplier == 2 and shared.vector.at(1).tolist() == [3.0, 0.0]
    assert shared_part(a, voice(3.0, -1.0, multiplier=1.5)) is None  # the same thing as both
    assert shared_part(a, voice(3.0, -1.0, layer=2, multiplier=0.5)) is None  # there is no such sum
    assert shared_part(a, voice(-3.0, -1.0, multiplier=0.5)) is None  # nothing is left of it


def test_without_what_both_share():
    a, b = voice(3.0, 1.0, layer=2), voice(1.0, -1.0, multiplier=0.5)
    own, other = without_shared(a, b)
    assert own.vector.at(2).tolist() == [1.0, 1.0] and other.vector.at(1).tolist() == [-1.0, -1.0]
    assert (own.steer.layer, other.steer.layer, other.steer.multiplier) == (2, 1, 0.5)
    assert own.relative_strength == pytest.approx(2**0.5 / 10)
    with pytest.raises(InputError, match="nothing would be left"):
        without_shared(voice(3.0, 1.0), b=voice(1.0, 0.0))


def test_what_sets_each_apart_is_there_where_both_together_would_cancel():
    own, other = less_shared(voice(3.0, 1.0, multiplier=2.0), voice(3.0, -1.0, multiplier=2.0))
    assert own.steer.vector.tolist() == [0.0, 1.0] and other.steer.vector.tolist() == [0.0, -1.0]
    assert (own.steer.multiplier, own.relative_strength) == (2.0, pytest.approx(0.2))
    assert less_shared(voice(3.0, 1.0), voice(-3.0, -1.0)) == ()  # they share nothing
    assert less_shared(voice(3.0, 1.0), Voice("words", system="Be brief.")) == ()
