"""What steering costs on ordinary text, as a figure."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.costs.text import SAFE_PERPLEXITY, TextCosts
from caa_core.metrics.estimates import SAFE_KL
from caa_core.reports.style import PURPLE, SKY, limit_at, line, plain


def costs_by_multiplier(costs: TextCosts) -> go.Figure:
    """KL and perplexity on a text against the multiplier, with their limits."""
    rows = sorted([*((one.multiplier, one.kl, one.perplexity) for one in costs.steered), (0.0, 0.0, costs.perplexity)])
    multipliers, kl, perplexity = (list(column) for column in zip(*rows, strict=True))
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=["KL(unsteered ‖ steered)", "Perplexity"], horizontal_spacing=0.15
    )
    panels = [
        (kl, PURPLE, "nats, mean over tokens", SAFE_KL, "linear"),
        (perplexity, SKY, "perplexity", SAFE_PERPLEXITY * costs.perplexity, "log"),
    ]
    hover = "multiplier %{x:g}: %{y:.3g}<extra></extra>"
    for column, (numbers, colour, axis, bound, kind) in enumerate(panels, 1):
        line(figure, multipliers, numbers, colour, hovertemplate=hover, row=1, col=column)
        limit_at(figure, multipliers, bound, row=1, col=column)
        figure.update_yaxes(title=axis, type=kind, row=1, col=column)
    plain(figure)
    return figure.update_xaxes(title="multiplier", tickmode="auto")
