"""Figures of the views into the model."""

import html

import plotly.graph_objects as go

from caa_core.measuring.inspection import Lens, NextToken
from caa_core.reports.markup import quoted
from caa_core.reports.style import BLUE, GREY, line, plain

RUNS = (("unsteered", GREY, "circle"), ("steered", BLUE, "square"))

# Pixels of a row in a figure whose height goes by its rows.
ROW = 22

# A token that moves less than so much of what the one does that moves most is not drawn.
SEEN = 0.02

# The lowest power of ten of the logit lens's probabilities that is shown.
LOWEST = -7


def next_token_movers(found: NextToken) -> go.Figure:
    """The tokens whose probability changes most: unsteered and steered, one row a token, largest gain first. Those are
    left out that hardly move beside the one that moves most.
    """
    movers = [*found.gains, *reversed(found.losses)]
    far = max((abs(mover.difference) for mover in movers), default=0.0)
    movers = [mover for mover in movers if abs(mover.difference) >= SEEN * far]
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
    top = max((max(mover.unsteered, mover.steered) for mover in movers), default=1.0)
    labels = [_shown(mover.token) for mover in movers]
    figure.update_yaxes(title="token", tickmode="array", tickvals=rows, ticktext=labels, autorange="reversed")
    figure.update_xaxes(title="probability of being the next token", tickmode="auto", range=[-0.03 * top, 1.05 * top])
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
            toward = lens.toward[run][token]
            line(
                figure,
                list(range(len(toward))),
                toward,
                colour,
                dash,
                symbol,
                name=f"{_shown(finals[token])}, {name}",
                customdata=[_shown(best) for best in lens.tokens[run]],
                hovertemplate="layer %{x}: %{y:.3g}; likeliest here: %{customdata}",
            )
    figure.update_xaxes(title="layer after which the model ends")
    # As words: plotly writes powers larger than what stands beside them.
    ticks = {1e-6: "10⁻⁶", 1e-4: "10⁻⁴", 0.01: "0.01", 1: "1"}
    figure.update_yaxes(title="probability of the token", type="log", range=[LOWEST, 0.1])
    figure.update_yaxes(tickvals=[*ticks], ticktext=[*ticks.values()])
    return plain(figure, legend=True)


def _shown(token: str) -> str:
    """A token in a figure, where plotly would read some tags."""
    return html.escape(quoted(token), quote=False)
