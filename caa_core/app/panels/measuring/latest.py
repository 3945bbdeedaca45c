"""The latest evaluation, and the items that it was of: what other measurements go on from."""

from dataclasses import asdict
from typing import Any

from caa_core.app.made_from import dataset_of
from caa_core.app.sessions import Person
from caa_core.data.pairs import Dataset
from caa_core.errors import InputError

# The names under which both are kept.
EVALUATION, ITEMS = "measure", "measure-items"


def keep_items(person: Person, items: Dataset) -> None:
    """Note what is measured on, for figures that are asked for later."""
    person.remember(ITEMS, asdict(items))


def name_of_latest(person: Person) -> str:
    """What was measured last, in words."""
    kept, items = (person.results.get(name) or {} for name in (EVALUATION, ITEMS))
    return f"{(kept.get('asked') or {}).get('vector')} on {items.get('name')}" if kept else "nothing"


def measured(person: Person) -> tuple[dict[str, Any], Dataset]:
    """What was asked of the last measurement, and its items. Raises InputError where there is none."""
    kept, items = (person.results.get(name) for name in (EVALUATION, ITEMS))
    if not kept or not items:
        raise InputError("Measure under Layers and multipliers first: this is about what was measured there.")
    try:
        return kept["asked"], dataset_of(items)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError("The measurement that was kept cannot be read; measure again.") from error
