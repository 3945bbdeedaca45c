import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from caa_core.data.text import clean, spans
from caa_core.errors import InputError
from caa_core.metrics.grid import parse_layers
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector

PAPERS = Provenance("tiny", "f" * 64, 4, "mean-difference", "letter", "mine", "d" * 64, 24, "c" * 64)


@pytest.fixture
def vector():
    layers = {1: torch.tensor([3.0, 4.0]), 3: torch.tensor([0.0, 2.0])}
    return SteeringVector("mine", layers, {1: 10.0, 3: 8.0}, PAPERS)


def test_strength(vector):
    assert vector.norm(1) == 5
    assert vector.relative_strength(1, -2) == 1.0
    assert SteeringVector("x", vector.layers, {}, PAPERS).relative_strength(1) is None
    with pytest.raises(InputError, match="'mine' has no layer 2; it has layers 1, 3"):
        vector.at(2)


def test_a_vector_shows_itself_in_one_line(vector):
    assert repr(vector) == "SteeringVector('mine', layers 1, 3, hidden size 2)"
    many = SteeringVector("joy", {layer: torch.zeros(576) for layer in range(30)}, {}, PAPERS)
    assert repr(many) == "SteeringVector('joy', layers 0-29, hidden size 576)"


def test_a_saved_file_says_what_the_format_asks_for(vector, tmp_path):
    vector.save(tmp_path / "v.safetensors")
    with safe_open(tmp_path / "v.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["layers.1", "layers.3"]
        said = file.metadata()
    assert said.pop("created_with").startswith("caa-studio")
    assert said.pop("layer_convention")
    assert json.loads(said.pop("residual_norms")) == [None, 10.0, None, 8.0]
    assert said == {
        "format": "caa-steering-vector",
        "format_version": "1",
        "name": "mine",
        "model": "tiny",
        "model_fingerprint": "f" * 64,
        "hidden_size": "2",
        "num_layers": "4",
        "method": "mean-difference",
        "read_position": "letter",
        "dataset": "mine",
        "dataset_sha256": "d" * 64,
        "num_pairs": "24",
        "chat_template_sha256": "c" * 64,
    }


def test_a_file_comes_back_as_it_was(vector, tmp_path):
    vector.save(tmp_path / "v.safetensors")
    again = load_vector(tmp_path / "v.safetensors")
    assert (again.name, again.residual_norms, again.provenance) == (vector.name, vector.residual_norms, PAPERS)
    assert all(torch.equal(again.at(layer), vector.at(layer)) for layer in (1, 3))


def test_norms_that_are_none_are_not_written(vector, tmp_path):
    overflowed = replace(vector, residual_norms={1: math.inf, 3: 8.0}, letter_share={1: math.nan, 3: 0.5})
    overflowed.save(tmp_path / "v.safetensors")
    again = load_vector(tmp_path / "v.safetensors")
    assert (again.residual_norms, again.letter_share) == ({3: 8.0}, {3: 0.5})


def test_what_a_file_does_not_say_is_absent(tmp_path):
    save_file(
        {"layers.0": torch.ones(2)},
        tmp_path / "v.safetensors",
        {"format": "caa-steering-vector", "format_version": "1"},
    )
    again = load_vector(tmp_path / "v.safetensors")
    assert (again.name, again.residual_norms, again.provenance.num_pairs) == ("v", {}, 0)
    assert again.provenance.created_with == ""
    assert again.differences(model()) == []


GOOD = {"format": "caa-steering-vector", "format_version": "1"}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"0": torch.ones(2)}, None, "not a steering vector"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "format_version": "9"}, "format version 9"),
        ({"weights": torch.ones(2)}, GOOD, "holds a tensor 'weights'"),
        ({"layers.-1": torch.ones(2)}, GOOD, "holds a tensor"),
        ({}, GOOD, "holds no layer"),
        ({"layers.0": torch.tensor([1.0, float("nan")])}, GOOD, "layer 0: it holds NaN"),
        ({"layers.0": torch.tensor([1.0, float("inf")])}, GOOD, "layer 0: it holds NaN or infinity"),
        ({"layers.0": torch.zeros(2)}, GOOD, "layer 0: it is zero everywhere"),
        ({"layers.0": torch.ones(2), "layers.1": torch.ones(3)}, GOOD, "layer 1: a float32 tensor"),
        ({"layers.0": torch.ones(2, 2)}, GOOD, "layer 0: a float32 tensor"),
        ({"layers.0": torch.ones(2).double()}, GOOD, "layer 0: a float32 tensor"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "num_pairs": "many"}, "whole numbers"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "residual_norms": "{"}, "residual_norms"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "residual_norms": '{"0": 2}'}, "residual_norms"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "residual_norms": "[NaN]"}, "residual_norms"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "residual_norms": "[-3]"}, "residual_norms"),
        ({"layers.01": torch.ones(2)}, GOOD, "holds a tensor"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "residual_norms": f"[1{'0' * 400}]"}, "residual_norms"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "residual_norms": "[" * 2_000_000}, "residual_norms"),
        ({"layers.0": torch.ones(2)}, {**GOOD, "more": " " * 5_000_000}, "header is too long"),
        ({"layers.4000000000": torch.ones(2)}, GOOD, "holds a tensor"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, tensors, metadata, message):
    save_file(tensors, tmp_path / "v.safetensors", metadata)
    with pytest.raises(InputError, match=message):
        load_vector(tmp_path / "v.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_files_of_another_kind_are_refused(tmp_path, content):
    (tmp_path / "v.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"v\.safetensors is not a safetensors file"):
        load_vector(tmp_path / "v.safetensors")


def test_names_from_files_cannot_rewrite_the_line(tmp_path):
    said = {**GOOD, "name": "joy\x1b[2J\u202e\n", "dataset": "a\u2066\x00b", "model": "m" * 5000}
    save_file({"layers.0": torch.ones(2)}, tmp_path / "v.safetensors", said)
    again = load_vector(tmp_path / "v.safetensors")
    assert (again.name, again.provenance.dataset, again.provenance.model) == ("joy[2J", "ab", "m" * 120)
    assert clean("naïve 日本 👩‍🔬 שלום") == "naïve 日本 👩‍🔬 שלום"


def model(**changes):
    """What a model says of itself, the one that `PAPERS` name by default."""
    said = {"fingerprint": "f" * 64, "also": (), "architecture": "llama", "template_sha256": "c" * 64}
    return SimpleNamespace(**said | {"num_layers": 4, "hidden_size": 2} | changes)


def test_another_model_is_noticed(vector):
    assert vector.differences(model()) == []
    assert vector.differences(model(fingerprint="tensors:1", also=("a", "f" * 64))) == []
    assert vector.differences(model(fingerprint="0" * 64)) == ["it was made on tiny, whose weights differ from these"]
    assert "chat template" in vector.differences(model(template_sha256="0" * 64))[0]
    other = "it was made on tiny, which is another model than this"
    for changed in ({"num_layers": 5}, {"hidden_size": 3}):
        assert vector.differences(model(fingerprint="0" * 64, **changed)) == [other]


def test_other_weights_are_told_from_another_model(vector):
    made = replace(vector, provenance=replace(PAPERS, model_architecture="llama"))
    assert made.differences(model()) == []
    (same,) = made.differences(model(fingerprint="0" * 64))
    assert same == "it was made on tiny, of the same architecture, whose weights differ from these"
    (other,) = made.differences(model(fingerprint="0" * 64, architecture="qwen2"))
    assert other == "it was made on tiny, which is another model than this"


@pytest.mark.parametrize(
    ("text", "layers"),
    [("all", [0, 1, 2, 3]), ("", [0, 1, 2, 3]), ("2", [2]), ("0, 2-3", [0, 2, 3]), ("3,1,3", [1, 3])],
)
def test_layers_as_people_type_them(text, layers):
    assert parse_layers(text, 4) == layers


@pytest.mark.parametrize("text", ["4", "1-4", "3-1", "x", "1,,2", "-1", "1.5", "9" * 5000])
def test_layers_that_do_not_exist(text):
    with pytest.raises(InputError, match="layer"):
        parse_layers(text, 4)


def test_spans():
    assert spans([0, 1, 2, 5, 7, 8]) == "layers 0 to 2, 5, 7 to 8"
    assert spans([3]) == "layer 3"


def test_the_letters_share_is_kept(vector, tmp_path):
    SteeringVector("mine", vector.layers, {}, PAPERS, {1: 0.9, 3: 0.5}).save(tmp_path / "v.safetensors")
    assert load_vector(tmp_path / "v.safetensors").letter_share == {1: 0.9, 3: 0.5}
