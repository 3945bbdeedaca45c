"""NDIF hosts that are not there, hang, or are something else: one sentence each, soon, and no key in it."""

import json
import pickle
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from importlib.metadata import version

import pytest
import torch

from caa_core.errors import InputError
from caa_core.remote import host as hosts
from caa_core.remote import jobs
from caa_core.remote.host import Deployed, Host, deployed
from caa_core.remote.jobs import Wire, plain_load, run
from caa_core.remote.loading import hub_id_of, load
from caa_core.remote.sentences import OFFER, HostError, sentence
from tests.helpers.models import make_tiny
from tests.helpers.serving import served_by, url_of

KEY = "11111111-2222-3333-4444-555555555555"
SOON = 10


@contextmanager
def silent():
    """A host that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            for connection in kept:
                connection.close()


@contextmanager
def answering(answers: dict[str, tuple[int, object]]):
    """A host that answers paths so."""

    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("ndif-api-key")))
            status, said = answers.get(self.path, (404, {"detail": "Not Found"}))
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    with served_by(Handler) as server:
        yield url_of(server), seen


def unused() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


WELL = {
    "/ping": (200, "pong"),
    "/connected": (200, {"status": "connected"}),
    "/status": (200, {"deployments": {}}),
    "/env": (200, {"packages": {"nnsight": version("nnsight"), "transformers": version("transformers")}}),
}
ONE = {
    "repo_id": "Some/Model",
    "model_key": "a:b",
    "application_state": "RUNNING",
    "task": "text-generation",
}


def refused(address: str) -> str:
    with pytest.raises(HostError) as raised:
        Host(address, KEY).check("some/model")
    said = str(raised.value)
    assert said.endswith(OFFER)
    assert KEY not in said
    assert "\n" not in said
    return said


def test_nobody_listens():
    assert "cannot be reached" in refused(unused())


def test_a_host_that_hangs_is_left(monkeypatch):
    monkeypatch.setattr(hosts, "SECONDS_TO_ANSWER", 0.3)
    with silent() as address, pytest.raises(HostError, match="does not answer"):
        Host(address, KEY).get("/ping", 0.3)
    assert hosts.SECONDS_TO_CHECK < SOON


def test_a_host_that_hangs_behind_its_first_answers_is_left_too(monkeypatch):
    monkeypatch.setattr(hosts, "SECONDS_TO_CHECK", 0.5)
    never = threading.Event()
    monkeypatch.setattr(Host, "_check", lambda *_: never.wait())
    with pytest.raises(HostError, match="does not answer"):
        Host("http://127.0.0.1:9", KEY).check("some/model")
    never.set()


@pytest.mark.parametrize("said", [b"<html>hello</html>", {"detail": "no"}, "ping"], ids=["page", "json", "text"])
def test_another_server(said):
    with answering({"/ping": (200, said)}) as (address, _):
        assert "no NDIF host" in refused(address)
    with answering({}) as (address, _):
        assert "no NDIF host" in refused(address)


def test_a_host_without_its_machines():
    with answering(WELL | {"/connected": (503, {"detail": "reconnecting"})}) as (address, _):
        assert "lost its machines" in refused(address)


def test_versions_that_differ_too_much():
    packages = {"nnsight": "0.4.1", "transformers": version("transformers")}
    with answering(WELL | {"/env": (200, {"packages": packages})}) as (address, _):
        said = refused(address)
    assert "nnsight 0.4.1" in said
    assert version("nnsight") in said


def test_what_runs_there():
    with answering(WELL | {"/status": (200, {"deployments": {"x": ONE}})}) as (address, seen):
        assert Host(address, KEY).check("some/model") == Deployed("a:b", "RUNNING")
        assert not Host(address, KEY).check("other/model").running
        assert {key for _, key in seen} == {KEY}
    both = {"x": ONE | {"application_state": "DEPLOYING"}, "y": ONE, "z": "nonsense", "q": ONE | {"task": "fill-mask"}}
    assert deployed(both, "SOME/model").running


@pytest.mark.parametrize(
    "address", ["api.ndif.us", "ftp://api.ndif.us", "http://", "https://user:word@host", "http://a:99999", ""]
)
def test_addresses_that_are_none(address):
    with pytest.raises(InputError):
        Host(address)


def test_a_key_goes_nowhere_unencrypted_and_is_not_shown(monkeypatch):
    with pytest.raises(InputError, match="unencrypted"):
        Host("http://example.org", KEY)
    assert KEY not in repr(Host("https://example.org", KEY))
    assert Host("http://127.0.0.1:1", KEY).key == KEY
    for bad in ("two words", "é", "x" * 300, "a\nb"):
        with pytest.raises(InputError):
            Host("https://example.org", bad)


def test_where_the_address_and_key_come_from(monkeypatch):
    for name in ("CAA_NDIF_HOST", "CAA_NDIF_KEY", "NDIF_HOST", "NDIF_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="CAA_NDIF_HOST"):
        Host.of()
    monkeypatch.setenv("NDIF_HOST", "https://one.org/")
    monkeypatch.setenv("NDIF_API_KEY", "one")
    assert Host.of() == Host("https://one.org", "one")
    monkeypatch.setenv("CAA_NDIF_HOST", "https://two.org")
    monkeypatch.setenv("CAA_NDIF_KEY", "two")
    assert Host.of() == Host("https://two.org", "two")
    assert Host.of("https://three.org", "three") == Host("https://three.org", "three")
    assert Host.of("https://three.org") == Host("https://three.org")  # the key is another address's
    assert Host.of("https://two.org/") == Host.of()
    monkeypatch.setenv("CAA_PUBLIC", "1")
    assert Host.of() == Host("https://two.org", "two")
    with pytest.raises(InputError, match="strangers"):
        Host.of("https://three.org")


def test_models_are_of_the_hub(monkeypatch):
    assert hub_id_of("gpt2") == "openai-community/gpt2"
    assert hub_id_of("owner/name") == "owner/name"
    for spec in ("../x", "/tmp/model", "model.gguf", "a b/c", "a/b/c"):
        with pytest.raises(InputError, match="of the hub"):
            hub_id_of(spec)
    monkeypatch.setenv("CAA_PUBLIC", "1")
    with pytest.raises(InputError, match="of its list"):
        hub_id_of("owner/name")


def test_a_host_is_asked_before_anything_is_fetched():
    with pytest.raises(HostError, match="cannot be reached"):
        load("owner/name", Host(unused()), say=lambda _: None)


ERRORS = [
    (ConnectionRefusedError(111, "Connection refused"), "cannot be reached"),
    (socket.gaierror(-2, "Name or service not known"), "cannot be reached"),
    ("WebSocketTimeoutException", "does not answer"),
    ("WebSocketBadStatusException", "no NDIF host"),
    ("WebSocketConnectionClosedException", "in the middle of a job"),
    ("RepositoryNotFoundError", "The hub has no model"),
    ("RemoteError: Failed to send request: 401 Missing or invalid API key. Please visit x", "does not take the key"),
    (f"RemoteError: Failed to send request: 400 Invalid API key format: '{KEY}'.", "does not take the key"),
    ("RemoteError: Failed to send request: 503 Service temporarily unavailable: reconnecting", "try again in a minute"),
    ("RemoteError: Failed to send request: ConnectError: Connection refused", "cannot be reached"),
    ("RemoteError: Failed to send request: ReadTimeout: timed out", "does not answer"),
    ("RemoteError: Could not deploy this model. CANT_ACCOMMODATE: placed 0 of 1", "CANT_ACCOMMODATE"),
    ("RemoteError: The model architecture on this server doesn't match the one", "versions"),
    ("RemoteError: Your job exceeded the execution timeout of 120 s", "time limit"),
    ("RemoteError: Your job was cancelled or preempted by the server.", "try again"),
    ("RemoteError: Traceback\n  File x\nValueError: too bad", "ValueError: too bad"),
    ("RemoteError: ", "did not say why"),
]


@pytest.mark.parametrize(("error", "says"), ERRORS, ids=[str(error)[:50] for error, _ in ERRORS])
def test_each_error_is_a_sentence(error, says):
    if isinstance(error, str):
        name, _, text = error.partition(": ")
        error = type(name, (Exception,), {})(text)
    said = Host("http://127.0.0.1:1", KEY).sentence(error)
    assert says in said
    assert KEY not in said
    assert "\n" not in said
    assert said.endswith((".", "?"))
    assert sentence(InputError("As it is."), "host") == "As it is."


def sent_to(address: str) -> str:
    """What a job says that is sent there."""
    nn = make_tiny("llama").nn
    wire = Wire(Host(address, KEY), "key", {})
    began = time.monotonic()
    with pytest.raises(HostError) as raised:
        for _ in run(wire, nn, torch.add, {}):
            assert time.monotonic() - began < 6 * SOON, "it hangs"
    said = str(raised.value)
    assert KEY not in said
    assert wire.count.jobs == 1
    return said


def test_jobs_to_hosts_that_fail(monkeypatch):
    monkeypatch.setattr(jobs, "SECONDS_TO_CONNECT", 0.5)
    assert "cannot be reached" in sent_to(unused())
    with silent() as address:
        assert "does not answer" in sent_to(address)
    with answering({}) as (address, _):
        assert "no NDIF host" in sent_to(address)


def test_a_job_that_is_too_large_is_not_sent():
    nn, wire = make_tiny("llama").nn, Wire(Host(unused(), KEY), "key", {})
    with pytest.raises(InputError, match="MB"):
        for _ in run(wire, nn, torch.add, {"input": torch.randn(400_000)}):
            pass
    assert wire.count.jobs == 0


class Evil:
    def __reduce__(self):
        return print, ("done something",)


def test_results_are_plain_data_or_refused(tmp_path, capsys):
    plain = {"found": {"numbers": torch.arange(6.0).view(2, 3), "words": ["a", None, True, 1.5], "none": torch.ones(0)}}
    torch.save(plain, tmp_path / "plain")
    read = plain_load((tmp_path / "plain").read_bytes())
    assert torch.equal(read["found"]["numbers"], plain["found"]["numbers"])
    assert read["found"]["words"] == ["a", None, True, 1.5]
    torch.save({"found": Evil()}, tmp_path / "evil")
    for content in ((tmp_path / "evil").read_bytes(), pickle.dumps(Evil()), b"", b"nonsense"):
        with pytest.raises(pickle.UnpicklingError):
            plain_load(content)
    assert "done something" not in capsys.readouterr().out
