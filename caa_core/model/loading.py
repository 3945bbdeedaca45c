"""SteerableModel: an nnsight model, its tokenizer and its decoder blocks, the thing every other room is handed."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import nnsight
import torch
from nnsight import TransformersModel
from nnsight._c import unmount
from nnsight.intervention.envoy import Envoy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    Cache,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from caa_core import __version__
from caa_core.errors import InputError
from caa_core.model.catalog import CATALOG, Source, locate
from caa_core.model.fingerprints import of_shapes
from caa_core.model.machine import QUANTISED, best_device, check_memory, fits
from caa_core.model.pair_tokens import ModelTokens
from caa_core.model.placement import blocks_path, placement
from caa_core.model.stand_in import StandIn
from caa_core.model.wholeness import check_embeddings, check_files, check_weights
from caa_core.progress import Say, tell

# nnsight gives every object of the process a method `save`, which breaks libraries that look at attributes (anyio,
# under gradio, does not start). Trace blocks here call nnsight.save instead.
if unmount:
    unmount("save")

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
# What a model can be loaded in: numbers as they are, or its blocks' matrices in 8 or 4 bits each (LLM.int8() and NF4 of
# bitsandbytes: Dettmers et al., arXiv 2208.07339 and 2305.14314).
PRECISIONS = (*DTYPES, *QUANTISED)


@dataclass
class Inputs:
    """What one forward pass takes.

    ids: [rows, tokens]. positions: [rows, tokens], counted from each row's own first token. mask: [rows, past + tokens]
    (1 for a real token), or an additive [rows, 1, tokens, tokens] mask, or one of those for each kind of layer.
    cache: keys and values of what came before; None where nothing is to be kept.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | dict[str, torch.Tensor]
    cache: Cache | None = None


