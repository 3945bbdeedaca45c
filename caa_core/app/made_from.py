"""The pairs that a person's vectors were made from, whose labels a verdict shuffles, and those that were held out."""

from dataclasses import asdict
from typing import Any

from caa_core.app.sessions import Person
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import pairs_behind, preset_behind, presets
from caa_core.vectors.splits import prompts_of
from caa_core.vectors.vector import SteeringVector

# The names under which they are kept, by the hash of what the vector was made from.
MADE_FROM, HELD_OUT = "made-from", "held-out"


def keep_pairs(person: Person, pairs: Dataset, held_out: Dataset | None = None) -> None:
    """Note what a vector was made from, as long as there is one of it; a preset's are found without. And what of its
    pairs was held out.
    """
    there = {
        vector.provenance.pairs_sha256 for vector in person.vectors.values() if not pairs_behind(vector.provenance)
    }
    for name, kept in ((MADE_FROM, pairs), (HELD_OUT, held_out)):
        known = {**(person.results.get(name) or {}), **({pairs.pairs_sha256: asdict(kept)} if kept else {})}
        if known:
            person.remember(name, {sha256: one for sha256, one in known.items() if sha256 in there})


def pairs_of(person: Person, vector: SteeringVector) -> Dataset | None:
    """The very pairs of a vector; None where they are not known."""
    return pairs_behind(vector.provenance) or _kept(person, MADE_FROM, vector)


def held_out_of(person: Person, vector: SteeringVector) -> Dataset | None:
    """What a vector can be measured on: a preset's held-out items, or the pairs that were held out when it was made;
    None where there are none.
    """
    preset = preset_behind(vector.provenance.dataset_sha256)
    return preset.test() if preset else _kept(person, HELD_OUT, vector)


def _kept(person: Person, name: str, vector: SteeringVector) -> Dataset | None:
    try:
        return dataset_of(person.results[name][vector.provenance.pairs_sha256])
    except (KeyError, TypeError, AttributeError):
        return None


def unlike(person: Person, name: str, items_of: str, items: Dataset) -> str:
    """What is to be said of items on which a vector of that name is measured: that they are of something else, or what
    it was made from. items_of: the preset whose they are, where they are one's. Empty where nothing is.
    """
    vector = person.vectors.get(name)
    preset = preset_behind(vector.provenance.dataset_sha256) if vector else presets().get(name)
    made = preset.name if preset else vector.provenance.dataset if vector else ""
    if items_of and items_of != made:
        return f"These items are of {items_of}, and the vector {name} was made from {made or 'other data'}."
    own = pairs_of(person, vector) if vector else preset and preset.dataset()
    made_from = own.pairs if own else ()
    of = prompts_of([*made_from, *items.pairs])
    known = set(of[: len(made_from)])
    same = sum(prompt in known for prompt in of[len(made_from) :])
    if not same:
        return ""
    return (
        f"The vector {name} was made from {same} of these {len(items.pairs)} items, or their prompts: what is measured "
        "on them looks better than it is."
    )


def dataset_of(kept: Any) -> Dataset:
    """A dataset from plain data. Raises TypeError, KeyError or AttributeError for anything else."""
    pairs = tuple(
        ContrastPair(**{**pair, "history": tuple(map(tuple, pair.get("history", ())))}) for pair in kept["pairs"]
    )
    return Dataset(**{**kept, "pairs": pairs})
