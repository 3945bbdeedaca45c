"""A hub on this machine with one model: python -m cpu_host.hub PORT OWNER/NAME FOLDER."""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "1" * 40


def parameters(folder: Path) -> int:
    """How many numbers its safetensors hold."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                size = 1
                for length in entry["shape"]:
                    size *= length
                total += size
    return total


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub when it looks a model up and fetches its files."""

    protocol_version = "HTTP/1.1"
    name, folder = "", Path()

    def log_message(self, *_):
        """Nothing is said."""

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        path = self.path.split("?")[0]
        if match := re.fullmatch(rf"/api/models/{self.name}(/.*)?", path, re.IGNORECASE):
            return self._about(match[1] or "")
        if match := re.fullmatch(rf"/{self.name}/resolve/[^/]+/(.+)", path, re.IGNORECASE):
            return self._file(self.folder / match[1])
        return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _about(self, rest: str):
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        if rest.startswith("/tree"):
            listed = [{"type": "file", "path": f.name, "oid": COMMIT, "size": f.stat().st_size} for f in files]
            return self._send(200, json.dumps(listed).encode())
        count = parameters(self.folder)
        found = {
            "_id": "1",
            "id": self.name,
            "modelId": self.name,
            "sha": COMMIT,
            "private": False,
            "tags": [],
            "pipeline_tag": "text-generation",
            "library_name": "transformers",
            "safetensors": {"parameters": {"F32": count}, "total": count},
            "siblings": [{"rfilename": path.name} for path in files],
        }
        return self._send(200, json.dumps(found).encode())

    def _file(self, path: Path):
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        headers = {"ETag": f'"{path.name}-{path.stat().st_size}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        content = b"" if self.command == "HEAD" else path.read_bytes()
        return self._send(200, content, headers, path.stat().st_size)

    def _send(self, status, content, headers=None, size=None):
        self.send_response(status)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


if __name__ == "__main__":
    Hub.name, Hub.folder = sys.argv[2], Path(sys.argv[3])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hub).serve_forever()
