"""A contest: two voices are measured alone and together, beside vectors that should do nothing.

What is measured is told in :mod:`caa_core.contest.dominance`. A voice is a vector, a system prompt, or words: the
beginning of the answer, which stands there as the assistant's own. Steered positions are counted by the prompt, so a
vector against words is added where the words are read, too.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import torch

from caa_core.contest.decomposition import less_shared
from caa_core.contest.dominance import Contest, apart_of, beside_second_voices, by_prompt, conclude
from caa_core.contest.speaking import rank_voices
from caa_core.contest.voice import Voice
from caa_core.measuring.requests import FEWEST
from caa_core.metrics.cross_fitting import CONTROLS
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue, render, with_prefill
from caa_core.progress import Progress, showing
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
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
    second_voices: int = FEWEST,
    system: str = "",
    written: int = 0,
) -> Generator[Progress | Contest, None, Contest]:
    """Measure a contest. The items' matching answers are A's, the others B's. Yields `Progress`, and the contest as it
    is before answers are written, and before second voices are measured, which take the most time and are asked only
    where one voice is followed.

    Args:
        controls: how many of each kind, for voices that are a vector and nothing else; see `speaking`.
        second_voices: how many of the same cosine, where each voice is one vector.
        system: a system prompt that is nobody's voice; it is there in the unsteered run too.
        written: tokens of the answers that are written to see how they repeat themselves; 0 for none.

    Raises:
        InputError: a prompt that is too long with the system prompts.
    """
    voices = [Voice("unsteered"), a, b, a.beside(b)]
    sums = [one for one in a.steers + b.steers if one.operation.is_sum]  # what is taken away is not undone by more
    against = [Voice("self-test", (one, replace(one, multiplier=-one.multiplier))) for one in sums]
    apart = less_shared(a, b)
    m, kl = yield from measure_voices(model, items, [*voices, *against, *apart], system)
    behind = len(voices) + len(against)
    ranked = yield from rank_voices(model, items, (a, b), controls, system)
    found = conclude(items, a, b, m[:4], kl[:4], ranked)
    if against:
        found = replace(found, self_test=float(np.abs(m[4:behind] - m[0]).max()))
    if apart:
        by_itself = apart_of(items, m[[0, behind, behind + 1]], kl[behind:])
        found = replace(found, apart_a=by_itself[0], apart_b=by_itself[1])
    if written:
        yield found
        found = replace(found, repetition=(yield from _repetition(model, items, voices, system, written)))
    if second_voices and len(a.steers) == len(b.steers) == 1 and found.leads:
        yield found
        drawn = [b.with_steer(vector=steer.vector) for steer in same_cosine(a.steer, b.steer, second_voices)]
        beside = yield from interactions_with(model, items, a, drawn, by_prompt(items, m[:2]), system)
        found = beside_second_voices(found, beside.mean(1))
    return found


def interactions_with(
    model: SteerableModel, items: Items, a: Voice, others: Sequence[Voice], by: np.ndarray, system: str = ""
) -> Generator[Progress, None, np.ndarray]:
    """I of A with each of other voices, [others, prompts], by exact passes. by: m of each prompt unsteered and under A,
    [2, prompts]. Yields `Progress`.
    """
    voices = [*others, *(a.beside(other) for other in others)]
    m, _ = yield from measure_voices(model, items, voices, system, costs=False)
    alone, both = np.split(by_prompt(items, m), 2)
    return both - alone - by[1] + by[0]


def same_cosine(a: Steer, b: Steer, count: int) -> list[Steer]:
    """Second voices that are as `b` to `a` in everything but their own direction: norm, cosine, layer, multiplier."""
    v, w = a.vector.double(), b.vector.double()
    unit, norm = v / v.norm(), w.norm()
    cosine = (unit @ w / norm).clamp(-1, 1)
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(count, len(v), generator=random, dtype=torch.float64)
    across = torch.nn.functional.normalize(drawn - (drawn @ unit)[:, None] * unit, dim=1)
    vectors = norm * (cosine * unit + (1 - cosine**2).sqrt() * across)
    return [replace(b, vector=vector.float()) for vector in vectors]


def measure_voices(
    model: SteerableModel, items: Items, voices: Sequence[Voice], system: str = "", costs: bool = True
) -> Generator[Progress, None, tuple[np.ndarray, np.ndarray]]:
    """m and KL of every item under every voice, [voices, items] each. Yields `Progress`.

    System prompt and prefill are part of the prompt, so each takes a pass of its own; the KL against a model that has
    another prompt is not known, and NaN, and so it is without `costs`.
    """
    asked, of_item = items.both_orders()
    count = len(items.pairs)
    there = of_item[count:]
    m, kl = np.full((2, len(voices), count), np.nan)
    for own_system, prefill in dict.fromkeys((voice.system, voice.prefill) for voice in voices):
        alike = [i for i, voice in enumerate(voices) if (voice.system, voice.prefill) == (own_system, prefill)]
        whole = "\n".join(filter(None, (system, own_system)))
        cue = Cue(" ".join(filter(None, (prefill.strip(), items.cue.words))), items.cue.instruction)
        steers = [voices[i].steers for i in alike]
        scores = yield from score(model, asked, steers, items.positions, cue, whole, costs)
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
