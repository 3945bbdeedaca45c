"""Figures of written answers: which voice they follow, and what they are at each multiplier."""

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.figures import BLUE, GREEN, ORANGE, PURPLE, plain, safe_below
from caa_core.judging import HIGHEST, LOWEST, Score
from caa_core.open_ended import OpenEnded
from caa_core.perplexity import SAFE_PERPLEXITY
from caa_core.verdicts import SAFE_KL
from caa_core.voices import VOICES, Followed

LONGEST_NAME = 40
# Colour and pattern of each of `VOICES`: neither needs the other to be told apart.
STYLES = ((BLUE, ""), (ORANGE, "/"), (GREEN, "x"), ("#BBBBBB", "."))


def shares_by_arm(found: Followed) -> go.Figure | None:
    """Share of answers that follow A, B, both or neither, a bar for each condition; None without a trusted reading."""
    if not found.reading["trusted"]:
        return None
    names = dict(
        zip(
            VOICES,
            (*(f"{v}: {_cut(n)}" for v, n in zip("AB", (found.a, found.b), strict=True)), *VOICES[2:]),
            strict=True,
        )
    )
    figure = go.Figure()
    for (voice, name), (colour, pattern) in zip(names.items(), STYLES, strict=True):
        shares = [arm.shares[voice] for arm in found.arms.values()]
        figure.add_bar(
            x=[share.value for share in shares],
            y=list(found.arms),
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.2, "fgcolor": "white"}},
            text=[f"{share.value:.0%}" if share.value >= 0.08 else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": "white" if colour in (BLUE, GREEN) else "black"},
            customdata=[str(share) for share in shares],
            hovertemplate=f"%{{y}}: {name} %{{customdata}}<extra></extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.35)
    plain(figure, legend=True, height=320).update_layout(legend_y=-0.35, margin={"t": 20, "b": 90, "l": 80})
    figure.update_xaxes(title="share of answers", range=[0, 1], tickformat=".0%")
    return figure.update_yaxes(title="written under", autorange="reversed")


def answers_by_multiplier(found: OpenEnded) -> go.Figure:
    """KL, perplexity and repetition against the multiplier, with the bounds up to which one counts as safe; and how far
    the voice is heard, with its interval, where that can be read.
    """
    levels = found.levels
    x = [level.multiplier for level in levels]
    unsteered = next(level for level in levels if not level.multiplier)
    panels = [
        ("KL", "KL(unsteered ‖ steered), nats", [level.kl for level in levels], BLUE, SAFE_KL),
        (
            "Perplexity",
            "perplexity, unsteered model",
            [level.perplexity for level in levels],
            ORANGE,
            SAFE_PERPLEXITY * unsteered.perplexity,
        ),
        ("Repetition", "share of tokens repeated", [level.repetition for level in levels], PURPLE, None),
    ]
    heard = all(level.reading for level in levels)
    titles = [panel[0] for panel in panels] + (["Voice reading"] if heard else [])
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles, horizontal_spacing=0.22, vertical_spacing=0.24)
    for place, (title, axis, line, colour, bound) in enumerate(panels):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        figure.add_scatter(
            x=x,
            y=[value if math.isfinite(value) else None for value in line],
            mode="lines+markers",
            line={"color": colour},
            hovertemplate=f"× %{{x:g}}: {title} %{{y:.3g}}<extra></extra>",
            **where,
        )
        if bound:
            safe_below(figure, x, bound, **where)
        figure.update_yaxes(title=axis, rangemode="tozero", **where)
    if heard:
        _points(figure, x, [level.reading for level in levels], GREEN, row=2, col=2)
        figure.update_yaxes(title="1: typical of it, −1: plain", row=2, col=2)
    plain(figure, height=560)
    return figure.update_xaxes(title="multiplier", tickmode="auto")


def scores_by_multiplier(scores: Sequence[Score]) -> go.Figure:
    """Mean score with its interval against the multiplier."""
    figure = go.Figure()
    _points(figure, [score.multiplier for score in scores], [score.mean for score in scores], GREEN)
    plain(figure)
    figure.update_xaxes(title="multiplier", tickmode="auto")
    return figure.update_yaxes(title="score, mean over questions (95 %)", range=[LOWEST - 0.3, HIGHEST + 0.3])


def _points(figure: go.Figure, x: Sequence[float], found: Sequence, colour: str, **where: int) -> None:
    """Estimates with their intervals."""
    bars = {
        "array": [one.high - one.value for one in found],
        "arrayminus": [one.value - one.low for one in found],
    }
    figure.add_scatter(
        x=list(x),
        y=[one.value for one in found],
        mode="lines+markers",
        line={"color": colour},
        marker={"size": 9},
        error_y={"type": "data", "symmetric": False, **bars},
        customdata=[str(one) for one in found],
        hovertemplate="× %{x:g}: %{customdata}<extra></extra>",
        **where,
    )


def _cut(name: str) -> str:
    """Somebody's own words in a figure, which would take tags in them for its own."""
    return html.escape(name[:LONGEST_NAME], quote=False)
