"""A behaviour's held-out items as they are, and as the paper counts them, scored in one go."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

from caa_core.data.pairs import Dataset
from caa_core.measuring.sweep import UNSTEERED, AnyPlace, Place, RunScores, Sweep, SweepCell, cells_of, measure_of
from caa_core.metrics.items import Items, choose_items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue
from caa_core.progress import Progress
from caa_core.steering.interventions import Positions
from caa_core.steering.operations import ADD, Operation


@dataclass(frozen=True)
class PaperItems:
    """Items that are scored together, under every run.

    all: the items, and behind them those that the paper's counting asks in another way. paper: the items as the paper
    counts them, None where items have no letters; places: where each of them stands among all.
    """

    items: Items
    all: Items
    paper: Items | None
    places: tuple[int, ...]

    @classmethod
    def choose(
        cls, model: SteerableModel, test: Dataset, positions: Positions, cue: Cue, operation: Operation = ADD
    ) -> Generator[Progress, None, "PaperItems"]:
        """Those of `test` that the model can be measured on. Yields `Progress`; raises what `choose_items` does."""
        items = yield from choose_items(model, test, positions, cue, operation=operation)
        if not test.is_lettered:
            return cls(items, items, None, ())
        paper = yield from choose_items(model, test, positions, cue, paper_counting=True)
        more = tuple(pair for pair in paper.pairs if pair not in items.pairs)
        together = replace(items, pairs=items.pairs + more, swapped=items.swapped + (None,) * len(more))
        return cls(items, together, paper, tuple(together.pairs.index(pair) for pair in paper.pairs))

    @property
    def measure(self) -> str:
        """What a cell's value is."""
        return measure_of(self.items)

    def own(self, scores: RunScores) -> RunScores:
        """What was scored of the items as they are."""
        return scores.some(range(len(self.items.pairs)))

    def cells(self, runs: Mapping[AnyPlace, RunScores], baseline: RunScores) -> tuple[SweepCell, ...]:
        """Means over the items as they are; `baseline` is of the unsteered model."""
        found = {place: self.own(scores) for place, scores in runs.items()}
        return tuple(cells_of(self.items, found, self.own(baseline)))

    def paper_cells(self, runs: Mapping[AnyPlace, RunScores], baseline: RunScores) -> tuple[SweepCell, ...]:
        """Means over the items as the paper counts them; none where items have no letters."""
        if not self.paper:
            return ()
        found = {place: scores.some(self.places) for place, scores in runs.items()}
        return tuple(cells_of(self.paper, found, baseline.some(self.places)))

    def sweep(self, name: str, runs: Mapping[Place, RunScores], baseline: RunScores) -> Sweep:
        """A vector's runs as a sweep over the items as they are."""
        (unsteered,) = self.cells({UNSTEERED: baseline}, baseline)
        kept = {place: self.own(scores) for place, scores in runs.items()}
        return Sweep(name, self.items, unsteered, self.cells(runs, baseline), self.own(baseline), kept)
