"""Figures of the CAA paper's experiments, from findings. No model in here."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.paper.findings import MINUS, PLUS, Findings, PromptArm
from caa_core.measuring.sweep import SweepCell
from caa_core.metrics.estimates import Estimate
from caa_core.reports.style import (
    BLUE,
    COLOURS,
    DASHES,
    DIVERGING,
    GREY,
    HEIGHT,
    MOST_NUMBERS,
    ORANGE,
    ROW_HEIGHT,
    SYMBOLS,
    faint,
    plain,
)
from caa_core.vectors.geometry import Scatter, cosines_between, cosines_between_layers

LONGEST_NAME = 40
SIGNS = ((PLUS, "× +1", BLUE, "solid", "circle"), (MINUS, "× −1", ORANGE, "dash", "square"))
SIDES = ((True, "shows the behaviour", BLUE), (False, "does not", ORANGE))


def effect_by_layer(found: Findings) -> go.Figure:
    """The measure at every layer with the vector added there and subtracted, in both letter orders and as given."""
    views = _views(found)
    figure = make_subplots(rows=1, cols=len(views), subplot_titles=[view[0] for view in views], shared_yaxes=True)
    for column, (_, number) in enumerate(views, 1):
        for sign, name, colour, dash, symbol in SIGNS:
            cells = [cell for cell in found.profile if cell.multiplier == sign]
            rows = [number(cell) for cell in cells]
            line = Line([cell.layer for cell in cells], rows, name, colour, dash, symbol, "layer")
            _draw(figure, line, column, shown=column == 1)
        start = number(found.unsteered)[0]
        figure.add_hline(start, line={"color": GREY, "dash": "dot"}, annotation_text="unsteered", row=1, col=column)
    figure.update_xaxes(title="layer at which the vector is added")
    figure.update_yaxes(title=_unit(found), col=1)
    return plain(figure, legend=True)


def effect_by_multiplier(findings: Sequence[Findings]) -> go.Figure:
    """The change against the unsteered model by multiplier, a line a behaviour; behind them how far random vectors of
    the same norm go, the widest of the behaviours' bands.
    """
    figure = go.Figure()
    bands = [found.band for found in findings if found.band]
    if bands:
        rows = [(m, min(row[1] for row in at), max(row[2] for row in at)) for m, at in _by_multiplier(bands)]
        name = "random vectors, least to most"
        hidden = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name}
        figure.add_scatter(x=[r[0] for r in rows], y=[r[1] for r in rows], showlegend=False, **hidden)
        figure.add_scatter(
            x=[r[0] for r in rows], y=[r[2] for r in rows], fill="tonexty", fillcolor=faint(GREY), name=name, **hidden
        )
    for i, found in enumerate(findings):
        rows = [_ends(cell.difference) for cell in found.curve]
        style = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], SYMBOLS[i % len(SYMBOLS)]
        line = Line(
            [cell.multiplier for cell in found.curve], rows, _with_layer(found), *style, "multiplier", bars=True
        )
        _draw(figure, line)
    figure.add_hline(0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title="multiplier")
    figure.update_yaxes(title=f"change of {_unit(findings[0])}")
    return plain(figure, legend=True, height=HEIGHT + 60)


def cost_by_multiplier(findings: Sequence[Findings]) -> go.Figure:
    """KL to the unsteered model by multiplier, and of choices the answer mass; a line a behaviour."""
    panels = [("KL(unsteered ‖ steered)", "nats, mean over the answer's positions", lambda cell: cell.kl)]
    if findings[0].is_choice:
        panels.append(("Answer mass", "probability of either answer", lambda cell: cell.answer_mass))
    figure = make_subplots(
        rows=1, cols=len(panels), subplot_titles=[panel[0] for panel in panels], horizontal_spacing=0.13
    )
    for column, (_, axis, number) in enumerate(panels, 1):
        for i, found in enumerate(findings):
            figure.add_scatter(
                x=[cell.multiplier for cell in found.curve],
                y=[number(cell) for cell in found.curve],
                mode="lines+markers",
                name=_with_layer(found),
                legendgroup=str(i),
                showlegend=column == 1,
                line={"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i % len(DASHES)]},
                marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8},
                hovertemplate="multiplier %{x:g}: %{y:.3f}",
                row=1,
                col=column,
            )
        figure.update_yaxes(title=axis, rangemode="tozero", row=1, col=column)
    figure.update_xaxes(title="multiplier")
    return plain(figure, legend=True)


def transfer_by_layer(found: Findings) -> go.Figure:
    """The vector of one layer, added at each of the layers: the measure over both letter orders where there are two,
    beside each layer's own vector.
    """
    figure = go.Figure()
    _, number = _views(found)[0]
    for sign, name, colour, dash, symbol in SIGNS:
        for cells, whose in ((found.transfer, f"vector of layer {found.layer}"), (found.profile, "each layer's own")):
            cells = [cell for cell in cells if cell.multiplier == sign]
            if not cells:
                continue
            rows = [number(cell) for cell in cells]
            own = whose.startswith("each")
            style = (faint(colour, 0.6), "dot", f"{symbol}-open") if own else (colour, dash, symbol)
            line = Line([c.layer for c in cells], rows, f"{whose}, {name}", *style, "layer", band=not own)
            _draw(figure, line)
    figure.add_hline(number(found.unsteered)[0], line={"color": GREY, "dash": "dot"}, annotation_text="unsteered")
    figure.add_vline(found.layer, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title=f"layer at which the vector of layer {found.layer} is added")
    figure.update_yaxes(title=_unit(found))
    return plain(figure, legend=True, height=HEIGHT + 40)


def vector_against_prompt(found: Findings) -> go.Figure:
    """The measure under three system prompts (positive, negative, none), each at multipliers -1, 0 and +1."""
    figure = go.Figure()
    _, number = _views(found)[0]
    styles = zip((-1.0, 0.0, 1.0), (ORANGE, GREY, BLUE), ("square", "circle", "diamond"), strict=True)
    for place, (multiplier, colour, symbol) in enumerate(styles):
        cells = [_at(arm, multiplier) for arm in found.arms]
        rows = [number(cell) for cell in cells]
        figure.add_scatter(
            x=[arm_number + (place - 1) * 0.15 for arm_number in range(len(cells))],
            y=[row[0] for row in rows],
            mode="markers",
            name=f"× {multiplier:+g}" if multiplier else "× 0",
            marker={"color": colour, "symbol": symbol, "size": 12},
            error_y=_bars(rows),
            customdata=[(row[1], row[2], arm.told) for row, arm in zip(rows, found.arms, strict=True)],
            hovertemplate="prompt: %{customdata[2]}: %{y:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})",
        )
    plain(figure, legend=True)
    figure.update_xaxes(
        title="system prompt",
        tickmode="array",
        tickvals=list(range(len(found.arms))),
        ticktext=[a.told for a in found.arms],
    )
    figure.update_yaxes(title=_unit(found))
    return figure


def cosines_of_behaviours(findings: Sequence[Findings], layer: int) -> go.Figure:
    """Cosine between the vectors of every two behaviours at a layer."""
    values = cosines_between([found.vector for found in findings], layer)
    names = [_cut(found.name) for found in findings]
    return _matrix(values, names, names, "behaviour", f"cosine at layer {layer}")


def cosines_of_layers(found: Findings) -> go.Figure:
    """Cosine between a behaviour's directions at every two layers."""
    names = [str(layer) for layer in found.vector.layers]
    return _matrix(cosines_between_layers(found.vector), names, names, "layer", "cosine")


