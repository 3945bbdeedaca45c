"""What all plotly figures share: colours, scales, names, bands.

Colours are Okabe and Ito's, which stay apart for every kind of colour vision; backgrounds are clear, so that the
figures sit in a light page as in a dark one.
"""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

# Those of Okabe and Ito, the blue lighter, to be seen on a dark page too.
BLUE, ORANGE, GREEN, PURPLE, RED, SKY = "#2585C2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"

GREY = "#888888"

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)

# Lines that lie on each other are told apart by these too.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

SYMBOLS = ("circle", "square", "diamond", "x", "cross", "triangle-up")

FEW = 12

HEIGHT = 340

# Through a middle that is read as nothing, and from nothing to much. Cells are opaque, so they look the same on a light
# page and on a dark one.
DIVERGING = [[0.0, BLUE], [0.5, "#F7F7F7"], [1.0, RED]]

# A colour scale is never finer than this, so that a map of nothing looks like nothing.
LEAST_SCALE = 0.05

ROW_HEIGHT, MOST_NUMBERS = 24, 150


def faint(colour: str, opacity: float = 0.15) -> str:
    """A colour that lets through what lies below."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def safe_below(figure: go.Figure, x: Sequence[float], bound: float, **where: int) -> None:
    """Mark the bound up to which a cost counts as safe, over the whole of x."""
    # A line of its own: plotly places a shape's words wrongly on a log scale.
    middle = (x[0] + x[-1]) / 2
    figure.add_scatter(
        x=[x[0], middle, x[-1], None, middle],
        y=[bound] * 3 + [None, 1.25 * bound],  # the last, which is not drawn, makes room for the words
        mode="lines+text",
        line={"color": GREY, "dash": "dot"},
        text=["", "safe below", ""],  # in the middle, where what costs most at both ends is low
        textposition="top center",
        hoverinfo="skip",
        **where,
    )


def plain(figure: go.Figure, legend: bool = False, height: int = HEIGHT) -> go.Figure:
    """A figure that sits in a light page as in a dark one."""
    figure.update_layout(
        height=height,
        showlegend=legend,
        legend={"orientation": "h", "y": -0.22, "yanchor": "top"},
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY},
    )
    layers = sorted({x for trace in figure.data for x in trace.x if isinstance(x, int)})
    if 0 < len(layers) <= FEW:  # else there would be ticks at half a layer
        figure.update_xaxes(tickmode="array", tickvals=layers)
    figure.update_xaxes(gridcolor="rgba(136,136,136,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(136,136,136,0.25)", zeroline=False)
    return figure


LONGEST_NAME = 40


def cut(name: str) -> str:
    """Somebody's own words in a figure, which would take tags in them for its own."""
    return html.escape(name[:LONGEST_NAME], quote=False)
