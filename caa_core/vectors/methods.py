"""From what was read at pairs of answers to one direction a layer. Tensors in, tensors out: no model in here.

PCA and probe only give a direction; it gets the length that the mean difference has along it, so that a multiplier of 1
moves the residual stream as far along it as the pairs lie apart on average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from caa_core.errors import InputError

# Which methods there are is asked for where none is run, so torch and sklearn come with the first that needs them.
if TYPE_CHECKING:
    import torch

# From what was read at positive and at negative answers, [pairs, hidden_size] each, to [hidden_size]; all float32.
Method = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def mean_difference(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """The mean of positive minus negative: Panickssery et al., arXiv 2312.06681, section 3."""
    return (positive - negative).mean(0)


def pca(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """First principal direction of the differences: Zou et al., "Representation Engineering", arXiv 2310.01405.

    The differences are not centred, since their mean is what is looked for, and the sign is that of the mean.
    """
    from torch.linalg import svd

    direction = svd(positive - negative, full_matrices=False).Vh[0]
    return _as_long_as_the_mean(direction, positive, negative)


def probe(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Weights of a logistic regression that tells positive from negative answers.

    Li et al., "Inference-Time Intervention", arXiv 2306.03341, compare this direction with the mean difference.
    """
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = torch.cat([positive, negative]).double().numpy()
    labels = [1] * len(positive) + [0] * len(negative)
    scaler, classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, labels)
    direction = torch.from_numpy(classifier.coef_[0] / scaler.scale_).float()
    return _as_long_as_the_mean(direction, positive, negative)


def single(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """The difference of one pair, and it is given no more: Turner et al., "Activation Addition", arXiv 2308.10248.

    A question in both letter orders counts as one pair.
    """
    return mean_difference(positive, negative)


METHODS: dict[str, Method] = {"mean-difference": mean_difference, "pca": pca, "probe": probe, "single": single}
MEAN_DIFFERENCE = "mean-difference"


def method_named(name: str) -> Method:
    """Raises InputError for a name that is not in `METHODS`."""
    if name not in METHODS:
        raise InputError(f"There is no method {name[:40]!r}: choose one of {', '.join(METHODS)}.")
    return METHODS[name]


def _as_long_as_the_mean(direction: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    unit: torch.Tensor = direction / direction.norm().clamp(min=1e-30)
    return unit * (unit @ mean_difference(positive, negative))
