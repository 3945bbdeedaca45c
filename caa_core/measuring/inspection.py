"""Views into the model: what a vector is aligned with, what it does to the next token, and what it says by itself.

Logits here are those of the final norm and the head, in float32, whatever layer the residual stream is taken from (the
"logit lens"). The views are plain lists of numbers and texts, so that they can be kept and sent as they are.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from caa_core.errors import InputError
from caa_core.measuring.requests import InspectionRequest
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Prompt, Turn, ask, render, with_prefill
from caa_core.progress import Progress
from caa_core.remote.views import aligned, lens_numbers, next_numbers, promoted
from caa_core.steering.activations import check_here
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.passes import logits_of, watch
from caa_core.steering.plan import Plan
from caa_core.steering.scoring import Steers
from caa_core.vectors.vector import SteeringVector

# Tokens of a text that is looked at: one forward pass, for which everybody else waits.
MAX_TOKENS = 2048
# Tokens that are listed on either side.
LISTED = 10
# How far back decoding has to begin for a token to be written as it is within its text.
CONTEXT = 8
BROKEN = "\ufffd"
NO_NUMBERS = "Steered like this the model puts out no numbers any more; take a smaller multiplier."


@dataclass(frozen=True)
class Alignment:
    """How far the residual stream after `layer` points along a vector v, at each token of a text.

    The unsteered model reads the text, so nothing that is added is in these numbers. tokens: as they stand in the text;
    a character of several tokens stands at the last of them, and the others are empty. projections: h·v / ‖v‖. cosines:
    h·v / (‖h‖ ‖v‖). The first token's residual stream is many times as large as any other's (an attention sink).
    """

    layer: int
    tokens: list[str]
    projections: list[float]
    cosines: list[float]

    @property
    def largest(self) -> float:
        """The largest |projection|, the first token's left out."""
        return max(map(abs, self.projections[1:] or self.projections))


@dataclass(frozen=True)
class Mover:
    """A token whose probability of being the next one changes."""

    token: str
    unsteered: float
    steered: float

    @property
    def difference(self) -> float:
        return self.steered - self.unsteered


@dataclass(frozen=True)
class NextToken:
    """The distribution of the next token, unsteered and steered.

    gains, losses: the largest changes of probability in either direction, largest first. kl: KL(unsteered ‖ steered) in
    nats. steered_tokens: how many of the prompt's tokens were steered.
    """

    gains: list[Mover]
    losses: list[Mover]
    kl: float
    steered_tokens: int


@dataclass(frozen=True)
class Lens:
    """What the model would say next if it ended after each layer, from 0; unsteered, then steered.

    tokens, probabilities: the likeliest token after each layer, [2][layers]. finals: the likeliest token of the whole
    model, unsteered and steered. toward: the probability of these, [2 runs][2 finals][layers].
    """

    tokens: list[list[str]]
    probabilities: list[list[float]]
    finals: list[str]
    toward: list[list[list[float]]]


@dataclass(frozen=True)
class Unembedding:
    """The tokens that a vector promotes and suppresses by itself, past the blocks above it.

    Each with its logit, less the mean over the vocabulary, where the residual stream is the vector alone; most extreme
    first.
    """

    promoted: list[tuple[str, float]]
    suppressed: list[tuple[str, float]]


@dataclass(frozen=True)
class Views:
    """All of them, for one text and one addition."""

    alignment: Alignment
    next_token: NextToken
    lens: Lens
    unembedding: Unembedding

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return plain(self)

    @classmethod
    def of(cls, kept: Any) -> "Views":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, "The views that were")


@handed_over
def inspect(
    model: SteerableModel, request: InspectionRequest, vector: SteeringVector
) -> Generator[Progress, None, Views]:
    """All views of what is asked for. Yields `Progress`. Raises InputError as `as_prompt` and `look_inside` do."""
    prompt = as_prompt(model, request.text, request.chat)
    steers = request.steers(vector, request.multiplier)
    return (yield from look_inside(model, prompt, steers, request.positions))


