"""The app through its named endpoints, as a program uses it."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from caa_core.app.opening import logs
from caa_core.app.programs.tools import TOOLS
from caa_core.cli.main import main
from caa_core.data.pairs import write_pairs
from caa_core.data.presets import presets
from caa_core.measuring.inspection import align, as_prompt
from caa_core.vectors.vector import load_vector
from tests.helpers.app import PAIRS, App, client_of, get, post
from tests.helpers.places import ROOT
from tests.helpers.waiting import until


@pytest.fixture
def client(tiny_app):
    return client_of(tiny_app)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(PAIRS))
    return path


@pytest.fixture
def say(tiny_folder, capsys):
    """Call it for what a command says as JSON on the model that the app has."""

    def say(command, *arguments):
        capsys.readouterr()
        assert main([command, *map(str, arguments), "--model", tiny_folder, "--dtype", "float32", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return say


def answers(client, steer, **changes):
    given = {"prompt": "How was your day?", "steer": steer, "max_new_tokens": 12, **changes}
    return client.predict(api_name="/steer", **given)


def outcome(app, endpoint, data):
    """What comes of a call of somebody who writes the request by hand."""
    call = post(f"{app.url}gradio_api/call/{endpoint}", json={"data": data})
    return get(f"{app.url}gradio_api/call/{endpoint}/{call.json()['event_id']}").text


def test_who_calls_by_hand_may_leave_out_the_last_fields(tiny_app):
    """As who wrote the call before an endpoint got them."""
    asked = ["Hi", ["joy:1:1"], None, "", "all", 4, 0, 0]
    short, whole = (outcome(tiny_app, "steer", [*asked, *more]) for more in ([], ["", False]))
    assert "event: complete" in short and short == whole


def test_extract_then_steer(client, pairs):
    file, summary = client.predict(api_name="/extract", file=handle_file(pairs), layers="1-3", name="mine")
    assert [row["layer"] for row in summary["layers"]] == [1, 2, 3]
    assert summary["num_pairs"] == 3 and summary["name"] == "mine"
    assert load_vector(Path(file)).provenance.dataset == "mine"
    found = answers(client, ["mine:2:4"])
    assert set(found) == {"unsteered", "steered", "unsteered_tokens", "steered_tokens", "notes"}
    assert found["notes"] == []
    assert found["unsteered_tokens"] != found["steered_tokens"]
    # The file does the same as the session's vector.
    assert answers(client, ["file:2:4"], vector_file=handle_file(file)) == found


def test_the_command_line_gives_the_same_answer_as_the_endpoint(client, say):
    found = answers(client, ["joy:1:1.5"])
    said = say("steer", "--prompt", "How was your day?", "--steer", "joy:1:1.5", "--max-new-tokens", 12)
    assert said == {name: found[name] for name in found if name != "notes"}


def test_the_command_line_evaluates_as_the_endpoint_does(client, say, tiny_app, tmp_path):
    vector, data = tmp_path / "joy.safetensors", tmp_path / "four.json"
    tiny_app.vector("joy").save(vector)
    write_pairs(presets()["joy"].test().first(4), data)
    brought = {"vector_file": handle_file(vector), "data_file": handle_file(data)}
    settings = {"layers": "1,3", "multipliers": "-1,1", "controls": 0}
    found = client.predict(api_name="/evaluate", vector="file", **brought, **settings)
    asked = ["--vector", vector, "--data", data, "--layers", "1,3", "--multipliers=-1,1", "--no-controls"]
    said = say("evaluate", *asked, "--no-prompts")
    for part in ("unsteered", "cells", "verdict", "best", "settings"):
        assert found[part] == said[part]
    assert len(found["cells"]) == 4 and found["items"] == 4


def test_the_command_line_competes_as_the_endpoint_does(client, say, tmp_path):
    """A vector in the session's list, against the same file on the command line; a surface of two multipliers."""
    data = tmp_path / "four.json"
    rows = json.loads((presets()["joy"].folder / "contest.json").read_text())[:4]
    data.write_text(json.dumps(rows))
    settings = {"a": "joy:2:1", "b": "gloom:2:1", "controls": 0, "surface": True, "multipliers": "0,1"}
    found = client.predict(api_name="/compete", data_file=handle_file(data), **settings)
    asked = ["--a", "joy:2:1", "--b", "gloom:2:1", "--data", data, "--no-controls", "--surface", "--multipliers=0,1"]
    said = say("compete", *asked)
    for part in ("dominance", "low", "high", "additive", "interaction", "delta_a", "delta_b", "delta_ab", "verdict"):
        assert found[part] == said[part]
    assert found["surface"]["cells"] == said["surface"]["cells"] and len(found["surface"]["cells"]) == 4
    both = next(cell for cell in found["surface"]["cells"] if cell["a"] == cell["b"] == 1)
    assert both["change"] == pytest.approx(found["delta_ab"], abs=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": "", "b": "gloom:2:1"}, "Give voice A a vector, a system prompt or the beginning"),
        ({"a": "nobody:2:1"}, "no vector 'nobody' here"),
        ({"data": "/etc/passwd"}, "Give a file with prompt, a and b"),
        ({"layers": "3,99"}, "no layer 99"),
        ({"multipliers": "two", "surface": True}, "are not multipliers"),
    ],
)
def test_bad_contests_get_one_sentence(client, changes, message):
    with pytest.raises(AppError, match=message):
        client.predict(
            api_name="/compete", **{"a": "joy:2:1", "b": "gloom:2:1", "data": "joy", "controls": 0, **changes}
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vector": "nobody"}, "no vector 'nobody' here"),
        ({"data": "/etc/passwd"}, "Give a file of test items, or one of the presets"),
        ({"layers": "77"}, "no layer 77"),
        ({"multipliers": "two"}, "are not multipliers"),
        ({"controls": 1e9}, "Controls must be between"),
        ({"controls": 20}, "Controls: fewer than 999 of a kind decide nothing; give 0 or at least 999"),
        ({"positions": "nowhere"}, "no steered positions"),
    ],
)
def test_bad_evaluations_get_one_sentence(client, changes, message):
    with pytest.raises(AppError, match=message):
        client.predict(api_name="/evaluate", **{"vector": "joy", "data": "joy", **changes})


