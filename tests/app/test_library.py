import json
import math
import os
import random

import pytest
import torch

from caa_core.app.library import Library
from caa_core.app.sessions import Person
from caa_core.errors import InputError
from caa_core.vectors.vector import Provenance, SteeringVector


def vector(name, value=1.0):
    return SteeringVector(name, {1: torch.full((4,), value)}, {1: 2.0}, Provenance(num_pairs=3))


def reopened(library):
    """As after a restart."""
    library.close()
    return Library(library.folder)


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "mine" / "library")


def test_what_was_kept_is_there_after_a_restart(library):
    person = Person.of(library)
    for name in ("a", "a", "../../../etc/passwd", "日本 \u202e", "x" * 300, "con"):
        person.keep(vector(name))
    person.remember("steer", [{"question": "<b>?", "answers": ["é", "\ud800"]}])
    person.remember("steer", [{"question": "2", "answers": ["a", "b"]}])
    person.remember("gone", 1)
    person.forget("gone")
    person.rename("a", "b")
    person.delete("a (2)")
    assert all(path.parent == library.folder for path in library.folder.rglob("*"))
    again = Person.of(reopened(library))
    assert (
        again.vectors.keys()
        == person.vectors.keys()
        == {"b", "_".join(["../../../etc/passwd"]), "日本", "x" * 120, "con"}
    )
    assert torch.equal(again.vectors["b"].at(1), torch.ones(4)) and again.vectors["b"].provenance.num_pairs == 3
    assert again.results == {"steer": [{"question": "2", "answers": ["a", "b"]}]}
    assert not again.library.notes


def test_a_number_that_is_none_is_kept_as_none(library):
    person = Person.of(library)
    person.remember("measured", {"kl": [math.inf, 0.5], "m": (-math.inf, {"p": math.nan})})
    assert person.results["measured"] == {"kl": [None, 0.5], "m": (None, {"p": None})}
    (file,) = library.folder.glob("measured-*")
    json.loads(json.loads(file.read_text())["data"], parse_constant=pytest.fail)
    assert Person.of(reopened(library)).results["measured"]["kl"] == [None, 0.5]


def test_what_cannot_be_read_is_set_aside_and_said_and_the_rest_is_there(library):
    person = Person.of(library)
    person.keep(vector("good"))
    person.keep(vector("bad"))
    person.remember("steer", [1])
    person.remember("compare", {"a": 1})
    (bad,) = library.folder.glob("bad-*")
    content = bad.read_bytes()[:-3]
    bad.write_bytes(content)
    (chat,) = library.folder.glob("steer-*")
    chat.write_text(chat.read_text().replace("[1]", "[2]"))  # valid JSON, but not what was written
    for odd in ("{}", "[" * 100_000, '{"name": 5, "sha256": null, "data": null}'):
        (library.folder / f"odd{len(odd)}.json").write_text(odd)
    os.mkdir(library.folder / "folder.json")
    again = Person.of(reopened(library))
    assert list(again.vectors) == ["good"] and again.results == {"compare": {"a": 1}}
    aside = sorted(path.name.split(".")[0] for path in library.folder.glob("*.unreadable"))
    assert len(aside) == len(again.library.notes) == 6
    (kept,) = library.folder.glob("bad-*.unreadable")
    assert kept.read_bytes() == content
    assert all("set aside as" in note and str(library.folder) not in note for note in again.library.notes)
    assert not Person.of(reopened(again.library)).library.notes


def test_a_write_that_fails_leaves_the_old_file_whole(library, monkeypatch):
    library.keep_result("chat", "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"could not be written to the library \(No space left on device\)"):
        library.keep_result("chat", "new")
    monkeypatch.undo()
    assert not list(library.folder.glob(".begun-*"))
    assert dict(reopened(library).results()) == {"chat": "old"}


def test_what_a_crash_left_half_written_counts_for_nothing(library):
    (library.folder / ".begun-0123").write_bytes(b"half")
    again = reopened(library)
    assert not dict(again.results()) and not list(again.vectors()) and not list(library.folder.glob(".begun-*"))


def test_two_apps_do_not_use_one_library(library, tmp_path):
    with pytest.raises(InputError, match="in use by another app"):
        Library(library.folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used") as caught:
        Library(tmp_path / "file")
    assert str(tmp_path) not in str(caught.value)


def test_mistakes_in_any_byte_are_found(library):
    """A result is read as it was written, or not at all."""
    library.keep_result("chat", {"text": "hello", "numbers": [1.5, None, True]})
    (path,) = library.folder.glob("*.json")
    whole, draw = path.read_bytes(), random.Random(0)
    for _ in range(200):
        broken = bytearray(whole)
        broken[draw.randrange(len(broken))] = draw.randrange(256)
        path.write_bytes(broken)
        found = dict(library.results())
        assert found in ({}, {"chat": {"text": "hello", "numbers": [1.5, None, True]}})
        for aside in library.folder.glob("*.unreadable"):
            aside.unlink()
        library.notes.clear()
    path.write_bytes(whole)
    assert json.loads(whole)["name"] == "chat" and dict(library.results())
