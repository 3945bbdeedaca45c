import math
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import pytest

from caa_core.metrics.estimates import Estimate
from caa_core.reports.evaluation import SEQUENTIAL, TURNED
from caa_core.reports.markup import colour
from caa_core.reports.style import (
    BLUE,
    COLOURS,
    DIVERGING,
    GREY,
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


# How colours look to who lacks one kind of cones: linear RGB to linear RGB (Machado, Oliveira, Fernandes 2009).
VISIONS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no middle": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no short": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lightness_and_hue(colour, vision):
    """L*, a* and b* of a colour as it is seen."""
    linear = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in linear]
    seen = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in xyz / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scale", [DIVERGING, SEQUENTIAL, TURNED])
def test_numbers_are_read_on_every_colour_of_a_map(scale):
    """Black on a colour of luminance Y: (Y + 0.05) / 0.05 to 1, of which WCAG asks 4.5."""
    heat = heat_map([0], [0], [[1.0]], (0, 1), scale, "unit").data[0]
    assert heat.textfont.color == "black"
    for _, end in scale:
        lightness = lightness_and_hue(end, "all cones")[0]
        assert (((lightness + 16) / 116) ** 3 + 0.05) / 0.05 > 4.5


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_are_told_apart_by_every_kind_of_colour_vision(vision):
    """A just noticeable difference is about 2.3; lines have a dash and a symbol of their own besides."""
    there = [lightness_and_hue(one, vision) for one in (*COLOURS, GREY)]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(there, 2)) > 9


def test_between_two_voices_there_is_room_for_every_number():
    figure = go.Figure(go.Scatter(x=[0], y=[0]))
    between_voices(figure, "as A", "as B", [-2.0, math.nan])
    assert figure.layout.xaxis.range == (2.2, -2.2)
    assert [note.text for note in figure.layout.annotations] == ["as B", "", "as A"]


def test_names_are_cut_and_no_tags():
    assert cut("<b>" + "x" * 50) == "&lt;b&gt;" + "x" * 37
