import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.measuring.sweep import RunScores, Sweep, cells_of, sweep
from caa_core.metrics.estimates import mean_of
from caa_core.metrics.grid import parse_multipliers
from caa_core.metrics.items import Items, choose_items
from caa_core.progress import Progress, finish
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.scoring import score
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.models import make_tiny

MULTIPLIERS = (-1.0, 0.0, 2.0)


@pytest.fixture
def vector(tiny_llama):
    random = torch.Generator().manual_seed(0)
    layers = {layer: torch.randn(tiny_llama.hidden_size, generator=random) for layer in range(4)}
    return SteeringVector("v", layers, {}, Provenance())


@pytest.fixture
def items(tiny_llama):
    return finish(choose_items(tiny_llama, LETTERS))


def ends(found):
    return found.low, found.high


def test_cells_are_means_over_the_scores(tiny_llama, vector, items):
    found = finish(sweep(tiny_llama, items, vector, [1, 3], MULTIPLIERS))
    assert [(cell.layer, cell.multiplier) for cell in found.cells] == [(x, m) for x in (1, 3) for m in MULTIPLIERS]
    for cell in found.cells:
        run = (Steer(vector.at(cell.layer), cell.layer, cell.multiplier),)
        plain = finish(score(tiny_llama, LETTERS.pairs, [run]))
        other = finish(score(tiny_llama, [pair.swapped() for pair in LETTERS.pairs], [run]))
        both = ((plain.probability[1] + other.probability[1]) / 2).numpy()
        assert cell.probability.value == pytest.approx(plain.probability[1].mean().item(), abs=1e-5)
        assert ends(cell.probability) == pytest.approx(
            ends(mean_of(plain.probability[1].numpy(), within=(0, 1))), abs=1e-4
        )
        assert cell.swapped.value == pytest.approx(both.mean(), abs=1e-5)
        assert ends(cell.swapped) == pytest.approx(ends(mean_of(both, within=(0, 1))), abs=1e-4)
        assert cell.answer_mass == pytest.approx(plain.mass[1].mean().item(), rel=1e-3)
        assert cell.kl == pytest.approx(plain.kl[1].mean().item(), abs=1e-5)
        assert cell.matching + cell.not_matching + cell.neither == 3
        if not cell.multiplier:
            assert replace(cell, layer=None) == found.unsteered
    json.dumps(found.summary(), allow_nan=False)


def test_free_text_has_a_preference_and_no_letters(tiny_llama, vector):
    items = finish(choose_items(tiny_llama, TEXTS, Positions("all")))
    found = finish(sweep(tiny_llama, items, vector, [2], [1.0]))
    scores = finish(score(tiny_llama, TEXTS.pairs, [(Steer(vector.at(2), 2, 1.0),)], Positions("all")))
    (cell,) = found.cells
    assert cell.preference.value == pytest.approx(scores.preference[1].mean().item(), abs=1e-5)
    assert (cell.probability, cell.swapped, cell.answer_mass, cell.matching) == (None,) * 4
    assert "nats a token" in found.measure
    json.dumps(found.summary(), allow_nan=False)


def test_paper_counting_counts_other_letters_as_0(tiny_llama, vector):
    other = ContrastPair("Is it so?\n\nChoices:\n (A) Yes\n (B) No\n (C) Who knows", "(C)", "(A)", 4)
    dataset = Dataset("d", "", "", (*LETTERS.pairs, other))
    alone = finish(sweep(tiny_llama, finish(choose_items(tiny_llama, LETTERS)), vector, [2], [1], counts=False))
    papers = finish(choose_items(tiny_llama, dataset, paper_counting=True))
    found = finish(sweep(tiny_llama, papers, vector, [2], [1], counts=False))
    assert found.cells[0].value == pytest.approx(alone.cells[0].value * 3 / 4)
    assert found.cells[0].swapped.value == pytest.approx(alone.cells[0].swapped.value)
    assert found.summary()["counted_as_zero"] == 1 and found.cells[0].matching is None


def test_items_without_another_letter_order_are_left_out_of_the_swapped_value(tiny_llama, vector):
    odd = ContrastPair("Is it so?", "(A)", "(B)", 4)
    swept = [
        finish(sweep(tiny_llama, finish(choose_items(tiny_llama, data)), vector, [2], [1], counts=False))
        for data in (LETTERS, Dataset("d", "", "", (*LETTERS.pairs, odd)))
    ]
    assert swept[1].cells[0].swapped.value == pytest.approx(swept[0].cells[0].swapped.value, abs=1e-5)
    assert swept[1].summary()["not_swapped"] == 1


