"""What is plain data is JSON, and comes back as it was."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from caa_core.errors import InputError
from caa_core.metrics.estimates import Estimate
from caa_core.metrics.plain_data import FLAT, SHARED, plain, restored


@dataclass(frozen=True)
class Part:
    name: str
    cost: float


@dataclass(frozen=True)
class Whole:
    layer: int | None
    share: Estimate | None = field(metadata=SHARED)
    score: Estimate | None = field(metadata=SHARED)
    change: Estimate = field(metadata=FLAT)
    band: tuple[float, float] | None
    parts: tuple[Part, ...]
    by_layer: dict[int, list[float]]
    free: Any
    later: int = 3


ONE = Whole(2, None, Estimate(1, 0, 2), Estimate(0.5, 0.25, 0.75), (0, 1), (Part("a", math.inf),), {4: [1.5]}, {"x": 1})


def kept(**changes):
    return {**json.loads(json.dumps(plain(ONE), allow_nan=False)), **changes}


def test_an_estimate_stands_in_three_columns_in_the_order_of_the_fields():
    names = ["layer", "share", "score", "low", "high", "change", "change_low", "change_high", "band", "parts"]
    assert list(plain(ONE)) == [*names, "by_layer", "free", "later"]
    assert [kept()[name] for name in names[1:8]] == [None, 1, 0, 2, 0.5, 0.25, 0.75]
    assert list(plain(ONE, without=["band", "parts"])) == [*names[:8], "by_layer", "free", "later"]


def test_what_was_plain_comes_back():
    assert restored(Whole, kept(), "It was") == ONE
    assert restored(Whole, kept(), "It was", layer=7).layer == 7
    older = {name: value for name, value in kept(unknown=1).items() if name != "later"}
    assert restored(Whole, older, "It was") == ONE
    assert plain(np.float32(0.5)) == 0.5 and plain([np.float64("nan"), np.int64(2)]) == [None, 2]


def test_an_estimate_that_has_to_be_there_may_be_no_finite_number():
    found = restored(Whole, kept(change=None, change_low=None, change_high=None), "It was")
    assert found.change == Estimate(math.inf, math.inf, math.inf)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        3,
        {},
        kept(layer="2"),
        kept(layer=True),
        kept(change=None),
        kept(change="much"),
        kept(band=[1]),
        kept(parts={"name": "a", "cost": 1}),
        kept(parts=[{"name": "a"}]),
        kept(by_layer={"a": [1]}),
        kept(by_layer=[1]),
    ],
)
def test_anything_else_is_refused(wrong):
    with pytest.raises(InputError, match=r"^The whole that was kept cannot be read\.$"):
        restored(Whole, wrong, "The whole that was")
