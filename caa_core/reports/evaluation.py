"""An evaluation as a map, a table in words, and a report."""

import html
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from caa_core.measuring.sweep import SweepCell
from caa_core.measuring.told import CONTEXT, NOT_ASKED, BesidePrompts, ToldChange
from caa_core.measuring.verdict import Verdict
from caa_core.metrics.by_item import RIGHT, UNCHANGED, ByItem, Item, ways
from caa_core.metrics.by_item import WRONG as WRONG_WAY
from caa_core.metrics.estimate_map import EstimateMap, LayerEstimate
from caa_core.metrics.plain_data import restored
from caa_core.reports.style import (
    BLUE,
    DIVERGING,
    DOTTED,
    GREY,
    HEIGHT,
    NATS,
    ORANGE,
    PROBABILITY,
    PURPLE,
    ROW_HEIGHT,
    SYMBOLS,
    band,
    heat_map,
    plain,
)
from caa_core.reports.vectors import METHOD_LABELS
from caa_core.reports.writing import Card, Report, Section, aligned, versions

SEQUENTIAL = [[0.0, "#F7F7F7"], [1.0, PURPLE]]

# Of a share that is wrong: what is little is along the vector.
TURNED = [[0.0, BLUE], [0.5, "#F7F7F7"], [1.0, ORANGE]]

# Characters of a text under the mouse, and of a line of it.
SHOWN, WIDTH = 240, 60

EFFECT, VALUE, COST, WRONG, FRONT = "effect", "value", "cost", "wrong way", "front"

NONE_EXPECTED: Mapping[tuple[int, float], float] = {}
NO_METHODS: Mapping[str, Sequence[SweepCell]] = {}

BY_COST = (
    "Each cell's change in its multiplier's direction against what it costs: filled for positive multipliers, a shape "
    "for each method. The line joins the front, cells of which none that costs no more does more, whatever method made "
    "their vector. It is chosen on these very items, so that it looks better here than on others."
)

MAPS = {
    EFFECT: (
        "Effect",
        "Change against the unsteered model, over both letter orders where items have letters; pale where its interval "
        "holds 0.",
    ),
    VALUE: ("As asked", "In the order given, letter and all; the colours part at the unsteered model's."),
    COST: ("Cost", "KL(unsteered ‖ steered), mean over the answer's positions. The scale ends at 1 nat."),
    WRONG: (
        "Pushed the wrong way",
        "Share of the prompts that move which go against the multiplier's sign: half of them where a vector does "
        "nothing; pale where its interval holds that. Under the pointer: what 95% of controls come to, to first "
        "order.",
    ),
}

PRINTED = (
    *(
        "layer",
        "multiplier",
        "value",
        "both letter orders",
        "matching / not / neither",
        "answer mass",
        "wrong way",
        "of controls",
        "KL",
    ),
)

# Of one item: by line, since several may have one prompt.
ITEM_HEADS = ["line", "prompt", "matching answer", "other answer", "unsteered", "steered", "change", "pushed"]

ESTIMATED = ("layer", "× 1 to first order", "random", "shuffled labels", "p, corrected")

TOLD_HEADS = ["", "change (95%)", "prompts that go the other way (95%)", "KL, nats"]

PUSHED = {RIGHT: (BLUE, "circle"), WRONG_WAY: (ORANGE, "diamond"), UNCHANGED: (GREY, "x")}

ON_ITEMS = (
    "Each dot is an item: above the line its matching answer is likelier than unsteered, below it less likely. One "
    "prompt may have several items; shares count prompts."
)


