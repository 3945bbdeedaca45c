"""What steering costs on ordinary text: perplexity and KL, at several multipliers, and up to which it costs little.

It is one text and has no interval, so that nothing is called safe by it. A text is read in windows, each by itself
behind the tokenizer's own first token, so that a step stays short however long the text is; the numbers of windows are
pooled over their tokens.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from caa_core.data.presets import PRESETS
from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.metrics.estimates import SAFE_KL
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.divergence import kl_divergence
from caa_core.steering.interventions import Positions, scaled
from caa_core.steering.passes import steered_logits_at, unsteered_logits_at
from caa_core.steering.plan import Plan
from caa_core.steering.scoring import Steers

NEUTRAL = PRESETS / "neutral.txt"
# Tokens that are read in one go.
WINDOW = 256
MULTIPLIERS = (-2.0, -1.5, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 1.5, 2.0)
MAX_TEXT = 1_000_000  # bytes
# How many times the unsteered model's perplexity a multiplier may come to and cost little.
SAFE_PERPLEXITY = 2.0
ALL = Positions("all")


@dataclass(frozen=True)
class TextCost:
    """What one multiplier costs: KL(unsteered ‖ steered) of the next token in nats, mean over the text's tokens, and
    the steered model's perplexity of the text.
    """

    multiplier: float
    kl: float
    perplexity: float


@dataclass(frozen=True)
class TextCosts:
    """Costs at one layer, or at all of `spread` at once, by rising multiplier, steered at every position of a text.

    tokens: how many of the text's tokens were predicted. perplexity: the unsteered model's.
    """

    layer: int
    tokens: int
    perplexity: float
    steered: tuple[TextCost, ...]
    spread: tuple[int, ...] = ()

    @classmethod
    def of(cls, kept: Any) -> "TextCosts":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, "The cost that was")

    def is_cheap(self, cost: TextCost) -> bool:
        """In the mean less than `SAFE_KL`, and less than `SAFE_PERPLEXITY` times the unsteered perplexity."""
        return cost.kl < SAFE_KL and cost.perplexity < SAFE_PERPLEXITY * self.perplexity

    def summary(self) -> dict[str, Any]:
        """As plain data, with how far `cheap_up_to` goes; what is not finite is None."""
        ends = {"safe_multiplier": cheap_up_to(self), "safe_negative_multiplier": cheap_up_to(self, -1)}
        return {**plain(self), **ends}

    def __str__(self) -> str:
        up, down = cheap_up_to(self), cheap_up_to(self, -1)
        measured = [one.multiplier for one in self.steered]
        beyond = ", and perhaps some beyond," if up == max(measured) or down == min(measured) else ""
        which = f"multipliers from {down:g} to {up:g}{beyond}" if up or down else "none of the multipliers next to 0"
        return (
            f"At {spans(self.spread or [self.layer])}, steered at every one of {self.tokens} tokens of neutral text, "
            f"{which} cost less than {SAFE_KL:g} nats of KL in the mean and leave the perplexity under "
            f"{SAFE_PERPLEXITY:g} times the unsteered {self.perplexity:.1f}. That is of this text alone, without an "
            "interval: what is safe is for Measure to say."
        )


def cheap_up_to(costs: TextCosts, sign: int = 1) -> float:
    """The largest measured multiplier of that sign (1 or -1) that costs little, as all measured ones below it do.

    0 where none does.
    """
    largest = 0.0
    for cost in sorted(costs.steered, key=lambda cost: abs(cost.multiplier)):
        if cost.multiplier * sign > 0:
            if not costs.is_cheap(cost):
                break
            largest = cost.multiplier
    return largest


def cost(
    model: SteerableModel,
    text: str,
    steers: Steers,
    multipliers: Sequence[float] = MULTIPLIERS,
) -> Generator[Progress, None, TextCosts]:
    """Read `text` unsteered, and with `steers` each of `multipliers` times as strong. Yields `Progress`.

    Raises:
        InputError: the text is too short to predict anything, or there is no such layer.
    """
    layers = sorted({model.check_layer(steer.layer) for steer in steers})
    windows = _windows(model, text)
    multipliers = sorted(set(multipliers))
    # Sums over tokens: minus log-probability of the text, unsteered and by multiplier, and KL by multiplier.
    unsteered, lost, kl = 0.0, [0.0] * len(multipliers), [0.0] * len(multipliers)
    progress = Progress(len(windows), "parts of the text read", len(windows) * len(multipliers))
    yield progress
    for window in windows:
        read = _Window(model, window, layers[0])
        unsteered += read.lost(read.logp)
        for i, multiplier in enumerate(multipliers):
            logp = read.steered(scaled(steers, multiplier))
            lost[i] += read.lost(logp)
            kl[i] += read.kl(logp)
            yield progress.advance(0, 1)
        progress.advance(1, 0)
    yield progress
    count = sum(len(window) - 1 for window in windows)
    rows = zip(multipliers, kl, lost, strict=True)
    found = tuple(TextCost(multiplier, k / count, _perplexity(loss / count)) for multiplier, k, loss in rows)
    several = tuple(layers) if len(layers) > 1 else ()
    return TextCosts(layers[0], count, _perplexity(unsteered / count), found, several)


@handed_over
def neutral_cost(model: SteerableModel, steers: Steers) -> Generator[Progress, None, TextCosts]:
    """`cost` on the neutral text that ships with the project."""
    return cost(model, neutral_text(), steers)


@cache
def neutral_text() -> str:
    """A page of plain prose about everyday things."""
    return NEUTRAL.read_text(encoding="utf-8").strip()


def read_text(path: Path) -> str:
    """A plain text of somebody's own. Raises InputError where it cannot be read, is too long, or is no UTF-8 text."""
    try:
        if path.stat().st_size > MAX_TEXT:
            raise InputError(f"{path.name} is longer than {MAX_TEXT / 1e6:g} MB; give a shorter text.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read as a text in UTF-8.") from error


