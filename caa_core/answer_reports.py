"""Written answers as a report: JSON, CSV (an answer a line), or one HTML file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from caa_core.answer_figures import answers_by_multiplier, scores_by_multiplier, shares_by_arm
from caa_core.errors import InputError
from caa_core.html_reports import Part, write_html
from caa_core.judging import Scores, in_words, unblinded
from caa_core.open_ended import Level, OpenEnded, Reply
from caa_core.reports import write_rows
from caa_core.voices import ARMS, Followed

ENDINGS = (".json", ".csv", ".html")
LEVELS = ["multiplier", "answers", "KL, nats", "perplexity", "repetition", "voice reading (95 %)", "voice heard (95 %)"]
REPLIES = ["question", "multiplier", "answer", "KL, nats", "perplexity", "repetition", "voice reading", "voice"]
SCORES = ["multiplier", "scored", "mean score (95 %)", "against unsteered (95 %)"]
SHARES = ["written under", "A", "B", "mixed", "neither", "KL, nats", "repetition"]
READINGS = ["written under", "question", "answer", "reading A", "reading B", "lean", "voice"]


def check_report(path: Path) -> None:
    """Raises InputError for a file whose ending is not of a format that is written."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} should end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")


def write_answers(found: OpenEnded, path: Path, scores: Mapping[str, Scores] | None = None) -> None:
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
            Part(
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
                Part(f"Scores of a {name}", in_words(means, unread), figure=drawn, heads=SCORES, rows=score_rows(means))
            )
        heads = [*REPLIES, *(f"score of a {name}" for name in scores)]
        cells = [
            [*reply_row(reply), *(_cell(given.get(place)) for given in scores.values())]
            for place, reply in enumerate(found.replies)
        ]
        parts.append(Part("All answers", heads=heads, rows=cells))
        title = f"{found.vector}: answers to open questions"
        write_html(path, title, parts, found.settings, found.provenance)
        return
    _write(path, found.summary() | {"answers": rows, "scores": _plain(found.replies, scores)}, rows)


def write_followed(found: Followed, path: Path, settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write which voice answers follow, by the file's ending. Raises as `write_answers` does."""
    if path.suffix.lower() == ".html":
        write_html(path, f"{found.a} against {found.b}", followed_parts(found), settings, provenance)
        return
    whole = found.summary() | {"settings": dict(settings), "provenance": dict(provenance)}
    _write(path, whole, _answers(found))


def followed_parts(found: Followed) -> list[Part]:
    """Which voice answers follow, as parts of a report."""
    told = f"{found.verdict}\n{found.reading['text']}"
    drawn, rows = shares_by_arm(found), share_rows(found)
    read = [[row["written_under"], row["question"], row["answer"], *reading_cells(row)] for row in _answers(found)]
    return [
        Part("Which voice written answers follow", told, figure=drawn, heads=SHARES, rows=rows),
        Part("All answers", heads=READINGS, rows=read),
    ]


def _answers(found: Followed) -> list[dict[str, Any]]:
    return [{"written_under": arm, **answer} for arm, one in found.arms.items() for answer in one.answers]


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


def share_rows(found: Followed) -> list[list[str]]:
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


def _plain(replies: Sequence[Reply], scores: Mapping[str, Scores]) -> dict[str, Any]:
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
