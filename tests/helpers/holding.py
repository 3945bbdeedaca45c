"""Jobs that come to no end for as long as a test wants it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import pytest

from caa_core.app import worker
from caa_core.app.sessions import Session
from caa_core.app.worker import Job

# What kind of job is made is said for all threads.
ONE = threading.Lock()


class Gate(Protocol):
    """Opens at some time; a `threading.Event` is one."""

    def wait(self, seconds: float) -> bool: ...


class HeldJob(Job):
    """A job that does nothing in its turns after so many steps, until the gate is open or the job is stopped."""

    def __init__(self, *given: Any, steps: int, gate: Gate):
        super().__init__(*given)
        self.left, self.gate = steps, gate

    def step(self) -> bool:
        if not (self.left or self._stop.is_set() or self.gate.wait(0.02)):
            return True
        self.left = max(self.left - 1, 0)
        return super().step()


@contextmanager
def holding(studio: Any, steps: int = 1) -> Iterator[Callable[[], None]]:
    """A job of the studio that begins inside stops short after so many steps, until the block ends or the job is
    stopped; the page shows all of these. Gives what lets it go on before.
    """
    from caa_core.app.panels import common

    gate = threading.Event()

    def run_held(work: Callable, session: Session | None = None, heavy: bool = False) -> Job:
        with ONE:
            worker.Job = partial(HeldJob, steps=steps, gate=gate)
            try:
                return type(studio).run(studio, work, session, heavy)
            finally:
                worker.Job = Job

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(common, "SECONDS_BETWEEN_UPDATES", 0)
            patch.setattr(common, "SECONDS_BETWEEN_BARS", 0)
            patch.setattr(studio, "run", run_held)
            yield gate.set
    finally:
        gate.set()
