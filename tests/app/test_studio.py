import ctypes
import threading
from collections import Counter
from functools import partial

import pytest
import torch

from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.app.worker import Owner, Worker
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.model.prompts import render
from caa_core.progress import Waiting
from caa_core.steering.batching import budget
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.vectors.extraction import extract, preset_vector
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.clock import Clock
from tests.helpers.models import save_tiny
from tests.helpers.waiting import until

# In seconds. For what hangs, not for what is slow.
LONG = 300


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
        gate.wait(LONG)
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


def begun_together(worker, *works):
    """Jobs of which none has its first step before all are there."""
    gate = threading.Event()

    def hold():
        gate.wait(LONG)
        return
        yield

    worker.submit(hold)
    jobs = [worker.submit(work) for work in works]
    gate.set()
    return jobs


def test_short_steps_come_between_long_ones():
    """A chat is not held up by a sweep: what counts is the time that a job has had, not its steps."""
    log, clock = [], Clock()

    def pause(name, seconds, steps):
        for _ in range(steps):
            clock.pass_(seconds)
            log.append(name)
            yield

    for job in begun_together(Worker(clock), lambda: pause("sweep", 0.3, 3), lambda: pause("chat", 0.03, 12)):
        job.wait()
    first, second = [i for i, name in enumerate(log) if name == "sweep"][:2]
    assert log[first:second].count("chat") >= 4


def test_who_asks_for_nineteen_things_at_once_gets_no_more_of_the_time():
    log, clock = [], Clock()
    worker, gate = Worker(clock), threading.Event()

    def hold():
        gate.wait(LONG)
        return
        yield

    def steps(name):
        for _ in range(40):
            clock.pass_(0.1)
            log.append(name)
            yield

    worker.submit(hold)
    greedy = [worker.submit(partial(steps, "greedy"), "greedy") for _ in range(19)]
    other = worker.submit(partial(steps, "other"), "other")
    gate.set()
    for job in (other, *greedy):
        job.wait()
    meanwhile = log[: len(log) - log[::-1].index("other")]
    # What comes anew has its first step before the others take another one.
    assert meanwhile.count("greedy") <= meanwhile.count("other") + len(greedy)
    # And what one owner asks for goes on evenly.
    assert log.count("greedy") == 19 * 40


def test_who_calls_themselves_nine_people_at_one_address_weighs_as_three():
    log, clock = [], Clock()

    def steps(name):
        for _ in range(120):
            clock.pass_(0.1)
            log.append(name)
            yield

    worker, gate = Worker(clock), threading.Event()

    def hold():
        gate.wait(LONG)
        return
        yield

    worker.submit(hold)
    many = [worker.submit(partial(steps, "many"), Owner(number, "203.0.113.9")) for number in range(9)]
    one = worker.submit(partial(steps, "one"), Owner("one", "198.51.100.1"))
    gate.set()
    for job in (one, *many):
        job.wait()
    meanwhile = log[: len(log) - log[::-1].index("one")]
    assert 2.5 * 120 < meanwhile.count("many") < 3.5 * 120


def test_somebody_new_waits_for_no_step_that_is_owed_to_a_long_job():
    log, clock = [], Clock()
    worker = Worker(clock)

    def sweep(name):
        for _ in range(3):
            clock.pass_(0.3)
            log.append(name)
            if len(log) == 5:  # one of the three is owed its second step now
                worker.submit(chat)
            yield

    def chat():
        log.append("chat")
        yield

    for job in begun_together(worker, *(lambda name=name: sweep(name) for name in "abc")):
        job.wait()
    assert log.index("chat") == 5 and len(log) == 10


def test_however_many_come_those_who_are_here_go_on():
    """Somebody new waits at every moment, and each is done with one step."""
    came, here, clock = [], [], Clock()
    worker = Worker(clock)

    def visit():
        came.append(worker.submit(visit) if len(came) < 300 and len(here) < 10 else None)
        clock.pass_(0.01)
        return
        yield

    def stay():
        for _ in range(10):
            here.append(len(came))
            yield

    for job in begun_together(worker, stay, visit):
        job.wait()
    assert len(here) == 10 and here[-1] < 100


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
    assert closed.wait(LONG)


