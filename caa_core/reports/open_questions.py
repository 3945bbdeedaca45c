"""Answers to open questions at several multipliers: figures, tables, and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.costs.text import SAFE_PERPLEXITY
from caa_core.measuring.judging.axes import AXES, HIGHEST, LOWEST, Rating, Ratings
from caa_core.measuring.judging.levels import LevelRating, in_words, unblinded
from caa_core.measuring.judging.planted import JudgeCheck
from caa_core.measuring.open_questions import Level, OpenQuestions, Reply
from caa_core.metrics.estimates import SAFE_KL, Estimate
from caa_core.metrics.plain_data import plain as as_data
from caa_core.reports.style import BLUE, GREY, PURPLE, SKY, error_bars, limit_at, line, plain
from caa_core.reports.writing import Card, Report, Section, aligned, cell

LEVELS = ["multiplier", "answers", "KL, nats", "perplexity", "repetition", "voice reading (95%)", "voice heard (95%)"]

REPLIES = ["question", "multiplier", "answer", "KL, nats", "perplexity", "repetition", "voice reading", "voice"]

SCORES = [
    "multiplier",
    "scored",
    "no score",
    *(axis.title for axis in AXES.values()),
    "harmonic mean (95%)",
    "against unsteered (95%)",
]


def report_of(
    found: OpenQuestions, scores: Mapping[str, Ratings] | None = None, check: JudgeCheck | None = None
) -> Report:
    """The answers, with the scores that somebody gave them; its CSV has a line for each answer.

    Args:
        scores: by who gave them ("person", "judge"). check: how the judge did on planted answers.
    """
    scores = {name: given for name, given in (scores or {}).items() if given}
    given = [_scores_at(scores, place) for place in range(len(found.replies))]
    rows = [asdict(reply) | own for reply, own in zip(found.replies, given, strict=True)]
    levels = [level_row(level) for level in found.levels]
    heads = [*REPLIES, *(name.replace("_", " of a ") for name in _scores_at(scores, 0))]
    cells = [[*reply_row(reply), *map(cell, own.values())] for reply, own in zip(found.replies, given, strict=True)]
    plainly = {name: as_data(unblinded(found.replies, given)) for name, given in scores.items()}
    read = [found.reading["text"]] if found.reading else []
    return Report(
        name=f"{found.vector}, open questions",
        title=f"{found.vector}: answers to open questions",
        cards=[Card.of(found.vector, found.verdict, facts={"questions": len(found.questions)})],
        sections=[
            Section("By multiplier", found.verdict, drawing=answers_by_multiplier(found), heads=LEVELS, rows=levels),
            *(_scores_of(name, found.replies, given) for name, given in scores.items()),
            *([Section("The judge on planted answers", str(check))] if check else []),
            Section("All answers", heads=heads, rows=cells),
        ],
        rows=rows,
        data=found.summary() | {"answers": rows, "scores": plainly, "judge_check": as_data(check)},
        settings=found.settings,
        provenance=found.provenance,
        text="\n".join([*aligned(LEVELS, *levels), *read, found.verdict]),
    )


def _scores_at(scores: Mapping[str, Ratings], place: int) -> dict[str, float | None]:
    """An answer's scores by each who gave some: their harmonic mean, and by axis."""
    found: dict[str, float | None] = {}
    for name, given in scores.items():
        rating = given.get(place, Rating())
        found[f"score_{name}"] = rating.overall
        found |= {f"{axis}_{name}": score for axis, score in rating.by_axis.items()}
    return found


def _scores_of(name: str, replies: Sequence[Reply], given: Ratings) -> Section:
    means = unblinded(replies, given)
    said = in_words(means, sum(level.unread for level in means))
    drawn = scores_by_multiplier(means) if means else None
    return Section(f"Scores of a {name}", said, drawing=drawn, heads=SCORES, rows=score_rows(means))


def level_row(level: Level) -> list[str]:
    """Cells under `LEVELS`."""
    return [
        f"{level.multiplier:g}",
        str(level.answers),
        f"{level.kl:.2f}",
        f"{level.perplexity:.1f}",
        f"{level.repetition:.0%}",
        cell(level.reading),
        cell(level.spoken),
    ]


def reply_row(reply: Reply) -> list[str]:
    """Cells under `REPLIES`."""
    numbers = [cell(reply.kl), cell(reply.perplexity), f"{reply.repetition:.0%}", cell(reply.reading)]
    heard = "heard" if reply.voice == "A" else cell(reply.voice)
    return [reply.question, f"{reply.multiplier:g}", reply.text, *numbers, heard]


def score_rows(scores: Sequence[LevelRating]) -> list[list[str]]:
    """Cells under `SCORES`."""
    return [
        [f"{s.multiplier:g}", str(s.scored), str(s.unread), *map(_mean, [*s.by_axis.values(), s.mean]), cell(s.change)]
        for s in scores
    ]


def _mean(found: Estimate | None) -> str:
    return f"{found:.2f}" if found else ""


def answers_by_multiplier(found: OpenQuestions) -> go.Figure:
    """KL, perplexity and repetition against the multiplier, with their limits; and how far the voice is heard, with its
    interval, where that can be read.
    """
    levels = found.levels
    x = [level.multiplier for level in levels]
    most = SAFE_PERPLEXITY * next(level.perplexity for level in levels if not level.multiplier)
    panels = [
        ("KL", "KL(unsteered ‖ steered), nats", [level.kl for level in levels], PURPLE, SAFE_KL),
        ("Perplexity", "perplexity, unsteered model", [level.perplexity for level in levels], SKY, most),
        ("Repetition", "share of tokens repeated", [level.repetition for level in levels], GREY, None),
    ]
    readings = [level.reading for level in levels if level.reading]
    heard = len(readings) == len(levels)
    titles = [panel[0] for panel in panels] + (["Voice reading"] if heard else [])
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles, horizontal_spacing=0.22, vertical_spacing=0.24)
    for place, (title, axis, numbers, colour, bound) in enumerate(panels):
        where: dict[str, Any] = {"row": place // 2 + 1, "col": place % 2 + 1}
        hover = f"× %{{x:g}}: {title} %{{y:.3g}}<extra></extra>"
        line(figure, x, numbers, colour, hovertemplate=hover, **where)
        if bound:
            limit_at(figure, x, bound, **where)
        figure.update_yaxes(title=axis, rangemode="tozero", **where)
    if heard:
        _points(figure, x, readings, row=2, col=2)
        figure.update_yaxes(title="1: typical of it, −1: plain", row=2, col=2)
    plain(figure, height=560)
    return figure.update_xaxes(title="multiplier", tickmode="auto")


def scores_by_multiplier(scores: Sequence[LevelRating]) -> go.Figure:
    """Mean of the harmonic means with its interval against the multiplier."""
    figure = go.Figure()
    means = {score.multiplier: score.mean for score in scores if score.mean}
    _points(figure, list(means), list(means.values()))
    plain(figure)
    figure.update_xaxes(title="multiplier", tickmode="auto")
    return figure.update_yaxes(title="harmonic mean of three scores (95%)", range=[LOWEST - 0.3, HIGHEST + 0.3])


def _points(figure: go.Figure, x: Sequence[float], found: Sequence[Estimate], **where: Any) -> None:
    line(
        figure,
        x,
        [one.value for one in found],
        BLUE,
        size=9,
        error_y=error_bars(found),
        customdata=list(map(str, found)),
        hovertemplate="× %{x:g}: %{customdata}<extra></extra>",
        **where,
    )
