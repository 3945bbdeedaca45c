import json
import os
import threading

import pytest
import torch

from caa_core.app.library import Library
from caa_core.app.panels.measuring.latest import EVALUATION, ITEMS, keep_items, measured
from caa_core.app.sessions import Person, Session, Sessions
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.limits import GRACE, GRACE_JOB, IDLE, LONGEST
from caa_core.vectors.vector import Provenance, SteeringVector


def vector(name="mine"):
    return SteeringVector(name, {1: torch.ones(4)}, {}, Provenance())


@pytest.fixture
def sessions(clock):
    return Sessions(clock=clock)


def names(session):
    return list(session.vectors)


def test_names_are_nobody_elses_and_clean():
    session = Session()
    given = ["mine", "mine", "joy", "", "\u202eevil\x00\n", "x" * 500]
    assert [session.keep(vector(name)) for name in given] == [
        "mine",
        "mine (2)",
        "joy (2)",
        "vector",
        "evil",
        "x" * 120,
    ]
    assert session.person.rename("evil", "mine") == "mine (3)"
    with pytest.raises(InputError, match="Write the new name"):
        session.person.rename("mine", " \u200f ")


def test_a_reload_finds_what_was_made_and_a_guess_finds_nothing(sessions):
    key = sessions.enter("first page", "")
    sessions.of("first page").keep(vector())
    sessions.of("first page").person.remember("steer", [1])
    sessions.leave("first page")
    assert sessions.enter("second page", key) == key
    assert names(sessions.of("second page")) == ["mine"]
    assert sessions.of("second page").person.results == {"steer": [1]}
    # An unknown key is not taken over, whatever it is; what a page's hash is does not help either.
    for number, guess in enumerate(["", None, 5, ["a"], {"a": 1}, key[:-1], key + "x", "first page", "\x00" * 10_000]):
        given = sessions.enter(f"stranger {number}", guess)
        assert given not in (key, guess) and len(given) > 40
        assert not names(sessions.of(f"stranger {number}"))


def test_events_before_the_page_was_entered_do_not_lose_their_jobs(sessions):
    key = sessions.enter("a", "")
    sessions.of("a").keep(vector())
    early = sessions.of("b")
    early.jobs["steer-measure"] = job = Forever()
    assert sessions.enter("b", key) == key
    assert sessions.of("b") is early and names(early) == ["mine"] and not job.stopped
    assert sessions.kept == 1


class Forever:
    about = None

    def __init__(self):
        self.stopped, self.why = False, ""

    @property
    def over(self):
        return self.stopped

    def watch(self, lasting=False, wanted=lambda: True):
        while not self.stopped:
            yield 1

    def stop(self, why=""):
        self.stopped, self.why = True, why


def test_two_tabs_share_what_was_made_and_not_what_runs(sessions):
    key = sessions.enter("one", "")
    assert sessions.enter("two", key) == key
    sessions.of("one").keep(vector())
    assert names(sessions.of("two")) == ["mine"]
    jobs = {page: Forever() for page in ("one", "two")}
    running = [sessions.of(page).follow("steer", job) for page, job in jobs.items()]
    assert [next(events) for events in running] == [1, 1]
    assert len(sessions.running()) == 2 and sessions.here == 1
    sessions.of("two").stop("steer")
    assert jobs["two"].stopped and not jobs["one"].stopped


@pytest.fixture
def left(sessions, monkeypatch):
    """A job of a page that was reloaded on a public app, and the page after it."""
    monkeypatch.setenv("CAA_PUBLIC", "1")
    key, job = sessions.enter("before", ""), Forever()
    sessions.listens("before", 1)
    next(sessions.of("before").follow("steer", job, lasting=True))
    sessions.enter("after", key)
    return job


def test_a_job_outlives_its_page_for_a_while(sessions, clock, left):
    clock.now += 10 * GRACE_JOB.value
    sessions.sweep()
    assert not left.stopped  # somebody listens
    sessions.leave("before")
    sessions.listens("before", -1)
    clock.now += GRACE_JOB.value
    sessions.sweep()
    assert not left.stopped
    clock.now += 1
    sessions.sweep()
    assert left.stopped and not sessions.running()


def test_a_job_of_one_s_own_app_goes_on_without_anybody(sessions, clock, left, monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "0")
    sessions.listens("before", -1)
    sessions.leave("before")
    clock.now += 1_000_000
    assert sessions.sweep() == ["after"] and not left.stopped


