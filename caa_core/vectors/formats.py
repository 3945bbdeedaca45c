"""Steering vectors in other tools' files, both ways: llama.cpp and repeng (GGUF), the CAA repository (`.pt`).

A file is read by what it holds, never by its name, and is taken for hostile: sizes and counts are checked before
anything is unpacked, and whatever goes wrong is one sentence. What a file does not say of a vector stays empty.
"""

import io
import os
import pickletools
import re
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import SafetensorError

from caa_core.data.packed import ENTRY
from caa_core.data.text import clean, file_name
from caa_core.errors import InputError
from caa_core.limits import HERE
from caa_core.vectors.recipe import Recipe
from caa_core.vectors.vector import (
    MAX_BYTES,
    MAX_HIDDEN,
    MAX_LAYERS,
    SteeringVector,
    assemble,
    check_size,
    load_vector,
    without_zeros,
)

# What the page offers to download; a folder of .pt files is written where the name has no ending.
FORMATS = {
    "safetensors": ".safetensors",
    "GGUF (llama.cpp)": ".gguf",
    "zip of .pt (CAA)": ".zip",
}

# One layer's .pt; it may carry a whole matrix of which the vector is one row.
MAX_PT_BYTES = 16_000_000

MAX_ZIP_ENTRIES = 20_000

MAX_PT_ENTRIES = 100

MAX_PICKLE_BYTES = 4_096

# Six for a layer, and as many again for what it says of them.
MAX_GGUF_READS = 12 * MAX_LAYERS

# All that the pickle of a plain tensor names; torch itself would also build a bytearray of any length.
PLAIN_TENSOR = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"} | {
    f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double")
}

LEGACY_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

# What is not read: by its beginning, what to say of it.
SAVE_EACH = "save each layer with torch.save, as vec_layer_<layer>_<model>.pt"
OTHERS = {
    b"\x1f\x8b": "is packed with gzip; unpack it",
    b"version https://": "is only a pointer to a file in Git LFS; fetch it with 'git lfs pull'",
    b"\x93NUMPY": f"is an array of NumPy, which does not say its layer: {SAVE_EACH}",
    b"\x80": f"is a pickle, which can carry code: {SAVE_EACH}",
}

LAYER_NUMBER = "(0|[1-9][0-9]{0,3})"

PT_NAME = re.compile(rf"vec_layer_{LAYER_NUMBER}(?:_(.*))?\.pt", re.DOTALL)

DIRECTION = re.compile(rf"direction\.{LAYER_NUMBER}")

# Persona Vectors (Chen et al., arXiv 2507.21509) stacks what transformers calls hidden states: row 0 is the embedding.
HIDDEN_STATES = re.compile(r"(?:prompt|response)_(?:avg|last)_diff(?:_[\w.-]*)?\.pt")

# Of a GGUF, whose layers both count from 0: llama.cpp's and repeng's, and EasySteer's for vLLM.
ARCHITECTURES = ("controlvector", "steervector")

PAPERS = "caa."


def read_vector(*paths: Path) -> SteeringVector:
    """Read a vector: one file of any kind, one folder of `.pt` files, or several `.pt` files of one vector.

    Read are the safetensors file of CAA Studio, a control vector of llama.cpp, repeng or EasySteer (`direction.<L>` is
    layer L), the CAA repository's `vec_layer_<L>_<model>.pt`, alone, in a folder or in a zip, and Persona Vectors'
    `<trait>_response_avg_diff.pt`, whose row L + 1 is layer L. Other float types become float32. Layers that are zero,
    by which some tools mean that there is none, are left out, and the vector's operations say so.

    Raises:
        InputError: there is no such file, it is none of these, or it holds no usable vector.
    """
    with HERE():
        return _read(paths)


