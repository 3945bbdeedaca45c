"""Names for what is kept: one function hashes all that a number depends on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

import torch

from caa_core import __version__
from caa_core.model.loading import SteerableModel

# Raised when a number that is kept would not be measured as it was.
FORMAT = 1


def key(model: SteerableModel, *parts: Any) -> str:
    """The name of what depends on a model as it runs here, and on `parts`.

    These are plain data, tensors, other keys, and dataclasses, of which all counts that counts when they are compared.
    The version of this program and of the format count too: what an older one kept is measured anew.
    """
    machine = [model.name, model.fingerprint, f"torch.{model.precision}", model.device.type, model.template_sha256]
    return digest(json.dumps([FORMAT, __version__, machine, _plain(parts)]).encode())


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _plain(part: Any) -> Any:
    """As what JSON knows; other things of the same content are the same. Raises TypeError for what has no content."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, torch.Tensor):
        numbers = part.detach().cpu().contiguous().reshape(-1)
        return [str(part.dtype), list(part.shape), digest(numbers.view(torch.uint8).numpy().tobytes())]
    if isinstance(part, Mapping):
        return [[_plain(name), _plain(value)] for name, value in part.items()]
    if isinstance(part, list | tuple):
        return [_plain(one) for one in part]
    if is_dataclass(part) and not isinstance(part, type):
        return {one.name: _plain(getattr(part, one.name)) for one in fields(part) if one.compare and _said(part, one)}
    raise TypeError(f"{type(part).__name__} has no name of its own.")


def _said(part: Any, one: Field[Any]) -> bool:
    """Whether a field counts: one that came later is silent as long as it is what all were before."""
    return "unsaid" not in one.metadata or getattr(part, one.name) != one.metadata["unsaid"]
