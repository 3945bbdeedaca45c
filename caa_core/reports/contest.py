"""A contest between two voices as figures, tables, and a report: JSON, CSV, HTML."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.dominance import Contest
from caa_core.contest.surface import Surface, surface_of
from caa_core.contest.tokens import TokenVoices
from caa_core.contest.written import WrittenResult
from caa_core.errors import InputError
from caa_core.reports.html import Section, write_html
from caa_core.reports.style import BLUE, GREEN, GREY, ORANGE, cut, plain
from caa_core.reports.surface import layer_map, surface_map
from caa_core.reports.thinking import parts as reasoning_parts
from caa_core.reports.tokens import voices_by_token
from caa_core.reports.writing import write_rows
from caa_core.reports.written import followed_parts

ENDINGS = (".json", ".csv", ".html")

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

TABLE = ["voice", "Δ, nats a token (95 %)", *RANGE, "KL, nats", "repetition"]


def check_report(path: Path) -> None:
    """Raises InputError for a file whose ending is not of a format that is written."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} should end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")


def write_report(found: dict[str, Any], path: Path) -> None:
    """Write what `run` found (with a surface under "surface", an answer under "token_by_token", written answers under
    "written" and arms with thoughts, where there are), or what `run_surface` or `run_reasoning` found: all of it as
    JSON, items, cells or arms as CSV, figures and tables as HTML, by the file's ending.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_report(path)
    if path.suffix.lower() == ".html":
        parts = _parts(found) if "rows" in found else [_surface_part(found)] if "cells" in found else []
        parts += [_surface_part(found["surface"])] if "surface" in found else []
        parts += [_tokens_part(found["token_by_token"])] if "token_by_token" in found else []
        parts += followed_parts(WrittenResult.of(found["written"])) if "written" in found else []
        parts += reasoning_parts(found) if "arms" in found else []
        title = " against ".join(found["settings"][side]["name"] for side in ("a", "b"))
        also = {"written answers": found["written"]["settings"]} if "written" in found else {}
        write_html(path, title, parts, found["settings"] | also, found["provenance"])
        return
    if path.suffix.lower() == ".csv":
        write_rows(path, next(found[name] for name in ("rows", "cells", "arms") if name in found))
        return
    try:
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def table_of(found: Contest) -> list[list[str]]:
    """Rows under the heads of `TABLE`: what each voice does alone, and both, beside their controls, and the cost."""
    kl = ["0.00", *("not known" if value is None else f"{value:.2f}" for value in found.kl)]
    written = [f"{share:.0%}" for share in found.repetition] if found.repetition else [""] * 4
    moved = [
        ("unsteered", "", None),
        (found.a, str(found.delta_a), found.alone_a),
        (found.b, str(found.delta_b), found.alone_b),
        ("both", str(found.delta_ab), None),
    ]
    return [
        [name, change, *([_range(alone.random), _range(alone.shuffled)] if alone else ["", ""]), nats, share]
        for (name, change, alone), nats, share in zip(moved, kl, written, strict=True)
    ]


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}"


def _parts(found: dict[str, Any]) -> list[Section]:
    contest = Contest.of(found)
    test = "" if contest.self_test is None else f"Self-test, v against −v: m changes by {contest.self_test:.2g}."
    parts = [
        Section("Verdict", f"{contest.verdict}\n{test}", figure=dominance_gauge(contest)),
        Section("Each voice alone, and both", figure=voices_apart(contest), heads=TABLE, rows=table_of(contest)),
    ]
    rows = [
        [row[name] if isinstance(row[name], str) else f"{row[name]:+.2f}" for name in ROWS] for row in found["rows"]
    ]
    return [*parts, Section("Item by item", heads=list(ROWS.values()), rows=rows)]


def _tokens_part(found: dict[str, Any]) -> Section:
    rows = [[arm, answer] for arm, answer in found["answers"].items()]
    drawn = voices_by_token(TokenVoices.of(found))
    told = f"{found['question']}\nThe answer under both, read by the unsteered model."
    return Section("Token by token", told, figure=drawn, heads=["written under", "answer"], rows=rows)


def _surface_part(found: dict[str, Any]) -> Section:
    shown = surface_of({name: value for name, value in found.items() if name not in ("settings", "provenance")})
    figure = surface_map(shown) if isinstance(shown, Surface) else layer_map(shown)
    return Section("Surface", shown.verdict, figure=figure)


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
