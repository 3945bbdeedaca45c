"""How much memory people's things take, and which go first where there is too much of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from caa_core.errors import InputError
from caa_core.limits import KEPT_MB
from caa_core.vectors.vector import SteeringVector

MB = 1_000_000
# Bytes of a value or of a name beside its text, and of a list or an object.
VALUE, HOLDER = 60, 100


def size_of(data: Any) -> int:
    """About how many bytes plain data take."""
    if isinstance(data, str):
        return VALUE + len(data)
    if isinstance(data, dict):
        return HOLDER + sum(VALUE + len(str(name)) + size_of(value) for name, value in data.items())
    if isinstance(data, list | tuple):
        return HOLDER + sum(map(size_of, data))
    return VALUE


def size_of_vector(vector: SteeringVector) -> int:
    """Bytes of all its layers."""
    return sum(layer.numel() * layer.element_size() for layer in vector.layers.values())


@dataclass
class Holdings:
    """What one person holds: bytes by name, and when it was put there, oldest first. `gone` are the names of what had
    to go and was not said yet. `clock` gives seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    vectors: dict[str, int] = field(default_factory=dict)
    others: dict[str, tuple[float, int]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of all of it."""
        return sum(self.vectors.values()) + sum(size for _, size in list(self.others.values()))

    def check(self, vector: SteeringVector) -> None:
        """Raises InputError where there is no room for one more vector."""
        if sum(self.vectors.values()) + size_of_vector(vector) > KEPT_MB.value * MB:
            raise InputError(f"Your vectors take {KEPT_MB.value} MB, which is all that there is: delete one first.")

    def put(self, name: str, size: int) -> list[str]:
        """Note a result or other data. Returns the names of the oldest that have to go for it, but never its own."""
        self.others.pop(name, None)
        self.others[name] = self.clock(), size
        going, over = [], self.total - KEPT_MB.value * MB
        for other, (_, taken) in list(self.others.items())[:-1]:
            if over <= 0:
                break
            going.append(other)
            over -= taken
        return going


def oldest(held: Iterable[Holdings]) -> tuple[Holdings, str] | None:
    """Of all that several people hold besides vectors, what was put there first, and whose it is."""
    found = [(next(iter(one.others.items())), one) for one in held if one.others]
    if not found:
        return None
    (name, _), whose = min(found, key=lambda one: one[0][1][0])
    return whose, name
