import re
from dataclasses import replace

import pytest
import torch

from caa_core.data.pairs import ContrastPair
from caa_core.metrics import counting
from caa_core.metrics.counting import count_answers, first_answer
from caa_core.metrics.items import WRITTEN_TOKENS
from caa_core.model.prompts import Cue, ask_pair
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
from tests.helpers.data import LETTERS

AB = ContrastPair("?", "(B)", "(A)", 1)
WORDS = ContrastPair("?", "Yes", "No", 1)


@pytest.mark.parametrize(
    ("pair", "text", "answer"),
    [
        (AB, "(B) I would", 1),
        (AB, "I choose (A), not (B)", -1),
        (AB, "A) Yes", -1),
        (AB, "B. No", 1),
        (AB, "The answer is:\nB\n", 1),
        (AB, "A dog, or a cat", 0),
        (AB, "(C) nothing", 0),
        (AB, "(b) or (a)", 0),
        (AB, "NASA: no", 0),
        (AB, "", 0),
        (WORDS, "yes, I do. No.", 1),
        (WORDS, "I know nothing. No!", -1),
        (WORDS, "Nobody says yesterday", 0),
    ],
)
def test_the_first_of_the_two_answers_counts(pair, text, answer):
    assert first_answer(pair, text) == answer


@pytest.mark.parametrize(("pair", "text"), [(AB, "B"), (WORDS, "Yes")])
def test_what_stands_at_the_very_end_counts_where_the_text_has_ended(pair, text):
    """Else it may go on as "B movies" or "Yesterday"."""
    assert (first_answer(pair, text, done=True), first_answer(pair, text, done=False)) == (1, 0)


@pytest.mark.parametrize("rows", [64, 2])
@pytest.mark.parametrize("cue", [Cue(), Cue("(")])
def test_counts_are_those_of_each_text_alone(tiny_llama, monkeypatch, rows, cue):
    """The answers are words that the model happens to write."""
    monkeypatch.setitem(counting.ROWS, "cpu", rows)
    random = torch.Generator().manual_seed(0)
    runs = [(), *((Steer(torch.randn(32, generator=random) * 3, 2, m),) for m in (-1.0, 1.0, 2.0))]
    prompts = [ask_pair(tiny_llama.tokenizer, pair, cue=cue) for pair in LETTERS.pairs]
    texts = [
        [finish(generate(tiny_llama, [BatchRow(prompt, steers)], Decoding(WRITTEN_TOKENS)))[0] for prompt in prompts]
        for steers in runs
    ]
    words = [[re.findall(r"[a-zA-Z]{2,}", row[i].text) for row in texts] for i in range(len(prompts))]
    pairs = [
        replace(pair, positive=of_item[1][0], negative=of_item[2][0])
        for pair, of_item in zip(LETTERS.pairs, words, strict=True)
    ]
    found = finish(count_answers(tiny_llama, pairs, runs, cue=cue))
    for r, row in enumerate(texts):
        expected = [first_answer(p, cue.words + text.text, text.done) for p, text in zip(pairs, row, strict=True)]
        assert found[r].tolist() == expected
    assert set(found.ravel().tolist()) >= {-1, 1}
