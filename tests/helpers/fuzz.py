"""How many files are drawn."""

from hypothesis import HealthCheck, settings

from tests.helpers.sizes import FULL


def hostile(examples: int) -> settings:
    """A fifth of so many, the same at every run; with `CAA_FULL=1` (`make soak`) all of them, other ones each time."""
    return settings(
        max_examples=examples if FULL else max(examples // 5, 1),
        derandomize=not FULL,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
