"""Plotly figures from results. No model in here.

Colours are Okabe and Ito's, which stay apart for every kind of colour vision; backgrounds are clear, so that the
figures sit in a light page as in a dark one.
"""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.vectors import SteeringVector

BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#888888"
HEIGHT = 340


def norms_by_layer(vector: SteeringVector) -> go.Figure:
    """Norm of the vector and its relative strength (norm over the median residual norm), against the layer."""
    layers = list(vector.layers)
    figure = make_subplots(rows=1, cols=2, subplot_titles=("Norm of the vector", "Relative strength"))
    lines = ([vector.norm(n) for n in layers], [vector.relative_strength(n) for n in layers])
    names = ("norm", "relative strength")
    for column, (line, name, colour) in enumerate(zip(lines, names, (BLUE, ORANGE), strict=True), 1):
        hover = f"layer %{{x}}: {name} %{{y:.3g}}<extra></extra>"
        trace = go.Scatter(x=layers, y=line, mode="lines+markers", line={"color": colour}, hovertemplate=hover)
        figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="‖v‖", row=1, col=1, rangemode="tozero")
    figure.update_yaxes(title="‖v‖ / median residual norm", row=1, col=2, rangemode="tozero")
    return _plain(figure)


def _plain(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        height=HEIGHT,
        showlegend=False,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY},
    )
    figure.update_xaxes(gridcolor="rgba(136,136,136,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(136,136,136,0.25)", zeroline=False)
    return figure
