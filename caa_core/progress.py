"""How far a long piece of work has come.

Long work in this package is a generator: it yields `Progress` (or results as they come) and returns its
result. Whoever drives it decides the pace, and stops it by closing it; see :mod:`caa_core.service`.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass
class Progress:
    """`done` of `total` units, where `cost` counts the work itself (tokens) when units differ in size.

    `note` is something to know about the data that only the work could tell.
    """

    total: int
    unit: str
    total_cost: float
    done: int = 0
    cost: float = 0.0
    note: str = ""
    started: float = field(default_factory=time.monotonic)

    def advance(self, units: int, cost: float) -> "Progress":
        self.done += units
        self.cost += cost
        return self

    @property
    def fraction(self) -> float:
        return self.cost / self.total_cost if self.total_cost else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the end, or None before anything was done."""
        if not self.cost:
            return None
        return (time.monotonic() - self.started) * (1 - self.fraction) / self.fraction

    def __str__(self) -> str:
        left = self.seconds_left
        return f"{self.done} of {self.total} {self.unit}" + ("" if left is None else f", about {left:.0f} s left")


def finish(work: Generator[Any, None, Result], on_event: Callable[[Any], None] = lambda event: None) -> Result:
    """Run `work` to its end here and now and return its result."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        on_event(event)
