import threading

import pytest

from caa_core.datasets import presets
from caa_core.errors import InputError
from caa_core.service import Session, Studio, Worker
from caa_core.vectors import Provenance, SteeringVector
from tests.conftest import make_tiny


def count(to, log=None, name=""):
    def work():
        for i in range(to):
            if log is not None:
                log.append((name, i))
            yield i
        return to

    return work


def test_events_come_in_order_and_then_the_result():
    job = Worker().submit(count(4))
    assert list(job) == [0, 1, 2, 3]
    assert job.result == 4 and not job.stopped


def test_jobs_take_turns_on_one_thread():
    worker, log, threads, gate = Worker(), [], set(), threading.Event()

    def hold():
        gate.wait(5)
        threads.add(threading.current_thread().name)
        yield

    def tracked(name):
        for i in range(3):
            threads.add(threading.current_thread().name)
            log.append((name, i))
            yield

    jobs = [worker.submit(hold), worker.submit(lambda: tracked("a")), worker.submit(lambda: tracked("b"))]
    gate.set()
    for job in jobs:
        list(job)
    assert log == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert threads == {"caa-worker"}


def test_a_stopped_job_ends_before_its_next_step_and_is_closed():
    closed, log = threading.Event(), []

    def endless():
        try:
            i = 0
            while True:
                log.append(i)
                yield i
                i += 1
        finally:
            closed.set()

    worker = Worker()
    job = worker.submit(endless)
    seen = []
    for event in job:
        seen.append(event)
        if event == 3:
            job.stop()
    assert job.stopped and job.result is None and closed.is_set()
    assert seen[:4] == [0, 1, 2, 3]
    done = len(log)
    assert list(worker.submit(count(2))) == [0, 1]
    assert len(log) == done


def test_leaving_the_loop_stops_the_job():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for _ in Worker().submit(endless):
        break
    assert closed.wait(5)


def test_a_failed_job_fails_alone():
    worker = Worker()

    def broken():
        yield 1
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        list(worker.submit(broken))
    assert list(worker.submit(count(2))) == [0, 1]


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """A studio on a tiny model in a folder."""
    return Studio(str(save_tiny(tmp_path / "tiny")), say=lambda _: None)


def save_tiny(folder, architecture="llama", **changes):
    model = make_tiny(architecture, **changes)
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def test_a_presets_vector_is_made_once_for_everybody(studio):
    def make(session):
        job = studio.run(lambda model: studio.vector(model, session, "joy"))
        steps = len(list(job))
        return steps, job.result

    steps, vector = make(Session())
    assert steps > 1 and vector.provenance.num_pairs == len(presets()["joy"].dataset().pairs)
    assert make(Session()) == (0, vector)


def test_an_unknown_vector_is_named(studio):
    with pytest.raises(InputError, match="no vector 'nothing' here"):
        list(studio.run(lambda model: studio.vector(model, Session(), "nothing")))


def test_sessions_do_not_see_each_other_and_end(studio):
    vector = SteeringVector("mine", {}, {}, Provenance())
    assert [studio.session("a").keep(vector) for _ in range(2)] == ["mine", "mine (2)"]
    assert not studio.session("b").vectors
    job = studio.run(lambda model: iter_forever())
    studio.session("a").jobs["steer"] = job
    next(iter(job))
    studio.leave("a")
    list(job)
    assert job.stopped and not studio.session("a").vectors


def iter_forever():
    while True:
        yield


def test_a_name_of_a_preset_is_not_taken():
    assert Session().keep(SteeringVector("joy", {}, {}, Provenance())) == "joy (2)"


def test_another_model_replaces_the_old_one_and_a_failure_leaves_it(studio, tmp_path):
    old = studio.model
    with pytest.raises(InputError, match="There is no model"):
        studio.load("no such model!", say=lambda _: None)
    assert studio.model is old
    studio.load(str(save_tiny(tmp_path / "other", "gpt2")), say=lambda _: None)
    assert studio.model.name == "other"
    job = studio.run(lambda model: studio.vector(model, Session(), "joy"))
    list(job)
    assert job.result.provenance.model == "other"
