"""A study of positions and cues as a figure, a table in words, and a report."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.study_results import FACTORS, Study, StudyRow
from caa_core.reports.style import DOTTED, error_bars, look, plain, reach_of_controls
from caa_core.reports.writing import Card, Report, Section, aligned

TITLES = {"positions": "Steered positions", "read": "Read position", "cue": "Answer cue", "asked": "Asked"}
SECOND_LAST = {"index:-2": "second last<br>of the prompt", "-2": "second last (-2)"}
# In pixels, so that the axis and its title fit a phone.
ROW, LEFT, BELOW, AROUND = 46, 115, 115, 175


def report_of(found: Study) -> Report:
    """All that was compared; its CSV has a line for each row."""
    heads, rows = rows_in_words(found)
    left = (*found.left_out, *found.skipped)
    sections = [Section("Answers", "\n".join([about(found), *found.answers]))]
    sections += [Section(f"Layer {layer}", drawing=study_dots(found, layer)) for layer in found.layers]
    sections += [Section("All combinations in numbers", heads=heads, rows=rows)]
    sections += [Section("Left out", "\n".join(left))] if left else []
    lines = [about(found), *aligned(heads, *rows), *(f"Left out. {reason}" for reason in left), *found.answers]
    return Report(
        name=f"positions and cues on {found.provenance['data']}",
        title="Positions and cues",
        cards=[Card.of(str(found.provenance["data"]), " ".join(found.answers))],
        sections=sections,
        rows=[row.columns() for row in found.rows],
        data=found.summary(),
        settings=found.settings,
        provenance=found.provenance,
        text="\n".join(lines),
    )


def study_dots(found: Study, layer: int) -> go.Figure:
    """The change against the unsteered model at each level of each factor, with 95% intervals and, as grey bands, how
    far controls of the same norm go. The other two factors are at the base.
    """
    factors = {factor: levels for factor in FACTORS if len(levels := found.at(layer, factor)) > 1}
    factors = factors or {FACTORS[0]: found.at(layer, FACTORS[0])}
    if not any(factors.values()):  # of a whole grid, as long as nothing near the base has come
        return plain(go.Figure())
    sizes = [len(levels) for levels in factors.values()]
    figure = make_subplots(
        rows=len(factors),
        cols=1,
        shared_xaxes=True,
        row_heights=sizes,
        vertical_spacing=0.09,
        subplot_titles=[TITLES[factor] for factor in factors],
    )
    for place, (factor, levels) in enumerate(factors.items(), 1):
        _factor(figure, place, levels, sorted({row.multiplier for row in found.rows}))
        _names(figure, place, list(levels), getattr(found.base, factor))
    figure.add_vline(0, line=DOTTED)
    height = AROUND + ROW * sum(sizes)
    plain(figure, legend=True, height=height)
    orders = "<br>over both letter orders" if "probability" in found.measure else ""
    figure.update_xaxes(title=f"change of the<br>{found.measure}{orders}", row=len(factors), col=1)
    figure.update_xaxes(tickmode="auto")
    return figure.update_layout(margin={"l": LEFT, "b": BELOW}, legend={"y": -BELOW / height})


def _factor(figure: go.Figure, place: int, levels: dict[str, list[StudyRow]], multipliers: Sequence[float]) -> None:
    """The dots of one factor, those of several multipliers above each other."""
    for number, multiplier in enumerate(multipliers):
        shift = 0.5 * ((number + 0.5) / len(multipliers) - 0.5)
        rows = [
            (i + shift, row) for i, there in enumerate(levels.values()) for row in there if row.multiplier == multiplier
        ]
        _dots(figure, place, rows, number, multiplier)


def _names(figure: go.Figure, place: int, levels: Sequence[str], base: str) -> None:
    names = [SECOND_LAST.get(level, level) + ("<br>(base)" if level == base else "") for level in levels]
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names}
    figure.update_yaxes(**ticks, range=[len(names) - 0.5, -0.5], row=place, col=1)


def _dots(figure: go.Figure, place: int, rows: list[tuple[float, StudyRow]], number: int, multiplier: float) -> None:
    """What one multiplier does, above its controls."""
    bands = [(height, (*row.random, *(row.shuffled or ()))) for height, row in rows if row.random]
    if bands:
        reach_of_controls(
            figure,
            [end for _, ends in bands for end in (min(ends), max(ends), None)],
            [end for height, _ in bands for end in (height, height, None)],
            name="controls of the same norm",
            legendgroup="controls",
            showlegend=place == 1 and not number,
            row=place,
            col=1,
        )
    colour, _, symbol = look(number)
    found = [row.difference for _, row in rows]
    figure.add_scatter(
        x=[one.value for one in found],
        y=[height for height, _ in rows],
        error_x=error_bars(found),
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 9},
        name=f"× {multiplier:g}",
        legendgroup=str(multiplier),
        showlegend=place == 1,
        customdata=[(f"{one:+.3f}", row.verdict, row.kl) for one, (_, row) in zip(found, rows, strict=True)],
        hovertemplate="%{customdata[0]}, KL %{customdata[2]:.3f} nats<br>%{customdata[1]}",
        row=place,
        col=1,
    )


def rows_in_words(found: Study) -> tuple[list[str], list[list[Any]]]:
    """Headers and rows of a table that shows a study."""
    headers = ["steered positions", "read position", "cue", "asked", "layer", "multiplier", "change (95%)"]
    headers += ["unsteered", "steered", "random vectors", "shuffled labels", "answer mass", "KL, nats"]
    headers += ["pushed the wrong way (95%)", "the same of random vectors", "of shuffled labels", "verdict"]
    return headers, [_in_words(row) for row in found.rows]


def _in_words(row: StudyRow) -> list[Any]:
    ranges = ("{:+.3f} to {:+.3f}".format(*ends) if ends else "none" for ends in (row.random, row.shuffled))
    wrong = ("{:.2f} to {:.2f}".format(*ends) if ends else "none" for ends in (row.wrong_random, row.wrong_shuffled))
    mass = "" if row.mass is None else f"{row.mass_unsteered:.2f} → {row.mass:.2f}"
    return [
        *(row.arm.positions, row.arm.read, row.arm.cue, row.arm.asked, row.layer, f"{row.multiplier:g}"),
        f"{row.difference:+.3f}",
        *(f"{row.unsteered:.3f}", f"{row.steered:.3f}", *ranges, mass, f"{row.kl:.3f}"),
        *(str(row.anti_steerable or ""), *wrong, row.verdict),
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
