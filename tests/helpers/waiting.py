"""Waiting until something is so, or has been done."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found],
    seconds: float = 300,
    otherwise: str = "what was waited for never came",
    every: float = 0.02,
) -> Found:
    """Wait for a condition, and return what it gave. The limit is for what hangs, not for what is slow. every: seconds
    between two looks, more where looking is work.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, otherwise
        time.sleep(every)
    return found


def ran(work: Coroutine[Any, Any, Found]) -> Found:
    """What it gives, run in a thread of its own, as the loop of a browser's driver may run in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
