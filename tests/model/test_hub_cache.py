import json

import pytest
from huggingface_hub import constants

from caa_core.errors import InputError
from caa_core.model import hub_cache as hub
from caa_core.progress import Progress
from tests.helpers.hub import COMMIT, Hub, in_hub_cache
from tests.helpers.models import save_tiny


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def test_what_is_whole_in_the_cache_needs_no_hub(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.cached("some/model") is None and list(hub.cached_decoders()) == []
    folder = in_hub_cache(cache, "some/model", tmp_path)
    assert hub.cached("some/model") == folder == hub.snapshot("some/model", print)
    assert list(hub.cached_decoders()) == [("some/model", folder)]


def test_shards_have_to_be_there_all_of_them(cache, tmp_path):
    folder = in_hub_cache(cache, "some/model", tmp_path)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    assert hub.cached("some/model") is None
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert hub.cached("some/model") is None
    (folder / "model-2.safetensors").write_bytes(b"")
    assert hub.cached("some/model") == folder
    (folder / "model.safetensors.index.json").write_text("[1]")
    assert hub.cached("some/model") is None


def test_only_decoders_are_listed(cache, tmp_path):
    folder = in_hub_cache(cache, "some/encoder", tmp_path)
    for config in ('{"architectures": ["BertForMaskedLM"]}', '{"architectures": [3]}', "{", "[]"):
        (folder / "config.json").write_text(config)
        assert list(hub.cached_decoders()) == []
    assert hub.cached("no/../such") is None


def test_a_model_is_fetched_without_what_is_not_wanted(cache, tmp_path, monkeypatch):
    mine = save_tiny(tmp_path / "mine")
    files = {file.name: file.read_bytes() for file in mine.iterdir()}
    others = {"pytorch_model.bin": b"pickle", "onnx/config.json": b"{}", "consolidated.safetensors": b"twice"}
    said = []
    with Hub({"some/model": files | others}, monkeypatch):
        folder = hub.snapshot("some/model", said.append)
    assert {file.name for file in folder.iterdir()} == files.keys() and folder.name == COMMIT
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert said[0] == "Fetching some/model from the hub ..."
    assert isinstance(said[-1], Progress) and said[-1].fraction == 1.0
    assert said[-1].total_cost == sum(map(len, files.values()))
    assert hub.cached("some/model") == folder


def test_a_download_has_to_fit_on_the_disk(cache, tmp_path, monkeypatch):
    monkeypatch.setattr("caa_core.model.machine.DISK_SLACK", 10**15)
    files = {"config.json": b"{}", "model.safetensors": b"0"}
    with Hub({"some/model": files}, monkeypatch), pytest.raises(InputError, match="set HF_HOME to a folder"):
        hub.snapshot("some/model", print)
    assert hub.cached("some/model") is None


def test_a_file_of_a_model(tmp_path, monkeypatch):
    said, content = [], bytes(range(256)) * 100
    with Hub({"some/model": {"a.gguf": content}}, monkeypatch) as running:
        hub.download("some/model", "a.gguf", tmp_path / "a.gguf", len(content), said.append)
        assert (tmp_path / "a.gguf").read_bytes() == content and running.ranges == []
        (tmp_path / "b.begun").write_bytes(content[:100])
        hub.download("some/model", "a.gguf", tmp_path / "b", len(content), said.append)
        assert (tmp_path / "b").read_bytes() == content and running.ranges == ["bytes=100-"]
        (tmp_path / "c.begun").write_bytes(content * 2)
        hub.download("some/model", "a.gguf", tmp_path / "c", len(content), said.append)
        assert (tmp_path / "c").read_bytes() == content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.gguf", "b", "c"]
    assert said[-1].fraction == 1.0 and said[-1].seconds_left == 0


def test_a_hub_that_is_not_there_is_noticed_at_once(cache, tmp_path, monkeypatch, waits):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for fetch in (
        lambda: hub.snapshot("nobody/no-such-model", print),
        lambda: hub.download("nobody/no-such-model", "a.gguf", tmp_path / "a.gguf", 10, print),
    ):
        with pytest.raises(Exception, match="refused"):
            fetch()
    assert waits == []