def test_multiplier_0_and_opposites_give_equal_columns(client):
    for steer in (["joy:1:0"], ["joy:1:2", "joy:1:-2"]):
        found = answers(client, steer)
        assert found["unsteered_tokens"] == found["steered_tokens"]


def test_sessions_do_not_share_vectors(client, tiny_app, pairs):
    client.predict(api_name="/extract", file=handle_file(pairs), layers="1", name="private")
    with pytest.raises(AppError, match="no vector 'private' here"):
        answers(client_of(tiny_app), ["private:1:1"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nonsense", "needed are prompt|no pairs in it"),
        (b"\x00\xff\x00", "is a binary file"),
        (b"", "is empty"),
        (json.dumps(PAIRS[:1]).encode(), "one pair only"),
        (json.dumps([{**PAIRS[0], "positive": "x", "negative": "x"}] * 2).encode(), "both answers are the same"),
        (b" " * 50_000_000, "at most 20 MB"),
    ],
)
def test_bad_files_get_one_sentence_and_the_app_goes_on(client, tmp_path, content, message):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(AppError, match=message) as caught:
        client.predict(api_name="/extract", file=handle_file(tmp_path / "bad.json"))
    assert "Traceback" not in str(caught.value)
    assert answers(client, ["joy:1:0"], max_new_tokens=2)["steered"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "The prompt is empty"),
        ({"steer": ["joy:77:1"]}, "no layer 77"),
        ({"steer": ["nobody:1:1"]}, "no vector 'nobody' here"),
        ({"steer": ["joy"]}, "not FILE:LAYER:MULTIPLIER"),
        ({"steer": ["joy:1:nan"]}, "not FILE:LAYER:MULTIPLIER"),
        ({"steer": 5}, "not FILE:LAYER:MULTIPLIER"),
        ({"prompt": None}, "The prompt is empty"),
        ({"positions": "index:999"}, "outside the prompt"),
        ({"max_new_tokens": 100000}, "100,000 new tokens in an answer are too many"),
        ({"prompt": "word " * 9000}, "Shorten it"),
    ],
)
def test_bad_requests_get_one_sentence(client, changes, message):
    with pytest.raises(AppError, match=message):
        answers(client, **{"steer": ["joy:1:1"], **changes})


def test_views_through_the_endpoint(client, tiny_app):
    found = client.predict(api_name="/views", text="How was your day?", steer="joy:2:1.5", chat=False)
    assert "".join(found["alignment"]["tokens"]) == "How was your day?"
    assert len(found["lens"]["tokens"][1]) == 4 and found["next_token"]["kl"] > 0 and found["cost"] is None
    model = tiny_app.studio.model
    exact = align(model, as_prompt(model, "How was your day?", chat=False), tiny_app.vector("joy").at(2), 2)
    assert found["alignment"]["cosines"] == pytest.approx(exact.cosines, abs=1e-3)
    with pytest.raises(AppError, match="text is empty"):
        client.predict(api_name="/views", text=" ", steer="joy:2:1.5", chat=False)
    with pytest.raises(AppError, match="no layer 77"):
        client.predict(api_name="/views", text="Hi", steer="joy:77:1")


def test_only_the_promised_endpoints_are_public(client):
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/extract", "/steer", "/evaluate", "/views", "/compete", *(f"/{tool}" for tool in TOOLS)}


@pytest.mark.parametrize("uploaded", [True, False])
def test_a_path_of_the_server_is_not_opened(tiny_app, pairs, uploaded):
    """The client uploads a file and names its copy; a stranger just names one."""
    path = str(pairs)
    if uploaded:
        (path,) = post(f"{tiny_app.url}gradio_api/upload", files={"files": pairs.read_bytes()}).json()
    named = {"path": path, "meta": {"_type": "gradio.FileData"}}
    said = outcome(tiny_app, "extract", [named, "", "1", None, "", False, "auto", "mean-difference", ""])
    assert ("event: complete" in said and "safetensors" in said) == uploaded
    assert ("event: error" in said) == (not uploaded)