def test_a_failed_job_fails_alone():
    worker = Worker()

    def broken():
        yield 1
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        list(worker.submit(broken))
    assert list(worker.submit(count(2))) == [0, 1]


def test_a_job_that_raises_anything_at_all_fails_alone():
    worker = Worker()
    for kind in (SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit):

        def broken(kind=kind):
            yield 1
            raise kind("no")

        good, bad = worker.submit(count(5)), worker.submit(broken)
        with pytest.raises(kind):
            bad.wait()
        assert good.wait() == 5


@pytest.fixture
def studio(tiny_folder):
    """A studio on a tiny model in a folder."""
    return Studio(tiny_folder, say=lambda _: None)


def thread_of(worker):
    def tell():
        yield threading.current_thread()

    return next(iter(worker.submit(tell)))


def end(thread):
    """Make a thread raise SystemExit at its next instruction."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


def test_a_thread_that_is_ended_is_replaced_and_the_next_job_works(studio):
    """nnsight's interventions belong to a thread; nothing of them is left in the one that has gone."""
    write = lambda: studio.run(lambda model: answer(model)).wait()[0].ids  # noqa: E731
    expected, first = write(), thread_of(studio._worker)
    until(lambda: not studio.jobs)  # the first look at the model, say
    end(first)
    assert write() == expected
    first.join(LONG)
    second = thread_of(studio._worker)
    assert not first.is_alive() and second is not first
    # In the middle of a job: that one fails, and nobody else's.
    begun = threading.Event()

    def endless():
        while True:
            begun.set()
        yield

    job = studio.run(lambda model: endless())
    begun.wait(LONG)
    beside = studio.run(lambda model: answer(model))
    end(second)
    with pytest.raises(SystemExit):
        job.wait()
    assert beside.wait()[0].ids == expected and thread_of(studio._worker) is second


def answer(model, tokens=6, steers=()):
    prompt = render(model.tokenizer, [{"role": "user", "content": "How was your day?"}])
    return generate(model, [BatchRow(prompt, steers)], Decoding(tokens))


def test_somebody_new_comes_before_the_next_step_of_long_jobs(studio):
    """However long the others work, a first token waits for the step that is being made, which is bounded."""
    log, held, gate, computed, steps, passes = [], threading.Event(), threading.Event(), Counter(), [], []
    until(lambda: studio.capability is not None)  # what it computes is not what is counted here
    for block in studio.model.blocks:  # by what lies in them: a block that is passed over is called, too
        block._module.mlp.register_forward_hook(lambda _, args, __: computed.update(blocks=args[0].shape[:2].numel()))
    studio.model.module.register_forward_pre_hook(
        lambda module, args, given: passes.append(given["input_ids"].numel()), with_kwargs=True
    )

    def told(name, work):
        for event in work:
            log.append(name)
            steps.append(computed.pop("blocks", 0))
            if len(log) == 8:
                held.set()
                gate.wait(LONG)
            yield event

    dataset = presets()["joy"].dataset()
    long = [studio.run(lambda model: told("long", extract(model, dataset))) for _ in range(3)]
    assert held.wait(LONG)
    chats = [studio.run(lambda model: told("chat", answer(model))) for _ in range(2)]
    gate.set()
    for job in [*chats, *long]:
        job.wait()
    assert log[:11] == ["long"] * 8 + ["chat"] * 2 + ["long"]
    # A pass holds many pairs, and a step no more of it than so many tokens through all blocks.
    assert 256 < max(passes) <= 256 * studio.model.num_layers
    assert 0 < max(steps) <= budget(studio.model) * studio.model.num_layers == 256 * studio.model.num_layers


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "about 1 s"), (6.0, "about 12 s")])
def test_who_waits_hears_how_many_are_before_them_and_how_long_it_takes(seconds, said):
    """As long as steps took lately, by the worker's clock."""
    clock, gate = Clock(), threading.Event()
    worker = Worker(clock)

    def passing():
        for _ in range(20):
            clock.pass_(seconds)
            yield
        clock.pass_(seconds)

    def hold():
        gate.wait(LONG)
        yield "held"

    worker.submit(passing).wait()
    until(lambda: not worker.jobs)
    jobs = [worker.submit(hold), *(worker.submit(count(2)) for _ in range(2))]
    events = jobs[2].watch(0.05)
    first = next(events)
    assert isinstance(first, Waiting) and (first.total, first.fraction) == (2, 0)
    gate.set()
    assert str(first) == f"Waiting for the model: 2 before you, {said}"
    assert [event for event in events if not isinstance(event, Waiting)] == [0, 1]
    assert list(jobs[1]) == [0, 1]  # who does not ask is not told


