"""Hostile files, calls and sessions, drawn with a seed: each ends well or in one plain sentence, and harms nobody.

`CAA_FUZZ_CASES` is how many there are; `make soak` asks for more than ten thousand.
"""

import json
import math
import os
import random
import re
from pathlib import Path

import torch
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from caa_core.app.library import Library
from caa_core.app.sessions import Person, Sessions
from caa_core.data.tables import read_table
from caa_core.data.text import UNSEEN
from caa_core.errors import InputError
from caa_core.vectors.formats import FORMATS, read_vector, write_vector
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector
from tests.helpers.app import client_of
from tests.helpers.bounds import STEPS, bounded
from tests.helpers.files import GOOD, mutated, sentence

CASES = int(os.environ.get("CAA_FUZZ_CASES", "300"))
# How many of a hundred cases each kind gets.
SHARES = {"vectors": 35, "tables": 25, "library": 10, "sessions": 25, "calls": 5}
ODD = ["", "joy", "../../../etc/passwd", "/etc/passwd", "a\x00b", "\u202egpj.exe", "<script>alert(1)</script>", "=1+1"]
ODD += [
    "x" * 5000,
    "日本語",
    "\u200f",
    "con.",
    "%2e%2e%2f",
    "{{7*7}}",
    "${HOME}",
    "hub:a/b",
    "joy:ab",
    "\n\r\t",
    "🙂" * 50,
]
LEAKS = re.compile(r"Traceback|/(tmp|home|root)/|site-packages|\.py\b|hf_|Something failed inside")


