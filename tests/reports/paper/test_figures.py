import pytest

from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.request import PaperRequest
from caa_core.progress import finish
from caa_core.reports.paper.figures import (
    components,
    cosines_of_layers,
    cost_by_multiplier,
    effect_by_layer,
    effect_by_multiplier,
    transfer_by_layer,
    vector_against_prompt,
)
from caa_core.reports.style import BLUE, ORANGE
from tests.helpers.behaviours import ONE
from tests.helpers.data import PLANTED


@pytest.fixture(scope="module")
def one(tiny_models):
    return finish(replicate(tiny_models["llama"], [ONE], PaperRequest(letter_swap=True, controls=3))).findings[0]


@pytest.fixture(scope="module")
def text(tiny_models):
    behaviour = ONE.__class__("text", PLANTED, PLANTED)
    return finish(replicate(tiny_models["llama"], [behaviour], PaperRequest(controls=0))).findings[0]


def lines(figure):
    return [trace for trace in figure.data if trace.mode == "lines+markers"]


def test_effect_by_layer_in_both_letter_orders_and_as_given(one):
    figure = effect_by_layer(one)
    both = [trace for trace in lines(figure) if trace.name == "× +1"]
    cells = [cell for cell in one.profile if cell.multiplier == 1]
    assert [list(trace.y) for trace in both] == [[c.swapped.value for c in cells], [c.value for c in cells]]
    assert list(both[0].x) == [0, 1, 2, 3]
    assert figure.layout.xaxis.title.text == "layer at which the vector is added"
    assert figure.layout.yaxis.title.text == "probability of the matching answer"


def test_free_text_has_one_panel_and_its_own_unit(text):
    figure = effect_by_layer(text)
    assert len(lines(figure)) == 2 and figure.layout.yaxis.title.text == "preference, nats a token"
    assert len(cost_by_multiplier([text]).data) == 1


def test_effect_by_multiplier_has_bars_and_the_band(one):
    figure = effect_by_multiplier([one])
    (line,) = lines(figure)
    assert list(line.x) == [-2, -1, 0, 1, 2] and list(line.y) == [cell.difference.value for cell in one.curve]
    assert line.error_y.array[4] == pytest.approx(one.curve[4].difference.high - one.curve[4].difference.value)
    band = [trace for trace in figure.data if trace.fill == "tonexty"]
    assert list(band[0].y) == [row[2] for row in one.band]


def test_transfer_stands_beside_each_layer_s_own(one):
    figure = transfer_by_layer(one)
    assert [trace.name for trace in lines(figure)] == [
        f"vector of layer {one.layer}, × +1",
        "each layer's own, × +1",
        f"vector of layer {one.layer}, × −1",
        "each layer's own, × −1",
    ]


def test_three_prompts_at_three_multipliers(one):
    figure = vector_against_prompt(one)
    assert [trace.name for trace in figure.data] == ["× -1", "× 0", "× +1"]
    assert list(figure.layout.xaxis.ticktext) == ["none", "positive", "negative"]
    assert list(figure.data[1].y) == [arm.cells[1].swapped.value for arm in one.arms]


def test_components_have_the_letter_as_symbol_and_the_side_as_colour(one):
    figure = components(one.scatter, 1)
    marks = {trace.name: (trace.marker.color, trace.marker.symbol, len(trace.x)) for trace in figure.data}
    assert marks["(A) shows the behaviour"] == (BLUE, "circle", 6)
    assert marks["(A) does not"][0] == ORANGE and marks["(B) does not"][1] == "square"
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0", "1", "2", "3"] and slider.active == 1
    at_two = slider.steps[2].args[0]
    assert sorted(x for trace in at_two["x"] for x in trace) == sorted(one.scatter.x[2])


def test_cosines_of_layers_is_a_square_of_ones_on_its_diagonal(one):
    (trace,) = cosines_of_layers(one).data
    assert [trace.z[i][i] for i in range(4)] == pytest.approx([1] * 4)
    assert (trace.zmin, trace.zmax) == (-1, 1)
