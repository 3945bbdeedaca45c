"""Vectors behave like numbers: each operation works layer by layer and writes itself into the provenance."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from caa_core.errors import InputError
from caa_core.vectors import SteeringVector

# A remainder below this share of a vector is rounding, not a direction.
NOTHING = 1e-6

LayerRule = Callable[[int], torch.Tensor]


def add(a: SteeringVector, b: SteeringVector) -> SteeringVector:
    """a + b, at the layers that both have."""
    return _combined(f"{a.name} + {b.name}", a, b, lambda n: a.at(n) + b.at(n))


def subtract(a: SteeringVector, b: SteeringVector) -> SteeringVector:
    """a - b, at the layers that both have."""
    return _combined(f"{a.name} - {b.name}", a, b, lambda n: a.at(n) - b.at(n))


def scale(a: SteeringVector, factor: float) -> SteeringVector:
    """a times a number."""
    return _derived(f"{factor:g} * {a.name}", a, a.layers, lambda n: factor * a.at(n))


def negate(a: SteeringVector) -> SteeringVector:
    """The opposite direction."""
    return _derived(f"-{a.name}", a, a.layers, lambda n: -a.at(n))


def normalise(a: SteeringVector) -> SteeringVector:
    """Norm 1 at each layer."""
    return _derived(f"{a.name} / norm", a, a.layers, lambda n: a.at(n) / a.at(n).norm())


def project_off(a: SteeringVector, b: SteeringVector) -> SteeringVector:
    """a without its part along b: at each layer the result is orthogonal to b."""
    return _combined(f"{a.name} without {b.name}", a, b, lambda n: a.at(n) - _along(a.at(n), b.at(n)))


def equal_norms(vectors: Sequence[SteeringVector]) -> list[SteeringVector]:
    """Behaviours made comparable: at each layer all vectors get their mean norm.

    Panickssery et al., arXiv 2312.06681, normalise vectors across behaviours so that a multiplier means the same for
    each of them.
    """
    layers = _shared_layers(vectors)
    norms = {n: sum(vector.norm(n) for vector in vectors) / len(vectors) for n in layers}
    return [
        _derived(f"{vector.name}, equal norm", vector, layers, lambda n, v=vector: v.at(n) * norms[n] / v.norm(n))
        for vector in vectors
    ]


def _along(v: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    return (v @ direction) / (direction @ direction) * direction


def _shared_layers(vectors: Sequence[SteeringVector]) -> list[int]:
    first = vectors[0]
    for other in vectors[1:]:
        prints = {first.provenance.model_fingerprint, other.provenance.model_fingerprint} - {""}
        if other.hidden_size != first.hidden_size or len(prints) > 1:
            raise InputError(f"'{first.name}' and '{other.name}' were made on different models and cannot be combined.")
    layers = sorted(set.intersection(*(set(vector.layers) for vector in vectors)))
    if not layers:
        names = ", ".join(f"'{vector.name}'" for vector in vectors)
        raise InputError(f"{names} have no layer in common.")
    return layers


def _combined(name: str, a: SteeringVector, b: SteeringVector, rule: LayerRule) -> SteeringVector:
    made = _derived(name, a, _shared_layers([a, b]), rule)
    # Where both came from one set it is still true; else the operation says what went in, and no single set does.
    same = a.provenance.dataset_sha256 == b.provenance.dataset_sha256
    return (
        made if same else replace(made, provenance=replace(made.provenance, dataset="", dataset_sha256="", num_pairs=0))
    )


def _derived(name: str, a: SteeringVector, layers: Sequence[int] | dict, rule: LayerRule) -> SteeringVector:
    made = {n: rule(n) for n in layers}
    for n, vector in made.items():
        if vector.norm() <= NOTHING * a.at(n).norm():
            raise InputError(f"'{name}' is zero at layer {n}: nothing is left.")
    norms = {n: norm for n, norm in a.residual_norms.items() if n in made}
    return SteeringVector(name, made, norms, replace(a.provenance, operations=name))
