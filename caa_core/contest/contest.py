"""A contest: two voices are measured alone and together, beside controls that say nothing.

What is measured is told in :mod:`caa_core.contest.dominance`. A voice is a vector, a system prompt, or words: the
beginning of the answer, which stands there as the assistant's own. Steered positions are counted by the prompt, so a
vector against words is added where the words are read, too.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from caa_core.contest.dominance import Alone, Contest, ContestControls, by_prompt, conclude
from caa_core.contest.voice import Voice
from caa_core.data.presets import pairs_behind
from caa_core.metrics.controls import Control, random_controls, shuffled_controls
from caa_core.metrics.estimates import reach
from caa_core.metrics.grid import CONTROLS
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue, render, with_prefill
from caa_core.progress import Progress, showing
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score

# Prompts, at most, whose answers are written to see how far they repeat themselves.
WRITTEN_PROMPTS = 16


def compete(
    model: SteerableModel,
    items: Items,
    a: Voice,
    b: Voice,
    controls: int = CONTROLS,
    system: str = "",
    written: int = 0,
) -> Generator[Progress, None, Contest]:
    """Measure a contest. The items' matching answers are A's, the others B's. Yields `Progress`.

    Args:
        controls: how many of each kind: same-cosine second voices where each voice is one vector, and for a voice
            whose `vector` is known random vectors and vectors from shuffled labels.
        system: a system prompt that is nobody's voice; it is there in the unsteered run too.
        written: tokens of the answers that are written to see how they repeat themselves; 0 for none.

    Raises:
        InputError: a prompt that is too long with the system prompts.
    """
    drawn = same_cosine(a.steer, b.steer, controls) if len(a.steers) == len(b.steers) == 1 else []
    others = [Voice(f"control {i}", (steer,)) for i, steer in enumerate(drawn, 1)]
    alone_a = yield from _alone_controls(model, items, a, controls)
    alone_b = yield from _alone_controls(model, items, b, controls)
    groups = [
        [Voice("unsteered"), a, b, a.beside(b)],
        [Voice("self-test", (steer, _opposite(steer))) for steer in a.steers + b.steers],
        others,
        [a.beside(other) for other in others],
        *alone_a.groups,
        *alone_b.groups,
    ]
    m, kl = yield from measure_voices(model, items, list(chain(*groups)), system)
    parts = np.split(m, np.cumsum([len(group) for group in groups])[:-1])
    # How far each voice moves m, by group: what the means over prompts of two voices differ in.
    moved = [by_prompt(items, part).mean(1) - by_prompt(items, m[:1]).mean() for part in parts]
    beyond = moved[3] - moved[2] - moved[0][1]
    found = conclude(
        items,
        a,
        b,
        parts[0],
        kl[:4],
        ContestControls(
            (float(beyond.min()), float(beyond.max())) if len(beyond) else None,
            len(beyond),
            alone_a.measured(*moved[4:6]),
            alone_b.measured(*moved[6:8]),
        ),
    )
    if parts[1].size:
        found = replace(found, self_test=float(np.abs(parts[1] - m[0]).max()))
    if written:
        found = replace(found, repetition=(yield from _repetition(model, items, groups[0], system, written)))
    return found


def same_cosine(a: Steer, b: Steer, count: int) -> list[Steer]:
    """Second voices that are as `b` to `a` in everything but their own direction: norm, cosine, layer, multiplier."""
    v, w = a.vector.double(), b.vector.double()
    unit, norm = v / v.norm(), w.norm()
    cosine = (unit @ w / norm).clamp(-1, 1)
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(count, len(v), generator=random, dtype=torch.float64)
    across = torch.nn.functional.normalize(drawn - (drawn @ unit)[:, None] * unit, dim=1)
    vectors = norm * (cosine * unit + (1 - cosine**2).sqrt() * across)
    return [Steer(vector.float(), b.layer, b.multiplier) for vector in vectors]


@dataclass(frozen=True)
class _AloneControls:
    """Voices that are as another in everything but the direction of its vector; see `Alone`."""

    random: Sequence[Voice] = ()
    shuffled: Sequence[Voice] = ()
    shuffled_from: str = ""

    @property
    def groups(self) -> list[Sequence[Voice]]:
        return [self.random, self.shuffled]

    def measured(self, random: np.ndarray, shuffled: np.ndarray) -> Alone | None:
        """By how far each of `groups` moves m."""
        far = reach(random)
        return Alone(far, reach(shuffled), len(random), self.shuffled_from) if far else None


def _alone_controls(
    model: SteerableModel, items: Items, voice: Voice, count: int
) -> Generator[Progress, None, _AloneControls]:
    """Controls of one voice; none for a voice that is not one vector, and none from shuffled labels where its pairs are
    not known.
    """
    if not (count and voice.vector and len(voice.steers) == 1 and voice.steer.multiplier):
        return _AloneControls()
    vector, layer = voice.vector, voice.steer.layer

    def as_voices(controls: Sequence[Control]) -> list[Voice]:
        return [voice.with_steer(vector=control[layer]) for control in controls]

    random = as_voices(random_controls(vector, [layer], count))
    pairs, position = pairs_behind(vector.provenance), vector.provenance.read_position
    if not pairs:
        return _AloneControls(random)
    read = ReadPosition.parse(position) if position else AUTOMATIC
    shuffled = yield from shuffled_controls(model, pairs, vector, [layer], count, position=read)
    return _AloneControls(random, as_voices(shuffled), pairs.name)


def _opposite(steer: Steer) -> Steer:
    return replace(steer, multiplier=-steer.multiplier)


def measure_voices(
    model: SteerableModel, items: Items, voices: Sequence[Voice], system: str = ""
) -> Generator[Progress, None, tuple[np.ndarray, np.ndarray]]:
    """m and KL of every item under every voice, [voices, items] each. Yields `Progress`.

    System prompt and prefill are part of the prompt, so each takes a pass of its own; the KL against a model that has
    another prompt is not known, and NaN.
    """
    asked, of_item = items.both_orders()
    count = len(items.pairs)
    there = of_item[count:]
    m, kl = np.full((2, len(voices), count), np.nan)
    for own_system, prefill in dict.fromkeys((voice.system, voice.prefill) for voice in voices):
        alike = [i for i, voice in enumerate(voices) if (voice.system, voice.prefill) == (own_system, prefill)]
        whole = "\n".join(filter(None, (system, own_system)))
        cue = Cue(" ".join(filter(None, (prefill.strip(), items.cue.words))), items.cue.instruction)
        scores = yield from score(model, asked, [voices[i].steers for i in alike], items.positions, cue, whole)
        found = scores.preference[1:].double().numpy()
        m[alike] = found[:, :count]
        m[np.ix_(alike, there)] = (found[:, there] + found[:, count:]) / 2
        if not own_system and not prefill:
            kl[alike] = scores.kl[1:, :count].double().numpy()
    return m, kl


def _repetition(
    model: SteerableModel, items: Items, voices: Sequence[Voice], system: str, tokens: int
) -> Generator[Progress, None, tuple[float, ...]]:
    """Mean repetition of greedy answers to the prompts, by voice."""
    prompts = list(dict.fromkeys(pair.prompt for pair in items.pairs))[:WRITTEN_PROMPTS]
    rows = []
    for voice in voices:
        whole = "\n".join(filter(None, (system, voice.system)))
        for prompt in prompts:
            asked = render(model.tokenizer, [{"role": "user", "content": prompt}], whole)
            rows.append(BatchRow(with_prefill(model.tokenizer, asked, voice.prefill), voice.steers, items.positions))
    progress = Progress(len(rows), "answers written", len(rows) * tokens)
    work = generate(model, rows, Decoding(tokens))
    texts = yield from showing(work, lambda texts: progress.reach(sum(len(text.ids) for text in texts)))
    shares = np.array([repetition(text.ids) for text in texts]).reshape(len(voices), -1)
    return tuple(map(float, shares.mean(1)))
