"""Figures of the CAA paper's experiments, from findings."""

import html
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.paper.findings import MINUS, PLUS, Findings, PromptArm
from caa_core.measuring.sweep import SweepCell
from caa_core.metrics.estimates import Estimate
from caa_core.reports.evaluation import wrong_way
from caa_core.reports.style import (
    BLUE,
    DIVERGING,
    DOTTED,
    GREY,
    HEIGHT,
    ORANGE,
    ROW_HEIGHT,
    SYMBOLS,
    band,
    cut,
    error_bars,
    faint,
    heat_map,
    line,
    look,
    plain,
)
from caa_core.vectors.geometry import Scatter, cosines_between, cosines_between_layers

# What is shown of a cell.
Number = Callable[[SweepCell], Estimate]
SIGNS = ((PLUS, "× +1", BLUE, "solid", "circle"), (MINUS, "× −1", ORANGE, "dash", "square"))
SIDES = ((True, "shows the behaviour", BLUE), (False, "does not", ORANGE))


def effect_by_layer(found: Findings) -> go.Figure:
    """The measure at every layer with the vector used there at × 1 and × −1, in both letter orders and as given."""
    views = _views(found)
    figure = make_subplots(rows=1, cols=len(views), subplot_titles=[view[0] for view in views], shared_yaxes=True)
    for column, (_, number) in enumerate(views, 1):
        for sign, name, colour, dash, symbol in SIGNS:
            cells = [cell for cell in found.profile if cell.multiplier == sign]
            where = {"row": 1, "col": column}
            _band(figure, cells, number, colour, name, **where)
            _by_layer(figure, cells, number, (colour, dash, symbol), name, showlegend=column == 1, **where)
        start = number(found.unsteered).value
        figure.add_hline(start, line=DOTTED, annotation_text="unsteered", row=1, col=column)
    figure.update_xaxes(title=f"layer at which the vector is {found.used}")
    figure.update_yaxes(title=_unit(found), col=1)
    return plain(figure, legend=True)


def effect_by_multiplier(findings: Sequence[Findings]) -> go.Figure:
    """The change against the unsteered model by multiplier, a line a behaviour; behind them how far random vectors of
    the same norm go, the widest of the behaviours' bands.
    """
    figure = go.Figure()
    widest: dict[float, list[float]] = {}
    for multiplier, *ends in (row for found in findings for row in found.band):
        widest.setdefault(multiplier, []).extend(ends)
    if widest:
        multipliers = sorted(widest)
        low, high = ([end(widest[m]) for m in multipliers] for end in (min, max))
        name = "random vectors, least to most"
        band(figure, multipliers, low, high, GREY, name=name, legendgroup=name)
    for i, found in enumerate(findings):
        numbers = [cell.difference for cell in found.curve]
        line(
            figure,
            [cell.multiplier for cell in found.curve],
            [one.value for one in numbers],
            *look(i),
            size=8,
            name=_with_layer(found),
            error_y=error_bars(numbers, thickness=1.5),
            customdata=["<br>".join([f"{cell.difference:.3f}", *wrong_way(cell)]) for cell in found.curve],
            hovertemplate="multiplier %{x}: %{customdata}",
        )
    figure.add_hline(0, line=DOTTED)
    figure.update_xaxes(title="multiplier")
    figure.update_yaxes(title=f"change of {_unit(findings[0])}")
    return plain(figure, legend=True, height=HEIGHT + 60)


