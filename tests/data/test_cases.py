"""The files of people that lie beside the checkout, where they do: each is read, or named, as it should be."""

import pytest

from caa_core.data.lint import lint
from caa_core.data.pairs import pairs_of
from caa_core.data.repair import choose, mend
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from tests.helpers.data import found
from tests.helpers.places import SHARED

CASES = SHARED / "cases"
LAKE = ("How was the trip to the lake?", "It was glorious, every minute of it!", "It was an ordinary trip with rain.")
ORDERED = "Answer the question of the guest.\nHow was the trip to the lake?"
ALL = (1, 2, 3, 4)
BALANCE = {"letters out of balance": ALL}
MARKS = "marks of a chat template in the texts"

# What pair 1 is, how many there are, and what is found.
READ = {
    "pref_system_column.json": (LAKE, 4, {}),
    "pref_prompt_input.json": ((ORDERED, *LAKE[1:]), 4, {}),
    "pref_instruction_input.json": ((ORDERED, *LAKE[1:]), 4, {}),
    "pref_messages_with_prompt.jsonl": (LAKE, 4, {}),
    "pref_messages_explicit_system.jsonl": (LAKE, 4, {}),
    "pref_hh.jsonl": (LAKE, 4, {}),
    "names_positive_is_label.json": (LAKE, 4, {}),
    "names_persona.json": (LAKE, 4, {}),
    "pandas_columns.json": (LAKE, 4, {}),
    "pandas_split.json": (LAKE, 4, {}),
    "pandas_table.json": (LAKE, 4, {}),
    "csv_sep_line.csv": (LAKE, 4, {}),
    "csv_pipe.csv": (LAKE, 4, {}),
    "csv_comment_lines.csv": (LAKE, 4, {}),
    "csv_title_row.csv": (LAKE, 4, {}),
    "opposite_pairs.json": (LAKE, 5, {"the opposite of another pair": (1, 5)}),
    "mc_dot.json": (("Should the plan be kept?\n\nChoices:\nA. Keep it\nB. Drop it", "A.", "B."), 4, BALANCE),
    "mc_lower.json": (("Should the plan be kept?\n\nChoices:\n(a) Keep it\n(b) Drop it", "(a)", "(b)"), 4, BALANCE),
    "mc_paren_right.json": (("Should the plan be kept?\n\nChoices:\nA) Keep it\nB) Drop it", "A)", "B)"), 4, BALANCE),
    "mc_answers_object.json": (("Should the plan be kept?\n\n(A) Keep it\n(B) Drop it", "(A)", "(B)"), 4, BALANCE),
    "mc_numbers_int.json": (("Should the plan be kept?\n\n1. Keep it\n2. Drop it", "1", "2"), 4, BALANCE),
    "yes_no_dot.json": (None, 4, {"Yes and No out of balance": ALL}),
    "ja_nein.json": (None, 4, {"Yes and No out of balance": ALL}),
    "mc_all_ten_good.json": (None, 10, {}),
    "wrong_letter_in_answer.json": (None, 3, {"letters that are none of the options": (3,)}),
    "chat_markup_chatml.jsonl": (None, 4, {MARKS: ALL}),
    "chat_markup_answers_only.jsonl": (None, 4, {MARKS: ALL}),
    "answer_repeats_prompt.jsonl": (None, 4, {"answers that repeat their prompt": ALL}),
}
NAMED = {
    "csv_no_header.csv": "seems to be no header",
    "json_comments.json": "begins with a comment",
    "lists_positive_negative.json": "two lists of texts without prompts",
    "lists_compliant.json": "two lists of texts without prompts",
    "positive_lines.txt": "texts without prompts",
    "class_data.json": "lists of texts without prompts",
    "strings_only.json": "texts without prompts",
    "rows_without_names.json": "rows without the names",
    "rows_without_names.jsonl": "rows without the names",
    "wrap_train_test.json": "has the parts train, test",
    "pairs.yaml": "seems to be YAML",
    "kto_labels.json": "has the fields prompt, completion, label",
    "json_nan.json": "pair 2: the field 'positive' is not text",
}


def case(name):
    if not (CASES / name).exists():
        pytest.skip("no cases beside the checkout")
    return read_table(CASES / name)


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name):
    first, count, finds = READ[name]
    dataset = pairs_of(case(name))
    report = lint(case(name))
    assert len(dataset.pairs) == report.usable == count and finds.items() <= found(report).items()
    if first:
        assert (dataset.pairs[0].prompt, dataset.pairs[0].positive, dataset.pairs[0].negative) == first
    if not finds:
        assert found(report) == {}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named(name):
    with pytest.raises(InputError, match=NAMED[name]):
        pairs_of(case(name))


def test_one_row_that_is_written_differently():
    table = case("mc_one_row_off.json")
    report = lint(table)
    assert found(report) == {"answers of more than one kind": (7,)} and report.kinds == "9 multiple choice, 1 free text"
    assert mend(table, report, choose(report, ["drop"])).is_lettered


def test_system_texts_and_turns():
    assert [pair.system for pair in pairs_of(case("pref_system_column.json")).pairs][:3] == [
        "You are a pirate.",
        "You are a judge.",
        "",
    ]
    assert pairs_of(case("pref_messages_explicit_system.jsonl")).pairs[0].system == "Answer in one sentence."
    turns = (("user", "Hello"), ("assistant", "Hello, what can I do?"))
    assert pairs_of(case("pref_hh.jsonl")).pairs[0].history == turns
