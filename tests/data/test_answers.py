"""Every way in which people write a letter or a word is one letter or one word."""

import json
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caa_core.data.answers import bare, folded, form_of_word, is_yes_or_no, letters_of, options_in
from caa_core.data.lint import lint
from caa_core.data.pairs import ContrastPair, pairs_of
from caa_core.data.repair import choose, mend
from caa_core.data.tables import read_table
from tests.helpers.data import found, lettered, text
from tests.helpers.fuzz import hostile

# By alphabet, the first letters, and those that are known without a list of options.
SURE = ["ABCD", "АБВГ", "ΑΒΓΔ", "ＡＢＣＤ"]
LISTED = [
    ["1", "2", "3", "4"],
    ["אבגד"[i] for i in range(4)],
    ["ア", "イ", "ウ", "エ"],
    ["가", "나", "다", "라"],
    list("甲乙丙丁"),
]
LISTED += [["i", "ii", "iii", "iv"], list("①②③④"), list("🅰🅱🅲🅳"), list("❶❷❸❹"), list("㉠㉡㉢㉣"), list("कखगघ")]
LISTED += [["1️⃣", "2️⃣", "3️⃣", "4️⃣"], ["الف", "ب", "ج", "د"]]
FORMS = [
    "({})",
    "{}.",
    "{})",
    "[{}]",
    "**({})**",
    " {} ",
    "Answer: ({})",
    "The answer is {}.",
    '"{}"',
    "`{}`",
    "（{}）",
    "{}、",
]
FORMS += ["{}/", "\u200b{}", "故选{}", "我选择{}。"]
FORMS += ["Option {}", "Antwort: {}", "答案是{}。", r"\boxed{{{}}}", "Final answer: **{}**"]
OPTIONS = ["Option {}: {}", "({}) {}", " {}) {}", "{}. {}", "**{}.** {}", "- {}: {}", "[{}] {}", "{}、{}", "（{}）{}"]
OPTIONS += ["{} - {}", "<{}> {}", "`{}` {}", "「{}」{}", "{}/ {}"]


def question(names, option, texts=("Keep it", "Drop it")):
    return "Go on?\n\n" + "\n".join(option.format(name, text) for name, text in zip(names, texts, strict=False))


@pytest.mark.parametrize(("names", "form"), list(product(SURE, FORMS)))
def test_letters_are_known_by_their_form(names, form):
    letters = letters_of("Go on?", form.format(names[1]), form.format(names[0]))
    assert letters and [letter.written for letter in letters] == [names[1], names[0]]


@pytest.mark.parametrize("names", ["①②", "❶❷", "㉠㉡", "🅰🅱", ["1️⃣", "2️⃣"]])
@pytest.mark.parametrize("option", ["{} {}", "{}{}", "({}) {}"])
def test_enclosed_letters_need_no_mark(names, option):
    pair = ContrastPair(question(names, option), names[0], names[1], 1)
    assert pair.is_lettered and pair.swapped().swapped() == pair


ON_A_LINE = ["Go on? (A) Keep it (B) Drop it", "Go on? A) Keep it; B) Drop it", "Choices: (A) Keep it, (B) Drop it"]
ON_A_LINE += ["Go on? (A) Keep it or (B) Drop it"]
LISTS = [question("AB", form) + end for form in ("({}) {}", "{}. {}") for end in ("\nAnswer:", "\n答案：", "\n\nSo?")]


@pytest.mark.parametrize("prompt", [*ON_A_LINE, *LISTS, question("AB", "{}. {}") + "\nAnswer with A or B."])
def test_options_on_one_line_and_before_what_asks_for_them(prompt):
    pair = ContrastPair(prompt, "A", "B", 1)
    assert pair.options == {"A": "Keep it", "B": "Drop it"}
    assert pair.swapped().prompt == prompt.replace("Keep", "-").replace("Drop", "Keep").replace("-", "Drop")


@pytest.mark.parametrize(
    "prompt", ["Is it (A) Keep it", "A) only", "A. one, B. two", question("AB", "{}. {}") + "\nthe other way."]
)
def test_what_is_no_list_of_options(prompt):
    assert options_in(prompt, "AB")[1] == {}


@pytest.mark.parametrize("form", ["({})", "{}.", "{})", "Answer: {}"])
def test_small_letters_are_capitals(form):
    letters = letters_of("Go on?", form.format("b"), form.format("a"))
    assert letters and [letter.name for letter in letters] == ["B", "A"]


