"""What a vector does at one layer and multiplier to items that it was not made from, beside controls; what it costs;
and what it does to them at every layer, to first order.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.measuring.vector_controls import ground, group_weights
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.metrics.cross_fitting import CONTROLS, EFFECT, NONE_SHOWN, UNDECIDED, grade, too_few
from caa_core.metrics.estimates import Estimate, mean_of
from caa_core.metrics.items import choose_items
from caa_core.metrics.plain_data import SHARED, plain, restored
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask_pair
from caa_core.progress import Progress
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, Completion, generate
from caa_core.steering.gradients import gradients
from caa_core.steering.interventions import Steer
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score
from caa_core.vectors.vector import SteeringVector

NEW_TOKENS = 64

SAID = {EFFECT: "An effect, with the vector.", UNDECIDED: "Not decided.", NONE_SHOWN: "No effect is shown."}
BACKWARDS = "A backwards effect, against the vector."


@dataclass(frozen=True)
class Effect:
    """What steering did to the preference log p(positive) - log p(negative), in nats a token.

    effect: the mean change over `items` against the unsteered model, with its interval over prompts.
    beaten: how many of `random_vectors` of the same norm have a smaller effect in its direction, to first order; of
        what was measured before there were grades, by passes of their own.
    kl: KL(unsteered ‖ steered) of the next token in nats, mean over the answers' tokens.
    repetition: share of the written tokens that end a run of four which the same text has had before.
    p: among random vectors and as many from shuffled labels of its own pairs, see `metrics.cross_fitting`; the layer
        was chosen beforehand, for all of them. grade: what is said of it; empty where it was not judged. why: it was
        not, as a part of a sentence; empty in what was measured before.
    anti_steerable: the prompts that are pushed against the multiplier's sign; None in what was measured before.
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
    p: float | None = None
    grade: str = ""
    anti_steerable: AntiSteerable | None = None
    why: str = ""

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return plain(self)

    @classmethod
    def of(cls, kept: Any) -> "Effect":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, "The effect that was")

    def _said(self) -> str:
        """The grade in words; an effect against the vector is a backwards one."""
        if self.grade == EFFECT and self.effect.value * self.multiplier < 0:
            return BACKWARDS
        return SAID.get(self.grade, f"Not judged: {self.why}." if self.why else "Not judged.")

    @property
    def in_short(self) -> str:
        """What came of it, and its price, in a few words."""
        price = f"{self.repetition:.0%} of the text repeats itself, instead of {self.repetition_unsteered:.0%}"
        return f"Tested on {self.items} new prompts. {self._said()} Price: {price}."

    @property
    def wrong_way(self) -> str:
        """The share that is pushed the wrong way beside that under controls, in a sentence; empty where not known."""
        found = self.anti_steerable
        if not found:
            return ""
        if found.share is None or not found.random:
            return f"Pushed the wrong way: {found.brief}."
        low, high = found.random
        value, least, most = found.share.value, found.share.low, found.share.high
        return (
            f"Pushed the wrong way: {value:.0%} of the prompts ({least:.0%} to {most:.0%}); "
            f"random vectors, estimated, {low:.0%} to {high:.0%}."
        )

    def __str__(self) -> str:
        verb = "gain" if self.effect.value >= 0 else "lose: they change by"
        ranked = "" if self.p is None else f" do to first order (p = {self.p:.3g})"
        text = (
            f"On {self.items} held-out prompts at layer {self.layer}, × {self.multiplier:g}: the answers of this kind "
            f"{verb} {self.effect.value:+.2f} nats a token on the plain ones (95% interval {self.effect.ends()}), "
            f"more than {self.beaten} of {self.random_vectors} random vectors of the same norm{ranked}"
        )
        if ranked:
            text = f"{self._said()} {text}"
        if self.anti_steerable:
            text += f". Pushed the wrong way: {self.anti_steerable}"
        return (
            f"{text}. Cost: KL {self.kl:.2f} nats; {self.repetition:.0%} of the text repeats itself "
            f"(unsteered {self.repetition_unsteered:.0%})."
        )


def measure(
    model: SteerableModel,
    data: Dataset,
    vector: SteeringVector,
    layer: int,
    multiplier: float,
    own: Dataset,
    written: tuple[float, float] | None = None,
) -> Generator[Progress | list[Completion], None, Effect]:
    """Score free-text pairs without and with multiplier times a vector at a layer, and rank its first-order estimate
    among controls; then write answers to their prompts. Yields `Progress`, and then the answers as they grow.

    Args:
        own: the pairs that the vector was made from.
        written: how much answers repeat themselves, unsteered and steered, where they were written before.
    """
    steer = Steer(vector.at(layer), layer, multiplier)
    items = yield from choose_items(model, data)
    scores = yield from score(model, items.pairs, [(steer,)])
    changes = (scores.preference[1] - scores.preference[0]).double().numpy()
    found = (yield from ground(model, items, vector, [layer], own)).first_order(vector, CONTROLS)
    size = mean_of(changes, items.prompts)
    p, direction = found.rank
    way = direction if multiplier > 0 else -direction
    why = too_few(len(set(items.prompts))) or found.lacking
    unsteered, steered = written or (yield from _written(model, items.pairs, steer))
    return Effect(
        layer=layer,
        multiplier=multiplier,
        items=len(items.pairs),
        effect=size,
        random_vectors=CONTROLS,
        beaten=int((direction * found.random < direction * found.value).sum()),
        kl=scores.kl[1].mean().item(),
        repetition=steered,
        repetition_unsteered=unsteered,
        p=p,
        grade="" if why else grade(p, way, size, multiplier * found.value),
        anti_steerable=AntiSteerable.of(np.sign(multiplier) * changes, items.prompts).beside(found.wrong),
        why=why,
    )


def by_layer(
    model: SteerableModel, data: Dataset, vector: SteeringVector
) -> Generator[Progress, None, dict[int, float]]:
    """What a vector does to the preference for the matching answers at each of its layers, to first order: nats a token
    for a multiplier of 1, mean over the pairs. Yields `Progress`.

    Raises:
        NoEstimateError: the model cannot be differentiated.
        InputError: nothing of the data can be measured.
    """
    items, layers = (yield from choose_items(model, data)), [*vector.layers]
    asked, of = items.both_orders()
    weights = group_weights([range(len(items.pairs))], of)
    slopes = (yield from gradients(model, asked, weights, layers))[0]
    return {layer: float(slope @ vector.at(layer)) for layer, slope in zip(layers, slopes, strict=True)}


def _written(
    model: SteerableModel, pairs: Sequence[ContrastPair], steer: Steer
) -> Generator[list[Completion], None, tuple[float, float]]:
    """Mean repetition of greedy answers to the prompts, unsteered and steered."""
    prompts = [ask_pair(model.tokenizer, pair) for pair in pairs]
    rows = [BatchRow(prompt, steers) for steers in ((), (steer,)) for prompt in prompts]
    written = yield from generate(model, rows, Decoding(NEW_TOKENS))
    found = [repetition(text.ids) for text in written]
    return float(np.mean(found[: len(pairs)])), float(np.mean(found[len(pairs) :]))
