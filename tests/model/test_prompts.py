import pytest

from caa_core.data.pairs import ContrastPair
from caa_core.errors import InputError
from caa_core.model.prompts import (
    CUES,
    NO_TOKEN,
    Cue,
    after_thought,
    ask,
    ask_pair,
    asked_to_think,
    lead_of,
    render,
    render_pair,
    thought_of,
    thought_turns,
    with_answer,
)
from tests.helpers.thinking import OPENED, QWEN3, make_thinking_tokenizer
from tests.helpers.tokens import CHAT, make_tokenizer

RAIN = ContrastPair("Rain?", "(A)", "(B)", 1)
USER = {"role": "user", "content": "How are you?"}


def test_chat_is_rendered_by_the_template_and_ends_where_the_model_speaks():
    tokenizer = make_tokenizer()
    prompt = render(tokenizer, [USER])
    assert prompt.text == "<|user|>How are you?<|end|><|assistant|>"
    assert tokenizer.decode(prompt.ids) == prompt.text
    assert "<|system|>" not in prompt.text
    assert render(tokenizer, [USER], "Be brief.").text.startswith("<|system|>Be brief.<|end|><|user|>")


def test_history_is_part_of_the_prompt():
    turns = [USER, {"role": "assistant", "content": "Fine."}, {"role": "user", "content": "Why?"}]
    assert render(make_tokenizer(), turns).text == (
        "<|user|>How are you?<|end|><|assistant|>Fine.<|end|><|user|>Why?<|end|><|assistant|>"
    )


