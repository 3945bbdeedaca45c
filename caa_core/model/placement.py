"""Where the parts of a model lie that is too large for its device: all but its blocks there, of these as many as fit.

The others lie in main memory, or for a model without a GPU on the disk (`CAA_OFFLOAD`), and come to the device one
after the other while a pass goes through them, by accelerate's hooks. What is read, steered and scored is the same; it
takes as long as they take to come.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from caa_core.errors import InputError
from caa_core.model.machine import (
    WIDTHS,
    WORKING_BYTES,
    WORKING_FACTOR,
    free_memory,
    free_on_disk,
    gigabytes,
    offload_folder,
)

Place = int | str


def blocks_path(module: PreTrainedModel, name: str) -> str:
    """Dotted path of the list of decoder blocks: the outermost list with one entry a layer. Raises InputError
    where there is none.
    """
    depth = getattr(module.config.get_text_config(), "num_hidden_layers", None)
    lists = [
        path
        for path, child in module.named_modules()
        if isinstance(child, torch.nn.ModuleList) and len(child) == depth and "vision" not in path
    ]
    if not lists:
        kind = type(module).__name__
        raise InputError(f"The decoder blocks of {name} ({kind}) cannot be found, so it cannot be steered.")
    return min(lists, key=lambda path: path.count("."))


def placement(name: str, config: PreTrainedConfig, dtype: str, device: str) -> dict[str, Any]:
    """Where each part lies, as options of `from_pretrained`, of a model that does not fit onto its device as a whole.

    Raises:
        InputError: there is not enough room for all of them, with numbers.
    """
    with init_empty_weights():
        module = AutoModelForCausalLM.from_config(config)
    module.tie_weights()  # what is shared was parted by leaving out the numbers
    path = blocks_path(module, name)
    sizes = sizes_of(module, path, WIDTHS[dtype])
    rest: Place = "cpu" if device == "cuda" else "disk"
    if device == "cuda":
        room: dict[Place, int] = {card: torch.cuda.mem_get_info(card)[0] for card in range(torch.cuda.device_count())}
    else:
        room = {"cpu": free_memory("cpu")}
    where = dealt(sizes, path, room, rest)
    weights = sum(sizes.values())
    aside = sum(size for part, size in sizes.items() if where and where[part] == rest)
    free = free_memory("cpu") if rest == "cpu" else free_on_disk(offload_folder())
    if not where or aside > free:
        raise InputError(
            f"{name} has {gigabytes(weights)} of weights in {dtype}. {gigabytes(sum(room.values()))} are free "
            f"{'on the GPU' if device == 'cuda' else 'of memory'}, where all but its blocks has to lie, and "
            f"{gigabytes(free)} {'of memory' if rest == 'cpu' else 'on the disk'} for the others: that is not enough."
        )
    return {"device_map": where, **({"offload_folder": offload_folder()} if rest == "disk" else {})}


def dealt(sizes: Mapping[str, int], blocks: str, room: Mapping[Place, int], rest: Place) -> dict[str, Place] | None:
    """Each part's place: what is no block on the first device, blocks from the first to the last on the devices as long
    as there is room, and then in `rest`. None where what has to lie on the first has no room there.

    Args:
        sizes: bytes by path, in the model's order. blocks: path of the list of blocks. room: bytes free by device, of
            which what a pass takes is left free, a block that comes for a moment among it.
    """
    of_blocks = [part for part in sizes if part.startswith(f"{blocks}.")]
    first, *_ = devices = list(room)
    left = {device: int((free - WORKING_BYTES) / WORKING_FACTOR) for device, free in room.items()}
    left[first] -= sum(size for part, size in sizes.items() if part not in of_blocks)
    left[first] -= max((sizes[part] for part in of_blocks), default=0)
    if left[first] < 0:
        return None
    where: dict[str, Place] = {}
    for part, size in sizes.items():
        while part in of_blocks and devices and left[devices[0]] < size:
            devices.pop(0)
        where[part] = first if part not in of_blocks else devices[0] if devices else rest
        if part in of_blocks and devices:
            left[devices[0]] -= size
    return where


def sizes_of(module: PreTrainedModel, blocks: str, width: float) -> dict[str, int]:
    """Bytes of the blocks, and of what lies beside and around them, by path: together all of the model. What is shared
    by two counts once.
    """
    counted: set[int] = set()
    sizes = {}
    for path, part in _parts(module, blocks):
        new = [one for one in part.parameters() if id(one) not in counted]
        counted |= {id(one) for one in new}
        sizes[path] = int(sum(one.numel() for one in new) * width)
    return sizes


def _parts(module: torch.nn.Module, blocks: str, path: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    for name, child in module.named_children():
        here = f"{path}.{name}" if path else name
        if blocks == here or blocks.startswith(f"{here}."):
            yield from _parts(child, blocks, here)
        else:
            yield here, child
