"""What docs/scale.md computes, beside what was measured."""

import json
from dataclasses import replace

import pytest

from benchmarks import scale
from benchmarks.scale import (
    A100,
    EMBEDDED,
    MODELS,
    NEAR,
    PAGE,
    checks,
    estimating,
    kept,
    page,
    reading,
    sweeping,
    writing,
)


def test_every_formula_is_near_all_that_was_measured():
    found = [*checks()]
    assert len(found) > 20 and len({one.by for one in found}) >= 5
    assert [one for one in found if abs(one.off) > NEAR] == []
    # None is near because it was fitted to itself.
    assert not [one for one in found if one.by == one.what]


def test_the_page_says_what_is_computed():
    assert page(PAGE.read_text()) == PAGE.read_text()


def test_formulas_grow_as_the_work_does():
    seven = MODELS[1]
    assert reading(seven, A100, 200) == 2 * reading(seven, A100, 100) == 4 * reading(seven, A100, 100, 0.5)
    assert writing(seven, A100, 80, 60) < 30 * writing(seven, A100, 80, 2)
    items = {"prompts": 100, "tails": 100, "columns": 10}
    of_all, of_one = (sweeping(replace(seven, head=0), A100, **items, layers=n, multipliers=2) for n in (32, 1))
    # Cells at all layers read half of the blocks on average, and one at the first layer all but one of them.
    assert of_all / reading(seven, A100, 1) == pytest.approx(200 + 100 * 15.5)
    assert of_one / reading(seven, A100, 1) == pytest.approx(200 + 100 * 31 / 32)
    assert estimating(replace(seven, head=0), A100, 100, 10) == 2 * reading(seven, A100, 100)
    # As transformers keeps it: 0.5 MB a token.
    assert kept(seven, 1) == 2 * 32 * 2 * 32 * 128 == 524_288


def test_sizes_are_those_of_the_models():
    known = {"Llama-2-7b": 6_738_415_616, "Llama-2-13b": 13_015_864_320, "Llama-2-70b": 68_976_648_192}
    for model in MODELS[1:]:
        assert model.blocks + 2 * model.head == pytest.approx(known[model.name], rel=1e-3)
    assert json.loads(scale.COUNTED.read_text())["pairs"]


def test_the_embedded_model_is_as_it_is_said_to_be(embedded):
    blocks = sum(one.numel() for block in embedded.blocks for one in block._module.parameters())
    assert blocks == pytest.approx(EMBEDDED.blocks, rel=1e-2)
    assert embedded.head._module.weight.numel() == pytest.approx(EMBEDDED.head, rel=1e-2)
    assert (embedded.num_layers, embedded.hidden_size) == (EMBEDDED.layers, EMBEDDED.hidden)