def test_no_second_first_token():
    """A template that writes the first token itself, in a tokenizer that also would."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "<|system|>" + tokenizer.chat_template
    from tokenizers.processors import TemplateProcessing

    first = tokenizer.convert_tokens_to_ids("<|system|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|system|> $A", special_tokens=[("<|system|>", first)]
    )
    assert tokenizer("x").input_ids[0] == first
    prompt = render(tokenizer, [USER])
    assert prompt.ids.count(first) == 1
    tokenizer.chat_template = None
    assert render(tokenizer, [USER]).ids.count(first) == 1


def test_a_template_without_a_system_role_gets_it_in_the_first_message():
    tokenizer = make_tokenizer()
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    tokenizer.chat_template = refuse + tokenizer.chat_template
    assert render(tokenizer, [USER], "Be brief.").text.startswith("<|user|>Be brief.\n\nHow are you?<|end|>")


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_template_that_refuses_the_turns_is_a_sentence(system):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must\\nalternate') }}"
    with pytest.raises(InputError, match=r"refuses this conversation: roles must alternate\.$"):
        render(tokenizer, [USER], system)


KEPT = "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


@pytest.mark.parametrize(
    "template",
    [
        KEPT,
        # It is looked for where it is not, or only in a longer conversation; a system message of the template's own.
        KEPT + "{% if messages|length > 9 %}{{ messages[0].content }}{% endif %}",
        "<|system|>I am Be brief.<|end|>" + KEPT,
    ],
)
@pytest.mark.parametrize("system", ["Be brief.", "user", "Two\n\nlines,  and space", "!"])
def test_a_template_that_leaves_the_system_message_out_gets_it_in_the_first_message(template, system):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    assert f"<|user|>{system}\n\nHow are you?<|end|>" in render(tokenizer, [USER], system).text
    assert "\n\nHow" not in render(tokenizer, [USER]).text


def test_a_template_that_changes_the_space_of_a_system_message_keeps_it():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT.replace("m.content", "m.content | replace('\n', ' ')")
    assert render(tokenizer, [USER], "Be\nbrief.").text.startswith("<|system|>Be brief.<|end|><|user|>How")


def test_base_models_get_the_plain_form():
    prompt = render(make_tokenizer(chat=False), [USER], "Be brief.")
    assert prompt.text == "Be brief.\nInput: How are you?\nResponse:"
    answer = with_answer(make_tokenizer(chat=False), prompt, "Fine.")
    assert make_tokenizer(chat=False).decode(answer.ids[answer.start :]) == " Fine."


def test_a_pair_is_rendered_behind_its_own_system_message_and_turns():
    turns = (("user", "Hello"), ("assistant", "Hi"))
    pair = ContrastPair("Rain?", "Yes, much", "No", 1, system="Be a pirate.", history=turns)
    rendered = render_pair(make_tokenizer(), pair, system="Be brief.")
    before = "<|system|>Be a pirate.\n\nBe brief.<|end|><|user|>Hello<|end|><|assistant|>Hi<|end|>"
    text = make_tokenizer().decode(rendered.positive.ids)
    assert text == before + "<|user|>Rain?<|end|><|assistant|>Yes, much"
    other = ContrastPair("Rain?", "Yes", "No", 1, "Snow?", system="Be a pirate.")
    negative = make_tokenizer().decode(render_pair(make_tokenizer(), other).negative.ids)
    assert negative == "<|system|>Be a pirate.<|end|><|user|>Snow?<|end|><|assistant|>No"


def test_answers_begin_behind_the_prompt_and_letters_part_at_the_letter():
    tokenizer = make_tokenizer()
    pair = render_pair(tokenizer, ContrastPair("Yes?\n (A) Yes\n (B) No", "(A)", "(B)", 1))
    assert (
        pair.positive.start
        == pair.negative.start
        == len(render(tokenizer, [{**USER, "content": "Yes?\n (A) Yes\n (B) No"}]).ids)
    )
    assert tokenizer.decode([pair.positive.ids[pair.shared]]) == "A"
    assert tokenizer.decode([pair.negative.ids[pair.shared]]) == "B"
    assert pair.positive.ids[: pair.shared] == pair.negative.ids[: pair.shared]
    assert pair.part and not pair.positive.merged


def test_a_token_across_the_border_is_found_and_said():
    tokenizer = make_tokenizer()
    # "happy" is one token of this vocabulary; a template that ends in "hap" makes the answer "py" merge with it.
    tokenizer.chat_template = "{{ messages[0].content }} so hap"
    assert len(tokenizer(" happy").input_ids) == 1
    prompt = render(tokenizer, [USER])
    answer = with_answer(tokenizer, prompt, "py")
    assert answer.merged
    assert tokenizer.decode(answer.ids[answer.start :]) == " happy"


def test_one_answer_that_is_the_beginning_of_the_other():
    pair = render_pair(make_tokenizer(), ContrastPair("Rain?", "So happy", "So happy today", 1))
    assert not pair.part
    assert pair.shared == len(pair.positive.ids)


@pytest.mark.parametrize("content", ["", "  \n"])
def test_an_empty_prompt_is_refused(content):
    with pytest.raises(InputError, match="The prompt is empty"):
        render(make_tokenizer(), [{"role": "user", "content": content}])


def test_a_cue_is_the_assistants_and_steered_positions_do_not_count_it():
    tokenizer = make_tokenizer()
    bare, begun = ask(tokenizer, "Rain?"), ask_pair(tokenizer, RAIN, cue=Cue("Answer:"))
    assert tokenizer.decode(begun.ids) == bare.text + "Answer:"
    assert begun.length == len(bare.ids) < len(begun.ids)
    answer = with_answer(tokenizer, begun, "(A)")
    assert (answer.start, answer.prompt_length) == (len(begun.ids), len(bare.ids))
    assert tokenizer.decode(answer.ids) == bare.text + "Answer: (A)"


@pytest.mark.parametrize("chat", [True, False])
def test_an_answer_goes_on_from_a_cue_that_it_begins_with(chat):
    tokenizer = make_tokenizer(chat)
    pair = render_pair(tokenizer, RAIN, cue=Cue("("))
    assert tokenizer.decode(pair.positive.ids).endswith("(A)")
    assert tokenizer.decode(pair.positive.ids[pair.positive.start :]) == "A)"


def test_an_instruction_ends_the_question():
    prompt = ask_pair(make_tokenizer(), RAIN, cue=CUES["instruction"])
    assert prompt.text.startswith(f"<|user|>Rain?\n\n{CUES['instruction'].instruction}<|end|>")
    assert prompt.cue_tokens == 0
    assert Cue.parse(" None ") == Cue()
    assert Cue.parse("My choice is") == Cue("My choice is")
    with pytest.raises(InputError, match="at most 200"):
        Cue.parse("x" * 201)


def test_asked_to_think_plainly(tiny_llama):
    """An instruction, the thought token by token, the lead, the answer."""
    tokenizer = tiny_llama.tokenizer
    prompt = asked_to_think(tokenizer, [{"role": "user", "content": "Rain?"}])
    assert prompt.text == "<|user|>Rain?\n\nThink step by step before you answer.<|end|><|assistant|>"
    thought = tuple(tokenizer("It is wet").input_ids)
    found = after_thought(tokenizer, prompt, thought, "Yes")
    assert found.ids[: len(prompt.ids) + len(thought)] == prompt.ids + thought
    assert tokenizer.decode(found.ids[len(prompt.ids) + len(thought) : found.start]) == "\n\nAnswer:"
    assert tokenizer.decode(found.ids[found.start :]) == " Yes"
    assert found.prompt_length == len(prompt.ids) and found.thought_tokens == len(thought)
    assert prompt.thought_end == NO_TOKEN
    with pytest.raises(InputError, match="does not think before it answers"):
        ask(tokenizer, "Rain?", think=True)
    with pytest.raises(InputError, match="empty"):
        asked_to_think(tokenizer, [{"role": "user", "content": " "}])


@pytest.mark.parametrize("opens", [True, False])
def test_a_template_thinks_in_its_own_way(opens):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = f"{CHAT}{'<think>' if opens else '{# <think> #}'}"
    prompt = asked_to_think(tokenizer, [{"role": "user", "content": "Rain?"}])
    assert prompt.text.rstrip() == "<|user|>Rain?<|end|><|assistant|><think>"
    assert prompt.text.count("<think>") == 1
    written = tokenizer("wet</think>Yes").input_ids
    assert tokenizer.decode(thought_of(tokenizer, written)) == "wet"
    assert lead_of(tokenizer).text == "\n</think>\n\nAnswer:"
    assert thought_turns(tokenizer, "Rain?", "wet", "Yes")[1]["content"] == "<think>\nwet\n</think>\n\nAnswer: Yes"


@pytest.mark.parametrize("template", [QWEN3, OPENED])
def test_whether_a_model_thinks_first_is_chosen(template):
    """Either the template has a switch, or the thought that it opens is closed at once."""
    tokenizer = make_thinking_tokenizer(template)
    first, directly = ask(tokenizer, "Rain?", think=True), ask(tokenizer, "Rain?")
    assert first.text == "<|user|>Rain?<|end|><|assistant|><think>\n" and first.has_thought
    assert directly.text == "<|user|>Rain?<|end|><|assistant|><think>\n\n</think>\n\n" and not directly.has_thought
    assert first.thought_end == tokenizer.convert_tokens_to_ids("</think>") and first.thought_end in directly.ids
    assert asked_to_think(tokenizer, [{"role": "user", "content": "Rain?"}]) == first
    # A template may speak of thoughts, and the vocabulary have no token for their end.
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    assert not ask(tokenizer, "Rain?").has_thought
    with pytest.raises(InputError, match="no place for a thought"):
        ask(tokenizer, "Rain?", think=True)
