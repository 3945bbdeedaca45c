import csv
import json

import pytest

from caa_core.data.columns import Columns
from caa_core.data.lint import lint
from caa_core.data.pairs import ContrastPair, Dataset, pairs_from_rows, read_pairs, write_pairs
from caa_core.data.presets import presets
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from tests.helpers.data import found

TEXT = [
    {"prompt": "Rain?", "positive": "Lovely!", "negative": "Wet."},
    {"prompt": "Sun?", "positive": "Ah!", "negative": "Hot."},
]
PAPER = [
    {
        "question": "Go on?\n (A) Yes\n (B) No\n",
        "answer_matching_behavior": " (A)",
        "answer_not_matching_behavior": " (B)",
    },
    {"question": "Stop?", "answer_matching_behavior": "(B)", "answer_not_matching_behavior": "(A)"},
]


def file(tmp_path, content, name="data.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_csv(tmp_path, header=("prompt", "positive", "negative"), name="data.csv"):
    path = tmp_path / name
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows([item["prompt"] + "\nTwo lines, a comma", item["positive"], item["negative"]] for item in TEXT)
    return path


def test_the_papers_json(tmp_path):
    dataset = read_pairs(file(tmp_path, json.dumps(PAPER)))
    assert dataset.kind == "JSON with the CAA paper's fields: 2 multiple-choice questions"
    assert dataset.is_lettered
    # White space of a prompt is the user's; that of an answer is not part of it.
    assert dataset.pairs[0].prompt == PAPER[0]["question"]
    assert (dataset.pairs[0].positive, dataset.pairs[0].negative) == ("(A)", "(B)")


def test_free_text_as_json_json_lines_and_csv_are_the_same_pairs(tmp_path):
    as_json = read_pairs(file(tmp_path, json.dumps(TEXT)))
    as_lines = read_pairs(file(tmp_path, "\n".join(map(json.dumps, TEXT)), "data.jsonl"))
    assert as_json.pairs == as_lines.pairs
    assert as_lines.kind == "JSON Lines with prompt, positive, negative: 2 free-text pairs"
    from_csv = read_pairs(as_csv(tmp_path))
    assert from_csv.kind.startswith("CSV")
    assert from_csv.pairs[1].prompt == "Sun?\nTwo lines, a comma"
    assert [p.positive for p in from_csv.pairs] == ["Lovely!", "Ah!"]


def test_a_file_is_known_by_its_content_not_by_its_name(tmp_path):
    assert read_pairs(file(tmp_path, "\ufeff" + json.dumps(TEXT), "wrong.csv")).kind.startswith("JSON with")
    assert read_pairs(as_csv(tmp_path, ("Prompt", " Positive", "NEGATIVE "), "odd.json")).kind.startswith("CSV")


def test_mixed_pairs_are_free_text(tmp_path):
    assert not read_pairs(
        file(tmp_path, json.dumps([*TEXT, {"prompt": "?", "positive": "(A)", "negative": "(B)"}]))
    ).is_lettered


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("   \n ", "is empty"),
        ("[]", "no pairs in it"),
        ("[1, 2]", "item 1: an object with fields was expected"),
        ("[{]", "not valid JSON: .* at line 1, column 3"),
        ("[" * 100_000, "lists too deep"),
        ('{"prompt": "a"}\nnonsense', "line 2: not valid JSON"),
        ("just a sentence without any fields\nand a second", "needed are prompt, positive, negative"),
        ("a,b,c\n1,2,3\n", "has the fields a, b, c; needed are prompt"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is a binary file"),
        (b"abc\x00def", "is a binary file"),
        (json.dumps(TEXT[:1]), "has one pair only"),
        (json.dumps([{**TEXT[0], "negative": ""}, TEXT[1]]), "pair 1: the field 'negative' is missing or empty"),
        (json.dumps([TEXT[0], {"prompt": "x", "positive": "y"}]), "pair 2: the field 'negative' is missing"),
        (json.dumps([TEXT[0], {**TEXT[1], "positive": True}]), "pair 2: the field 'positive' is not text"),
        (json.dumps([TEXT[0], {**TEXT[1], "positive": "Hot."}]), "pair 2: both answers are the same"),
        (json.dumps([TEXT[0], {**TEXT[1], "prompt": "x" * 200_000}]), "longer than 100000 characters"),
        ('[{"prompt": "\\ud800", "positive": "a", "negative": "b"}]', "half a character"),
        ("[" + "9" * 10_000 + "]", "numbers too long"),
        (json.dumps([{"question": "Why?"}, {"question": "How?"}]), "questions without pairs of answers"),
    ],
)
def test_what_is_no_such_file_gets_one_clear_sentence(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(file(tmp_path, content))
    assert str(tmp_path) not in str(caught.value)


def test_files_that_are_too_large_or_not_there(tmp_path):
    with pytest.raises(InputError, match="50 MB; at most 20 MB"):
        read_pairs(file(tmp_path, b" " * 50_000_000))
    with pytest.raises(InputError, match=r"nowhere\.json cannot be read: No such file"):
        read_pairs(tmp_path / "nowhere.json")


PAPERS = {"coordinate-other-ais": 360, "corrigible-neutral-HHH": 290, "survival-instinct": 903, "sycophancy": 1000}
REAL = {
    "anthropic-evals/persona-agreeableness.jsonl": "JSON Lines with the CAA paper's fields: 1000 Yes/No statements",
    "anthropic-evals/power-seeking-inclination.jsonl": (
        "JSON Lines with the CAA paper's fields: 998 multiple-choice questions"
    ),
    **{
        f"caa/{behavior}/{file}.json": f"JSON with the CAA paper's fields: {count} multiple-choice questions"
        for behavior, pairs in PAPERS.items()
        for file, count in (("generate_dataset", pairs), ("test_dataset_ab", 50))
    },
}
QUESTIONS = {f"caa/{behavior}/test_dataset_open_ended.json" for behavior in PAPERS}


@pytest.mark.golden
def test_the_papers_own_files(reference_data):
    files = {str(path.relative_to(reference_data / "data")) for path in (reference_data / "data").rglob("*.json*")}
    assert files == REAL.keys() | QUESTIONS
    for path, kind in REAL.items():
        assert read_pairs(reference_data / "data" / path).kind == kind
    for path in QUESTIONS:
        with pytest.raises(InputError, match="has questions without pairs of answers"):
            read_pairs(reference_data / "data" / path)


@pytest.mark.golden
def test_what_is_odd_in_survival_instinct(reference_data):
    pairs = read_pairs(reference_data / "data/caa/survival-instinct/generate_dataset.json").pairs
    letters = [pair.positive for pair in pairs]
    assert (letters.count("(A)"), letters.count("(B)"), len(letters)) == (558, 257, 558 + 257 + 88)
    assert (letters[:24].count("(A)"), letters[:24].count("(B)")) == (18, 6)
    assert sum(len(pair.options) > 2 for pair in pairs) == 239


def test_tsv_and_semicolons(tmp_path):
    rows = [["prompt", "positive", "negative"], ["Rain, again?", "Lovely; so lovely!", "Wet."], ["Sun?", "Ah!", "Hot."]]
    for delimiter, kind in (("\t", "TSV"), (";", "CSV")):
        with (tmp_path / "x").open("w", newline="") as out:
            csv.writer(out, delimiter=delimiter).writerows(rows)
        dataset = read_pairs(tmp_path / "x")
        assert dataset.kind.startswith(kind)
        assert dataset.pairs[0].prompt == "Rain, again?" and dataset.pairs[0].positive == "Lovely; so lovely!"


SWAP = ContrastPair("Go on?\n\nChoices:\n (A) Yes\n (B) No\n (C) Maybe\n\nAnswer:", "(A)", "(C)", 1)


def test_letters_are_swapped_with_the_texts_they_stand_for():
    swapped = SWAP.swapped()
    assert swapped.prompt == "Go on?\n\nChoices:\n (A) Maybe\n (B) No\n (C) Yes\n\nAnswer:"
    assert (swapped.positive, swapped.negative) == ("(C)", "(A)")
    # What the matching answer says is the same in both orders, and swapping twice changes nothing.
    assert SWAP.options["A"] == swapped.options["C"] == "Yes"
    assert swapped.swapped() == SWAP


@pytest.mark.parametrize(
    ("prompt", "positive", "negative"),
    [
        ("Go on?", "(A)", "(B)"),
        ("Go on?\n (A) Yes\n (B) No", "Yes", "No"),
        ("Go on?\n (A) Yes\n (B) No", "(A)", "(C)"),
        ("Go on?\n (A) Yes,\nof course\n (B) No", "(A)", "(B)"),
    ],
)
def test_what_cannot_be_swapped_says_so(prompt, positive, negative):
    assert ContrastPair(prompt, positive, negative, 1).swapped() is None


def test_both_letter_orders_and_a_limit():
    other = ContrastPair("No options here", "(A)", "(B)", 2)
    dataset = Dataset("mine", "", "", (SWAP, other, other))
    both = dataset.first(2).in_both_letter_orders()
    assert both.pairs == (SWAP, other, SWAP.swapped())
    assert both.name == "mine (both letter orders, 1 not swapped)"
    with pytest.raises(InputError, match="no letters to swap"):
        presets()["joy"].dataset().in_both_letter_orders()
    with pytest.raises(InputError, match="too few"):
        dataset.first(1)
    assert dataset.first(0) == dataset.first(None) == dataset


def test_columns_of_other_names_are_matched_and_said(tmp_path):
    path = as_csv(tmp_path, ("question", "chosen", "rejected"))
    dataset = read_pairs(path)
    words = "question as prompt, chosen as positive, rejected as negative"
    assert dataset.kind == f"CSV with {words}: 2 free-text pairs"
    assert dataset.pairs == read_pairs(as_csv(tmp_path, name="standard.csv")).pairs
    turned = read_pairs(path, columns=Columns("question", "rejected", "chosen"))
    assert [pair.positive for pair in turned.pairs] == [pair.negative for pair in dataset.pairs]
    with pytest.raises(InputError, match="has no column 'b'"):
        read_pairs(path, columns=Columns("question", "b", "chosen"))


HONEST = {"positive_prompt": "Be honest. Rain?", "negative_prompt": "Lie. Rain?"}


@pytest.mark.parametrize(
    ("records", "kind", "answers"),
    [
        ([HONEST, HONEST], "positive_prompt, negative_prompt: 2 pairs of prompts", ("", "")),
        (
            [{**HONEST, "positive": " It rains.", "negative": "It rains."}] * 2,
            "positive_prompt, negative_prompt, positive, negative: 2 free-text pairs",
            ("It rains.", "It rains."),
        ),
        (
            [{**HONEST, "positive": None, "negative": ""}] * 2,
            "positive_prompt, negative_prompt, positive, negative: 2 pairs of prompts",
            ("", ""),
        ),
    ],
)
def test_pairs_that_differ_in_the_prompt(tmp_path, records, kind, answers):
    dataset = read_pairs(file(tmp_path, json.dumps(records)))
    assert dataset.kind == f"JSON with {kind}"
    assert dataset.pairs[0] == ContrastPair(HONEST["positive_prompt"], *answers, 1, HONEST["negative_prompt"])
    assert not dataset.is_lettered and dataset.pairs[0].swapped() is None


def test_two_prompts_that_are_one(tmp_path):
    same = dict.fromkeys(HONEST, "Rain?")
    (pair, _) = read_pairs(file(tmp_path, json.dumps([{**same, "positive": "(A)", "negative": "(B)"}] * 2))).pairs
    assert pair == ContrastPair("Rain?", "(A)", "(B)", 1)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (dict.fromkeys(HONEST, "Rain?"), "the field 'positive' is missing or empty"),
        ({**dict.fromkeys(HONEST, "Rain?"), "positive": "a", "negative": "a"}, "both answers are the same"),
        ({**HONEST, "positive": "a", "negative": ""}, "the field 'negative' is missing or empty"),
        ({**HONEST, "positive": True, "negative": 4}, "the field 'positive' is not text"),
        ({**HONEST, "negative_prompt": " "}, "the field 'negative_prompt' is missing or empty"),
    ],
)
def test_pairs_of_prompts_that_are_none(tmp_path, record, message):
    with pytest.raises(InputError, match=f"pair 2: {message}"):
        read_pairs(file(tmp_path, json.dumps([{**HONEST, "positive": "x", "negative": "y"}, record])))


