"""What all plotly figures share: colours, scales, names, error bars, bands, lines, maps.

Colours are Okabe and Ito's, which stay apart for every kind of colour vision; backgrounds are clear, so that the
figures sit in a light page as in a dark one.
"""

import html
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from caa_core.metrics.estimates import Estimate

# Those of Okabe and Ito, the blue lighter, to be seen on a dark page too.
BLUE, ORANGE, GREEN, PURPLE, RED, SKY = "#2585C2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"

GREY = "#888888"

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)

# Lines that lie on each other are told apart by these too.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

SYMBOLS = ("circle", "square", "diamond", "x", "cross", "triangle-up")

DOTTED = {"color": GREY, "dash": "dot"}

FEW = 12

# In pixels: nothing on the page is smaller.
TEXT = 14

HEIGHT = 340

# A colour means the same everywhere: blue is along a vector, more of its behaviour, or voice A; orange is against it,
# less, or voice B; grey is the unsteered model, green both voices, purple a cost. Through a middle that is read as
# nothing. Cells are opaque, so they look the same on a light page and on a dark one.
DIVERGING = [[0.0, ORANGE], [0.5, "#F7F7F7"], [1.0, BLUE]]

# How far the scale of a kind of measure goes to either side of its middle, the same in all maps: what is little looks
# like little, and two maps can be compared. Beyond it all cells look alike.
PROBABILITY, NATS, DOMINANCE = 0.5, 1.0, 1.0

# What is left of the colour of a cell that is not clear of nothing.
PALE = 0.25

ROW_HEIGHT, MOST_NUMBERS = 24, 150

LONGEST_NAME = 40


_AXIS = {
    "title": {"font": {"size": TEXT}, "standoff": 15},
    "gridcolor": "rgba(136,136,136,0.25)",
    "zeroline": False,
    "automargin": True,
}
# What all figures have in common, in place of plotly's own.
LOOK = go.layout.Template(
    layout={
        "legend": {"orientation": "h", "y": -0.22, "yanchor": "top"},
        "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": GREY, "size": TEXT},
        "hovermode": "closest",
        # Else it is dark, as if what is seen through the figure were black.
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "rgba(136,136,136,0.7)", "activecolor": GREY},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    },
    data={"heatmap": [{"colorbar": {"outlinewidth": 0, "title": {"font": {"size": TEXT}}}}]},
)


def cut(name: str) -> str:
    """Somebody's own words in a figure, which would take tags in them for its own."""
    return html.escape(name[:LONGEST_NAME], quote=False)


