"""What the paper's experiments found, behaviour by behaviour. No model is run in here."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.inspection import Alignment
from caa_core.measuring.sweep import SweepCell
from caa_core.measuring.verdict import Proposal, Verdict
from caa_core.metrics.correction import corrected_so_far
from caa_core.metrics.cross_fitting import EFFECT, LEVEL, UNDECIDED
from caa_core.metrics.plain_data import plain, restored
from caa_core.steering.operations import ADD
from caa_core.vectors.geometry import Scatter
from caa_core.vectors.vector import SteeringVector, assemble, load_vector

# Multipliers at which layers are compared.
PLUS, MINUS = 1.0, -1.0

WHAT = "The findings that were"


@dataclass(frozen=True)
class PromptArm:
    """The model told to show a behaviour, or not to, or nothing: cells at multipliers -1, 0 and 1 at the layer.

    Changes are against the unsteered model that is told nothing.
    """

    told: str
    system: str
    cells: tuple[SweepCell, ...]


@dataclass(frozen=True, eq=False)
class Findings:
    """What was measured of one behaviour.

    given_cosines: by layer, the cosine between the vector and one made in the letter order given; None where those are
    the same. unsteered, profile: cells of each layer at ±1. curve: of each multiplier at `layer`. transfer: of the
    vector of `layer`, added at each layer at ±1. arms: vector against system prompt; empty without instructions.
    band: by multiplier of the curve, the least and the most that random vectors of the same norm change. paper_profile,
    paper_curve: as the paper counts (vector and items in the order given, letters A and B only), the unsteered model's
    cell before the profile; empty where items have no letters. operation: what was done with every vector.
    """

    name: str
    measure: str
    vector: SteeringVector
    given_cosines: list[float] | None
    pairs: str
    test: str
    test_sha256: str
    num_items: int
    skipped: list[str]
    unsteered: SweepCell
    profile: tuple[SweepCell, ...]
    layer: int
    proposal: Proposal | None
    verdict: Verdict | None
    conclusion: str
    curve: tuple[SweepCell, ...]
    band: list[tuple[float, float, float]]
    transfer: tuple[SweepCell, ...]
    arms: tuple[PromptArm, ...]
    paper_profile: tuple[SweepCell, ...]
    paper_curve: tuple[SweepCell, ...]
    scatter: Scatter | None
    alignments: tuple[Alignment, ...]
    seconds: float
    operation: str = str(ADD)

    @property
    def is_choice(self) -> bool:
        return self.unsteered.probability is not None

    @property
    def used(self) -> str:
        """What was done with a vector, as a participle."""
        return "added" if self.operation == str(ADD) else f"used ({self.operation})"

    def summary(self) -> dict[str, Any]:
        """As plain data; of the vector, what `SteeringVector.summary` says."""
        vector = {**self.vector.summary(), "provenance": plain(self.vector.provenance)}
        return {**plain(self, without=["vector"]), "vector": vector}

    def pack(self) -> dict[str, Any]:
        """All of it as plain data, the vector's numbers too; `unpack` reads it back."""
        numbers = {layer: base64.b64encode(v.numpy().tobytes()).decode() for layer, v in self.vector.layers.items()}
        return {**self.summary(), "vector": {"metadata": self.vector.metadata(), "layers": numbers}}

    @classmethod
    def unpack(cls, kept: Any) -> "Findings":
        """What was packed. Raises InputError for anything else."""
        try:
            vector = _unpacked(kept["vector"])
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"{WHAT} kept cannot be read.") from error
        return restored(cls, kept, WHAT, vector=vector)


def _unpacked(kept: Any) -> SteeringVector:
    """A vector that was packed, or that of a preset, which results that ship name."""
    if "preset" in kept:
        return load_vector(presets()[kept["preset"]].vector_file)
    numbers = {
        int(layer): torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy())
        for layer, text in kept["layers"].items()
    }
    return assemble(numbers, kept["metadata"], "kept vector")


@dataclass(frozen=True, eq=False)
class Replication:
    """Findings on several behaviours, as far as they have come; `asked` are the names of all."""

    findings: tuple[Findings, ...]
    asked: tuple[str, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def shared_layer(self) -> int | None:
        """At which behaviours are set beside each other: the middle one of the layers at which they were measured.

        None where one of the vectors does not have it, or there is one behaviour only.
        """
        layers = sorted(found.layer for found in self.findings)
        middle = layers[len(layers) // 2]
        shared = len(layers) > 1 and all(middle in found.vector.layers for found in self.findings)
        return middle if shared else None

    @property
    def to_come(self) -> int:
        """How many behaviours were asked for and are not measured yet."""
        return max(0, len(self.asked) - len(self.findings))

    @property
    def corrected(self) -> dict[str, tuple[float, str]]:
        """By behaviour with a graded verdict its p, corrected over these and those that are still to come (Holm),
        and the grade that it leaves: an effect that is not told from controls among so many is not decided.
        """
        judged = [(one.name, one.verdict) for one in self.findings if one.verdict and one.verdict.grade]
        judged = [(name, verdict) for name, verdict in judged if verdict.p is not None]
        adjusted = corrected_so_far([verdict.p or 0.0 for _, verdict in judged], len(judged) + self.to_come).tolist()
        return {
            name: (p, UNDECIDED if verdict.grade == EFFECT and p > LEVEL else verdict.grade)
            for (name, verdict), p in zip(judged, adjusted, strict=True)
        }

    def concluded(self, one: Findings) -> str:
        """What is concluded of a behaviour among the others: no effect is called one that is not told from controls
        among so many.
        """
        p, grade = self.corrected.get(one.name, (0.0, ""))
        if not one.verdict or one.verdict.grade != EFFECT or grade == EFFECT:
            return one.conclusion
        return (
            f"Not decided: by itself it is told from vectors that should do nothing, but not among "
            f"{len(self.corrected) + self.to_come} behaviours (p = {p:.2g}, Holm). "
            f"{one.conclusion.removeprefix(one.verdict.sentence).lstrip()}"
        )

    @property
    def screen(self) -> str:
        """What verdicts come to beside each other, in words; empty where there are not two."""
        if len(self.corrected) < 2:
            return ""
        which = {one.name: one.verdict.direction for one in self.findings if one.verdict}
        said = {
            name: f" {which[name]} the vector" if grade == EFFECT else "" for name, (_, grade) in self.corrected.items()
        }
        told = ", ".join(f"{name} {grade}{said[name]} (p = {p:.2g})" for name, (p, grade) in self.corrected.items())
        more = f" and {self.to_come} to come" if self.to_come else ""
        return f"Corrected over these {len(self.corrected)} behaviours{more} (Holm): {told}."

    def pack(self) -> dict[str, Any]:
        """All of it as plain data; `unpack` reads it back."""
        return {**plain(self, without=["findings"]), "findings": [found.pack() for found in self.findings]}

    @classmethod
    def unpack(cls, kept: Any) -> "Replication":
        """What was packed. Raises InputError for anything else."""
        try:
            findings = tuple(Findings.unpack(one) for one in kept["findings"])
        except (TypeError, KeyError) as error:
            raise InputError(f"{WHAT} kept cannot be read.") from error
        return restored(cls, kept, WHAT, findings=findings)

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "behaviours": [one.summary() | {"conclusion": self.concluded(one)} for one in self.findings],
            "corrected": {name: {"p": p, "grade": grade} for name, (p, grade) in self.corrected.items()},
            "asked": list(self.asked),
            "settings": self.settings,
            "provenance": self.provenance,
        }
