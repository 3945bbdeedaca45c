"""How often what is said of pairs before steering is right, in simulation.

`python -m benchmarks.diagnostics` prints the table of docs/numbers.md, of pairs whose differences have variance 1 in
each of `HIDDEN` directions and are pushed along one of them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.progress import finish
from caa_core.vectors.diagnostics import MAY, NOTHING_KNOWN, Diagnostics, Known, Measured, PromptSides, diagnose

HIDDEN, LAYER, RUNS = 100, 5, 1000

# Prompts and push; and whether the sides of every second pair are exchanged.
CASES = ((8, 0.0, False), (20, 0.0, False), (20, 2.0, False), (20, 5.0, False), (60, 2.0, False), (20, 5.0, True))


def planted(prompts: int, push: float, seed: int = 0) -> np.ndarray:
    """What is read at both sides, [2, prompts, hidden]: noise, what a prompt has in common, and a push between them."""
    random = np.random.default_rng(seed)
    common = random.normal(0, 2, (prompts, HIDDEN)) + random.normal(0, 5, HIDDEN)
    noise = random.normal(0, np.sqrt(0.5), (2, prompts, HIDDEN))
    noise[0, :, 0] += push / 2
    noise[1, :, 0] -= push / 2
    return noise + common


def exchanged(sides: np.ndarray) -> np.ndarray:
    """The same, every second pair with its sides exchanged."""
    every_second = np.arange(sides.shape[1])[:, None] % 2 == 1
    return np.where(every_second, sides[::-1], sides)


def true_reliability(prompts: int, push: float) -> float:
    """The squared cosine to expect between a mean of so many differences and the direction of the push."""
    return push**2 / (push**2 + HIDDEN / prompts)


def told(sides: np.ndarray, copies: int = 1, known: Known = NOTHING_KNOWN) -> Diagnostics:
    """What is said of them at one layer, where each pair stands in the data so many times; they come in two batches."""
    count = sides.shape[1]
    pairs = [ContrastPair(f"{i}. Say?", "yes", "no", i) for _ in range(copies) for i in range(count)]
    collected = PromptSides(Dataset("planted", "", "", tuple(pairs)), 1, HIDDEN)
    read = torch.from_numpy(np.tile(sides, (1, copies, 1))).float()
    for batch in (list(range(3)), list(range(3, count * copies))):
        collected(batch, *read[:, None, batch])
    return finish(diagnose(collected, [LAYER], known))


def row(prompts: int, push: float, half_exchanged: bool, runs: int = RUNS) -> list[str]:
    """Of so many draws of one of `CASES`."""
    drawn = (planted(prompts, push, seed) for seed in range(runs))
    found = [told(exchanged(sides) if half_exchanged else sides) for sides in drawn]
    push = 0.0 if half_exchanged else push
    at = [one.layers[LAYER] for one in found]
    true = true_reliability(prompts, push)
    reliability = [one.reliability for one in at]
    cells = [f"{prompts}", "half exchanged" if half_exchanged else f"{push:g}", f"{true:.3f}"]
    cells += [
        f"{np.mean([one.value for one in reliability if one.value is not None]):.3f}",
        _holding(reliability, true),
    ]
    cells += [f"{np.mean([one.grade == MAY for one in found]):.1%}"]
    nothing = [_holding([one.auc for one in at], 0.5), _holding([one.d_prime for one in at], 0.0)]
    return [*cells, *(nothing if not push else ["", ""])]


def _holding(found: Sequence[Measured], number: float) -> str:
    """How often intervals hold a number."""
    held = [one.low is not None and one.high is not None and one.low <= number <= one.high for one in found]
    return f"{np.mean(held):.1%}"


def table(runs: int = RUNS) -> str:
    """In Markdown."""
    heads = ["prompts", "push", "true reliability", "mean of those found", "its interval holds it", "may steer"]
    heads += ["AUC's holds 0.5", "d′'s holds 0"]
    rows = [row(*case, runs) for case in CASES]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *rows))


if __name__ == "__main__":
    print(table())
