"""How a vector was made, as a small file from which it is made again: neither its numbers nor its pairs stand there.

JSON, one object: `format` = `caa-recipe`, `format_version` = 1, and the fields of `Recipe`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.data.pairs import Dataset
from caa_core.data.presets import pairs_behind, pairs_in
from caa_core.data.text import clean
from caa_core.errors import InputError

if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel
    from caa_core.vectors.vector import SteeringVector

FORMAT, VERSION = "caa-recipe", 1
MAX_BYTES = 200_000
# How far norms may lie apart, beside their size, that are called the same: what other machines round otherwise.
ROUNDING = 0.01
TEXTS = ("name", "model", "model_fingerprint", "method", "read_position", "dataset")
HASHES = ("dataset_sha256", "pairs_sha256", "vector_sha256")


@dataclass(frozen=True)
class Recipe:
    """What a vector was made from and how, by the names of `vector.Provenance`. norms: of its layers, by their numbers.
    vector_sha256: of its numbers (`SteeringVector.sha256`).
    """

    name: str
    model: str
    model_fingerprint: str
    method: str
    read_position: str
    dataset: str
    dataset_sha256: str
    num_pairs: int
    pairs_sha256: str
    vector_sha256: str
    norms: Mapping[int, float]

    @classmethod
    def of(cls, vector: "SteeringVector") -> "Recipe":
        """Raises InputError for a vector that does not say how it was made, or that was changed since."""
        was = vector.provenance
        if was.operations:
            raise InputError(f"{vector.name} was changed since it was made, so it has no recipe: give its file along.")
        if not (was.method and was.read_position and was.pairs_sha256):
            raise InputError(f"{vector.name} does not say how it was made, so it has no recipe: give its file along.")
        known = {one.name: getattr(was, one.name) for one in fields(cls) if hasattr(was, one.name)}
        norms = {layer: float(f"{vector.norm(layer):.6g}") for layer in vector.layers}
        return cls(name=vector.name, vector_sha256=vector.sha256, norms=norms, **known)

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Raises InputError for a file that is no recipe, or cannot be read."""
        source = clean(path.name)
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"There is no file {source} that can be read.") from error
        try:
            found = json.loads(content) if len(content) <= MAX_BYTES else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise InputError(f"{source} is no recipe of a vector: a JSON file with the format {FORMAT} is read.")
        if found.get("format_version") != VERSION:
            raise InputError(f"{source} has format version {str(found.get('format_version'))[:20]}; {VERSION} is read.")
        try:
            return cls._of_fields(found)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{source} is a recipe with a field that is missing or cannot be read.") from error

    @classmethod
    def _of_fields(cls, found: Mapping[str, Any]) -> "Recipe":
        """Raises KeyError, TypeError, ValueError, AttributeError or OverflowError for what makes no sense."""
        texts = {name: clean(found[name]) for name in TEXTS}
        hashes = {name: found[name] for name in HASHES}
        if not all(re.fullmatch("[0-9a-f]{64}", one) for one in hashes.values()):
            raise ValueError
        norms = {int(layer): float(norm) for layer, norm in found["norms"].items()}
        if not norms or min(norms) < 0 or not all(0 < norm < float("inf") for norm in norms.values()):
            raise ValueError
        return cls(**texts, **hashes, num_pairs=int(found["num_pairs"]), norms=norms)

    def write(self, path: Path) -> None:
        """Raises OSError where that cannot be."""
        said = {"format": FORMAT, "format_version": VERSION, **asdict(self)}
        path.write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")

    def pairs(self, data: Dataset | None = None) -> Dataset:
        """The very pairs, as a preset has them or out of `data`.

        Raises:
            InputError: they are not a preset's and no data are given, or are not among these.
        """
        found = pairs_in(data, self) if data else pairs_behind(self)
        if found:
            return found
        if not data:
            raise InputError(f"The recipe's pairs ({self.dataset}) are no preset's: give their file with --data.")
        raise InputError(
            f"The {len(data.pairs)} pairs of {data.name} are not those that the recipe's vector was made from: these "
            f"are {self.num_pairs} of {self.dataset}, with the sha256 {self.pairs_sha256[:12]}..."
        )

    def differences(self, model: "SteerableModel", vector: "SteeringVector") -> str:
        """How what was made by it now lies beside what it was written of, in a sentence."""
        if vector.sha256 == self.vector_sha256:
            return "It is the recipe's vector, number by number."
        furthest = max(abs(vector.norm(layer) / norm - 1) for layer, norm in self.norms.items())
        weights = (
            "" if self.model_fingerprint in (model.fingerprint, *model.also) else " The model's weights are others."
        )
        alike = "to rounding" if furthest <= ROUNDING else f"not: they differ by up to {furthest:.1%}"
        return f"Its norms are those of the recipe's vector {alike}.{weights}"
