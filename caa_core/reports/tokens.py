"""The voices over the tokens of an answer, as a figure and a part of a report."""

from typing import Any

import plotly.graph_objects as go

from caa_core.contest.tokens import TokenVoices
from caa_core.reports.style import BLUE, DOTTED, ORANGE, cut, line, plain
from caa_core.reports.writing import Report, Section


def report_of(found: dict[str, Any]) -> Report:
    """What `run_tokens` found; its CSV has a line for each token."""
    shown, answers = TokenVoices.of(found), found["answers"]
    told = f"{found['question']}\nThe answer under both, read by the unsteered model."
    rows = list(answers.items())
    drawn = voices_by_token(shown)
    return Report(
        name="token by token",
        title="Token by token",
        sections=[Section("Token by token", told, drawing=drawn, heads=["written under", "answer"], rows=rows)],
        rows=[{"token": token, "a_ahead_of_b": lead} for token, lead in zip(shown.tokens, shown.lead, strict=True)],
        data=found,
        settings={},
        provenance={},
        text="\n".join(f"{arm}: {answer}" for arm, answer in rows),
    )


def in_brief(found: TokenVoices) -> str:
    """Which voice is ahead, in a line."""
    count, ahead = len(found.tokens), sum(lead > 0 for lead in found.lead)
    a, *b = (track.name for track in found.tracks)
    if not b:
        return f"Along {a} at {ahead} of {count} tokens."
    return f"{a} is ahead at {ahead} of {count} tokens, {b[0]} at {sum(lead < 0 for lead in found.lead)}."


def voices_by_token(found: TokenVoices) -> go.Figure:
    """How far each token of an answer is aligned with A and with B."""
    figure = go.Figure()
    names = [cut(token) for token in found.tokens]
    for letter, track, colour, dash in zip("AB", found.tracks, (BLUE, ORANGE), ("solid", "dash"), strict=False):
        line(
            figure,
            list(map(float, range(1, len(names) + 1))),
            track.values,
            colour,
            dash,
            size=4,
            name=f"{letter}: {cut(track.name)}, layer {track.layer}",
            customdata=names,
            hovertemplate=f"%{{x}}: “%{{customdata}}” %{{y:+.2f}}<extra>{letter}</extra>",
        )
    figure.add_hline(0, line=DOTTED)
    figure.update_xaxes(title="token of the answer")
    figure.update_yaxes(title="h·v/‖v‖ above unsteered")
    return plain(figure, legend=True)
