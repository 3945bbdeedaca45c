import json
from itertools import pairwise

import pytest

from caa_core.data.lint import lint
from caa_core.data.pairs import pairs_from_rows, read_pairs
from caa_core.data.repair import choose, mend
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from caa_core.model.pair_tokens import ModelTokens
from caa_core.model.prompts import longest_sequence
from tests.helpers.data import found, lettered, text
from tests.helpers.tokens import make_tokenizer


@pytest.fixture
def mended(tmp_path):
    """The pairs of some records after remedies, and whether linting them again finds the same."""

    def work(items, *remedies, **under):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(items))
        before = path.read_bytes()
        table = read_table(path)
        report = lint(table, **under)
        dataset = mend(table, report, choose(report, remedies), **under)
        assert path.read_bytes() == before
        return dataset

    return work


def prompts(dataset):
    return [pair.prompt for pair in dataset.pairs]


def left(dataset, **under):
    return found(lint(dataset.table(), **under))


def test_nothing_is_done_that_is_not_asked_for(mended):
    items = [lettered("A", f"{i}?") for i in range(4)]
    assert mended(items).name == "mine" and mended(items, "drop", "truncate").name == "mine"
    assert mended(items, "drop").pairs == mended(items).pairs


def test_dropping(mended):
    items = [text("One?"), text("One?"), text("Two?", "same", "same"), {"prompt": "Three?"}, text("Four?")]
    dataset = mended(items, "drop")
    assert prompts(dataset) == ["One?", "Four?"]
    assert dataset.name == "mine (3 dropped)"
    assert dataset.kind == "JSON with prompt, positive, negative: 2 free-text pairs, 3 dropped"
    assert left(dataset) == {}
    # Where they came from can still be told.
    assert [pair.line for pair in dataset.pairs] == [1, 5]


def test_broken_records_that_stay_are_refused(mended):
    items = [text("One?"), text("Two?", "same", "same"), text("Three?")]
    with pytest.raises(InputError, match="pair 2: both answers are the same"):
        mended(items, "swap")
    with pytest.raises(InputError, match="has no pairs left"):
        mended([items[1]] * 2, "drop")
    with pytest.raises(InputError, match="has one pair only"):
        mended(items[:2], "drop")


@pytest.mark.parametrize(("a", "b", "swaps"), [(20, 4, 8), (9, 0, 4), (7, 2, 2)])
def test_swapping_balances_the_letters_evenly_over_the_file(mended, a, b, swaps):
    items = [lettered("A", f"A{i}?") for i in range(a)] + [lettered("B", f"B{i}?") for i in range(b)]
    dataset = mended(items, "swap")
    letters = [pair.positive for pair in dataset.pairs]
    assert abs(letters.count("(A)") - letters.count("(B)")) == (a + b) % 2
    assert dataset.name == f"mine ({swaps} swapped)"
    texts = zip(dataset.pairs, items, strict=True)
    changed = [i for i, (pair, item) in enumerate(texts) if pair.prompt != item["question"]]
    assert len(changed) == swaps
    steps = {second - first for first, second in pairwise(changed)}
    assert max(steps) - min(steps) <= 1
    # What the matching answer says is what it said before.
    assert {pair.options[pair.positive.strip("()")] for pair in dataset.pairs[:a]} == {"Yes"}
    assert "letters out of balance" not in left(dataset)


def test_swapping_leaves_what_cannot_be_swapped(mended):
    items = [{**lettered("A"), "question": f"No options {i}?"} for i in range(5)] + [lettered("A", "Last?")]
    dataset = mended(items, "swap")
    assert [pair.positive for pair in dataset.pairs] == ["(A)"] * 5 + ["(B)"]


@pytest.mark.golden
def test_survival_instinct_balanced(reference_data):
    path = reference_data / "data/caa/survival-instinct/generate_dataset.json"
    table = read_table(path)
    report = lint(table)
    dataset = mend(table, report, {"letters out of balance": "swap"})
    letters = [pair.positive for pair in dataset.pairs]
    assert len(letters) == 903 and abs(letters.count("(A)") - letters.count("(B)")) <= 1
    assert letters.count("(C)") == [pair.positive for pair in read_pairs(path).pairs].count("(C)") == 60


