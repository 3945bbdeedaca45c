"""SteeringVector: one direction in the residual stream a layer, with the provenance that says where it came from."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from caa_core import __version__
from caa_core.data.text import MAX_NAME, clean, spans
from caa_core.errors import InputError
from caa_core.vectors.diagnostics import Diagnostics

if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel

FORMAT = "caa-steering-vector"

FORMAT_VERSION = "1"

LAYER_CONVENTION = "residual stream after decoder block L, counted from 0"

MAX_BYTES = 200_000_000

MAX_FORMULA = 4000

MAX_NORMS = 1_000_000

MAX_HIDDEN = 65_536

# Of one vector: three times as deep, and four times as many numbers, as the largest open model has.
MAX_LAYERS = 400
MAX_NUMBERS = 8_000_000

MAX_HEADER = 4_000_000


@dataclass(frozen=True)
class Provenance:
    """Where a vector came from. What an imported file did not say is empty; `operations` is what was done since."""

    model: str = ""
    model_fingerprint: str = ""
    num_layers: int = 0
    method: str = ""
    read_position: str = ""
    dataset: str = ""
    dataset_sha256: str = ""
    num_pairs: int = 0
    chat_template_sha256: str = ""
    operations: str = ""
    created_with: str = f"caa-studio {__version__}"
    model_architecture: str = ""
    pairs_sha256: str = ""


# What each of its fields is where it is not known: no text, or 0.
UNKNOWN: dict[str, str | int] = {name: type(value)() for name, value in vars(Provenance()).items()}


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """Directions by layer.

    layers: float32 tensors of shape [hidden_size], by layer.
    residual_norms: by layer, the median norm of the residual stream at the read positions; empty where not known.
    letter_share: for multiple-choice pairs in both letter orders, by layer, how much of the squared norm of the vector
        in the given order lies along the letter; empty where not known.
    diagnostics: what its pairs say of whether it will steer; None where they are not known.
    """

    name: str
    layers: dict[int, torch.Tensor]
    residual_norms: dict[int, float]
    provenance: Provenance
    letter_share: dict[int, float] = field(default_factory=dict)
    diagnostics: Diagnostics | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        layers = spans(self.layers).replace(" to ", "-")
        return f"SteeringVector({self.name!r}, {layers}, hidden size {self.hidden_size})"

    @property
    def hidden_size(self) -> int:
        return next(iter(self.layers.values())).shape[0]

    @cached_property
    def sha256(self) -> str:
        """Of its numbers alone, float32, and their layers in rising order; in hexadecimal."""
        found = hashlib.sha256()
        for layer in sorted(self.layers):
            found.update(layer.to_bytes(4, "little"))
            found.update(self.layers[layer].contiguous().numpy().tobytes())
        return found.hexdigest()

    def at(self, layer: int) -> torch.Tensor:
        """The direction at one layer, [hidden_size].

        Raises:
            InputError: the vector was not made at that layer.
        """
        if layer not in self.layers:
            raise InputError(f"The vector '{self.name}' has no layer {layer}; it has {spans(self.layers)}.")
        return self.layers[layer]

    def norm(self, layer: int) -> float:
        return float(self.at(layer).norm())

    def relative_strength(self, layer: int, multiplier: float = 1.0) -> float | None:
        """‖multiplier · v‖ over the median residual norm at the read positions; None where that norm is not known."""
        if layer not in self.residual_norms:
            return None
        return abs(multiplier) * self.norm(layer) / self.residual_norms[layer]

    def summary(self) -> dict[str, Any]:
        """The vector in numbers: name, model, pairs, method, read position; norms and shares by layer."""
        return {
            "name": self.name,
            "model": self.provenance.model,
            "num_pairs": self.provenance.num_pairs,
            "method": self.provenance.method,
            "read_position": self.provenance.read_position,
            "layers": [
                {
                    "layer": layer,
                    "norm": self.norm(layer),
                    "relative_strength": self.relative_strength(layer),
                    "letter_share": self.letter_share.get(layer),
                    **(self.diagnostics.at(layer) if self.diagnostics else {}),
                }
                for layer in self.layers
            ],
            "diagnostics": self.diagnostics.summary() if self.diagnostics else None,
        }

    def save(self, path: Path) -> None:
        """Write a safetensors file (its format stands in CONTRIBUTING.md)."""
        tensors = {f"layers.{layer}": vector.contiguous() for layer, vector in self.layers.items()}
        path.write_bytes(save(tensors, self.metadata()))  # save_file would make it the owner's alone

    def metadata(self) -> dict[str, str]:
        """All that a file says beside the tensors: name, norms and provenance; `assemble` reads it back."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "hidden_size": str(self.hidden_size),
            "layer_convention": LAYER_CONVENTION,
            **{name: self._by_number(values) for name, values in self._measured().items() if values},
            **({"diagnostics": self.diagnostics.packed()} if self.diagnostics else {}),
            **{name: str(value) for name, value in vars(self.provenance).items() if value},
        }

    def _measured(self) -> dict[str, dict[int, float]]:
        return {"residual_norms": self.residual_norms, "letter_share": self.letter_share}

    def _by_number(self, values: dict[int, float]) -> str:
        known = {layer: value for layer, value in values.items() if math.isfinite(value)}
        return json.dumps([known.get(layer) for layer in range(max(self.layers) + 1)])

    def differences(self, model: "SteerableModel") -> list[str]:
        """In words, how the model at hand differs from the one the vector was made on."""
        was = self.provenance
        found = []
        if self._is_of_another_architecture(model):
            found.append(f"it was made on {was.model or 'another model'}, which is another model than this")
        elif was.model_fingerprint not in ("", model.fingerprint, *model.also):
            alike = ", of the same architecture" if was.model_architecture else ""
            found.append(f"it was made on {was.model or 'another model'}{alike}, whose weights differ from these")
        if was.chat_template_sha256 and was.chat_template_sha256 != model.template_sha256:
            found.append("it was made under another chat template")
        return found

    def _is_of_another_architecture(self, model: "SteerableModel") -> bool:
        was = self.provenance
        sizes = self.hidden_size != model.hidden_size or was.num_layers not in (0, model.num_layers)
        return sizes or was.model_architecture not in ("", model.architecture)


