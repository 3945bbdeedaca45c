"""Figures of a contest between two voices."""

import html

import plotly.graph_objects as go

from caa_core.contests import Contest
from caa_core.figures import BLUE, GREEN, GREY, ORANGE, plain

LONGEST_NAME = 40


def voices_apart(contest: Contest) -> go.Figure:
    """What each voice does to m, alone and both at once, beside what adding them predicts: nats a token, with intervals
    of 95 %.
    """
    a, b = cut(contest.a), cut(contest.b)
    points = [
        (f"A: {a}", contest.delta_a, BLUE, "circle"),
        (f"B: {b}", contest.delta_b, ORANGE, "square"),
        ("both", contest.delta_ab, GREEN, "diamond"),
    ]
    figure = go.Figure()
    for name, estimate, colour, symbol in points:
        bar = {"array": [estimate.high - estimate.value], "arrayminus": [estimate.value - estimate.low]}
        figure.add_scatter(
            x=[estimate.value],
            y=[name],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 12},
            error_x={"type": "data", "symmetric": False, "thickness": 3, **bar},
            hovertemplate=f"Δ = {estimate}<extra>{name}</extra>",
        )
    added = contest.delta_a.value + contest.delta_b.value
    figure.add_scatter(
        x=[added],
        y=["both"],
        mode="markers",
        name="both, as adding predicts",
        marker={"color": GREY, "symbol": "x-thin-open", "size": 14, "line": {"width": 3}},
        hovertemplate="Δ of A + Δ of B = %{x:+.2f}<extra></extra>",
    )
    figure.add_vline(0, line={"color": GREY, "dash": "dot"})
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="Δ: towards B's answers ← nats a token → towards A's answers")
    return plain(figure, legend=True, height=300).update_layout(legend_y=-0.4, margin_b=100)


def dominance_gauge(contest: Contest) -> go.Figure | None:
    """Dominance with its interval between what B alone does (-1) and what A alone does (+1); None without a contest."""
    if not (contest.contest and contest.dominance):
        return None
    found = contest.dominance
    figure = go.Figure()
    figure.add_scatter(
        x=[found.low, found.high], y=[0, 0], mode="lines", line={"color": GREEN, "width": 10}, name="95 % interval"
    )
    figure.add_scatter(
        x=[found.value],
        y=[0],
        mode="markers",
        name="dominance D",
        marker={"color": GREEN, "symbol": "diamond", "size": 18, "line": {"color": "white", "width": 2}},
        hovertemplate=f"D = {found}<extra></extra>",
    )
    figure.add_scatter(
        x=[contest.additive],
        y=[0],
        mode="markers",
        name="D₀, as adding predicts",
        marker={"color": GREY, "symbol": "x-thin-open", "size": 14, "line": {"width": 3}},
        hovertemplate="D₀ = %{x:+.2f}<extra></extra>",
    )
    far = max(1.3, *(abs(x) + 0.2 for x in (found.low, found.high, contest.additive)))
    for place, words in ((-1, f"as B alone: {cut(contest.b)}"), (0, ""), (1, f"as A alone: {cut(contest.a)}")):
        figure.add_vline(place, line={"color": GREY, "dash": "dot"}, annotation_text=words, annotation_position="top")
    figure.update_xaxes(title="dominance D", range=[-far, far])
    figure.update_yaxes(visible=False, range=[-1, 1])
    return plain(figure, legend=True, height=300).update_layout(legend_y=-0.4, margin_b=100)


def cut(name: str) -> str:
    """Somebody's own words in a figure, which would take tags in them for its own."""
    return html.escape(name[:LONGEST_NAME], quote=False)