def components(scatter: Scatter, layer: int) -> go.Figure:
    """Activations at the answers along their first two principal components, with a slider for the layer.

    Colour: whether the answer shows the behaviour. Symbol: its letter (or word).
    """
    kinds = sorted(set(scatter.answers))
    groups = [
        (side, name, colour, answer, SYMBOLS[i % len(SYMBOLS)])
        for side, name, colour in SIDES
        for i, answer in enumerate(kinds)
    ]
    members = [
        [i for i, at in enumerate(zip(scatter.positive, scatter.answers, strict=True)) if at == (side, answer)]
        for side, _, _, answer, _ in groups
    ]
    start = scatter.layers.index(layer)
    figure = go.Figure()
    for (_, name, colour, answer, symbol), points in zip(groups, members, strict=True):
        if points:
            figure.add_scatter(
                x=[scatter.x[start][i] for i in points],
                y=[scatter.y[start][i] for i in points],
                mode="markers",
                name=f"{html.escape(answer)} {name}".strip(),
                marker={"color": colour, "symbol": symbol, "size": 8, "opacity": 0.75},
                hovertemplate="%{x:.3g}, %{y:.3g}",
            )
    members = [points for points in members if points]
    steps = [
        {
            "label": str(at),
            "method": "update",
            "args": [
                {axis: [[values[i] for i in points] for points in members] for axis, values in (("x", x), ("y", y))},
                {"xaxis.title.text": _axis(scatter, row, 0), "yaxis.title.text": _axis(scatter, row, 1)},
            ],
        }
        for row, (at, x, y) in enumerate(zip(scatter.layers, scatter.x, scatter.y, strict=True))
    ]
    plain(figure, legend=True, height=HEIGHT + 160)
    figure.update_xaxes(title=_axis(scatter, start, 0))
    figure.update_yaxes(title=_axis(scatter, start, 1))
    slider = {"active": start, "steps": steps, "currentvalue": {"prefix": "layer "}, "pad": {"t": 60}}
    return figure.update_layout(
        sliders=[slider], legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, margin={"b": 110}
    )


