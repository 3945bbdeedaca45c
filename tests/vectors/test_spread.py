import pytest
import torch

from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.steering.interventions import parse_spread, parse_steer
from caa_core.steering.operations import Operation
from caa_core.vectors.arithmetic import share_out
from caa_core.vectors.formats import read_vector, write_vector
from caa_core.vectors.spread import spread
from caa_core.vectors.vector import Provenance, SteeringVector

NORMS = {1: 4.0, 2: 8.0, 3: 20.0}
VECTOR = SteeringVector("v", {n: n * torch.eye(3)[n - 1] for n in NORMS}, NORMS, Provenance())


def test_equal_shares_sum_to_the_multiplier():
    steers = spread(VECTOR, [1, 2, 3], 1.5)
    assert [steer.multiplier for steer in steers] == pytest.approx([0.5, 0.5, 0.5])
    assert all(torch.equal(steer.vector, VECTOR.at(steer.layer)) for steer in steers)


def test_by_norm_it_is_as_strong_beside_the_residual_stream_at_each_layer():
    steers = spread(VECTOR, [1, 2, 3], -1.5, shares="norm")
    assert sum(steer.multiplier for steer in steers) == pytest.approx(-1.5)
    relative = [VECTOR.relative_strength(steer.layer, steer.multiplier) for steer in steers]
    assert relative == pytest.approx([relative[0]] * 3) and len({steer.multiplier for steer in steers}) > 1


@pytest.mark.parametrize("shares", ["equal", "norm"])
def test_one_layer_has_all_of_it_whatever_is_known(shares):
    (steer,) = spread(SteeringVector("v", VECTOR.layers, {}, Provenance()), [2], 1.5, shares=shares)
    assert (steer.layer, steer.multiplier) == (2, 1.5)


def test_whole_shares_are_the_whole_multiplier_at_each_layer():
    assert [steer.multiplier for steer in spread(VECTOR, [1, 3], 1.5, shares="whole")] == [1.5, 1.5]


@pytest.mark.parametrize("ending", [".gguf", ".safetensors"])
@pytest.mark.parametrize("shares", ["equal", "norm"])
def test_a_file_of_shares_adds_whole_what_they_share(tmp_path, ending, shares):
    write_vector(share_out(VECTOR, [1, 3], shares), tmp_path / f"v{ending}")
    read = read_vector(tmp_path / f"v{ending}")
    assert list(read.layers) == [1, 3] and read.provenance.operations == f"v over {spans([1, 3])}, {shares} shares"
    for one, other in zip(
        spread(VECTOR, [1, 3], 1.5, shares=shares), spread(read, [1, 3], 1.5, shares="whole"), strict=True
    ):
        assert torch.allclose(one.multiplier * one.vector, other.multiplier * other.vector)
    with pytest.raises(InputError, match="has no layer 2"):
        spread(read, [1, 2], 1.0)


@pytest.mark.parametrize("name", ["ablate", "cap:0"])
def test_what_is_taken_away_is_taken_whole_at_each_layer(name):
    steers = spread(VECTOR, [1, 3], 1.0, Operation.parse(name))
    assert [(steer.layer, steer.multiplier, str(steer.operation)) for steer in steers] == [(1, 1, name), (3, 1, name)]


def test_what_cannot_be_shared_is_said():
    with pytest.raises(InputError, match="does not say how large the residual stream is at layer 2"):
        spread(SteeringVector("v", VECTOR.layers, {1: 4.0}, Provenance()), [1, 2], 1.0, shares="norm")
    with pytest.raises(InputError, match="has no layer 4"):
        spread(VECTOR, [3, 4], 1.0)
    with pytest.raises(InputError, match="at least one layer"):
        spread(VECTOR, [], 1.0)


@pytest.mark.parametrize(
    ("spec", "layers"), [("joy:12:1.5", (12,)), ("a:b-1:2-4:1.5", (2, 3, 4)), ("joy:3,1-2,2:1.5", (1, 2, 3))]
)
def test_a_range_of_layers_stands_in_place_of_one(spec, layers):
    source, found, multiplier = parse_spread(spec)
    assert (source, found, multiplier) == (spec.rsplit(":", 2)[0], layers, 1.5)


@pytest.mark.parametrize(
    ("spec", "said"),
    [("joy:4-2:1", "run backwards: write 2-4"), ("joy:2-:1", "is not FILE:LAYER"), ("joy:-2:1", "is not")],
)
def test_no_range_is_said(spec, said):
    with pytest.raises(InputError, match=said):
        parse_spread(spec)


def test_where_there_is_one_layer_several_are_refused():
    with pytest.raises(InputError, match="has several layers, and here there is one"):
        parse_steer("joy:2-3:1")
