"""Where activations and vectors lie: principal components of what was read at both answers, cosines between vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from caa_core.data.pairs import Dataset
from caa_core.errors import InputError
from caa_core.vectors.vector import SteeringVector

# Pairs that are kept to be drawn: more points hide each other.
MOST_DRAWN = 200
DIGITS = 4


@dataclass(frozen=True)
class Scatter:
    """The residual stream at the answers' read positions, along its first two principal components at each layer.

    answers: "(A)", "Yes" or such of each point, empty for free text; positive: whether it shows the behaviour. x, y:
    coordinates, [layers][points]. explained: which share of the variance lies along each of the two, [layers][2].
    along: |cosine| of each of the two with the mean difference of the points, [layers][2]: near 1 where what varies
    most is the behaviour.
    """

    layers: list[int]
    answers: list[str]
    positive: list[bool]
    x: list[list[float]]
    y: list[list[float]]
    explained: list[list[float]]
    along: list[list[float]]


class ProjectedPairs:
    """Collects what is read at a dataset's first pairs, to be drawn. See `activations.read_all`."""

    def __init__(self, dataset: Dataset):
        # With both letter orders, copies stand behind all questions: as many of each.
        half = MOST_DRAWN // 2 if any(pair.swapped_copy for pair in dataset.pairs) else MOST_DRAWN
        chosen = [
            i
            for copies in (False, True)
            for i in [i for i, pair in enumerate(dataset.pairs) if pair.swapped_copy == copies][:half]
        ]
        self._place = {i: place for place, i in enumerate(chosen)}
        self._pairs = [dataset.pairs[i] for i in chosen]
        self._read: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        for column, pair in enumerate(pairs):
            if pair in self._place:
                self._read[self._place[pair]] = positive[:, column].clone(), negative[:, column].clone()

    def scatter(self, layers: Sequence[int]) -> Scatter:
        """Along the principal components at each of the layers that were read."""
        read = [self._read[place] for place in range(len(self._pairs))]
        positive, negative = (torch.stack(side, dim=1) for side in zip(*read, strict=True))
        found = [principal_components(*sides) for sides in zip(positive, negative, strict=True)]
        x, y = ([_rounded(points[:, axis]) for points, _, _ in found] for axis in (0, 1))
        answers = [[pair.positive for pair in self._pairs], [pair.negative for pair in self._pairs]]
        choices = all(pair.is_choice for pair in self._pairs)
        return Scatter(
            list(layers),
            [answer if choices else "" for side in answers for answer in side],
            [True] * len(self._pairs) + [False] * len(self._pairs),
            x,
            y,
            [_rounded(explained) for _, explained, _ in found],
            [_rounded(along) for _, _, along in found],
        )


def principal_components(
    positive: torch.Tensor, negative: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of what was read at positive and at negative answers, [pairs, hidden_size] each, all of it centred together.

    Positive answers lie to the right, and above: a component's sign is that of the mean difference along it. Returns
    coordinates [2 · pairs, 2], positive first; shares of the variance [2]; |cosine| with the mean difference [2].
    """
    points = torch.cat([positive, negative])
    points = points - points.mean(0)
    _, sizes, directions = torch.linalg.svd(points, full_matrices=False)
    difference = (positive - negative).mean(0)
    directions = directions[:2]
    agreement = directions @ torch.nn.functional.normalize(difference, dim=0)
    signs = torch.where(agreement < 0, -1.0, 1.0)
    shares = sizes[:2] ** 2 / (sizes**2).sum().clamp(min=1e-30)
    return points @ (directions * signs[:, None]).T, shares, agreement.abs()


def cosines_between_layers(vector: SteeringVector) -> list[list[float]]:
    """Cosine between a vector's directions at every two of its layers, [layers][layers]."""
    return _cosines(list(vector.layers.values()))


def cosines_between(vectors: Sequence[SteeringVector], layer: int) -> list[list[float]]:
    """Cosine between vectors at a layer, [vectors][vectors].

    Raises:
        InputError: one does not have that layer, or another size.
    """
    if len({vector.hidden_size for vector in vectors}) > 1:
        raise InputError("These vectors have different sizes, so they belong to different models.")
    return _cosines([vector.at(layer) for vector in vectors])


def _cosines(directions: Sequence[torch.Tensor]) -> list[list[float]]:
    unit = torch.nn.functional.normalize(torch.stack(list(directions)), dim=1)
    return (unit @ unit.T).tolist()


def _rounded(values: torch.Tensor) -> list[float]:
    """What a figure needs of numbers, in four significant digits."""
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