def report_of(found: dict[str, Any]) -> Report:
    """Of an evaluation's summary. Its CSV has the unsteered model's cell first."""
    cells, unsteered = _cells(found)
    best = found["best"] and (found["best"]["layer"], found["best"]["multiplier"])
    heads, rows = cells_in_words(found)
    items = f"{found['items']} items measured, {len(found['skipped'])} skipped"
    sections = [Section("Verdict", f"{found['verdict']['text']}\n{items}. Measured: {found['measure']}.")]
    sections += [Section("Will it steer?", said)] if (said := before_steering(found)) else []
    sections += [
        Section(title, text, drawing=sweep_map(cells, unsteered, shown, best)) for shown, (title, text) in MAPS.items()
    ]
    by_cost = effect_by_cost(cells, unsteered, methods_in(found))
    sections.append(Section("Effect against cost", BY_COST, drawing=by_cost))
    sections += _estimate_section(found, cells)
    sections += _told_section(found)
    sections.append(Section("All cells in numbers", "Intervals of 95% over items.", heads=heads, rows=rows))
    sections += _item_section(found, best)
    if found["skipped"]:
        sections.append(Section("Skipped", "\n".join(found["skipped"])))
    provenance = {**found["provenance"], **versions()}
    vector = {f"vector: {name}": value for name, value in provenance.pop("vector").items()}
    named = {"model": provenance["model"], **{name: found[name] for name in ("vector", "data", "measure")}}
    name = f"{found['vector']} on {found['data']}"
    return Report(
        name=name,
        title=name,
        cards=[_card(found)],
        sections=sections,
        rows=[{**_columns(cell), **named} for cell in (found["unsteered"], *found["cells"])],
        data=found,
        settings=found["settings"],
        provenance=provenance | vector,
        text=_text(found),
    )


def _columns(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell as a line of a table, in which a range has two columns."""
    row = dict(cell)
    for name in ("wrong_random", "wrong_shuffled"):
        row[f"{name}_low"], row[f"{name}_high"] = row.pop(name, None) or (None, None)
    return row


def estimate_report(found: EstimateMap, settings: dict[str, Any], provenance: dict[str, Any]) -> Report:
    """Of estimates alone. Its CSV has a row a layer."""
    data, name = found.summary(), f"{found.vector} on {found.data}, to first order"
    rows = [{key: value for key, value in one.items() if not isinstance(value, list)} for one in data["layers"]]
    for row, one in zip(rows, found.layers, strict=True):
        for kind in ("random", "shuffled", "wrong_random", "wrong_shuffled"):
            ends = getattr(one, kind)
            row.pop(kind, None)
            row |= {f"{kind}_low": ends and ends[0], f"{kind}_high": ends and ends[1]}
    of = {key: value for key, value in provenance.items() if key != "vector"}
    vector = {f"vector: {key}": value for key, value in provenance["vector"].items()}
    return Report(
        name=name,
        title=name,
        sections=[Section("Estimates", str(found), drawing=estimate_figure(found))],
        rows=[{**row, "model": provenance["model"], "vector": found.vector, "data": found.data} for row in rows],
        data={**data, "settings": settings, "provenance": provenance},
        settings=settings,
        provenance={**of, **versions(), **vector},
        text="\n".join([*aligned(ESTIMATED, *map(_estimated, found.layers)), str(found)]),
    )


def _estimated(one: LayerEstimate) -> list[Any]:
    bands = ["" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}" for ends in (one.random, one.shuffled)]
    return [one.layer, f"{one.value:+.3f}", *bands, "" if one.p is None else f"{one.p:.3g}"]


def _estimate_section(found: dict[str, Any], cells: Sequence[SweepCell]) -> list[Section]:
    estimated = EstimateMap.kept_in(found)
    if not estimated:
        return []
    text = "\n".join(filter(None, [str(estimated), unlike_estimate(found)]))
    return [Section("To first order", text, drawing=estimate_figure(estimated, cells))]


def before_steering(found: dict[str, Any]) -> str:
    """What the pairs of an evaluation's vector said before anything was steered; empty where that is not known."""
    told = found.get("diagnostics")
    return f"Before anything was steered, its pairs said: {told['text']}" if told else ""


def unlike_estimate(found: dict[str, Any]) -> str:
    """Which cells of an evaluation's summary do otherwise than estimated, as a sentence; empty where none does."""
    unlike = found.get("unlike_estimate") or []
    cells = [f"layer {cell['layer']} × {cell['multiplier']:g} {cell['how']}" for cell in unlike]
    return f"Measured otherwise than estimated: {', '.join(cells)}." if cells else ""


def no_figure(why: str) -> go.Figure:
    """A figure that says why there is none."""
    figure = go.Figure().add_annotation(text=why, showarrow=False)
    return plain(figure.update_xaxes(visible=False).update_yaxes(visible=False))


def estimate_figure(found: EstimateMap, cells: Sequence[SweepCell] = ()) -> go.Figure:
    """The estimate at every layer above what 95% of each kind of controls do; of free text also what was measured at a
    multiplier of 1, which has the same unit.
    """
    figure, layers = go.Figure(), [one.layer for one in found.layers]
    for kind, colour, name in (("shuffled", PURPLE, "from shuffled labels"), ("random", GREY, "at random")):
        ends = [getattr(one, kind) or (math.nan, math.nan) for one in found.layers]
        if any(getattr(one, kind) for one in found.layers):
            low, high = zip(*ends, strict=True)
            along: list[float] = [*layers]
            if len(layers) == 1:  # of which a band that can be seen reaches to both sides
                along, low, high = [layers[0] - 0.1, layers[0] + 0.1], low * 2, high * 2
            band(figure, along, low, high, colour, name=f"95% of {found.controls} vectors {name}")
    told = ["diamond" if one.is_told else "circle" for one in found.layers]
    figure.add_scatter(
        x=layers,
        y=[one.value for one in found.layers],
        mode="lines+markers",
        line={"color": BLUE},
        marker={"symbol": told, "size": [9 if one.is_told else 5 for one in found.layers]},
        name="to first order",
        hovertemplate="layer %{x}: %{y:+.3f}<extra></extra>",
    )
    exact = [cell for cell in cells if cell.multiplier == 1 and cell.preference is not None]
    if exact:
        figure.add_scatter(
            x=[cell.layer for cell in exact],
            y=[cell.difference.value for cell in exact],
            mode="markers",
            marker={"color": ORANGE, "symbol": "x", "size": 9},
            name="measured, × 1",
            hovertemplate="layer %{x}: %{y:+.3f}<extra></extra>",
        )
    figure.add_hline(0, line=DOTTED)
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title=f"{found.measure.replace(', ', ',<br>')},<br>for a multiplier of 1")
    return plain(figure, legend=True, height=HEIGHT)


