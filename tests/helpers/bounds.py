"""Bounds on work: they hold on a slow machine and beside other programs, and not where a guard is gone."""

import gc
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
    """Seconds of processors that this thread and the processes that were waited for have taken.

    Threads of other tests, an app's for one, are not the work of what is read here.
    """
    return time.thread_time() + sum(os.times()[2:4])


def unit() -> float:
    """Seconds of this machine's processor, as it is now, for a million steps of a plain loop."""

    def once() -> float:
        begun = time.thread_time()
        for _ in range(2_000_000):
            pass
        return (time.thread_time() - begun) / 2

    return max(once() for _ in range(3))


# Once a run is enough where the bound holds; where it doesn't, the processor may have become slower since.
usual_unit = cache(unit)


@contextmanager
def bounded(steps: float) -> Iterator[None]:
    """What is done inside is at most as much work as so many million steps of a plain loop, and is ended soon after.

    What lives in this process is left to the collector afterwards: thousands of tests leave so much of it that a
    collection, of which a file of many small lists starts one after the other, takes longer than the file itself.
    """

    def end(*_: object) -> None:
        raise AssertionError(f"more work than {steps} million steps")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, 5 * steps * usual_unit())
    gc.freeze()
    begun = spent()
    try:
        yield
    finally:
        taken = spent() - begun
        gc.unfreeze()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if taken > steps * usual_unit():
        assert taken <= steps * unit(), f"more work than {steps} million steps"


@contextmanager
def allocating(most: int) -> Iterator[None]:
    """What is done inside asks for at most so many bytes of memory at once, apart from tensors."""
    usual_unit()  # measured while nothing is traced
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak <= most, f"{peak / 1e6:.0f} MB at once"
