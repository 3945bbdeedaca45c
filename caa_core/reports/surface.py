"""Two voices over a grid of multipliers or layers, as figures and a report."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.dominance import Contest
from caa_core.contest.surface import LayerGrid, Surface, SurfaceCell, surface_of
from caa_core.metrics.estimates import SAFE_KL
from caa_core.reports.style import DIVERGING, HEIGHT, NATS, cut, heat_map, plain
from caa_core.reports.style import DOMINANCE as FAR
from caa_core.reports.writing import Card, Report, Section

DOMINANCE, INTERACTION = "dominance", "interaction"
ROW = 44


def report_of(found: dict[str, Any]) -> Report:
    """What `run_surface` found; its CSV has a line for each cell."""
    shown = surface_of({name: value for name, value in found.items() if name not in ("settings", "provenance")})
    figure = surface_map(shown) if isinstance(shown, Surface) else layer_map(shown)
    return Report(
        name=f"{shown.a} against {shown.b}, surface",
        title=f"{shown.a} against {shown.b}",
        cards=[Card.of("Over multipliers" if isinstance(shown, Surface) else "Over layers", shown.verdict)],
        sections=[Section("Surface", shown.verdict, drawing=figure)],
        rows=found["cells"],
        data=found,
        settings=found["settings"],
        provenance=found["provenance"],
        text=shown.verdict,
    )


def surface_map(surface: Surface) -> go.Figure:
    """How far m is from unsteered at both multipliers, pale where that is not clear of 0, with the line on which the
    voices balance.

    customdata of a cell are its multipliers of A and of B.
    """
    across, up = sorted({cell.a for cell in surface.cells}), sorted({cell.b for cell in surface.cells})
    table = {(cell.a, cell.b): cell for cell in surface.cells}
    rows = [[table[x, y] for x in across] for y in up]
    figure = _map(
        [f"{x:g}" for x in across],
        [f"{y:g}" for y in up],
        [[cell.change.value for cell in row] for row in rows],
        [[_in_words(surface, cell) for cell in row] for row in rows],
        [[(cell.a, cell.b) for cell in row] for row in rows],
        ("Δ, nats a token", NATS),
        [[cell.change.is_clear for cell in row] for row in rows],
    )
    if surface.balance and len(up) > 1:
        # Cells are categories, which stand at 0, 1, ...: between them by share.
        line = [(_place(a, across), _place(b, up)) for a, b in surface.balance]
        figure.add_scatter(
            x=[x for x, _ in line],
            y=[y for _, y in line],
            mode="lines+markers",
            name="black line: the voices balance",
            line={"color": "black", "width": 3},
            marker={"symbol": "diamond-open", "size": 10, "color": "black"},  # a number below it is seen
            showlegend=len(line) > 1,
            hoverinfo="skip",
        )
    figure.update_xaxes(title=_axis("A", surface.a, surface.layer_a))
    figure.update_yaxes(title=_axis("B", surface.b, surface.layer_b))
    return figure


def layer_map(crossing: LayerGrid, shown: str = DOMINANCE) -> go.Figure:
    """D or I at every two layers; clear where there is no contest and so no D, and pale where it is not clear of 0.

    customdata of a cell are the layers of A and of B.
    """
    across, up = (sorted({cell[axis] for cell in crossing.cells}) for axis in ("layer_a", "layer_b"))
    table = {(cell["layer_a"], cell["layer_b"]): cell for cell in crossing.cells}
    rows = [[table[x, y] for x in across] for y in up]
    values = [[cell[shown] if cell["contest"] or shown == INTERACTION else None for cell in row] for row in rows]
    figure = _map(
        [str(x) for x in across],
        [str(y) for y in up],
        values,
        [[_crossed(cell) for cell in row] for row in rows],
        [[(x, y) for x in across] for y in up],
        ("dominance D", FAR) if shown == DOMINANCE else ("interaction I, nats a token", NATS),
        [[_is_clear(cell, shown) for cell in row] for row in rows],
    )
    figure.update_xaxes(title=f"layer of A: {cut(crossing.a)}, × {crossing.multiplier_a:g}")
    figure.update_yaxes(title=f"layer of B: {cut(crossing.b)}, × {crossing.multiplier_b:g}")
    return figure


def _map(
    across: Sequence[str],
    up: Sequence[str],
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    cells: Sequence[Sequence[Any]],
    scale: tuple[str, float],
    sure: Sequence[Sequence[bool]],
) -> go.Figure:
    """scale: what it is of, and how far it goes to either side of 0."""
    # Places in place of categories: a line runs between them.
    places = list(range(len(across))), list(range(len(up)))
    unit, far = scale
    figure = heat_map(*places, values, (-far, far), DIVERGING, unit, sure, hovertext=texts, customdata=cells)
    plain(figure, legend=True, height=max(HEIGHT, 150 + ROW * len(up)))
    figure.update_xaxes(tickmode="array", tickvals=places[0], ticktext=list(across), showgrid=False)
    figure.update_yaxes(tickmode="array", tickvals=places[1], ticktext=list(up), showgrid=False)
    return figure.update_layout(margin_t=40)


def _is_clear(cell: dict[str, Any], shown: str) -> bool:
    found = Contest.of({**cell, "rows": ()})
    number = found.dominance if shown == DOMINANCE else found.interaction
    return number is None or number.is_clear


def _place(value: float, steps: Sequence[float]) -> float:
    """Where a number lies among the places 0, 1, ... of rising steps."""
    for i, (low, high) in enumerate(pairwise(steps)):
        if low <= value <= high:
            return i + (value - low) / (high - low)
    return float(steps.index(value))


def _axis(letter: str, name: str, layer: int | None) -> str:
    name = cut(name)
    return f"{letter}: {name} (0: not there)" if layer is None else f"multiplier of {letter}: {name}, layer {layer}"


def _in_words(surface: Surface, cell: SurfaceCell) -> str:
    cost = "KL not known" if cell.kl is None else f"KL to unsteered {cell.kl:.2f} nats"
    if cell.kl is not None and cell.kl >= SAFE_KL:
        cost += f", over {SAFE_KL:g}"
    where = f"<b>{cell.a:g} of {cut(surface.a)}, {cell.b:g} of {cut(surface.b)}</b>"
    lines = [where, f"Δ {cell.change}, m {cell.m:+.2f}", cost]
    if cell.towards_a:  # no controls stand beside it
        lines += [f"of the prompts that move, towards A: {cell.towards_a}", "half of them where nothing is done"]
    return "<br>".join(lines)


def _crossed(cell: dict[str, Any]) -> str:
    found = Contest.of({**cell, "rows": ()})
    lines = [f"<b>A at layer {cell['layer_a']}, B at layer {cell['layer_b']}</b>"]
    if found.contest and found.dominance and found.additive is not None:
        lines += [f"D {found.dominance}", f"D₀ {found.additive:+.2f}, as adding predicts"]
    else:
        lines.append("no contest")
    a, b, both = (delta.value for delta in (found.delta_a, found.delta_b, found.delta_ab))
    lines += [f"I {found.interaction}", f"Δ of A {a:+.2f}, of B {b:+.2f}, of both {both:+.2f}"]
    wrong = (("A", found.anti_steerable_a), ("B", found.anti_steerable_b))
    lines += [f"pushed the wrong way by {voice} {one.brief}" for voice, one in wrong if one]
    kl = found.kl[2]
    return "<br>".join([*lines, "KL not known" if kl is None else f"KL of both {kl:.2f} nats"])
