"""How often each sentence of a contest is said of voices of which it is not true.

    python -m benchmarks.null_contests [--runs N] [--vectors N] [--model MODEL] [A B LAYER MULTIPLIER]

In the simulation a voice moves each prompt by its own effect and a normal deviate of variance 1; its controls' effects,
and those of voices that do nothing, lie `SPREAD` of that apart. What both do beyond adding is drawn as that of second
voices is, around a number that is not 0. On the model, voices without effect are drawn with the norm of A's and B's
vectors: at random, and from their pairs with labels exchanged by coins; and second voices of B's norm and cosine to A
take the place of B, each beside 39 others.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from caa_core.contest.contest import interactions_with, measure_voices, same_cosine
from caa_core.contest.dominance import Contest, ahead_of, beside_second_voices, by_prompt, conclude
from caa_core.contest.speaking import EFFECT, by_controls, mean_gradients, voice_ground
from caa_core.contest.thinking_arms import ARMS
from caa_core.contest.thinking_results import product_apart
from caa_core.contest.voice import Voice
from caa_core.data.pairs import ContrastPair
from caa_core.data.presets import find_contest, presets
from caa_core.measuring.requests import FEWEST
from caa_core.measuring.vector_controls import FirstOrder, Ground
from caa_core.metrics.controls import random_vectors
from caa_core.metrics.correction import corrected_so_far, paired_p
from caa_core.metrics.cross_fitting import CONTROLS, LEVEL, sign_patterns, two_sided
from caa_core.metrics.estimates import mean_of
from caa_core.metrics.items import Items, choose_items
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel, load
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.vectors.extraction import preset_vector

# How far what controls do lies apart, and what second voices do beyond adding, in standard deviations between prompts;
# around what that lies.
SPREAD, BEYOND, CENTRE = 0.3, 0.2, 0.3

# The effect of A and of B, each its own way, whether they have controls, where what second voices do beyond adding
# lies, and what both do beyond that.
CASES = {
    "neither does anything": (0.0, 0.0, True, 0.0, 0.0),
    "B does nothing": (3.0, 0.0, True, 0.0, 0.0),
    "both do as much, and nothing beyond adding": (3.0, 3.0, True, 0.0, 0.0),
    "A does more, and beyond adding both do what second voices do": (3.0, 1.5, True, CENTRE, 0.0),
    "A does more, and beyond that both do 1.5": (3.0, 1.5, True, CENTRE, 1.5),
    "words: neither does anything": (0.0, 0.0, False, 0.0, 0.0),
    "words: both do as much, and nothing beyond adding": (3.0, 3.0, False, 0.0, 0.0),
}


def simulate(runs: int, prompts: int, case: str, controls: int = CONTROLS, seed: int = 0) -> dict[str, float]:
    """Share of runs in which each thing is said of a case of `CASES`, by the whole procedure."""
    random = np.random.default_rng(seed)
    *effects, ranked, centre, extra = CASES[case]
    spread, beyond = (SPREAD, BEYOND) if ranked else (0.0, 0.0)
    # What has no controls is held against nothing at all; on a tie, nothing tells the voices apart.
    spread = 0.0 if effects[0] == effects[1] != 0 else spread
    beyond = beyond if centre else 0.0
    items = _items(prompts)
    one, other = (Voice(name, (Steer(torch.eye(2)[i], 0, 1.0),)) for i, name in enumerate("AB"))
    said: Counter[str] = Counter()
    for _ in range(runs):
        own = [way * effect + spread * random.standard_normal() for way, effect in zip((1, -1), effects, strict=True)]
        means = np.array([*own, centre + extra + beyond * random.standard_normal()])
        a, b, more = means[:, None] + random.standard_normal((3, prompts))
        m = np.stack([np.zeros(prompts), a, b, a + b + more])
        beside = tuple(_beside(random, change, prompts, controls) if ranked else None for change in (a, b))
        found = conclude(items, one, other, m, np.zeros_like(m), (beside[0], beside[1]))
        if found.leads and ranked:
            second = centre + beyond * random.standard_normal(FEWEST)
            found = beside_second_voices(found, second + random.standard_normal(FEWEST) / np.sqrt(prompts))
        said.update(_sentences(found))
    return {sentence: count / runs for sentence, count in sorted(said.items())}


def simulate_arms(runs: int, prompts: int, seed: int = 0) -> dict[str, float]:
    """Share of experiments with thoughts in which each thing is said of any arm, where both voices do as much in all of
    them, whatever is thought, and neither words nor vectors decide.
    """
    random = np.random.default_rng(seed)
    said: Counter[str] = Counter()
    for _ in range(runs):
        arms = random.standard_normal((len(ARMS), 3, prompts)) + np.array([3, -3, 0])[:, None]
        arms[:, 2] += arms[:, 0] + arms[:, 1]
        decides = random.standard_normal((1, prompts))
        ahead = paired_p(np.concatenate([[ahead_of(arm) for arm in arms], decides]))
        moved = paired_p(np.stack([product_apart(arm, arms[0]) for arm in arms[1:]]))
        *follows, crossed = corrected_so_far(ahead, len(ahead)) <= LEVEL
        said["an arm follows a voice"] += any(follows)
        said["words or vectors decide"] += bool(crossed)
        said["an arm is moved"] += bool((corrected_so_far(moved, len(moved)) <= LEVEL).any())
    return {sentence: count / runs for sentence, count in sorted(said.items())}


def _items(prompts: int) -> Items:
    pairs = tuple(ContrastPair(f"{i}?", "x", "y", i) for i in range(prompts))
    return Items("simulated", "", pairs, (None,) * prompts)


def _beside(random: np.random.Generator, change: np.ndarray, prompts: int, controls: int) -> FirstOrder:
    drawn = SPREAD * random.standard_normal((2, controls)) + random.standard_normal((2, controls)) / np.sqrt(prompts)
    return FirstOrder(np.array([[change.mean()]]), drawn[0], drawn[1], prompts)


def _sentences(found: Contest) -> Iterator[str]:
    """What is said of a contest, each by its name in the table."""
    for name, grade in (("A", found.voice_a), ("B", found.voice_b)):
        if grade and grade.way:
            yield f"{name} moves the answers {'its' if grade.way > 0 else 'the wrong'} way"
    if found.leads:
        yield f"follows {'A' if found.leads > 0 else 'B'}"
    if found.more_than_added:
        yield "not what adding predicts"


def on_model(
    model: SteerableModel, a: str, b: str, layer: int, multiplier: float, vectors: int
) -> dict[str, dict[str, float]]:
    """By the kind of voice without effect, how often it is said that it moves the answers of the contest of A: its own
    way, and the wrong one; and of second voices in the place of B, how often both are said to do more than a sum.
    """
    items = finish(choose_items(model, find_contest(a)))
    voices = [Voice.of(finish(preset_vector(model, presets()[name], [layer])), layer, multiplier) for name in (a, b)]
    slopes = finish(mean_gradients(model, items, [layer]))
    found = {}
    for voice, own in zip(voices, (1, -1), strict=True):
        stands_on = replace(finish(voice_ground(model, voice, [layer], slopes, [layer])), by_prompt=None)
        for kind, drawn in (("random", _random), ("shuffled", _shuffled)):
            said: Counter[str] = Counter()
            for seed, direction in enumerate(drawn(voice, stands_on, vectors)):
                said[_moves(model, items, voice, direction, stands_on, own, seed)] += 1
            found[f"{kind}, as {voice.name}"] = {one: said[one] / vectors for one in sorted(said) if one}
    found[f"second voices, as {b}"] = {"not what adding predicts": _more(model, items, voices[0], voices[1], vectors)}
    return found


def _random(voice: Voice, stands_on: Ground, count: int) -> Iterator[torch.Tensor]:
    yield from random_vectors(voice.steer.vector, count, seed=77)


def _shuffled(voice: Voice, stands_on: Ground, count: int) -> Iterator[torch.Tensor]:
    assert stands_on.differences, "a preset's pairs are known"
    for signs in sign_patterns(stands_on.differences.value.shape[1], count, seed=77_000):
        mean = stands_on.differences.mean_with(signs)[0]
        yield mean / mean.norm() * voice.steer.vector.norm()


def _moves(
    model: SteerableModel, items: Items, voice: Voice, direction: torch.Tensor, stands_on: Ground, own: int, seed: int
) -> str:
    """What is said of a voice in another direction: by exact passes where estimates tell it from controls."""
    assert voice.vector
    other = voice.with_steer(vector=direction)
    ranked = stands_on.first_order(replace(voice.vector, layers={voice.steer.layer: direction}), CONTROLS, seed)
    if ranked.rank[0] > LEVEL:
        return ""
    m, _ = finish(measure_voices(model, items, [Voice("unsteered"), other]))
    by = by_prompt(items, m)
    grade = by_controls(ranked, mean_of(by[1] - by[0]), voice.steer.multiplier, own)
    return "" if grade.grade != EFFECT else "its own way" if grade.way > 0 else "the wrong way"


def _more(model: SteerableModel, items: Items, a: Voice, b: Voice, vectors: int) -> float:
    """How often I of a second voice is told from 0, and from those of 39 others: the sentence without what goes before
    it, so that this is the most that it can be.
    """
    m, _ = finish(measure_voices(model, items, [Voice("unsteered"), a]))
    drawn = [b.with_steer(vector=one.vector) for one in same_cosine(a.steer, b.steer, max(vectors, FEWEST + 1))]
    beyond = finish(interactions_with(model, items, a, drawn, by_prompt(items, m)))
    random, said = np.random.default_rng(0), 0
    for i, one in enumerate(beyond):
        others = random.permutation(np.delete(beyond.mean(1), i))[:FEWEST]
        said += bool(two_sided(np.asarray(one.mean()), [others])[0] <= LEVEL and mean_of(one).is_clear)
    return said / len(beyond)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of the simulation; 0 for none")
    parser.add_argument("--vectors", type=int, default=100, help="of each kind, on the model; 0 for none")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("contest", nargs="*", default=["formal", "casual", "12", "1.5"], metavar="A B LAYER MULTIPLIER")
    options = parser.parse_args()
    if options.runs:
        print("| voices | prompts | said |\n| --- | --- | --- |")
        for case in CASES:
            for prompts in (8, 13, 20):
                print(f"| {case} | {prompts} | {_in_words(simulate(options.runs, prompts, case))} |", flush=True)
        for prompts in (8, 13, 20):
            print(
                f"| arms with thoughts: all the same | {prompts} | {_in_words(simulate_arms(options.runs, prompts))} |"
            )
    if options.vectors:
        a, b, layer, multiplier = options.contest
        model = load(options.model, "float32")
        print(f"\n| voices ({options.vectors}) | said |\n| --- | --- |")
        for kind, said in on_model(model, a, b, int(layer), float(multiplier), options.vectors).items():
            print(f"| {kind} | {_in_words(said)} |", flush=True)


def _in_words(said: dict[str, float]) -> str:
    return ", ".join(f"{sentence} {share:.1%}" for sentence, share in said.items()) or "nothing"


if __name__ == "__main__":
    main()
