import base64
import hashlib
import json
import os
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pytest
import torch
from huggingface_hub import constants

from caa_core.cli.main import main
from caa_core.errors import InputError
from caa_core.vectors.formats import write_vector
from caa_core.vectors.hub import available, pull_vector, push_vector
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector
from tests.helpers.serving import served_by, url_of

TOKEN = "hf_aSecretThatIsNeverShown"
COMMIT = "0" * 40
REFUSED = "Your token may not do this with"
ONCE = ["POST /api/repos/create", "GET /api/models/you/forbidden"]
WHY = ": it must be valid, and may write where you push."
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


def test_without_a_token(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "CAA_PUBLIC")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert not available()
    for work in (lambda: push_vector(VECTOR, "me/joy"), lambda: pull_vector("me/joy")):
        with pytest.raises(InputError, match="You are not logged in at the Hugging Face hub"):
            work()


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
    asked: ClassVar[list[str]] = []

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
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    file = tmp_path_factory.mktemp("files") / "joy.gguf"
    write_vector(VECTOR, file)
    Answers.files[file.name] = file.read_bytes()
    with served_by(Answers) as running:
        yield url_of(running)


@pytest.fixture
def asked(logged_in, capfd, caplog, monkeypatch):
    """What the server was asked, as method and path. The token is in nothing that is printed meanwhile."""
    monkeypatch.setattr(Answers, "asked", [])
    yield Answers.asked
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err + caplog.text


@pytest.fixture
def hub(server, asked, tmp_path, monkeypatch):
    return at(server, tmp_path, monkeypatch)


def at(address, tmp_path, monkeypatch):
    """The hub's client asks this address, and has an empty cache."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return address


def pulled(repo, name=None):
    """The vector in numbers, or the sentence that says why there is none."""
    try:
        vector = pull_vector(repo, name)
    except InputError as error:
        return str(error)
    return [vector.name, vector.at(1).tolist(), vector.provenance.model]


def pushed(repo):
    try:
        return push_vector(SteeringVector("joy/1", {1: torch.ones(2)}, {}, Provenance()), repo)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize(
    ("repo", "name", "expected"),
    [
        ("you/one", None, ["joy", [1.0, 2.0], "tiny"]),
        ("you/two", "joy.gguf", ["joy", [1.0, 2.0], "tiny"]),
        ("you/two", None, "you/two holds several vectors, name one: joy.gguf, sub/ab.zip."),
        ("you/two", "../joy.gguf", "you/two holds no file '../joy.gguf'."),
        ("you/none", None, "you/none holds no vector file (.safetensors, .gguf, .zip)."),
        ("you/huge", None, "huge.gguf is larger than 200 MB, which no steering vector is."),
        ("you/vanished", None, "The file is not in you/vanished any more."),
        ("you/gated", None, "you/gated is gated: ask for access on its page at the hub first."),
        ("you/gone", None, "The hub has no model repository you/gone, or your token may not see it."),
        ("you/forbidden", None, f"{REFUSED} you/forbidden{WHY}"),
        ("you/expired", None, f"{REFUSED} you/expired{WHY}"),
        ("you/broken", None, "The hub answered with an error (500); try again later."),
    ],
)
def test_what_the_hub_may_answer(hub, waits, repo, name, expected):
    assert pulled(repo, name) == expected and waits == []


def test_a_push_that_is_refused_is_not_tried_again(hub, asked, waits):
    assert pushed("you/forbidden") == f"{REFUSED} you/forbidden{WHY}"
    assert asked == ONCE and waits == []


def test_what_is_pushed_can_be_pulled(hub):
    assert pushed("you/mine") == f"{hub}/you/mine/blob/main/joy_1.safetensors"
    assert pulled("you/mine") == ["joy/1", [1.0, 1.0], ""]


def test_a_hub_that_cannot_be_reached(asked, tmp_path, monkeypatch, waits):
    at("http://127.0.0.1:9", tmp_path, monkeypatch)
    said = "The hub cannot be reached, or did not answer as it should (ConnectError); try again later."
    assert pulled("you/one") == pushed("you/one") == said and waits == []


def test_offline(asked, tmp_path, monkeypatch):
    at("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pulled("you/one") == "The hub is not asked while HF_HUB_OFFLINE is set."


def test_from_the_command_line(hub, asked, waits, tmp_path, capfd):
    file = tmp_path / "joy.safetensors"
    assert main(["pull", "you/one", str(file), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["layers"][0]["layer"] == 1
    assert torch.equal(load_vector(file).at(1), VECTOR.at(1))
    asked.clear()
    assert main(["push", str(file), "you/forbidden"]) == 2
    assert capfd.readouterr() == ("", f"{REFUSED} you/forbidden{WHY}\n")
    assert asked == ONCE and waits == []