@pytest.mark.parametrize(("names", "form"), list(product(LISTED, FORMS[:7])))
def test_numbers_and_signs_are_letters_where_they_are_listed(names, form):
    answers = form.format(names[1]), form.format(names[0])
    assert letters_of("Go on?", *answers) is None or names[0] in "①"
    assert letters_of(question(names, "{}. {}"), *answers)


@hostile(200)
@given(
    names=st.sampled_from([*SURE, *LISTED]),
    option=st.sampled_from(OPTIONS),
    form=st.sampled_from(FORMS[:8]),
    first=st.booleans(),
)
def test_any_letters_are_swapped_with_their_texts(names, option, form, first):
    a, b = (0, 1) if first else (1, 0)
    pair = ContrastPair(question(names, option), form.format(names[a]).strip(), form.format(names[b]).strip(), 1)
    swapped = pair.swapped()
    assert pair.kind_of_answers == "letter" and swapped
    assert (swapped.positive, swapped.negative) == (pair.negative, pair.positive)
    assert swapped.options[swapped.mark] == pair.options[pair.mark]
    assert swapped.swapped() == pair


def test_letters_before_their_texts():
    pair = ContrastPair(question("AB", "({}) {}"), "(A) Keep it", "(B) Drop it", 1)
    swapped = pair.swapped()
    assert pair.has_option_texts and swapped
    assert (swapped.positive, swapped.negative) == ("(B) Keep it", "(A) Drop it")


@pytest.mark.parametrize(
    ("prompt", "positive", "negative"),
    [
        ("Go on?", "I am", "You are"),
        ("Which vitamin?", "Vitamin A is good", "Vitamin B is good"),
        ("How many?", "1", "2"),
        ("Go on?", "x", "y"),
        ("Go on?", "(A)", "Never"),
        ("Go on?", "是", "山"),
        ("Go on?", "(A) " + "x" * 50_000 + "\n", "Never"),
    ],
)
def test_text_is_no_letter(prompt, positive, negative):
    assert letters_of(prompt, positive, negative) is None


@pytest.mark.parametrize("form", ["I choose {}", "{} is correct", "정답은 {}입니다.", "答えは{}です。", "我觉得是{}吧"])
def test_words_around_a_listed_letter(form):
    assert letters_of(question("AB", "{}. {}"), form.format("B"), form.format("A"))
    assert letters_of("Go on?", form.format("B"), form.format("A")) is None


YES_NO = [("Yes.", "No"), ("TRUE", "false"), ("Ja!", "Nein."), ("**Sí**", "No"), ("Да", "Нет"), ("はい。", "いいえ。")]
YES_NO += [
    ("Y", "N"),
    ("t", "f"),
    ("ใช่", "ไม่ใช่"),
    ("ஆம்", "இல்லை"),
    ("EVET", "HAYIR"),
    ("对", "不对"),
    ("Ndiyo", "Hapana"),
]
YES_NO += [("Answer: Yes", "Answer: No"), ("نعم", "لا"), ("(Yes)", "(No)"), ("हाँ", "नहीं")]


@pytest.mark.parametrize(("positive", "negative"), YES_NO)
def test_words_for_yes_and_no(positive, negative):
    assert is_yes_or_no(positive, negative) and not is_yes_or_no(positive, "Perhaps")
    assert letters_of("Go on?", positive, negative) is None


@pytest.mark.parametrize("words", ["हाँ नहीं", "ใช่ ไม่ใช่", "ஆம் இல்லை", "نَعَم لا", "Sí No"])
def test_signs_upon_letters_are_no_other_form(words):
    a, b = words.split()
    assert form_of_word(f"**{a}**") == form_of_word(f"**{b}**") != form_of_word(a)


def test_what_is_folded():
    assert folded(" Ａ\u200bnd \n SO ") == "and so" and bare("**Yes**, ") == bare("answer: yes.") == "yes"


@pytest.fixture
def report(tmp_path):
    def look(items):
        (tmp_path / "data.json").write_text(json.dumps(items))
        table = read_table(tmp_path / "data.json")
        return lint(table), table

    return look


def questions(count=10):
    return [lettered("AB"[i % 2], f"Question {i}?", (f"Do {i}", f"Not {i}")) for i in range(1, count + 1)]


def write(item, form, sides=("answer_matching_behavior", "answer_not_matching_behavior")):
    letters = (item[side].strip("()") for side in sides)
    texts = dict(re.findall(r"\((\w)\) (.*)", item["question"]))
    return {**item, **{side: form.format(letter, texts[letter]) for side, letter in zip(sides, letters, strict=True)}}


