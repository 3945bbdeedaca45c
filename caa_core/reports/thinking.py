"""A contest with thoughts for people: a figure of its arms, tables, the thoughts, and sections of a report."""

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.thoughts import ThinkingRequest
from caa_core.reports.html import Section
from caa_core.reports.style import BLUE, GREEN, GREY, ORANGE, plain

LONGEST_NAME = 40
ARMS = ("arm", "D (95 %)", "change against direct (95 %)", "verdict", "disagree", "correct themselves", "KL, nats")
THOUGHTS = ("prompt", "thought", "written under", "text", "m alone", "m steered", "disagrees", "corrects itself")
ABOUT = {
    "direct": "no words",
    "steered": "words written, read and answered from under the voices",
    "thinking only": "answered by nobody's voice",
    "answer only": "nobody's words; only the answer is steered",
    "words alone": "the voices' words, read and answered from unsteered",
    "reread": "nobody's words, read and answered from under the voices",
    "filler": "dots in place of words, as many",
    "crossed": "A's words before B's answer, and B's before A's",
}


def arms_figure(found: dict[str, Any]) -> go.Figure | None:
    """D of each arm with its interval, between what B alone does (-1) and what A alone does (+1), with "direct" as the
    line to compare with; None where no arm has a contest. found: what `ThinkingResult.summary` says.
    """
    arms = [arm for arm in found["arms"] if arm["dominance"] is not None]
    if not arms:
        return None
    figure = go.Figure()
    for arm in arms:
        direct = arm["arm"] == "direct"
        moved = arm["change"] is not None and not arm["change_low"] <= 0 <= arm["change_high"]
        bar = {"array": [arm["high"] - arm["dominance"]], "arrayminus": [arm["dominance"] - arm["low"]]}
        figure.add_scatter(
            x=[arm["dominance"]],
            y=[arm["arm"]],
            mode="markers",
            name=arm["arm"],
            marker={
                "color": GREY if direct else ORANGE if moved else BLUE,
                "symbol": "square" if direct else "diamond" if moved else "circle",
                "size": 12,
            },
            error_x={"type": "data", "symmetric": False, "thickness": 3, **bar},
            hovertemplate=f"D = {_estimate(arm, 'dominance')}<br>against direct {_estimate(arm, 'change') or 'none'}"
            f"<extra>{arm['arm']}</extra>",
        )
        if direct:
            figure.add_vline(arm["dominance"], line={"color": GREEN, "dash": "dash"})
    far = max(1.3, *(abs(arm[end]) + 0.2 for arm in arms for end in ("low", "high")))
    names = (html.escape(found["thinking"][x][:LONGEST_NAME], quote=False) for x in ("b", "a"))
    for place, words in zip((-1, 0, 1), (f"as {next(names)} alone", "", f"as {next(names)} alone"), strict=True):
        figure.add_vline(place, line={"color": GREY, "dash": "dot"}, annotation_text=words, annotation_position="top")
    figure.update_xaxes(title="dominance D; dashed: direct; a diamond where an arm differs from it", range=[-far, far])
    figure.update_yaxes(autorange="reversed")
    return plain(figure, height=420).update_layout(margin_l=110)


def arm_rows(found: dict[str, Any]) -> list[list[str]]:
    """Rows under the heads of `ARMS`, in words."""
    return [
        [
            f"{arm['arm']}: {ABOUT[arm['arm']]}",
            _estimate(arm, "dominance") or (_estimate(arm, "w") and f"W = {_estimate(arm, 'w')}") or "none",
            _estimate(arm, "change"),
            arm["verdict"],
            f"{arm['disagreements']} of {arm['thoughts']}" if arm["thoughts"] else "",
            f"{arm['self_corrections']} of {arm['thoughts']}" if arm["thoughts"] else "",
            "" if arm["kl"] is None else f"{arm['kl']:.2f}",
        ]
        for arm in found["arms"]
    ]