def _card(found: dict[str, Any]) -> Card:
    title, text, verdict = f"{found['vector']} on {found['data']}", found["verdict"]["text"], verdict_in(found)
    if verdict is None:
        return Card.of(title, text)
    best = found["best"]
    facts = {
        "best cell": best and f"layer {best['layer']}, × {best['multiplier']:g}",
        "change in its direction (95%)": f"{verdict.difference:+.3f}",
        "prompts": verdict.prompts or None,
        "pushed the wrong way": verdict.anti_steerable and verdict.anti_steerable.share,
        "p": None if verdict.p is None else f"{verdict.p:.2g}",
    }
    return Card.of(title, text, {"with": 1, "against": -1}.get(verdict.direction, 0), facts)


def expected_cells(found: dict[str, Any]) -> dict[tuple[int, float], float]:
    """What an evaluation's cells that are not there yet do to first order, by layer and multiplier. There are none of
    letters, of whose probabilities a slope says nothing at larger multipliers.
    """
    estimated = EstimateMap.kept_in(found)
    if not estimated or found["unsteered"].get("preference") is None:
        return {}
    there = {(cell["layer"], cell["multiplier"]) for cell in found["cells"]}
    wanted = [(one, m) for one in estimated.layers for m in found["settings"]["multipliers"]]
    return {(one.layer, m): one.value * m + 0.0 for one, m in wanted if (one.layer, m) not in there}


