"""The pairs that a person's vectors were made from: a verdict shuffles their labels."""

from dataclasses import asdict
from typing import Any

from caa_core.app.sessions import Person
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import pairs_behind
from caa_core.vectors.vector import SteeringVector

# The name under which they are kept, by their hash.
MADE_FROM = "made-from"


def keep_pairs(person: Person, pairs: Dataset) -> None:
    """Note what a vector was made from, as long as there is one of it; a preset's are found without."""
    there = {
        vector.provenance.pairs_sha256 for vector in person.vectors.values() if not pairs_behind(vector.provenance)
    }
    known = {**(person.results.get(MADE_FROM) or {}), pairs.pairs_sha256: asdict(pairs)}
    person.remember(MADE_FROM, {sha256: kept for sha256, kept in known.items() if sha256 in there})


def pairs_of(person: Person, vector: SteeringVector) -> Dataset | None:
    """The very pairs of a vector; None where they are not known."""
    if found := pairs_behind(vector.provenance):
        return found
    try:
        return dataset_of(person.results[MADE_FROM][vector.provenance.pairs_sha256])
    except (KeyError, TypeError, AttributeError):
        return None


def dataset_of(kept: Any) -> Dataset:
    """A dataset from plain data. Raises TypeError, KeyError or AttributeError for anything else."""
    pairs = tuple(
        ContrastPair(**{**pair, "history": tuple(map(tuple, pair.get("history", ())))}) for pair in kept["pairs"]
    )
    return Dataset(**{**kept, "pairs": pairs})
