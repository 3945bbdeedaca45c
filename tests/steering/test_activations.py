import pytest
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.model.prompts import render_pair
from caa_core.progress import finish
from caa_core.steering.activations import read_all
from caa_core.steering.read_position import RULES, ReadPosition
from caa_core.vectors.extraction import DifferenceList
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.reference import residuals

TWO_PROMPTS = Dataset(
    "two prompts",
    "",
    "",
    (
        ContrastPair("Be kind. How are you?", "Good, and you?", "Good, and you?", 1, "Be rude. How are you?"),
        ContrastPair("Please be kind. Rain?", "Yes.", "No.", 2, "Rain?"),
    ),
)


def plainly(answer, pair, rule):
    """The same rules in other words."""
    length = len(answer.ids)
    return {
        "letter": [pair.shared],
        "answer-mean": list(range(answer.start, length)),
        "last": [length - 1],
        "last-prompt": [answer.start - 1],
        "-2": [length - 2],
        "3": [3],
    }[rule]


@pytest.mark.parametrize("dataset", [TEXTS, LETTERS, TWO_PROMPTS], ids=lambda dataset: dataset.name)
@pytest.mark.parametrize("rule", ["letter", "answer-mean", "last", "last-prompt", "-2", "3"])
def test_every_position_equals_plain_hooks(tiny, dataset, rule):
    kept = DifferenceList(4, len(dataset.pairs), tiny.hidden_size)
    finish(read_all(tiny, dataset, range(4), ReadPosition.parse(rule), kept))
    for number, pair in enumerate(dataset.pairs):
        rendered = render_pair(tiny.tokenizer, pair)
        for answer, read in ((rendered.positive, kept.positive), (rendered.negative, kept.negative)):
            expected = residuals(tiny, answer.ids)[:, plainly(answer, rendered, rule)].mean(1)
            assert torch.allclose(read[:, number], expected, atol=1e-3)


def test_automatic_goes_by_the_data():
    assert str(ReadPosition().of(LETTERS)) == "letter"
    assert str(ReadPosition().of(TEXTS)) == "answer-mean"
    assert str(ReadPosition("last").of(LETTERS)) == "last"


@pytest.mark.parametrize("text", [*RULES, "-2", "0", "17"])
def test_positions_as_people_type_them(text):
    assert str(ReadPosition.parse(f" {text} ")) == text


@pytest.mark.parametrize("text", ["", "first", "1.5", "--2", "9" * 40])
def test_positions_that_do_not_exist(text):
    with pytest.raises(InputError, match="no read position"):
        ReadPosition.parse(text)


@pytest.mark.parametrize(
    ("pair", "rule", "message"),
    [
        (ContrastPair("Rain?", "Yes", "Yes, it does", 7), "letter", "pair 7: its answers do not part in any token"),
        (ContrastPair("Rain?", "Yes", "No", 7), "400", "pair 7: one of its answers has no token 400"),
        (ContrastPair("Rain?", "Yes", "No", 7), "-400", "pair 7: one of its answers has no token -400"),
    ],
)
def test_a_pair_with_nothing_at_the_position_is_named(tiny_llama, pair, rule, message):
    with pytest.raises(InputError, match=message):
        finish(read_all(tiny_llama, Dataset("x", "", "", (pair,)), [0], ReadPosition.parse(rule)))
