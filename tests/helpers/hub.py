"""The hub as a server on this machine, and its cache."""

import hashlib
import json
import shutil
from http.server import BaseHTTPRequestHandler

from huggingface_hub import constants

from tests.helpers.models import save_tiny
from tests.helpers.serving import served_by, url_of

COMMIT = "0123456789012345678901234567890123456789"


class Hub:
    """A server with the hub's addresses: models as {hub id: {file: bytes}}. It notes the ranges that were asked for."""

    def __init__(self, models, monkeypatch):
        self.models, self.ranges, self.monkeypatch = models, [], monkeypatch
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

        self.serving = served_by(Handler)

    def __enter__(self):
        address = url_of(self.serving.__enter__())
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
        self.monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        self.monkeypatch.setattr(constants, "ENDPOINT", address)
        return self

    def __exit__(self, *error):
        self.serving.__exit__(*error)

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
