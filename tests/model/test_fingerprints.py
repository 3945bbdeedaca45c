"""Weights that differ have other names, and what does not count for them changes none."""

import json
import shutil
import struct

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from caa_core.errors import InputError
from caa_core.metrics.cache import key
from caa_core.model.fingerprints import PIECES, TENSORS, WHOLE, of_folder, of_folder_before
from caa_core.model.loading import load
from caa_core.progress import finish
from caa_core.vectors.arithmetic import add
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import load_vector
from tests.helpers.data import TEXTS
from tests.helpers.models import save_tiny

QUIET = {"say": lambda _: None}


def folder_of(folder, tensors, config='{"rope_theta": 1.0}', shards=1):
    folder.mkdir()
    names = list(tensors)
    for shard in range(shards):
        save_file({name: tensors[name] for name in names[shard::shards]}, folder / f"model-{shard}.safetensors")
    (folder / "config.json").write_text(config)
    return of_folder(folder)


def weights():
    random = torch.Generator().manual_seed(0)
    return {name: torch.randn(size, 1024, generator=random) for name, size in (("a", 300), ("b", 1), ("c", 700))}


def test_fine_tunes_that_part_behind_the_first_mib_have_two_fingerprints(tmp_path):
    tuned = weights() | {"c": weights()["c"] + 1e-3}
    prints = [folder_of(tmp_path / "one", weights()), folder_of(tmp_path / "other", tuned)]
    assert prints[0] != prints[1] and all(one.startswith(TENSORS) for one in prints)
    assert of_folder_before(tmp_path / "one") == of_folder_before(tmp_path / "other"), "what was not seen before"


@pytest.mark.parametrize(
    "change", ["name", "shape", "dtype", "one number of a small tensor", "the last number", "theta"]
)
def test_whatever_counts_changes_it(tmp_path, change):
    before = folder_of(tmp_path / "one", weights())
    tensors, config = weights(), '{"rope_theta": 1.0}'
    if change == "name":
        tensors["d"] = tensors.pop("c")
    elif change == "shape":
        tensors["a"] = tensors["a"].reshape(600, 512)
    elif change == "dtype":
        tensors["b"] = tensors["b"].view(torch.int32)
    elif change == "theta":
        config = '{"rope_theta": 2.0}'
    else:
        tensor = tensors["b" if "small" in change else "c"]
        tensor[-1, -1] += 1
    assert folder_of(tmp_path / "other", tensors, config) != before


def test_what_does_not_count_changes_nothing(tmp_path):
    before = folder_of(tmp_path / "one", weights())
    config = '{\n "transformers_version": "5.0",\n "rope_theta": 1.0, "dtype": "float32", "_name_or_path": "x"\n}'
    assert folder_of(tmp_path / "other", weights(), config, shards=2) == before


def test_every_part_of_a_large_tensor_is_looked_at(tmp_path):
    """A change of an eighth of it, wherever it lies, is seen."""
    large = torch.zeros(8 * WHOLE // 4)
    prints = {folder_of(tmp_path / "none", {"a": large})}
    for part in range(8):
        changed = large.clone()
        changed.chunk(8)[part].fill_(1)
        prints.add(folder_of(tmp_path / str(part), {"a": changed}))
    assert len(prints) == 9 and PIECES >= 8


def test_a_tensor_of_any_size_is_sampled_and_not_read_through(tmp_path):
    """One of a terabyte, on a disk that holds nothing of it."""
    size = 1 << 40
    header = json.dumps({"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    before = of_folder(tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"1")
    assert before != of_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0[1,2]", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}"[:9]])
def test_a_file_that_is_none_is_said(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SafetensorError, match=r"model\.safetensors is not a safetensors file that can be read"):
        of_folder(tmp_path)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model, the same fine-tuned in its last tensor alone, and one of another architecture and the same sizes."""
    place = tmp_path_factory.mktemp("models")
    first = save_tiny(place / "first")
    tuned = shutil.copytree(first, place / "tuned")
    tensors = load_file(tuned / "model.safetensors")
    tensors[max(tensors)] += 0.1
    save_file(tensors, tuned / "model.safetensors", {"format": "pt"})
    other = save_tiny(place / "other", "qwen2")
    return [load(str(folder), dtype="float32", **QUIET) for folder in (first, tuned, other)]


def test_what_is_kept_of_one_fine_tune_does_not_answer_for_the_other(models):
    first, tuned, _ = models
    tuned.name = first.name
    assert key(first, "x") != key(tuned, "x")


def test_a_vector_says_whether_the_model_or_its_weights_are_others(models):
    first, tuned, other = models
    vector = finish(extract(first, TEXTS, [1]))
    assert vector.differences(first) == []
    assert vector.differences(tuned)[0].endswith(", of the same architecture, whose weights differ from these")
    assert vector.differences(other)[0].endswith(", which is another model than this")


def test_a_vector_from_before_is_read_as_before(models, tmp_path):
    """It says its folder by what a folder was known by, and no architecture."""
    first, tuned, _ = models
    vector = finish(extract(first, TEXTS, [1]))
    (was,) = first.also
    vector.save(tmp_path / "new.safetensors")
    said = {**vector.metadata(), "model_fingerprint": was}
    del said["model_architecture"]
    save_file({"layers.1": vector.at(1)}, tmp_path / "old.safetensors", said)
    old, new = (load_vector(tmp_path / f"{name}.safetensors") for name in ("old", "new"))
    assert old.differences(first) == [] and new.provenance == vector.provenance
    assert [found for found in old.differences(tuned) if "weights differ" in found]
    assert add(old, new).provenance.model_fingerprint == ""
    with pytest.raises(InputError, match="made on different models"):
        add(new, finish(extract(tuned, TEXTS, [1])))


def test_the_architecture_is_that_of_the_blocks(models, tmp_path):
    """More tokens, or another dtype, make no other."""
    first, tuned, other = models
    wider = load(str(save_tiny(tmp_path / "wider", vocab_size=first.vocab_size + 8)), dtype="bfloat16", **QUIET)
    assert first.architecture == tuned.architecture == wider.architecture != other.architecture