def sweep_map(
    cells: Sequence[SweepCell],
    unsteered: SweepCell,
    shown: str = EFFECT,
    best: tuple[int, float] | None = None,
    expected: Mapping[tuple[int, float], float] = NONE_EXPECTED,
) -> go.Figure:
    """Layers against multipliers, each cell's number and colour by `shown`.

    EFFECT: the change against the unsteered model by which verdicts are given. VALUE: what was measured, in the letter
    order given; its colours part at the unsteered value. COST: KL in nats. WRONG: the share of prompts pushed the wrong
    way. Cells whose change is not clear of 0, or whose share is not clear of one half, are pale. `best` is outlined.
    Cells that are not there yet are left clear, or pale with what is `expected` of them. customdata of a cell are its
    layer and multiplier.
    """
    expected = expected if shown == EFFECT else {}
    table = {(cell.layer, cell.multiplier): cell for cell in cells if cell.layer is not None}
    layers = sorted({layer for layer, _ in (*table, *expected)})
    multipliers = sorted({multiplier for _, multiplier in (*table, *expected)})
    places = [[(layer, m) for m in multipliers] for layer in layers]
    values = [[_number(table[at], shown) if at in table else expected.get(at) for at in row] for row in places]
    middle = {VALUE: unsteered.value, WRONG: 0.5}.get(shown, 0.0)
    far = NATS if shown == COST or (unsteered.preference is not None and shown != WRONG) else PROBABILITY
    sure = [[at in table and _is_clear(table[at], shown) for at in row] for row in places]
    figure = heat_map(
        [f"{m:g}" for m in multipliers],
        [str(layer) for layer in layers],
        values,
        (0 if shown == COST else middle - far, middle + far),
        {COST: SEQUENTIAL, WRONG: TURNED}.get(shown, DIVERGING),
        _unit(unsteered, shown),
        sure=None if shown == COST else sure,
        text=[[_written(table.get(at), shown, expected.get(at)) for at in row] for row in places],
        hovertext=[[in_words(table[at]) if at in table else _expected(at, expected) for at in row] for row in places],
        customdata=places,
    )
    notes = ["pale, marked ≈: estimated, not measured yet"] if expected else []
    if best and best in table:  # categories are placed at 0, 1, ...
        x, y = multipliers.index(best[1]), layers.index(best[0])
        for colour, width in (("white", 6), ("black", 3)):  # seen on a light page and on a dark one
            edge = {"color": colour, "width": width}
            figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line=edge)
        notes.append("outlined: proposed")
    title = "multiplier" + "".join(f" ({note})" for note in notes)
    figure.update_xaxes(title=title, type="category", showgrid=False)
    figure.update_yaxes(title="layer", type="category", showgrid=False)
    return plain(figure, height=max(HEIGHT, 100 + ROW_HEIGHT * len(layers))).update_layout(margin_t=30)


def methods_in(found: dict[str, Any]) -> dict[str, list[SweepCell]]:
    """The cells of vectors that other methods made, by method; none in what was kept before there were any."""
    return {method: [SweepCell.of(cell) for cell in cells] for method, cells in found.get("methods", {}).items()}


def effect_by_cost(
    cells: Sequence[SweepCell], unsteered: SweepCell, methods: Mapping[str, Sequence[SweepCell]] = NO_METHODS
) -> go.Figure:
    """Change in the multiplier's direction against KL, a point a cell, coloured by layer, and the front over layers and
    methods.

    customdata of a point are its layer and multiplier, and the method where another one made its vector.
    """
    figure, best = go.Figure(), front([*cells, *chain.from_iterable(methods.values())])
    along = {"x": [cell.kl for cell in best], "y": [_gain(cell) for cell in best]}
    figure.add_scatter(**along, mode="lines", line={"color": GREY}, hoverinfo="skip", name="front")
    layers = [cell.layer for cell in cells if cell.layer is not None]
    bar = {"title": {"text": "layer", "side": "right"}, "thickness": 14}
    colours = {"colorscale": "Viridis", "cmin": min(layers, default=0), "cmax": max(layers, default=1), "colorbar": bar}
    for (method, there), symbol in zip([("", cells), *methods.items()], SYMBOLS, strict=False):
        label = METHOD_LABELS.get(method, method)
        for sign, ending, multipliers in ((1, "", "positive multipliers"), (-1, "-open", "negative multipliers")):
            drawn = [cell for cell in there if cell.multiplier * sign > 0]
            look = {"color": [cell.layer for cell in drawn], "symbol": symbol + ending, "size": 9, "line": {"width": 2}}
            figure.add_scatter(
                x=[cell.kl for cell in drawn],
                y=[_gain(cell) for cell in drawn],
                mode="markers",
                marker={**look, **colours},
                name=f"{label}, {multipliers}" if label else multipliers,
                customdata=[(cell.layer, cell.multiplier, *filter(None, [method])) for cell in drawn],
                hovertext=[f"{label}<br>{in_words(cell)}" if label else in_words(cell) for cell in drawn],
                hovertemplate="%{hovertext}<extra></extra>",
            )
    figure.update_xaxes(title=_unit(unsteered, COST), tickmode="auto", rangemode="tozero")
    figure.update_yaxes(title="change in the multiplier's direction")
    return plain(figure, legend=True, height=HEIGHT + 60 + ROW_HEIGHT * len(methods))


