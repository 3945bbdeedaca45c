"""Answers written under two voices, and which they follow: a figure, tables, and a report."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.written import ARMS, WrittenResult
from caa_core.measuring.answer_reader import VOICES
from caa_core.reports.style import BLUE, GREEN, ORANGE, cut, plain
from caa_core.reports.writing import Card, Report, Section, cell

# Colour and pattern of each of `VOICES`: neither needs the other to be told apart.
STYLES = ((BLUE, ""), (ORANGE, "/"), (GREEN, "x"), ("#BBBBBB", "."))

SHARES = ["written under", "A", "B", "mixed", "neither", "KL, nats", "repetition"]

READINGS = ["written under", "question", "answer", "reading A", "reading B", "lean", "voice"]


def report_of(found: dict[str, Any]) -> Report:
    """What `run_written` found; its CSV has a line for each answer."""
    result = WrittenResult.of(found)
    told = f"{result.verdict}\n{result.reading['text']}"
    drawn, shares, rows = shares_by_arm(result), share_rows(result), _answers(result)
    read = [[row["written_under"], row["question"], row["answer"], *reading_cells(row)] for row in rows]
    return Report(
        name=f"{result.a} against {result.b}, written",
        title=f"{result.a} against {result.b}",
        cards=[Card.of("Written answers", result.verdict, result.follows, {"questions": result.questions})],
        sections=[
            Section("Which voice written answers follow", told, drawing=drawn, heads=SHARES, rows=shares),
            Section("All answers", heads=READINGS, rows=read),
        ],
        rows=rows,
        data=found,
        settings=found["settings"],
        provenance=found["provenance"],
        text=result.verdict,
    )


def shares_by_arm(found: WrittenResult) -> go.Figure | None:
    """Share of answers that follow A, B, both or neither, a bar for each condition; None without a trusted reading."""
    if not found.reading["trusted"]:
        return None
    names = (f"A: {cut(found.a)}", f"B: {cut(found.b)}", *VOICES[2:])
    figure = go.Figure()
    for voice, name, (colour, pattern) in zip(VOICES, names, STYLES, strict=True):
        shares = {arm: one.shares[voice] for arm, one in found.arms.items() if one.shares}
        figure.add_bar(
            x=[share.value for share in shares.values()],
            y=list(shares),
            orientation="h",
            name=name,
            marker={
                "color": colour,
                "pattern": {"shape": pattern, "solidity": 0.2, "fgcolor": "white", "fillmode": "overlay"},
            },
            text=[f"{share.value:.0%}" if share.value >= 0.08 else "" for share in shares.values()],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": "white" if colour in (BLUE, GREEN) else "black"},
            customdata=list(map(str, shares.values())),
            hovertemplate=f"%{{y}}: {name} %{{customdata}}<extra></extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.35)
    plain(figure, legend=True, height=320).update_layout(legend_y=-0.35, margin={"t": 40, "b": 90, "l": 80})
    figure.update_xaxes(title="share of answers", range=[0, 1], tickformat=".0%")
    return figure.update_yaxes(title="written under", autorange="reversed")


def share_rows(found: WrittenResult) -> list[list[str]]:
    """Cells under `SHARES`."""
    rows = []
    for name in ARMS:
        arm = found.arms[name]
        shares = [cell(arm.shares[voice]) if arm.shares else "" for voice in VOICES]
        rows.append([name, *shares, cell(arm.kl) or "not known", f"{arm.repetition:.0%}"])
    return rows


def reading_cells(answer: Mapping[str, Any]) -> list[str]:
    """The cells of an answer's reading under `READINGS`."""
    return [*(cell(answer[name]) for name in ("a", "b", "lean")), answer["voice"] or ""]


def _answers(found: WrittenResult) -> list[dict[str, Any]]:
    return [{"written_under": arm, **answer} for arm, one in found.arms.items() for answer in one.answers]
