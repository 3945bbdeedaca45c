"""Two voices at once.

At one layer two vectors that are added are one sum. With S = (A + B) / 2, what they share, and O = (A - B) / 2, where
they oppose, a·A + b·B = (a + b)·S + (a - b)·O: at equal multipliers only S is left, at double strength.
"""

import math
from dataclasses import dataclass, replace

from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.vectors.arithmetic import add, scale, subtract
from caa_core.vectors.vector import SteeringVector

# Below this share of the parts' norms a sum counts as nothing.
CANCELS = 0.05

# A cosine beyond this is called agreement, or its opposite.
AGREES = 0.5


@dataclass(frozen=True)
class Decomposition:
    """Two voices as vectors, before anything is computed.

    cosine: between the two directions. agreement: between multiplier times vector of each. norm_a, norm_b: of
    multiplier times vector. sum_norm: of the sum, and `remains`, that over norm_a + norm_b. shared, opposed: how
    the squared norms of (a + b)·S and (a - b)·O divide. The last four are None where the voices lie at different
    layers, or not both are added, and so are not one sum. adds: whether both are.
    """

    cosine: float
    agreement: float
    norm_a: float
    norm_b: float
    sum_norm: float | None
    remains: float | None
    shared: float | None
    opposed: float | None
    adds: bool = True

    @property
    def verdict(self) -> str:
        """What the numbers say, in one sentence."""
        if not self.norm_a or not self.norm_b:
            silent = "A and B are" if not self.norm_a and not self.norm_b else "A is" if not self.norm_a else "B is"
            return f"{silent} switched off: a multiplier of 0 adds nothing."
        if not self.adds:
            return "Not both vectors are added: they are not one sum, and what comes of both has to be tried."
        if self.remains is None:
            return "The voices lie at different layers: they are not one sum, and what comes of both has to be tried."
        if self.remains < CANCELS:
            return "They cancel: next to nothing is left of the two, so both together is the unsteered model."
        left = f"{self.remains:.0%} of their added strength is left"
        if self.agreement > AGREES:
            return f"They mostly agree: {left}, and that is mostly what both share."
        if self.agreement < -AGREES:
            return f"They mostly cancel: {left}. What both share outlives them."
        return f"They are nearly independent: together they are {self.remains:.0%} as strong as both added."


def decompose(a: Voice, b: Voice) -> Decomposition:
    """Shares and norms of two voices that add a vector each; see `Decomposition`."""
    v, w = a.steer.vector.double(), b.steer.vector.double()
    by_a, by_b = a.steer.multiplier, b.steer.multiplier
    cosine = (v @ w / (v.norm() * w.norm())).item()
    agreement = cosine * math.copysign(1, by_a * by_b)
    norm_a, norm_b = abs(by_a) * v.norm().item(), abs(by_b) * w.norm().item()
    adds = a.adds and b.adds
    if a.steer.layer != b.steer.layer or not adds:
        return Decomposition(cosine, agreement, norm_a, norm_b, None, None, None, None, adds)
    shared = ((by_a + by_b) * (v + w) / 2).norm().item()
    opposed = ((by_a - by_b) * (v - w) / 2).norm().item()
    total = (by_a * v + by_b * w).norm().item()
    parts = norm_a + norm_b
    both = shared**2 + opposed**2
    return Decomposition(
        cosine,
        agreement,
        norm_a,
        norm_b,
        total,
        total / parts if parts else 0.0,
        shared**2 / both if both else 0.0,
        opposed**2 / both if both else 0.0,
    )


def same_strength(a: Voice, b: Voice) -> float | None:
    """The multiplier that gives `b` the relative strength of `a`, keeping its sign; None where a norm is not known."""
    unit = b.with_steer(multiplier=1.0).relative_strength
    if a.relative_strength is None or not unit:
        return None
    return math.copysign(a.relative_strength / unit, b.steer.multiplier or 1.0)


def shared_part(a: Voice, b: Voice) -> Voice | None:
    """S alone at a + b, where both voices are one sum that is something else; None where it would be the same thing as
    both (equal multipliers), or where there is no such sum (different layers, or not both are added), or nothing is
    left of S.
    """
    if a.steer.layer != b.steer.layer or a.steer.multiplier == b.steer.multiplier or not (a.adds and b.adds):
        return None
    layer = a.steer.layer
    try:
        both = scale(add(_only(a, layer), _only(b, layer)), 0.5)
    except InputError:
        return None
    return Voice.of(
        replace(both, name=f"what {a.name} and {b.name} share"), layer, a.steer.multiplier + b.steer.multiplier
    )


def without_shared(a: Voice, b: Voice) -> tuple[Voice, Voice]:
    """Both voices without what the two vectors share at each one's layer: O of A, and -O of B.

    Raises:
        InputError: a vector does not have the other's layer, or nothing is left; or the two are one sum at equal
            multipliers, of which nothing would be left; or not both are added.
    """
    if not (a.adds and b.adds):
        raise InputError("What both share is taken from vectors that are added, and here not both are.")
    if a.steer.layer == b.steer.layer and a.steer.multiplier == b.steer.multiplier:
        raise InputError("At one layer and equal multipliers the sum is only what both share; nothing would be left.")
    return _opposed(a, b), _opposed(b, a)


def less_shared(a: Voice, b: Voice) -> tuple[Voice, ...]:
    """As `without_shared`, each for itself, however little both together would be. None where these are no two vectors
    that can be subtracted, or share next to nothing.
    """
    if not (a.is_vector and b.is_vector):
        return ()
    try:
        apart = _opposed(a, b), _opposed(b, a)
    except InputError:
        return ()
    taken = [(one.steer.vector - whole.steer.vector).norm() for one, whole in zip(apart, (a, b), strict=True)]
    whole_norms = [one.steer.vector.norm() for one in (a, b)]
    return apart if all(part > CANCELS * norm for part, norm in zip(taken, whole_norms, strict=True)) else ()


def _opposed(voice: Voice, other: Voice) -> Voice:
    layer = voice.steer.layer
    own = _only(voice, layer)
    left = scale(subtract(own, _only(other, layer)), 0.5)
    name = f"{voice.name} without what both share"
    return Voice.of(replace(left, name=name, residual_norms=own.residual_norms), layer, voice.steer.multiplier)


def _only(voice: Voice, layer: int) -> SteeringVector:
    """A voice's vector, at one layer alone. Raises InputError where it has none there."""
    if not voice.vector:
        raise InputError(f"{voice.name} is no vector.")
    return replace(voice.vector, layers={layer: voice.vector.at(layer)})
