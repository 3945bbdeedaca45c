"""How many files are read at once, and who is next: whoever has the fewest at work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

# For whom the thread at hand reads: an address, where the app is open to strangers.
asking: ContextVar[str] = ContextVar("asking", default="")


class Turns:
    """At most so many at once."""

    def __init__(self, most: int):
        self._most = most
        self._numbers = count()
        self._waiting: list[tuple[int, str]] = []
        self._at_work: list[str] = []
        self._changed = threading.Condition()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for a turn, and have it."""
        mine = next(self._numbers), asking.get()
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: self._is_next(mine))
            self._waiting.remove(mine)
            self._at_work.append(mine[1])
            self._changed.notify_all()  # there may be room for one more
        try:
            yield
        finally:
            with self._changed:
                self._at_work.remove(mine[1])
                self._changed.notify_all()

    def _is_next(self, mine: tuple[int, str]) -> bool:
        first = min(self._waiting, key=lambda one: (self._at_work.count(one[1]), one[0]))
        return len(self._at_work) < self._most and first is mine


# What is little work is done in the app's own process, the rest in processes of their own.
HERE, APART = Turns(2), Turns(2)
