"""What steering does to refusals, as a figure."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.costs.refusals import HARMFUL, HARMLESS, Refusals
from caa_core.reports.style import BLUE, DOTTED, GREEN, GREY, ORANGE, band, error_bars, line, plain, reach_of_controls

# How far the two kinds stand beside each other, in multipliers.
APART = 0.04
LOOKS = {HARMLESS: (BLUE, "circle"), HARMFUL: (ORANGE, "diamond")}


def refusals_by_multiplier(found: Refusals) -> go.Figure:
    """The share of harmless and of harmful requests that are refused against the multiplier, with exact 95% intervals
    and grey bars for how far random vectors move it; and the cosine to the refusal direction against the layer.
    """
    titles = ("Refused", "Along refusal")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.15)
    steps = sorted({one.multiplier for one in found.counts})
    for number, (kind, (colour, symbol)) in enumerate(LOOKS.items()):
        rows = [found.at(kind, multiplier) for multiplier in steps]
        x = [multiplier + APART * (2 * number - 1) for multiplier in steps]
        unsteered = found.at(kind, 0.0).refused.value
        for place, row in zip(x, rows, strict=True):
            if row.random:
                ends = [unsteered + end for end in row.random]
                reach_of_controls(figure, [place] * 2, ends, showlegend=False, row=1, col=1)
        figure.add_scatter(
            x=x,
            y=[row.refused.value for row in rows],
            error_y=error_bars([row.refused for row in rows]),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10},
            name=kind,
            customdata=steps,
            hovertemplate=f"{kind}, × %{{customdata:g}}: %{{y:.0%}}<extra></extra>",
            row=1,
            col=1,
        )
    layers = [*found.overlap]
    beside = [one.controls or (0.0, 0.0) for one in found.overlap.values()]
    band(figure, layers, [low for low, _ in beside], [high for _, high in beside], GREY, showlegend=False, row=1, col=2)
    cosines = [one.value for one in found.overlap.values()]
    hover = "layer %{x}: %{y:+.2f}<extra></extra>"
    line(figure, layers, cosines, GREEN, showlegend=False, hovertemplate=hover, row=1, col=2)
    figure.add_hline(0, line=DOTTED, row=1, col=2)
    plain(figure, legend=True)
    figure.update_xaxes(title="multiplier", tickmode="array", tickvals=steps, row=1, col=1)
    figure.update_xaxes(title="layer", row=1, col=2)
    figure.update_yaxes(title="share (grey: random vectors)", range=[-0.02, 1.05], row=1, col=1)
    return figure.update_yaxes(title="cosine", range=[-1.05, 1.05], row=1, col=2)
