"""What steering does to the residual stream h of a token, by a vector v, its direction v̂ = v / ‖v‖ and a multiplier m.

add: h + m·v. Turner et al., arXiv 2308.10248; Panickssery et al., arXiv 2312.06681, section 3.
keep-norm: ‖h‖ (h + m·v) / ‖h + m·v‖, the addition without what it does to the norm. Zou et al., arXiv 2310.01405: what
their code calls `normalize`.
ablate: h - m (v̂·h) v̂. At m = 1 directional ablation, which leaves nothing along v: Arditi et al., arXiv 2406.11717,
section 2.4.
cap:C: h - m max(0, v̂·h - C) v̂. At m = 1 never more than C lies along v: activation capping, which Lu et al., arXiv
2601.10387, use the other way round, to hold a projection from below. C is in the units of v̂·h.

At m = 0 each leaves h as it is. Several sums at one layer (add, keep-norm) are one, of what they add; what is taken
away (ablate, cap) is taken afterwards, one by one.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caa_core.data.text import spans
from caa_core.errors import InputError

# Naming an operation takes no torch, so the command line does without until a model runs.
if TYPE_CHECKING:
    import torch

# What is offered; any number may stand behind cap.
OPERATIONS = ("add", "keep-norm", "ablate", "cap:0")
SUMS = ("add", "keep-norm")

# Of a sum whose direction is kept: far below any norm of a residual stream.
SMALLEST = 1e-30


@dataclass(frozen=True)
class Operation:
    """One of those above, by its name. cap: C."""

    name: str = "add"
    cap: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Operation":
        """Raises InputError for anything but the names above."""
        text = text.strip().lower()
        if text in ("add", "keep-norm", "ablate"):
            return cls(text)
        if match := re.fullmatch(r"cap:([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,2})?)", text):
            return cls("cap", float(match[1]) + 0.0)
        raise InputError(f"There is no operation {text[:40]!r}: choose add, keep-norm, ablate, or cap:C such as cap:0.")

    def __str__(self) -> str:
        if self.name != "cap":
            return self.name
        return f"cap:{self.cap:g}" if float(f"{self.cap:g}") == self.cap else f"cap:{self.cap!r}"

    @property
    def is_addition(self) -> bool:
        """Whether it is plain addition, for which alone estimates and sums of vectors hold."""
        return self.name == "add"

    @property
    def is_sum(self) -> bool:
        """Whether it adds something, so that its multiplier may be any number, and be shared among layers."""
        return self.name in SUMS

    @property
    def largest(self) -> float:
        """The multiplier beyond which it does no more of the same: all that lies along v can be taken once."""
        return math.inf if self.is_sum else 1.0


ADD = Operation()


def said_of(layers: Sequence[int], multiplier: float, operation: str) -> str:
    """Where a vector is used and how strongly, and what is done with it, where that is no addition."""
    if len(layers) > 1:
        return f"{spans(layers).capitalize()}, × {multiplier:g}{'' if operation == str(ADD) else f', {operation}'}"
    return f"Layer {layers[0]}, × {multiplier:g}{'' if operation == str(ADD) else f', {operation}'}"


def operated(
    operation: Operation, stream: "torch.Tensor", vector: "torch.Tensor", multiplier: "torch.Tensor | float"
) -> "torch.Tensor":
    """A residual stream [..., hidden_size] after an operation, with vectors and multipliers that broadcast to it
    ([..., hidden_size], [..., 1]); all in float32. A vector of nothing has no direction, and gives NaN.
    """
    if operation.is_sum:
        moved: torch.Tensor = stream + multiplier * vector
        if operation.is_addition:
            return moved
        kept: torch.Tensor = stream.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True).clamp(min=SMALLEST)
        return moved * kept
    unit: torch.Tensor = vector / vector.norm(dim=-1, keepdim=True)
    along: torch.Tensor = (stream * unit).sum(-1, keepdim=True)
    taken: torch.Tensor = along if operation.name == "ablate" else (along - operation.cap).clamp(min=0)
    return stream - multiplier * taken * unit