def test_a_stopped_sweep_goes_on_where_it_was(tiny_llama, vector, items):
    whole = finish(sweep(tiny_llama, items, vector, range(4), MULTIPLIERS))
    known = {}
    work = sweep(tiny_llama, items, vector, range(4), MULTIPLIERS, known=known)
    first = next(event for event in work if isinstance(event, Sweep))
    work.close()
    assert 0 < len(first.cells) < len(whole.cells) and len(known) == len(first.cells) + 1
    events = []
    resumed = finish(sweep(tiny_llama, items, vector, range(4), MULTIPLIERS, known=known), events.append)
    assert events[0].resumed > 0
    assert [cell.layer for cell in resumed.cells] == [cell.layer for cell in whole.cells]
    assert [cell.value for cell in resumed.cells] == pytest.approx([c.value for c in whole.cells], abs=1e-5)
    events.clear()
    again = finish(sweep(tiny_llama, items, vector, range(4), MULTIPLIERS, known=known), events.append)
    assert again.cells == resumed.cells
    assert len(events) == 1 and events[0].fraction == 1  # nothing was measured


def test_what_is_known_of_other_conditions_is_not_taken(tiny_llama, vector, items):
    known = {}
    finish(sweep(tiny_llama, items, vector, [1], [1], counts=False, known=known))
    changed = replace(vector, layers={1: vector.at(1) * 2})
    for model, these, v, multiplier, counts in (
        (tiny_llama, items, changed, 1, False),
        (tiny_llama, items, vector, -1, False),
        (tiny_llama, items, vector, 1, True),
        (tiny_llama, replace(items, positions=Positions("all")), vector, 1, False),
        (tiny_llama, items.some([0, 1]), vector, 1, False),
        (make_tiny("llama", seed=5), items, vector, 1, False),
    ):
        before = len(known)
        finish(sweep(model, these, v, [1], [multiplier], counts, known=known))
        assert len(known) > before


def test_progress_rises_to_the_end(tiny_llama, vector, items):
    seen = []
    finish(
        sweep(tiny_llama, items, vector, range(4), MULTIPLIERS, counts=False),
        lambda event: isinstance(event, Progress) and seen.append((event.fraction, event.done)),
    )
    assert seen == sorted(seen) and seen[-1] == (1.0, 12)


@pytest.mark.parametrize(
    ("layers", "multipliers", "message"),
    [
        ([9], [1], "no layer 9"),
        ([], [1], "at least one layer"),
        ([1], [], "at least one multiplier"),
        ([1], [float("nan")], "only finite"),
        ([1], np.arange(200), "too many"),
    ],
)
def test_bad_settings_are_named(tiny_llama, vector, items, layers, multipliers, message):
    with pytest.raises(InputError, match=message):
        finish(sweep(tiny_llama, items, vector, layers, multipliers))


def test_numbers_that_overflow_are_said(tiny_llama, vector, items):
    with pytest.raises(InputError, match=r"At layer 1, × 1e\+39 the model's numbers overflow"):
        finish(sweep(tiny_llama, items, vector, [1], [1e39], counts=False))


def test_a_vector_of_another_size_is_refused(tiny_llama, items):
    with pytest.raises(InputError, match="belongs to another model"):
        finish(sweep(tiny_llama, items, SteeringVector("v", {1: torch.ones(8)}, {}, Provenance()), [1], [1]))


def test_multipliers_in_words():
    assert parse_multipliers("-2, 0,-0,1.5") == [-2.0, 0.0, 1.5]
    for text in ("", "1,two", "1,,2", "nan"):
        with pytest.raises(InputError):
            parse_multipliers(text)


def test_copies_of_an_item_do_not_narrow_the_intervals():
    random = np.random.default_rng(0)
    pairs = tuple(ContrastPair(f"{number}?", "Yes", "No", number) for number in range(8))
    value, before = random.uniform(size=8), random.uniform(size=8)
    once, twice = (
        cells_of(
            Items("given", "", pairs * count, (None,) * 8 * count),
            {(1, 1.0): readings_of(np.tile(value, count))},
            readings_of(np.tile(before, count)),
        )[0]
        for count in (1, 2)
    )
    assert ends(twice.probability) == pytest.approx(ends(once.probability))
    assert ends(twice.difference) == pytest.approx(ends(once.difference))


def readings_of(values):
    return RunScores(values, np.full(len(values), np.nan), values, values)