def test_a_presets_vector_is_made_once_for_everybody(studio):
    def make(session):
        job = studio.run(lambda model: studio.vector(model, session, "joy"))
        steps = len(list(job))
        return steps, job.result

    steps, vector = make(Session())
    assert steps > 1 and vector.provenance.num_pairs == len(presets()["joy"].dataset().pairs)
    assert make(Session()) == (0, vector)


def test_people_who_want_the_same_preset_share_its_making(studio, monkeypatch):
    made = []
    monkeypatch.setattr("caa_core.app.studio.preset_vector", lambda *given: made.append(1) or preset_vector(*given))
    jobs = [studio.run(lambda model: studio.vector(model, Session(), "joy")) for _ in range(4)]
    vectors = [job.wait() for job in jobs]
    assert len(made) == 1
    assert all(vector is vectors[0] for vector in vectors)


def test_a_making_that_is_stopped_is_taken_up_by_who_waits(studio):
    first, second = (studio.run(lambda model: studio.vector(model, Session(), "joy")) for _ in range(2))
    next(iter(first))  # leaving the loop stops it
    assert second.wait().provenance.num_pairs == len(presets()["joy"].dataset().pairs)


def test_a_model_that_comes_while_a_vector_is_made_does_not_get_it(studio, tmp_path):
    other = str(save_tiny(tmp_path / "other", "gpt2"))
    job = studio.run(lambda model: studio.vector(model, Session(), "joy"))
    steps = iter(job)
    next(steps)
    studio.load(other, say=lambda _: None)
    list(steps)
    assert job.result.provenance.model == "tiny"
    late = studio.run(lambda model: studio.vector(model, Session(), "joy")).wait()
    assert late.provenance.model == "other"


def test_two_loads_at_once_are_not_begun(studio, tmp_path):
    with studio._loading, pytest.raises(InputError, match="being loaded just now"):
        studio.load(str(tmp_path), say=lambda _: None)


def test_numbers_hold_while_another_thread_loads(studio):
    """transformers changes torch's default dtype for the whole process while it reads weights."""
    expected = studio.run(lambda model: extract(model, presets()["joy"].dataset())).wait()
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = studio.run(lambda model: extract(model, presets()["joy"].dataset())).wait()
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.at(1).dtype == torch.float32
    assert torch.equal(found.at(1), expected.at(1))


def test_a_job_stopped_in_the_queue_never_begins():
    worker, gate, begun = Worker(), threading.Event(), []

    def hold():
        gate.wait(LONG)
        yield

    def never():
        begun.append(1)
        yield

    worker.submit(hold)
    job = worker.submit(never)
    job.stop()
    gate.set()
    assert job.wait() is None and job.stopped and not begun


def test_an_unknown_vector_is_named(studio):
    with pytest.raises(InputError, match="no vector 'nothing' here"):
        list(studio.run(lambda model: studio.vector(model, Session(), "nothing")))


