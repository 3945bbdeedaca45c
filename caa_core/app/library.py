"""A folder in which one person's vectors and results outlive the app; and one in which those of many people do, which
several apps use at once.

Every file is written beside its place and moved there when it is whole, and is checked when it is read. What cannot be
read is set aside under another name, and said; nothing is deleted that its owner did not delete.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from caa_core.data.text import clean
from caa_core.errors import InputError
from caa_core.limits import KEPT_DAYS
from caa_core.vectors.vector import SteeringVector, load_vector

MAX_RESULT = 20_000_000
UNREADABLE = ".unreadable"
# For what another app writes.
SECONDS_TO_WAIT = 20
HOUR, DAY = 3600, 86_400
VECTOR, RESULT = ".safetensors", ".json"

log = logging.getLogger("caa_core")


class Library:
    """Vectors by name, and results (plain data) by name, in a folder that this app alone uses, or that others use too.

    `notes` are sentences about what was set aside.
    """

    def __init__(self, folder: Path, shared: bool = False):
        """shared: other apps use it at the same time, so that each has it for a moment only, while it reads or writes.

        Raises:
            InputError: the folder cannot be used, or another app uses it alone.
        """
        self.folder = folder
        self.notes: list[str] = []
        self.shared = shared
        self._known: dict[str, _Kept] = {}  # by the file's name
        self._seen = 0
        try:
            folder.mkdir(mode=0o700 if shared else 0o777, parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock", timeout=SECONDS_TO_WAIT if shared else 0, poll_interval=0.02)
            if not shared:
                self._lock.acquire()
        except Timeout as error:
            raise InputError("The library is in use by another app that runs; end that one first.") from error
        except OSError as error:
            raise InputError(f"The library cannot be used: {error.strerror}. Is CAA_LIBRARY a folder?") from error
        with self.held():
            for begun in folder.glob(".begun-*"):  # what a crash left of a write that never counted
                begun.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another app use the folder."""
        self._lock.release()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile. Raises InputError where somebody else has it for too long."""
        if not self.shared:
            yield
            return
        try:
            self._lock.acquire()
        except (Timeout, OSError) as error:
            raise InputError("What you have made cannot be reached just now; try again.") from error
        try:
            yield
        finally:
            self._lock.release()

    def vectors(self) -> Iterator[SteeringVector]:
        """Those that can be read, oldest first."""
        yield from self._read(VECTOR)

    def results(self) -> Iterator[tuple[str, Any]]:
        """(name, plain data) of those that can be read, oldest first."""
        yield from self._read(RESULT)

    @property
    def has_news(self) -> bool:
        """Whether another app may have written or deleted something since `news` was asked for."""
        return self.shared and self._when() != self._seen

    def news(self) -> tuple[list[SteeringVector], list[tuple[str, Any]], list[str], list[str]]:
        """What is other than this app knows it: vectors, results, and names of those that are deleted, of each kind."""
        with self.held():
            self._seen = self._when()
            there = {path.name: path for kind in (VECTOR, RESULT) for path in self._files(kind)}
            other = [path for name, path in there.items() if name not in self._known or not self._known[name].is_(path)]
            gone = [self._known.pop(name) for name in [*self._known] if name not in there]
            vectors = [*self._load([path for path in other if path.suffix == VECTOR], VECTOR)]
            results = [*self._load([path for path in other if path.suffix == RESULT], RESULT)]
        without, forgotten = ([one.name for one in gone if one.kind == kind] for kind in (VECTOR, RESULT))
        return vectors, results, without, forgotten

    def keep_vector(self, vector: SteeringVector) -> None:
        """Write a vector, over the one of its name. Raises InputError where that fails."""
        self._write(vector.name, VECTOR, vector.save)

    def keep_result(self, name: str, data: Any) -> None:
        """Write plain data, over what had the name. Raises InputError where that fails."""
        text = json.dumps(data, allow_nan=False)
        content = json.dumps({"name": name, "sha256": _digest(text), "data": text})
        self._write(name, RESULT, lambda path: path.write_text(content, encoding="utf-8"))

    def delete_vector(self, name: str) -> None:
        """Delete what its owner deleted."""
        self._delete(_file(name, VECTOR))

    def delete_result(self, name: str) -> None:
        """Delete what its owner deleted."""
        self._delete(_file(name, RESULT))

    def _delete(self, file: str) -> None:
        with self.held(), _saying("deleted from"):
            (self.folder / file).unlink(missing_ok=True)
            self._known.pop(file, None)

    def _write(self, name: str, kind: str, write: Callable[[Path], Any]) -> None:
        begun, place = self.folder / f".begun-{secrets.token_hex(8)}", self.folder / _file(name, kind)
        with self.held(), _saying("written to"):
            try:
                write(begun)
                with open(begun, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(begun, place)
                self._known[place.name] = _Kept.at(place, name, kind)
            finally:
                begun.unlink(missing_ok=True)

    def _when(self) -> int:
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def _files(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"[!.]*{kind}"), key=_age)

    def _read(self, kind: str) -> Iterator[Any]:
        with self.held():
            found = [*self._load(self._files(kind), kind)]
        yield from found

    def _load(self, paths: Sequence[Path], kind: str) -> Iterator[Any]:
        for path in paths:
            try:
                loaded = load_vector(path) if kind == VECTOR else _load_result(path)
                name = loaded.name if isinstance(loaded, SteeringVector) else loaded[0]
                self._known[path.name] = _Kept.at(path, name, kind)
                yield loaded
            except (InputError, OSError) as error:
                self._set_aside(path, error)

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNREADABLE}")
        with contextlib.suppress(OSError):
            os.replace(path, aside)
        said = f"{clean(path.name)} in the library cannot be read and was set aside as {clean(aside.name)}."
        log.warning("a file of the library was set aside", extra={"file": path.name, "why": type(error).__name__})
        self.notes.append(said)


@dataclass(frozen=True)
class _Kept:
    """What this app knows of a file: what it is, and as which it was written or read."""

    name: str
    kind: str
    written: tuple[int, int, int]

    @classmethod
    def at(cls, path: Path, name: str, kind: str) -> "_Kept":
        return cls(name, kind, _written(path))

    def is_(self, path: Path) -> bool:
        """Whether the file is still the same."""
        return self.written == _written(path)


def _written(path: Path) -> tuple[int, int, int]:
    """What tells one writing of a file from another: each is a file of its own, moved into its place."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