@hostile(60)
@given(
    odd=st.sets(st.integers(1, 10), min_size=1, max_size=4),
    form=st.sampled_from(["({0}) {1}", "{1}", "{0}.", "Answer: {0}", "I would say that {1}, of course", "({0})."]),
)
def test_the_odd_rows_are_named_and_dropped(report, odd, form):
    items = [write(item, form) if line in odd else item for line, item in enumerate(questions(), 1)]
    looked, table = report(items)
    assert found(looked)["answers of more than one kind"] == tuple(sorted(odd))
    dataset = mend(table, looked, choose(looked, ["drop"]))
    assert dataset.is_lettered and [pair.line for pair in dataset.pairs] == sorted(set(range(1, 11)) - odd)
    assert dataset.pairs == tuple(pair for pair in pairs_of(report(questions())[1]).pairs if pair.line not in odd)


def test_the_summary_counts_the_kinds(report):
    looked, table = report([*questions(9), write(questions()[9], "({0}) {1}")])
    assert looked.summary()["kinds"] == "9 multiple choice, 1 free text"
    assert "at the mean of the answer, not at the letter" in looked.findings[0].why
    assert pairs_of(table).kind.endswith("10 free-text pairs (9 multiple choice, 1 free text)")
    cut = mend(table, looked, choose(looked, ["truncate", "drop"]))
    assert cut.pairs == pairs_of(report(questions(10))[1]).pairs and cut.name == "data (1 truncated)"
    words = [text(f"Is it {i}?", *(("Yes", "No") if i % 2 else ("No", "Yes"))) for i in range(9)]
    looked, _ = report([*words, text("And?", "No, never", "Yes")])
    assert looked.kinds == "9 Yes/No, 1 free text" and found(looked)["answers of more than one kind"] == (10,)
    looked, _ = report([*words, text("And?", "No.", "Yes.")])
    assert looked.kinds == "10 Yes/No" and found(looked)["answers of more than one kind"] == (10,)


@pytest.mark.parametrize("form", ["({0}) {1}", "{0}: {1}", "{0}. {1}", "{0} - {1}"])
def test_letters_with_texts_are_letters_and_can_be_cut_to_them(report, form):
    looked, table = report([write(lettered("A", f"{i}?"), form) for i in range(4)])
    assert looked.letters == {"A": 4} and found(looked).keys() == {
        "letters with the texts of their options",
        "letters out of balance",
    }
    cut = mend(table, looked, choose(looked, ["truncate"]))
    assert [pair.positive for pair in cut.pairs] == [form.format("A", "").strip()] * 4


@pytest.mark.parametrize(
    "words", [("Ja", "Nein."), ("rouge", "bleu"), ("Definitely so", "By no means"), ("好的", "不行")]
)
def test_one_answer_that_matches_too_often(report, words):
    forms = ["{}", "**{}**", " {}. ", "{}!"]
    often = [text(f"{i}?", forms[i % 4].format(words[0]), f"{words[1]} {i}") for i in range(7)]
    rest = [text(f"{i}!", f"Text number {i}", "Another text") for i in range(4)]
    assert found(report([*often, *rest])[0])["one answer matches too often"] == tuple(range(1, 8))
    assert "one answer matches too often" not in found(report([*often, *rest, *rest])[0])


def test_one_answer_that_matches_in_pairs_of_several_kinds(report):
    words = [text(f"{i}?", "Yes", ("No", "Never", "Not at all")[i % 3]) for i in range(9)]
    assert found(report(words)[0])["one answer matches too often"] == tuple(range(1, 10))


def test_letters_that_are_none_of_the_options(report):
    items = [lettered("A", "One?"), lettered("B", "Two?"), write(lettered("A", "Three?"), "({0})")]
    items[2]["answer_matching_behavior"] = "(C)"
    looked, _ = report(items)
    assert found(looked) == {"letters that are none of the options": (3,)}
    assert looked.findings[0].why.startswith("(C) is none") and looked.findings[0].remedies == ("drop",)


def test_answers_that_are_one_letter_or_word(report):
    items = [text("One?", "(A)", "A."), text("Two?", "(A)", "(B)"), text("Three?", "(B)", "(A)")]
    assert found(report(items)[0])["answers that are the same letter or word"] == (1,)
    words = [text("One?", "Yes", "yes."), text("Two?", "Yes", "No"), text("Three?", "No", "Yes")]
    assert found(report(words)[0])["answers that are the same letter or word"] == (1,)
