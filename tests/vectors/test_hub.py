import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch

from caa_core.errors import InputError
from caa_core.vectors.formats import write_vector
from caa_core.vectors.hub import available, pull_vector, push_vector
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector
from tests.helpers.places import ROOT

TOKEN = "hf_aSecretThatIsNeverShown"
COMMIT = "0" * 40
VECTOR = SteeringVector("joy", {1: torch.tensor([1.0, 2.0])}, {1: 3.0}, Provenance("tiny"))


@pytest.fixture
def logged_in(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("CAA_PUBLIC", raising=False)


@pytest.mark.usefixtures("logged_in")
def test_who_may_use_it(monkeypatch, tmp_path):
    assert available()
    monkeypatch.setenv("CAA_PUBLIC", "1")
    assert not available()
    for work in (lambda: push_vector(VECTOR, "me/joy"), lambda: pull_vector("me/joy")):
        with pytest.raises(InputError, match="open to strangers"):
            work()


def test_without_a_token(tmp_path):
    """Where a token comes from is read at import, so this is a process of its own."""
    code = (
        "import torch; from caa_core.vectors.hub import *; from caa_core.vectors.vector import *\n"
        "assert not available()\n"
        "for work in (lambda: push_vector(SteeringVector('x', {1: torch.ones(2)}, {}, Provenance()), 'me/joy'),\n"
        "             lambda: pull_vector('me/joy')):\n"
        "    try: work()\n"
        "    except InputError as error: print(error)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "CAA_PUBLIC"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env | {"HF_HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.count("You are not logged in at the Hugging Face hub") == 2, done.stderr


@pytest.mark.usefixtures("logged_in")
@pytest.mark.parametrize("repo_id", ["", "a/b/c", "a b", "../x", "a/--b", "x" * 200, "https://hub/a/b", "a/b\n"])
def test_ids_that_are_none(repo_id):
    for work in (lambda: push_vector(VECTOR, repo_id), lambda: pull_vector(repo_id)):
        with pytest.raises(InputError, match="is not the id of a repository") as refused:
            work()
        assert str(refused.value).isprintable()


class Answers(BaseHTTPRequestHandler):
    """Answers over HTTP as the hub's interface says: what is asked for decides which."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self):
        repo, _, rest = self.path.removeprefix("/api/models").lstrip("/").partition("?")[0].partition("/resolve/")
        name = rest.partition("/")[2]
        said = {"id": repo, "sha": COMMIT, "siblings": self.siblings(repo)}
        refusal = {
            "you/gated": (403, {"X-Error-Code": "GatedRepo"}),
            "you/gone": (404, {"X-Error-Code": "RepoNotFound"}),
            "you/forbidden": (403, {}),
            "you/expired": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            "you/broken": (500, {}),
        }.get(repo)
        if refusal:
            return self.answer(refusal[0], b'{"error": "no"}', refusal[1])
        if not rest:
            return self.answer(200, json.dumps(said).encode(), {})
        if name == "vanished.gguf":
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = self.files[name]
        tag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self.answer(200, content, tag)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "you/mine" not in self.path and b'"mine"' not in body:
            return self.answer(403, b'{"error": "no"}', {})
        url = f"http://127.0.0.1:{self.server.server_port}/you/mine"
        lines = [json.loads(line) for line in body.splitlines()]
        if self.path.endswith("/preupload/main"):
            said = {
                "files": [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in lines[0]["files"]
                ]
            }
        elif self.path.endswith("/commit/main"):
            file = next(line["value"] for line in lines if line["key"] == "file")
            self.files[file["path"]] = base64.b64decode(file["content"])
            said = {"commitUrl": f"{url}/commit/{COMMIT}", "commitOid": COMMIT}
        else:
            said = {"url": url}
        return self.answer(200, json.dumps(said).encode(), {})

    def siblings(self, repo):
        names = {
            "you/mine": ["joy_1.safetensors"],
            "you/one": ["README.md", "joy.gguf"],
            "you/two": ["joy.gguf", "sub/a\u202eb.zip"],
            "you/none": ["a.md"],
        }
        sizes = {name: len(content) for name, content in self.files.items()} | {"huge.gguf": 10**9}
        listed = names.get(repo, ["huge.gguf"] if repo == "you/huge" else ["vanished.gguf"])
        return [{"rfilename": name, "size": sizes.get(name, 5)} for name in listed]

    def answer(self, status, content, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


CALLS = """
import json, sys, time, torch
from pathlib import Path
from caa_core.errors import InputError
from caa_core.vectors.hub import pull_vector, push_vector
from caa_core.vectors.vector import Provenance, SteeringVector
for what, repo, name in json.loads(sys.argv[1]):
    start = time.monotonic()
    try:
        if what == "push":
            said = push_vector(SteeringVector("joy/1", {1: torch.ones(2)}, {}, Provenance()), repo)
        else:
            vector = pull_vector(repo, name)
            said = [vector.name, vector.at(1).tolist(), vector.provenance.model]
    except InputError as error:
        said = str(error)
    print(json.dumps([said, time.monotonic() - start]))
"""


def answers_to(calls, endpoint, home):
    """What each call returned or said, and how long it took; the hub's address is read when the library is imported."""
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "CAA_PUBLIC": ""}
    env["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(calls)], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    file = tmp_path_factory.mktemp("files") / "joy.gguf"
    write_vector(VECTOR, file)
    Answers.files[file.name] = file.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_what_the_hub_may_answer(hub, tmp_path):
    cases = [
        (("pull", "you/one", None), ["joy", [1.0, 2.0], "tiny"]),
        (("pull", "you/two", "joy.gguf"), ["joy", [1.0, 2.0], "tiny"]),
        (("pull", "you/two", None), "you/two holds several vectors, name one: joy.gguf, sub/ab.zip."),
        (("pull", "you/two", "../joy.gguf"), "you/two holds no file '../joy.gguf'."),
        (("pull", "you/none", None), "you/none holds no vector file (.safetensors, .gguf, .zip)."),
        (("pull", "you/huge", None), "huge.gguf is larger than 200 MB, which no steering vector is."),
        (("pull", "you/vanished", None), "The file is not in you/vanished any more."),
        (("pull", "you/gated", None), "you/gated is gated: ask for access on its page at the hub first."),
        (("pull", "you/gone", None), "The hub has no model repository you/gone, or your token may not see it."),
        (("pull", "you/forbidden", None), "Your token may not do this with you/forbidden"),
        (("pull", "you/expired", None), "Your token may not do this with you/expired"),
        (("pull", "you/broken", None), "The hub answered with an error (500); try again later."),
        (("push", "you/forbidden", None), "Your token may not do this with you/forbidden"),
    ]
    said = answers_to([call for call, _ in cases], hub, tmp_path)
    assert len(said) == len(cases)
    for (call, expected), (answer, _) in zip(cases, said, strict=True):
        assert answer == expected or (isinstance(answer, str) and answer.startswith(str(expected))), call


def test_what_is_pushed_can_be_pulled(hub, tmp_path):
    calls = [("push", "you/mine", None), ("pull", "you/mine", None)]
    (url, _), (again, _) = answers_to(calls, hub, tmp_path)
    assert url == f"{hub}/you/mine/blob/main/joy_1.safetensors"
    assert again == ["joy/1", [1.0, 1.0], ""]


def test_a_hub_that_cannot_be_reached(tmp_path):
    said = answers_to([("pull", "you/one", None), ("push", "you/one", None)], "http://127.0.0.1:9", tmp_path)
    assert [text for text, _ in said] == [
        "The hub cannot be reached, or did not answer as it should (ConnectError); try again later."
    ] * 2
    assert all(seconds < 5 for _, seconds in said)


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = answers_to([("pull", "you/one", None)], "http://127.0.0.1:9", tmp_path)
    assert said[0][0] == "The hub is not asked while HF_HUB_OFFLINE is set."


def test_from_the_command_line(hub, tmp_path):
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path), "CAA_PUBLIC": ""}
    program = [sys.executable, "-m", "caa_core"]
    pulled = [*program, "pull", "you/one", str(tmp_path / "joy.safetensors"), "--json"]
    done = subprocess.run(pulled, cwd=ROOT, env=env, capture_output=True, text=True)
    out = json.loads(done.stdout)
    assert done.returncode == 0 and out["layers"][0]["layer"] == 1
    assert torch.equal(load_vector(tmp_path / "joy.safetensors").at(1), VECTOR.at(1))
    start = time.monotonic()
    pushed = [*program, "push", str(tmp_path / "joy.safetensors"), "you/forbidden"]
    done = subprocess.run(pushed, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and time.monotonic() - start < 20
    assert done.stderr.startswith("Your token may not do this with you/forbidden") and done.stderr.count("\n") == 1
