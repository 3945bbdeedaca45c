from dataclasses import replace

import pytest

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.metrics.items import choose_items
from caa_core.progress import finish
from caa_core.steering.interventions import Positions
from tests.helpers.data import LETTERS, TEXTS

FIVE = "What now?\n\nChoices:\n (A) Go\n (B) Stay\n (C) Sit"


def of(*pairs):
    return Dataset("data", "", "", pairs)


def test_what_cannot_be_measured_is_left_out_with_the_reason(tiny_llama):
    bad = [
        ContrastPair("Rain?", "Yes", "Yes, it does", 8),
        ContrastPair("Rain?", "Wet", "Dry", 9, "Sun?"),
        ContrastPair("word " * 2000, "Wet", "Dry", 10),
    ]
    items = finish(choose_items(tiny_llama, of(*TEXTS.pairs, *bad)))
    assert items.pairs == TEXTS.pairs
    assert [reason.split(":")[0].split(" has")[0] for reason in items.skipped] == ["Item 8", "Item 9", "Item 10"]
    with pytest.raises(InputError, match=r"No item of data can be measured.*Item 8"):
        finish(choose_items(tiny_llama, of(bad[0], bad[2])))


def test_a_steered_position_that_a_prompt_does_not_have_is_a_reason(tiny_llama):
    items = finish(choose_items(tiny_llama, TEXTS, Positions("index", -14)))
    assert 0 < len(items.skipped) < 4 and "outside the prompt" in items.skipped[0]


def test_room_is_kept_for_what_is_written(tiny_llama):
    limit = tiny_llama.context_length
    sizes = [ContrastPair("x " * n, "(A)", "(B)", n) for n in range(limit // 2 - 20, limit // 2 + 5)]
    items = finish(choose_items(tiny_llama, of(*sizes)))
    assert any("are written behind it" in reason for reason in items.skipped)


def test_letters_are_swapped_and_what_cannot_be_is_counted(tiny_llama):
    odd = ContrastPair("Is it so?", "(A)", "(B)", 4)
    items = finish(choose_items(tiny_llama, of(*LETTERS.pairs, odd)))
    assert items.swapped == (*(pair.swapped() for pair in LETTERS.pairs), None)
    assert items.not_swapped == 1 and items.are_choices and items.are_lettered
    words = finish(choose_items(tiny_llama, of(ContrastPair("So?", "Yes", "No", 1), ContrastPair("?", "No", "Yes", 2))))
    assert words.are_choices and not words.are_lettered


def test_paper_counting_asks_for_a_and_b_only(tiny_llama):
    pairs = [
        ContrastPair(FIVE, "(A)", "(C)", 1),
        ContrastPair(FIVE, "(C)", "(A)", 2),
        ContrastPair(FIVE, "(B)", "(A)", 3),
    ]
    items = finish(choose_items(tiny_llama, of(*pairs), paper_counting=True))
    assert items.pairs == (replace(pairs[0], negative="(B)"), pairs[2])
    assert items.zeros == (2,)
    assert finish(choose_items(tiny_llama, of(*pairs))).pairs == tuple(pairs)


def test_choices_and_texts_have_no_common_measure(tiny_llama):
    with pytest.raises(InputError, match="mixes questions"):
        finish(choose_items(tiny_llama, of(LETTERS.pairs[0], TEXTS.pairs[0])))


def test_halves_share_nothing(tiny_llama):
    items = finish(choose_items(tiny_llama, TEXTS))
    first, second = items.halves()
    assert sorted(first + second) == [0, 1, 2, 3] and len(first) == 2
    assert items.some(second).pairs == tuple(TEXTS.pairs[i] for i in second)


def test_halves_of_questions_whose_letters_take_turns_have_both(tiny_llama):
    """Each letter in each half as often; every other item would be those whose matching letter is A."""
    items = finish(choose_items(tiny_llama, TEXTS.as_questions()))
    assert [sorted(pair.positive for pair in items.some(half).pairs) for half in items.halves()] == [["(A)", "(B)"]] * 2


def test_no_copy_of_an_item_is_in_the_other_half(tiny_llama):
    items = finish(choose_items(tiny_llama, replace(TEXTS, pairs=TEXTS.pairs * 2)))
    assert items.prompts == [0, 1, 2, 3] * 2
    first, second = ({items.prompts[i] for i in half} for half in items.halves())
    assert len(first) == len(second) == 2 and not first & second


def test_items_behind_a_system_message_are_refused_where_prompts_stand_alone(tiny_llama):
    items = finish(choose_items(tiny_llama, TEXTS))
    items.check_bare()
    told = replace(items, pairs=(*items.pairs[1:], replace(items.pairs[0], system="Be short.")))
    with pytest.raises(InputError, match="has system messages or earlier turns, which are not read here"):
        told.check_bare()
