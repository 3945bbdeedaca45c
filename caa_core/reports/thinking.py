"""A contest with thoughts: a figure of its arms, tables, the thoughts, and a report."""

import html
from typing import Any

import plotly.graph_objects as go

from caa_core.contest.requests import ThinkingRequest
from caa_core.metrics.cross_fitting import LEVEL
from caa_core.metrics.estimates import Estimate, Share
from caa_core.reports.markup import STYLE
from caa_core.reports.style import GREEN, GREY, between_voices, cut, error_bars, plain
from caa_core.reports.writing import Card, Report, Section, cell

WRONG = "prompts pushed the wrong way, by A and by B (95%)"
ARMS = (
    *("arm", "D (95%)", "change against direct (95%)", "verdict", WRONG),
    *("disagree", "correct themselves", "KL, nats"),
)
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


def report_of(found: dict[str, Any]) -> Report:
    """What `run_thinking` found; its CSV has a line for each arm."""
    thinking = found["thinking"]
    told = "\n".join([*verdicts(found), *sample_lines(found)])
    drawn, rows = arms_figure(found), arm_rows(found)
    verdict_of_arms = [f"{arm['arm']:<15}{arm['verdict']}" for arm in found["arms"]]
    return Report(
        name=f"{thinking['a']} against {thinking['b']}, thinking",
        title=f"{thinking['a']} against {thinking['b']}",
        cards=[Card.of("With thoughts", thinking["verdict"] or thinking["note"])],
        sections=[
            Section("Can it reason its way to one voice?", told, drawing=drawn, heads=ARMS, rows=rows),
            Section("Thoughts", heads=THOUGHTS, rows=thought_rows(found)),
        ],
        rows=found["arms"],
        data=found,
        settings=found["settings"],
        provenance=found["provenance"],
        text="\n".join([*sample_lines(found), *verdict_of_arms, *verdicts(found)]),
    )


def arms_figure(found: dict[str, Any]) -> go.Figure | None:
    """D of each arm with its interval, between what B alone does (-1) and what A alone does (+1), with "direct" as the
    line to compare with; None where no arm has a contest. found: what `ThinkingResult.summary` says.
    """
    arms = {arm["arm"]: (d, arm) for arm in found["arms"] if (d := _estimate(arm, "dominance"))}
    if not arms:
        return None
    figure = go.Figure()
    for name, (dominance, arm) in arms.items():
        change, p = _estimate(arm, "change"), arm.get("change_p")
        moved = p is not None and p <= LEVEL
        look = (GREY, "square") if name == "direct" else (GREEN, "diamond" if moved else "circle-open")
        figure.add_scatter(
            x=[dominance.value],
            y=[name],
            mode="markers",
            name=name,
            marker={"color": look[0], "symbol": look[1], "size": 12},
            error_x=error_bars([dominance], thickness=3),
            hovertemplate=f"D = {dominance}<br>against direct {change or 'none'}<extra>{name}</extra>",
        )
        if name == "direct":
            figure.add_vline(dominance.value, line={"color": GREEN, "dash": "dash"})
    ends = [end for dominance, _ in arms.values() for end in (dominance.low, dominance.high)]
    a, b = (f"as {cut(found['thinking'][x])} alone" for x in "ab")
    between_voices(figure, a, b, ends)
    figure.update_xaxes(title="dominance D; dashed: direct; a diamond where an arm is told from it")
    figure.update_yaxes(autorange="reversed")
    return plain(figure, height=420).update_layout(margin_l=110)


def arm_rows(found: dict[str, Any]) -> list[list[str]]:
    """Rows under the heads of `ARMS`, in words."""
    return [
        [
            f"{arm['arm']}: {ABOUT[arm['arm']]}",
            cell(_estimate(arm, "dominance")) or ((w := _estimate(arm, "w")) and f"W = {w}") or "none",
            cell(_estimate(arm, "change")),
            arm["verdict"],
            "; ".join(f"{wrong}" for side in "ab" if (wrong := _share(arm, f"wrong_{side}"))),
            f"{arm['disagreements']} of {arm['thoughts']}" if arm["thoughts"] else "",
            f"{arm['self_corrections']} of {arm['thoughts']}" if arm["thoughts"] else "",
            cell(arm["kl"]),
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
    title = "".join(f"<th>under {cut(name)}</th>" for name in heads.values())
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'{STYLE}<div style="overflow-x:auto;overflow-wrap:anywhere">'
        '<table class="caa-table" style="min-width:640px;table-layout:fixed">'
        f"<tr>{title}</tr>{body}</table></div>"
    )


def _thought(thought: dict[str, Any]) -> str:
    text, parts, end = thought["text"], [], 0
    for first, last in thought["corrections"]:
        parts += [html.escape(text[end:first]), f"<mark>{html.escape(text[first:last])}</mark>"]
        end = last
    said = "".join([*parts, html.escape(text[end:])]).replace("\n", "<br>")
    said = f'<span translate="no">{said}</span>'
    if thought["m"] is None or thought["m_alone"] is None:
        return said
    note = f"m {thought['m_alone']:+.2f} read alone, {thought['m']:+.2f} steered"
    note += "; <b>they disagree</b>" if thought["disagrees"] else ""
    return f'{said}<div style="opacity:.7">{note}</div>'


def sample_lines(found: dict[str, Any]) -> list[str]:
    """The sample, which is the same for all arms, and what their shares are held against."""
    thinking = found["thinking"]
    budget = ThinkingRequest(**thinking["budget"])
    return [
        f"{thinking['prompts']} prompts, {budget}; the same for all arms.",
        "No controls stand beside them: a voice that does nothing pushes half of the prompts that move the wrong way.",
    ]


def verdicts(found: dict[str, Any]) -> list[str]:
    """What was found in sentences, as far as it is known."""
    thinking = found["thinking"]
    told = thinking["told"]["verdict"] if thinking["told"] else ""
    return [text for text in (thinking["verdict"], told, thinking["note"]) if text]


def _estimate(arm: dict[str, Any], name: str) -> Estimate | None:
    """A number of an arm with its interval, where it has one."""
    if arm[name] is None:
        return None
    prefix = "" if name == "dominance" else f"{name}_"
    return Estimate(arm[name], arm[f"{prefix}low"], arm[f"{prefix}high"])


def _share(arm: dict[str, Any], name: str) -> Share | None:
    """A share of an arm; None where there is none, or it was kept before there were any."""
    return None if arm.get(name) is None else Share(arm[name], arm[f"{name}_low"], arm[f"{name}_high"])
