from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.contest.contest import compete
from caa_core.contest.requests import SurfaceRequest
from caa_core.contest.surface import NO_CONTROLS, _corrected, layer_grid, surface, surface_of
from caa_core.contest.voice import Voice
from caa_core.data.presets import find_pairs
from caa_core.errors import InputError
from caa_core.metrics.estimates import exact
from caa_core.progress import finish
from tests.helpers.contests import LAYER, PROMPTS, voice

STEPS = (0.0, 0.1, 0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def found(planted):
    """3 of A's push are planted against 1 of B's."""
    model, items, toward, idle = planted
    sides = voice("A", 3 * toward + idle[0]), voice("B", -toward + idle[1])
    return sides, finish(surface(model, items, *sides, STEPS, STEPS))


def test_the_planted_exchange_rate_is_found(found):
    _, surface = found
    assert (
        surface.rate.value == pytest.approx(3, abs=0.15) and surface.rate.low < surface.rate.value < surface.rate.high
    )
    assert surface.straight > 0.99 and surface.cheap == len(STEPS) ** 2 - 1
    assert surface.verdict.startswith("1 of A weighs 3.0") and surface.verdict.endswith(NO_CONTROLS)
    assert (surface.layer_a, surface.layer_b, surface.prompts) == (LAYER, LAYER, len(PROMPTS))


def test_of_few_prompts_there_is_a_figure_and_no_verdict(planted):
    model, items, toward, idle = planted
    sides = voice("A", 3 * toward + idle[0]), voice("B", -toward + idle[1])
    few = finish(surface(model, items.some(range(4)), *sides, STEPS, STEPS))
    said = "Whether the voices balance is not judged: 4 prompts are too few for a verdict, which takes at least 8."
    assert few.verdict.startswith(f"{said} 1 of A weighs 3.") and few.rate
    opposed = finish(surface(model, items.some([0]), *sides, STEPS[:2], STEPS[:2]))
    assert opposed.verdict == said.replace("4 prompts are", "1 prompt is")


def test_the_voices_balance_on_a_line_of_that_slope(found):
    _, surface = found
    assert surface.balance[0] == (0.0, 0.0)
    (crossed,) = [b for a, b in surface.balance if a == 0.1]
    assert crossed == pytest.approx(0.3, abs=0.02)
    assert all(a <= 0.1 for a, _ in surface.balance)  # further out it lies beyond the grid


def test_a_cell_is_what_the_contest_says_of_both(planted, found):
    model, items, *_ = planted
    sides, surface = found
    contest = finish(compete(model, items, *sides, controls=0))
    cells = {(cell.a, cell.b): cell for cell in surface.cells}
    both = cells[0.2, 0.2]
    assert both.change.value == pytest.approx(contest.delta_ab.value, abs=1e-5)
    assert both.kl == pytest.approx(contest.kl[2], abs=1e-5)
    assert cells[0.2, 0.0].change.value == pytest.approx(contest.delta_a.value, abs=1e-5)
    assert cells[0.0, 0.0].change.value == 0 and not cells[0.0, 0.0].change.has_interval
    assert cells[0.0, 0.0].m == surface.unsteered
    # Each moves all prompts its own way, A further than B; where nothing is added none moves.
    towards = [cells[place].towards_a.value for place in ((0.2, 0.0), (0.0, 0.2), (0.2, 0.2))]
    assert towards == [1, 0, 1] and cells[0.0, 0.0].towards_a is None
    assert cells[0.0, 0.2].towards_a.high == exact(0, len(PROMPTS))[1]


def test_where_one_does_not_pull_its_own_way_there_is_no_rate(planted):
    model, items, toward, idle = planted
    nothing = finish(surface(model, items, voice("A", 3 * toward), voice("B", toward), STEPS[::2], STEPS[::2]))
    assert nothing.rate is None and nothing.verdict.startswith("No balance found")
    dear = finish(surface(model, items, voice("A", toward), voice("B", idle[0]), (0.0, 1e4), (0.0, 1e4)))
    assert dear.rate is None and "Too few cells" in dear.verdict


def test_words_are_there_or_not(planted):
    """The paper's table of a system prompt by multiplier: the row 0 is the vector alone, and words have no cost."""
    model, items, toward, _ = planted
    told = Voice("the prompt", system="Say y.")
    found = finish(surface(model, items, voice("A", toward), told, (-0.1, 0.0, 0.1)))
    assert {(cell.a, cell.b) for cell in found.cells} == {(a, b) for a in (-0.1, 0.0, 0.1) for b in (0.0, 1.0)}
    assert found.layer_b is None and all((cell.kl is None) == (cell.b == 1) for cell in found.cells)
    alone = {cell.a: cell.change.value for cell in found.cells if cell.b == 0}
    assert alone[-0.1] < 0 == alone[0.0] < alone[0.1]
    assert {b for _, b in found.balance} <= {0.0, 1.0}


def test_layers_are_crossed(planted):
    model, items, toward, idle = planted
    a, b = voice("A", 3 * toward + idle[0]), voice("B", -toward + idle[1])
    found = finish(layer_grid(model, items, a, b, [2, LAYER], [LAYER]))
    assert [(cell["layer_a"], cell["layer_b"]) for cell in found.cells] == [(2, LAYER), (LAYER, LAYER)]
    alone = finish(compete(model, items, a, b, controls=0))
    assert found.cells[1]["dominance"] == pytest.approx(alone.dominance.value, abs=1e-3)
    assert found.cells[1]["interaction"] == pytest.approx(alone.interaction.value, abs=1e-5)
    assert found.contests == 0 and "In 0 of 2 crossings both voices move the answers their way" in found.verdict
    assert found.cells[1]["voice_a"]["grade"] == "not decided"  # the pairs of A's vector are not known
    alone = finish(layer_grid(model, items, a, b, [2, LAYER], [LAYER], controls=0))
    assert alone.cells[1]["contest"] and alone.follows_a >= 1 and alone.cells[1]["voice_b"]["by"] == "prompts"
    with pytest.raises(InputError, match="both voices are vectors"):
        finish(layer_grid(model, items, a, Voice("told", system="x"), [1], [1]))


def test_layers_are_corrected_for_being_many(planted):
    """A voice at a layer by the furthest of its layers among the same controls; and who is followed by Holm."""
    model, items, toward, idle = planted
    sides = [
        replace(voice(name, direction), made_from=find_pairs(pairs))
        for name, direction, pairs in (("A", toward + 2 * idle[0], "joy"), ("B", -toward + idle[1], "gloom"))
    ]
    layers = [0, 1, 2, LAYER]
    found = finish(layer_grid(model, items, *sides, layers, [LAYER]))
    contests = [finish(compete(model, items, one, sides[1], second_voices=0)) for one in _at(sides[0], layers)]
    p = [(cell["voice_a"]["p"], one.voice_a.p) for cell, one in zip(found.cells, contests, strict=True)]
    # Each has controls of its own, which differ a little.
    assert all(corrected > 0.8 * alone - 0.01 for corrected, alone in p), p
    assert any(corrected > 1.5 * alone for corrected, alone in p), p
    assert {cell["voice_a"]["by"] for cell in found.cells} == {"controls"}
    assert found.cells[-1]["voice_b"]["p"] == pytest.approx(contests[-1].voice_b.p, abs=0.01)  # it is no list
    followed = [cell["ahead_p"] <= 0.05 for cell in found.cells if cell["contest"]]
    assert found.contests == len(followed) and found.follows_a + found.follows_b <= sum(followed)
    assert found.verdict.startswith(f"In {found.contests} of 4 crossings both voices move the answers their way")


def _at(one, layers):
    return [one.with_steer(vector=one.vector.at(layer), layer=layer) for layer in layers]


def test_who_is_ahead_and_what_is_beyond_adding_are_corrected_for_all_crossings():
    """Under two crossings A is ahead, and both do more than a sum; each by itself is told from 0, and both are not."""
    moved = 0.26 + np.linspace(-0.4, 0.4, 8)
    alone = np.stack([np.ones(8), -np.ones(8)])
    crossing = np.concatenate([alone, moved[None]])
    by = np.concatenate([np.zeros((1, 8)), alone, alone[1:]])  # B at two layers
    (single, one), (both, two) = (_corrected(by, [crossing] * count, [1, count]) for count in (1, 2))
    assert 0.025 < single[0].ahead <= 0.05 and one[0] == pytest.approx(single[0].ahead)
    assert [p.ahead for p in both] == pytest.approx([2 * single[0].ahead] * 2) and two == pytest.approx(2 * one[0])


def test_what_is_kept_comes_back(planted, found):
    model, items, *_ = planted
    sides, surface = found
    assert surface_of(surface.summary()) == surface
    crossed = finish(layer_grid(model, items, *sides, [LAYER], [LAYER]))
    assert surface_of(crossed.summary()) == crossed
    with pytest.raises(InputError, match="cannot be read"):
        surface_of({"kind": "multipliers"})


def test_grids_that_cannot_be(planted):
    model, items, toward, _ = planted
    many = [i / 100 for i in range(30)]
    with pytest.raises(InputError, match="900 cells are too many"):
        finish(surface(model, items, voice("A", toward), voice("B", -toward), many, many))
    with pytest.raises(InputError, match="are not multipliers"):
        SurfaceRequest.parse(multipliers_a="one")
    with pytest.raises(InputError, match="no layer 9"):
        SurfaceRequest.parse(layers_a="9", layers_b="1").layers_in(4)
    given = SurfaceRequest.parse(multipliers_a="0,1", multipliers_b="0,2")
    assert given.multipliers == ((0.0, 1.0), (0.0, 2.0)) and SurfaceRequest().layers_in(4) is None


def test_voices_of_several_vectors_have_no_multiplier(planted):
    model, items, toward, _ = planted
    two = voice("A", toward).beside(voice("B", torch.flip(toward, [0])))
    with pytest.raises(InputError, match="several vectors"):
        finish(surface(model, items, two, voice("C", -toward)))
