"""Texts that carry a chat template already are named, by any template's marks, and can be had without them."""

import json

import pytest

from caa_core.data.lint import lint
from caa_core.data.markup import has_marks, without_marks
from caa_core.data.pairs import ContrastPair
from caa_core.data.repair import choose, mend
from caa_core.data.tables import read_table
from caa_core.model.pair_tokens import ModelTokens
from tests.helpers.data import found, text
from tests.helpers.tokens import make_tokenizer

# How templates write a system message, a user's and an assistant's, and what the assistant's ends with.
TEMPLATES = {
    "ChatML": (
        "<|im_start|>system\n{}<|im_end|>\n",
        "<|im_start|>user\n{}<|im_end|>\n",
        "<|im_start|>assistant\n{}",
        "<|im_end|>",
    ),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}",
        "<|eot_id|>",
    ),
    "Llama 2": ("<s>[INST] <<SYS>>\n{}\n<</SYS>>\n\n", "{} [/INST]", " {}", " </s>"),
    "Gemma": (
        "<bos><start_of_turn>system\n{}<end_of_turn>\n",
        "<start_of_turn>user\n{}<end_of_turn>\n",
        "<start_of_turn>model\n{}",
        "<end_of_turn>",
    ),
    "Zephyr": ("<|system|>\n{}</s>\n", "<|user|>\n{}</s>\n", "<|assistant|>\n{}", "</s>"),
    "DeepSeek": ("<｜begin▁of▁sentence｜><|system|>{}", "<｜User｜>{}", "<｜Assistant｜>{}", "<｜end▁of▁sentence｜>"),
    "Mistral": ("[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]", "[INST]{}", "[/INST]{}", "</s>"),
    "gpt-oss": (
        "<|start|>system<|message|>{}<|end|>",
        "<|start|>user<|message|>{}<|end|>",
        "<|start|>assistant<|channel|>final<|message|>{}",
        "<|return|>",
    ),
    "Granite": (
        "<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\n",
        "<|start_of_role|>user<|end_of_role|>{}<|end_of_text|>\n",
        "<|start_of_role|>assistant<|end_of_role|>{}",
        "<|end_of_text|>",
    ),
    "Command R": (
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{}",
        "<|END_OF_TURN_TOKEN|>",
    ),
    "Kimi": (
        "<|im_system|>system<|im_middle|>{}<|im_end|>",
        "<|im_user|>user<|im_middle|>{}<|im_end|>",
        "<|im_assistant|>assistant<|im_middle|>{}",
        "<|im_end|>",
    ),
    "Phi-4": (
        "<|im_start|>system<|im_sep|>{}<|im_end|>",
        "<|im_start|>user<|im_sep|>{}<|im_end|>",
        "<|im_start|>assistant<|im_sep|>{}",
        "<|im_end|>",
    ),
    "Gemma's later": ("<|turn>system\n{}<turn|>\n", "<|turn>user\n{}<turn|>\n", "<|turn>model\n{}", "<turn|>"),
    "EXAONE": ("[|system|]{}[|endofturn|]\n", "[|user|]{}\n", "[|assistant|]{}", "[|endofturn|]"),
    "OpenChat": (None, "GPT4 Correct User: {}<|end_of_turn|>", "GPT4 Correct Assistant: {}", "<|end_of_turn|>"),
    "dialogue": (None, "User: {}\n", "Assistant: {}", ""),
    "Solar": (None, "### User:\n{}\n\n", "### Assistant:\n{}", ""),
    "Alpaca": (None, "### Instruction:\n{}\n\n", "### Response:\n{}", ""),
    "Vicuna": (None, "USER: {} ", "ASSISTANT: {}", "</s>"),
    "hh-rlhf": (None, "\n\nHuman: {}", "\n\nAssistant: {}", ""),
}
ALL = list(TEMPLATES)


