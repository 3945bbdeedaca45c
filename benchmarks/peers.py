"""What other tools do with the same files and pairs, in an environment of their own.

Started by `benchmarks.run` with the peers' Python: reads one request a line from standard input, a JSON object with the
name of a function here and its arguments, and answers each with a line of JSON. Nothing of the product is imported.
"""

import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from repeng import ControlModel, ControlVector, DatasetEntry
from steering_vectors import SteeringVectorTrainingSample, train_steering_vector
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

_loaded: dict[str, Any] = {}


def load(folder: str, dtypes: list[str]) -> dict[str, Any]:
    """Load a converted model, once in each dtype, for the requests that follow."""
    config = AutoConfig.from_pretrained(folder)
    # Newer versions of transformers keep this elsewhere, and without it the numbers would be another model's.
    if rope := getattr(config, "rope_parameters", None):
        config.rope_theta = rope["rope_theta"]
    for dtype in dtypes:
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=getattr(torch, dtype))
        _loaded[dtype] = model.eval()
    named = json.loads(Path(folder, "tokenizer_config.json").read_text())
    specials = {name: named[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token") if named.get(name)}
    _loaded["tokenizer"] = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder, "tokenizer.json")), **specials)
    return {"layers": config.num_hidden_layers}


def steering_vectors(pairs: list[tuple[str, str]], batch: int, dtype: str, out: str = "") -> dict[str, Any]:
    """Vectors of all layers by steering-vectors, read at the last token of positive and negative texts."""
    samples = [SteeringVectorTrainingSample(positive, negative) for positive, negative in pairs]
    begun = time.perf_counter()
    made = train_steering_vector(
        _loaded[dtype], _loaded["tokenizer"], samples, read_token_index=-1, batch_size=batch, move_to_cpu=True
    )
    seconds = time.perf_counter() - begun
    if out:
        torch.save({layer: v.float() for layer, v in made.layer_activations.items()}, out)
    return {"seconds": seconds}


def repeng(pairs: list[tuple[str, str]], batch: int, dtype: str) -> dict[str, Any]:
    """Vectors of all layers by repeng, which reads the last token too and takes a principal component."""
    entries = [DatasetEntry(positive, negative) for positive, negative in pairs]
    depth = _loaded[dtype].config.num_hidden_layers
    wrapped = ControlModel(_loaded[dtype], list(range(-1, -depth, -1)))
    try:
        begun = time.perf_counter()
        ControlVector.train(wrapped, _loaded["tokenizer"], entries, batch_size=batch)
        return {"seconds": time.perf_counter() - begun}
    finally:
        wrapped.unwrap()


def read_gguf(path: str, out: str) -> dict[str, Any]:
    """Read a control vector as repeng does and save its directions by layer."""
    vector = ControlVector.import_gguf(path)
    torch.save({layer: torch.tensor(direction) for layer, direction in vector.directions.items()}, out)
    return {"model": vector.model_type}


def main() -> None:
    """Answer requests until there are no more."""
    answers = sys.stdout
    for line in sys.stdin:
        request = json.loads(line)
        with redirect_stdout(sys.stderr):  # progress bars and prints of the libraries
            answer = globals()[request.pop("do")](**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
