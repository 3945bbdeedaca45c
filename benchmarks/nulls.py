"""How often each sentence is said of vectors that have no effect, and of vectors that have one.

    python -m benchmarks.nulls [--runs N]

Vectors without effect are drawn as the controls are, so each has one of its own by chance; `spread` says how far apart
these lie, in standard deviations between items.
"""

import argparse
from collections import Counter

import numpy as np

from caa_core.metrics.cross_fitting import CONTROLS, chosen, cross_fitted, grade, two_sided
from caa_core.metrics.estimates import means_of

# Layers of a simulated model; an effect is there at some of them, as in a real one.
LAYERS, WIDTH = 12, 2.0


def simulate(
    runs: int, prompts: int, spread: float, effect: float = 0.0, controls: int = CONTROLS, seed: int = 0
) -> dict[str, float]:
    """Share of runs in which each thing is said, in a simulation of the whole procedure.

    An item's change at a layer is the vector's own effect there and a normal deviate of variance 1. effect: at the best
    layer, in standard deviations between items.
    """
    random = np.random.default_rng(seed)
    bump = effect * np.exp(-(((np.arange(LAYERS) - LAYERS // 2) / WIDTH) ** 2))
    said: Counter[str] = Counter()
    for _ in range(runs):
        own = bump + spread * random.standard_normal(LAYERS)
        changes = own + random.standard_normal((prompts, LAYERS))
        halves = np.arange(prompts) % 2
        estimates = np.stack([changes[halves == half].mean(0) for half in (0, 1)])
        kinds = [_controls(random, controls, prompts, spread) for _ in range(2)]
        p, direction = two_sided(cross_fitted(estimates), [cross_fitted(one) for one in kinds])
        there = chosen(estimates)[1 - halves]
        (size,) = means_of(changes[np.arange(prompts), there][None])
        found = grade(float(p), int(direction), size)
        said[f"{found}, {'with' if direction > 0 else 'against'}" if found == "effect" else found] += 1
    return {sentence: count / runs for sentence, count in sorted(said.items())}


def _controls(random: np.random.Generator, count: int, prompts: int, spread: float) -> np.ndarray:
    """[count, 2, layers]: means of either half."""
    own = spread * random.standard_normal((count, 1, LAYERS))
    return own + random.standard_normal((count, 2, LAYERS)) * np.sqrt(2 / prompts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    print("| prompts | spread | effect | said |\n| --- | --- | --- | --- |")
    for effect in (0.0, 1.5):
        for prompts in (8, 20, 40):
            for spread in (0.0, 0.3, 0.6):
                said = simulate(runs, prompts, spread, effect)
                print(f"| {prompts} | {spread} | {effect} | {', '.join(f'{k} {v:.1%}' for k, v in said.items())} |")


if __name__ == "__main__":
    main()
