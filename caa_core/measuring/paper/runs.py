"""The table of what was scored for a behaviour."""

from collections.abc import Sequence

from caa_core.measuring.sweep import Place, RunScores, checked
from caa_core.steering.interventions import Steer

# What a run is for. `OWN` and `GIVEN`: the vector of a layer, and the one in the letter order given, added there.
# `TRANSFERRED`: the vector of the layer that was chosen, added at another one. `RANDOM`: controls.
OWN, GIVEN, TRANSFERRED, RANDOM = "own", "given", "transferred", "random"


class ScoredRuns:
    """Scores of runs by what they are for and, within that, by layer and multiplier; and of the unsteered model."""

    def __init__(self) -> None:
        self._baseline: RunScores | None = None
        self._scores: dict[str, dict[Place, list[RunScores]]] = {}

    @property
    def baseline(self) -> RunScores:
        assert self._baseline, "nothing is scored yet"
        return self._baseline

    def add(self, wanted: Sequence[tuple[str, Steer]], scores: Sequence[RunScores]) -> None:
        """Scores of the unsteered model, and of what was wanted. Raises InputError where numbers overflowed."""
        baseline, *found = scores
        self._baseline = self._baseline or baseline
        for (kind, steer), one in zip(wanted, found, strict=True):
            place = steer.layer, steer.multiplier
            self._scores.setdefault(kind, {}).setdefault(place, []).append(checked(place, one))

    def of(self, kind: str) -> dict[Place, RunScores]:
        """The runs of a kind that has one vector at each layer."""
        return {place: scores[0] for place, scores in self._scores.get(kind, {}).items()}

    def all_of(self, kind: str) -> dict[Place, list[RunScores]]:
        """The runs of a kind that has many vectors."""
        return self._scores.get(kind, {})
