"""Vectors by what a person types: a preset's name, or a file."""

from collections.abc import Generator, Sequence
from pathlib import Path

from caa_core.data.presets import presets
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.vectors.extraction import preset_vector
from caa_core.vectors.formats import read_vector
from caa_core.vectors.vector import SteeringVector


def find_vector(
    model: SteerableModel, source: str | Path, layers: Sequence[int] | None = None
) -> Generator[Progress, None, SteeringVector]:
    """The vector in a file, or a preset's, which is made on the spot where it does not ship for this model.

    Args:
        layers: those that a vector made on the spot needs; all by default.

    Raises:
        InputError: no preset has this name, and the file cannot be read as a vector.
    """
    if str(source) in presets():
        return (yield from preset_vector(model, presets()[str(source)], layers))
    return read_vector(Path(source))
