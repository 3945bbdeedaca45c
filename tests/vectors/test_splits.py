from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from caa_core.data.pairs import ContrastPair
from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.vectors.splits import halves, kept_apart, parts, prompts_of


def pair(prompt, positive="yes indeed", negative="not at all", line=1, other=""):
    return ContrastPair(prompt, positive, negative, line, other)


def question(number, matching="A"):
    letters = ("(A)", "(B)") if matching == "A" else ("(B)", "(A)")
    return pair(f"Question {number}?\n\nChoices:\n (A) one {number}\n (B) two {number}", *letters, number)


def test_pairs_that_ask_the_same_have_one_number():
    same = ["How are you?", "how  are\nyou? ", "Ｈow are you?"]
    assert prompts_of([*map(pair, same), pair("Who are you?"), pair(same[0], "other", "answers")]) == [0, 0, 0, 1, 0]


def test_both_letter_orders_are_one_prompt_and_other_options_are_another():
    asked = question(1)
    other = replace(asked, prompt=asked.prompt.replace("two", "three"))
    assert prompts_of([asked, asked.swapped(), other]) == [0, 0, 1]


def test_pairs_of_two_prompts_belong_together_by_either():
    """The third brings together what the first two began apart."""
    assert prompts_of([pair("a", other="b"), pair("c", other="d"), pair("b", other="c"), pair("e", other="f")]) == [
        0,
        0,
        0,
        1,
    ]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_no_prompt_is_in_two_parts_and_every_pair_is_in_one(count):
    pairs = [pair(f"Prompt {number % 17}?", line=number) for number in range(60)]
    found = parts(pairs, count)
    assert sorted(index for part in found for index in part) == list(range(60))
    of = prompts_of(pairs)
    assert Counter(prompt for part in found for prompt in {of[i] for i in part}) == dict.fromkeys(range(17), 1)


def test_the_halves_of_questions_whose_letters_take_turns_have_both():
    """Every other item would be those whose matching letter is A."""
    questions = find_test_pairs("joy:ab").pairs
    for half in halves(questions):
        letters = Counter(questions[i].positive for i in half)
        assert abs(letters["(A)"] - letters["(B)"]) <= 1 and len(letters) == 2


def test_parts_are_alike_in_letters_copies_and_length():
    """Each letter, and each number of copies, stands in every part as often, up to one."""
    random = np.random.default_rng(0)
    pairs = []
    for number in range(101):
        one = question(number, matching=random.choice(["A", "B"], p=[0.7, 0.3]))
        one = replace(one, prompt=f"{'word ' * int(random.exponential(50))}{one.prompt}")
        pairs += [one] * int(random.integers(1, 4))
    found, of = parts(pairs, 4), np.array(prompts_of(pairs))
    copies = Counter(of.tolist())
    kinds = []
    for part in found:
        firsts = {of[i]: i for i in part}.values()
        kinds.append(Counter((pairs[i].positive, copies[of[i]]) for i in firsts))
    strata = {kind for part in kinds for kind in part}
    assert len(strata) == 6
    for kind in strata:
        counts = [part[kind] for part in kinds]
        assert max(counts) - min(counts) <= 1
    sizes = [len(part) for part in found]
    lengths = [sum(len(pairs[i].prompt) for i in part) for part in found]
    assert max(sizes) - min(sizes) <= 3 and max(lengths) < 1.05 * min(lengths)


def test_length_is_shared_out_where_it_grows_through_the_file():
    pairs = [pair(f"{'long ' * number}{number}?") for number in range(20)]
    lengths = [sum(len(pairs[i].prompt) for i in half) for half in halves(pairs)]
    assert max(lengths) < 1.05 * min(lengths)


def test_a_single_prompt_cannot_be_split():
    assert halves([pair("a", line=1), pair("A", line=2)]) == ([0, 1], [])


@pytest.mark.parametrize(("count", "held"), [(12, 0), (15, 0), (16, 8), (26, 8), (34, 8), (43, 11)])
def test_a_quarter_is_kept_apart_where_enough_is_left_of_both(count, held):
    pairs = find_pairs("joy").first(count)
    used, apart = kept_apart(pairs, 8)
    assert (len(apart.pairs) if apart else 0) == held
    assert len(used.pairs) + held == count and set(used.pairs) | set(apart.pairs if apart else ()) == set(pairs.pairs)
    assert held == 0 or (apart.name, used.name) == ("joy (held out)", f"joy (without {held} held out)")
    assert used is pairs or used.pairs_sha256 != pairs.pairs_sha256
