"""The folder of what people upload: how many bytes an address may bring and a person use, and what goes when.

gradio deletes only what it has noted, and ends doing so at the first thing that is no file; what a broken upload leaves
behind it never notes.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from caa_core.errors import InputError
from caa_core.limits import IDLE, PERSON_MB, UPLOAD_MB, UPLOADS_MB

MB = 1_000_000

# What stands around the files in a request.
MARGIN = 100_000
# As many bytes at least does a file count, so that their number has a bound too.
LEAST = 20_000
# What a page holds no more may still be read for somebody who asked before.
SECONDS_TO_READ = 60


@dataclass
class Upload:
    """A file in the folder: where it was brought from, its bytes, and who has used it, and when they last did."""

    address: str
    size: int
    used: dict[Hashable, float] = field(default_factory=dict)


class Uploads:
    """What was uploaded and may lie in the folder still: how many bytes an address may bring, and a person use.

    A request does not say whose it is; that is known when a page asks for something with the file. `clock` gives
    seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._numbers = count()
        self._coming: dict[int, tuple[float, str, int]] = {}
        self._files: dict[str, Upload] = {}
        # By page and by its part: whose they are, and what it holds.
        self._held: dict[tuple[str, int], tuple[Hashable, tuple[str, ...]]] = {}
        self._lock = threading.RLock()

    def take(self, address: str, size: int) -> int:
        """Let an address bring so many bytes. Returns a number for `came`. Raises InputError where there is no room."""
        UPLOAD_MB.check((size - MARGIN) // 1_000_000)
        with self._lock:
            now = self._clock()
            # What broke off, and lies there until it goes by age.
            self._coming = {number: one for number, one in self._coming.items() if now - one[0] <= IDLE.value}
            size = max(size, LEAST)
            there = [(one.address, one.size) for one in self._files.values()]
            there += [(whose, taken) for _, whose, taken in self._coming.values()]
            everybody = sum(taken for _, taken in there)
            theirs = sum(taken for whose, taken in there if whose == address)
            most = UPLOADS_MB.value * MB
            if everybody + size > most or theirs + size > most // 2:
                raise InputError("There is no room for more files just now; try again later.")
            number = next(self._numbers)
            self._coming[number] = now, address, size
            return number

    def came(self, number: int, paths: Iterable[str]) -> None:
        """What was let in has come, as these files."""
        with self._lock:
            _, address, _ = self._coming.pop(number, (0.0, "", 0))
            for path in paths:
                with contextlib.suppress(OSError):
                    self._files.setdefault(path, Upload(address, max(os.path.getsize(path), LEAST)))

    def broke_off(self, number: int, size: int, files: int = 1) -> None:
        """Of what was let in no more than so many bytes of so many files came, which may lie there until they go by
        age.
        """
        with self._lock:
            if number in self._coming:
                since, address, _ = self._coming[number]
                self._coming[number] = since, address, max(size, LEAST * files, LEAST)

    @property
    def are_used(self) -> bool:
        """Whether any page holds files."""
        return bool(self._held)

    def knows(self, page: str) -> bool:
        """Whether a page holds files."""
        return any(holder == page for holder, _ in list(self._held))

    def use(self, person: Hashable, page: str, held: Mapping[int, Sequence[str]]) -> None:
        """A page asks for something, and its parts hold these files. Of a person's that they have not used for longest,
        those go that are more than their share.

        Raises:
            InputError: these alone are more than that, and are deleted.
        """
        with self._lock:
            known = {part: tuple(path for path in paths if path in self._files) for part, paths in held.items()}
            now = {path for paths in known.values() for path in paths}
            for path in now:
                self._files[path].used[person] = self._clock()
            most = PERSON_MB.value * MB
            if sum(self._files[path].size for path in now) > most:
                for path in now:
                    self._give_up(path, person)
                raise InputError(
                    f"These files have more than {PERSON_MB.value} MB together, which is what this app keeps of one "
                    "person's; bring smaller ones."
                )
            for part, paths in known.items():
                self._held.pop((page, part), None)
                if paths:
                    self._held[page, part] = person, paths
            theirs = [(one.used[person], path) for path, one in self._files.items() if person in one.used]
            over = sum(self._files[path].size for _, path in theirs) - most
            for _, path in sorted(theirs):
                if over > 0 and path not in now:
                    over -= self._files[path].size
                    self._give_up(path, person)

    def free(self, needs: Callable[[Any, str], bool | None]) -> list[str]:
        """Delete what nobody uses any more. needs: whether a person's results refer to a file, None where the person is
        gone. Returns the paths of what was deleted.
        """
        with self._lock:
            before, there = self._clock() - SECONDS_TO_READ, set(self._files)
            for path in [path for path in there if not os.path.exists(path)]:
                del self._files[path]
            self._held = {
                place: (person, paths)
                for place, (person, paths) in self._held.items()
                if needs(person, "") is not None and not self._files.keys().isdisjoint(paths)
            }
            shown = {(person, path) for person, paths in self._held.values() for path in paths}
            for path, one in list(self._files.items()):
                for person, used in list(one.used.items()):
                    needed = needs(person, path)
                    if needed is None or (used < before and not needed and (person, path) not in shown):
                        self._give_up(path, person)
            return sorted(there - set(self._files))

    def _give_up(self, path: str, person: Hashable) -> None:
        one = self._files[path]
        one.used.pop(person, None)
        if not one.used:
            del self._files[path]
            with contextlib.suppress(OSError):
                os.unlink(path)


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