def cases(kind):
    draw = random.Random(f"seed of {kind}")
    for _ in range(max(CASES * SHARES[kind] // 100, 1)):
        yield draw


def some_vector(name="mine"):
    draw = torch.Generator().manual_seed(0)
    layers = {layer: torch.randn(8, generator=draw) for layer in (1, 2, 3)}
    return SteeringVector(name, layers, {1: 2.0, 2: 3.0}, Provenance(model="tiny", num_pairs=3, dataset="some pairs"))


def made_of(work, *args):
    """What a reader makes of it, or its sentence; with little work."""
    with bounded(STEPS):
        try:
            return work(*args)
        except InputError as error:
            return sentence(error)


def test_files_of_vectors(tmp_path):
    good = []
    for ending in FORMATS.values():
        write_vector(some_vector(), tmp_path / f"good{ending}")
        good.append((tmp_path / f"good{ending}").read_bytes())
    folder = tmp_path / "only"
    folder.mkdir()
    for draw in cases("vectors"):
        content = mutated(draw.choice(good), draw)
        path = folder / f"v{draw.choice([*FORMATS.values(), '.pt', '.bin'])}"
        path.write_bytes(content)
        read = made_of(read_vector, path)
        if isinstance(read, SteeringVector):
            assert all(torch.isfinite(layer).all() for layer in read.layers.values())
            assert not UNSEEN.search(read.name) and len(read.name) <= 120
            assert all(math.isfinite(norm) for norm in read.residual_norms.values())
        assert list(folder.iterdir()) == [path] and path.read_bytes() == content
        path.unlink()


def test_files_of_pairs(tmp_path):
    for draw in cases("tables"):
        (tmp_path / "data").write_bytes(mutated(draw.choice(GOOD[:-1]), draw))
        made_of(read_table, tmp_path / "data")


def test_files_of_a_library(tmp_path):
    for number, draw in enumerate(cases("library")):
        folder = tmp_path / str(number)
        library = Library(folder)
        owner = Person.of(library)
        for name in draw.sample(ODD, 3):
            owner.keep(some_vector(name))
            owner.remember(name, draw.choice([[1, "a"], {"a": None}, "text"]))
        path = draw.choice([path for path in sorted(folder.iterdir()) if not path.name.startswith(".")])
        path.write_bytes(mutated(path.read_bytes(), draw))
        before = len(list(folder.iterdir()))
        library._lock.release()
        again = Library(folder)
        read = Person.of(again)
        # Nothing is deleted, what is whole is there, and what is not was said.
        assert len(list(folder.iterdir())) == before
        assert len(read.vectors) + len(read.results) + len(again.notes) == 6
        assert len(list(folder.glob("*.unreadable"))) == len(again.notes) <= 1
        again._lock.release()


def test_sessions_under_every_kind_of_name_and_key(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("CAA_MAX_SESSIONS", "8")
    monkeypatch.setenv("CAA_MAX_VECTORS", "5")
    sessions, keys, mine = Sessions(), {}, {}
    for draw in cases("sessions"):
        page = f"page {draw.randrange(12)}"
        keep = draw.choice(["enter", "enter", "keep", "keep", "path", "leave", "rename", "delete", "sweep"])
        monkeypatch.setenv("CAA_GRACE_SECONDS", draw.choice(["0", "900"]))
        try:
            session = sessions.of(page)
            if session.person not in mine.values():
                mine[page] = session.person
            name = draw.choice([*ODD, *session.vectors])
            match keep:
                case "enter":
                    key = draw.choice([*ODD, None, 5, [], {}, *keys.values()])
                    given = sessions.enter(page, key)
                    assert given == key or given not in keys.values() or sessions.of(page).person.key == given
                    keys[page] = given
                case "keep":
                    session.keep(some_vector(f"{session.person.key}{name}"))
                case "path":
                    path = session.path(name, ".json")
                    path.write_text("x")
                    assert path.resolve().parent.parent == tmp_path.resolve()
                case "leave":
                    sessions.leave(page)
                case "rename" if session.vectors:
                    session.person.rename(draw.choice(list(session.vectors)), session.person.key + name)
                case "delete" if session.vectors:
                    session.person.delete(draw.choice(list(session.vectors)))
                case "sweep":
                    sessions.sweep()
        except InputError as error:
            sentence(error)
        for session in list(sessions._pages.values()):
            # A vector is in the list of whoever made it, under a name that can be shown.
            assert all(name.startswith(session.person.key) for name in session.vectors)
            assert not any(UNSEEN.search(name) for name in session.vectors) and len(session.vectors) <= 5
        assert sessions.kept <= 8
    sessions.end()
    assert not list(tmp_path.iterdir())


NUMBERS = [0, 1, 2, -1, 0.5, 1e308, -1e308, 10**400, 2**63, True, None, "5", "", [], {}, float("nan"), float("inf")]
STEERS = [
    ["joy:2:1"],
    ["joy:2:1e99"],
    ["joy:-1:1"],
    ["joy:999999:1"],
    "joy:1:1",
    5,
    None,
    [],
    [[]],
    {"a": 1},
    ["file:2:1"],
]


def some_call(draw, folder):
    """An endpoint and what it is given: most of it as it should be, some of it anything."""

    def some(good, others):
        return draw.choice(others) if draw.random() < 0.4 else good

    deep = json.loads("[" * 50 + "]" * 50)
    if draw.random() < 0.5:
        (folder / "data.json").write_bytes(mutated(draw.choice(GOOD[:-1]), draw) or b"x")
        file = some(handle_file(folder / "data.json"), [None, {"path": "/etc/passwd"}, 5, "x", deep])
        if isinstance(file, dict) and file["path"] == "/etc/passwd":
            file["meta"] = {"_type": "gradio.FileData"}
        given = {"file": file, "preset": some("", ODD), "layers": some("2", [*ODD, "0-99999999999", "1," * 9999])}
        given |= {"limit": some(2, NUMBERS), "name": some("n", ODD), "letter_swap": some(False, [True, 5, "x"])}
        given |= {"read": some("auto", ODD), "method": some("mean-difference", ODD), "columns": some("", ODD)}
        return "/extract", given
    if draw.random() < 0.3:
        given = {"text": some("Hello?", [*ODD, None, 5, deep]), "steer": some("joy:2:1", [*STEERS, *ODD, deep])}
        given |= {"chat": some(True, [False, None, 5, "x"]), "positions": some("all", [*ODD, "index:99", 5])}
        return "/views", given
    given = {"prompt": some("Hello?", [*ODD, None, 5, deep]), "steer": some(["joy:2:1"], [*STEERS, ODD, deep])}
    given |= {"system": some("", ODD), "positions": some("all", [*ODD, "index:99", 5]), "seed": some(0, NUMBERS)}
    return "/steer", given | {"max_new_tokens": some(2, [0, -1, "3", None, 10**6]), "temperature": some(0, NUMBERS)}


def test_calls_of_the_endpoints(tiny_app, tmp_path, capfd, logged):
    client = client_of(tiny_app)
    for draw in cases("calls"):
        endpoint, given = some_call(draw, tmp_path)
        try:
            found = client.predict(api_name=endpoint, **given)
        except (AppError, ValueError) as error:  # ValueError: the client itself could not send it
            assert not LEAKS.search(str(error)), f"{endpoint} {given!r:.3000} {error}"
        else:
            summary = found[1] if endpoint == "/extract" else found
            assert not LEAKS.search(json.dumps(summary)), (endpoint, given)
            if endpoint == "/extract":
                load_vector(Path(found[0]))
    # It is as well as before.
    assert client.predict(api_name="/steer", prompt="Hi", steer=["joy:2:0"], max_new_tokens=2)["steered"]
    said = logged.text + "".join(capfd.readouterr())
    assert not re.search(r"Traceback|/(home|root)/|etc/passwd|site-packages", said), said[-2000:]