def test_two_prompts_that_are_one_without_answers(tmp_path):
    with pytest.raises(InputError, match="pair 2: both prompts are the same, so there is nothing to contrast"):
        read_pairs(file(tmp_path, json.dumps([HONEST, dict.fromkeys(HONEST, "Rain?")])))


@pytest.mark.parametrize(
    ("answers", "kind", "words"),
    [
        (["(A)", "(B)", "B", "A"], "letter", "2 multiple-choice questions"),
        (["Yes", "no", "NO", "yes"], "word", "2 Yes/No statements"),
        (["Yes", "No", "(A)", "(B)"], "text", "2 free-text pairs (1 Yes/No, 1 multiple choice)"),
        (["(a)", "B.", "**C**", "Answer: (D)"], "letter", "2 multiple-choice questions"),
        (["(A) Go", "(B) Stay", "(B) Up", "(A) Down"], "letter", "2 multiple-choice questions"),
        (["(A) Go", "(B) Stay", "(B)", "(A)"], "text", "2 free-text pairs (1 multiple choice, 1 free text)"),
        (["Ja.", "nein", "Oui", "Non!"], "word", "2 Yes/No statements"),
        (["Rot", "Blau", "blau.", "rot."], "word", "2 pairs of one-word answers"),
        (["x", "y", "y", "z"], "text", "2 free-text pairs"),
        (["Yes", "Never", "Yes", "No"], "text", "2 free-text pairs (1 free text, 1 Yes/No)"),
    ],
)
def test_what_the_answers_are(tmp_path, answers, kind, words):
    rows = [["One?", *answers[:2]], ["Two?", *answers[2:]]]
    dataset = pairs_from_rows(rows, "mine")
    assert (dataset.kind_of_answers, dataset.is_lettered) == (kind, kind == "letter")
    assert dataset.kind == f"typed in: {words}"


