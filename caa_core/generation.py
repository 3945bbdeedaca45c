"""Steered decoding: rows with plans of their own, written in one batch, one forward pass a token."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from caa_core.errors import InputError
from caa_core.interventions import AFTER_PROMPT, Plan, Positions, Steer, steered_logits
from caa_core.model import Inputs, SteerableModel
from caa_core.prompts import Prompt

MAX_NEW_TOKENS = 2048


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. Temperature 0 is greedy; rows with the same seed draw the same random numbers."""

    max_new_tokens: int = 80
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_new_tokens <= MAX_NEW_TOKENS:
            raise InputError(f"New tokens must be between 1 and {MAX_NEW_TOKENS}, not {self.max_new_tokens}.")
        if not 0 <= self.temperature <= 10:
            raise InputError(f"The temperature must be between 0 and 10, not {self.temperature}.")
        if not 0 <= self.seed < 1 << 63:
            raise InputError("The seed must be a whole number from 0 on.")


@dataclass(frozen=True)
class Row:
    """One text to be written: a prompt and what is added while it is."""

    prompt: Prompt
    steers: tuple[Steer, ...] = ()
    positions: Positions = AFTER_PROMPT


@dataclass
class Written:
    """What a row has so far: token ids without the end token, the text they make, and whether it ended."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    done: bool = False


def generate(
    model: SteerableModel, rows: Sequence[Row], decoding: Decoding
) -> Generator[list[Written], None, list[Written]]:
    """Write all rows at once. Yields what stands after every step, one `Written` a row, and returns the last of it.

    Rows are padded on the left and counted from their own first token, so a row's text does not depend on the others.
    The model's own generation settings are not used, save for its end tokens.

    Raises:
        InputError: a prompt that leaves no room, a layer or position that does not exist.
    """
    lengths = [len(row.prompt.ids) for row in rows]
    if max(lengths) + decoding.max_new_tokens > model.context_length:
        raise InputError(
            f"The prompt has {max(lengths)} tokens; with {decoding.max_new_tokens} new ones that is more than the "
            f"{model.context_length} that {model.name} takes. Shorten it, or clear the chat."
        )
    for row in rows:
        for steer in row.steers:
            _fits(model, steer)
    plan = Plan([row.steers for row in rows], [row.positions for row in rows], [row.prompt.length for row in rows])
    written = [Written() for _ in rows]
    sampler = _Sampler(decoding, model.device)
    inputs = _read(model, rows)
    for _ in range(decoding.max_new_tokens):
        tokens = sampler.choose(steered_logits(model, inputs, plan)[:, -1])
        for text, token in zip(written, tokens.tolist(), strict=True):
            _write(model, text, token)
        yield written
        if all(text.done for text in written):
            break
        inputs = _next(inputs, tokens)
    return written


@dataclass(frozen=True)
class SideBySide:
    """An answer without vectors and one with them."""

    unsteered: Written
    steered: Written

    def summary(self) -> dict[str, Any]:
        """Texts and token ids."""
        return {
            "unsteered": self.unsteered.text,
            "steered": self.steered.text,
            "unsteered_tokens": self.unsteered.ids,
            "steered_tokens": self.steered.ids,
        }


def side_by_side(
    model: SteerableModel, prompt: Prompt, steers: tuple[Steer, ...], positions: Positions, decoding: Decoding
) -> Generator[list[Written], None, SideBySide]:
    """Answer one prompt twice in one batch, without and with `steers`. See `generate`."""
    return SideBySide(*(yield from generate(model, [Row(prompt), Row(prompt, steers, positions)], decoding)))


def _fits(model: SteerableModel, steer: Steer) -> None:
    model.check_layer(steer.layer)
    if len(steer.vector) != model.hidden_size:
        raise InputError(
            f"A vector of hidden size {len(steer.vector)} cannot be added in {model.name}, "
            f"whose hidden size is {model.hidden_size}; it belongs to another model."
        )


def _write(model: SteerableModel, text: Written, token: int) -> None:
    if text.done:
        return
    if token in model.end_tokens:
        text.done = True
    else:
        text.ids.append(token)
    # An unfinished character of several bytes decodes to U+FFFD; it is held back until it is whole.
    text.text = model.tokenizer.decode(text.ids, skip_special_tokens=True).rstrip("\ufffd")


@torch.no_grad()
def _read(model: SteerableModel, rows: Sequence[Row]) -> Inputs:
    """The prompts as inputs of the first step. What lies before anything steered is read once for rows that share a
    prompt, and is in the cache already.
    """
    prompts = list(dict.fromkeys(row.prompt.ids for row in rows))
    # Steered positions count from a prompt's beginning, padding from the longest one's.
    unsteered = [min(row.positions.span(row.prompt.length)[0], len(row.prompt.ids) - 1) for row in rows]
    behind = max(len(row.prompt.ids) - first for row, first in zip(rows, unsteered, strict=True))
    inputs = _padded(model, [row.prompt.ids for row in rows])
    before = inputs.ids.shape[1] - behind
    if len(prompts) == len(rows) or before < 1:
        return inputs
    shared = _padded(model, prompts)
    read = Inputs(shared.ids[:, :before], shared.positions[:, :before], shared.mask[:, :before], shared.cache)
    model.call(read)
    number = {ids: i for i, ids in enumerate(prompts)}
    shared.cache.batch_select_indices(torch.tensor([number[row.prompt.ids] for row in rows], device=model.device))
    return Inputs(inputs.ids[:, before:], inputs.positions[:, before:], inputs.mask, shared.cache)


def _padded(model: SteerableModel, prompts: Sequence[tuple[int, ...]]) -> Inputs:
    """Left-padded prompts with positions counted from each row's first token. Which id pads does not matter."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for r, prompt in enumerate(prompts):
        ids[r, width - len(prompt) :] = torch.tensor(prompt)
        mask[r, width - len(prompt) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    device = model.device
    return Inputs(ids.to(device), positions.to(device), mask.to(device), DynamicCache(config=model.config))


def _next(inputs: Inputs, tokens: torch.Tensor) -> Inputs:
    """The inputs of one cached step: the tokens just chosen, [rows], behind everything before."""
    return Inputs(
        tokens[:, None],
        inputs.positions[:, -1:] + 1,
        torch.nn.functional.pad(inputs.mask, (0, 1), value=1),
        inputs.cache,
    )


class _Sampler:
    """Chooses next tokens. With a temperature it adds Gumbel noise to logits / temperature and takes the largest, which
    samples from the softmax; all rows share the noise, so that they part only where their logits do.
    """

    def __init__(self, decoding: Decoding, device: torch.device):
        self.temperature = decoding.temperature
        self.device = device
        self.random = torch.Generator().manual_seed(decoding.seed)

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """One token id a row, from logits [rows, vocabulary]."""
        if not self.temperature:
            return logits.argmax(-1)
        noise = -torch.empty(logits.shape[-1], dtype=torch.float32).exponential_(generator=self.random).log()
        return (logits.float() / self.temperature + noise.to(self.device)).argmax(-1)