def test_what_nobody_listens_to_any_more_ends_unless_it_is_lasting(studio):
    job, session = studio.run(lambda model: iter_forever()), studio.session("a")
    running = session.follow("measure", job)
    next(running)
    running.close()
    until(lambda: job.over)
    assert job.stopped and not session.jobs
    wanted = [True]
    job = studio.run(lambda model: iter_forever())
    for _ in session.follow("call", job, wanted=lambda: wanted[0]):
        wanted[0] = False
    until(lambda: job.over)
    assert job.stopped and not session.jobs


def test_a_lasting_job_is_heard_again_from_its_last_event_on(studio):
    gates = [threading.Event() for _ in range(2)]

    def slow():
        yield "first"
        until(gates[0].is_set)
        yield "second"
        until(gates[1].is_set)
        yield "third"
        return "whole"

    job, session = studio.run(lambda model: slow()), studio.session("a")
    running = session.follow("steer", job, lasting=True)
    assert next(running) == "first"
    running.close()
    gates[0].set()
    until(lambda: job._last == ["second"])
    heard = session.listen("steer", job)
    assert next(heard) == "second" and session.jobs == {"steer": job}
    gates[1].set()
    assert list(heard) == ["third"] and job.result == "whole" and not session.jobs
    assert not job.stopped and list(session.listen("steer", job)) == []


def test_measurements_wait_for_memory_and_one_address_has_half_of_it(studio, monkeypatch):
    monkeypatch.setattr(studio, "rooms", 4)
    gate, begun, most = threading.Event(), [], []

    def measure(address):
        begun.append(address)
        while not gate.is_set():
            yield
        most.append((len(studio._at_work), studio._at_work.count(address)))

    def ask(address):
        return studio.run(lambda model: measure(address), Session(address=address), heavy=True)

    jobs = [ask(address) for address in ["203.0.113.9"] * 3 + ["198.51.100.1"] * 3 + ["192.0.2.7"]]
    told = "Waiting for memory: 4 measurements are at work, for which there is room"
    until(lambda: [str(job._last[0]) for job in jobs if job._last].count(told) == 3)
    assert len(begun) == 4 and max(map(begun.count, begun)) == 2
    gate.set()
    for job in jobs:
        job.wait()
    assert len(begun) == 7 and max(most)[0] == 4 and all(mine <= 2 for _, mine in most) and not studio._at_work


def test_a_job_that_is_stopped_for_a_reason_says_it(studio):
    job = studio.run(lambda model: iter_forever())
    job.stop("It took too long.")
    with pytest.raises(InputError, match="It took too long"):
        job.wait()
    assert job.over and not job.stopped


def test_an_app_that_ends_lets_jobs_finish_and_takes_no_new_ones(studio):
    gate, job = threading.Event(), None

    def slow():
        while not gate.is_set():
            yield
        return "whole"

    job = studio.run(lambda model: slow())
    running = studio.session("a").follow("steer", job)
    next(running)
    for work in (lambda: list(running), lambda: until(lambda: studio.health["status"] == "ending") and gate.set()):
        threading.Thread(target=work).start()
    assert studio.health["queue"] == {"jobs": 1}
    assert studio.finish(LONG) == 0 and job.result == "whole"
    with pytest.raises(InputError, match="is being ended"):
        studio.run(lambda model: slow())
    assert studio.health["status"] == "ending"


def test_a_job_that_does_not_end_is_stopped(studio):
    job = studio.run(lambda model: iter_forever())
    reader = threading.Thread(target=lambda: list(studio.session("a").follow("steer", job)))
    reader.start()
    until(studio.sessions.running)
    assert studio.finish(0) == 1
    reader.join(LONG)
    assert job.stopped and not studio.sessions.running()


def test_health_says_counts_and_nothing_of_anybodys(studio):
    studio.session("a").keep(SteeringVector("my secret", {}, {}, Provenance()))
    said = studio.health
    assert said["status"] == "ok" and said["model"] == {
        "name": "tiny",
        "dtype": str(studio.model.dtype)[6:],
        "device": "cpu",
    }
    assert said["sessions"] == {"here": 1, "kept": 1} and said["memory"]["used_mb"] > 100
    assert "secret" not in str(said)


def iter_forever():
    while True:
        yield


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
