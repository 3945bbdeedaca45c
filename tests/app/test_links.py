"""Links as text: what stands in one is what is read of it, and what cannot be followed is said."""

from functools import partial
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caa_core.app.opening.links import (
    FIELDS,
    LONGEST,
    Link,
    number_within,
    one_of,
    several,
    split,
    vector_named,
    vector_text,
    written,
    yes_or_no,
)
from caa_core.data.presets import presets
from caa_core.errors import InputError

# What a browser gives back of a query as it was: not halves of a character.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def read(query):
    return Link.read(dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True)))


@given(TEXTS, st.dictionaries(st.sampled_from(FIELDS), TEXTS))
def test_a_link_says_what_it_was_made_of(model, fields):
    link = Link("compete", model, fields)
    assert read(link.query) == link


def test_a_link_can_be_read_by_people():
    link = Link("steer", "smollm2-135m", {"layer": "15", "vector": "joy~0a1b2c3d", "prompt": "How?"})
    assert link.query == "?v=1&tab=steer&model=smollm2-135m&prompt=How%3F&vector=joy~0a1b2c3d&layer=15"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_was(value):
    assert number_within(written(value), "Layer", value, value) == value


@given(st.integers(-(2**50), 2**50))
def test_a_whole_number_is_read_as_it_was(value):
    found = number_within(written(value), "Seed", -(2**50), 2**50, is_whole=True)
    assert found == value and isinstance(found, int)


@given(st.lists(TEXTS.filter(bool)))
def test_a_list_is_read_as_it_was(texts):
    assert several(written(texts)) == texts


@pytest.mark.parametrize("value", [True, False])
def test_yes_and_no_are_read_as_they_were(value):
    assert yes_or_no(written(value), "Apart") is value


def test_a_choice_is_read_as_it_was():
    assert [one_of(written(choice), "Kind", ["a", 2, 0.5]) for choice in ("a", 2, 0.5)] == ["a", 2, 0.5]


def test_what_is_no_link_is_none():
    assert read("?__theme=dark&view=api") is None and read("") is None


@pytest.mark.parametrize(
    ("follow", "said"),
    [
        (lambda: read("?tab=nowhere"), "There is no tab 'nowhere' here: there are steer, generate, "),
        (lambda: read("?tab=steer&v=9"), "This link is of version '9', and this app reads version 1."),
        (lambda: read(f"?tab=steer&prompt={'x' * (LONGEST + 1)}"), "This link is too long"),
        (lambda: Link("steer", "", {"prompt": "x" * LONGEST}).query, "What stands here is too long for a link"),
        (lambda: number_within("ten", "Layer", 0, 3), "Layer must be a number."),
        (lambda: number_within(" ", "Layer", 0, 3), "Layer must be a number."),
        (lambda: number_within("nan", "Layer", 0, 3), "Layer must be a finite number."),
        (lambda: number_within("1e999", "Layer", 0, 3), "Layer must be a finite number."),
        (lambda: number_within("1.5", "Layer", 0, 3, is_whole=True), "Layer must be a whole number."),
        (lambda: number_within("4", "Layer", 0, 3), "Layer must be between 0 and 3, not 4."),
        (lambda: yes_or_no("true", "Apart"), "Apart: 'true' is neither yes nor no."),
        (lambda: one_of("<b>", "Kind", ["Same layer"]), "Kind: there is no '<b>' to choose."),
        (
            lambda: vector_named("pirate~0a1b2c3d", {}),
            "The vector 'pirate' is not here. Whoever made the link can",
        ),
        (lambda: vector_named("p~0a1b2c3d", {"p": lambda: "9" * 64}), "Your vector of that name is another one."),
    ],
)
def test_what_cannot_be_followed_is_said(follow, said):
    with pytest.raises(InputError) as error:
        follow()
    assert said in str(error.value)


def test_a_vector_is_found_by_its_numbers_whatever_it_is_called_and_a_changed_preset_is_said():
    mine = {"pirate": lambda: "0a1b2c3d" + "0" * 56, "pirate (2)": lambda: "9" * 64}
    assert vector_text("pirate", mine) == "pirate~0a1b2c3d"
    assert vector_named("pirate~0a1b2c3d", mine) == ("pirate", "")
    assert vector_named("pirate~99999999", mine) == ("pirate (2)", "")
    assert vector_named("pirate", mine) == ("pirate", "")
    joy = vector_text("joy", mine)
    assert joy == f"joy~{presets()['joy'].dataset().sha256[:8]}" and vector_named(joy, mine) == ("joy", "")
    assert vector_named("joy~00000000", mine) == (
        "joy",
        "The preset joy is not the one that the link was made with, so what comes of it may differ.",
    )


def test_a_name_may_hold_what_parts_it_from_its_mark():
    assert [split(text) for text in ("a~b", "a~b~0a1b2c3d", "~")] == [("a~b", ""), ("a~b", "0a1b2c3d"), ("~", "")]


def test_only_those_of_a_persons_vectors_are_hashed_that_may_be_meant():
    asked = []
    mine = {name: partial(lambda name: asked.append(name) or name[0] * 64, name) for name in ("a", "b")}
    assert vector_named("b~bbbbbbbb", mine) == ("b", "") and asked == ["b"]
