"""One vector at several layers at once: what of its multiplier each of them gets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from caa_core.errors import InputError
from caa_core.steering.interventions import Steer
from caa_core.steering.operations import ADD, Operation

# Naming shares takes no torch, so the command line does without until a model runs.
if TYPE_CHECKING:
    from caa_core.vectors.vector import SteeringVector

EQUAL, BY_NORM, WHOLE = "equal", "norm", "whole"
SHARES = (EQUAL, BY_NORM, WHOLE)


def spread(
    vector: "SteeringVector",
    layers: Sequence[int],
    multiplier: float,
    operation: Operation = ADD,
    shares: str = EQUAL,
) -> tuple[Steer, ...]:
    """What is done with a vector at each of some layers, with its own direction there.

    What is added gets shares of the multiplier that sum to 1: equal ones; or by norm, so that what is added at each
    layer is in proportion to the median norm of the residual stream there. What is taken away is no quantity that could
    be divided: each layer gets the whole multiplier. So it does with whole shares, as llama.cpp and repeng add vectors.

    Raises:
        InputError: no layer, one that the vector does not have, or by norm, one of which it does not say the norm.
    """
    if not layers:
        raise InputError("Choose at least one layer.")
    parts = _parts(vector, layers, shares) if operation.is_sum and len(layers) > 1 else [1.0] * len(layers)
    return tuple(
        Steer(vector.at(layer), layer, part * multiplier, operation) for layer, part in zip(layers, parts, strict=True)
    )


def _parts(vector: "SteeringVector", layers: Sequence[int], shares: str) -> list[float]:
    if shares in (EQUAL, WHOLE):
        return [1 / len(layers) if shares == EQUAL else 1.0] * len(layers)
    if missing := [layer for layer in layers if layer not in vector.residual_norms]:
        raise InputError(
            f"The vector '{vector.name}' does not say how large the residual stream is at layer {missing[0]}, by which "
            "shares by norm go: choose equal ones."
        )
    # With these alone, what is added is as long beside the residual stream at each layer.
    alike = [vector.residual_norms[layer] / vector.norm(layer) for layer in layers]
    return [one / sum(alike) for one in alike]
