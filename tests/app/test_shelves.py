"""A folder that several apps share: what a person has made is found by their key at each of them."""

import multiprocessing
import signal
import time
from collections import Counter

import pytest
import torch

from caa_core.app.library import DAY, HOUR, Library, Shelves
from caa_core.app.sessions import Sessions
from caa_core.errors import InputError
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.clock import Clock

FORK = multiprocessing.get_context("fork")


def vector(name, value=1.0):
    return SteeringVector(name, {1: torch.full((4,), value)}, {1: 2.0}, Provenance(num_pairs=3))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "people"


@pytest.fixture
def apps(folder):
    """What two apps know of people, who come to the one and to the other."""
    return [Sessions(shelves=Shelves(folder)) for _ in range(2)]


def test_who_lands_elsewhere_finds_what_they_have_made(apps, folder):
    first, second = apps
    key = first.enter("page", "")
    mine = first.of("page").person
    mine.keep(vector("mine", 3.0))
    mine.remember("steer", {"answer": "é"})
    assert second.knows(key) and second.enter("page", key) == key
    there = second.of("page").person
    assert there.vectors["mine"].at(1).tolist() == [3.0] * 4 and there.results == {"steer": {"answer": "é"}}
    # And back again, with what was done there meanwhile.
    there.rename("mine", "ours")
    there.keep(vector("more"))
    there.remember("steer", {"answer": "b"})
    there.remember("compare", 1)
    there.forget("compare")
    mine.refresh()
    assert mine.vectors.keys() == {"ours", "more"} and mine.results == {"steer": {"answer": "b"}}
    assert mine.holdings.total == there.holdings.total > 0
    # After all apps have been started anew.
    assert Sessions(shelves=Shelves(folder)).enter("page", key) == key


def test_a_key_opens_its_own_shelf_and_one_that_nobody_has_opens_none(apps, folder):
    first, second = apps
    key, other = first.enter("one", ""), first.enter("two", "")
    first.of("one").person.keep(vector("mine"))
    assert key != other and not first.of("two").person.vectors
    for guess in ("../" + key, key[:-1], "", None, 5, "x" * 100_000, "\ud800"):
        assert not second.knows(guess) and second.enter(f"page {guess}"[:20], guess) not in (guess, key, other)
    # Who reads the folder does not come by a key.
    assert all(key not in str(path) for path in folder.rglob("*"))


def test_a_name_that_was_given_at_both_apps_gets_a_number(apps):
    key = apps[0].enter("page", "")
    apps[1].enter("page", key)
    people = [app.of("page").person for app in apps]
    for person in (*people, *people):
        person.keep(vector("same"))
    for person in people:
        person.refresh()
        assert sorted(person.vectors) == ["same", "same (2)", "same (3)", "same (4)"]


def test_too_much_makes_room_on_the_shelf_too(apps, monkeypatch):
    monkeypatch.setenv("CAA_MAX_KEPT_MB", "1")
    key = apps[0].enter("page", "")
    for name in "abc":
        apps[0].of("page").person.remember(name, "x" * 400_000)
    apps[1].enter("page", key)
    assert apps[1].of("page").person.results.keys() == {"b", "c"}


def test_what_nobody_comes_back_to_goes_in_the_end(folder, monkeypatch):
    monkeypatch.setenv("CAA_KEPT_DAYS", "30")
    clock = Clock()
    clock.now = time.time()
    shelves = Shelves(folder, clock)
    shelves.make("empty")
    shelves.make("full").keep_vector(vector("mine"))
    for days, left in ((0.5, {"empty", "full"}), (2, {"full"}), (29, {"full"}), (31, set())):
        clock.now = time.time() + days * DAY
        shelves.sweep()
        assert {key for key in ("empty", "full") if shelves.has(key)} == left
    shelves.make("again").keep_vector(vector("mine"))
    clock.now += HOUR - 1
    shelves.sweep()
    assert shelves.has("again")


def write(folder, key, numbers, together):
    sessions = Sessions(shelves=Shelves(folder))
    sessions.enter("page", key)
    person = sessions.of("page").person
    together.wait()
    for number in numbers:
        person.keep(vector("same", number + 1.0))
        person.remember("last", {"number": number})


def test_processes_that_write_at_once_lose_nothing_and_one_that_is_killed_holds_up_nobody(folder):
    sessions = Sessions(shelves=Shelves(folder))
    key = sessions.enter("page", "")
    person = sessions.of("page").person
    each = range(15), range(15), range(15, 10**6)  # the last of whom is killed, however far it has come
    together = FORK.Barrier(len(each))
    writers = [FORK.Process(target=write, args=(folder, key, numbers, together)) for numbers in each]
    for one in writers:
        one.start()
    *whole, killed = writers
    for one in whole:
        one.join(300)
    assert [one.exitcode for one in whole] == [0, 0]
    killed.kill()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    person.refresh(anyway=True)
    assert not person.library.notes and not [*person.library.folder.glob("*.unreadable")]
    written = Counter(kept.at(1)[0].item() for kept in person.vectors.values())
    # Each has its own name, and of those who came to their end all are there.
    assert all(written[number + 1.0] >= 2 for number in range(15))
    assert person.results["last"]["number"] >= 14
    person.keep(vector("after"))
    assert "after" in {found.name for found in Library(person.library.folder, shared=True).vectors()}


def test_a_shelf_that_another_app_holds_for_too_long_is_said(apps, monkeypatch):
    monkeypatch.setattr("caa_core.app.library.SECONDS_TO_WAIT", 0)
    key = apps[0].enter("page", "")
    apps[1].enter("page", key)
    with (
        apps[0].of("page").person.library.held(),
        pytest.raises(InputError, match="cannot be reached just now; try again"),
    ):
        apps[1].of("page").person.keep(vector("mine"))
    apps[1].of("page").person.keep(vector("mine"))


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="CAA_PEOPLE"):
        Shelves(tmp_path / "file")


def test_browsers_hide_their_keys_in_the_same_way_at_each_app(apps, tmp_path):
    assert apps[0].shelves.secret == apps[1].shelves.secret != Shelves(tmp_path / "other").secret