def front(cells: Sequence[SweepCell]) -> list[SweepCell]:
    """The cells, by rising cost, of which none that costs no more does more in its multiplier's direction; none that
    does nothing.
    """
    found: list[SweepCell] = []
    for cell in sorted((cell for cell in cells if cell.multiplier), key=lambda cell: (cell.kl, -_gain(cell))):
        if _gain(cell) > (_gain(found[-1]) if found else 0.0):
            found.append(cell)
    return found


def _gain(cell: SweepCell) -> float:
    return cell.difference.value if cell.multiplier > 0 else -cell.difference.value


def in_words(cell: SweepCell) -> str:
    """A cell's numbers in lines of text, broken as plotly does it."""
    unit = "probability of the matching answer" if cell.preference is None else "preference, nats a token"
    lines = [f"<b>layer {cell.layer}, × {cell.multiplier:g}</b>"]
    lines.append(f"change {cell.difference:+.3f}")
    lines.append(f"{unit} {cell.as_given:.3f}")
    if cell.swapped:
        lines.append(f"over both letter orders {cell.swapped:.3f}")
    if cell.matching is not None:
        lines.append(f"written: {cell.matching} matching, {cell.not_matching} not, {cell.neither} neither")
    lines += [*wrong_way(cell), f"{cell.skipped} skipped"]
    if cell.answer_mass is not None:
        lines[-1] += f", answer mass {cell.answer_mass:.2f}"
    return "<br>".join([*lines, f"KL to unsteered {cell.kl:.3f} nats"])


def wrong_way(cell: SweepCell) -> list[str]:
    """Of the prompts that move, the share that is pushed the wrong way, and that under controls, in lines."""
    lines = [f"pushed the wrong way {cell.anti_steerable}"] if cell.anti_steerable else []
    lines += [f"controls, to first order: {cell.wrong_of_controls}"] if cell.wrong_of_controls else []
    return [*lines, *([f"{cell.unchanged} prompts do not move"] if cell.unchanged else [])]


def item_dots(found: ByItem, layer: int, multiplier: float, measure: str) -> go.Figure | None:
    """Every item's value unsteered (x) and steered (y), coloured by the way it is pushed, with its text under the
    mouse; None where the cell's items were not kept.
    """
    steered = found.at(layer, multiplier)
    if steered is None:
        return None
    figure, pushed = go.Figure(), ways(found.unsteered, steered, multiplier)
    ends = [min(*found.unsteered, *steered), max(*found.unsteered, *steered)]
    figure.add_scatter(x=ends, y=ends, mode="lines", line=DOTTED, name="no change", hoverinfo="skip")
    for way, (colour, symbol) in PUSHED.items():
        there = [i for i, one in enumerate(pushed) if one == way]
        if there:
            figure.add_scatter(
                x=[found.unsteered[i] for i in there],
                y=[steered[i] for i in there],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 9},
                name=f"{way} ({len(there)})",
                customdata=[_text_of(found.items[i]) for i in there],
                hovertemplate="%{customdata}<br>%{x:.3f} → %{y:.3f}<extra></extra>",
            )
    figure.update_xaxes(title=f"unsteered: {measure}", tickmode="auto")
    figure.update_yaxes(title="steered")
    return plain(figure, legend=True, height=HEIGHT + 60)


