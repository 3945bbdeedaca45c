"""How far steering moves the distribution over the next token."""

import math

import torch


def kl_divergence(unsteered: torch.Tensor, steered: torch.Tensor) -> torch.Tensor:
    """KL(unsteered ‖ steered) in nats, [places, runs], of log-probabilities [places, vocabulary] and [places, runs,
    vocabulary].

    What rounding leaves below 0 is 0. Where the model's numbers have overflowed to NaN, it is infinite.
    """
    probability = unsteered.exp()[..., None]
    apart = torch.bmm(unsteered[:, None], probability) - torch.bmm(steered, probability)
    return apart[..., 0].clamp(min=0).nan_to_num(nan=math.inf, posinf=math.inf)