class _Window:
    """A part of a text, read by the unsteered model, and then by steered ones from the steered layer on."""

    def __init__(self, model: SteerableModel, ids: Sequence[int], layer: int):
        self.model, self.inputs = model, model.plain_inputs(ids)
        self.places = [0] * (len(ids) - 1), list(range(len(ids) - 1))
        self.unsteered = unsteered_logits_at(model, self.inputs, *self.places, [layer])
        self.logp = self.unsteered.logits.log_softmax(-1)
        self.next = torch.tensor(ids[1:], device=self.logp.device)[:, None]

    def steered(self, steers: Steers) -> torch.Tensor:
        """Log-probabilities [tokens, vocabulary] with `steers` at all positions."""
        plan = Plan([steers], [ALL], [self.inputs.ids.shape[1]])
        if not plan.layers:
            return self.logp
        return steered_logits_at(self.model, self.inputs, plan, self.unsteered, *self.places)[:, 0].log_softmax(-1)

    def lost(self, logp: torch.Tensor) -> float:
        """Nats that the window's own tokens cost, summed."""
        return -logp.gather(-1, self.next).sum().item()

    def kl(self, logp: torch.Tensor) -> float:
        """KL(unsteered ‖ steered), summed over the tokens."""
        return kl_divergence(self.logp, logp[:, None]).sum().item()


def _windows(model: SteerableModel, text: str) -> list[list[int]]:
    """Token ids of the text's windows, each with something to predict."""
    first = model.tokenizer("").input_ids
    ids = model.tokenizer(text, add_special_tokens=False).input_ids
    size = min(WINDOW, model.context_length) - len(first)
    windows = [first + ids[start : start + size] for start in range(0, len(ids), size)]
    windows = [window for window in windows if len(window) > 1]
    if not windows:
        raise InputError("The text is too short: at least one token must come behind another one.")
    return windows


def _perplexity(nats: float) -> float:
    """exp of nats a token; infinite where that is no number any more."""
    return math.exp(nats) if nats < 700 else math.inf
