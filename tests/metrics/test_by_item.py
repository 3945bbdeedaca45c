import json
from dataclasses import replace

import numpy as np
import pytest

from caa_core.measuring.sweep import sweep
from caa_core.metrics import by_item
from caa_core.metrics.by_item import ByItem, ways
from caa_core.metrics.items import choose_items
from caa_core.progress import finish
from tests.helpers.data import A_HEAVY, PLANTED
from tests.helpers.vectors import towards


def kept(swept, best=None):
    steered = {place: reading.paired for place, reading in swept.readings.items()}
    return ByItem.of(swept.items, swept.baseline.paired, steered, best)


def test_every_item_has_its_text_and_its_values_in_every_cell(tiny_llama, monkeypatch):
    items = finish(choose_items(tiny_llama, PLANTED))
    planted = towards(tiny_llama, "!", ".", 2.0)
    planted = replace(planted, layers={2: planted.at(3), 3: planted.at(3)})
    swept = finish(sweep(tiny_llama, items, planted, [2, 3], [-1, 1], counts=False))
    found = kept(swept)
    assert [(item.text, item.matching) for item in found.items] == [(p.prompt, p.positive) for p in items.pairs]
    assert found.unsteered == pytest.approx(swept.baseline.value, abs=1e-6)
    for (layer, multiplier), reading in swept.readings.items():
        assert found.at(layer, multiplier) == pytest.approx(reading.value, abs=1e-6)
    assert ByItem.kept_in({"by_item": json.loads(json.dumps(found.summary()))}) == found
    assert ByItem.kept_in({}) is None and found.at(0, 1.0) is None
    monkeypatch.setattr(by_item, "MOST_NUMBERS", 31)
    few = kept(swept, (3, 1.0))
    assert few.at(3, 1.0) == found.at(3, 1.0) and few.at(2, 1.0) is None


def test_items_are_those_by_which_verdicts_are_given(tiny_llama):
    """Over both letter orders, where there are two."""
    items = finish(choose_items(tiny_llama, A_HEAVY))
    items = replace(items, swapped=(None, *items.swapped[1:]))
    swept = finish(sweep(tiny_llama, items, towards(tiny_llama, "A", "B", 2.0), [3], [1], counts=False))
    found = kept(swept)
    assert [item.line for item in found.items] == [pair.line for pair in items.pairs[1:]]
    assert found.unsteered == pytest.approx(swept.baseline.both[1:], abs=1e-6)
    assert found.at(3, 1) == pytest.approx(swept.readings[3, 1].both[1:], abs=1e-6)


def test_the_way_that_each_is_pushed():
    moved = np.array([0.5, 0.6, 0.4])
    assert ways([0.5] * 3, moved, 1.0) == ["not moved", "right way", "wrong way"]
    assert ways([0.5] * 3, moved, -2.0) == ["not moved", "wrong way", "right way"]
