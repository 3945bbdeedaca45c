import csv
import json

import pytest

from caa_core.datasets import ContrastPair, Dataset, read_pairs
from caa_core.errors import InputError
from caa_core.presets import presets
from caa_core.tables import MAX_BYTES

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
        (json.dumps([TEXT[0], {**TEXT[1], "positive": 3}]), "pair 2: the field 'positive'"),
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
    assert MAX_BYTES < 50_000_000
    with pytest.raises(InputError, match=r"nowhere\.json cannot be read: No such file"):
        read_pairs(tmp_path / "nowhere.json")


@pytest.mark.golden
@pytest.mark.parametrize(("behavior", "pairs"), [("sycophancy", 1000), ("survival-instinct", 903)])
def test_the_papers_own_files(reference_data, behavior, pairs):
    dataset = read_pairs(reference_data / "data" / "caa" / behavior / "generate_dataset.json")
    assert len(dataset.pairs) == pairs and dataset.is_lettered


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
