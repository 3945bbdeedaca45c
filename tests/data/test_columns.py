import pytest

from caa_core.data.columns import Columns, are_questions, match_columns
from caa_core.errors import InputError


@pytest.mark.parametrize(
    ("fields", "columns", "words"),
    [
        ("prompt positive negative", ("prompt", "positive", "negative"), "prompt, positive, negative"),
        (
            "question answer_matching_behavior answer_not_matching_behavior",
            ("question", "answer_matching_behavior", "answer_not_matching_behavior"),
            "the CAA paper's fields",
        ),
        (
            "question chosen rejected score",
            ("question", "chosen", "rejected"),
            "question as prompt, chosen as positive, rejected as negative",
        ),
        ("Prompt POSITIVE Negative", ("Prompt", "POSITIVE", "Negative"), "prompt, positive, negative"),
        # An exact name wins over one that means the same, and a plain one over one with an end.
        ("prompt question positive chosen negative", ("prompt", "positive", "negative"), "prompt, positive"),
        (
            "Frage gut schlecht",
            ("Frage", "gut", "schlecht"),
            "Frage as prompt, gut as positive, schlecht as negative",
        ),
        ("query chosen chosen_score rejected chosen_response", ("query", "chosen", "rejected"), "query as prompt"),
        ("instruction Positive-Answer negative_response", ("instruction", "Positive-Answer", "negative_response"), ""),
        ("input matching not_matching", ("input", "matching", "not_matching"), "input as prompt"),
        ("Prompts positives negatives", ("Prompts", "positives", "negatives"), "Prompts as prompt"),
        ("\ufeffprompt accepted reject", ("\ufeffprompt", "accepted", "reject"), "prompt, accepted as positive"),
        (
            "positive_prompt negative_prompt",
            ("positive_prompt", "", "", "negative_prompt"),
            "positive_prompt, negative_prompt",
        ),
        (
            "PositivePrompt NegativePrompt positive negative",
            ("PositivePrompt", "positive", "negative", "NegativePrompt"),
            "positive_prompt, negative_prompt, positive, negative",
        ),
    ],
)
def test_columns_are_matched_by_what_they_are_called(fields, columns, words):
    found = match_columns(fields.split(), "data")
    assert found == Columns(*columns)
    assert str(found).startswith(words)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["instruction", "query", "chosen", "rejected"], "'instruction' or 'query' may be the prompt; choose"),
        (["prompt", "pos", "chosen", "negative"], "'pos' or 'chosen' may be the positive"),
        (["Prompt", "prompt ", "positive", "negative"], "'Prompt' or 'prompt' may be the prompt"),
        (["prompt", "positive"], "has the fields prompt, positive; needed are prompt, positive, negative"),
        (["positive_prompt", "prompt"], "needed are"),
        (["answer", "text"], "needed are"),
        (["pos", "neg"], r"pairs of texts without prompts \(pos, neg\): give each pair a prompt"),
        ([], r"\(none\)"),
        (["Question", "category"], "questions without pairs of answers"),
        (["\ud800" * 99, "b"], r"has the fields \?{40}, b"),
    ],
)
def test_what_cannot_be_matched_is_said(fields, message):
    with pytest.raises(InputError, match=f"^data.* {message}|^data: {message}"):
        match_columns(fields, "data")


def test_columns_can_be_chosen():
    fields = ["a", "b", "c, d", "e"]
    chosen = Columns.parse('a, b ,"c, d"')
    assert chosen == Columns("a", "b", "c, d")
    assert chosen.check(fields, "data") is chosen
    assert str(chosen) == "a as prompt, b as positive, c, d as negative"
    assert Columns.parse("a,,,e").check(fields, "data").roles == {"positive_prompt": "a", "negative_prompt": "e"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b", "names no columns: give PROMPT,POSITIVE,NEGATIVE"),
        ("", "names no columns"),
        ("a,b,c,d,e", "names no columns"),
        ("a,b,x", "data has no column 'x'; it has a, b, c"),
        (",b,c", "data has no column ''"),
        ("a,,", "name a column for the positive answer"),
        ("a,b,,c", "name a column for the positive answer"),
    ],
)
def test_columns_that_cannot_be_chosen(text, message):
    with pytest.raises(InputError, match=message):
        Columns.parse(text).check(["a", "b", "c"], "data")


def test_open_questions():
    assert are_questions(["question"]) and are_questions(["Prompt", "id"])
    assert not are_questions(["id"]) and not are_questions(["question", "answer"])


@pytest.mark.parametrize(
    ("fields", "columns", "words"),
    [
        (
            "instruction input chosen rejected",
            {"prompt": "instruction", "more": ("input",)},
            "instruction+input as prompt,",
        ),
        ("prompt input chosen rejected", {"prompt": "prompt", "more": ("input",)}, "prompt+input as prompt, chosen"),
        (
            "System Prompt,question,chosen,rejected",
            {"prompt": "question", "system": "System Prompt"},
            "System Prompt as system",
        ),
        ("history query chosen rejected", {"prompt": "query", "history": "history"}, "rejected as negative, history"),
        ("question choices chosen rejected", {"prompt": "question", "options": ("choices",)}, "choices as options"),
        ("question A B C chosen rejected", {"prompt": "question", "options": ("A", "B", "C")}, "A+B+C as options"),
        ("question B C chosen rejected", {"prompt": "question"}, "rejected as negative"),
    ],
)
def test_columns_that_belong_to_the_prompt(fields, columns, words):
    fields = fields.split("," if "," in fields else None)
    found = match_columns(fields, "data")
    assert found == Columns(**{"positive": "chosen", "negative": "rejected", **columns})
    assert words in f"{found}," and found.check(fields, "data") is found


def test_parts_of_the_prompt_can_be_chosen():
    fields = ["context", "question", "good", "bad", "system"]
    chosen = Columns.parse("context+question,good,bad").check(fields, "data")
    assert chosen == Columns("context", "good", "bad", more=("question",), system="system")
    assert chosen.in_use == set(fields)
    with pytest.raises(InputError, match="no column 'answer'"):
        Columns.parse("context+answer,good,bad").check(fields, "data")
    assert Columns.parse("a+b,c,d").check(["a+b", "c", "d"], "data").prompt == "a+b"