def items_in_words(found: ByItem, layer: int, multiplier: float) -> list[list[Any]]:
    """Rows under `ITEM_HEADS`, those pushed furthest the wrong way first; none where the cell's items were not kept."""
    steered = found.at(layer, multiplier)
    if steered is None:
        return []
    pushed = ways(found.unsteered, steered, multiplier)
    rows = [
        [item.line, item.text, item.matching, item.other, before, after, round(after - before, 4), way]
        for item, before, after, way in zip(found.items, found.unsteered, steered, pushed, strict=True)
    ]
    return sorted(rows, key=lambda row: row[6] if multiplier > 0 else -row[6])


def _item_section(found: dict[str, Any], best: tuple[int, float] | None) -> list[Section]:
    """Item by item, in the proposed cell."""
    by_item = ByItem.kept_in(found)
    if not (by_item and best) or by_item.at(*best) is None:
        return []
    figure = item_dots(by_item, *best, found["measure"])
    title = f"Item by item, layer {best[0]}, × {best[1]:g}"
    return [Section(title, ON_ITEMS, drawing=figure, heads=ITEM_HEADS, rows=items_in_words(by_item, *best))]


def verdict_in(found: dict[str, Any]) -> Verdict | None:
    """The verdict of an evaluation's summary; None where there is none, or it has no grade, as before there were any.
    Raises InputError for anything else.
    """
    kept = found["verdict"]
    return restored(Verdict, kept, "The measurement that was") if "grade" in kept else None


def beside_prompts_in(found: dict[str, Any]) -> BesidePrompts | None:
    """What system prompts do beside the vector, of an evaluation's summary; None where that was not asked. Raises
    InputError for anything else.
    """
    told = found["verdict"].get("told")
    return restored(BesidePrompts, told, "The measurement that was") if told else None


def prompts_not_asked(found: dict[str, Any]) -> list[str]:
    """That no system prompt stands beside the verdict of an evaluation's summary, where there is one without."""
    return (
        [NOT_ASKED]
        if found["verdict"].get("text") and "told" in found["verdict"] and not beside_prompts_in(found)
        else []
    )


def told_in_words(found: BesidePrompts) -> list[list[str]]:
    """Rows under `TOLD_HEADS`: the vector alone, then each wording alone and with it; none where none was measured."""
    if found.vector is None:
        return []
    rows = [[f"the vector alone, {found.where}", *_changed(found.vector)]]
    for one in found.wordings:
        rows.append([f"told “{one.told}”", *_changed(one.alone)])
        rows.append([f"told “{one.told}”, and the vector", *_changed(one.together)])
    return rows


def _changed(found: ToldChange) -> list[str]:
    cost = "not known" if found.kl is None else f"{found.kl:.3f}"
    return [f"{found.difference:+.3f}", str(found.away or "none moves"), cost]


def _told_section(found: dict[str, Any]) -> list[Section]:
    told = beside_prompts_in(found)
    if not told:
        return [Section("Beside system prompts", said) for said in prompts_not_asked(found)]
    text = CONTEXT if told.vector else str(told)
    return [Section("Beside system prompts", text, heads=TOLD_HEADS, rows=told_in_words(told))]


def _text_of(item: Item) -> str:
    """An item's text in lines, as plotly breaks them."""
    said = (f"{item.line}. {item.text}", f"matching: {item.matching}", f"other: {item.other}")
    return "<br>".join("<br>".join(wrap(html.escape(line[:SHOWN], quote=False), WIDTH)) for line in said)


