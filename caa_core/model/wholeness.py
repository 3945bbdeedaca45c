"""Whether a model is whole: all of its files, all of its weights, an embedding for each token.

What a checkpoint lacks transformers draws at random, and goes on; vectors of such a model are of nothing.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from caa_core.errors import InputError
from caa_core.model.catalog import Source

# Names that are shown of what is missing.
SHOWN = 3
INDEX = "model.safetensors.index.json"
# Texts by which the tokens are found that every chat brings.
PROBE = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "So?"},
]


def check_files(source: Source) -> None:
    """Raises InputError for a folder that holds an adapter and no model, or lacks a file that its index names."""
    folder = Path(source.location)
    if source.gguf_file or not folder.is_dir():
        return
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not any(folder.glob("model*.safetensors")):
        base = str(_json(adapter).get("base_model_name_or_path") or "another model")[:100]
        raise InputError(
            f"The model {source.name!r} cannot be loaded: it is a LoRA adapter of {base}, and not a model of its own. "
            "Merge it into that first (merge_and_unload of peft), and save what comes of it."
        )
    weights = _json(folder / INDEX).get("weight_map")
    if isinstance(weights, dict) and not (folder / "model.safetensors").is_file():
        missing = sorted({str(name) for name in weights.values() if not (folder / str(name)).is_file()})
        if missing:
            raise InputError(
                f"The model {source.name!r} cannot be loaded: {_count(missing, 'of its files of weights')} missing "
                f"({_some(missing)}). Fetch the model again."
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def check_weights(name: str, loaded: Mapping[str, Any]) -> None:
    """Raises InputError where weights were missing or of another shape.

    Args:
        loaded: what `from_pretrained` says with `output_loading_info`. Weights that are tied to others are not missing.
    """
    if missing := sorted(map(str, loaded.get("missing_keys") or ())):
        raise InputError(
            f"The model {name!r} cannot be loaded: {_count(missing, 'of its weights')} missing ({_some(missing)})."
        )
    if wrong := sorted(str(key[0] if isinstance(key, tuple) else key) for key in loaded.get("mismatched_keys") or ()):
        raise InputError(
            f"The model {name!r} cannot be loaded: {_count(wrong, 'of its weights')} of another shape than its "
            f"config.json says ({_some(wrong)})."
        )


def check_embeddings(name: str, module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises InputError where texts have tokens without an embedding.

    Special tokens that no chat brings may lack one: some models come with such, for images say.
    """
    embeddings = module.get_input_embeddings()
    rows = getattr(embeddings, "num_embeddings", None)
    if not isinstance(rows, int):
        return
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    beyond = {token for token in tokenizer.get_vocab().values() if token >= rows}
    if beyond - special or beyond & _of_a_chat(tokenizer):
        raise InputError(
            f"The model {name!r} cannot be loaded: its tokenizer has {_tokens(len(beyond))} more than the model has "
            f"embeddings ({rows:,}), so not every text can be read. Take the tokenizer that belongs to the weights."
        )


def _of_a_chat(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that the template puts around what is said, and those that end an answer."""
    ends = {tokenizer.eos_token_id, tokenizer.bos_token_id} - {None}
    if not tokenizer.chat_template:
        return ends
    try:
        text = tokenizer.apply_chat_template(PROBE, tokenize=False, add_generation_prompt=True)
    except Exception:  # a template may raise anything; rendering says so when it is asked for
        return ends
    return ends | set(tokenizer(str(text), add_special_tokens=False).input_ids)


def _tokens(count: int) -> str:
    return f"{count:,} token{'s' * (count != 1)}"


def _count(names: Collection[str], what: str) -> str:
    return f"{len(names):,} {what} {'is' if len(names) == 1 else 'are'}"


def _some(names: list[str]) -> str:
    return ", ".join(name[:100] for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
