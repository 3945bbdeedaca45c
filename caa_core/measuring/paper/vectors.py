"""All that comes of one pass over a behaviour's pairs: its vector, controls, and a picture of the activations."""

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch

from caa_core.data.pairs import Dataset
from caa_core.measuring.paper.behaviours import Behaviour
from caa_core.measuring.paper.request import COMPONENTS, PaperRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.activations import read_all
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.extraction import extract
from caa_core.vectors.geometry import ProjectedPairs, Scatter
from caa_core.vectors.known_directions import layers_of
from caa_core.vectors.vector import SteeringVector


@dataclass(frozen=True, eq=False)
class BehaviourVectors:
    """A behaviour's vector, the same made in the letter order given (the same object where that is what it is), and
    what else came of reading the pairs.

    scatter: None where it was not asked for.
    """

    vector: SteeringVector
    given: SteeringVector
    pairs: Dataset
    scatter: Scatter | None

    @property
    def given_cosines(self) -> list[float] | None:
        """By layer, the cosine between the two vectors; None where they are the same."""
        if self.given is self.vector:
            return None
        pairs = zip(self.vector.layers.values(), self.given.layers.values(), strict=True)
        return [torch.cosine_similarity(a, b, dim=0).item() for a, b in pairs]


def make_vectors(
    model: SteerableModel, behaviour: Behaviour, request: PaperRequest
) -> Generator[Progress, None, BehaviourVectors]:
    """Read the pairs once for all that comes of them. Yields `Progress`."""
    pairs = behaviour.in_orders(request.letter_swap)
    drawn, in_order = ProjectedPairs(pairs), _MeanInOrder(pairs)
    wanted = COMPONENTS in request.experiments
    if behaviour.vector is None:
        vector = yield from extract(model, pairs, None, behaviour.name, also=(drawn, in_order), know=layers_of)
        given = vector if pairs is behaviour.pairs else replace(vector, layers=in_order.layers)
    else:
        vector = given = behaviour.vector
        if wanted:
            read_at = vector.provenance.read_position if behaviour.made_from else ""
            position = ReadPosition.parse(read_at) if read_at else AUTOMATIC
            yield from read_all(model, pairs, list(vector.layers), position, drawn)
    layers = list(vector.layers)
    return BehaviourVectors(
        vector=vector,
        given=given,
        pairs=pairs,
        scatter=drawn.scatter(layers) if wanted else None,
    )


class _MeanInOrder:
    """Collects the mean difference of pairs in the letter order given: `layers` is by layer."""

    def __init__(self, dataset: Dataset):
        kept = torch.tensor([float(not pair.swapped_copy) for pair in dataset.pairs])
        self._weights = kept / kept.sum()
        self._mean = torch.zeros(())

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        self._mean = self._mean + torch.einsum("p,lph->lh", self._weights[pairs], positive - negative)

    @property
    def layers(self) -> dict[int, torch.Tensor]:
        return {layer: direction.clone() for layer, direction in enumerate(self._mean)}
