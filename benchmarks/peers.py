"""What other tools do with the same files and pairs, in an environment of their own.

Started by `benchmarks.run` with the peers' Python: reads one request a line from standard input, a JSON object with the
name of a function here and its arguments, and answers each with a line of JSON. Nothing of the product is imported.
"""

import ctypes
import json
import sys
import time
from contextlib import redirect_stdout
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, GGUFWriter, LlamaFileType
from gguf.quants import dequantize
from repeng import ControlModel, ControlVector, DatasetEntry
from steering_vectors import SteeringVector, SteeringVectorTrainingSample, train_steering_vector
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


def write_with_steering_vectors(**given: Any) -> dict[str, Any]:
    """One row, steered from its prompt's last token on by steering-vectors, a hook on the block."""
    vector = SteeringVector({given["layer"]: torch.tensor(given["direction"])}, "decoder_block")
    model = _loaded[given["dtype"]]
    with vector.apply(model, multiplier=given["multiplier"], min_token_index=-1):
        return _written(model, given["ids"], given["tokens"])


def write_with_repeng(**given: Any) -> dict[str, Any]:
    """One row, steered everywhere by repeng, whose blocks lie in blocks of its own."""
    wrapped = ControlModel(_loaded[given["dtype"]], [given["layer"]])
    try:
        direction = {given["layer"]: torch.tensor(given["direction"]).numpy()}
        wrapped.set_control(ControlVector("llama", direction), given["multiplier"])
        return _written(wrapped, given["ids"], given["tokens"])
    finally:
        wrapped.unwrap()


def _written(model: Any, ids: list[int], tokens: int) -> dict[str, Any]:
    """Greedily, so many tokens."""
    asked = torch.tensor([ids])
    begun = time.perf_counter()
    with torch.no_grad():
        written = model.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
        )
    return {"seconds": time.perf_counter() - begun, "ids": written[0, len(ids) :].tolist()}


def has_llama_cpp() -> dict[str, Any]:
    """Whether it could be built here."""
    return {"there": find_spec("llama_cpp") is not None}


def write_float32(path: str, out: str) -> dict[str, Any]:
    """A GGUF with the weights of another in float32, and all else as it is."""
    read = GGUFReader(path)
    writer = GGUFWriter(out, read.fields["general.architecture"].contents())
    written_already = {"general.architecture", "general.file_type"}
    for name, field in read.fields.items():
        if name not in written_already and not name.startswith("GGUF."):
            kind, *of = field.types
            writer.add_key_value(name, field.contents(), kind, of[-1] if of else None)
    writer.add_file_type(LlamaFileType.ALL_F32)
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"tensors": len(read.tensors)}


def write_with_llama_cpp(**given: Any) -> dict[str, Any]:
    """One row, steered everywhere by a control vector of llama.cpp, which begins at layer 1."""
    import llama_cpp

    model, layer, direction = _by_llama_cpp(given["path"]), given["layer"], given["direction"]
    size = len(direction)
    data = (ctypes.c_float * (size * layer))()
    data[-size:] = [given["multiplier"] * one for one in direction]
    if llama_cpp.llama_set_adapter_cvec(model._ctx.ctx, data, len(data), size, layer, layer):
        raise RuntimeError("llama.cpp takes no control vector.")
    model.reset()
    begun = time.perf_counter()
    written = list(islice(model.generate(given["ids"], temp=0.0), given["tokens"]))
    return {"seconds": time.perf_counter() - begun, "ids": written}


def _by_llama_cpp(path: str) -> Any:
    """A model by llama.cpp, loaded once, with weights as they lie in the file: what it makes of them for AMX ends in an
    illegal instruction on some virtual machines.
    """
    import llama_cpp

    if path not in _loaded:
        usual, threads = llama_cpp.llama_model_default_params(), torch.get_num_threads()
        usual.use_extra_bufts = False
        llama_cpp.llama_cpp.llama_model_default_params = lambda: usual
        _loaded[path] = llama_cpp.Llama(path, n_ctx=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    return _loaded[path]


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
