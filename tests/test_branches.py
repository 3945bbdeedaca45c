import pytest
import torch

from caa_core.branches import Branches, batches, inputs_of, trust
from caa_core.errors import InputError
from caa_core.prompts import Answer, RenderedPair
from tests.conftest import OLD, make_tiny
from tests.reference import residuals

PAIR = RenderedPair(Answer((1, 2, 3, 4, 5), 3, False), Answer((1, 2, 3, 6, 7, 8), 3, False))


def test_a_pair_is_one_row():
    row = Branches.of(PAIR)
    assert row == Branches((1, 2, 3, 4, 5, 6, 7, 8), shared=3, fork=5)
    assert row.columns([2, 3, 5]) == [2, 5, 7]
    assert (row.length, row.longest) == (8, 6)


def test_a_row_may_end_early():
    assert Branches.of(PAIR, 4, 4) == Branches((1, 2, 3, 4, 6), shared=3, fork=4)
    # Cut where both are still the same: nothing is left of the negative answer's own.
    both = Branches.of(PAIR, 2, 3)
    assert both.ids == (1, 2, 3) and both.columns([2]) == [2]


def test_batches_hold_every_row_once_and_keep_to_their_tokens():
    rows = [Branches(tuple(range(length)), 1, length) for length in (5, 9, 2, 7, 3)]

    found = list(batches(rows, 14))
    assert sorted(i for batch in found for i in batch) == [0, 1, 2, 3, 4]
    assert found[0] == [1]
    assert all(len(batch) * max(rows[i].length for i in batch) <= 14 for batch in found)
    assert list(batches(rows, 1)) == [[1], [3], [0], [4], [2]]


def test_each_answer_is_read_as_if_alone(tiny):
    trust(tiny)
    row = Branches.of(PAIR)
    together = tiny.last_residual(inputs_of(tiny, [row, Branches(tuple(range(20)), 4, 20)]))[0]
    for answer, columns in ((PAIR.positive, range(5)), (PAIR.negative, row.columns(range(6)))):
        alone = residuals(tiny, answer.ids)[-1]
        assert torch.allclose(together[list(columns)], alone, atol=1e-3)


@pytest.mark.parametrize("architecture", sorted(OLD))
def test_a_model_that_cannot_keep_two_answers_apart_is_refused(architecture):
    with pytest.raises(InputError, match=f"tiny-{architecture}.*attention"):
        trust(make_tiny(architecture))
