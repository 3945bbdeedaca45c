"""What was measured of each item: unsteered, and steered at each layer and multiplier, with its text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caa_core.data.pairs import ContrastPair
from caa_core.metrics.anti_steerability import pushed
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import plain, restored

# Numbers that are kept of all cells together, their decimals, and characters of a text.
MOST_NUMBERS, DECIMALS, LONGEST = 20_000, 6, 400

RIGHT, WRONG, UNCHANGED = "right way", "wrong way", "not moved"

NAMES = {1: RIGHT, -1: WRONG, 0: UNCHANGED}


@dataclass(frozen=True)
class Item:
    """prompt: its number; items of one prompt count once where prompts are counted. Texts are cut at `LONGEST`."""

    line: int
    prompt: int
    text: str
    matching: str
    other: str


@dataclass(frozen=True)
class SteeredItems:
    """The items' values in one cell, [items]."""

    layer: int
    multiplier: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class ByItem:
    """The items by which verdicts are given: those with both letter orders, or all where none has two.

    unsteered: probability of the matching answer over both letter orders, or of free text its preference in nats a
    token, [items]. steered: the same in every cell, or in the proposed one alone where they would be too many.
    """

    items: tuple[Item, ...]
    unsteered: tuple[float, ...]
    steered: tuple[SteeredItems, ...]

    @classmethod
    def of(
        cls,
        items: Items,
        unsteered: np.ndarray,
        steered: Mapping[tuple[int, float], np.ndarray],
        best: tuple[int, float] | None = None,
    ) -> "ByItem":
        """Of values [judged items], unsteered and by layer and multiplier; best: the proposed cell."""
        places = [*steered]
        if len(places) * len(unsteered) > MOST_NUMBERS:
            places = [best or places[0]]
        return cls(
            tuple(_item(items.pairs[i], items.prompts[i]) for i in items.judged),
            _rounded(unsteered),
            tuple(SteeredItems(*place, _rounded(steered[place])) for place in places),
        )

    @classmethod
    def kept_in(cls, found: dict[str, Any]) -> "ByItem | None":
        """Of an evaluation's summary; None in what was kept before. Raises InputError for anything else."""
        return restored(cls, found["by_item"], "The measurement that was") if found.get("by_item") else None

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return plain(self)

    def at(self, layer: int, multiplier: float) -> tuple[float, ...] | None:
        """The items' values in a cell; None where they were not kept."""
        there = (one.values for one in self.steered if (one.layer, one.multiplier) == (layer, multiplier))
        return next(there, None)


def ways(unsteered: Sequence[float], steered: Sequence[float], multiplier: float) -> list[str]:
    """Which way each item is pushed, a value of `NAMES`."""
    sign = -1 if multiplier < 0 else 1
    changes = np.array(steered) - np.array(unsteered)
    return [NAMES[int(way)] for way in pushed(sign * changes)]


def _item(pair: ContrastPair, prompt: int) -> Item:
    return Item(pair.line, prompt, *(text[:LONGEST] for text in (pair.prompt, pair.positive, pair.negative)))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), DECIMALS) for value in values)
