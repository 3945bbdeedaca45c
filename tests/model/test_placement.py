"""Models that do not fit onto their device as a whole, or lie there packed: what is read and steered is the same."""

import re
from copy import deepcopy

import pytest
import torch

from caa_core.errors import InputError
from caa_core.model.loading import ModelParts, load, wrap
from caa_core.model.machine import WORKING_BYTES, WORKING_FACTOR
from caa_core.model.placement import blocks_path, dealt, sizes_of
from caa_core.model.prompts import render
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import side_by_side
from caa_core.steering.gradients import gradients
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.steering.scoring import score
from caa_core.vectors.extraction import extract
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.models import TINY, make_tiny, save_tiny

QUIET = {"say": lambda _: None}
MB = 1_000_000
PARTS = {"embed": 40 * MB, **{f"blocks.{n}": 100 * MB for n in range(4)}, "norm": MB, "head": 40 * MB}


def free_for(weights):
    """Bytes that have to be free for so many of weights."""
    return int(weights * WORKING_FACTOR) + WORKING_BYTES + 100


def results(model):
    """What is read, steered, scored and estimated: the same for the same weights, wherever these lie."""
    vector = finish(extract(model, TEXTS, range(model.num_layers)))
    steers = (Steer(vector.at(1), 1, 4.0), Steer(vector.at(3), 3, -2.0))
    prompt = render(model.tokenizer, [{"role": "user", "content": "How are you?"}])
    written = finish(side_by_side(model, prompt, steers, AFTER_PROMPT, Decoding(8)))
    scores = finish(score(model, LETTERS.pairs, [steers]))
    estimated = finish(gradients(model, TEXTS.pairs, torch.eye(len(TEXTS.pairs)), range(model.num_layers)))
    directions = torch.stack([vector.at(layer) for layer in range(model.num_layers)])
    return directions, written, scores.preference, estimated


def test_all_but_blocks_lies_on_the_first_device_and_blocks_where_there_is_room():
    room = {0: free_for(181 * MB + 250 * MB), 1: free_for(110 * MB)}
    where = dealt(PARTS, "blocks", room, "cpu")
    assert where == {"embed": 0, "blocks.0": 0, "blocks.1": 0, "blocks.2": 1, "blocks.3": "cpu", "norm": 0, "head": 0}
    assert dealt(PARTS, "blocks", {"cpu": free_for(180 * MB)}, "disk") is None
    few = dealt(PARTS, "blocks", {"cpu": free_for(182 * MB)}, "disk")
    assert [few[f"blocks.{n}"] for n in range(4)] == ["disk"] * 4


@pytest.mark.parametrize("architecture", TINY)
def test_parts_are_all_of_a_model_and_what_is_shared_counts_once(architecture):
    module = make_tiny(architecture).module
    blocks = blocks_path(module, "tiny")
    sizes = sizes_of(module, blocks, 4)
    assert sum(sizes.values()) == 4 * sum(one.numel() for one in module.parameters())
    assert len([path for path in sizes if path.startswith(f"{blocks}.")]) == 4


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_blocks_on_the_disk(architecture, tmp_path, limited, monkeypatch):
    folder = str(save_tiny(tmp_path / "tiny", architecture))
    whole = load(folder, "float32", "cpu", **QUIET)
    sizes = sizes_of(whole.module, blocks_path(whole.module, "tiny"), 4)
    block = max(size for path, size in sizes.items() if re.search(r"\.\d+$", path))
    around = sum(sizes.values()) - 4 * block
    limited(free_for(around + 2.5 * block), 0, 0)
    with pytest.raises(InputError, match=r"tiny needs about 0\.3 GB of memory in float32"):
        load(folder, "float32", "cpu", **QUIET)
    monkeypatch.setenv("CAA_OFFLOAD", str(tmp_path / "aside"))
    parted = load(folder, "float32", "cpu", **QUIET)
    assert sorted(parted.module.hf_device_map.values()).count("disk") == 3
    assert parted.architecture == whole.architecture and parted.fingerprint == whole.fingerprint
    for ours, theirs in zip(results(parted), results(whole), strict=True):
        if isinstance(ours, torch.Tensor):
            assert torch.allclose(ours, theirs, atol=1e-5)
        else:
            assert ours == theirs
    assert results(parted)[1].steered.ids != results(parted)[1].unsteered.ids


def test_a_disk_that_is_no_folder(tmp_path, limited, monkeypatch):
    folder = str(save_tiny(tmp_path / "tiny"))
    limited(WORKING_BYTES, 0, 0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAA_OFFLOAD", str(tmp_path / "file"))
    with pytest.raises(InputError, match="CAA_OFFLOAD cannot be used"):
        load(folder, "float32", "cpu", **QUIET)
    monkeypatch.setenv("CAA_OFFLOAD", str(tmp_path / "aside"))
    with pytest.raises(InputError, match=r"0\.0 GB of weights in float32\. 0\.3 GB are free of memory, where all"):
        load(folder, "float32", "cpu", **QUIET)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_packed_weights(bits, tmp_path, limited):
    pytest.importorskip("bitsandbytes")
    folder = str(save_tiny(tmp_path / "tiny", hidden_size=64, intermediate_size=128))
    plain, packed = (load(folder, precision, "cpu", **QUIET) for precision in ("float32", bits))
    assert packed.precision == packed.provenance["dtype"] == bits and plain.precision == "float32"
    assert packed.architecture == plain.architecture and packed.fingerprint == plain.fingerprint
    # What is read and done is that of the numbers to which the weights were rounded.
    rounded = wrap(ModelParts("rounded", "", deepcopy(packed.module).dequantize().float(), packed.tokenizer))
    there, here = results(packed), results(rounded)
    for packed_numbers, numbers in ((there[0], here[0]), (there[3].flatten(1), here[3].flatten(1))):
        assert torch.nn.functional.cosine_similarity(packed_numbers, numbers, dim=1).min() > 0.98
    assert torch.allclose(there[2], here[2], atol=0.3)
    assert there[1].steered.ids != there[1].unsteered.ids
    limited(1000, 0, 0)
    with pytest.raises(InputError, match=f"tiny needs about 0.3 GB of memory in {bits}"):
        load(folder, bits, "cpu", **QUIET)


def test_packing_takes_a_package_and_no_gguf(tmp_path, monkeypatch):
    monkeypatch.setattr("caa_core.model.loading.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"For 4bit the package bitsandbytes is needed: pip install -r requirements-q"):
        load(str(tmp_path), "4bit", "cpu", **QUIET)
    monkeypatch.setattr("caa_core.model.loading.find_spec", lambda name: name)
    from tests.helpers.weights import tiny_gguf

    tiny_gguf(tmp_path)
    with pytest.raises(InputError, match=r"for 8bit take the model's safetensors"):
        load(str(tmp_path / "tiny.gguf"), "8bit", "cpu", **QUIET)