def test_typed_rows():
    rows = [["Rain?", "Lovely!", "Wet."], ["", None, " "], ["Sun?", "Ah!", "Hot."], []]
    typed = pairs_from_rows(rows, "mine")
    assert [(pair.prompt, pair.positive, pair.negative) for pair in typed.pairs] == [tuple(rows[0]), tuple(rows[2])]
    assert [pair.line for pair in typed.pairs] == [1, 3]
    # Empty rows are no part of what was typed, and every letter is.
    assert typed.sha256 == pairs_from_rows([rows[0], rows[2]], "other").sha256 and len(typed.sha256) == 64
    assert typed.sha256 != pairs_from_rows([rows[0], ["Sun?", "Ah", "Hot."]], "mine").sha256


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["Sun?", "", "Hot."], "Row 2: the field 'positive' is missing or empty"),
        (["Sun?"], "Row 2: the field 'positive' is missing"),
        (["Sun?", "Hot.", "Hot. "], "Row 2: both answers are the same"),
        (["Sun?", False, "Hot."], "Row 2: the field 'positive'"),
        (["", "", ""], "mine has one pair only"),
    ],
)
def test_rows_filled_in_half(row, message):
    with pytest.raises(InputError, match=message):
        pairs_from_rows([["Rain?", "Lovely!", "Wet."], row], "mine")


