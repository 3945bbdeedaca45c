"""What a class has predicted and what came out, step by step: as HTML, and as rows without names."""

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from caa_core.app.keys.classrooms import Part
from caa_core.app.panels.common import visible
from caa_core.app.panels.learn.lesson import Lesson, Step
from caa_core.reports.style import BLUE, ORANGE

PREDICTED, CAME = "Predicted", "Came out"
LOOK = f"""
.board {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 16px; }}
.board section {{ border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px; min-width: 0; }}
.board h4 {{ margin: 0; display: flex; justify-content: space-between; gap: 8px; font-size: var(--text-lg); }}
.board h4 span {{ font-weight: 400; white-space: nowrap; font-size: var(--text-md); }}
.board p {{ margin: 2px 0 8px; }}
.board table {{ width: 100%; border-collapse: collapse; table-layout: fixed; border: 0 !important; margin: 0; }}
.board :is(th, td) {{ text-align: left; vertical-align: middle; padding: 4px 6px 4px 0 !important; font-weight: 400; }}
.board :is(th, td) {{ border: 0 !important; border-top: 1px solid var(--border-color-primary) !important; }}
.board :is(tr, thead :is(th, td)) {{ border: 0 !important; }}
.board :is(th, td):first-child {{ width: 44%; overflow-wrap: anywhere; }}
.board thead {{ color: var(--body-text-color-subdued); }}
.board i {{ display: inline-block; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: middle; }}
.board .none {{ color: var(--body-text-color-subdued); }}
.board .predicted i {{ background: {BLUE}; }}
.board .came i {{ background: {ORANGE}; }}
"""


def drawn(lesson: Lesson, parts: Sequence[Part]) -> str:
    """Each step with how many are there, what they predicted, and what came out of their own runs or of one that was
    made before.
    """
    sections = (_section(number, step, parts) for number, step in enumerate(lesson.steps))
    return f'<div class="board">{"".join(sections)}</div>'


def rows(lesson: Lesson, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """A row for each prediction: of which person by a number, of which step, what was predicted, what came out, of
    whose run, and whether that is what was predicted; nothing where it is not known.
    """
    return [
        _row(lesson, number, step, part)
        for number, part in enumerate(parts, 1)
        for step in sorted(part.predictions)
        if step < len(lesson.steps)
    ]


def _row(lesson: Lesson, number: int, step: int, part: Part) -> dict[str, Any]:
    one, choice = lesson.steps[step], lesson.steps[step].choices[part.predictions[step]]
    outcome, own = part.outcomes.get(step, ("", None))
    return {
        "person": number,
        "step": step + 1,
        "title": one.title,
        "predicted": choice.text,
        "came_out": one.how.outcomes.get(outcome, ""),
        "own_run": own,
        "came_true": choice.when == outcome if outcome else None,
    }


def _section(number: int, step: Step, parts: Sequence[Part]) -> str:
    here = sum(part.step == number for part in parts)
    head = f"<h4>{number + 1}. {_text(step.title)}<span>{here} here</span></h4><p>{_text(step.question)}</p>"
    heads = "<td></td>" + "".join(f'<th scope="col">{name}</th>' for name in (PREDICTED, CAME))
    return (
        f"<section>{head}<table><thead><tr>{heads}</tr></thead>{''.join(_lines(number, step, parts))}</table></section>"
    )


def _lines(number: int, step: Step, parts: Sequence[Part]) -> Iterator[str]:
    predicted = Counter(part.predictions[number] for part in parts if number in part.predictions)
    came = Counter(part.outcomes[number][0] for part in parts if number in part.outcomes)
    most = max((*predicted.values(), *came.values()), default=1)
    for choice, one in enumerate(step.choices):
        yield _line(one.text, predicted[choice], came[one.when], most)
    named = {one.when for one in step.choices}
    for outcome in (one for one in came if one not in named):
        yield _line(step.how.outcomes.get(outcome, outcome), 0, came[outcome], most)


def _line(text: str, predicted: int, came: int, most: int) -> str:
    cells = ((predicted, "predicted"), (came, "came"))
    bars = "".join(_bar(n, 70 * n / most, name) for n, name in cells)
    return f'<tr><th scope="row">{_text(text)}</th>{bars}</tr>'


def _bar(count: int, width: float, name: str) -> str:
    """A cell with a number, and how long its bar is, in per cent of the cell."""
    if not count:
        return '<td class="none">0</td>'
    return f'<td class="{name}"><i style="width:{width:.0f}%"></i>{count}</td>'


def _text(text: str) -> str:
    return html.escape(visible(text), quote=False)
