"""Hundreds of mixed jobs in one process, every third one stopped on its way, some failing: nothing of them is left.

`CAA_SOAK_JOBS` is how many, `CAA_SOAK_MODEL` on which model (a tiny one without it); `make soak` runs 500 on the
embedded one.
"""

import gc
import os
import threading
from dataclasses import dataclass

import psutil
import pytest
import torch
from transformers import DynamicCache

from caa_core.app.quick_check import look
from caa_core.app.studio import Studio
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.evaluation import evaluate
from caa_core.measuring.requests import EvaluationRequest
from caa_core.measuring.sweep import sweep
from caa_core.metrics.items import choose_items
from caa_core.model.machine import trim, used_memory
from caa_core.model.prompts import Prompt, render
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import _BATCHES, BatchRow, generate, side_by_side
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.models import save_tiny

pytestmark = pytest.mark.long

JOBS = int(os.environ.get("CAA_SOAK_JOBS", "50"))
MODEL = os.environ.get("CAA_SOAK_MODEL", "")
AT_ONCE = 3  # run in turns
WARM = min(50, JOBS // 2)  # after so many, memory and threads are looked at first
ENOUGH = 200  # from so many jobs on, memory has settled, and must not grow by more than
GROWTH = 1.05


@pytest.fixture
def studio(tmp_path):
    return Studio(MODEL or str(save_tiny(tmp_path / "tiny")), say=lambda _: None)


def direction(model, number):
    return torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(number))


def asked(model, number):
    return render(model.tokenizer, [{"role": "user", "content": f"What do you think of the number {number}?"}])


def made_vector(model):
    layers = {layer: direction(model, layer) for layer in range(model.num_layers)}
    return SteeringVector("v", layers, {}, Provenance(model=model.name))


def extracting(studio, model, number):
    method = ("pca", "mean-difference", "probe")[number % 3]
    vector = yield from extract(model, presets()["formal"].dataset().first(12 + number % 3), name="mine", method=method)
    person = studio.session("who makes vectors").person
    person.delete(person.keep(vector))


def steering(studio, model, number):
    vector = yield from studio.vector(model, studio.session("a"), ("joy", "gloom")[number % 2])
    steers = (Steer(vector.at(2), 2, 1.5),)
    decoding = Decoding(8 + number % 9, number % 2, number)
    return (yield from side_by_side(model, asked(model, number), steers, AFTER_PROMPT, decoding))


def competing(studio, model, number):
    a, b = Steer(direction(model, 0), 1, 2.0), Steer(direction(model, 1), 3, -2.0)
    rows = [BatchRow(asked(model, number), steers) for steers in ((), (a,), (b,), (a, b))]
    return (yield from generate(model, rows, Decoding(8 + number % 7)))


def sweeping(studio, model, number):
    data = presets()["joy"].test().first(3)
    items = yield from choose_items(model, data.as_questions() if number % 2 else data)
    return (yield from sweep(model, items, made_vector(model), [1, 3], [-1.0, 1.0], counts=False))


def evaluating(studio, model, number):
    data = presets()["joy"].test().first(4)
    request = EvaluationRequest.parse(data=data, layers=[2], multipliers=[1.0])
    return (yield from evaluate(model, request, made_vector(model)))


def looking(studio, model, number):
    return (yield from look(model))


def bad_layer(studio, model, number):
    return generate(model, [BatchRow(asked(model, number), (Steer(direction(model, 0), 99, 1.0),))], Decoding(4))


def not_a_number(studio, model, number):
    return generate(
        model, [BatchRow(asked(model, number), (Steer(direction(model, 0), 1, float("nan")),))], Decoding(4)
    )


def too_long(studio, model, number):
    return generate(model, [BatchRow(Prompt("", (5,) * (model.context_length + 1)))], Decoding(4))


KINDS = [extracting, steering, competing, sweeping, evaluating, looking]
ERRORS = {bad_layer: "no layer 99", not_a_number: "overflowed", too_long: "Shorten it"}


@dataclass
class Order:
    """One job of the soak. `stop_after` so many events it is stopped, unless that is 0."""

    number: int

    @property
    def stop_after(self) -> int:
        return 1 + self.number // 18 % 3 if self.number % 3 == 2 else 0

    @property
    def work(self):
        fails = self.number % 9 == 4
        kinds = list(ERRORS) if fails else KINDS
        return kinds[self.number // 9 % len(kinds)] if fails else kinds[self.number * 5 // 3 % len(kinds)]

    def begin(self, studio):
        def steps(model):
            for count, event in enumerate(self.work(studio, model, self.number), 1):
                if count == self.stop_after:
                    self.job.stop()  # on the worker, so that it is stopped behind this event and not a later one
                yield event

        self.job = studio.run(steps)
        return self

    def end(self, studio):
        """Let it come to its end, and see that it is the one it should come to."""
        events = 0
        try:
            for _ in studio.session(f"page {self.number % AT_ONCE}").follow("soak", self.job):
                events += 1
        except InputError as error:
            assert ERRORS[self.work] in str(error)
        assert (self.job.error is not None) == (self.work in ERRORS), self
        assert self.job.stopped == bool(self.stop_after) and (not self.stop_after or events == self.stop_after), self


def left_over():
    """Memory in bytes and threads of this process, when what is garbage is gone."""
    gc.collect()
    trim()
    return used_memory(), psutil.Process().num_threads()


def test_nothing_is_left_of_many_jobs(studio):
    model = studio.model

    def text():
        prompt = render(model.tokenizer, [{"role": "user", "content": "How was your day?"}])
        steers = (Steer(direction(model, 0), 2, 1.5),)
        job = studio.run(lambda model: side_by_side(model, prompt, steers, AFTER_PROMPT, Decoding(8)))
        return job.wait().summary()

    expected, threads = text(), set(threading.enumerate())
    orders = [Order(number) for number in range(JOBS)]
    memory = tasks = 0
    for start in range(0, JOBS, AT_ONCE):
        if not memory and start >= WARM:
            memory, tasks = left_over()
        wave = [order.begin(studio) for order in orders[start : start + AT_ONCE]]
        for order in wave:
            order.end(studio)
        assert not any(batch.groups for batch in _BATCHES.values()), wave
    kinds = {order.work for order in orders}
    assert kinds == {*KINDS, *ERRORS}
    assert sum(order.job.stopped for order in orders) == JOBS // 3
    orders = wave = order = None

    grown, now = left_over()
    print(f"\n{JOBS} jobs on {model.name}: {memory / 1e6:.0f} MB after {WARM}, {grown / 1e6:.0f} MB after all")
    assert grown < GROWTH * memory or JOBS < ENOUGH
    assert now <= tasks and not set(threading.enumerate()) - threads
    assert studio.health["queue"] == {"jobs": 0} and not studio._worker.jobs and not studio._making
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.module.modules())
    assert not model.nn.interleaver.mediators
    assert not any(type(thing) is DynamicCache for thing in gc.get_objects())
    assert text() == expected