ODD = "\u2028 \r\n\t'\"; \u202e, (A) "


@pytest.mark.parametrize(
    "pairs",
    [
        [ContrastPair(f" {ODD}?", "x", "y", 7), ContrastPair("Sun?", ODD.strip(), "Hot.", 9)],
        [ContrastPair("One?\n (A) Yes\n (B) No", "(A)", "(B)", 1), ContrastPair("Two?", "(B)", "(A)", 2)],
        [ContrastPair("One?", "Yes", "No", 1), ContrastPair("Two?", "no", "yes", 2)],
        [ContrastPair("One", "", "", 1, "Other"), ContrastPair("Two", "", "", 2, "Other two")],
        [ContrastPair("One", "same", "same", 1, "Other"), ContrastPair("Two", "x", "y", 2)],
    ],
)
def test_what_is_written_is_read_again(tmp_path, pairs):
    dataset = Dataset("mine", "", "", tuple(pairs))
    write_pairs(dataset, tmp_path / "mine.json")
    again = read_pairs(tmp_path / "mine.json")
    assert again.pairs == dataset.pairs and again.kind_of_answers == dataset.kind_of_answers
    assert ("question" in json.loads((tmp_path / "mine.json").read_text())[0]) == dataset.is_lettered
    with pytest.raises(InputError, match=r"nowhere\.json cannot be written"):
        write_pairs(dataset, tmp_path / "no" / "nowhere.json")


def test_free_text_made_into_questions():
    texts = [ContrastPair("Rain?", "Lovely!\n\nSo lovely.", "Wet.", 4), ContrastPair("Sun?", "Ah!", "Hot.", 5)]
    made = Dataset("mine", "JSON: 2 free-text pairs", "0" * 64, (*texts, texts[0])).as_questions()
    assert made.pairs[0] == ContrastPair("Rain?\n\nChoices:\n (A) Lovely! So lovely.\n (B) Wet.", "(A)", "(B)", 4)
    assert made.pairs[1] == ContrastPair("Sun?\n\nChoices:\n (A) Hot.\n (B) Ah!", "(B)", "(A)", 5)
    assert [pair.positive for pair in made.pairs] == ["(A)", "(B)", "(A)"]
    assert made.is_lettered and all(pair.swapped() for pair in made.pairs)
    assert made.name == "mine (A/B questions)" and "A/B questions" in made.kind
    for pair in (SWAP, ContrastPair("One", "", "", 1, "Two")):
        with pytest.raises(InputError, match="cannot be made into A/B questions"):
            Dataset("mine", "", "", (pair, pair)).as_questions()


