"""Figures of vectors: norms, how methods separate held-out pairs, cosines. No model in here."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.reports.style import BLUE, COLOURS, DASHES, GREY, ORANGE, PURPLE, SYMBOLS, faint, plain
from caa_core.vectors.method_comparison import Comparison
from caa_core.vectors.vector import SteeringVector


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
    return plain(figure)


def separations_by_layer(comparison: Comparison) -> go.Figure:
    """How well each method separates held-out pairs, against the layer, with bands of 95 %."""
    figure = go.Figure()
    layers = list(comparison.layers)
    styles = zip(COLOURS, DASHES, SYMBOLS, strict=True)
    for (method, line), (colour, dash, symbol) in zip(comparison.separations.items(), styles, strict=False):
        band = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": method}
        figure.add_scatter(x=layers, y=[s.low for s in line], mode="lines", **band)
        figure.add_scatter(
            x=layers, y=[s.high for s in line], mode="lines", fill="tonexty", fillcolor=faint(colour), **band
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
    return plain(figure, legend=True)


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
    return plain(figure, legend=True)
