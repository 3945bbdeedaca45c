"""How far the work on a behaviour has come, and what each of its parts costs beside the others."""

from collections.abc import Generator
from typing import Any

from caa_core.measuring.paper.behaviours import Behaviour
from caa_core.measuring.paper.request import LAYERS, MULTIPLIERS, PROMPTS, PaperRequest
from caa_core.progress import Progress, within

PARTS = 8  # of the work on one behaviour
VECTOR, ITEMS, BY_LAYER, AT_LAYER = "vector", "items", "effect by layer", "multipliers, controls, transfer"
JUDGED, WRITTEN, TOLD = "verdict", "answers written", "beside system prompts"
SIDES = POSITIVE, NEGATIVE = "positive", "negative"


def prompt_part(side: str) -> str:
    """The part in which the model is told to show a behaviour, or not to."""
    return f"{side} system prompt"


class Stages:
    """How far the work on a behaviour has come: its parts by name, each with its share of `cost`."""

    def __init__(self, progress: Progress, behaviour: Behaviour, request: PaperRequest, cost: float):
        self._progress, self._name = progress, behaviour.name
        shares = _shares(behaviour, request)
        total = sum(shares.values())
        self._shares = {part: cost * share / total for part, share in shares.items()}
        self._end = progress.cost + cost
        self._done = progress.done

    def run(self, part: str, work: Generator[Progress, None, Any]) -> Generator[Progress, None, Any]:
        """Do a part of the work. Yields `Progress` over all of it."""
        self._progress.unit = f"parts ({self._name}: {part})"
        yield self._progress
        found = yield from within(self._progress, work, self._shares[part])
        yield self._progress.advance(1, 0)
        return found

    def end(self) -> None:
        """All parts are done, also those that there was no need of."""
        self._progress.unit = "parts"
        self._progress.done = self._done + PARTS
        self._progress.cost = self._end


def cost_of(behaviour: Behaviour, request: PaperRequest) -> float:
    """What the work on a behaviour costs beside that on others."""
    return sum(_shares(behaviour, request).values())


def _shares(behaviour: Behaviour, request: PaperRequest) -> dict[str, float]:
    """What the parts cost beside each other, by the letters that go through the model."""
    read = behaviour.in_orders(request.letter_swap).pairs
    pairs = sum(len(p.prompt) + len(p.positive) + len(p.negative) + 100 for p in read)
    items = 2 * sum(len(p.prompt) + 100 for p in behaviour.test.pairs)
    ends = 2 * sum(len(p.positive) + len(p.negative) for p in behaviour.test.pairs)
    written = request.counts and MULTIPLIERS in request.experiments
    by_layer = LAYERS in request.experiments or request.layer is None
    prompts = bool(behaviour.instructions) and PROMPTS in request.experiments
    told = by_layer and request.judges and PROMPTS in request.experiments
    return {
        VECTOR: pairs,
        ITEMS: 0.01 * items,
        BY_LAYER: items + 60 * ends if by_layer else 0,
        JUDGED: pairs + items + 10 * ends if by_layer and request.judges else 0,
        TOLD: (items + ends) * (1 + 2 * len(behaviour.wordings)) if told and behaviour.wordings else 0,
        AT_LAYER: items + 150 * ends,
        WRITTEN: 10 * items if written else 0,
        **{prompt_part(side): items + 3 * ends if prompts else 0 for side in SIDES},
    }
