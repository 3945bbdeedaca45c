"""A contest between two voices as figures, tables, and a report."""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.dominance import Alone, Contest
from caa_core.contest.speaking import VoiceGrade
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.reports import surface, thinking, tokens, written
from caa_core.reports.style import BLUE, DOTTED, GREEN, GREY, ORANGE, between_voices, cut, error_bars, plain
from caa_core.reports.writing import Report, Section

ROWS = {
    "prompt": "prompt",
    "a": "answer of A",
    "b": "answer of B",
    "unsteered": "m unsteered",
    "with_a": "m with A",
    "with_b": "m with B",
    "with_both": "m with both",
}

RANGE = ["random vectors", "shuffled labels"]

WRONG = "prompts pushed the wrong way"

# The controls are estimates, as the column before them is.
TABLE = ["voice", "Δ, nats a token (95 %)", "to first order", *RANGE, "p", WRONG, "KL, nats", "repetition"]


# What else there may be beside a contest, by its name there.
BESIDE: dict[str, Callable[[dict[str, Any]], Report]] = {
    "surface": surface.report_of,
    "token_by_token": tokens.report_of,
    "written": written.report_of,
}


def report_of(found: dict[str, Any], contest: Contest | None = None) -> Report:
    """What `run` found, with a surface under "surface", an answer under "token_by_token", written answers under
    "written", and arms with thoughts, where there are. Its CSV has a line for each item. contest: the same without
    these, where it was read from there already.
    """
    contest = contest or Contest.of(found)
    beside = [of(found[name]) for name, of in BESIDE.items() if name in found]
    beside += [thinking.report_of(found)] if "arms" in found else []
    also = {"written answers": found["written"]["settings"]} if "written" in found else {}
    return Report(
        name=f"{contest.a} against {contest.b}",
        title=f"{contest.a} against {contest.b}",
        sections=[*_sections(contest), *(section for report in beside for section in report.sections)],
        rows=found["rows"],
        data=found,
        settings=found["settings"] | also,
        provenance=found["provenance"],
        text="\n".join([contest.verdict, *(report.text for report in beside)]),
    )


def _sections(contest: Contest) -> list[Section]:
    test = "" if contest.self_test is None else f"Self-test, v against −v: m changes by {contest.self_test:.2g}."
    rows = [[_signed(row[name]) for name in ROWS] for row in contest.rows]
    return [
        Section("Verdict", f"{contest.verdict}\n{test}", figure=dominance_gauge(contest)),
        Section("Each voice alone, and both", figure=voices_apart(contest), heads=TABLE, rows=table_of(contest)),
        Section("Item by item", heads=list(ROWS.values()), rows=rows),
    ]


def table_of(found: Contest) -> list[list[str]]:
    """Rows under the heads of `TABLE`: what each voice does alone, and both, beside their controls, and the cost."""
    kl = ["", *("not known" if value is None else f"{value:.2f}" for value in found.kl)]
    written = [f"{share:.0%}" for share in found.repetition] if found.repetition else [""] * 4
    moved: list[tuple[str, str, Alone | None, VoiceGrade | None, AntiSteerable | None]] = [
        ("unsteered", "", None, None, None),
        (found.a, str(found.delta_a), found.alone_a, found.voice_a, found.anti_steerable_a),
        (found.b, str(found.delta_b), found.alone_b, found.voice_b, found.anti_steerable_b),
        ("both", str(found.delta_ab), None, None, None),
    ]
    return [
        [name, change, *_beside(alone, grade), wrong.brief if wrong else "", nats, share]
        for (name, change, alone, grade, wrong), nats, share in zip(moved, kl, written, strict=True)
    ]


def _beside(alone: Alone | None, grade: VoiceGrade | None) -> list[str]:
    """A voice's estimate, its controls and its p, where it has any."""
    estimate, p = (grade.estimate, grade.p) if grade else (None, None)
    ranges = [_range(alone.random), _range(alone.shuffled)] if alone else ["", ""]
    return ["" if estimate is None else f"{estimate:+.2f}", *ranges, "" if p is None else f"{p:.2g}"]


def _signed(value: str | float | None) -> str:
    return f"{value:+.2f}" if isinstance(value, float) else value or ""


def _range(ends: Sequence[float] | None) -> str:
    """How far controls go; of shuffled labels there are none where the pairs of a vector are not known."""
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}" if ends else "pairs not known"


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
        figure.add_scatter(
            x=[estimate.value],
            y=[name],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 12},
            error_x=error_bars([estimate], thickness=3),
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
    figure.add_vline(0, line=DOTTED)
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
        x=[found.low, found.high] if found.has_interval else [],
        y=[0, 0] if found.has_interval else [],
        mode="lines",
        line={"color": GREEN, "width": 10},
        name="95 % interval",
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
    ends = [found.low, found.high, *([contest.additive] if contest.additive is not None else [])]
    between_voices(figure, f"as A alone: {cut(contest.a)}", f"as B alone: {cut(contest.b)}", ends)
    figure.update_xaxes(title="dominance D")
    figure.update_yaxes(visible=False, range=[-1, 1])
    return plain(figure, legend=True, height=300).update_layout(legend_y=-0.4, margin_b=100)