def look_inside(
    model: SteerableModel, prompt: Prompt, steers: Steers, positions: Positions
) -> Generator[Progress, None, Views]:
    """All views. The text is read along the first of `steers`. Yields `Progress`.

    Raises:
        InputError: there is no such layer, or a steered position lies outside the prompt; or several layers at a host.
    """
    steer = steers[0]
    if len(steers) > 1:
        check_here(model, "Looking inside at several layers")
    if model.elsewhere:
        numbers = yield from model.elsewhere.look(prompt, steer, positions, LISTED)
        return _views(model, prompt, steer, positions, numbers)
    progress = Progress(3, "views", 3)
    yield progress
    alignment = align(model, prompt, steer.vector, steer.layer)
    yield progress.advance(1, 1)
    next_token, lens = predict(model, prompt, steers, positions)
    yield progress.advance(1, 1)
    unembedding = unembed(model, steer.vector)
    yield progress.advance(1, 1)
    return Views(alignment, next_token, lens, unembedding)


def as_prompt(model: SteerableModel, text: str, chat: bool = True) -> Prompt:
    """A text as the model reads it: as a person's message in a chat, or just as it is.

    Raises:
        InputError: it is empty, or longer than is looked at here.
    """
    as_it_is = Prompt(text, tuple(model.tokenizer(text).input_ids), special=True)
    prompt = ask(model.tokenizer, text) if chat else as_it_is
    if not text.strip() or not prompt.ids:
        raise InputError("The text is empty; write something to look at.")
    _check_length(model, prompt)
    return prompt


def _check_length(model: SteerableModel, prompt: Prompt) -> None:
    limit = min(MAX_TOKENS, model.context_length)
    if len(prompt.ids) > limit:
        raise InputError(f"The text has {len(prompt.ids):,} tokens; {limit:,} are looked at here at most. Shorten it.")


def align(model: SteerableModel, prompt: Prompt, vector: torch.Tensor, layer: int) -> Alignment:
    """Read a text with the unsteered model, beside `vector` [hidden_size].

    Raises:
        InputError: there is no such layer.
    """
    inputs = model.plain_inputs(prompt.ids)
    unsteered = Plan([()], [Positions()], [len(prompt.ids)])
    stream = watch(model, inputs, unsteered, [model.check_layer(layer)])[0, 0]
    return _alignment(model, prompt, layer, aligned(stream, vector.cpu()))


def _alignment(model: SteerableModel, prompt: Prompt, layer: int, found: Mapping[str, torch.Tensor]) -> Alignment:
    texts = token_texts(model.tokenizer, prompt.ids)
    return Alignment(layer, texts, found["projections"].tolist(), found["cosines"].tolist())


def align_answer(model: SteerableModel, prompt: Prompt, answer: str, vector: torch.Tensor, layer: int) -> Alignment:
    """The same of an answer alone, which is read behind its prompt.

    Raises:
        InputError: there is no such layer, or both are longer than is looked at here.
    """
    both = with_prefill(model.tokenizer, prompt, answer)
    _check_length(model, both)
    found, start = align(model, both, vector, layer), both.length
    return Alignment(layer, found.tokens[start:], found.projections[start:], found.cosines[start:])


def mean_projection(
    model: SteerableModel, turns: Sequence[Turn], system: str, vector: torch.Tensor, layer: int
) -> float | None:
    """How far the last answer of a conversation, which ends with it, points along `vector` [hidden_size]: the mean of
    h·v / ‖v‖ over its tokens, which the unsteered model reads. None for an answer in which there is nothing.

    Raises:
        InputError: as `align_answer` does.
    """
    *before, answer = turns
    if not answer["content"]:
        return None
    found = align_answer(model, render(model.tokenizer, before, system), answer["content"], vector, layer)
    return sum(found.projections) / len(found.projections)