def faint(colour: str, opacity: float = 0.15) -> str:
    """A colour that lets through what lies below."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def look(number: int) -> tuple[str, str, str]:
    """Colour, dash and symbol of one of several lines."""
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)], SYMBOLS[number % len(SYMBOLS)]


def error_bars(found: Sequence[Estimate], thickness: float = 2) -> dict[str, Any]:
    """The intervals of estimates, for `error_x` or `error_y`; where there is none, no bar."""
    above = [one.high - one.value if one.has_interval else None for one in found]
    below = [one.value - one.low if one.has_interval else None for one in found]
    return {"type": "data", "symmetric": False, "thickness": thickness, "array": above, "arrayminus": below}


def line(
    figure: go.Figure,
    x: Sequence[float],
    y: Sequence[float | None],
    colour: str,
    dash: str = "solid",
    symbol: str = "circle",
    size: float = 6,
    **trace: Any,
) -> None:
    """Add a line with a mark at each of its points; what is not finite has none."""
    figure.add_scatter(
        x=list(x),
        y=[value if value is not None and math.isfinite(value) else None for value in y],
        mode="lines+markers",
        line={"color": colour, "dash": dash},
        marker={"symbol": symbol, "size": size},
        **trace,
    )


def band(
    figure: go.Figure,
    x: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    colour: str,
    **trace: Any,
) -> None:
    """Shade what lies between two lines, which are not drawn; a legend names it once at most. Where they are not finite
    there is a gap.
    """
    ends = zip(x, low, high, strict=True)
    for there, run in groupby(ends, key=lambda place: all(map(math.isfinite, place[1:]))):
        if there:
            along, lower, upper = map(list, zip(*run, strict=True))
            edge = {"x": along, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
            figure.add_scatter(**edge, y=lower, **{**trace, "showlegend": False})
            figure.add_scatter(**edge, y=upper, fill="tonexty", fillcolor=faint(colour), **trace)
            trace |= {"showlegend": False}


def reach_of_controls(figure: go.Figure, x: Sequence[float | None], y: Sequence[float | None], **trace: Any) -> None:
    """Add thick grey lines: how far controls go."""
    look = {"color": faint(GREY, 0.35), "width": 12}
    figure.add_scatter(x=list(x), y=list(y), mode="lines", line=look, hoverinfo="skip", **trace)


def heat_map(
    x: Sequence[Any],
    y: Sequence[Any],
    z: Sequence[Sequence[float | None]],
    ends: tuple[float, float],
    colours: Sequence[Sequence[Any]],
    unit: str,
    sure: Sequence[Sequence[bool]] | None = None,
    **trace: Any,
) -> go.Figure:
    """A map of numbers, with them written into its cells where they are few. Cells without one are left clear.

    Args:
        ends: of the scale of `colours`.
        unit: what the scale is titled with.
        sure: of each cell, whether its number is clear of the middle; others are pale. None where there is no such
            question.
        trace: such as `hovertext`, what is shown of a cell under the mouse, or `text`, what is written into it.
    """
    count = sum(value is not None for row in z for value in row)
    written = [["" if value is None else f"{value:.2f}" for value in row] for row in z]
    middle = (ends[0] + ends[1]) / 2
    if sure:
        z = [
            [value if value is None or clear else middle + PALE * (value - middle) for value, clear in cells]
            for cells in (zip(row, clear, strict=True) for row, clear in zip(z, sure, strict=True))
        ]
    return go.Figure(
        go.Heatmap(
            x=list(x),
            y=list(y),
            z=z,
            zmin=ends[0],
            zmax=ends[1],
            colorscale=colours,
            colorbar={"title": {"text": unit, "side": "right"}, "thickness": 14},
            hoverongaps=False,
            texttemplate="%{text}" if count <= MOST_NUMBERS else None,
            textfont={"color": "black"},  # which is read on all of the colours, where plotly's grey is not
            xgap=1,
            ygap=1,
            **{"text": written, "hovertemplate": "%{hovertext}<extra></extra>", **trace},
        )
    )


def between_voices(figure: go.Figure, a: str, b: str, numbers: Sequence[float]) -> None:
    """An axis of dominance, from what A does alone (+1, on the left) to what B does alone (-1), with room for some
    numbers.
    """
    far = max([1.3, *(abs(number) + 0.2 for number in numbers if math.isfinite(number))])
    for place, words in ((-1, b), (0, ""), (1, a)):
        figure.add_vline(place, line=DOTTED, annotation_text=words, annotation_position="top")
    figure.update_xaxes(range=[far, -far])


def limit_at(figure: go.Figure, x: Sequence[float], bound: float, **where: int) -> None:
    """Mark the limit of a cost over the whole of x. A mean below it is not safe yet, which its interval has to say."""
    # A line of its own: plotly places a shape's words wrongly on a log scale.
    middle = (x[0] + x[-1]) / 2
    figure.add_scatter(
        x=[x[0], middle, x[-1], None, middle],
        y=[bound] * 3 + [None, 1.25 * bound],  # the last, which is not drawn, makes room for the words
        mode="lines+text",
        line=DOTTED,
        text=["", "limit", ""],  # in the middle, where what costs most at both ends is low
        textposition="top center",
        hoverinfo="skip",
        **where,
    )


def plain(figure: go.Figure, legend: bool = False, height: int = HEIGHT) -> go.Figure:
    """A figure that sits in a light page as in a dark one."""
    # All at once: plotly takes its time for each update.
    figure.update_layout(template=LOOK, height=height, showlegend=legend)
    layers = sorted({x for trace in figure.data for x in trace.x if isinstance(x, int)})
    if 0 < len(layers) <= FEW:  # else there would be ticks at half a layer
        figure.update_xaxes(tickmode="array", tickvals=layers)
    return figure
