"""A folder in which one person's vectors and results outlive the app.

Every file is written beside its place and moved there when it is whole, and is checked when it is read. What cannot be
read is set aside under another name, and said; nothing is deleted that its owner did not delete.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from caa_core.data.text import clean
from caa_core.errors import InputError
from caa_core.vectors.vector import SteeringVector, load_vector

MAX_RESULT = 20_000_000
UNREADABLE = ".unreadable"
VECTOR, RESULT = ".safetensors", ".json"

log = logging.getLogger("caa_core")


class Library:
    """Vectors by name, and results (plain data) by name, in a folder that this app alone uses.

    `notes` are sentences about what was set aside.
    """

    def __init__(self, folder: Path):
        """Raises InputError where the folder cannot be used, or another app uses it."""
        self.folder = folder
        self.notes: list[str] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise InputError("The library is in use by another app that runs; end that one first.") from error
        except OSError as error:
            raise InputError(f"The library cannot be used: {error.strerror}. Is CAA_LIBRARY a folder?") from error
        for begun in folder.glob(".begun-*"):  # what a crash left of a write that never counted
            begun.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another app use the folder."""
        self._lock.release()

    def vectors(self) -> Iterator[SteeringVector]:
        """Those that can be read, oldest first."""
        yield from self._read(VECTOR, load_vector)

    def results(self) -> Iterator[tuple[str, Any]]:
        """(name, plain data) of those that can be read, oldest first."""
        yield from self._read(RESULT, _load_result)

    def keep_vector(self, vector: SteeringVector) -> None:
        """Write a vector, over the one of its name. Raises InputError where that fails."""
        self._write(_file(vector.name, VECTOR), vector.save)

    def keep_result(self, name: str, data: Any) -> None:
        """Write plain data, over what had the name. Raises InputError where that fails."""
        text = json.dumps(data, allow_nan=False)
        content = json.dumps({"name": name, "sha256": _digest(text), "data": text})
        self._write(_file(name, RESULT), lambda path: path.write_text(content, encoding="utf-8"))

    def delete_vector(self, name: str) -> None:
        """Delete what its owner deleted."""
        self._delete(_file(name, VECTOR))

    def delete_result(self, name: str) -> None:
        """Delete what its owner deleted."""
        self._delete(_file(name, RESULT))

    def _delete(self, name: str) -> None:
        with _saying("deleted from"):
            (self.folder / name).unlink(missing_ok=True)

    def _write(self, name: str, write: Callable[[Path], Any]) -> None:
        begun = self.folder / f".begun-{secrets.token_hex(8)}"
        with _saying("written to"):
            try:
                write(begun)
                with open(begun, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(begun, self.folder / name)
            finally:
                begun.unlink(missing_ok=True)

    def _read(self, ending: str, load: Callable[[Path], Any]) -> Iterator[Any]:
        for path in sorted(self.folder.glob(f"[!.]*{ending}"), key=_age):
            try:
                yield load(path)
            except (InputError, OSError) as error:
                self._set_aside(path, error)

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNREADABLE}")
        with contextlib.suppress(OSError):
            os.replace(path, aside)
        said = f"{clean(path.name)} in the library cannot be read and was set aside as {clean(aside.name)}."
        log.warning("a file of the library was set aside", extra={"file": path.name, "why": type(error).__name__})
        self.notes.append(said)


@contextlib.contextmanager
def _saying(done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"This could not be {done} the library ({error.strerror}); it is in your list as long as the app runs."
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
