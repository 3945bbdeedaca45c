import pytest
import torch

from caa_core.errors import InputError
from caa_core.model.prompts import Answer, RenderedPair
from caa_core.steering.batching import batches
from caa_core.steering.pair_rows import PairRow, check_attention_mask, inputs_of
from tests.helpers.models import OLD, make_tiny
from tests.helpers.reference import residuals

PAIR = RenderedPair(Answer((1, 2, 3, 4, 5), 3, False), Answer((1, 2, 3, 6, 7, 8), 3, False))


def test_a_pair_is_one_row():
    row = PairRow.of(PAIR)
    assert row == PairRow((1, 2, 3, 4, 5, 6, 7, 8), shared=3, negative_start=5)
    assert row.columns([2, 3, 5]) == [2, 5, 7]
    assert (row.length, row.longest) == (8, 6)


def test_a_row_may_end_early():
    assert PairRow.of(PAIR, 4, 4) == PairRow((1, 2, 3, 4, 6), shared=3, negative_start=4)
    # Cut where both are still the same: nothing is left of the negative answer's own.
    both = PairRow.of(PAIR, 2, 3)
    assert both.ids == (1, 2, 3) and both.columns([2]) == [2]


def test_batches_hold_every_row_once_and_keep_to_their_tokens():
    rows = [PairRow(tuple(range(length)), 1, length) for length in (5, 9, 2, 7, 3)]

    found = list(batches(rows, 14))
    assert sorted(i for batch in found for i in batch) == [0, 1, 2, 3, 4]
    assert found[0] == [1]
    assert all(len(batch) * max(rows[i].length for i in batch) <= 14 for batch in found)
    assert list(batches(rows, 1)) == [[1], [3], [0], [4], [2]]


def test_each_answer_is_read_as_if_alone(tiny):
    check_attention_mask(tiny)
    row = PairRow.of(PAIR)
    together = tiny.last_residual(inputs_of(tiny, [row, PairRow(tuple(range(20)), 4, 20)]))[0]
    for answer, columns in ((PAIR.positive, range(5)), (PAIR.negative, row.columns(range(6)))):
        alone = residuals(tiny, answer.ids)[-1]
        assert torch.allclose(together[list(columns)], alone, atol=1e-3)


@pytest.mark.parametrize("architecture", sorted(OLD))
def test_a_model_that_cannot_keep_two_answers_apart_is_refused(architecture):
    with pytest.raises(InputError, match=f"tiny-{architecture}.*attention"):
        check_attention_mask(make_tiny(architecture))
