"""What vectors that other methods make of a vector's pairs do on its own cells, and at what cost."""

from collections.abc import Generator, MutableMapping
from dataclasses import dataclass

from caa_core.data.pairs import Dataset
from caa_core.errors import InputError
from caa_core.measuring.sweep import RunScores, Sweep, SweepCell, sweep
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, progress_of
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.vectors.extraction import extract
from caa_core.vectors.methods import MEAN_DIFFERENCE, METHODS
from caa_core.vectors.vector import SteeringVector


@dataclass(frozen=True, eq=False)
class OfMethod:
    """A vector that another method made of the same pairs, and what it does at the same layers and multipliers."""

    vector: SteeringVector
    cells: tuple[SweepCell, ...]


def others_of(vector: SteeringVector) -> list[str]:
    """The methods that a vector was not made by. A vector that does not say counts as a mean difference."""
    return [method for method in METHODS if method != (vector.provenance.method or MEAN_DIFFERENCE)]


def check_pairs(vector: SteeringVector, own: Dataset | None) -> None:
    """Raises InputError where the pairs that a vector was made from are not known."""
    if not own:
        raise InputError(
            f"What other methods make of the pairs of {vector.name} takes those pairs, which are not known here: give "
            "them (--made-from), or leave the other methods out."
        )


def by_other_methods(
    model: SteerableModel, swept: Sweep, vector: SteeringVector, own: Dataset, known: MutableMapping[str, RunScores]
) -> Generator[Progress, None, dict[str, OfMethod]]:
    """Make the vectors of all other methods, read where the vector was, and measure them where it was. Yields
    `Progress`.

    Args:
        own: the pairs that the vector was made from.
        known: as of `sweep`.

    Raises:
        InputError: what `extract` raises.
    """
    layers, multipliers = ([*dict.fromkeys(part)] for part in zip(*swept.readings, strict=True))
    read = ReadPosition.parse(vector.provenance.read_position or str(AUTOMATIC))
    found = {}
    for method in others_of(vector):
        made = yield from extract(model, own, swept.items.spread or layers, f"{vector.name} ({method})", read, method)
        done = yield from progress_of(sweep(model, swept.items, made, layers, multipliers, False, known))
        found[method] = OfMethod(made, done.cells)
    return found
