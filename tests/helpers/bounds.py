"""Bounds on work: they hold on a slow machine and beside other programs, and not where a guard is gone."""

import os
import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# Millions of steps that reading one file may take. It takes a tenth of them at most: a processor that others share is
# up to three times as slow from one moment to the next.
STEPS = 200


def spent() -> float:
    """Seconds of processors that this process and those that it has waited for have taken."""
    return sum(os.times()[:4])


@cache
def unit() -> float:
    """Seconds of this machine's processor for a million steps of a plain loop."""

    def once() -> float:
        begun = time.process_time()
        for _ in range(2_000_000):
            pass
        return (time.process_time() - begun) / 2

    return max(once() for _ in range(3))


@contextmanager
def bounded(steps: float) -> Iterator[None]:
    """What is done inside is at most as much work as so many million steps of a plain loop, and is ended there."""
    most = steps * unit()

    def end(*_: object) -> None:
        raise AssertionError(f"more work than {steps} million steps")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, most)
    begun = spent()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert spent() - begun <= most, f"more work than {steps} million steps"


@contextmanager
def allocating(most: int) -> Iterator[None]:
    """What is done inside asks for at most so many bytes of memory at once, apart from tensors."""
    unit()  # measured while nothing is traced
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak <= most, f"{peak / 1e6:.0f} MB at once"
