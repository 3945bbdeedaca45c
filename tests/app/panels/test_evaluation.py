"""What the page says of a verdict, and of items beside a vector."""

from dataclasses import replace

import pytest

from caa_core.app.made_from import unlike
from caa_core.app.opening.ready import shipped
from caa_core.app.panels.common import plain
from caa_core.app.panels.measuring.evaluation import map_of, verdict_in_words
from caa_core.app.sessions import Person
from caa_core.data.presets import presets
from caa_core.measuring.verdict import Verdict
from caa_core.metrics.estimates import Estimate
from tests.helpers.results import evaluation


@pytest.mark.parametrize(
    ("grade", "direction", "ways", "why"),
    [
        ("effect", "with", "both", ""),
        ("effect", "against", "only positive tried", ""),
        ("none shown", "", "", ""),
        ("not decided", "", "", "its interval holds 0"),
        ("", "", "", "7 prompts are too few"),
    ],
)
def test_it_is_short_by_its_grade_and_direction_whatever_its_sentence_begins_with(grade, direction, ways, why):
    size = Estimate(0.3, 0.1, 0.5)
    found = Verdict(1, 1.0, None, 9, size, 0.3, None, None, 999, "m", "At length.", grade, direction, ways, why=why)
    said = verdict_in_words(evaluation() | {"verdict": found.summary()}, [])
    assert said.startswith(f"**{found.headline}**{plain(found.in_short.removeprefix(found.headline))}")
    assert ("Chosen on one half of the items: layer 0, × 1." in said) == (grade == "effect")
    assert "At length." in said


def test_what_was_kept_before_there_were_grades_is_said_as_it_was():
    said = verdict_in_words(evaluation() | {"verdict": {"effect": True, "text": "Yes: it does."}}, [])
    assert said.startswith("Yes: it does.")


def test_cells_that_are_not_there_yet_are_estimated_in_the_map_of_effects_alone():
    found = shipped("measure")["found"]
    begun = found | {"cells": found["cells"][:3]}
    estimated = {
        name: sum(text.startswith("≈") for row in map_of(begun, name).data[0].text for text in row)
        for name in ("Effect", "As asked", "Cost (KL)")
    }
    assert estimated == {"Effect": len(found["cells"]) - 3, "As asked": 0, "Cost (KL)": 0}
    assert not any(text.startswith("≈") for row in map_of(found, "Effect").data[0].text for text in row)


def test_items_whose_prompts_a_vector_was_made_from_are_named():
    """However they are written, and whatever is answered."""
    joy = presets()["joy"]
    made, held_out = joy.dataset().pairs[0], joy.test()
    again = replace(made, prompt=f"  {made.prompt.upper()}", positive="Hooray!", negative="Well.")
    items = replace(held_out, pairs=(*held_out.pairs[:2], again))
    assert unlike(Person(), "joy", "", held_out) == ""
    said = unlike(Person(), "joy", "", items)
    assert said.startswith("The vector joy was made from 1 of these 3 items, or their prompts: ")
