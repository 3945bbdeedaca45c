"""Answers to open questions at several multipliers: figures, and a report as JSON, CSV, HTML."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.measuring.cost import SAFE_PERPLEXITY
from caa_core.measuring.judge import HIGHEST, LOWEST, LevelRating, Ratings, in_words, unblinded
from caa_core.measuring.open_questions import Level, OpenEnded, Reply
from caa_core.metrics.estimates import SAFE_KL
from caa_core.reports.html import Section, write_html
from caa_core.reports.style import BLUE, GREEN, ORANGE, PURPLE, plain, safe_below
from caa_core.reports.written import _cell, _plain, _plainly, _points, _write

LEVELS = ["multiplier", "answers", "KL, nats", "perplexity", "repetition", "voice reading (95 %)", "voice heard (95 %)"]

REPLIES = ["question", "multiplier", "answer", "KL, nats", "perplexity", "repetition", "voice reading", "voice"]

SCORES = ["multiplier", "scored", "mean score (95 %)", "against unsteered (95 %)"]


def write_answers(found: OpenEnded, path: Path, scores: Mapping[str, Ratings] | None = None) -> None:
    """Write answers to open questions, with the scores that somebody gave them, by the file's ending.

    Args:
        scores: by who gave them ("person", "judge").

    Raises:
        InputError: it has another ending, or cannot be written.
    """
    scores = {name: given for name, given in (scores or {}).items() if given}
    rows = [
        asdict(reply) | {f"score_{name}": given.get(place) for name, given in scores.items()}
        for place, reply in enumerate(found.replies)
    ]
    if path.suffix.lower() == ".html":
        parts = [
            Section(
                "By multiplier",
                found.verdict,
                figure=answers_by_multiplier(found),
                heads=LEVELS,
                rows=[level_row(level) for level in found.levels],
            )
        ]
        for name, given in scores.items():
            means = unblinded(found.replies, given)
            unread = list(given.values()).count(None)
            drawn = scores_by_multiplier(means) if means else None
            parts.append(
                Section(
                    f"Scores of a {name}", in_words(means, unread), figure=drawn, heads=SCORES, rows=score_rows(means)
                )
            )
        heads = [*REPLIES, *(f"score of a {name}" for name in scores)]
        cells = [
            [*reply_row(reply), *(_cell(given.get(place)) for given in scores.values())]
            for place, reply in enumerate(found.replies)
        ]
        parts.append(Section("All answers", heads=heads, rows=cells))
        title = f"{found.vector}: answers to open questions"
        write_html(path, title, parts, found.settings, found.provenance)
        return
    _write(path, found.summary() | {"answers": rows, "scores": _plain(found.replies, scores)}, rows)


def level_row(level: Level) -> list[str]:
    """Cells under `LEVELS`."""
    return [
        f"{level.multiplier:g}",
        str(level.answers),
        f"{level.kl:.2f}",
        f"{level.perplexity:.1f}",
        f"{level.repetition:.0%}",
        _cell(level.reading),
        _cell(level.spoken),
    ]


def reply_row(reply: Reply) -> list[str]:
    """Cells under `REPLIES`."""
    numbers = [_cell(reply.kl), _cell(reply.perplexity), f"{reply.repetition:.0%}", _cell(reply.reading)]
    return [
        reply.question,
        f"{reply.multiplier:g}",
        reply.text,
        *numbers,
        {"A": "heard"}.get(reply.voice, reply.voice or ""),
    ]


def score_rows(scores: Sequence[Any]) -> list[list[str]]:
    """Cells under `SCORES`."""
    return [[f"{s.multiplier:g}", str(s.scored), _plainly(s.mean), _cell(s.change)] for s in scores]


def answers_by_multiplier(found: OpenEnded) -> go.Figure:
    """KL, perplexity and repetition against the multiplier, with the bounds up to which one counts as safe; and how far
    the voice is heard, with its interval, where that can be read.
    """
    levels = found.levels
    x = [level.multiplier for level in levels]
    unsteered = next(level for level in levels if not level.multiplier)
    panels = [
        ("KL", "KL(unsteered ‖ steered), nats", [level.kl for level in levels], BLUE, SAFE_KL),
        (
            "Perplexity",
            "perplexity, unsteered model",
            [level.perplexity for level in levels],
            ORANGE,
            SAFE_PERPLEXITY * unsteered.perplexity,
        ),
        ("Repetition", "share of tokens repeated", [level.repetition for level in levels], PURPLE, None),
    ]
    heard = all(level.reading for level in levels)
    titles = [panel[0] for panel in panels] + (["Voice reading"] if heard else [])
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles, horizontal_spacing=0.22, vertical_spacing=0.24)
    for place, (title, axis, line, colour, bound) in enumerate(panels):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        figure.add_scatter(
            x=x,
            y=[value if math.isfinite(value) else None for value in line],
            mode="lines+markers",
            line={"color": colour},
            hovertemplate=f"× %{{x:g}}: {title} %{{y:.3g}}<extra></extra>",
            **where,
        )
        if bound:
            safe_below(figure, x, bound, **where)
        figure.update_yaxes(title=axis, rangemode="tozero", **where)
    if heard:
        _points(figure, x, [level.reading for level in levels], GREEN, row=2, col=2)
        figure.update_yaxes(title="1: typical of it, −1: plain", row=2, col=2)
    plain(figure, height=560)
    return figure.update_xaxes(title="multiplier", tickmode="auto")


def scores_by_multiplier(scores: Sequence[LevelRating]) -> go.Figure:
    """Mean score with its interval against the multiplier."""
    figure = go.Figure()
    _points(figure, [score.multiplier for score in scores], [score.mean for score in scores], GREEN)
    plain(figure)
    figure.update_xaxes(title="multiplier", tickmode="auto")
    return figure.update_yaxes(title="score, mean over questions (95 %)", range=[LOWEST - 0.3, HIGHEST + 0.3])