def test_a_reloaded_page_finds_its_job_and_nobody_else_does(sessions, clock, left):
    after, stranger = sessions.of("after"), sessions.of("stranger")
    assert sessions.runs_elsewhere(after, "steer") and not sessions.runs_elsewhere(stranger, "steer")
    assert sessions.take_over(after, "steer") is None  # the other page is open still
    sessions.listens("before", -1)
    assert sessions.take_over(stranger, "steer") is None and sessions.take_over(after, "compete") is None
    assert sessions.take_over(after, "steer") is left
    assert after.jobs == {"steer": left} and not sessions.of("before").jobs
    sessions.listens("after", 1)
    clock.now += GRACE_JOB.value + 1
    sessions.sweep()
    assert not left.stopped
    after.stop("steer")
    assert left.stopped


def test_a_job_that_runs_too_long_is_told_so(sessions, clock, left):
    clock.now += LONGEST.value + 1
    sessions.sweep()
    assert left.stopped and "3,600 s at most" in left.why


def test_after_the_grace_time_all_is_freed(sessions, clock):
    key = sessions.enter("page", "")
    session = sessions.of("page")
    session.keep(vector())
    path = session.path("../../up \u202e/etc", ".json")
    assert path.parent.name.startswith("caa-") and len(path.parent.name) > 32 and path.resolve().parent == path.parent
    path.write_text("x")
    clock.now += GRACE.value + 1
    assert sessions.sweep() == []  # somebody is there
    sessions.leave("page")
    clock.now += GRACE.value
    assert sessions.sweep() == []
    clock.now += 1
    assert sessions.sweep() == ["page"]
    assert not session.vectors and not path.parent.exists() and sessions.kept == 0
    assert sessions.enter("again", key) != key and not names(sessions.of("again"))


def test_a_page_that_only_slept_finds_its_vectors(sessions):
    sessions.of("page").keep(vector())
    sessions.leave("page")
    assert sessions.here == 0
    assert names(sessions.of("page")) == ["mine"]
    assert sessions.here == 1


def test_a_client_that_never_says_goodbye_is_forgotten_too(sessions, clock):
    sessions.of("program").keep(vector())
    sessions.of("busy").jobs["call"] = Forever()
    clock.now += IDLE.value + 1
    assert sessions.sweep(asking={"program"}) == []  # it has come back just now
    assert sessions.sweep() == ["program"]
    assert sessions.kept == 1


def test_a_full_app_lets_go_of_who_left_and_never_of_who_is_here(sessions, monkeypatch):
    monkeypatch.setenv("CAA_MAX_SESSIONS", "2")
    sessions.of("here").keep(vector())
    sessions.of("gone").keep(vector())
    with pytest.raises(InputError, match="This app is full"):
        sessions.of("third")
    sessions.leave("gone")
    assert not names(sessions.of("third"))
    assert names(sessions.of("here")) == ["mine"]


def test_a_name_alone_takes_nobody_s_place(sessions, clock, monkeypatch):
    """Strangers who make up names by the hundred keep nobody out, and take nothing from who has something or waits."""
    monkeypatch.setenv("CAA_MAX_SESSIONS", "5")
    sessions.of("here").keep(vector())
    clock.now += 1
    sessions.of("waits").jobs["steer"] = Forever()
    sessions.leave("here")
    for number in range(300):
        clock.now += 1
        sessions.of(f"made up {number}")
    newcomer = sessions.of("newcomer")
    newcomer.keep(vector())
    assert sessions.kept == 5
    assert names(sessions.of("here")) == ["mine"] and sessions.of("waits").jobs and sessions.of("newcomer") is newcomer


def test_one_address_has_half_of_the_places_and_a_class_has_room_beside_it(sessions, monkeypatch):
    monkeypatch.setenv("CAA_MAX_ALL_JOBS", "80")
    running, refused = [], []

    def ask(page, address):
        job = Forever()
        steps = sessions.of(page, address).follow("panel", job)
        try:
            next(steps)
            running.append(steps)
        except InputError as error:
            refused.append(str(error))
            assert job.stopped

    for number in range(220):
        ask(f"stranger {number}", "203.0.113.9")
    assert len(running) == 40 and len(refused) == 180 and "from where you are" in refused[0]
    for number in range(30):
        ask(f"pupil {number}", "198.51.100.1")
    assert len(running) == 70 and len(refused) == 180
    # In place of their own older one, and after one has ended, there is room.
    ask("stranger 0", "203.0.113.9")
    running.pop(1).close()
    ask("stranger 200", "203.0.113.9")
    assert len(refused) == 180
    for number in range(11):
        ask(f"somebody {number}", "")
    assert "at work on as many things as it takes" in refused[-1] and len(refused) == 181


