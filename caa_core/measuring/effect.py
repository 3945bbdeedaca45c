"""What a vector does, on items that it was not made from, beside random vectors of the same norm, and what it costs."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from caa_core.data.pairs import ContrastPair
from caa_core.metrics.controls import random_vectors
from caa_core.metrics.estimates import Estimate, mean_of
from caa_core.metrics.plain_data import SHARED, plain, restored
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask_pair
from caa_core.progress import Progress
from caa_core.steering.generation import BatchRow, Completion, Decoding, generate
from caa_core.steering.interventions import Steer
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score

RANDOM_VECTORS = 20

NEW_TOKENS = 64


@dataclass(frozen=True)
class Effect:
    """What steering did to the preference log p(positive) - log p(negative), in nats a token.

    effect: the mean change over `items` against the unsteered model.
    beaten: how many of `random_vectors` of the same norm have a smaller effect.
    kl: KL(unsteered ‖ steered) of the next token in nats, mean over the answers' tokens.
    repetition: share of the written tokens that end a run of four which the same text has had before.
    """

    layer: int
    multiplier: float
    items: int
    effect: Estimate = field(metadata=SHARED)
    random_vectors: int
    beaten: int
    kl: float
    repetition: float
    repetition_unsteered: float

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return plain(self)

    @classmethod
    def of(cls, kept: Any) -> "Effect":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, "The effect that was")

    def __str__(self) -> str:
        return (
            f"On {self.items} held-out prompts at layer {self.layer}, × {self.multiplier:g}: the answers of this kind "
            f"gain {self.effect.value:+.2f} nats a token on the plain ones (95 % interval "
            f"{self.effect.ends()}), more than {self.beaten} of {self.random_vectors} random vectors of the same "
            f"norm. Cost: KL {self.kl:.2f} nats; {self.repetition:.0%} of the text repeats itself "
            f"(unsteered {self.repetition_unsteered:.0%})."
        )


def measure(
    model: SteerableModel, pairs: Sequence[ContrastPair], vector: torch.Tensor, layer: int, multiplier: float
) -> Generator[Progress | list[Completion], None, Effect]:
    """Score `pairs` without and with multiplier times `vector` [hidden_size] at a layer, and with random vectors; then
    write answers to their prompts. Yields `Progress`, and then the answers as they grow.
    """
    directions = [vector, *random_vectors(vector, RANDOM_VECTORS)]
    scores = yield from score(model, pairs, [(Steer(v, layer, multiplier),) for v in directions])
    changes = (scores.preference[1:] - scores.preference[0]).double().numpy()
    means = changes.mean(1)
    unsteered, steered = yield from _written(model, pairs, Steer(vector, layer, multiplier))
    return Effect(
        layer=layer,
        multiplier=multiplier,
        items=len(pairs),
        effect=mean_of(changes[0]),
        random_vectors=RANDOM_VECTORS,
        beaten=int((means[0] > means[1:]).sum()),
        kl=scores.kl[1].mean().item(),
        repetition=steered,
        repetition_unsteered=unsteered,
    )


def _written(
    model: SteerableModel, pairs: Sequence[ContrastPair], steer: Steer
) -> Generator[list[Completion], None, tuple[float, float]]:
    """Mean repetition of greedy answers to the prompts, unsteered and steered."""
    prompts = [ask_pair(model.tokenizer, pair) for pair in pairs]
    rows = [BatchRow(prompt, steers) for steers in ((), (steer,)) for prompt in prompts]
    written = yield from generate(model, rows, Decoding(NEW_TOKENS))
    found = [repetition(text.ids) for text in written]
    return float(np.mean(found[: len(pairs)])), float(np.mean(found[len(pairs) :]))