@pytest.mark.parametrize("template", ALL)
def test_marks_are_taken_off_and_what_they_told_is_kept(template):
    system, user, assistant, end = TEMPLATES[template]
    prompt = (system or "").format("Be short.") + user.format("How was it?") + assistant.format("")
    pair = ContrastPair(prompt, f"Glorious!{end}", f"Fine.{end}", 1)
    assert has_marks(pair.prompt)
    assert not end or has_marks(pair.positive)
    bare = ContrastPair("How was it?", "Glorious!", "Fine.", 1, system="Be short." if system else "")
    assert without_marks(pair) == bare
    answers = (assistant.format(words) + end for words in ("Glorious!", "Fine."))
    if template not in ("hh-rlhf", "Llama 2", "Alpaca", "Solar", "dialogue"):
        assert without_marks(ContrastPair("How was it?", *answers, 1)) == ContrastPair(
            "How was it?", "Glorious!", "Fine.", 1
        )


@pytest.mark.parametrize("template", [name for name in ALL if name not in ("Llama 2", "dialogue")])
def test_turns_that_marks_tell_of_are_turns(template):
    _, user, assistant, end = TEMPLATES[template]
    before = user.format("Hello") + assistant.format("Hi") + end + "\n\n" * (template in ("ChatML", "Alpaca", "Solar"))
    pair = ContrastPair(before + user.format("How was it?") + assistant.format(""), "Glorious!", "Fine.", 1)
    turns = (("user", "Hello"), ("assistant", "Hi"))
    assert without_marks(pair) == ContrastPair("How was it?", "Glorious!", "Fine.", 1, history=turns)


PLAIN = [
    "Is 1 < 2 | 3 > 2?",
    "Human: all too human",
    "A <s> b".replace("<s>", "<b>"),
    "[INSTRUCTION] Go",
    "<p>Hi</p>",
    "a|b|c",
]


@pytest.mark.parametrize("said", PLAIN)
def test_what_is_no_mark(said):
    assert not has_marks(said)
    pair = ContrastPair(f" {said}\n", said, f"{said} not", 1)
    assert without_marks(pair).positive == said


def test_a_pair_that_marks_are_all_of_stays():
    pair = ContrastPair("One?", "<s>", "</s>", 1)
    assert without_marks(pair) == pair


@pytest.fixture
def table(tmp_path):
    def write(items):
        (tmp_path / "mine.json").write_text(json.dumps(items))
        return read_table(tmp_path / "mine.json")

    return write


def test_marks_are_found_and_taken_off_without_a_model(table):
    items = [
        text("One?", "<|im_start|>assistant\nGood!<|im_end|>", "<|im_start|>assistant\nBad.<|im_end|>"),
        text("Two?"),
    ]
    report = lint(table(items))
    assert found(report) == {"marks of a chat template in the texts": (1,)}
    stripped = mend(table(items), report, choose(report, ["drop", "strip"]))
    assert [pair.positive for pair in stripped.pairs] == ["Good!", "How lovely it is!"]
    assert stripped.name == "mine (1 stripped)" and found(lint(stripped.table())) == {}


def test_marks_in_what_was_said_before_are_found_too(table):
    turns = [{"role": "user", "content": "[INST] Hello [/INST]"}, {"role": "assistant", "content": "Hi</s>"}]
    items = [{**text("One?"), "history": turns}, text("Two?")]
    report = lint(table(items))
    assert found(report) == {"marks of a chat template in the texts": (1,)}
    stripped = mend(table(items), report, choose(report, ["strip"]))
    assert stripped.pairs[0].history == (("user", "Hello"), ("assistant", "Hi"))


def test_special_tokens_of_any_tokenizer_are_marks(table):
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["@@end@@"]})
    items = [text("One?", "Good!@@end@@", "Bad."), text("Two?"), text("Three?", "So good!")]
    tokens = ModelTokens(tokenizer, 1000)
    assert found(lint(table(items))) == {}
    report = lint(table(items), tokens=tokens)
    assert found(report) == {"marks of a chat template in the texts": (1,)}
    assert mend(table(items), report, choose(report, ["strip"]), tokens=tokens).pairs[0].positive == "Good!"


