"""An evaluation as a map, a table in words, JSON, CSV, HTML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from caa_core.measuring.evaluation import Evaluation
from caa_core.measuring.sweep import SweepCell
from caa_core.reports.html import Section, versions, write_html
from caa_core.reports.style import DIVERGING, HEIGHT, LEAST_SCALE, MOST_NUMBERS, ROW_HEIGHT, plain
from caa_core.reports.writing import ENDINGS as NUMBERS
from caa_core.reports.writing import check_report, write_numbers

SEQUENTIAL = [[0.0, "#F7F7F7"], [1.0, "#7B3294"]]

EFFECT, VALUE, COST = "effect", "value", "cost"


def sweep_map(
    cells: Sequence[SweepCell], unsteered: SweepCell, shown: str = EFFECT, best: tuple[int, float] | None = None
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
        EFFECT: lambda cell: cell.difference.value,
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


def in_words(cell: SweepCell) -> str:
    """A cell's numbers in lines of text, broken as plotly does it."""
    unit = "probability of the matching answer" if cell.preference is None else "preference, nats a token"
    lines = [f"<b>layer {cell.layer}, × {cell.multiplier:g}</b>"]
    lines.append(f"change {cell.difference:+.3f}")
    lines.append(f"{unit} {cell.as_given:.3f}")
    if cell.swapped is not None:
        lines.append(f"over both letter orders {cell.swapped:.3f}")
    if cell.matching is not None:
        lines.append(f"written: {cell.matching} matching, {cell.not_matching} not, {cell.neither} neither")
    lines.append(f"{cell.skipped} skipped")
    if cell.answer_mass is not None:
        lines[-1] += f", answer mass {cell.answer_mass:.2f}"
    return "<br>".join([*lines, f"KL to unsteered {cell.kl:.3f} nats"])


def _unit(unsteered: SweepCell, shown: str) -> str:
    if shown == COST:
        return "KL to unsteered, nats"
    unit = "probability of matching" if unsteered.preference is None else "preference, nats a token"
    if shown == VALUE:
        return unit
    return f"change of {unit}" + ("" if unsteered.swapped is None else ",<br>both letter orders")


ENDINGS = (".html", *NUMBERS)

MAPS = {
    EFFECT: ("Effect", "Change against the unsteered model, over both letter orders where items have letters."),
    VALUE: ("As asked", "In the order given, letter and all."),
    COST: ("Cost", "KL(unsteered ‖ steered), mean over the answer's positions."),
}


def write_evaluation(found: dict[str, Any], path: Path) -> None:
    """Write an evaluation's summary by the file's ending; see `reports.write_report`.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_report(path, ENDINGS)
    if path.suffix.lower() in NUMBERS:
        write_report(found, path)
        return
    heads, rows = cells_in_words(found)
    cells, unsteered, best = (
        [SweepCell.of(cell) for cell in found["cells"]],
        SweepCell.of(found["unsteered"]),
        found["best"],
    )
    place = best and (best["layer"], best["multiplier"])
    items = f"{found['items']} items measured, {len(found['skipped'])} skipped"
    parts = [Section("Verdict", f"{found['verdict']['text']}\n{items}. Measured: {found['measure']}.")]
    parts += [
        Section(title, text, figure=sweep_map(cells, unsteered, which, place)) for which, (title, text) in MAPS.items()
    ]
    parts.append(Section("All cells in numbers", "Intervals of 95 % over items.", heads=heads, rows=rows))
    if found["skipped"]:
        parts.append(Section("Skipped", "\n".join(found["skipped"])))
    provenance = {**found["provenance"], **versions()}
    vector = provenance.pop("vector")
    provenance |= {f"vector: {name}": value for name, value in vector.items()}
    write_html(path, f"{found['vector']} on {found['data']}", parts, found["settings"], provenance)


def write_report(found: dict[str, Any], path: Path) -> None:
    """Write an evaluation's summary as JSON, or its cells as CSV with the unsteered model first, by the file's ending.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_report(path)
    named = {"model": found["provenance"]["model"]}
    named |= {name: found[name] for name in ("vector", "data", "measure")}
    write_numbers(found, [cell | named for cell in (found["unsteered"], *found["cells"])], path)


def cells_in_words(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Headers and rows that show an evaluation's summary: the unsteered model, then each cell.

    Free text has neither letters nor answers that could be counted.
    """
    headers = ["layer", "multiplier", "change (95 %)", "preference, nats a token (95 %)", "skipped", "KL, nats"]
    choices = found["unsteered"]["probability"] is not None
    if choices:
        headers[3:4] = ["probability of matching (95 %)", "both letter orders (95 %)", "matching / not / neither"]
        headers.insert(-1, "answer mass")
    rows = []
    for cell in (SweepCell.of(cell) for cell in (found["unsteered"], *found["cells"])):
        row = ["unsteered" if cell.layer is None else cell.layer, f"{cell.multiplier:g}"]
        row.append(f"{cell.difference:+.3f}")
        row.append(f"{cell.as_given:.3f}")
        row += [_both(cell) or "none", _counts(cell) or "not written"] if choices else []
        row += [cell.skipped, *([f"{cell.answer_mass:.2f}"] if choices else []), f"{cell.kl:.3f}"]
        rows.append(row)
    return headers, rows


def table_of(found: Evaluation) -> str:
    """The cells in lines of text, and what is concluded from them."""
    swept = found.swept
    lines = [
        f"{swept.items.name}: {len(swept.items.pairs)} items, {len(swept.items.skipped)} skipped; {swept.measure}, "
        "with 95 % intervals over items",
        "layer  multiplier  value                     both letter orders     matching / not / neither  answer mass  KL",
        *(_line(cell) for cell in (swept.unsteered, *swept.cells)),
    ]
    if swept.items.are_lettered and swept.items.not_swapped:
        lines.append(f"{swept.items.not_swapped} items have no other letter order.")
    if swept.items.zeros:
        lines.append(f"{len(swept.items.zeros)} items whose matching letter is neither A nor B count as 0.")
    lines += [f"Skipped. {reason}" for reason in swept.items.skipped]
    return "\n".join([*lines, found.conclusion.text])


def _line(cell: SweepCell) -> str:
    where = f"{'none' if cell.layer is None else cell.layer:>5}  {cell.multiplier:>10g}"
    value = f"{cell.as_given:.3f}"
    mass = "" if cell.answer_mass is None else f"{cell.answer_mass:.2f}"
    return f"{where}  {value:<24}  {_both(cell):<22} {_counts(cell):<25} {mass:<11}  {cell.kl:.3f}"


def _both(cell: SweepCell) -> str:
    return "" if cell.swapped is None else f"{cell.swapped:.3f}"


def _counts(cell: SweepCell) -> str:
    return "" if cell.matching is None else f"{cell.matching} / {cell.not_matching} / {cell.neither}"
