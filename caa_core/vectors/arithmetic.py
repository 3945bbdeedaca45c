"""Vectors behave like numbers: each operation works layer by layer and writes itself into the provenance."""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from caa_core.data.text import spans
from caa_core.errors import InputError
from caa_core.model.fingerprints import comparable
from caa_core.vectors.spread import spread
from caa_core.vectors.vector import UNKNOWN, Provenance, SteeringVector, check_layers

# A remainder below this share of a vector is rounding, not a direction.
NOTHING = 1e-6
# What makes a name or a formula one that needs brackets inside another.
OPERATOR = re.compile(r" [-+*/] |^-| without | over layer|, equal norm$")
# Papers that a vector made of two has where one of them has them; all others it has where both agree.
OF_THE_MODEL = ("model", "model_fingerprint", "model_architecture", "num_layers", "chat_template_sha256")

LayerRule = Callable[[int], torch.Tensor]


def add(a: SteeringVector, b: SteeringVector) -> SteeringVector:
    """a + b, at the layers that both have."""
    return _made("{} + {}", [a, b], _shared_layers([a, b]), lambda n: a.at(n) + b.at(n))


def subtract(a: SteeringVector, b: SteeringVector) -> SteeringVector:
    """a - b, at the layers that both have."""
    return _made("{} - {}", [a, b], _shared_layers([a, b]), lambda n: a.at(n) - b.at(n))


def scale(a: SteeringVector, factor: float) -> SteeringVector:
    """a times a number."""
    return _made(f"{factor:g} * {{}}", [a], a.layers, lambda n: factor * a.at(n))


def negate(a: SteeringVector) -> SteeringVector:
    """The opposite direction."""
    return _made("-{}", [a], a.layers, lambda n: -a.at(n))


def normalise(a: SteeringVector) -> SteeringVector:
    """Norm 1 at each layer."""
    return _made("{} / norm", [a], a.layers, lambda n: a.at(n) / a.at(n).norm())


def share_out(a: SteeringVector, layers: Sequence[int], shares: str) -> SteeringVector:
    """a at some layers, each times its share of a multiplier (see `spread`): what is added by one that these layers
    share is added by the same of this vector at each of them, as llama.cpp and repeng do. Raises what `spread` raises.
    """
    parts = {one.layer: one.multiplier for one in spread(a, layers, 1.0, shares=shares)}
    return _made(f"{{}} over {spans(layers)}, {shares} shares", [a], parts, lambda n: parts[n] * a.at(n))


def project_off(a: SteeringVector, b: SteeringVector) -> SteeringVector:
    """a without its part along b: at each layer the result is orthogonal to b."""
    return _made("{} without {}", [a, b], _shared_layers([a, b]), lambda n: a.at(n) - _along(a.at(n), b.at(n)))


def equal_norms(vectors: Sequence[SteeringVector]) -> list[SteeringVector]:
    """Behaviours made comparable: at each layer all vectors get their mean norm.

    Panickssery et al., arXiv 2312.06681, normalise vectors across behaviours so that a multiplier means the same for
    each of them.
    """
    layers = _shared_layers(vectors)
    norms = {n: sum(vector.norm(n) for vector in vectors) / len(vectors) for n in layers}

    def scaled(v: SteeringVector) -> SteeringVector:
        return _made("{}, equal norm", [v], layers, lambda n: v.at(n) * norms[n] / v.norm(n))

    return [scaled(vector) for vector in vectors]


def _along(v: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    return (v @ direction) / (direction @ direction) * direction


def _shared_layers(vectors: Sequence[SteeringVector]) -> list[int]:
    first = vectors[0]
    for other in vectors[1:]:
        if other.hidden_size != first.hidden_size or not _may_be_of_one_model(first.provenance, other.provenance):
            raise InputError(f"'{first.name}' and '{other.name}' were made on different models and cannot be combined.")
    layers = sorted(set.intersection(*(set(vector.layers) for vector in vectors)))
    if not layers:
        names = ", ".join(f"'{vector.name}'" for vector in vectors)
        raise InputError(f"{names} have no layer in common.")
    return layers


def _may_be_of_one_model(one: Provenance, other: Provenance) -> bool:
    """Vectors that do not say their architecture are from before folders were identified by their tensors."""
    prints = one.model_fingerprint, other.model_fingerprint
    architectures = one.model_architecture, other.model_architecture
    if "" in prints or prints[0] == prints[1]:
        return True
    return "" in architectures and not comparable(*prints)


def _made(form: str, given: Sequence[SteeringVector], layers: Collection[int], rule: LayerRule) -> SteeringVector:
    """What `rule` gives at each layer, under the name and with the provenance of what went in.

    Raises:
        InputError: nothing is left at a layer, or it is no longer finite.
    """
    name = form.format(*(_bracketed(vector.name) for vector in given))
    first = given[0]
    made = {n: rule(n) for n in layers}
    for n, direction in made.items():
        if direction.norm() <= NOTHING * first.at(n).norm():
            raise InputError(f"'{name}' is zero at layer {n}: nothing is left.")
    check_layers(made, f"'{name}'")
    norms = {n: norm for n, norm in first.residual_norms.items() if n in made}
    return SteeringVector(name, made, norms, _provenance(form, given))


def _provenance(form: str, given: Sequence[SteeringVector]) -> Provenance:
    provenance: dict[str, Any] = {}
    for name, unknown in UNKNOWN.items():
        said = {getattr(vector.provenance, name) for vector in given}
        known = said - {unknown} if name in OF_THE_MODEL else said
        provenance[name] = known.pop() if len(known) == 1 else unknown
    if len(given) > 1 and not provenance["dataset_sha256"]:
        provenance |= {"dataset": "", "num_pairs": 0}
    formulas = (vector.provenance.operations or vector.name for vector in given)
    return Provenance(**{**provenance, "operations": form.format(*map(_bracketed, formulas))})


def _bracketed(formula: str) -> str:
    return f"({formula})" if OPERATOR.search(formula) else formula
