"""How far steering moves the distribution over the next token."""

import math

import torch

# Logits whose exponentials are summed together on a CPU: so many stay in a core's cache.
TOGETHER = 200_000


def log_sums(logits: torch.Tensor) -> torch.Tensor:
    """log of the sum of exponentials over the vocabulary, [...] of logits [..., vocabulary]: what log-probabilities are
    less than logits. torch's own writes as many numbers anew as it reads.
    """
    if logits.device.type != "cpu":
        return logits.logsumexp(-1)
    rows, ones = logits.flatten(0, -2), logits.new_ones(logits.shape[-1])
    parts = []
    for part in torch.split(rows, max(1, TOGETHER // logits.shape[-1])):
        most = part.amax(-1, keepdim=True)
        parts.append(((part - most).exp_() @ ones).log_() + most[:, 0])
    return torch.cat(parts).view(logits.shape[:-1])


def kl_divergence(unsteered: torch.Tensor, steered: torch.Tensor, sums: torch.Tensor | None = None) -> torch.Tensor:
    """KL(unsteered ‖ steered) in nats, [places, runs], of log-probabilities [places, vocabulary] and [places, runs,
    vocabulary]; of `steered` logits where their `log_sums` [places, runs] are given.

    What rounding leaves below 0 is 0. Where the model's numbers have overflowed to NaN, it is infinite.
    """
    probability = unsteered.exp()
    # A product of one row with one column adds its terms up one by one in float32, which is a thousandth of a nat off.
    if steered.shape[1] > 1:
        crossed = torch.bmm(steered, probability[..., None])[..., 0]
    else:
        crossed = (steered * probability[:, None]).sum(-1)
    apart = (unsteered * probability).sum(-1, keepdim=True) - crossed
    if sums is not None:  # probabilities sum to 1 but for rounding, which logits are much larger than
        apart += sums * probability.sum(-1, keepdim=True)
    return apart.clamp(min=0).nan_to_num(nan=math.inf, posinf=math.inf)
