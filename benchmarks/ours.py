"""What is measured of CAA Studio itself, each beside its floor: the same work with nothing of ours around it."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.model.loading import BlockOutput, SteerableModel, best_dtype, hidden_of
from caa_core.model.prompts import Answer, Prompt, render, render_pair, text_of
from caa_core.progress import finish
from caa_core.steering.activations import reading_budget
from caa_core.steering.batching import batches
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
from caa_core.steering.pair_rows import PairRow, inputs_of
from caa_core.steering.scoring import Scores, score
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import SteeringVector

# What this machine computes in, the fastest first: emulated, a product in bfloat16 takes hundreds of times as long.
DTYPES = tuple(dict.fromkeys((best_dtype("cuda" if torch.cuda.is_available() else "cpu"), "float32")))
QUESTION = "How was your day?"
NEW_TOKENS = 80
MULTIPLIERS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def endless(model: SteerableModel) -> SteerableModel:
    """The model without an end token, so that every row has as many tokens as another."""
    model.module.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    return model


def texts(model: SteerableModel, dataset: Dataset) -> list[tuple[str, str]]:
    """Both sequences of every pair as text that ends with the token where the answers part, for the peers."""
    found = []
    for pair in dataset.pairs:
        rendered = render_pair(model.tokenizer, pair)
        positive, negative = (
            text_of(model.tokenizer, answer.ids[: rendered.shared + 1])
            for answer in (rendered.positive, rendered.negative)
        )
        found.append((positive, negative))
    return found


@torch.no_grad()
def bare_trunk(model: SteerableModel, dataset: Dataset) -> None:
    """The floor of extraction: one pass of the trunk over every question and its two letters; no head, no hooks."""
    rendered = [render_pair(model.tokenizer, pair) for pair in dataset.pairs]
    rows = [PairRow.of(pair, pair.shared + 1, pair.shared + 1) for pair in rendered]
    trunk = model.module.base_model
    for batch in batches(rows, reading_budget(model)):
        inputs = inputs_of(model, [rows[i] for i in batch])
        trunk(input_ids=inputs.ids, attention_mask=inputs.mask, position_ids=inputs.positions, use_cache=False)


def vectors(model: SteerableModel, dataset: Dataset) -> SteeringVector:
    """Vectors of all layers, as the page makes them."""
    return finish(extract(model, dataset))


def prompt(model: SteerableModel) -> Prompt:
    """What is asked whenever something is written."""
    return render(model.tokenizer, [{"role": "user", "content": QUESTION}])


def write(model: SteerableModel, plans: Sequence[tuple[Steer, ...]], tokens: int = NEW_TOKENS) -> None:
    """As many tokens for every plan, on an endless model."""
    asked = prompt(model)
    finish(generate(model, [BatchRow(asked, steers) for steers in plans], Decoding(tokens)))


@torch.no_grad()
def plain_generate(module: Any, ids: torch.Tensor, tokens: int = NEW_TOKENS) -> None:
    """transformers' own generate, one row, greedy, on a module that nnsight has never seen."""
    module.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
    )


@contextmanager
def hooked(model: SteerableModel, layer: int, hook: Callable[..., None]) -> Iterator[None]:
    """A bare forward hook on a block."""
    handle = model.blocks[layer]._module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def sweep_runs(model: SteerableModel, vector: SteeringVector) -> list[tuple[Steer, ...]]:
    """Every layer with every one of seven multipliers."""
    return [(Steer(vector.at(layer), layer, m),) for layer in range(model.num_layers) for m in MULTIPLIERS]


def sweep(model: SteerableModel, items: Sequence[ContrastPair], runs: Sequence[tuple[Steer, ...]]) -> Scores:
    """All of them at once, as the page scores."""
    return finish(score(model, items, runs))


def one_cell(model: SteerableModel, item: ContrastPair, steer: Steer) -> float:
    """The plain way to one of a sweep's numbers: a forward pass for an item and a cell, steered by a bare hook.

    A multiple-choice item takes one pass, up to where its letters part; free text one for each of its answers. Returns
    what `Scores.probability` holds: of the positive answer, among the two.
    """
    pair = render_pair(model.tokenizer, item)
    sides = pair.positive, pair.negative
    if item.is_choice:
        logits = _steered(model, pair.positive.ids[: pair.shared], pair.positive.start, steer)[-1]
        positive, negative = (logits[answer.ids[pair.shared]] for answer in sides)
    else:
        positive, negative = (_log_probability(model, answer, steer) for answer in sides)
    return (positive - negative).sigmoid().item()


def _log_probability(model: SteerableModel, answer: Answer, steer: Steer) -> torch.Tensor:
    """Mean log-probability of an answer's tokens."""
    told = torch.tensor(answer.ids[answer.start :])
    logits = _steered(model, answer.ids[:-1], answer.start, steer)[answer.start - 1 :]
    return logits.log_softmax(-1).gather(-1, told[:, None]).mean()


@torch.no_grad()
def _steered(model: SteerableModel, ids: Sequence[int], start: int, steer: Steer) -> torch.Tensor:
    """[tokens, vocabulary] logits, steered from the token before an answer's first."""
    addition = (steer.multiplier * steer.vector).to(model.device, model.dtype)

    def add(_module: torch.nn.Module, _inputs: object, output: BlockOutput) -> None:
        hidden_of(output)[:, start - 1 :] += addition

    with hooked(model, steer.layer, add):
        return model.module(torch.tensor([ids], device=model.device), use_cache=False).logits[0].float()