def load_vector(path: Path) -> SteeringVector:
    """Read a file written by `SteeringVector.save`.

    Raises:
        InputError: it is no such file, or holds NaN, infinity, zero or something of another shape.
    """
    source = clean(path.name)
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise InputError(f"{source} is larger than {MAX_BYTES / 1e6:.0f} MB, which no steering vector is.")
        # A header of many millions of entries would be read for half a minute before the first is looked at.
        with open(path, "rb") as file:
            if int.from_bytes(file.read(8), "little") > MAX_HEADER:
                raise InputError(f"{source} is not a safetensors file of a steering vector: its header is too long.")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "format" not in metadata or metadata["format"] == "pt":
                return assemble(*without_zeros(_plain_layers(file, source), {}), source)
            if metadata["format"] != FORMAT:
                raise _not_ours(file, source)
            version = clean(metadata.get("format_version", ""))
            if version != FORMAT_VERSION:
                raise InputError(f"{source} has format version {version}; version 1 is read.")
            _check_sizes(file, source)
            layers = {_layer(key, source): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no __iter__
    except (SafetensorError, OSError) as error:
        raise InputError(f"{source} is not a safetensors file that can be read.") from error
    return assemble(layers, metadata, source)


def _check_sizes(file: Any, source: str) -> None:
    keys = file.keys()
    check_size(len(keys), sum(math.prod(file.get_slice(key).get_shape()) for key in keys[:MAX_LAYERS]), source)


def _plain_layers(file: Any, source: str) -> dict[int, torch.Tensor]:
    """Layers of a safetensors file that says nothing of them but their names: `layers.<L>` or `direction.<L>`."""
    names = {key: re.fullmatch(r"(layers|direction)\.(0|[1-9]\d{0,3})", key, re.ASCII) for key in file.keys()}  # noqa: SIM118
    if all(names.values()):
        _check_sizes(file, source)
    layers = {}
    for key, match in names.items():
        shape = file.get_slice(key).get_shape()
        if not match or len([size for size in shape if size != 1]) > 1 or not 0 < math.prod(shape) <= MAX_HIDDEN:
            raise _not_ours(file, source)
        tensor = file.get_tensor(key)
        if not tensor.is_floating_point():
            raise _not_ours(file, source)
        layers[int(match[2])] = tensor.reshape(-1).float()
    return layers


def _not_ours(file: Any, source: str) -> InputError:
    keys = list(file.keys())
    some = ", ".join(f"{clean(key, 40)} {file.get_slice(key).get_shape()}" for key in keys[:3])
    more = ", ..." if len(keys) > 3 else ""
    return InputError(
        f"{source} is a safetensors file, but not a steering vector of CAA Studio: it holds {some or 'nothing'}{more}; "
        "tensors layers.<L> [hidden_size] are read."
    )


def assemble(layers: dict[int, torch.Tensor], metadata: Mapping[str, str], source: str) -> SteeringVector:
    """Put together what a file held, checked.

    Args:
        layers: float32 tensors of shape [hidden_size], by layer.
        metadata: what the file said of them, by the names of `SteeringVector.metadata`; what it lacks stays empty.
        source: the file's name, for messages and for a vector without a name.

    Raises:
        InputError: a layer is NaN, infinite, zero or of another shape, or the metadata make no sense.
    """
    check_layers(layers, source)
    name = clean(metadata.get("name", "")) or clean(Path(source).stem) or "vector"
    norms, shares = (_numbers(metadata, name, layers, source) for name in ("residual_norms", "letter_share"))
    told = _diagnostics(metadata, layers, source)
    return SteeringVector(name, dict(sorted(layers.items())), norms, _provenance(metadata, source), shares, told)


def without_zeros(
    layers: dict[int, torch.Tensor], metadata: dict[str, str]
) -> tuple[dict[int, torch.Tensor], dict[str, str]]:
    """The layers that are not zero, unless all are; the metadata say which were, by which tools mean that there is
    none.
    """
    zero = [layer for layer, vector in layers.items() if not vector.any()]
    if not 0 < len(zero) < len(layers):
        return layers, metadata
    said = f"without {spans(zero)}, which the file has as zero"
    return {n: vector for n, vector in layers.items() if n not in zero}, {**metadata, "operations": said}


def _layer(key: str, source: str) -> int:
    prefix, _, number = key.partition(".")
    if prefix != "layers" or not re.fullmatch(r"0|[1-9]\d{0,3}", number, re.ASCII):
        raise InputError(f"{source} holds a tensor {key[:60]!r}; a steering vector has only layers.0, layers.1, ...")
    return int(number)


def check_size(layers: int, numbers: int, source: str) -> None:
    """Raises InputError, which names `source`, for more than a vector has, before it is read."""
    if layers > MAX_LAYERS:
        raise InputError(f"{source} has {layers:,} layers; a steering vector of {MAX_LAYERS} at most is read.")
    if numbers > MAX_NUMBERS:
        raise InputError(f"{source} has more than {MAX_NUMBERS:,} numbers, which no steering vector has.")


def check_layers(layers: dict[int, torch.Tensor], source: str) -> None:
    """Raises InputError, which names `source`, for layers that are no vector: of another shape, not finite, or zero."""
    if not layers:
        raise InputError(f"{source} holds no layer.")
    size = next(iter(layers.values())).shape
    for layer, vector in layers.items():
        if vector.dtype != torch.float32 or vector.ndim != 1 or vector.shape != size:
            raise InputError(f"{source}, layer {layer}: a float32 tensor [hidden_size] was expected.")
        if not torch.isfinite(vector).all():
            raise InputError(f"{source}, layer {layer}: it holds NaN or infinity and cannot be used.")
        if not vector.any():
            raise InputError(f"{source}, layer {layer}: it is zero everywhere and would change nothing.")


def _numbers(metadata: Mapping[str, str], key: str, layers: dict[int, torch.Tensor], source: str) -> dict[int, float]:
    """By layer, the numbers of a JSON list that counts layers from 0."""
    try:
        listed = json.loads(metadata.get(key, "[]")[:MAX_NORMS])
        known = {n: float(listed[n]) for n in sorted(layers) if listed[n:] and listed[n] is not None}
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(f"{source}: its {key} are not a list of numbers.") from error
    if not all(math.isfinite(number) and number > 0 for number in known.values()):
        raise InputError(f"{source}: its {key} must be positive numbers.")
    return known


def _diagnostics(metadata: Mapping[str, str], layers: dict[int, torch.Tensor], source: str) -> Diagnostics | None:
    if "diagnostics" not in metadata:
        return None
    try:
        return Diagnostics.unpacked(metadata["diagnostics"][:MAX_NORMS], layers)
    except InputError as error:
        raise InputError(f"{source}: {error}.") from error


def _provenance(metadata: Mapping[str, str], source: str) -> Provenance:
    try:
        given: dict[str, Any] = {
            name: type(unknown)(
                clean(metadata.get(name, ""), MAX_FORMULA if name == "operations" else MAX_NAME) or unknown
            )
            for name, unknown in UNKNOWN.items()
        }
    except ValueError as error:
        raise InputError(f"{source}: num_layers and num_pairs must be whole numbers.") from error
    return Provenance(**given)
