"""How many files are drawn."""

import os

from hypothesis import HealthCheck, settings


def hostile(examples: int) -> settings:
    """A fifth of so many, the same at every run; with `CAA_FULL=1` (`make soak`) all of them, other ones each time."""
    full = bool(os.environ.get("CAA_FULL"))
    return settings(
        max_examples=examples if full else max(examples // 5, 1),
        derandomize=not full,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
