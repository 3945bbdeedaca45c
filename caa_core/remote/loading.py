"""A model at an NDIF host as the rest of the project knows models: its tokenizer and shapes here, its weights there."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from nnsight import TransformersModel
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedModel

from caa_core.errors import InputError
from caa_core.limits import is_public
from caa_core.model.catalog import CATALOG
from caa_core.model.loading import DTYPES, Inputs, SteerableModel, head_path
from caa_core.model.placement import blocks_path
from caa_core.progress import Say, tell
from caa_core.remote import blocks
from caa_core.remote.host import Host
from caa_core.remote.jobs import Line, News, Wire, run
from caa_core.remote.work import Work
from caa_core.steering.pair_rows import windows_of

# How far rows of two answers may be from each answer alone, in float32 and otherwise; see `check_attention_mask`.
APART, APART_ROUNDED = 0.01, 0.3
SHARED, ANSWERS = (1, 2, 3, 4), ((5, 6, 7), (8, 9, 10))


class Nowhere:
    """In place of nnsight's model where there are no weights: a pass here would fetch them all."""

    def __init__(self, nn: TransformersModel, place: str):
        self._nn, self._place = nn, place

    @property
    def _module(self) -> PreTrainedModel:
        module: PreTrainedModel = self._nn._module
        return module

    def get(self, path: str) -> Any:
        return self._nn.get(path)

    def trace(self, *_: Any, **__: Any) -> Any:
        raise InputError(f"This is not done {self._place} yet: run it on this machine, with a smaller model.")


@dataclass(eq=False)
class RemoteModel(SteerableModel):
    """A decoder at a host. runs_in: its dtype there; tensors that are made here lie in this machine's memory."""

    runs_in: torch.dtype = torch.bfloat16

    @property
    def dtype(self) -> torch.dtype:
        return self.runs_in

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def call(self, inputs: Inputs, every_token: bool = False) -> torch.Tensor:
        logits: torch.Tensor = self.nn.trace()
        return logits


def load(spec: str, host: Host, say: Say = tell) -> RemoteModel:
    """A model by catalogue key or hub id, at a host, which deploys it with the first job where it has not yet.

    Raises:
        InputError: the host is not there or does not run it, the hub has no such model, or it cannot be steered.
    """
    hub_id = hub_id_of(spec)
    found = host.check(hub_id)
    if not found.running:
        say(f"{hub_id} is not running at {host.name}: it is deployed there with the first job, which can take minutes.")
    try:
        nn = described(hub_id)
        key = found.model_key or nn.to_model_key()
    except InputError:
        raise
    except Exception as error:  # the hub's client and the loaders raise anything
        raise InputError(host.sentence(error)) from None
    wire = Wire(host, key, nn._remoteable_get_env())
    return arrived(spec, nn, wire, f"at the NDIF host {host.name}", say)


def hub_id_of(spec: str) -> str:
    """The hub's name of what a person typed. Raises InputError for what no host can find."""
    spec = spec.strip()
    if spec in CATALOG:
        return CATALOG[spec].hub_id
    if is_public():
        raise InputError(f"This app only loads the models of its list: {', '.join(CATALOG)}.")
    if spec.count("/") != 1 or spec.startswith((".", "/", "~")) or " " in spec:
        raise InputError(f"An NDIF host runs models of the hub: give owner/name in place of {spec[:80]!r}.")
    return spec


def described(location: str) -> TransformersModel:
    """nnsight's model without weights, by its files on the hub or in a folder."""
    config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    if config.is_encoder_decoder:
        raise InputError(f"{location} is an encoder-decoder; only decoder models can be steered here.")
    tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    nn = TransformersModel(location, tokenizer=tokenizer, task="text-generation")
    with contextlib.suppress(OSError):  # it may have none, and its config says what ends an answer
        nn._module.generation_config = GenerationConfig.from_pretrained(location)
    return nn


def arrived(name: str, nn: TransformersModel, line: Line, place: str, say: Say = tell) -> RemoteModel:
    """The model behind a line, once it has been seen to run there as is expected.

    Raises:
        InputError: it does not run, its blocks cannot be found, or it does not keep to attention masks.
    """
    module = nn._module
    paths = {"blocks": blocks_path(module, name), "head": head_path(module)}
    config = module.config.get_text_config()
    window, kinds = windows_of(config)
    sizes = {"hidden": config.hidden_size, "vocabulary": config.vocab_size, "layers": config.num_hidden_layers}
    where = {**paths, **sizes, "window": window, "kinds": kinds}
    seen = probed(nn, line, where, say)
    dtype = DTYPES.get(str(seen["dtype"]).removeprefix("torch."))
    if dtype is None or list(seen["shape"]) != [1, 3, config.hidden_size]:
        raise InputError(f"{name} cannot be steered {place}: its blocks put out {seen['shape']} in {seen['dtype']}.")
    if hasattr(config, "attention_types") or seen["apart"] > (APART if dtype == torch.float32 else APART_ROUNDED):
        raise InputError(f"{name} does not keep to the attention mask that making vectors needs.")
    commit = str(getattr(module.config, "_commit_hash", None) or "")
    model = RemoteModel(
        name, commit, Nowhere(nn, place), nn.tokenizer, list(nn.get(paths["blocks"])), paths["head"], runs_in=dtype
    )
    model.elsewhere = Work(place, line, nn, where, nn.tokenizer, model.end_tokens)
    return model


def probed(nn: TransformersModel, line: Line, where: dict[str, Any], say: Say) -> dict[str, Any]:
    """What `blocks.probe` says, told what the job is doing meanwhile."""
    tokens = (*SHARED, *ANSWERS[0], *ANSWERS[1])
    row = (tokens, len(SHARED), len(SHARED) + len(ANSWERS[0]))
    alone = [torch.tensor([[*SHARED, *answer]]) for answer in ANSWERS]
    columns = [len(SHARED) + len(ANSWERS[0]) - 1, len(tokens) - 1]
    work = run(line, nn, blocks.probe, {"where": where, "mark": {"row": row, "alone": alone, "columns": columns}})
    while True:
        try:
            news = next(work)
        except StopIteration as end:
            seen: dict[str, Any] = end.value
            return seen
        if isinstance(news, News) and news.state:
            say(news.state)
