"""What this machine has room for: a model in its memory, weights on its disk."""

import ctypes
import os
import shutil
import sys
from pathlib import Path

import psutil

from caa_core.errors import InputError

# Bytes of a parameter. Quantised, it has a scale for each row or for each 64 of them, and embeddings stay as they are.
WIDTHS = {"bfloat16": 2, "float16": 2, "float32": 4, "8bit": 1.1, "4bit": 0.65}
QUANTISED = ("8bit", "4bit")
# What running takes beside the weights: activations, keys and values of what was read, the libraries' buffers.
WORKING_FACTOR = 1.15
WORKING_BYTES = 300_000_000
# What stays free on the disk.
DISK_SLACK = 250_000_000
# Files and connections that are open at once.
ENOUGH_OPEN = 65_536
CGROUP = Path("/sys/fs/cgroup")


def best_device() -> str:
    """`CAA_DEVICE`, else "cuda" where there is a card. torch takes seconds to import: without a driver it is not."""
    if device := os.environ.get("CAA_DEVICE"):
        return device
    if "torch" in sys.modules or shutil.which("nvidia-smi"):
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu"


def memory_needed(parameters: int, dtype: str) -> int:
    """Bytes that a model takes while it runs."""
    return int(parameters * WIDTHS[dtype] * WORKING_FACTOR) + WORKING_BYTES


def free_memory(device: str) -> int:
    """Bytes free for a model, on all cards together for "cuda"; a container's limit counts."""
    if device == "cuda":
        import torch

        return sum(torch.cuda.mem_get_info(card)[0] for card in range(torch.cuda.device_count()))
    return min(psutil.virtual_memory().available, _free_in_container())


def used_memory() -> int:
    """Bytes of this machine's memory that the app takes."""
    return psutil.Process().memory_info().rss


def trim() -> None:
    """Give back what was freed, where the C library keeps it for later, as glibc does."""
    if sys.platform == "linux" and (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        malloc_trim(0)


def open_more() -> None:
    """Let this process have many files and connections open, where the system lets it: the usual number is less than
    the streams that the app allows.
    """
    try:
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, min(most, ENOUGH_OPEN)), most))
    except (ImportError, ValueError, OSError):
        pass  # Windows has no such limit


def _free_in_container() -> float:
    """What the control group leaves; psutil sees the whole machine. Cached files give way, so they count as free."""
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return int(limit) - int(used) + int(kept["inactive_file"])
    except (OSError, ValueError, KeyError):  # there is none, or it has no limit ("max")
        return float("inf")


def fits(parameters: int, dtype: str, device: str) -> bool:
    """Whether a model fits beside what is loaded now, which stays until it is replaced."""
    return memory_needed(parameters, dtype) <= free_memory(device)


def check_memory(name: str, parameters: int, dtype: str, device: str) -> None:
    """Refuse a model that does not fit, before running out of memory ends the app.

    Raises:
        InputError: with both numbers.
    """
    if fits(parameters, dtype, device) or (dtype not in QUANTISED and fits_in_parts(parameters, dtype, device)):
        return
    raise InputError(f"{_numbers(name, parameters, dtype, device)}: {_advice(parameters, dtype, device)}.")


def fits_in_parts(parameters: int, dtype: str, device: str) -> bool:
    """Whether a model fits whose blocks lie elsewhere in part: beside a GPU in main memory, without one on a disk."""
    aside = free_memory("cpu") if device == "cuda" else free_on_disk(offload_folder()) if offload_folder() else 0
    return memory_needed(parameters, dtype) <= free_memory(device) + aside


def offload_folder() -> str:
    """`CAA_OFFLOAD`: the folder for weights that have no room in memory; empty where there is none."""
    return os.environ.get("CAA_OFFLOAD", "")


def free_on_disk(folder: str) -> int:
    """Bytes free on the disk of a folder, which is made. Raises InputError where that cannot be."""
    try:
        os.makedirs(folder, exist_ok=True)
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise InputError(f"CAA_OFFLOAD cannot be used ({error.strerror}); set it to a folder.") from error


def _numbers(name: str, parameters: int, dtype: str, device: str) -> str:
    """What it needs, and what there is."""
    needs = f"{name} needs about {gigabytes(memory_needed(parameters, dtype))}"
    if device == "cuda":
        beside = "" if dtype in QUANTISED else f" and {gigabytes(free_memory('cpu'))} of memory beside it"
        return f"{needs} in {dtype}, and {gigabytes(free_memory(device))} on the GPU{beside} are free here"
    return f"{needs} of memory in {dtype}, and {gigabytes(free_memory(device))} are free here"


def _advice(parameters: int, dtype: str, device: str) -> str:
    narrower = [one for one in ("bfloat16", *QUANTISED) if WIDTHS[one] < WIDTHS[dtype]]
    if found := next((one for one in narrower if fits(parameters, one, device)), None):
        return f"choose {found}"
    return "close other programs, or choose a smaller model"


def check_disk(folder: Path, needed: int, variable: str) -> None:
    """Refuse to fetch what the disk of `folder` has no room for; `variable` is the setting that names another one.

    Raises:
        InputError: with both numbers.
    """
    free = shutil.disk_usage(folder).free
    if needed + DISK_SLACK > free:
        raise InputError(
            f"{gigabytes(needed + DISK_SLACK)} of room are needed on the disk of the cache folder, and "
            f"{gigabytes(free)} are free: make room, or set {variable} to a folder on another disk."
        )


def gigabytes(count: float) -> str:
    """Bytes, for people."""
    return f"{count / 1e9:.1f} GB"
