"""Figures of vectors: norms, how methods separate held-out pairs, cosines."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.reports.style import BLUE, DOTTED, ORANGE, PURPLE, band, line, look, plain
from caa_core.vectors.method_comparison import Comparison
from caa_core.vectors.vector import SteeringVector


def norms_by_layer(vector: SteeringVector) -> go.Figure:
    """Norm of the vector and its relative strength (norm over the median residual norm), against the layer; and the
    share of the letter, where the vector was made in both letter orders.
    """
    layers = list(vector.layers)
    panels: list[tuple[str, str, list[float | None], str]] = [
        ("Norm of the vector", "‖v‖", [vector.norm(n) for n in layers], BLUE),
        ("Relative strength", "‖v‖ / median residual norm", [vector.relative_strength(n) for n in layers], ORANGE),
    ]
    if vector.letter_share:
        shares = [vector.letter_share.get(n) for n in layers]
        panels.append(("Letter, without the swap", "share of ‖v‖² along the letter", shares, PURPLE))
    figure = make_subplots(
        rows=1, cols=len(panels), subplot_titles=[panel[0] for panel in panels], horizontal_spacing=0.13
    )
    for column, (title, axis, numbers, colour) in enumerate(panels, 1):
        hover = f"layer %{{x}}: {title.lower()} %{{y:.3g}}<extra></extra>"
        line(figure, layers, numbers, colour, hovertemplate=hover, row=1, col=column)
        figure.update_yaxes(title=axis, row=1, col=column, rangemode="tozero")
    figure.update_xaxes(title="layer")
    return plain(figure)


def separations_by_layer(comparison: Comparison) -> go.Figure:
    """How well each method separates held-out pairs, against the layer, with bands of 95 %."""
    figure = go.Figure()
    layers = list(comparison.layers)
    for number, (method, found) in enumerate(comparison.separations.items()):
        colour, dash, symbol = look(number)
        low, high = [one.low for one in found], [one.high for one in found]
        band(figure, layers, low, high, colour, legendgroup=method, showlegend=False)
        line(
            figure,
            layers,
            [one.auc for one in found],
            colour,
            dash,
            symbol,
            size=8,
            name=method,
            legendgroup=method,
            customdata=list(zip(low, high, strict=True)),
            hovertemplate="layer %{x}: AUC %{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})",
        )
    figure.add_hline(0.5, line=DOTTED, annotation_text="chance", annotation_position="top left")
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="AUC on held-out pairs")
    return plain(figure, legend=True)


def cosines_by_layer(comparison: Comparison) -> go.Figure:
    """Cosine between the directions of every two methods, against the layer."""
    figure = go.Figure()
    for number, ((a, b), cosines) in enumerate(comparison.cosines.items()):
        colour, dash, symbol = look(number)
        hover = "layer %{x}: cosine %{y:.2f}"
        layers = list(comparison.layers)
        line(figure, layers, cosines, colour, dash, symbol, size=8, name=f"{a} / {b}", hovertemplate=hover)
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="cosine", range=[-1.05, 1.05])
    return plain(figure, legend=True)