def cost_by_multiplier(findings: Sequence[Findings]) -> go.Figure:
    """KL to the unsteered model by multiplier, and of choices the answer mass; a line a behaviour."""
    panels: list[tuple[str, str, Callable[[SweepCell], float | None]]] = [
        ("KL(unsteered ‖ steered)", "nats, mean over the answer's positions", lambda cell: cell.kl)
    ]
    if findings[0].is_choice:
        panels.append(("Answer mass", "probability of either answer", lambda cell: cell.answer_mass))
    figure = make_subplots(
        rows=1, cols=len(panels), subplot_titles=[panel[0] for panel in panels], horizontal_spacing=0.13
    )
    for column, (_, axis, number) in enumerate(panels, 1):
        for i, found in enumerate(findings):
            line(
                figure,
                [cell.multiplier for cell in found.curve],
                [number(cell) for cell in found.curve],
                *look(i),
                size=8,
                name=_with_layer(found),
                legendgroup=str(i),
                showlegend=column == 1,
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
    for sign, sign_name, colour, dash, symbol in SIGNS:
        moved = [cell for cell in found.transfer if cell.multiplier == sign]
        name = f"vector of layer {found.layer}, {sign_name}"
        _band(figure, moved, number, colour, name)
        _by_layer(figure, moved, number, (colour, dash, symbol), name)
        if own := [cell for cell in found.profile if cell.multiplier == sign]:
            style = (faint(colour, 0.6), "dot", f"{symbol}-open")
            _by_layer(figure, own, number, style, f"each layer's own, {sign_name}")
    figure.add_hline(number(found.unsteered).value, line=DOTTED, annotation_text="unsteered")
    figure.add_vline(found.layer, line=DOTTED)
    figure.update_xaxes(title=f"layer at which the vector of layer {found.layer} is {found.used}")
    figure.update_yaxes(title=_unit(found))
    return plain(figure, legend=True, height=HEIGHT + 40)


def vector_against_prompt(found: Findings) -> go.Figure:
    """The measure under three system prompts (positive, negative, none), each at multipliers -1, 0 and +1."""
    figure = go.Figure()
    _, number = _views(found)[0]
    styles = zip((-1.0, 0.0, 1.0), (ORANGE, GREY, BLUE), ("square", "circle", "diamond"), strict=True)
    for place, (multiplier, colour, symbol) in enumerate(styles):
        numbers = [number(_at(arm, multiplier)) for arm in found.arms]
        figure.add_scatter(
            x=[arm_number + (place - 1) * 0.15 for arm_number in range(len(numbers))],
            y=[one.value for one in numbers],
            mode="markers",
            name=f"× {multiplier:+g}" if multiplier else "× 0",
            marker={"color": colour, "symbol": symbol, "size": 12},
            error_y=error_bars(numbers, thickness=1.5),
            customdata=[(arm.told, f"{one:.3f}") for one, arm in zip(numbers, found.arms, strict=True)],
            hovertemplate="prompt: %{customdata[0]}: %{customdata[1]}",
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
    names = [cut(found.name) for found in findings]
    return _matrix(values, names, "behaviour", f"cosine at layer {layer}")


def cosines_of_layers(found: Findings) -> go.Figure:
    """Cosine between a behaviour's directions at every two layers."""
    names = [str(layer) for layer in found.vector.layers]
    return _matrix(cosines_between_layers(found.vector), names, "layer", "cosine")


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


def _band(figure: go.Figure, cells: Sequence[SweepCell], number: Number, colour: str, name: str, **where: Any) -> None:
    """The intervals of what `_by_layer` draws under that name."""
    ends = [number(cell).low for cell in cells], [number(cell).high for cell in cells]
    band(figure, _layers(cells), *ends, colour, showlegend=False, legendgroup=name, **where)


def _by_layer(
    figure: go.Figure,
    cells: Sequence[SweepCell],
    number: Number,
    style: tuple[str, str, str],
    name: str,
    **trace: Any,
) -> None:
    """A line with its colour, dash and symbol; intervals are shown under the mouse."""
    said = ["<br>".join([f"{number(cell):.3f}", *wrong_way(cell)]) for cell in cells]
    hover = "layer %{x}: %{customdata}"
    values = [number(cell).value for cell in cells]
    trace |= {"name": name, "legendgroup": name, "customdata": said, "hovertemplate": hover}
    line(figure, _layers(cells), values, *style, **trace)


def _layers(cells: Sequence[SweepCell]) -> list[int]:
    return [cell.layer for cell in cells if cell.layer is not None]


def _matrix(values: Sequence[Sequence[float]], names: Sequence[str], axis: str, unit: str) -> go.Figure:
    hover = f"{axis} %{{y}} and {axis} %{{x}}: %{{z:.3f}}<extra></extra>"
    figure = heat_map(names, names, values, (-1, 1), DIVERGING, unit, hovertemplate=hover)
    figure.update_xaxes(title=axis, type="category", showgrid=False)
    figure.update_yaxes(title=axis, type="category", showgrid=False, autorange="reversed")
    plain(figure, height=max(HEIGHT, 100 + ROW_HEIGHT * len(names)))
    return figure.update_layout(margin_t=30, margin_l=60 if axis == "layer" else 170)


def _views(found: Findings) -> list[tuple[str, Number]]:
    """Titles, and what a cell is shown by: over both letter orders where there are two first."""
    views: list[tuple[str, Number]] = [("As given" if found.is_choice else "", lambda cell: cell.as_given)]
    if found.unsteered.swapped is None:
        return views
    return [("Both letter orders", lambda cell: cell.swapped or cell.as_given), *views]


def _at(arm: PromptArm, multiplier: float) -> SweepCell:
    return next(cell for cell in arm.cells if cell.multiplier == multiplier)


def _unit(found: Findings) -> str:
    return "probability of the matching answer" if found.is_choice else "preference, nats a token"


def _axis(scatter: Scatter, row: int, component: int) -> str:
    explained, along = scatter.explained[row][component], scatter.along[row][component]
    return f"component {component + 1}: {explained:.0%} of the variance<br>|cosine| with the vector {along:.2f}"


def _with_layer(found: Findings) -> str:
    return f"{cut(found.name)}, layer {found.layer}"