def thought_rows(found: dict[str, Any]) -> list[list[Any]]:
    """Rows under the heads of `THOUGHTS`."""
    thinking = found["thinking"]
    under = {"a": thinking["a"], "b": thinking["b"]}
    return [
        [
            thought["prompt"],
            thought["number"],
            under.get(thought["under"], thought["under"]),
            thought["text"],
            *("" if thought[m] is None else f"{thought[m]:+.2f}" for m in ("m_alone", "m")),
            "yes" if thought["disagrees"] else "",
            "yes" if thought["corrections"] else "",
        ]
        for thought in thinking["thoughts"]
    ]


def prompts_of(found: dict[str, Any]) -> list[str]:
    """What was thought about, in both letter orders."""
    return list(dict.fromkeys(thought["prompt"] for thought in found["thinking"]["thoughts"]))


def thoughts_html(found: dict[str, Any], prompt: str) -> str:
    """The thoughts on a prompt as HTML, those with the same random numbers beside each other; self-corrections are
    marked.
    """
    thinking = found["thinking"]
    heads = {"nobody": "nobody", "a": thinking["a"], "b": thinking["b"], "both": "both"}
    numbers: dict[int, dict[str, Any]] = {}
    for thought in thinking["thoughts"]:
        if thought["prompt"] == prompt:
            numbers.setdefault(thought["number"], {})[thought["under"]] = thought
    rows = ["".join(f"<td>{_thought(row[under])}</td>" for under in heads) for row in numbers.values()]
    title = "".join(f"<th>under {html.escape(name[:LONGEST_NAME])}</th>" for name in heads.values())
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        '<div style="overflow-x:auto"><table style="min-width:640px;table-layout:fixed;vertical-align:top">'
        f"<tr>{title}</tr>{body}</table></div>"
    )


def _thought(thought: dict[str, Any]) -> str:
    text, parts, end = thought["text"], [], 0
    for first, last in thought["corrections"]:
        parts += [html.escape(text[end:first]), f"<mark>{html.escape(text[first:last])}</mark>"]
        end = last
    said = "".join([*parts, html.escape(text[end:])]).replace("\n", "<br>")
    if thought["m"] is None or thought["m_alone"] is None:
        return said
    note = f"m {thought['m_alone']:+.2f} read alone, {thought['m']:+.2f} steered"
    note += "; <b>they disagree</b>" if thought["disagrees"] else ""
    return f'{said}<div style="opacity:.7;font-size:85%">{note}</div>'


def budget_line(found: dict[str, Any]) -> str:
    """The sample, which is the same for all arms."""
    thinking = found["thinking"]
    return f"{thinking['prompts']} prompts, {ThinkingRequest(**thinking['budget'])}; the same for all arms."


def verdicts(found: dict[str, Any]) -> list[str]:
    """What was found in sentences, as far as it is known."""
    thinking = found["thinking"]
    told = thinking["told"]["verdict"] if thinking["told"] else ""
    return [text for text in (thinking["verdict"], told, thinking["note"]) if text]


def table_of(found: dict[str, Any]) -> str:
    """The arms in lines of text, and what is concluded from them."""
    return "\n".join(
        [budget_line(found), *(f"{arm['arm']:<15}{arm['verdict']}" for arm in found["arms"]), *verdicts(found)]
    )


def parts(found: dict[str, Any]) -> Sequence[Section]:
    """Sections of a report."""
    return [
        Section(
            "Can it reason its way to one voice?",
            "\n".join([*verdicts(found), budget_line(found)]),
            figure=arms_figure(found),
            heads=ARMS,
            rows=arm_rows(found),
        ),
        Section("Thoughts", heads=THOUGHTS, rows=thought_rows(found)),
    ]


def _estimate(arm: dict[str, Any], name: str) -> str:
    if arm[name] is None:
        return ""
    prefix = "" if name == "dominance" else f"{name}_"
    return f"{arm[name]:+.2f} ({arm[f'{prefix}low']:+.2f} to {arm[f'{prefix}high']:+.2f})"
