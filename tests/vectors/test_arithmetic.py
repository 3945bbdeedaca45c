from dataclasses import replace

import pytest
import torch

from caa_core.errors import InputError
from caa_core.vectors import arithmetic
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector


def vector(name, seed, layers=(1, 2, 3), size=8, model="m"):
    random = torch.Generator().manual_seed(seed)
    made = {layer: torch.randn(size, generator=random) for layer in layers}
    papers = Provenance(model=model, model_fingerprint=model, dataset=name, dataset_sha256=name, num_pairs=9)
    return SteeringVector(name, made, dict.fromkeys(layers, 10.0), papers)


A, B = vector("a", 1), vector("b", 2, (2, 3, 4))


def test_sums_and_differences_at_the_layers_both_have():
    assert list(arithmetic.add(A, B).layers) == [2, 3]
    assert torch.equal(arithmetic.add(A, B).at(2), A.at(2) + B.at(2))
    assert torch.equal(arithmetic.subtract(A, B).at(3), A.at(3) - B.at(3))


def test_scale_negate_normalise():
    assert torch.equal(arithmetic.scale(A, 2.5).at(1), 2.5 * A.at(1))
    assert torch.equal(arithmetic.negate(A).at(1), -A.at(1))
    assert all(arithmetic.normalise(A).norm(layer) == pytest.approx(1) for layer in A.layers)


def test_what_is_projected_off_is_gone():
    rest = arithmetic.project_off(A, B)
    for layer in rest.layers:
        assert (rest.at(layer) @ B.at(layer)).item() == pytest.approx(0, abs=1e-5)
        along = A.at(layer) - rest.at(layer)
        assert torch.cosine_similarity(along, B.at(layer), dim=0).abs().item() == pytest.approx(1)


def test_equal_norms_keep_directions_and_the_mean():
    made = arithmetic.equal_norms([A, B])
    for layer in (2, 3):
        assert made[0].norm(layer) == pytest.approx(made[1].norm(layer))
        assert made[0].norm(layer) == pytest.approx((A.norm(layer) + B.norm(layer)) / 2)
        assert torch.cosine_similarity(made[0].at(layer), A.at(layer), dim=0).item() == pytest.approx(1)


def test_every_operation_writes_itself_down(tmp_path):
    made = arithmetic.subtract(arithmetic.scale(A, 2), B)
    assert made.provenance.operations == made.name == "(2 * a) - b"
    # Two sets went in, so the file names neither as its own.
    assert (made.provenance.dataset, made.provenance.num_pairs) == ("", 0)
    assert arithmetic.negate(A).provenance.dataset == "a"
    made.save(tmp_path / "x.safetensors")
    assert load_vector(tmp_path / "x.safetensors").provenance == made.provenance
    assert made.residual_norms == {2: 10.0, 3: 10.0}


def test_what_lies_along_b_entirely_leaves_nothing():
    with pytest.raises(InputError, match="nothing is left"):
        arithmetic.project_off(A, arithmetic.scale(A, -3.7))


def test_the_operands_are_not_changed():
    kept = A.at(2).clone()
    arithmetic.add(A, B), arithmetic.normalise(A), arithmetic.equal_norms([A, B])
    assert torch.equal(A.at(2), kept)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (vector("c", 3, size=4), "different models"),
        (vector("c", 3, model="other"), "different models"),
        (vector("c", 3, layers=(7,)), "no layer in common"),
        (replace(A, name="c"), "zero at layer 1"),
    ],
)
def test_what_cannot_be_combined(other, message):
    with pytest.raises(InputError, match=message):
        arithmetic.subtract(A, other)


def test_formulas_keep_their_history_and_their_brackets():
    total = arithmetic.add(B, A)
    named = replace(total, name="mine")
    made = arithmetic.subtract(A, arithmetic.scale(named, 2))
    assert (made.name, made.provenance.operations) == ("a - (2 * mine)", "a - (2 * (b + a))")
    assert arithmetic.negate(total).provenance.operations == "-(b + a)"


def test_papers_are_kept_where_they_hold_for_both():
    pca = replace(A, provenance=replace(A.provenance, method="pca", read_position="last", dataset="x"))
    mean = replace(B, provenance=replace(B.provenance, method="mean-difference", read_position="last", dataset="y"))
    unknown = replace(B, provenance=Provenance())
    made = arithmetic.add(pca, mean).provenance
    assert (made.method, made.read_position, made.dataset) == ("", "last", "")
    for pair in ((A, unknown), (unknown, A)):
        made = arithmetic.add(*pair).provenance
        assert (made.model_fingerprint, made.method) == (A.provenance.model_fingerprint, "")


def test_what_is_no_longer_finite_is_refused():
    with pytest.raises(InputError, match="NaN or infinity"):
        arithmetic.scale(A, 1e39)
