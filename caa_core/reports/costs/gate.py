"""How far texts point along a gate's vector, as a figure."""

import plotly.graph_objects as go

from caa_core.measuring.costs.gate import APPLIES, ELSEWHERE, GateFound
from caa_core.reports.style import BLUE, DOTTED, ORANGE, plain

SIDES = {APPLIES: (BLUE, "where steering should apply"), ELSEWHERE: (ORANGE, "where it should not")}


def scores_by_side(found: GateFound) -> go.Figure:
    """Scores of the texts that were judged, by side, and the threshold above which the gate is open."""
    figure = go.Figure()
    for side, (colour, said) in SIDES.items():
        scores = found.scores[side]
        figure.add_box(
            x=scores,
            name=said,
            marker={"color": colour, "size": 6},
            boxpoints="all",
            pointpos=0,
            jitter=0.6,
            hovertemplate="%{x:.2f}<extra></extra>",
            orientation="h",
        )
    figure.add_vline(found.threshold, line=DOTTED, annotation_text="open →", annotation_position="top right")
    plain(figure)
    figure.update_layout(showlegend=False)
    return figure.update_xaxes(title=f"median of h·v/‖v‖ in a text, layer {found.layer}")