@dataclass(frozen=True)
class Line:
    """Rows of (value, low, high) at `x`, with a band or bars for their 95 % intervals, or neither."""

    x: Sequence[float]
    rows: Sequence[tuple[float, float, float]]
    name: str
    colour: str
    dash: str
    symbol: str
    axis: str
    band: bool = True
    bars: bool = False


def _draw(figure: go.Figure, line: Line, column: int | None = None, shown: bool = True) -> None:
    where = {"row": 1, "col": column} if column else {}
    if line.band and not line.bars:
        hidden = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        hidden |= {"legendgroup": line.name, **where}
        figure.add_scatter(x=line.x, y=[row[1] for row in line.rows], **hidden)
        fill = {"fill": "tonexty", "fillcolor": faint(line.colour)}
        figure.add_scatter(x=line.x, y=[row[2] for row in line.rows], **fill, **hidden)
    figure.add_scatter(
        x=line.x,
        y=[row[0] for row in line.rows],
        mode="lines+markers",
        name=line.name,
        legendgroup=line.name,
        showlegend=shown,
        line={"color": line.colour, "dash": line.dash},
        marker={"symbol": line.symbol, "size": 8 if line.bars else 6},
        error_y=_bars(line.rows) if line.bars else None,
        customdata=[row[1:] for row in line.rows],
        hovertemplate=f"{line.axis} %{{x}}: %{{y:.3f}} (%{{customdata[0]:.3f}} to %{{customdata[1]:.3f}})",
        **where,
    )


def _bars(rows: Sequence[tuple[float, float, float]]) -> dict:
    ends = {"array": [high - value for value, _, high in rows], "arrayminus": [value - low for value, low, _ in rows]}
    return {"type": "data", "symmetric": False, "thickness": 1.5, **ends}


def _matrix(values: Sequence[Sequence[float]], rows: list[str], columns: list[str], axis: str, unit: str) -> go.Figure:
    figure = go.Figure(
        go.Heatmap(
            x=columns,
            y=rows,
            z=values,
            zmin=-1,
            zmax=1,
            colorscale=DIVERGING,
            colorbar={"title": {"text": unit, "side": "right"}, "thickness": 14},
            hovertemplate=f"{axis} %{{y}} and {axis} %{{x}}: %{{z:.3f}}<extra></extra>",
            texttemplate="%{z:.2f}" if len(rows) * len(columns) <= MOST_NUMBERS else None,
        )
    )
    figure.update_xaxes(title=axis, type="category", showgrid=False)
    figure.update_yaxes(title=axis, type="category", showgrid=False, autorange="reversed")
    plain(figure, height=max(HEIGHT, 100 + ROW_HEIGHT * len(rows)))
    return figure.update_layout(margin_t=30, margin_l=60 if axis == "layer" else 170)


def _views(found: Findings) -> list:
    """Titles, and functions from a cell to (value, low, high): over both letter orders where there are two first."""
    given = ("As given" if found.is_choice else "", lambda cell: _ends(cell.as_given))
    if found.unsteered.swapped is None:
        return [given]
    return [("Both letter orders", lambda cell: _ends(cell.swapped)), given]


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _by_multiplier(bands: Sequence[Sequence[tuple[float, float, float]]]) -> list:
    multipliers = sorted({row[0] for band in bands for row in band})
    return [(m, [row for band in bands for row in band if row[0] == m]) for m in multipliers]


def _at(arm: PromptArm, multiplier: float) -> SweepCell:
    return next(cell for cell in arm.cells if cell.multiplier == multiplier)


def _unit(found: Findings) -> str:
    return "probability of the matching answer" if found.is_choice else "preference, nats a token"


def _axis(scatter: Scatter, row: int, component: int) -> str:
    explained, along = scatter.explained[row][component], scatter.along[row][component]
    return f"component {component + 1}: {explained:.0%} of the variance<br>|cosine| with the vector {along:.2f}"


def _with_layer(found: Findings) -> str:
    return f"{_cut(found.name)}, layer {found.layer}"


def _cut(name: str) -> str:
    """Somebody's own words in a figure, which would take tags in them for its own."""
    return html.escape(name[:LONGEST_NAME], quote=False)