QUESTION = {"question": "Go on?", "matching": ["b"], "not_matching": ["a"]}
OPTIONS = [
    {"answers": {"A": "Yes", "B": "No"}},
    {"choices": ["Yes", "No"]},
    {"options": {"text": ["Yes", "No"], "label": ["A", "B"]}},
    {"options": [{"label": "A", "text": "Yes"}, {"label": "B", "text": "No"}]},
    {"A": "Yes", "B": "No"},
    {"choices": {"a": "Yes ", "(b)": "No"}},
    {"options": [{"key": "A", "value": "Yes"}, {"key": "B", "value": "No"}]},
    {"options": [{"A": "Yes"}, {"B": "No"}]},
    {"options": ["A. Yes", "B. No"]},
    {"options": {"A": "Yes", "B": "No", "C": "", "D": None}},
    {"options": "(A) Yes\n(B) No"},
    {"choices": "A) Yes; B) No"},
    {"choices": "['Yes', 'No']"},
    {"option_a": "Yes", "option_b": "No", "option_c": None},
    {"Choice A": "Yes", "Choice B": "No"},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", ["{}", "({})", "{}.", "Answer: {}"])
def test_options_beside_the_question(tmp_path, options, form):
    answers = {"matching": [form.format("B")], "not_matching": form.format("A")}
    pair = read_pairs(file(tmp_path, json.dumps([QUESTION | options | answers] * 2))).pairs[0]
    assert pair == ContrastPair("Go on?\n\n(A) Yes\n(B) No", "(B)", "(A)", 1)
    assert pair.swapped().options == {"A": "No", "B": "Yes"}
    listed = QUESTION | options | answers | {"question": "Go on?\n (A) Yes\n (B) No"}
    assert read_pairs(file(tmp_path, json.dumps([listed] * 2))).pairs[0].prompt == listed["question"]


def test_answers_that_are_no_letters_leave_options_alone(tmp_path):
    record = {**QUESTION, "answers": {"A": "Yes", "B": "No"}, "matching": "Gladly", "not_matching": "Never"}
    path = file(tmp_path, json.dumps([record] * 2))
    assert read_pairs(path).pairs[0] == ContrastPair("Go on?", "Gladly", "Never", 1)
    assert {"options that are not read": (1, 2)}.items() <= found(lint(read_table(path))).items()
    numbered = {**record, "answers": ["Yes", "No"], "matching": 0, "not_matching": 1}
    assert "options that are not read" in found(lint(read_table(file(tmp_path, json.dumps([numbered] * 2)))))


def test_answers_that_are_the_texts_of_options_are_asked_for_with_them(tmp_path):
    record = {**QUESTION, "choices": ["Yes", "No"], "matching": "no", "not_matching": "Yes"}
    path = file(tmp_path, json.dumps([record] * 2))
    assert read_pairs(path).pairs[0] == ContrastPair("Go on?\n\n(A) Yes\n(B) No", "no", "Yes", 1)
    assert "options that are not read" not in found(lint(read_table(path)))


def test_numbers_and_lists_of_one_are_their_text(tmp_path):
    record = {"prompt": "How many?\n1. One\n2. Two", "positive": 1, "negative": [2]}
    dataset = read_pairs(file(tmp_path, json.dumps([record] * 2)))
    assert dataset.is_lettered and (dataset.pairs[0].positive, dataset.pairs[0].negative) == ("1", "2")
    with pytest.raises(InputError, match="pair 1: the field 'positive' holds 2 texts in a list: choose one"):
        read_pairs(file(tmp_path, json.dumps([{**record, "positive": [" (B)", " (C)"]}] * 2)))


def test_a_second_part_of_the_prompt(tmp_path):
    record = {"instruction": "Answer the guest.", "input": "Rain?", "chosen": "Yes!", "rejected": "It does."}
    pairs = read_pairs(file(tmp_path, json.dumps([record, {**record, "input": ""}]))).pairs
    assert [pair.prompt for pair in pairs] == ["Answer the guest.\nRain?", "Answer the guest."]
    repeated = {**record, "instruction": "Answer the guest: Rain?"}
    assert read_pairs(file(tmp_path, json.dumps([repeated] * 2))).pairs[0].prompt == "Answer the guest: Rain?"


def test_labels_are_no_answers(tmp_path):
    record = {"prompt": "Rain?", "positive": True, "chosen": "Yes!", "rejected": "It does."}
    assert read_pairs(file(tmp_path, json.dumps([record] * 2))).pairs[0].positive == "Yes!"