def predict(
    model: SteerableModel, prompt: Prompt, steers: Sequence[Steer], positions: Positions
) -> tuple[NextToken, Lens]:
    """What comes after the prompt, without and with `steers`, after every layer.

    Raises:
        InputError: there is no such layer, a steered position lies outside the prompt, or a multiplier is so large
            that nothing but NaN comes out.
    """
    for steer in steers:
        model.check_layer(steer.layer)
    inputs = model.plain_inputs(prompt.ids, rows=2)
    plan = Plan([(), steers], [positions] * 2, [prompt.length] * 2)
    streams = watch(model, inputs, plan, range(model.num_layers), slice(-1, None))[:, :, 0]
    logits = logits_of(model, streams.transpose(0, 1).reshape(-1, model.hidden_size))
    if logits.isnan().any():
        raise InputError(NO_NUMBERS)
    logp = logits.log_softmax(-1).view(2, model.num_layers, -1)
    steered = int(plan.mask(inputs.positions.cpu())[1].sum()) if plan.layers else 0
    return _next_token(model, next_numbers(logp[:, -1], LISTED), steered), _lens(model, lens_numbers(logp))


def unembed(model: SteerableModel, vector: torch.Tensor) -> Unembedding:
    """`vector` [hidden_size] through the final norm and the head."""
    # Half the difference to -v: without what norm and head add to any stream, which is not the vector's doing.
    with_it, against = logits_of(model, torch.stack([vector, -vector]))
    return _unembedding(model, promoted(with_it, against, LISTED))


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text. A character of several tokens is added by the last of them."""
    texts = []
    for i in range(len(ids)):
        before, so_far = (
            str(tokenizer.decode(list(ids[max(0, i - CONTEXT) : end]), clean_up_tokenization_spaces=False))
            for end in (i, i + 1)
        )
        texts.append("" if so_far.endswith(BROKEN) else so_far[len(before.rstrip(BROKEN)) :])
    return texts


def token_name(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """A token by itself, with the space that it may begin with; a part of a character as the tokenizer writes it."""
    # Some tokenizers leave out the space that a text begins with, so it is looked at behind itself.
    return token_texts(tokenizer, [token, token])[1] or str(tokenizer.convert_ids_to_tokens(token))


def _views(
    model: SteerableModel, prompt: Prompt, steer: Steer, positions: Positions, numbers: Mapping[str, Any]
) -> Views:
    """From what `remote.views.viewed` returns."""
    if not numbers["numbers"]:
        raise InputError(NO_NUMBERS)
    first, end = positions.span(prompt.length)
    steered = max(0, min(end, len(prompt.ids)) - first) if steer.multiplier else 0
    return Views(
        _alignment(model, prompt, steer.layer, numbers["aligned"]),
        _next_token(model, numbers["next"], steered),
        _lens(model, numbers["lens"]),
        _unembedding(model, numbers["alone"]),
    )


def _next_token(model: SteerableModel, found: Mapping[str, torch.Tensor], steered: int) -> NextToken:
    """From `next_numbers`."""

    def movers(way: int, sign: int) -> list[Mover]:
        before, after = found["moved"][way].tolist()
        rows = zip(found["movers"][way].tolist(), before, after, strict=True)
        return [Mover(token_name(model.tokenizer, i), b, a) for i, b, a in rows if sign * (a - b) > 0]

    return NextToken(movers(0, 1), movers(1, -1), found["kl"].item(), steered)


def _lens(model: SteerableModel, found: Mapping[str, torch.Tensor]) -> Lens:
    """From `lens_numbers`."""
    names = [[token_name(model.tokenizer, token) for token in run] for run in found["best"].tolist()]
    return Lens(names, found["likely"].tolist(), [run[-1] for run in names], found["toward"].tolist())


def _unembedding(model: SteerableModel, found: Mapping[str, torch.Tensor]) -> Unembedding:
    """From `promoted`."""
    sides = [
        [(token_name(model.tokenizer, token), by) for token, by in zip(tokens, values, strict=True)]
        for tokens, values in zip(found["tokens"].tolist(), found["by"].tolist(), strict=True)
    ]
    return Unembedding(*sides)
