"""What identifies weights: whole files by their sha256, folders by all of their tensors."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

# Before the sum of a folder's tensors. Without it a fingerprint is the sum of a GGUF file, a commit of the hub, or what
# a folder was identified by before.
TENSORS = "tensors:"
# A tensor is read whole up to so many bytes, else in so many pieces from its beginning to its end.
WHOLE, PIECES = 1 << 18, 64
# What a configuration says of who wrote it and how it is loaded, which changes no weight.
IDLE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
LONGEST_HEADER = 100_000_000


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_folder(folder: Path) -> str:
    """Of a folder of safetensors: its configuration, and every tensor's name, dtype, shape and bytes, of large ones a
    sample. It does not matter how tensors are dealt out to files.

    Raises:
        SafetensorError: a file is not in that format.
    """
    digest = hashlib.sha256(_config(folder))
    tensors: dict[str, tuple[Path, int, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, start, entry in _entries(path):
            tensors[name] = path, start, entry
    for name, (path, start, entry) in sorted(tensors.items()):
        digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
        first, last = entry["data_offsets"]
        with path.open("rb") as file:
            for piece in _sample(file, start + first, last - first):
                digest.update(piece)
    return TENSORS + digest.hexdigest()


def of_folder_before(folder: Path) -> str:
    """By what a folder was identified once, so that what was made then is known again: its config, and every weight
    file's name, size and first MiB.
    """
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("config.json"), *folder.glob("*.safetensors"), *folder.glob("*.gguf")]):
        digest.update(f"{file.name}:{file.stat().st_size}:".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(1 << 20))
    return digest.hexdigest()


def comparable(one: str, other: str) -> bool:
    """Whether two fingerprints are of one kind, so that others mean other weights."""
    return one.startswith(TENSORS) == other.startswith(TENSORS)


def of_shapes(parameters: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    """Of the names and shapes of parameters, whatever they hold."""
    return hashlib.sha256(json.dumps(sorted(parameters)).encode()).hexdigest()


def _config(folder: Path) -> bytes:
    """What the configuration says, without spaces and what changes nothing; nothing where it is none."""
    try:
        said = json.loads((folder / "config.json").read_bytes())
        return json.dumps({name: said[name] for name in said if name not in IDLE}, sort_keys=True).encode()
    except (OSError, ValueError, TypeError, RecursionError):
        return b""


def _entries(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Name, where the file's numbers begin, and the header's entry of each tensor in a safetensors file."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, LONGEST_HEADER)))
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = map(int, entry["data_offsets"])
                yield name, 8 + size, {"dtype": entry["dtype"], "shape": entry["shape"], "data_offsets": (first, last)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"{path.name} is not a safetensors file that can be read") from error


def _sample(file: BinaryIO, first: int, size: int) -> Iterator[bytes]:
    if size <= WHOLE:
        file.seek(first)
        yield file.read(size)
        return
    length = WHOLE // PIECES
    for piece in range(PIECES):
        file.seek(first + piece * (size - length) // (PIECES - 1))
        yield file.read(length)