def cells_in_words(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Headers and rows that show an evaluation's summary: the unsteered model, then each cell.

    Free text has neither letters nor answers that could be counted.
    """
    headers = ["layer", "multiplier", "change (95%)", "preference, nats a token (95%)", "skipped", "KL, nats"]
    headers[3:3] = ["pushed the wrong way (95%)", "the same of controls, to first order"]
    cells, unsteered = _cells(found)
    choices = unsteered.probability is not None
    if choices:
        headers[5:6] = ["probability of matching (95%)", "both letter orders (95%)", "matching / not / neither"]
        headers.insert(-1, "answer mass")
    rows = []
    for cell in (unsteered, *cells):
        row = ["unsteered" if cell.layer is None else cell.layer, f"{cell.multiplier:g}"]
        steered = cell.layer is not None  # else nothing has changed, which is no news
        row += [f"{cell.difference:+.3f}" if steered else "", _wrong(cell), cell.wrong_of_controls]
        row.append(f"{cell.as_given:.3f}")
        row += [_both(cell) or "none", _counts(cell) or "not written"] if choices else []
        row += [cell.skipped, *([f"{cell.answer_mass:.2f}"] if choices else []), f"{cell.kl:.3f}" if steered else ""]
        rows.append(row)
    return headers, rows


def _text(found: dict[str, Any]) -> str:
    """The cells in lines of text, and what is concluded from them."""
    cells, unsteered = _cells(found)
    lines = [
        f"{found['data']}: {found['items']} items, {len(found['skipped'])} skipped; {found['measure']}, "
        "with 95% intervals over items",
        *aligned(PRINTED, *map(_printed, (unsteered, *cells))),
    ]
    if unsteered.swapped and found["not_swapped"]:
        lines.append(f"{found['not_swapped']} items have no other letter order.")
    if found["counted_as_zero"]:
        lines.append(f"{found['counted_as_zero']} items whose matching letter is neither A nor B count as 0.")
    lines += [f"Skipped. {reason}" for reason in found["skipped"]]
    told, more = beside_prompts_in(found), filter(None, [unlike_estimate(found), before_steering(found)])
    beside = [str(told)] if told else prompts_not_asked(found)
    return "\n".join([*lines, found["verdict"]["text"], *more, *beside])


def _printed(cell: SweepCell) -> list[Any]:
    mass = "" if cell.answer_mass is None else f"{cell.answer_mass:.2f}"
    numbers = [f"{cell.as_given:.3f}", _both(cell), _counts(cell), mass, _wrong(cell), cell.wrong_of_controls]
    numbers.append(f"{cell.kl:.3f}")
    return ["none" if cell.layer is None else cell.layer, f"{cell.multiplier:g}", *numbers]


def _cells(found: dict[str, Any]) -> tuple[list[SweepCell], SweepCell]:
    return [SweepCell.of(cell) for cell in found["cells"]], SweepCell.of(found["unsteered"])


def _number(cell: SweepCell, shown: str) -> float | None:
    wrong = cell.anti_steerable.value if cell.anti_steerable else None
    return {EFFECT: cell.difference.value, VALUE: cell.value, COST: cell.kl, WRONG: wrong}[shown]


def _written(cell: SweepCell | None, shown: str, expected: float | None) -> str:
    if cell is None:
        return "" if expected is None else f"≈ {expected:.2f}"
    return "" if (value := _number(cell, shown)) is None else f"{value:.2f}"


def _expected(place: tuple[int, float], expected: Mapping[tuple[int, float], float]) -> str | None:
    if place not in expected:
        return None
    layer, multiplier = place
    change = f"change ≈ {expected[place]:+.3f}, to first order: not measured yet"
    return f"<b>layer {layer}, × {multiplier:g}</b><br>{change}"


def _is_clear(cell: SweepCell, shown: str) -> bool:
    if shown == WRONG:
        return cell.anti_steerable is not None and not cell.anti_steerable.low <= 0.5 <= cell.anti_steerable.high
    return cell.difference.is_clear


def _unit(unsteered: SweepCell, shown: str) -> str:
    if shown == COST:
        return "KL to unsteered, nats"
    if shown == WRONG:
        return "share of prompts pushed<br>the wrong way"
    unit = "probability of matching" if unsteered.preference is None else "preference, nats a token"
    if shown == VALUE:
        return f"{unit},<br>between the colours unsteered: {unsteered.value:.2f}"
    return f"change of {unit}" + ("" if unsteered.swapped is None else ",<br>both letter orders")


def _both(cell: SweepCell) -> str:
    return f"{cell.swapped:.3f}" if cell.swapped else ""


def _wrong(cell: SweepCell) -> str:
    """With how many prompts do not move, where any does not."""
    if not cell.anti_steerable:
        return "none moves" if cell.unchanged else ""
    return f"{cell.anti_steerable}" + (f", {cell.unchanged} not moved" if cell.unchanged else "")


def _counts(cell: SweepCell) -> str:
    return "" if cell.matching is None else f"{cell.matching} / {cell.not_matching} / {cell.neither}"