@dataclass(eq=False)
class SteerableModel:
    """A loaded decoder. `blocks[L]` is the envoy of decoder block L, whose output is "layer L". `fingerprint` and
    `also` are those of `catalog.Source`.
    """

    name: str
    fingerprint: str
    nn: TransformersModel
    tokenizer: PreTrainedTokenizerBase
    blocks: list[Envoy]
    head_path: str
    also: tuple[str, ...] = ()
    # Where its passes run, if not here.
    elsewhere: StandIn | None = None
    # What lies within blocks, and is read nowhere here.
    within: tuple[torch.nn.Module, ...] = ()

    @property
    def module(self) -> PreTrainedModel:
        return self.nn._module

    @property
    def config(self) -> Any:
        return self.module.config.get_text_config()

    @property
    def num_layers(self) -> int:
        return len(self.blocks)

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def dtype(self) -> torch.dtype:
        return self.module.dtype

    @property
    def precision(self) -> str:
        """One of `PRECISIONS`."""
        for bits in QUANTISED:
            if getattr(self.module, f"is_loaded_in_{bits}", False):
                return bits
        return str(self.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        return next(self.module.get_input_embeddings().parameters()).device

    @property
    def context_length(self) -> int:
        """Tokens a sequence may have."""
        return getattr(self.config, "max_position_embeddings", None) or 1 << 30

    @property
    def pair_tokens(self) -> ModelTokens:
        """How the model cuts contrast pairs into tokens."""
        return ModelTokens(self.tokenizer, self.context_length)

    @property
    def end_tokens(self) -> frozenset[int]:
        """Token ids that end an answer."""
        ends = self.module.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return frozenset(end for end in [*ends, self.tokenizer.eos_token_id] if end is not None)

    @cached_property
    def architecture(self) -> str:
        """What is alike in models that differ in their weights alone: the shapes in their decoder blocks."""
        shapes = (shape for block in self.blocks for shape in _shapes(block._module))
        return of_shapes([(self.config.model_type, (self.num_layers, self.hidden_size)), *shapes])

    @property
    def template_sha256(self) -> str:
        """What the chat template was, for the vector's provenance."""
        return hashlib.sha256((self.tokenizer.chat_template or "").encode()).hexdigest()

    @property
    def provenance(self) -> dict[str, str]:
        """What a result depends on of the model and of this program."""
        made_of = {"model": self.name, "model_fingerprint": self.fingerprint, "dtype": self.precision}
        return {**made_of, "created_with": f"caa-studio {__version__}"}

    @property
    def head(self) -> Envoy:
        """The envoy of the linear layer from the residual stream to logits."""
        return self.nn.get(self.head_path)

    def call(self, inputs: Inputs, every_token: bool = False) -> torch.Tensor:
        """One plain forward pass. Returns logits [rows, 1 or tokens, vocabulary] of the last or of all tokens."""
        # By index, not as a slice: on CPUs a bfloat16 head over a slice takes ten times as long and more.
        keep = 0 if every_token else torch.tensor([-1], device=self.device)
        with self._blocks_as_a_whole():
            return self.module(
                input_ids=inputs.ids,
                attention_mask=inputs.mask,
                position_ids=inputs.positions,
                past_key_values=inputs.cache,
                use_cache=inputs.cache is not None,
                logits_to_keep=keep,
            ).logits

    @contextmanager
    def _blocks_as_a_whole(self) -> Iterator[None]:
        """Within blocks modules are called as if nnsight did not have them: at each of hundreds, it would look for who
        waits there, which takes up to a tenth of a step that writes a token.
        """
        within = [part.__dict__ for part in self.within]
        asking = [(attributes, attributes.pop("forward")) for attributes in within if "forward" in attributes]
        try:
            yield
        finally:
            for attributes, forward in asking:
                attributes["forward"] = forward

    def plain_inputs(self, ids: Sequence[int], rows: int = 1) -> Inputs:
        """One sequence in each of `rows`, unpadded, without a cache."""
        tokens = torch.tensor([list(ids)] * rows, device=self.device)
        positions = torch.arange(len(ids), device=self.device).expand_as(tokens)
        return Inputs(tokens, positions, torch.ones_like(tokens))

    def last_residual(self, inputs: Inputs) -> torch.Tensor:
        """The last block's output, [rows, tokens, hidden_size]."""
        return _last_residual(self, inputs)

    def check_layer(self, layer: int) -> int:
        if not 0 <= layer < self.num_layers:
            raise InputError(f"{self.name} has no layer {layer}: its layers are 0 to {self.num_layers - 1}.")
        return layer


def _shapes(block: torch.nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each parameter; of a matrix that lies packed, what it is as one."""
    for path, part in block.named_modules():
        for name, one in part.named_parameters(path, recurse=False):
            packed = isinstance(part, torch.nn.Linear) and name.endswith("weight")
            yield name, (part.out_features, part.in_features) if packed else tuple(one.shape)


# A tensor in transformers 5, the first of a tuple in some models.
BlockOutput = torch.Tensor | tuple[Any, ...]


def hidden_of(output: BlockOutput) -> torch.Tensor:
    """The residual stream in a block's output."""
    return output[0] if isinstance(output, tuple) else output


def best_dtype(device: str) -> str:
    """bfloat16 where the hardware computes in it, else float32."""
    if device == "cpu":
        capable = _processor()
        fast = capable.get("avx512_bf16") or capable.get("amx_bf16")
    else:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def _processor() -> Mapping[str, bool]:
    """What the processor computes in. Older torch says it in other words, each of which is a function."""
    if ask := getattr(torch.cpu, "get_capabilities", None):
        return ask()
    return {"avx512_bf16": torch.cpu._is_avx512_bf16_supported(), "amx_bf16": torch.cpu._is_amx_tile_supported()}


@dataclass(frozen=True)
class ModelParts:
    """A model as transformers loads it, before nnsight has it."""

    name: str
    fingerprint: str
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    also: tuple[str, ...] = ()


def load(spec: str, dtype: str = "", device: str = "", say: Say = tell) -> SteerableModel:
    """`read` a model and `wrap` it."""
    return wrap(read(spec, dtype, device, say))


def read(spec: str, dtype: str = "", device: str = "", say: Say = tell) -> ModelParts:
    """Find, download and load a model by catalogue key, hub id, folder or `.gguf` file.

    This can take minutes and runs nothing, so unlike everything else it may happen on any thread. While it goes on,
    transformers changes torch's default dtype for the whole process: tensors made elsewhere must name theirs.

    Args:
        dtype: one of `PRECISIONS`; empty for `CAA_DTYPE`, else what suits the hardware.
        device: "cpu" or "cuda", spread over the cards by accelerate; empty for `best_device`. Blocks that have no room
            there lie in main memory, and without a card on the disk, if `CAA_OFFLOAD` names a folder.

    Raises:
        InputError: it cannot be found, reached or read, it does not fit into the memory that is free, its weights are
            in no safe format, or it is no decoder whose blocks can be found.
    """
    device = device or best_device()
    dtype = dtype or os.environ.get("CAA_DTYPE", "")
    if dtype and dtype not in PRECISIONS:
        raise InputError(f"There is no dtype {dtype!r}: choose one of {', '.join(PRECISIONS)}.")
    if dtype in QUANTISED and not find_spec("bitsandbytes"):
        raise InputError(f"For {dtype} the package bitsandbytes is needed: pip install -r requirements-quantised.txt")
    dtype = dtype or best_dtype(device)
    transformers_logging.disable_progress_bar()
    try:
        if model := CATALOG.get(spec.strip()):  # before it is fetched
            check_memory(model.title, model.parameters, dtype, device)
        source = locate(spec, say)
        if parameters := source.parameters:
            check_memory(source.name, parameters, dtype, device)
        check_files(source)
        module, tokenizer = _from_pretrained(source, dtype, device)
    except InputError:
        raise
    except Exception as error:  # a file of a stranger can make the loaders raise anything
        name = os.path.basename(spec) if os.path.exists(spec) else spec[:80]
        raise InputError(_why_not(name, error)) from error
    return ModelParts(source.name, source.fingerprint, module, tokenizer, source.also)


def _from_pretrained(source: Source, dtype: str, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Weights from safetensors or GGUF only, and never code from the model's own repository."""
    gguf = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    if gguf and dtype in QUANTISED:
        raise InputError(f"A .gguf file is unpacked when it is read: for {dtype} take the model's safetensors.")
    options = {"trust_remote_code": False, **gguf}
    config = AutoConfig.from_pretrained(source.location, **options)
    if config.is_encoder_decoder:
        raise InputError(f"{source.name} is an encoder-decoder; only decoder models can be steered here.")
    tokenizer = AutoTokenizer.from_pretrained(source.location, **options)
    both: Any = AutoModelForCausalLM.from_pretrained(
        source.location,
        dtype=DTYPES.get(dtype) or DTYPES[best_dtype(device)],
        **_places(source, config, dtype, device),
        **_packed(dtype, device, bool(gguf)),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # which are named, and refused, below
        **options,
        **({} if gguf else {"use_safetensors": True}),
    )
    module, loaded = both
    check_weights(source.name, loaded)
    check_embeddings(source.name, module, tokenizer)
    _keep_backward_pass(module)
    return module.eval().requires_grad_(False), tokenizer


def _keep_backward_pass(module: torch.nn.Module) -> None:
    """On processors with bfloat16, bitsandbytes packs 4 bit weights anew at their first use, for a product without a
    gradient, and says nothing of it.
    """
    parts: Iterator[Any] = module.modules()
    for part in parts:
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False


def _places(source: Source, config: PreTrainedConfig, dtype: str, device: str) -> dict[str, Any]:
    """Where its parts lie, as an option of `from_pretrained`."""
    parameters = source.parameters
    if parameters is None or dtype in QUANTISED or fits(parameters, dtype, device):
        return {"device_map": "auto" if device == "cuda" else device}
    return placement(source.name, config, dtype, device)


def _packed(dtype: str, device: str, gguf: bool) -> dict[str, Any]:
    """How its weights are packed, as an option of `from_pretrained`. Kept in their blocks, those of a GGUF would need a
    kernel that is fetched from the hub, which is code of others.
    """
    if gguf:
        return {"quantization_config": GgufConfig(dequantize=True)}
    if dtype == "8bit":
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # it tells each product
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    if dtype == "4bit":
        computed = DTYPES[best_dtype(device)]
        nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=computed)
        return {"quantization_config": nf4}
    return {}


def _why_not(name: str, error: Exception) -> str:
    """A sentence for what transformers says in paragraphs."""
    causes = {type(cause).__name__ for cause in _causes(error)}
    if "GatedRepoError" in causes:
        reason = "the hub asks for permission: accept its licence there and log in with 'hf auth login'"
    elif "RepositoryNotFoundError" in causes:
        reason = "the hub has no model of that name that you may read"
    elif causes & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout", "ReadTimeout"}:
        reason = "it is not on this machine and the model hub cannot be reached"
    elif "safetensors" in str(error) and "SafetensorError" not in causes:
        reason = "it has no weights in safetensors format, and other formats can carry code"
    else:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
    return f"The model {name!r} cannot be loaded: {reason}."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def wrap(loaded: ModelParts) -> SteerableModel:
    """Hand a model to nnsight and make sure that it is what the other rooms expect.

    Raises:
        InputError: its decoder blocks cannot be found, or do not put out the residual stream.
    """
    path = blocks_path(loaded.module, loaded.name)
    # A forward of its own is a hook's, say of what moves weights to where they are wanted.
    parts = [
        part for block in loaded.module.get_submodule(path).children() for part in block.modules() if part is not block
    ]
    within = tuple(part for part in dict.fromkeys(parts) if "forward" not in part.__dict__)
    nn = TransformersModel(loaded.module, tokenizer=loaded.tokenizer, task="text-generation")
    blocks = list(nn.get(path))
    head = head_path(loaded.module)
    names, also = (loaded.name, loaded.fingerprint), loaded.also
    model = SteerableModel(*names, nn, loaded.tokenizer, blocks, head, also, within=within)
    _check(model)
    return model


def head_path(module: PreTrainedModel) -> str:
    """Dotted path of the linear layer from the residual stream to logits."""
    head = module.get_output_embeddings()
    return next(path for path, child in module.named_modules() if child is head)


def _check(model: SteerableModel) -> None:
    shape = tuple(model.last_residual(model.plain_inputs([0, 1, 2])).shape)
    if shape != (1, 3, model.hidden_size):
        raise InputError(
            f"The blocks of {model.name} put out {list(shape)} where [1, 3, {model.hidden_size}] was expected, "
            "so it cannot be steered."
        )


@torch.no_grad()
def _last_residual(model: SteerableModel, inputs: Inputs) -> torch.Tensor:
    with model.nn.trace(inputs.ids, fn=lambda *_, **__: model.call(inputs)):
        residual = nnsight.save(hidden_of(model.blocks[-1].output))
    return residual
