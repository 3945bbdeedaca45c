"""Tries of a key: each wrong one makes an address wait longer for the next."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from caa_core.errors import InputError
from caa_core.limits import check_owner

# Seconds to wait after the first wrong key; each further one doubles them. A class has one address, so that the owner
# waits with whoever tries keys there.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# Addresses that are remembered.
ADDRESSES = 10_000

Opened = TypeVar("Opened")


class Tries:
    """`clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and until when none counts
        self._lock = threading.Lock()

    def check(self, key: str, address: str) -> None:
        """Raises InputError for who does not have the owner's key, and for who tries keys too fast."""
        self.open(key, address, check_owner)

    def open(self, key: str, address: str, look: Callable[[str], Opened]) -> Opened:
        """What `look` gives for a key. Raises InputError as it does, and for who tries keys too fast."""
        with self._lock:
            wrong, until = self._wrong.get(address, (0, 0.0))
            if (left := until - self._clock()) > 0:
                raise InputError(f"Too many wrong keys from where you are; wait {left:.0f} s.")
            try:
                opened = look(key)
            except InputError:
                wait = min(FIRST_WAIT * 2**wrong, LONGEST_WAIT)
                self._wrong[address] = min(wrong + 1, 20), self._clock() + wait
                self._wrong.move_to_end(address)
                while len(self._wrong) > ADDRESSES:
                    self._wrong.popitem(last=False)
                raise
            self._wrong.pop(address, None)
            return opened
