"""The folder of what people upload: how many bytes an address may bring, and what goes by age.

gradio deletes only what it has noted, and ends doing so at the first thing that is no file; what a broken upload leaves
behind it never notes.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from caa_core.errors import InputError
from caa_core.limits import IDLE, UPLOAD_MB, UPLOADS_MB

# What stands around the files in a request.
MARGIN = 100_000


class Uploads:
    """What was uploaded and may lie in the folder still. `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._taken: deque[tuple[float, str, int]] = deque()
        self._lock = threading.Lock()

    def take(self, address: str, size: int) -> None:
        """Let an address bring so many bytes. Raises InputError where there is no room for them."""
        UPLOAD_MB.check((size - MARGIN) // 1_000_000)
        with self._lock:
            while self._taken and self._clock() - self._taken[0][0] > IDLE.value:
                self._taken.popleft()
            everybody = sum(taken for _, _, taken in self._taken)
            theirs = sum(taken for _, whose, taken in self._taken if whose == address)
            most = UPLOADS_MB.value * 1_000_000
            if everybody + size > most or theirs + size > most // 2:
                raise InputError("There is no room for more files just now; try again later.")
            self._taken.append((self._clock(), address, size))


def sweep(folder: Path, seconds: float, keep: Collection[str] = ()) -> list[str]:
    """Delete what has lain in the folder for longer, whatever left it there, but not what is in `keep`, nor what is in
    people's own folders, which go with them. Returns the paths of what was deleted.
    """
    before, gone = time.time() - seconds, []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith("caa-")]
        for path in (os.path.join(root, name) for name in names):
            with contextlib.suppress(OSError):
                if os.lstat(path).st_ctime < before and path not in keep:
                    os.unlink(path)
                    gone.append(path)
        for path in (os.path.join(root, name) for name in folders):
            with contextlib.suppress(OSError):  # most are not empty
                if os.lstat(path).st_ctime < before:
                    os.rmdir(path)
    return gone


def keep_below(folder: Path, most: int) -> None:
    """Delete the oldest files of a folder, until those that are left have no more than so many bytes."""
    found = []
    with contextlib.suppress(FileNotFoundError):  # somebody else deletes here as well
        found = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(folder))
    held = sum(size for _, size, _ in found)
    for _, size, path in found:
        if held <= most:
            return
        Path(path).unlink(missing_ok=True)
        held -= size