def _read(paths: Sequence[Path]) -> SteeringVector:
    if len(paths) != 1:
        return _of_layers(_files(paths), "The set of files")
    path, source = paths[0], clean(paths[0].name)
    if os.path.isdir(path):
        return _folder(path, source)
    start = _content(path, MAX_BYTES, first=16)
    if start.startswith(b"GGUF"):
        return _gguf(path, source)
    if start.startswith(b"PK"):
        return _zip(path, source)
    if start.startswith(LEGACY_TORCH):
        return _pt(path.name, start, source)
    if start[8:9] == b"{":
        return load_vector(path)
    if other := next((said for begins, said in OTHERS.items() if start.startswith(begins)), ""):
        raise InputError(f"{source} {other}.")
    raise InputError(f"{source} is not a steering vector: a safetensors, GGUF or .pt file or a zip of .pt is read.")


def write_vector(vector: SteeringVector, path: Path) -> list[str]:
    """Write a vector in the format that the ending of `path` asks for: one of `FORMATS`, .json for
    its recipe (:mod:`caa_core.vectors.recipe`), or none for a folder of `.pt`.

    What is there already stays until the new file is whole. Other files in a folder are left alone.

    Returns:
        What the person should know: what the format leaves out, what its reader does otherwise.

    Raises:
        InputError: the ending is unknown, the place cannot be written, or the format cannot hold the vector.
    """
    check_target(path)
    into_folder = _is_folder(path)
    folder = path if into_folder else path.parent
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".caa-") as made:
            if into_folder:
                notes = _write_pts(vector, Path(made)) + _left_alone(folder, os.listdir(made))
            else:
                notes = WRITERS[path.suffix.lower()](vector, Path(made) / path.name)
            for name in sorted(os.listdir(made)):
                os.replace(Path(made) / name, folder / name)
    except (OSError, SafetensorError) as error:
        name = clean(path.name)
        raise InputError(f"{name} cannot be written: is the disk full, or may nothing be written there?") from error
    return notes


def _left_alone(folder: Path, written: Collection[str]) -> list[str]:
    others = [name for name in os.listdir(folder) if PT_NAME.fullmatch(name) and name not in written]
    return [f"{len(others)} other vec_layer files in the folder were left there."] if others else []


def check_target(path: Path) -> None:
    """Raise InputError, before any work is done, where `write_vector` could not write."""
    name = clean(path.name)
    if not _is_folder(path) and path.suffix.lower() not in WRITERS:
        raise InputError(f"{name} has no ending that is known: give {', '.join(WRITERS)}, or none for a folder of .pt.")
    if _is_folder(path) and os.path.lexists(path) and not os.path.isdir(path):
        raise InputError(f"{name} cannot be written: it is a file already, and without an ending a folder is made.")
    place = path if os.path.isdir(path) else path.parent
    if not os.path.isdir(place) or not os.access(place, os.W_OK):
        raise InputError(f"{name} cannot be written: its folder does not exist or may not be written to.")


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path) or not path.suffix


# Reading: every path ends in `assemble`, which checks the layers.


def _content(path: Path, limit: int, first: int = -1) -> bytes:
    """The file's bytes, or its first few."""
    source = clean(path.name)
    if not os.path.isfile(path):
        raise InputError(f"There is no file {source}.")
    size = os.path.getsize(path)
    if size > limit:
        raise InputError(f"{source} is larger than {limit / 1e6:.0f} MB, which no steering vector is.")
    try:
        with open(path, "rb") as file:
            return file.read(size if first < 0 else first)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}.") from error


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    if sum(os.path.getsize(path) for path in paths if os.path.isfile(path)) > MAX_BYTES:
        raise InputError(f"The files are larger than {MAX_BYTES / 1e6:.0f} MB, which no steering vector is.")
    return ((path.name, _content(path, MAX_BYTES)) for path in paths)