def test_answers_that_repeat_their_prompt(table):
    asked = "How was the trip to the lake?"
    items = [text(asked, f"{asked} Glorious!", f"{asked}\nFine."), text("And the other trip?")]
    report = lint(table(items))
    assert found(report)["answers that repeat their prompt"] == (1,)
    cut = mend(table(items), report, choose(report, ["strip"])).pairs[0]
    assert (cut.prompt, cut.positive, cut.negative) == (asked, "Glorious!", "Fine.")


OPPOSITE = "the opposite of another pair"
UNSEEN = "answers that differ only in characters that are not seen"


def test_opposites_of_other_pairs(table):
    a, b = text("One?", "Good!", "Bad."), text("Two?", "Good!", "So so.")
    turned = text(" one ", "bad.", "Good!")
    assert found(lint(table([a, b, turned])))[OPPOSITE] == (1, 3)
    assert OPPOSITE not in found(lint(table([a, b, text("Three?", "Bad.", "Good!")])))
    asked = "Rain?\n({}) Much\n({}) Little"
    same, swapped = text(asked.format("A", "B"), "(A)", "(B)"), text(asked.format("B", "A"), "(B)", "(A)")
    for other in (text(same["prompt"], "B", "A"), text(swapped["prompt"], "(A)", "(B)")):
        assert found(lint(table([a, same, other])))[OPPOSITE] == (2, 3)
    assert OPPOSITE not in found(lint(table([a, same, swapped])))
    prompts = {"positive_prompt": "Lie. Rain?", "negative_prompt": "Be honest. Rain?"}
    other = {"positive_prompt": "Be honest. Rain?", "negative_prompt": "Lie. Rain?"}
    assert found(lint(table([prompts, other])))[OPPOSITE] == (1, 2)


@pytest.mark.parametrize(
    "other",
    ["Good\u200b!", "Go\u00adod!", "\ufeffGood!", "Good!\ufe0f", "Good!\u2060", "Good!  ", "Goo\x07d!", "Good!\u2800"],
)
def test_answers_that_differ_in_nothing_that_is_seen(table, other):
    if other.strip() != "Good!":
        assert found(lint(table([text("One?", "Good!", other), text("Two?")])))[UNSEEN] == (1,)
    spaced = f"So {other} it", "So Good! it"
    assert found(lint(table([text("One?", *spaced), text("Two?")])))[UNSEEN] == (1,)
    assert UNSEEN not in found(lint(table([text("One?", "Good!", "good!"), text("Two?")])))


def test_prompts_and_answers_of_which_nothing_is_seen(table):
    prompts = [{"positive_prompt": f"Lie {i}.", "negative_prompt": f"Lie\u200b {i}."} for i in range(2)]
    assert found(lint(table(prompts)))["prompts that differ only in characters that are not seen"] == (1, 2)
    report = lint(table([text("One?", "\u200b\u200b", "So."), text("Two?"), text("\u2800", "So.", "No.")]))
    assert report.usable == 1 and found(report)["the field 'positive' is missing or empty"] == (1,)


@pytest.mark.parametrize("copy", ["One? ", "one?", "Ｏne?", "One", "O\u200bne?"])
def test_near_copies(table, copy):
    items = [text("One?", "So good!", "Bad."), text("Two?"), text(copy, "So  good!", "bad.")]
    assert found(lint(table(items))) == {"the same pair again": (3,)}


def test_an_input_behind_its_instruction_is_one_message():
    pair = ContrastPair("### Instruction:\nAnswer.\n\n### Input:\nRain?\n\n### Response:\n", "Yes!", "It does.", 1)
    assert without_marks(pair).prompt == "Answer.\nRain?" and not without_marks(pair).history
