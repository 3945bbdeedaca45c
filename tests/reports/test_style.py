import pytest
import torch

from caa_core.measuring.sweep import SweepCell
from caa_core.reports.evaluation import COST, EFFECT, VALUE, sweep_map
from caa_core.reports.vectors import cosines_by_layer, norms_by_layer, separations_by_layer
from caa_core.vectors.method_comparison import Comparison, Separation
from caa_core.vectors.vector import Provenance, SteeringVector

LAYERS = {1: torch.tensor([3.0, 4.0]), 3: torch.tensor([0.0, 2.0])}


def line(figure, name=None):
    """x and y of the trace of that name, or of the only one with markers."""
    (found,) = (t for t in figure.data if t.mode == "lines+markers" and name in (None, t.name))
    return list(found.x), list(found.y)


def test_norms_and_strengths_against_the_layer():
    figure = norms_by_layer(SteeringVector("v", LAYERS, {1: 10.0, 3: 8.0}, Provenance()))
    assert [(list(t.x), list(t.y)) for t in figure.data] == [([1, 3], [5, 2]), ([1, 3], [0.5, 0.25])]
    assert figure.layout.xaxis.title.text == "layer" and "median residual norm" in figure.layout.yaxis2.title.text


def test_the_letter_has_a_panel_where_it_is_known():
    figure = norms_by_layer(SteeringVector("v", LAYERS, {}, Provenance(), {1: 0.9, 3: 0.4}))
    assert list(figure.data[2].y) == [0.9, 0.4]
    assert "along the letter" in figure.layout.yaxis3.title.text


@pytest.fixture
def comparison():
    separations = {"mean-difference": [Separation(0.9, 0.03, 10, 400), Separation(0.7, 0.06, 10, 400)]}
    cosines = {("mean-difference", "pca"): [0.5, -0.2]}
    return Comparison("mine", 24, 5, "letter", (1, 3), cosines, separations)


def test_separations_have_bands(comparison):
    figure = separations_by_layer(comparison)
    assert line(figure) == ([1, 3], [0.9, 0.7])
    line_of = comparison.separations["mean-difference"]
    bands = [[s.low for s in line_of], [s.high for s in line_of]]
    assert [list(t.y) for t in figure.data if t.mode == "lines"] == bands
    assert figure.data[1].fill == "tonexty"


def test_cosines(comparison):
    assert line(cosines_by_layer(comparison), "mean-difference / pca") == ([1, 3], [0.5, -0.2])


def cell(layer, multiplier, probability=0.5, difference=0.0, kl=0.0, **changes):
    intervals = dict.fromkeys(("low", "high", "swapped", "swapped_low", "swapped_high"), 0.5)
    numbers = {"probability": probability, "difference": difference, "kl": kl, "preference": None, **intervals}
    counts = {"matching": 3, "not_matching": 2, "neither": 1, "skipped": 4, "answer_mass": 0.8}
    ends = {"difference_low": difference - 0.1, "difference_high": difference + 0.1}
    return SweepCell.of({"layer": layer, "multiplier": multiplier, **numbers, **counts, **ends, **changes})


CELLS = [cell(2, -1, 0.4, -0.2, 0.1), cell(2, 1, 0.75, 0.3, 0.6), cell(10, 1, 0.5, 0.01, 2.0)]


@pytest.mark.parametrize(
    ("shown", "numbers", "span", "unit"),
    [
        (EFFECT, [[-0.2, 0.3], [None, 0.01]], (-0.3, 0.3), "change of probability"),
        (VALUE, [[0.4, 0.75], [None, 0.5]], (0.25, 0.75), "probability of matching"),
        (COST, [[0.1, 0.6], [None, 2.0]], (0, 2.0), "nats"),
    ],
)
def test_a_map_of_layers_and_multipliers(shown, numbers, span, unit):
    figure = sweep_map(CELLS, cell(None, 0), shown, (2, 1))
    (heat,), (mark,) = figure.data, figure.layout.shapes
    assert (list(heat.x), list(heat.y)) == (["-1", "1"], ["2", "10"])
    assert [list(row) for row in heat.z] == numbers
    assert (heat.zmin, heat.zmax) == pytest.approx(span)
    assert unit in heat.colorbar.title.text
    assert (mark.x0, mark.x1, mark.y0, mark.y1) == (0.5, 1.5, -0.5, 0.5)
    assert tuple(heat.customdata[1][1]) == (10, 1)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (
        "multiplier (outlined: proposed)",
        "layer",
    )
    for part in ("layer 2, × 1", "+0.300 (+0.200 to +0.400)", "3 matching, 2 not, 1 neither", "4 skipped", "mass 0.80"):
        assert part in heat.text[0][1]


def test_a_map_of_nothing_looks_like_nothing():
    heat = sweep_map([cell(1, 1, difference=0.001)], cell(None, 0)).data[0]
    assert (heat.zmin, heat.zmax) == (-0.05, 0.05)


def test_a_map_of_free_text_is_in_nats():
    text = {"probability": None, "preference": -1.5, "swapped": None, "matching": None, "answer_mass": None}
    heat = sweep_map([cell(1, 1, difference=0.4, **text)], cell(None, 0, **text)).data[0]
    assert heat.colorbar.title.text == "change of preference, nats a token"
    assert "letter" not in heat.text[0][0] and "written" not in heat.text[0][0]
