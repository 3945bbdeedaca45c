"""Directions whose effect is known, and such as have none in common."""

import torch

from caa_core.metrics.controls import ShuffledLabels
from caa_core.progress import finish
from caa_core.steering.activations import read_all
from caa_core.steering.read_position import AUTOMATIC
from caa_core.vectors.vector import Provenance, SteeringVector


def random_vector(model, seed=0):
    return torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(seed))


def towards(model, one, other, size):
    """A vector at the last layer that makes one token more probable and another one less."""
    tokens = [model.tokenizer(text).input_ids[-1] for text in (one, other)]
    weight = model.head._module.weight
    return SteeringVector(
        "planted",
        {3: size * torch.nn.functional.normalize(weight[tokens[0]] - weight[tokens[1]], dim=0)},
        {},
        Provenance(),
    )


def shuffled_controls(model, dataset, vector, layers, count, position=AUTOMATIC):
    """Vectors from the pairs with their labels exchanged by coins, with the norm of `vector`, as a study has them."""
    shuffled = ShuffledLabels(dataset, count, 0)
    finish(read_all(model, dataset, layers, position, shuffled))
    return shuffled.controls(vector, layers)