def test_all_pages_of_a_person_have_so_many_jobs_together(sessions, monkeypatch):
    monkeypatch.setenv("CAA_MAX_JOBS", "3")
    key = sessions.of("page 0").person.key
    for number in range(4):
        sessions.enter(f"page {number}", key)
    running = [sessions.of(f"page {number}").follow("panel", Forever()) for number in range(4)]
    for steps in running[:3]:
        next(steps)
    with pytest.raises(InputError, match="4 jobs at once of one person are too many"):
        next(running[3])
    next(sessions.of("page 0").follow("panel", Forever()))  # in place of the older one


def test_the_oldest_of_a_person_s_results_make_room_and_their_vectors_are_not_lost(monkeypatch):
    monkeypatch.setenv("CAA_MAX_KEPT_MB", "1")
    person = Person()
    person.keep(vector())
    person.work_on("page", ["pairs"], 300_000)
    person.remember("first", "x" * 300_000)
    person.remember("second", "x" * 300_000)
    person.remember("first", "y" * 300_000)  # is the newest now
    person.remember("third", "x" * 300_000)
    assert person.draft is None and list(person.results) == ["second", "first", "third"]
    person.remember("fourth", "x" * 300_000)
    assert sorted(person.results) == ["first", "fourth", "third"] and person.holdings.gone == ["pairs", "second"]
    person.remember("huge", "x" * 2_000_000)
    assert sorted(person.results) == ["huge"] and names(person) == ["mine"]
    with pytest.raises(InputError, match="delete one first"):
        person.keep(SteeringVector("large", {1: torch.ones(300_000)}, {}, Provenance()))


def test_files_of_one_person_have_a_bound_too(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("CAA_MAX_KEPT_MB", "1")
    person = Person()
    paths = [person.path(str(number), ".html") for number in range(3)]
    for age, path in enumerate(paths):
        path.write_bytes(b"x" * 500_000)
        os.utime(path, (age, age))
    person.path("new", ".html").write_text("x")
    assert [path.exists() for path in paths] == [False, True, True]


def test_where_all_hold_too_much_who_left_makes_room_and_then_the_oldest_result(sessions, clock, monkeypatch):
    monkeypatch.setenv("CAA_MAX_ALL_KEPT_MB", "1")
    for page in ("gone", "here", "there"):
        person = sessions.of(page).person
        person.holdings.clock = clock
        person.remember("first", "x" * 400_000)
        clock.now += 1
        sessions.listens(page, 1)
    sessions.listens("gone", -1)
    sessions.leave("gone")
    assert sessions.sweep() == ["gone"]
    here, there = sessions.of("here").person, sessions.of("there").person
    assert here.results and there.results
    here.remember("second", "x" * 400_000)
    sessions.sweep()
    assert list(here.results) == ["second"] and there.results and here.holdings.gone == ["first"]


def test_a_session_holds_so_many_vectors(monkeypatch):
    monkeypatch.setenv("CAA_MAX_VECTORS", "2")
    session = Session()
    for _ in range(2):
        session.keep(vector())
    with pytest.raises(InputError, match="3 vectors in one session are too many"):
        session.keep(vector())
    session.person.delete("mine")
    assert session.keep(vector()) == "mine"


def test_vectors_kept_at_the_same_moment_get_names_of_their_own():
    session = Session()
    threads = [threading.Thread(target=lambda: [session.keep(vector()) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(session.vectors) == 400


def test_with_a_library_everybody_is_its_owner(tmp_path):
    sessions = Sessions(Library(tmp_path))
    key = sessions.enter("page", "")
    sessions.of("page").keep(vector())
    assert names(sessions.of("program")) == ["mine"]
    sessions.leave("page")
    sessions.end()
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert sessions.enter("again", key)


def test_a_person_without_files_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    person = Person()
    assert not list(tmp_path.iterdir())
    assert person.path("a", ".json") != Person().path("a", ".json")
    person.end()
    assert len(list(tmp_path.iterdir())) == 1


def test_items_that_were_kept_come_back_with_what_stood_before_them():
    pairs = (
        ContrastPair("One?", "a", "b", 1, system="Be short.", history=(("user", "Hi"), ("assistant", "Hello"))),
        ContrastPair("Two?", "c", "d", 2),
    )
    person = Person(results={EVALUATION: {"asked": {"layers": "1"}}})
    keep_items(person, Dataset("mine", "", "", pairs))
    person.results = json.loads(json.dumps(person.results))
    assert measured(person) == ({"layers": "1"}, Dataset("mine", "", "", pairs))
    for kept in person.results[ITEMS]["pairs"]:  # as they were written before
        del kept["system"], kept["history"]
    assert [pair.prompt for pair in measured(person)[1].pairs] == ["One?", "Two?"]
