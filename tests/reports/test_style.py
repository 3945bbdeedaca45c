import math

import plotly.graph_objects as go
import pytest

from caa_core.metrics.estimates import Estimate
from caa_core.reports.markup import colour
from caa_core.reports.style import (
    BLUE,
    DIVERGING,
    MOST_NUMBERS,
    ORANGE,
    PALE,
    band,
    between_voices,
    cut,
    error_bars,
    heat_map,
    line,
    look,
)


def test_bars_reach_from_the_number_to_the_ends_of_its_interval():
    bars = error_bars([Estimate(0.5, 0.25, 1.0), Estimate(0, 0, 0)])
    assert (bars["array"], bars["arrayminus"]) == ([0.5, 0], [0.25, 0])
    none = error_bars([Estimate(0.5, -math.inf, math.inf)])
    assert (none["array"], none["arrayminus"]) == ([None], [None])


def test_a_line_is_broken_where_a_number_is_none():
    figure = go.Figure()
    line(figure, [1, 2, 3, 4], [1, math.inf, math.nan, None], *look(7), name="x")
    (trace,) = figure.data
    assert trace.y == (1, None, None, None) and (trace.line.dash, trace.marker.symbol) == ("dash", "square")


def test_a_band_lies_between_two_lines_and_is_named_once():
    figure = go.Figure()
    band(figure, [1, 2], [0, 1], [2, 3], "#888888", name="band")
    low, high = figure.data
    assert (low.y, high.y, high.fill, low.showlegend, high.showlegend) == ((0, 1), (2, 3), "tonexty", False, None)


def test_a_band_has_a_gap_where_there_is_no_interval():
    figure = go.Figure()
    band(figure, [1, 2, 3, 4], [0, 1, -math.inf, 2], [2, 3, math.inf, 4], "#888888", name="band")
    assert [trace.x for trace in figure.data] == [(1, 2), (1, 2), (4,), (4,)]
    assert [trace.showlegend for trace in figure.data] == [False, None, False, False]


@pytest.mark.parametrize(("side", "written"), [(12, True), (13, False)])
def test_numbers_are_written_into_a_map_of_few_cells(side, written):
    assert side * side <= MOST_NUMBERS if written else side * side > MOST_NUMBERS
    numbers = [[0.0] * side] * side
    heat = heat_map(range(side), range(side), numbers, (-1, 1), [[0, "#000000"], [1, "#FFFFFF"]], "unit").data[0]
    assert bool(heat.texttemplate) is written


def test_what_is_not_sure_is_pale_and_says_its_number():
    heat = heat_map([0, 1], [0], [[0.8, 0.8]], (0, 1), DIVERGING, "unit", [[True, False]]).data[0]
    assert list(heat.z[0]) == pytest.approx([0.8, 0.5 + PALE * 0.3])
    assert list(heat.text[0]) == ["0.80", "0.80"]


def test_a_colour_means_the_same_in_maps_and_in_texts():
    """Blue along a vector, or more of its behaviour; orange against it, or less."""
    assert (DIVERGING[0][1], DIVERGING[-1][1]) == (ORANGE, BLUE)
    for drawn, value in ((BLUE, 1), (ORANGE, -1)):
        red, _, blue = (int(drawn[i : i + 2], 16) for i in (1, 3, 5))
        beside = [int(part) for part in colour(value, 1).removeprefix("rgba(").split(",")[:3]]
        assert (red < blue) is (beside[0] < beside[2]) is (value > 0)


def test_between_two_voices_there_is_room_for_every_number():
    figure = go.Figure(go.Scatter(x=[0], y=[0]))
    between_voices(figure, "as A", "as B", [-2.0, math.nan])
    assert figure.layout.xaxis.range == (2.2, -2.2)
    assert [note.text for note in figure.layout.annotations] == ["as B", "", "as A"]


def test_names_are_cut_and_no_tags():
    assert cut("<b>" + "x" * 50) == "&lt;b&gt;" + "x" * 37
