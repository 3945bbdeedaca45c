"""Answers written under two voices, and which they follow: a figure, and a report as JSON, CSV, HTML."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.written import ARMS, WrittenResult
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import VOICES
from caa_core.measuring.judge import Ratings, unblinded
from caa_core.measuring.open_questions import Reply
from caa_core.reports.html import Section, write_html
from caa_core.reports.style import BLUE, GREEN, ORANGE, plain
from caa_core.reports.writing import write_rows

LONGEST_NAME = 40

# Colour and pattern of each of `VOICES`: neither needs the other to be told apart.
STYLES = ((BLUE, ""), (ORANGE, "/"), (GREEN, "x"), ("#BBBBBB", "."))


def shares_by_arm(found: WrittenResult) -> go.Figure | None:
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


ENDINGS = (".json", ".csv", ".html")

SHARES = ["written under", "A", "B", "mixed", "neither", "KL, nats", "repetition"]

READINGS = ["written under", "question", "answer", "reading A", "reading B", "lean", "voice"]


def check_report(path: Path) -> None:
    """Raises InputError for a file whose ending is not of a format that is written."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} should end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")


def write_followed(
    found: WrittenResult, path: Path, settings: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """Write which voice answers follow, by the file's ending. Raises as `write_answers` does."""
    if path.suffix.lower() == ".html":
        write_html(path, f"{found.a} against {found.b}", followed_parts(found), settings, provenance)
        return
    whole = found.summary() | {"settings": dict(settings), "provenance": dict(provenance)}
    _write(path, whole, _answers(found))


def followed_parts(found: WrittenResult) -> list[Section]:
    """Which voice answers follow, as parts of a report."""
    told = f"{found.verdict}\n{found.reading['text']}"
    drawn, rows = shares_by_arm(found), share_rows(found)
    read = [[row["written_under"], row["question"], row["answer"], *reading_cells(row)] for row in _answers(found)]
    return [
        Section("Which voice written answers follow", told, figure=drawn, heads=SHARES, rows=rows),
        Section("All answers", heads=READINGS, rows=read),
    ]


def _answers(found: WrittenResult) -> list[dict[str, Any]]:
    return [{"written_under": arm, **answer} for arm, one in found.arms.items() for answer in one.answers]


def share_rows(found: WrittenResult) -> list[list[str]]:
    """Cells under `SHARES`."""
    return [
        [
            arm,
            *(_cell(found.arms[arm].shares[voice]) if found.arms[arm].shares else "" for voice in SHARES[1:5]),
            _cell(found.arms[arm].kl) or "not known",
            f"{found.arms[arm].repetition:.0%}",
        ]
        for arm in ARMS
    ]


def reading_cells(answer: Mapping[str, Any]) -> list[str]:
    """The cells of an answer's reading under `READINGS`."""
    return [*(_cell(answer[name]) for name in ("a", "b", "lean")), answer["voice"] or ""]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _plainly(estimate: Any) -> str:
    """An estimate that has no sign."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _plain(replies: Sequence[Reply], scores: Mapping[str, Ratings]) -> dict[str, Any]:
    return {name: [asdict(score) for score in unblinded(replies, given)] for name, given in scores.items()}


def _write(path: Path, whole: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    check_report(path)
    if path.suffix.lower() == ".csv":
        write_rows(path, rows)
        return
    try:
        path.write_text(json.dumps(whole, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error
