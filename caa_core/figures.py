"""Plotly figures from results. No model in here.

Colours are Okabe and Ito's, which stay apart for every kind of colour vision; backgrounds are clear, so that the
figures sit in a light page as in a dark one.
"""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.comparison import Comparison
from caa_core.vectors import SteeringVector

BLUE, ORANGE, GREEN, PURPLE, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
GREY = "#888888"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
# Lines that lie on each other are told apart by these too.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "x", "cross", "triangle-up")
FEW = 12
HEIGHT = 340


def norms_by_layer(vector: SteeringVector) -> go.Figure:
    """Norm of the vector and its relative strength (norm over the median residual norm), against the layer; and the
    share of the letter, where the vector was made in both letter orders.
    """
    layers = list(vector.layers)
    panels = [
        ("Norm of the vector", "‖v‖", [vector.norm(n) for n in layers], BLUE),
        ("Relative strength", "‖v‖ / median residual norm", [vector.relative_strength(n) for n in layers], ORANGE),
    ]
    if vector.letter_share:
        shares = [vector.letter_share.get(n) for n in layers]
        panels.append(("Letter, without the swap", "share of ‖v‖² along the letter", shares, PURPLE))
    figure = make_subplots(
        rows=1, cols=len(panels), subplot_titles=[panel[0] for panel in panels], horizontal_spacing=0.13
    )
    for column, (title, axis, line, colour) in enumerate(panels, 1):
        hover = f"layer %{{x}}: {title.lower()} %{{y:.3g}}<extra></extra>"
        trace = go.Scatter(x=layers, y=line, mode="lines+markers", line={"color": colour}, hovertemplate=hover)
        figure.add_trace(trace, row=1, col=column)
        figure.update_yaxes(title=axis, row=1, col=column, rangemode="tozero")
    figure.update_xaxes(title="layer")
    return _plain(figure)


def separations_by_layer(comparison: Comparison) -> go.Figure:
    """How well each method separates held-out pairs, against the layer, with bands of 95 %."""
    figure = go.Figure()
    layers = list(comparison.layers)
    styles = zip(COLOURS, DASHES, SYMBOLS, strict=True)
    for (method, line), (colour, dash, symbol) in zip(comparison.separations.items(), styles, strict=False):
        band = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": method}
        figure.add_scatter(x=layers, y=[s.low for s in line], mode="lines", **band)
        figure.add_scatter(
            x=layers, y=[s.high for s in line], mode="lines", fill="tonexty", fillcolor=_faint(colour), **band
        )
        figure.add_scatter(
            x=layers,
            y=[s.auc for s in line],
            mode="lines+markers",
            name=method,
            legendgroup=method,
            line={"color": colour, "dash": dash},
            marker={"symbol": symbol, "size": 8},
            customdata=[(s.low, s.high) for s in line],
            hovertemplate="layer %{x}: AUC %{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})",
        )
    figure.add_hline(0.5, line={"color": GREY, "dash": "dot"}, annotation_text="chance", annotation_position="top left")
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="AUC on held-out pairs")
    return _plain(figure, legend=True)


def cosines_by_layer(comparison: Comparison) -> go.Figure:
    """Cosine between the directions of every two methods, against the layer."""
    figure = go.Figure()
    styles = zip(COLOURS, DASHES, SYMBOLS, strict=True)
    for ((a, b), line), (colour, dash, symbol) in zip(comparison.cosines.items(), styles, strict=False):
        figure.add_scatter(
            x=list(comparison.layers),
            y=line,
            mode="lines+markers",
            name=f"{a} / {b}",
            line={"color": colour, "dash": dash},
            marker={"symbol": symbol, "size": 8},
            hovertemplate="layer %{x}: cosine %{y:.2f}",
        )
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="cosine", range=[-1.05, 1.05])
    return _plain(figure, legend=True)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _plain(figure: go.Figure, legend: bool = False) -> go.Figure:
    figure.update_layout(
        height=HEIGHT,
        showlegend=legend,
        legend={"orientation": "h", "y": -0.22, "yanchor": "top"},
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY},
    )
    layers = sorted({x for trace in figure.data for x in trace.x})
    if len(layers) <= FEW:  # else there would be ticks at half a layer
        figure.update_xaxes(tickmode="array", tickvals=layers)
    figure.update_xaxes(gridcolor="rgba(136,136,136,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(136,136,136,0.25)", zeroline=False)
    return figure
