"""What steering costs on questions whose right answers are known, as a figure and a report."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.costs.knowledge import CHANCE, Knowledge
from caa_core.metrics.estimates import Estimate
from caa_core.reports.inspection import RUNS
from caa_core.reports.style import DOTTED, error_bars, plain, reach_of_controls


def capability_by_multiplier(found: Knowledge) -> go.Figure:
    """Accuracy and probability of the right answer against the multiplier, with 95% intervals; as grey bands how far
    random vectors of the same norm move the accuracy.
    """
    rows = sorted(found.rows, key=lambda row: row.multiplier)
    panels = (("accuracy", "Right answers"), ("probability", "Probability of the right answer"))
    figure = make_subplots(rows=1, cols=2, subplot_titles=[title for _, title in panels], horizontal_spacing=0.15)
    unsteered = found.rows[0].accuracy.value
    for row in rows:
        if row.random:
            ends = [unsteered + end for end in row.random]
            reach_of_controls(figure, [row.multiplier] * 2, ends, row=1, col=1)
    for column, ((name, _), (_, colour, symbol)) in enumerate(zip(panels, RUNS[::-1], strict=True), 1):
        numbers: list[Estimate] = [getattr(row, name) for row in rows]
        figure.add_scatter(
            x=[row.multiplier for row in rows],
            y=[one.value for one in numbers],
            error_y=error_bars(numbers),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10},
            hovertemplate="multiplier %{x:g}: %{y:.3f}<extra></extra>",
            row=1,
            col=column,
        )
        figure.add_hline(CHANCE, line=DOTTED, annotation_text="chance", row=1, col=column)
    plain(figure)
    figure.update_yaxes(range=[0, 1.05])
    figure.update_yaxes(title="share of questions (grey: random vectors)", row=1, col=1)
    figure.update_yaxes(title="probability, both letter orders", row=1, col=2)
    return figure.update_xaxes(title="multiplier", tickmode="array", tickvals=[row.multiplier for row in rows])