class Shelves:
    """A folder that several apps share, on storage that all of them see: for each person what they have made, by their
    key. Of the key there lies a digest only, so that who reads the folder cannot come as somebody.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time):
        """clock: the time as files have it. Raises InputError where the folder cannot be used.

        `secret` is what browsers hide their keys with: it comes with the page, and has to be the same at each app.
        """
        self.folder, self._clock, self._swept = folder, clock, clock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.secret = self._made_once()
        except (OSError, Timeout) as error:
            why = getattr(error, "strerror", None) or "it is locked"
            raise InputError(f"The shared folder cannot be used: {why}. Is CAA_PEOPLE a folder?") from error

    def has(self, key: str) -> bool:
        """Whether somebody with that key was here, at whichever app."""
        return self._place(key).is_dir()

    def find(self, key: str) -> Library | None:
        """What lies there for who has that key; None where nobody has it."""
        return self.make(key) if self.has(key) else None

    def make(self, key: str) -> Library:
        """As `find`; where nobody has the key, it is theirs from now on."""
        library = Library(self._place(key), shared=True)
        with library.held(), _saying("kept in"):
            (library.folder / ".used").touch()
        return library

    def sweep(self) -> None:
        """Delete, once an hour, what nobody has come back to for `CAA_KEPT_DAYS`, and where nothing lies for a day."""
        if self._clock() - self._swept < HOUR:
            return
        self._swept = self._clock()
        for place in self.folder.iterdir():
            with contextlib.suppress(OSError, InputError):
                if place.is_dir() and self._is_over(place):
                    with Library(place, shared=True).held():
                        if self._is_over(place):
                            shutil.rmtree(place)

    def _made_once(self) -> str:
        place = self.folder / ".secret"
        with FileLock(self.folder / ".lock", timeout=SECONDS_TO_WAIT):
            if not place.exists():
                place.write_text(secrets.token_hex(16))
            return place.read_text()

    def _is_over(self, place: Path) -> bool:
        holds = any(not path.name.startswith(".") for path in place.iterdir())
        return self._clock() - (place / ".used").stat().st_mtime > DAY * (KEPT_DAYS.value if holds else 1)

    def _place(self, key: str) -> Path:
        return self.folder / _digest(key)


@contextlib.contextmanager
def _saying(tried: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"This could not be {tried} the library ({error.strerror}); it is in your list as long as the app runs."
        ) from error


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _file(name: str, ending: str) -> str:
    """A file's name for any name: what can be read of it, and a digest that tells it from others."""
    readable = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)[:60]
    return f"{readable}-{_digest(name)[:16]}{ending}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _load_result(path: Path) -> tuple[str, Any]:
    if path.stat().st_size > MAX_RESULT:
        raise InputError("It is too large for a result.")
    try:
        kept = json.loads(path.read_bytes())
        name, text = str(kept["name"]), kept["data"]
        if kept["sha256"] != _digest(text) or path.name != _file(name, RESULT):
            raise InputError("It is not as it was written.")
        return name, json.loads(text)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError("It is not a result of this app.") from error
