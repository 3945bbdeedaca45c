"""Control vectors: random ones of the same norm, and mean differences of pairs with shuffled labels."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from caa_core.data.pairs import Dataset
from caa_core.metrics.cross_fitting import sign_patterns
from caa_core.vectors.splits import prompts_of
from caa_core.vectors.vector import SteeringVector

# A control is a vector by layer, and a cell a layer and a multiplier.
Control = dict[int, torch.Tensor]


def random_controls(vector: SteeringVector, layers: Sequence[int], count: int, seed: int = 0) -> list[Control]:
    """Vectors drawn at random, at each layer with the norm that `vector` has there."""
    drawn = {layer: random_vectors(vector.at(layer), count, seed * 10_000 + layer) for layer in layers}
    return [{layer: vectors[i] for layer, vectors in drawn.items()} for i in range(count)]


class ShuffledLabels:
    """Collects sums of positive minus negative under random signs: `value` is [layers, count, hidden_size].

    Each prompt has a coin of its own, which all of its pairs and both letter orders follow: that is exactly what the
    vector would be if its labels meant nothing, so nothing is drawn evenly, or kept apart from it.
    """

    def __init__(self, dataset: Dataset, count: int, seed: int):
        prompts = prompts_of(dataset.pairs)
        drawn = sign_patterns(max(prompts) + 1, count, seed)
        self._signs = torch.from_numpy(drawn[:, prompts]).float()
        self.value = torch.zeros((), dtype=torch.float32)

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        self.value = self.value + torch.einsum("sp,lph->lsh", self._signs[:, pairs], positive - negative)

    def controls(self, vector: SteeringVector, layers: Sequence[int]) -> list[Control]:
        """The sums at the layers that were read, with the norm of `vector`."""
        norms = torch.tensor([vector.norm(layer) for layer in layers])
        sums = torch.nn.functional.normalize(self.value, dim=-1) * norms[:, None, None]
        return [{layer: sums[i, k].clone() for i, layer in enumerate(layers)} for k in range(sums.shape[1])]


def random_alike(vector: SteeringVector, layers: Sequence[int], count: int) -> list[SteeringVector]:
    """Vectors drawn at random for steering at some layers at once, at each with the norm that `vector` has there."""
    drawn = [random_vectors(vector.at(layer), count, seed) for seed, layer in enumerate(layers)]
    return [replace(vector, layers=dict(zip(layers, one, strict=True))) for one in zip(*drawn, strict=True)]


def random_vectors(vector: torch.Tensor, count: int, seed: int = 0) -> list[torch.Tensor]:
    """Directions drawn at random, each with the norm of `vector` [hidden_size]."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, len(vector), generator=random, dtype=torch.float32)
    return list(drawn / drawn.norm(dim=1, keepdim=True) * vector.norm())
