"""Models that think before they answer: where a thought ends is seen while they write, row by row."""

from functools import cache

import pytest

from caa_core.errors import InputError
from caa_core.model.prompts import ask, asked_to_think, from_thought
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate, side_by_side
from caa_core.steering.interventions import Positions, Steer
from tests.helpers.reference import steered_logits
from tests.helpers.thinking import END, make_thinking
from tests.helpers.vectors import random_vector

QUESTIONS = ("How was your day?", "Rain?", "Tell me about the long weekend that you had in the mountains.")
TOKENS = 8
PARTS = ("thought", "after-thought", "after-prompt")
thinking = cache(make_thinking)


def rows_of(model, rule):
    """Of which some end their thought soon, others later or not at all."""
    return [
        BatchRow(ask(model.tokenizer, question, think=True), (Steer(random_vector(model, i), 2, 2.0),), Positions(rule))
        for i, question in zip((2, 1, 0), QUESTIONS, strict=True)
    ]


def write_plainly(model, row):
    """Greedy tokens from the whole text at every step, in which a thought ends before the first token that ends it."""
    end = model.tokenizer.convert_tokens_to_ids(END)
    ids, start = list(row.prompt.ids), len(row.prompt.ids)
    for _ in range(TOKENS):
        answer = ids.index(end, start) if end in ids[start:] else len(ids)
        steered = {"thought": range(start - 1, answer), "after-thought": range(answer, len(ids))}[row.positions.rule]
        additions = [(steer.layer, steer.multiplier * steer.vector) for steer in row.steers]
        token = steered_logits(model, ids, additions, [*steered]).argmax().item()
        if token in model.end_tokens:
            break
        ids.append(token)
    return ids[start:]


def test_equals_a_loop_without_cache():
    """Also where one row thinks and another answers in the same batch, whatever the padding."""
    model = thinking()
    rows = [row for rule in PARTS[:2] for row in rows_of(model, rule)]
    found = finish(generate(model, rows, Decoding(TOKENS)))
    assert [text.ids for text in found] == [write_plainly(model, row) for row in rows]
    ends = [None if text.is_thinking else text.thought_tokens for text in found]
    assert ends == [None, None, 3, 0, None, 2], "so that rows differ in where their thought ends, and some have no end"


def test_the_parts_of_what_comes_after_the_prompt():
    """Only the thought, only what follows, and both are steered: the first two differ from it and from each other."""
    model = thinking()
    rules = {rule: finish(generate(model, rows_of(model, rule), Decoding(TOKENS))) for rule in PARTS}
    texts = [[text.ids for text in found] for found in rules.values()]
    assert all(a != b for i, a in enumerate(texts) for b in texts[:i])
    # Until it ends, nothing tells a thought that is steered apart from one behind which all is.
    for alone, both in zip(rules["thought"], rules["after-prompt"], strict=True):
        assert alone.ids[: alone.answer_from] == both.ids[: alone.answer_from]


def test_thought_and_answer_are_told_apart():
    model = thinking()
    decode = model.tokenizer.decode
    for text in finish(generate(model, rows_of(model, "after-prompt"), Decoding(TOKENS))):
        thought, ended, answer = decode(text.ids).partition(END)
        told = [thought.rstrip("\ufffd").strip(), answer.rstrip("\ufffd").lstrip()]  # half letters are held back
        assert [text.thought, text.text] == told and text.is_thinking == (not ended)
        assert text.answer_from == (text.thought_tokens + 1 if ended else len(text.ids))
    _, row, _ = rows_of(model, "after-prompt")
    short = finish(side_by_side(model, row.prompt, row.steers, row.positions, Decoding(3), (2.0,))).summary()
    assert short["unsteered_cut_in_thought"] and short["unsteered"] == "" and short["unsteered_thought"]
    assert short["by_factor"][0].keys() == {"factor", "text", "tokens", "thought", "cut_in_thought"}


def test_a_thought_that_stands_in_the_prompt_is_steered_as_one_that_is_written():
    model = thinking()
    head = ask(model.tokenizer, "Rain?", think=True)
    prompt = from_thought(model.tokenizer, head, head.ids[1:5])
    start, end = len(head.ids), len(head.ids) + 4
    for rule, covers in (("thought", range(start - 1, end)), ("after-thought", range(end, 99))):
        vector = random_vector(model)
        (found,) = finish(generate(model, [BatchRow(prompt, (Steer(vector, 2, 6.0),), Positions(rule))], Decoding(1)))
        steered = [i for i in range(len(prompt.ids)) if i in covers]
        assert found.ids == [steered_logits(model, prompt.ids, [(2, 6 * vector)], steered).argmax().item()]
        assert not found.is_thinking and found.thought == ""


def test_a_thought_that_nothing_ends_is_all_that_is_written(tiny_llama):
    """Of a model that is asked in words to think, so that all of it is steered as a thought, and none behind it."""
    prompt = asked_to_think(tiny_llama.tokenizer, [{"role": "user", "content": "Rain?"}])
    steers = (Steer(random_vector(tiny_llama), 2, 4.0),)
    rows = [BatchRow(prompt), *(BatchRow(prompt, steers, Positions(rule)) for rule in PARTS)]
    unsteered, thought, behind, both = (text.ids for text in finish(generate(tiny_llama, rows, Decoding(TOKENS))))
    assert thought == both != behind == unsteered


def test_where_nothing_is_thought_there_are_no_such_positions(tiny_llama):
    model = thinking()
    for rule in map(Positions, ("thought", "after-thought")):
        with pytest.raises(InputError, match=f"was not asked to think first, so there is no {rule}: let it think"):
            finish(generate(model, [BatchRow(ask(model.tokenizer, "Rain?"), (), rule)], Decoding(2)))
        with pytest.raises(InputError, match=f"does not think before it answers, so there is no {rule}"):
            finish(generate(tiny_llama, [BatchRow(ask(tiny_llama.tokenizer, "Rain?"), (), rule)], Decoding(2)))