def test_cutting_the_longer_answer(mended):
    long = text("Sun?", "It shines, and shines and shines and shines and shines.", "It is hot.")
    contained = text("Wind?", "It blows and blows and blows and blows and blows and blows.", "It blows")
    dataset = mended([text(), long, contained], "truncate", "drop")
    assert dataset.pairs[1].positive == "It shines, and" and dataset.pairs[1].negative == "It is hot."
    # Cutting this one would leave nothing to contrast.
    assert dataset.pairs[2].positive == contained["positive"]
    assert dataset.name == "mine (1 truncated)"
    assert "answers of different length" in left(dataset)


def test_cutting_prompts_that_are_too_long(mended):
    tokenizer = make_tokenizer()
    under = {"tokens": ModelTokens(tokenizer, 120)}
    long = text("Long ago, " * 100 + "what was it?")
    dataset = mended([text(), long], "truncate", **under)
    cut = dataset.pairs[1]
    assert long["prompt"].endswith(cut.prompt) and cut.prompt.endswith("what was it?")
    # It is as long as it can be: with one word more it would not fit.
    more = long["prompt"][: -len(cut.prompt)].split()[-1] + " " + cut.prompt
    assert longest_sequence(tokenizer, cut) <= 120
    assert longest_sequence(tokenizer, type(cut)(more, cut.positive, cut.negative, 1)) > 120
    assert dataset.name == "mine (1 truncated)" and left(dataset, **under) == {}


def test_the_options_of_a_question_are_kept(mended):
    under = {"tokens": ModelTokens(make_tokenizer(), 120)}
    long, options = lettered("A", "Long ago, " * 100 + "go on?"), lettered("B", "x?", ("Yes " * 100, "No"))
    dataset = mended([lettered("B", "Two?"), long, options], "truncate", **under)
    assert dataset.pairs[1].prompt.endswith("go on?\n\nChoices:\n (A) Yes\n (B) No") and dataset.pairs[1].swapped()
    assert dataset.pairs[2].prompt == options["question"]
    assert left(dataset, **under)["longer than the model's context"] == (3,)


def test_pairs_of_prompts_are_cut_alike(mended):
    tokenizer = make_tokenizer()
    under = {"tokens": ModelTokens(tokenizer, 60)}
    ends = ("Be honest. " + "So long. " * 40 + "Rain?", "Lie. " + "So long. " * 40 + "Rain?")
    items = [dict(zip(("positive_prompt", "negative_prompt"), ends, strict=True))] * 2
    pair = mended(items, "truncate", **under).pairs[0]
    assert longest_sequence(tokenizer, pair) <= 60


def test_all_at_once_is_said(mended):
    questions = [f"{i}?\n (A) Yes\n (B) No" for i in (*range(8), 0)]
    questions.append("So long. " * 200 + questions[1])
    under = {"tokens": ModelTokens(make_tokenizer(), 100)}
    dataset = mended([text(question, "(A)", "(B)") for question in questions], "drop", "swap", "truncate", **under)
    assert dataset.name == "mine (1 dropped, 4 swapped, 1 truncated)"
    assert dataset.kind.endswith(": 9 multiple-choice questions, 1 dropped, 4 swapped, 1 truncated")


def test_only_remedies_on_offer():
    table = pairs_from_rows([["One?", "Yes, I do.", "No."], ["One?", "Yes, I do.", "No."]], "typed").table()
    report = lint(table)
    assert choose(report, ["swap"]) == {} and choose(report, ["truncate", "drop"]) == {"the same pair again": "drop"}
    with pytest.raises(InputError, match="There is no remedy 'burn'"):
        choose(report, ["drop", "burn"])
    with pytest.raises(InputError, match="'the same pair again' cannot be mended by 'swap'"):
        mend(table, report, {"the same pair again": "swap"})


def test_questions_among_other_pairs_that_are_dropped_leave_nothing_to_swap(mended):
    """Both remedies at once: every question has three options and goes, and free text has no letters."""
    questions = [lettered("A", f"Question {i}?", ("Yes", "No", "Maybe")) for i in range(4)]
    texts = [
        {
            "question": f"Text {i}?",
            "answer_matching_behavior": "How lovely!",
            "answer_not_matching_behavior": "It is so.",
        }
        for i in range(5)
    ]
    dataset = mended([*questions, *texts], "drop", "swap")
    assert [pair.prompt for pair in dataset.pairs] == [f"Text {i}?" for i in range(5)]
