import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from caa_core.errors import InputError
from caa_core.model import hub_cache as hub
from caa_core.progress import Progress
from tests.helpers.models import save_tiny

COMMIT = "0123456789012345678901234567890123456789"


class Hub:
    """A server with the hub's addresses: models as {hub id: {file: bytes}}. It notes the ranges that were asked for."""

    def __init__(self, models, monkeypatch):
        self.models, self.ranges = models, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, body):
                status, headers, content = outer.find(self.path, self.headers.get("Range"))
                self.send_response(status)
                for name, value in ({"Content-Length": len(content), "X-Repo-Commit": COMMIT} | headers).items():
                    self.send_header(name, str(value))
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        address = f"http://127.0.0.1:{self.server.server_port}"
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", address)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def find(self, path, wanted):
        path = path.split("?")[0]
        for hub_id, files in self.models.items():
            if path == f"/api/models/{hub_id}/revision/main":
                siblings = [{"rfilename": name} for name in files]
                return 200, {}, json.dumps({"id": hub_id, "sha": COMMIT, "siblings": siblings}).encode()
            if path.startswith(f"/api/models/{hub_id}/tree/"):
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in files.items()
                ]
                return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
            name = path.split("/", 5)[-1]
            if path.startswith(f"/{hub_id}/resolve/") and name in files:
                return self.piece(files[name], wanted)
        return (200 if path == "/" else 404), {}, b""

    def piece(self, content, wanted):
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        if not wanted:
            return 200, headers, content
        self.ranges.append(wanted)
        first = int(wanted.removeprefix("bytes=").split("-")[0])
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return 206, headers, content[first:]


def in_hub_cache(cache, hub_id, tmp_path):
    """A real tiny model, laid into a hub cache as the hub's client does. Returns its snapshot's folder."""
    model = cache / f"models--{hub_id.replace('/', '--')}"
    folder = model / "snapshots" / COMMIT
    if not (tmp_path / "for-the-hub").exists():
        save_tiny(tmp_path / "for-the-hub")
    shutil.copytree(tmp_path / "for-the-hub", folder)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    return folder


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


def test_a_hub_that_is_not_there_is_noticed_at_once(monkeypatch):
    import time

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(Exception, match="refused"):
        hub.snapshot("nobody/no-such-model", print)
    assert time.monotonic() - started < 2