def test_an_idle_app_looks_seldom_whether_somebody_asks(tiny_app, monkeypatch):
    slept, sleep = [], asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, *more: (slept.append(seconds), sleep(seconds, *more))[1])
    until(lambda: len(slept) > 20)
    assert min(filter(None, slept)) >= 0.01


def test_health_is_said_in_counts(tiny_app):
    said = get(f"{tiny_app.url}health")
    assert said.status_code == 200 and said.json().keys() == {"status", "model", "queue", "sessions", "memory"}
    assert said.json()["status"] == "ok" and said.json()["model"]["name"] == "tiny"


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=http://example.com/x",
        "gradio_api/file=HTTPS%3A%2F%2Fexample.com",
        "gradio_api/file/http://example.com/x",
        "gradio_api/file= http://example.com/x",
        "gradio_api/proxy=https://x.hf.space/y",
        "gradio_api/deep_link?session_hash=abc",
        "gradio_api/file=/etc/passwd",
        "gradio_api/file=..%2F..%2Fetc%2Fpasswd",
    ],
)
def test_nothing_is_fetched_and_no_path_is_opened(tiny_app, path):
    assert get(f"{tiny_app.url}{path}").status_code == 403


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}/x.json", "https://example.com/x.json", "ftp://a/b", "file:///etc/passwd"]
)
def test_an_address_in_place_of_a_file_is_not_fetched(tiny_app, address, monkeypatch, capfd):
    """By whichever way it comes: as a file, or hidden in another value."""
    asked, find = [], socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: asked.append(host) or find(host, *rest, **more)
    )
    logs.setup()
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        address = address.format(port=elsewhere.getsockname()[1])
        named = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
        for endpoint, data in (
            ("extract", [named, "", "1", None, "", False, "auto", "mean-difference", ""]),
            ("steer", ["Hi", named, None, "", "all", 2, 0, 0, "", False]),
            ("views", ["Hi", "file:2:1", named, True, "all", False]),
        ):
            said = outcome(tiny_app, endpoint, data)
            assert "event: error" in said, said
            assert "This app fetches nothing" in said or not address.startswith("http")
        with pytest.raises(BlockingIOError):  # nobody came
            elsewhere.accept()
    assert set(map(str, asked)) <= {"127.0.0.1"}
    assert address not in "".join(capfd.readouterr())


def test_the_file_of_one_session_is_no_others_to_guess(tiny_app):
    """gradio serves what lies in its folder to whoever knows the path: each has a part of 128 random bits."""
    said = outcome(tiny_app, "extract", [None, "joy", "1", 2, "mine", False, "auto", "mean-difference", ""])
    url = re.search(r'"url": ?"([^"]+)"', said)[1]
    assert get(url).status_code == 200
    folder = re.search(r"/(caa-[0-9a-f]{32})/mine\.safetensors$", url)[1]
    for guess in (url.replace(folder, "caa-" + "0" * 32), url.removesuffix("/mine.safetensors"), url.split("/caa-")[0]):
        assert get(guess).status_code == 403
    for trick in ("..%2F", "%2e%2e/", "./../"):
        assert get(url.replace("mine.safetensors", f"{trick}mine.safetensors")).status_code == 403


def test_a_second_start_needs_no_network_and_no_conversion(embedded, tmp_path):
    """In a network of its own, with nothing but the loopback device."""
    unshare = ["unshare", "--map-root-user", "--net", "bash", "-c"]
    if subprocess.run([*unshare, "ip link set lo up"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    log = tmp_path / "log.txt"
    with open(log, "wb") as out:
        command = [*unshare, f"ip link set lo up; exec {sys.executable} app.py"]
        app = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        until(lambda: app.poll() is not None or '"serving"' in log.read_text())
    finally:
        app.kill()
        app.wait(60)
    said = log.read_text()
    assert '"message": "serving", "model": "smollm2-135m"' in said, said[-2000:]
    assert "Converting" not in said and "Fetching" not in said


@pytest.mark.skipif(not os.environ.get("CAA_FRESH_ENVIRONMENT"), reason="CI asks for it: minutes of pip")
def test_a_fresh_environment_from_the_requirements_alone(tmp_path):
    """As a Space does it: nothing but requirements.txt and the package that all Spaces have, an empty cache, `python
    app.py`; then steer once.
    """
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = str(tmp_path / "env" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", ROOT / "requirements.txt", "spaces"], check=True)
    fresh = App(python, {"CAA_CACHE": str(tmp_path / "cache"), "CAA_PUBLIC": "1"}, tmp_path / "log.txt")
    try:
        found = answers(client_of(fresh.wait()), ["joy:10:1.5"])
    finally:
        fresh.stop()
    assert found["unsteered"] and found["steered"] and found["unsteered"] != found["steered"]
    assert "Fetching SmolLM2-135M-Instruct" in fresh.log.read_text()