@contextmanager
def _refusing(source: str, kind: str) -> Iterator[None]:
    """A library that stumbles over a hostile file may raise anything; the person gets one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{source} is not {kind} that can be read: it is damaged or of another kind.") from error


def _folder(path: Path, source: str) -> SteeringVector:
    with _refusing(source, "a folder"):
        names = sorted(name for name in os.listdir(path) if PT_NAME.fullmatch(name))
    if not names:
        raise InputError(f"The folder {source} holds no file vec_layer_<layer>_<model>.pt.")
    return _of_layers(_files([path / name for name in names]), source, path.resolve().name)


def _zip(path: Path, source: str) -> SteeringVector:
    """A zip is one .pt as torch writes it (it has a data.pkl), or a zip of such."""
    data = _content(path, MAX_BYTES)
    with _opened(data, source, MAX_ZIP_ENTRIES, {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}) as (archive, infos):
        if any(info.filename.endswith("/data.pkl") for info in infos):
            return _pt(path.name, data, source)
        named = [(re.split(r"[/\\]", info.filename)[-1], info) for info in infos]
        pts = [(name, info) for name, info in named if name.endswith(".pt") and not name.startswith(".")]
        if not pts:
            held = ", ".join(clean(name)[:60] for name, _ in named[:3]) or "nothing"
            raise InputError(
                f"{source} is a zip file without .pt files of a steering vector: it holds {held}. "
                f"Unpack it, or {SAVE_EACH}."
            )
        check_size(len(pts), 0, source)
        for name, info in pts:
            _check_pt_size(clean(name), info.file_size)
        return _of_layers(((name, archive.read(info)) for name, info in pts), source, path.stem)


@contextmanager
def _opened(
    data: bytes, source: str, entries: int, compressions: Collection[int]
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip and the files in it, which unpack to MAX_BYTES at most.

    Compressions other than deflate are not for hostile files: they unpack a whole block, whatever size was declared.
    """
    # Every entry of the directory begins so, which bounds the work of opening the zip before it is opened.
    if data.count(ENTRY) > entries:
        raise InputError(f"{source} holds too many files for a steering vector.")
    with _refusing(source, "a zip file"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = [i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX/")]
        if sum(info.file_size for info in infos) > MAX_BYTES:
            raise InputError(f"{source} unpacks to more than {MAX_BYTES / 1e6:.0f} MB, which no steering vector does.")
        if sum(info.compress_size for info in infos) > len(data):
            raise InputError(f"{source} is damaged: its files overlap.")
        if len({info.filename for info in infos}) < len(infos):
            raise InputError(f"{source} holds two files of one name.")
        if any(info.compress_type not in compressions for info in infos):
            raise InputError(f"{source} is compressed in a way that is not read: zip it as usual.")
        yield archive, infos


def _pt(name: str, data: bytes, source: str) -> SteeringVector:
    """One .pt: a layer, or all hidden states of Persona Vectors."""
    if PT_NAME.fullmatch(name):
        return _of_layers([(name, data)], source)
    tensor = _tensor(source, data)
    if tensor.ndim == 1:
        raise InputError(f"{source} does not say its layer: name it vec_layer_<layer>_<model>.pt.")
    if not HIDDEN_STATES.search(name) or len(tensor) < 2:
        raise InputError(f"{source} {_rows_of(tensor)}")
    check_size(len(tensor) - 1, 0, source)
    return assemble(*without_zeros(dict(enumerate(tensor[1:])), {}), source)


def _rows_of(tensor: torch.Tensor) -> str:
    """What to do with a tensor of several vectors."""
    return (
        f"does not hold one vector but {len(tensor)}, and does not say of which layers. Where row 0 is the embedding "
        "and row L + 1 layer L, name it <trait>_response_avg_diff.pt; else save each as vec_layer_<layer>_<model>.pt."
    )


def _of_layers(files: Iterable[tuple[str, bytes]], source: str, name: str = "") -> SteeringVector:
    """One vector out of (name, content) of `.pt` files; their names say the layer and the model."""
    layers: dict[int, torch.Tensor] = {}
    models: set[str] = set()
    numbers = 0
    for file, content in files:
        match = PT_NAME.fullmatch(file)
        if not match:
            raise InputError(f"{clean(file)} does not say its layer: name it vec_layer_<layer>_<model>.pt.")
        layer = int(match[1])
        if layer in layers:
            raise InputError(f"{source} holds layer {layer} twice.")
        layers[layer] = _tensor(clean(file), content)
        if layers[layer].ndim > 1:
            raise InputError(f"{clean(file)} {_rows_of(layers[layer])}")
        numbers += layers[layer].numel()
        check_size(len(layers), numbers, source)
        models.add(clean(match[2] or ""))
    if len(models) > 1:
        raise InputError(f"{source} holds vectors of two models: {' and '.join(map(repr, sorted(models)[:2]))}.")
    model = next(iter(models), "")
    return assemble(*without_zeros(layers, {"name": name or model, "model": model}), source)


def _tensor(source: str, data: bytes) -> torch.Tensor:
    """The float32 tensor [hidden_size] in a `.pt` file, or [rows, hidden_size] where it has several.

    torch is given a zip written anew from what was checked here, so that it cannot see another than we did.
    """
    if data.startswith(LEGACY_TORCH):
        raise InputError(f"{source} is in torch's old format: load it and save it again with torch 1.6 or newer.")
    if not data.startswith(b"PK"):
        raise InputError(f"{source} is not a file that torch.save wrote.")
    _check_pt_size(source, len(data))
    # torch compresses nothing, and hundreds of layers of compressed zeros would take a minute.
    with _opened(data, source, MAX_PT_ENTRIES, {zipfile.ZIP_STORED}) as (archive, infos):
        members = {info.filename.partition("/")[2]: archive.read(info) for info in infos}
    with _refusing(source, "a file of torch.save"):
        _check_pickle(source, members["data.pkl"])
        if "data/1" in members:
            raise InputError(f"{source} holds several tensors: save each as vec_layer_<layer>_<model>.pt.")
        anew = io.BytesIO()
        with zipfile.ZipFile(anew, "w") as archive:
            for name in ("data.pkl", "byteorder", "data/0", "version"):
                if name in members:
                    archive.writestr(f"archive/{name}", members[name])
        anew.seek(0)
        found = torch.load(anew, weights_only=True, map_location="cpu")
        # A few bytes can be stretched to a tensor of any size: nothing is computed before its size is known.
        plain = isinstance(found, torch.Tensor) and found.layout == torch.strided and found.device.type == "cpu"
        # torch 2.8 believes a pickle that says of more numbers than there are.
        plain = plain and found.untyped_storage().nbytes() <= len(members.get("data/0", b""))
        if plain and found.ndim > 1 and 0 < found.numel() == max(found.shape) <= MAX_HIDDEN:
            found = found.reshape(-1)
        whole = plain and found.ndim == 2 and found.numel() * found.element_size() <= len(data)
        one = plain and found.ndim == 1 and found.numel() <= MAX_HIDDEN
        sized = (one or whole) and found.numel() > 0 and found.shape[-1] <= MAX_HIDDEN
        if not sized or not found.is_floating_point():
            raise InputError(f"{source} does not hold one vector: a float tensor [hidden_size] was expected.")
        return torch.empty(found.shape, dtype=torch.float32).copy_(found.detach())


def _check_pt_size(source: str, size: int) -> None:
    if size > MAX_PT_BYTES:
        raise InputError(f"{source} is larger than {MAX_PT_BYTES / 1e6:.0f} MB, which no vector of one layer is.")


def _check_pickle(source: str, pickle: bytes) -> None:
    """Look through the pickle without running it."""
    usual = len(pickle) <= MAX_PICKLE_BYTES and pickle.startswith(b"\x80\x02")
    if (
        not usual
        or {argument for code, argument, _ in pickletools.genops(pickle) if code.name == "GLOBAL"} - PLAIN_TENSOR
    ):
        raise InputError(
            f"{source} holds something other than a plain float tensor, which is not opened: save the tensor itself, "
            "of a parameter its .data."
        )


class _BoundedReader(gguf.GGUFReader):
    """GGUFReader takes what lies past the end of a file for empty and believes every count; this one does not."""

    _reads = 0

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> np.ndarray:
        self._reads += 1
        found = super()._get(offset, dtype, count, override_order)
        if self._reads > MAX_GGUF_READS or found.size < count:
            raise ValueError("it ends early, or has too many parts for a control vector")
        return found


def _gguf(path: Path, source: str) -> SteeringVector:
    """A control vector: llama.cpp, repeng and EasySteer add `direction.<L>` to what block L puts out, from 0."""
    with _refusing(source, "a GGUF file of a control vector"), np.errstate(all="ignore"):
        reader = _BoundedReader(path)
        said = {
            key: field.contents() for key, field in reader.fields.items() if field.types == [gguf.GGUFValueType.STRING]
        }
        kind = said.get("general.architecture", "")
        if kind not in ARCHITECTURES:
            raise InputError(f"{source} is a GGUF file, but not a control vector: it says {clean(kind)!r}.")
        check_size(len(reader.tensors), sum(int(tensor.n_elements) for tensor in reader.tensors), source)
        layers = dict(_direction(tensor, source) for tensor in reader.tensors)
    ours = {key.removeprefix(PAPERS): value for key, value in said.items() if key.startswith(PAPERS)}
    hint = next((said[key] for key in (f"{kind}.model_hint", "controlvector.model_hint") if key in said), "")
    return assemble(*without_zeros(layers, ours or {"model": hint}), source)


def _direction(tensor: gguf.ReaderTensor, source: str) -> tuple[int, torch.Tensor]:
    match = DIRECTION.fullmatch(tensor.name)
    if not match:
        raise InputError(f"{source} holds a tensor {tensor.name[:60]!r}; a control vector has only direction.1, ...")
    where, kind, values = f"{source}, layer {match[1]}", tensor.tensor_type, tensor.data
    if kind == gguf.GGMLQuantizationType.BF16 and values.size <= 2 * MAX_HIDDEN:
        values = gguf.quants.dequantize(values, kind)
    elif values.dtype.kind != "f" and not kind.name.startswith("I"):
        raise InputError(f"{where}: its numbers are quantized ({kind.name}), which is not read: write them as F32.")
    if values.ndim > 1 and values.size == max(values.shape):
        values = values.reshape(-1)
    if values.ndim != 1 or values.dtype.kind != "f" or values.size > MAX_HIDDEN:
        shape = " x ".join(map(str, tensor.shape))
        raise InputError(f"{where}: a float tensor [hidden_size] was expected, not {kind.name} of {shape}.")
    return int(match[1]), torch.from_numpy(np.array(values, dtype=np.float32))


# Writing: into a file or folder that nobody else sees yet.


def _write_safetensors(vector: SteeringVector, path: Path) -> list[str]:
    vector.save(path)
    return []


def _write_gguf(vector: SteeringVector, path: Path) -> list[str]:
    layers = [layer for layer in vector.layers if layer]
    if not layers:
        raise InputError(f"The vector '{vector.name}' has only layer 0, and llama.cpp has no direction.0.")
    writer = gguf.GGUFWriter(path, "controlvector")
    # repeng does not open a file without a hint.
    writer.add_string("controlvector.model_hint", vector.provenance.model or "unknown")
    writer.add_uint32("controlvector.layer_count", len(layers))
    for key, value in vector.metadata().items():
        writer.add_string(PAPERS + key, value)
    for layer in layers:
        writer.add_tensor(f"direction.{layer}", vector.at(layer).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    left_out = ["Layer 0 is left out: llama.cpp has no direction.0."] if 0 in vector.layers else []
    return [*left_out, "llama.cpp adds it at every position, the prompt's too."]


def _write_zip(vector: SteeringVector, path: Path) -> list[str]:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in _pts(vector):
            archive.writestr(name, content)
    return PT_NOTES


def _write_pts(vector: SteeringVector, folder: Path) -> list[str]:
    for name, content in _pts(vector):
        (folder / name).write_bytes(content)
    return PT_NOTES


def _pts(vector: SteeringVector) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files as the CAA repository names and writes them."""
    model = file_name(vector.provenance.model.split("/")[-1])
    for layer, tensor in vector.layers.items():
        content = io.BytesIO()
        torch.save(tensor.clone(), content)
        yield f"vec_layer_{layer}{model and '_' + model}.pt", content.getvalue()


PT_NOTES = [".pt files keep the layers and the model's name only: no pairs, norms or read position."]


def _write_recipe(vector: SteeringVector, path: Path) -> list[str]:
    Recipe.of(vector).write(path)
    return ["A recipe says how the vector was made: who has the same pairs makes it again with `caa run`."]


WRITERS = {".safetensors": _write_safetensors, ".gguf": _write_gguf, ".zip": _write_zip, ".json": _write_recipe}
