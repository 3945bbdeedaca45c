"""Layers, multipliers and other numbers as people type them."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from caa_core.errors import InputError

MAX_MULTIPLIERS = 101
# Controls of each kind by exact passes: as many as there are by default, and as many as may be.
CONTROLS, MOST_CONTROLS = 20, 1000


def parse_multipliers(text: str) -> list[float]:
    """Multipliers of "-2,-1,0,1,2". Raises InputError for anything else."""
    try:
        return check_multipliers([float(part) for part in text.split(",")])
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{text[:60]!r} are not multipliers: give numbers such as -2,-1,0,1,2.") from error


def check_multipliers(multipliers: Sequence[float]) -> list[float]:
    """Distinct multipliers in rising order. Raises InputError for none, too many, or what is not finite."""
    found = sorted({float(m) + 0.0 for m in multipliers})  # + 0.0 makes -0.0 plain 0
    if not found or not np.isfinite(found).all():
        raise InputError("Give at least one multiplier, and only finite numbers.")
    if len(found) > MAX_MULTIPLIERS:
        raise InputError(f"{len(found)} multipliers are too many; {MAX_MULTIPLIERS} at most.")
    return found


def parse_layers(text: str, num_layers: int) -> list[int]:
    """Layer numbers of "all" or of a list such as "10,12-15". Raises InputError for anything else."""
    if text.strip().lower() in ("", "all"):
        return list(range(num_layers))
    layers: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if not re.fullmatch(r"\d{1,6}", first) or not re.fullmatch(r"\d{0,6}", last):
            raise InputError(f"{part!r} is not a layer: give all, or numbers and ranges such as 10,12-15.")
        low, high = int(first), int(last or first)
        if high < low:
            raise InputError(f"The layers {part} run backwards: write {high}-{low}.")
        if high >= num_layers:
            raise InputError(f"There is no layer {part}: this model's layers are 0 to {num_layers - 1}.")
        layers.update(range(low, high + 1))
    return sorted(layers)


def number(value: Any, what: str) -> float:
    """A number that came from outside; nothing is 0. Raises InputError where it is none that can be worked with."""
    try:
        found = float(value or 0)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what} must be a number.") from error
    if not math.isfinite(found):
        raise InputError(f"{what} must be a finite number.")
    return found


def whole(value: Any, what: str) -> int:
    """A number that came from outside; nothing is 0. Raises InputError where it is not a whole one."""
    if not (isinstance(value, int) or number(value, what).is_integer()):
        raise InputError(f"{what} must be a whole number.")
    return int(value or 0)


def check_controls(count: int) -> int:
    """Raises InputError for a number of controls that cannot be."""
    if not 1 <= count <= MOST_CONTROLS:
        raise InputError(f"Controls must be between 1 and {MOST_CONTROLS} of a kind, not {count}.")
    return count
