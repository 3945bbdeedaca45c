"""Plotly figures from results. No model in here.

Colours are Okabe and Ito's, which stay apart for every kind of colour vision; backgrounds are clear, so that the
figures sit in a light page as in a dark one.
"""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.comparison import Comparison
from caa_core.sweeps import Cell
from caa_core.vectors import SteeringVector

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
SEQUENTIAL = [[0.0, "#F7F7F7"], [1.0, "#7B3294"]]
EFFECT, VALUE, COST = "effect", "value", "cost"
# A colour scale is never finer than this, so that a map of nothing looks like nothing.
LEAST_SCALE = 0.05
ROW_HEIGHT, MOST_NUMBERS = 24, 150


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


def sweep_map(
    cells: Sequence[Cell], unsteered: Cell, shown: str = EFFECT, best: tuple[int, float] | None = None
) -> go.Figure:
    """Layers against multipliers, each cell's number and colour by `shown`.

    EFFECT: the change against the unsteered model by which verdicts are given. VALUE: what was measured, in the letter
    order given; its colours part at the unsteered value. COST: KL in nats. `best` is outlined. Cells that are not there
    yet are left clear; customdata of a cell are its layer and multiplier.
    """
    layers = sorted({cell.layer for cell in cells})
    multipliers = sorted({cell.multiplier for cell in cells})
    table = {(cell.layer, cell.multiplier): cell for cell in cells}
    rows = [[table.get((layer, m)) for m in multipliers] for layer in layers]
    number = {
        EFFECT: lambda cell: cell.difference,
        VALUE: lambda cell: cell.value,
        COST: lambda cell: cell.kl,
    }[shown]
    values = [[cell and number(cell) for cell in row] for row in rows]
    found = [value for row in values for value in row if value is not None]
    middle = unsteered.value if shown == VALUE else 0.0
    reach = max([LEAST_SCALE, *(abs(value - middle) for value in found)])
    figure = go.Figure(
        go.Heatmap(
            x=[f"{m:g}" for m in multipliers],
            y=[str(layer) for layer in layers],
            z=values,
            zmin=0 if shown == COST else middle - reach,
            zmax=middle + reach,
            colorscale=SEQUENTIAL if shown == COST else DIVERGING,
            colorbar={"title": {"text": _unit(unsteered, shown), "side": "right"}, "thickness": 14},
            text=[[cell and in_words(cell) for cell in row] for row in rows],
            customdata=[[(layer, m) for m in multipliers] for layer in layers],
            hovertemplate="%{text}<extra></extra>",
            hoverongaps=False,
            texttemplate="%{z:.2f}" if len(found) <= MOST_NUMBERS else None,
            xgap=1,
            ygap=1,
        )
    )
    proposed = bool(best and best in table)
    if proposed:  # categories are placed at 0, 1, ...
        x, y = multipliers.index(best[1]), layers.index(best[0])
        figure.add_shape(
            type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line={"color": "black", "width": 3}
        )
    title = "multiplier (outlined: proposed)" if proposed else "multiplier"
    figure.update_xaxes(title=title, type="category", showgrid=False)
    figure.update_yaxes(title="layer", type="category", showgrid=False)
    plain(figure, height=max(HEIGHT, 100 + ROW_HEIGHT * len(layers)))
    return figure.update_layout(margin_t=30)


def in_words(cell: Cell) -> str:
    """A cell's numbers in lines of text, broken as plotly does it."""
    unit = "probability of the matching answer" if cell.preference is None else "preference, nats a token"
    lines = [f"<b>layer {cell.layer}, × {cell.multiplier:g}</b>"]
    lines.append(f"change {cell.difference:+.3f} ({cell.difference_low:+.3f} to {cell.difference_high:+.3f})")
    lines.append(f"{unit} {cell.value:.3f} ({cell.low:.3f} to {cell.high:.3f})")
    if cell.swapped is not None:
        lines.append(f"over both letter orders {cell.swapped:.3f} ({cell.swapped_low:.3f} to {cell.swapped_high:.3f})")
    if cell.matching is not None:
        lines.append(f"written: {cell.matching} matching, {cell.not_matching} not, {cell.neither} neither")
    lines.append(f"{cell.skipped} skipped")
    if cell.answer_mass is not None:
        lines[-1] += f", answer mass {cell.answer_mass:.2f}"
    return "<br>".join([*lines, f"KL to unsteered {cell.kl:.3f} nats"])


def _unit(unsteered: Cell, shown: str) -> str:
    if shown == COST:
        return "KL to unsteered, nats"
    unit = "probability of matching" if unsteered.preference is None else "preference, nats a token"
    if shown == VALUE:
        return unit
    return f"change of {unit}" + ("" if unsteered.swapped is None else ",<br>both letter orders")


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
