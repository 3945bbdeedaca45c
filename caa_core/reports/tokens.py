"""Figure of the voices over the tokens of an answer. No model in here."""

import plotly.graph_objects as go

from caa_core.contest.tokens import TokenVoices
from caa_core.reports.style import BLUE, GREY, ORANGE, cut, plain


def voices_by_token(found: TokenVoices) -> go.Figure:
    """How far each token of an answer is aligned with A and with B."""
    figure = go.Figure()
    names = [cut(token) for token in found.tokens]
    for letter, track, colour, dash in zip("AB", found.tracks, (BLUE, ORANGE), ("solid", "dash"), strict=False):
        figure.add_scatter(
            x=list(map(float, range(1, len(names) + 1))),
            y=track.values,
            mode="lines+markers",
            name=f"{letter}: {cut(track.name)}, layer {track.layer}",
            line={"color": colour, "dash": dash},
            marker={"size": 4},
            customdata=names,
            hovertemplate=f"%{{x}}: “%{{customdata}}” %{{y:+.2f}}<extra>{letter}</extra>",
        )
    figure.add_hline(0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title="token of the answer")
    figure.update_yaxes(title="h·v/‖v‖ above unsteered")
    return plain(figure, legend=True)
