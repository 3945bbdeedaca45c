"""A study of positions and cues for people and for other programs: a figure, a table, JSON, CSV, HTML."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.study_results import FACTORS, Study, StudyRow
from caa_core.reports.html import Section, write_html
from caa_core.reports.style import COLOURS, GREY, SYMBOLS, plain
from caa_core.reports.writing import ENDINGS, check_report, write_numbers

FORMATS = (*ENDINGS, ".html")
TITLES = {"positions": "Steered positions", "read": "Read position", "cue": "Answer cue"}
SECOND_LAST = {"index:-2": "second last<br>of the prompt", "-2": "second last (-2)"}
# In pixels, so that the axis and its title fit a phone.
ROW, LEFT, BELOW, AROUND = 46, 115, 115, 175
BAND = "rgba(136,136,136,0.35)"


def study_dots(found: Study, layer: int) -> go.Figure:
    """The change against the unsteered model at each level of each factor, with 95 % intervals and, as grey bands, how
    far controls of the same norm go. The other two factors are at the base.
    """
    factors = {factor: levels for factor in FACTORS if len(levels := found.at(layer, factor)) > 1}
    factors = factors or {FACTORS[0]: found.at(layer, FACTORS[0])}
    sizes = [len(levels) for levels in factors.values()]
    figure = make_subplots(
        rows=len(factors),
        cols=1,
        shared_xaxes=True,
        row_heights=sizes,
        vertical_spacing=0.09,
        subplot_titles=[TITLES[factor] for factor in factors],
    )
    multipliers = sorted({row.multiplier for row in found.rows})
    for place, (factor, levels) in enumerate(factors.items(), 1):
        for number, multiplier in enumerate(multipliers):
            rows = [
                (i, row) for i, there in enumerate(levels.values()) for row in there if row.multiplier == multiplier
            ]
            shift = 0.5 * ((number + 0.5) / len(multipliers) - 0.5)
            _dots(figure, place, [(i + shift, row) for i, row in rows], number, multiplier)
        base = getattr(found.base, factor)
        names = [SECOND_LAST.get(level, level) + ("<br>(base)" if level == base else "") for level in levels]
        figure.update_yaxes(
            tickmode="array",
            tickvals=list(range(len(levels))),
            ticktext=names,
            row=place,
            col=1,
            range=[len(levels) - 0.5, -0.5],
        )
    figure.add_vline(0, line={"color": GREY, "dash": "dot"})
    height = AROUND + ROW * sum(sizes)
    plain(figure, legend=True, height=height)
    orders = "<br>over both letter orders" if "probability" in found.measure else ""
    figure.update_xaxes(title=f"change of the<br>{found.measure}{orders}", row=len(factors), col=1)
    figure.update_xaxes(tickmode="auto")
    return figure.update_layout(margin={"l": LEFT, "b": BELOW}, legend={"y": -BELOW / height})


def _dots(figure: go.Figure, place: int, rows: list[tuple[float, StudyRow]], number: int, multiplier: float) -> None:
    bands = [(height, row.random + row.shuffled) for height, row in rows if row.random]
    if bands:
        x = [end for _, ends in bands for end in (min(ends), max(ends), None)]
        y = [end for height, _ in bands for end in (height, height, None)]
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": BAND, "width": 12},
            name="controls of the same norm",
            legendgroup="controls",
            showlegend=place == 1 and not number,
            hoverinfo="skip",
            row=place,
            col=1,
        )
    figure.add_scatter(
        x=[row.difference.value for _, row in rows],
        y=[height for height, _ in rows],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [row.difference.high - row.difference.value for _, row in rows],
            "arrayminus": [row.difference.value - row.difference.low for _, row in rows],
        },
        mode="markers",
        marker={"color": COLOURS[number % len(COLOURS)], "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 9},
        name=f"× {multiplier:g}",
        legendgroup=str(multiplier),
        showlegend=place == 1,
        customdata=[(row.difference.low, row.difference.high, row.verdict, row.kl) for _, row in rows],
        hovertemplate="%{x:+.3f} (%{customdata[0]:+.3f} to %{customdata[1]:+.3f}), KL %{customdata[3]:.3f} nats<br>"
        "%{customdata[2]}",
        row=place,
        col=1,
    )


def rows_in_words(found: Study) -> tuple[list[str], list[list[Any]]]:
    """Headers and rows of a table that shows a study."""
    headers = ["steered positions", "read position", "cue", "layer", "multiplier", "change (95 %)"]
    headers += ["unsteered", "steered", "random vectors", "shuffled labels", "answer mass", "KL, nats", "verdict"]
    return headers, [_in_words(row) for row in found.rows]


def _in_words(row: StudyRow) -> list[Any]:
    ranges = ("{:+.3f} to {:+.3f}".format(*ends) if ends else "none" for ends in (row.random, row.shuffled))
    mass = "" if row.mass is None else f"{row.mass_unsteered:.2f} → {row.mass:.2f}"
    return [
        *(row.arm.positions, row.arm.read, row.arm.cue, row.layer, f"{row.multiplier:g}"),
        f"{row.difference:+.3f}",
        *(f"{row.unsteered:.3f}", f"{row.steered:.3f}", *ranges, mass, f"{row.kl:.3f}", row.verdict),
    ]


def about(found: Study) -> str:
    """What was measured, in a line."""
    papers, base = found.provenance, found.base
    left = f", {len(found.skipped)} left out everywhere" if found.skipped else ""
    return (
        f"{found.items} items of {papers['data']}{left}, the same in every row; vectors from {papers['num_pairs']} "
        f"pairs of {papers['pairs']}, made anew for each read position and added with the norm of the base's; "
        f"{papers['model']}. Base: steered {base.positions}, read {base.read}, cue {base.cue}."
    )


def table_of(found: Study) -> str:
    """The rows in lines of text, and what they answer."""
    headers, rows = rows_in_words(found)
    table = [headers, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
    left = [f"Left out. {reason}" for reason in (*found.left_out, *found.skipped)]
    return "\n".join([about(found), *lines, *left, *found.answers])


def check_target(path: Path) -> None:
    """Raises InputError for a file whose ending is not of a format that a study is written in."""
    check_report(path, FORMATS)


def write_study(found: Study, path: Path) -> None:
    """Write everything as JSON, the rows as CSV, or a report as HTML, by the file's ending.

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    check_target(path)
    if path.suffix.lower() != ".html":
        write_numbers(found.summary(), [row.columns() for row in found.rows], path)
        return
    headers, rows = rows_in_words(found)
    parts = [Section("Answers", "\n".join([about(found), *found.answers]))]
    parts += [Section(f"Layer {layer}", figure=study_dots(found, layer)) for layer in found.layers]
    parts += [Section("All combinations in numbers", heads=headers, rows=rows)]
    if found.left_out or found.skipped:
        parts.append(Section("Left out", "\n".join((*found.left_out, *found.skipped))))
    write_html(path, "Positions and cues", parts, found.settings, found.provenance)
