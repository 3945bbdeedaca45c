"""Plotly figures of the views into the model, and of what steering costs. No model in here."""

import html
import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.figures import BLUE, GREY, ORANGE, plain, safe_below
from caa_core.knowledge import CHANCE, Knowledge
from caa_core.markup import quoted
from caa_core.perplexity import SAFE_PERPLEXITY, Costs
from caa_core.verdicts import SAFE_KL
from caa_core.views import Lens, NextToken

RUNS = (("unsteered", ORANGE, "circle"), ("steered", BLUE, "square"))
# Pixels of a row in a figure whose height goes by its rows.
ROW = 22
# The lowest power of ten of the logit lens's probabilities that is shown.
LOWEST = -7


def next_token_movers(found: NextToken) -> go.Figure:
    """The tokens whose probability changes most: unsteered and steered, one row a token, largest gain first."""
    movers = [*found.gains, *reversed(found.losses)]
    rows = list(range(len(movers)))
    figure = go.Figure()
    for row, mover in enumerate(movers):
        figure.add_shape(
            type="line", x0=mover.unsteered, x1=mover.steered, y0=row, y1=row, line={"color": GREY}, layer="below"
        )
    for name, colour, symbol in RUNS:
        figure.add_scatter(
            x=[getattr(mover, name) for mover in movers],
            y=rows,
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 10},
            customdata=[(_shown(mover.token), mover.difference) for mover in movers],
            hovertemplate=f"%{{customdata[0]}}: {name} %{{x:.4f}}, change %{{customdata[1]:+.4f}}<extra></extra>",
        )
    plain(figure, legend=True)
    labels = [_shown(mover.token) for mover in movers]
    figure.update_yaxes(title="token", tickmode="array", tickvals=rows, ticktext=labels, autorange="reversed")
    figure.update_xaxes(title="probability of being the next token", tickmode="auto", rangemode="tozero")
    return figure.update_layout(
        height=150 + ROW * len(movers), legend={"orientation": "h", "y": 1, "yanchor": "bottom"}, margin={"l": 110}
    )


def lens_by_layer(lens: Lens) -> go.Figure:
    """Probability of the model's own next tokens, unsteered and steered, if it ended after each layer."""
    figure = go.Figure()
    # Where both runs end with one token, one pair of lines says all.
    finals = lens.finals if lens.finals[0] != lens.finals[1] else lens.finals[:1]
    for token, dash in zip(range(len(finals)), ("solid", "dot"), strict=False):
        for run, (name, colour, symbol) in enumerate(RUNS):
            line = lens.toward[run][token]
            figure.add_scatter(
                x=list(range(len(line))),
                y=line,
                mode="lines+markers",
                name=f"{_shown(finals[token])}, {name}",
                line={"color": colour, "dash": dash},
                marker={"symbol": symbol},
                customdata=[_shown(best) for best in lens.tokens[run]],
                hovertemplate="layer %{x}: %{y:.3g}; likeliest here: %{customdata}",
            )
    figure.update_xaxes(title="layer after which the model ends")
    figure.update_yaxes(title="probability of the token", type="log", range=[LOWEST, 0.1], exponentformat="power")
    return plain(figure, legend=True)


def costs_by_multiplier(costs: Costs) -> go.Figure:
    """KL and perplexity on a text against the multiplier, with the bounds up to which one counts as safe."""
    rows = sorted([*((one.multiplier, one.kl, one.perplexity) for one in costs.steered), (0.0, 0.0, costs.perplexity)])
    multipliers, kl, perplexity = (list(column) for column in zip(*rows, strict=True))
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=["KL(unsteered ‖ steered)", "Perplexity"], horizontal_spacing=0.15
    )
    panels = [
        (kl, BLUE, "nats, mean over tokens", SAFE_KL, "linear"),
        (perplexity, ORANGE, "perplexity", SAFE_PERPLEXITY * costs.perplexity, "log"),
    ]
    for column, (line, colour, axis, bound, kind) in enumerate(panels, 1):
        figure.add_scatter(
            x=multipliers,
            y=[value if math.isfinite(value) else None for value in line],
            mode="lines+markers",
            line={"color": colour},
            hovertemplate="multiplier %{x:g}: %{y:.3g}<extra></extra>",
            row=1,
            col=column,
        )
        safe_below(figure, multipliers, bound, row=1, col=column)
        figure.update_yaxes(title=axis, type=kind, row=1, col=column)
    plain(figure)
    return figure.update_xaxes(title="multiplier", tickmode="auto")


def capability_by_multiplier(found: Knowledge) -> go.Figure:
    """Accuracy and probability of the right answer against the multiplier, with 95 % intervals; as grey bands how far
    random vectors of the same norm move the accuracy.
    """
    rows = sorted(found.rows, key=lambda row: row.multiplier)
    names = ("accuracy", "probability")
    titles = ["Right answers", "Probability of the right answer"]
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.15)
    unsteered = found.rows[0].accuracy
    for row in rows:
        if row.random:
            band = {"color": "rgba(136,136,136,0.35)", "width": 12}
            ends = [unsteered + end for end in row.random]
            x = [row.multiplier] * 2
            figure.add_scatter(x=x, y=ends, mode="lines", line=band, hoverinfo="skip", row=1, col=1)
    for column, (name, (_, colour, symbol)) in enumerate(zip(names, RUNS[::-1], strict=True), 1):
        value, low, high = ([getattr(row, name + end) for row in rows] for end in ("", "_low", "_high"))
        arms = {
            "array": [h - v for h, v in zip(high, value, strict=True)],
            "arrayminus": [v - w for v, w in zip(value, low, strict=True)],
        }
        figure.add_scatter(
            x=[row.multiplier for row in rows],
            y=value,
            error_y={"type": "data", "symmetric": False, **arms},
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10},
            hovertemplate="multiplier %{x:g}: %{y:.3f}<extra></extra>",
            row=1,
            col=column,
        )
        figure.add_hline(CHANCE, line={"color": GREY, "dash": "dot"}, annotation_text="chance", row=1, col=column)
    plain(figure)
    figure.update_yaxes(range=[0, 1.05])
    figure.update_yaxes(title="share of questions (grey: random vectors)", row=1, col=1)
    figure.update_yaxes(title="probability, both letter orders", row=1, col=2)
    return figure.update_xaxes(title="multiplier", tickmode="array", tickvals=[row.multiplier for row in rows])


def _shown(token: str) -> str:
    """A token in a figure, where plotly would read some tags."""
    return html.escape(quoted(token), quote=False)
