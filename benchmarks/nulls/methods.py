"""What Compare methods says of pairs whose sides are dealt at random."""

from collections import Counter

import numpy as np
import torch

from caa_core.data.pairs import ContrastPair
from caa_core.data.presets import find_pairs
from caa_core.model.loading import SteerableModel
from caa_core.progress import finish
from caa_core.reports.vectors import best_method
from caa_core.steering.activations import read_all
from caa_core.steering.read_position import AUTOMATIC
from caa_core.vectors.extraction import DifferenceList
from caa_core.vectors.method_comparison import Comparison, Separation, compared

SENTENCES = ("better than chance", "best")


def simulate(
    runs: int, prompts: int, layers: int = 6, size: int = 16, signal: float = 0.0, seed: int = 0
) -> dict[str, float]:
    """Share of runs in which each thing is said of any method, on activations that are noise, of variance 1.

    signal: how far positive answers lie along the first direction, at all layers.
    """
    random = np.random.default_rng(seed)
    pairs = [ContrastPair(f"Question {n}?", "yes", "no", n) for n in range(prompts)]
    said: Counter[str] = Counter()
    for _ in range(runs):
        positive, negative = torch.from_numpy(random.standard_normal((2, layers, prompts, size))).float()
        positive[..., 0] += signal
        said.update(_said(finish(compared(pairs, positive, negative))))
    return {what: said[what] / runs for what in SENTENCES}


def _said(separations: dict[str, list[Separation]]) -> list[str]:
    layers = tuple(range(len(next(iter(separations.values())))))
    folds = separations["pca"][0].folds
    found = Comparison("noise", separations["pca"][0].prompts, folds, "last", layers, {}, separations)
    better = any(found.surely(method) for method in separations)
    return ["better than chance"] * better + ["best"] * bool(best_method(found))


def on_model(model: SteerableModel, name: str, layers: list[int], vectors: int) -> dict[str, float]:
    """The same of a preset's pairs on the model, their sides exchanged by coins."""
    dataset = find_pairs(name)
    kept = DifferenceList(len(layers), len(dataset.pairs), model.hidden_size)
    finish(read_all(model, dataset, layers, AUTOMATIC, kept))
    random = np.random.default_rng(0)
    said: Counter[str] = Counter()
    for _ in range(vectors):
        turned = torch.from_numpy(random.random(len(dataset.pairs)) < 0.5)[:, None]
        positive, negative = (
            torch.where(turned, other, one)
            for one, other in ((kept.positive, kept.negative), (kept.negative, kept.positive))
        )
        said.update(_said(finish(compared(dataset.pairs, positive, negative))))
    return {what: said[what] / vectors for what in SENTENCES}
