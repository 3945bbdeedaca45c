"""Waiting until something is so."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(condition: Callable[[], Found], seconds: float = 300) -> Found:
    """Wait for a condition, and return what it gave. The limit is for what hangs, not for what is slow."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "what was waited for never came"
        time.sleep(0.02)
    return found
