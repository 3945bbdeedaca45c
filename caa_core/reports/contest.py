"""A contest between two voices as figures, tables, and a report."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.dominance import Alone, Contest
from caa_core.contest.speaking import VoiceGrade
from caa_core.measuring.costs.strength import Strength
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.reports import surface, thinking, tokens, written
from caa_core.reports.markup import escaped
from caa_core.reports.style import BLUE, DOTTED, GREEN, GREY, ORANGE, cut, error_bars, faint, plain
from caa_core.reports.writing import Card, Report, Section

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
TABLE = ["voice", "Δ, nats a token (95%)", "to first order", *RANGE, "p", WRONG, "KL, nats", "repetition"]

# How far to either side the gauge goes at least, in units of D: a little further than what a voice does alone.
ENDS_AT = 1.15
# What is said in place of marks.
UNMARKED = "Nothing is marked: that takes two voices, each of which is heard alone."
GAUGE_STYLE = (
    "<style>.caa-gauge{font-size:14px;line-height:1.4;margin:4px 0}"
    ".caa-gauge .ends{position:relative;height:22px}"
    ".caa-gauge .ends span{position:absolute;max-width:31%;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;"
    "font-weight:600}"
    ".caa-gauge .ends span:nth-child(2){font-weight:400}"
    ".caa-gauge .bar{position:relative;height:24px;border-radius:12px;overflow:hidden;"
    f"background:linear-gradient(to right,{faint(BLUE, 0.7)},{faint(GREY, 0.12)},{faint(ORANGE, 0.7)})}}"
    f".caa-gauge.none .bar{{background:{faint(GREY, 0.18)}}}"
    ".caa-gauge i{position:absolute;font-style:normal}"
    f".caa-gauge .tick{{top:0;bottom:0;border-left:1px dashed {GREY}}}"
    f".caa-gauge .interval{{top:8px;height:8px;border-radius:4px;background:{GREEN}}}"
    ".caa-gauge :is(.found,.added){top:0;line-height:24px;transform:translateX(-50%)}"
    f".caa-gauge .found{{font-size:24px;color:{GREEN};-webkit-text-stroke:1.5px white;paint-order:stroke}}"
    ".caa-gauge .added{font-size:16px}"
    ".caa-gauge .key{display:flex;flex-wrap:wrap;gap:0 18px;margin-top:4px}"
    "@media(max-width:640px){.caa-gauge .ends{height:42px}.caa-gauge .ends span{white-space:normal;bottom:2px}}"
    "</style>"
)


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
    also |= {"at equal cost": said} if (said := " ".join(_equal_cost(found))) else {}
    return Report(
        name=f"{contest.a} against {contest.b}",
        title=f"{contest.a} against {contest.b}",
        cards=[_card(contest), *(card for report in beside for card in report.cards)],
        sections=[*_sections(contest), *(section for report in beside for section in report.sections)],
        rows=found["rows"],
        data=found,
        settings=found["settings"] | also,
        provenance=found["provenance"],
        text="\n".join(
            [*_equal_cost(found), contest.verdict, *_wrong_in_words(contest), *(report.text for report in beside)]
        ),
    )


def _card(contest: Contest) -> Card:
    title = f"{contest.a} against {contest.b}"
    facts = {
        "D (95%)": contest.dominance,
        "D₀, as adding predicts": None if contest.additive is None else f"{contest.additive:+.2f}",
        f"Δ of {contest.a}": contest.delta_a,
        f"Δ of {contest.b}": contest.delta_b,
        "prompts": contest.prompts,
    }
    return Card.of(title, contest.verdict, contest.leads, facts)


def _sections(contest: Contest) -> list[Section]:
    test = "" if contest.self_test is None else f"Self-test, v against −v: m changes by {contest.self_test:.2g}."
    rows = [[_signed(row[name]) for name in ROWS] for row in contest.rows]
    return [
        Section("Verdict", f"{contest.verdict}\n{test}", markup=gauge(contest)),
        Section("Each voice alone, and both", drawing=voices_apart(contest), heads=TABLE, rows=table_of(contest)),
        Section("Item by item", heads=list(ROWS.values()), rows=rows),
    ]


def _equal_cost(found: dict[str, Any]) -> list[str]:
    """A line on how B was made to cost what A does, where it was."""
    return [f"B as strong as costs what A does: {Strength.of(found['equal_cost'])}"] if "equal_cost" in found else []


def _wrong_in_words(contest: Contest) -> list[str]:
    """A line for each voice of which that is known."""
    voices = ((contest.a, contest.anti_steerable_a), (contest.b, contest.anti_steerable_b))
    return [f"Pushed the wrong way by {name} alone: {wrong}." for name, wrong in voices if wrong]


def table_of(found: Contest) -> list[list[str]]:
    """Rows under the heads of `TABLE`: what each voice does alone, and both, beside their controls, and the cost; below
    them what sets the two apart.
    """
    kl = ["", *("not known" if value is None else f"{value:.2f}" for value in found.kl)]
    written = [f"{share:.0%}" for share in found.repetition] if found.repetition else [""] * 4
    moved: list[tuple[str, str, Alone | None, VoiceGrade | None, AntiSteerable | None]] = [
        ("unsteered", "", None, None, None),
        (found.a, str(found.delta_a), found.alone_a, found.voice_a, found.anti_steerable_a),
        (found.b, str(found.delta_b), found.alone_b, found.voice_b, found.anti_steerable_b),
        ("both", str(found.delta_ab), None, None, None),
    ]
    rows = [
        [name, change, *_beside(alone, grade), wrong.brief if wrong else "", nats, share]
        for (name, change, alone, grade, wrong), nats, share in zip(moved, kl, written, strict=True)
    ]
    apart = [(name, one) for name, one in ((found.a, found.apart_a), (found.b, found.apart_b)) if one]
    return rows + [
        [f"{name} less what both share", str(one.change), *[""] * 5, f"{one.kl:.2f}", ""] for name, one in apart
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
    of 95%.
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
    names = [name for name, *_ in points]
    figure.update_yaxes(autorange="reversed", tickvals=names, ticktext=[*names[:2], "both voices"])
    # A is on the left here too.
    figure.update_xaxes(title="Δ: towards A ← nats a token → towards B", autorange="reversed")
    return plain(figure, legend=True, height=300).update_layout(legend_y=-0.4, margin_b=100)


def gauge(contest: Contest) -> str:
    """The verdict as HTML: where both voices at once are, from what A does alone (left) over neither to what B does
    alone (right), with its interval and what adding the two predicts. Without a contest nothing is marked.
    """
    found = contest.dominance if contest.contest else None
    marked = [number for number in _ends(contest) if math.isfinite(number)] if found else []
    far = max([ENDS_AT, *(abs(number) + 0.05 for number in marked)])

    def place(dominance: float) -> str:
        return f"{50 - 50 * dominance / far:.1f}%"

    ends = ((1.0, f"{contest.a} alone"), (0.0, "neither"), (-1.0, f"{contest.b} alone"))
    names = "".join(_named(place(at), said) for at, said in ends)
    marks = "".join(f'<i class="tick" style="left:{place(at)}"></i>' for at, _ in ends)
    key = "" if found else f"<span>{UNMARKED}</span>"
    if found:
        if found.has_interval:
            right = f"{100 - float(place(found.low)[:-1]):.1f}%"
            marks += f'<i class="interval" style="left:{place(found.high)};right:{right}"></i>'
        key = f"<span><b>◆</b> both at once: D = {found}</span>"
        if contest.additive is not None:
            marks += f'<i class="added" style="left:{place(contest.additive)}">✕</i>'
            key += f"<span><b>✕</b> adding the two predicts {contest.additive:+.2f}</span>"
        marks += f'<i class="found" style="left:{place(found.value)}">◆</i>'
    told = escaped(f"{contest.headline} {_ends_in_words(contest)}")
    kind = "" if found else " none"
    return (
        f'{GAUGE_STYLE}<div class="caa-gauge{kind}"><div role="img" aria-label="{told}"><div class="ends">{names}</div>'
        f'<div class="bar">{marks}</div></div><div class="key">{key}</div></div>'
    )


def _named(place: str, said: str) -> str:
    """A name above the gauge, which stays within it and beside the other names, wherever its tick is."""
    at = float(place[:-1])
    at = min(at, 16) if at < 50 else max(at, 84) if at > 50 else at
    return f'<span style="left:{at}%;transform:translateX(-{at}%)">{escaped(said)}</span>'


def _ends(contest: Contest) -> list[float]:
    """Numbers that the gauge has to reach."""
    found, added = contest.dominance, contest.additive
    return [*((found.value, found.low, found.high) if found else ()), *(() if added is None else (added,))]


def _ends_in_words(contest: Contest) -> str:
    """What the gauge shows, for who does not see it."""
    if not (contest.contest and contest.dominance):
        return UNMARKED
    added = "" if contest.additive is None else f"; adding the two predicts {contest.additive:+.2f}"
    return f"D = {contest.dominance}, where 1 is {contest.a} alone and -1 {contest.b} alone{added}."


def in_brief(contest: Contest) -> str:
    """What came of it, in two or three words."""
    if contest.contest:
        return f"{contest.followed} ahead" if contest.leads else "neither ahead"
    if contest.is_undecided:
        return "not decided"
    return {(1, 0): f"only {contest.a} is heard", (0, 1): f"only {contest.b} is heard", (0, 0): "neither is heard"}.get(
        contest.ways, "no contest"
    )


def how_much(contest: Contest) -> tuple[bool, float]:
    """How much of a contest it is, to sort by: whether it is one, and by how many nats a token the weaker voice moves
    the answers its own way.
    """
    return contest.contest, min(contest.delta_a.value, -contest.delta_b.value)
