"""Findings on several behaviours as a report."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from caa_core.data.text import spans
from caa_core.measuring.paper.findings import MINUS, PLUS, Findings, Replication
from caa_core.measuring.paper.request import COMPONENTS, LAYERS, MULTIPLIERS, PROMPTS, TOKENS, TRANSFER
from caa_core.measuring.sweep import SweepCell
from caa_core.metrics.cross_fitting import CONTROLS, EFFECT
from caa_core.metrics.estimates import Estimate
from caa_core.metrics.options import OPERATION
from caa_core.metrics.plain_data import plain
from caa_core.reports import markup
from caa_core.reports.paper import figures
from caa_core.reports.writing import Card, Report, Section, versions

PAPER = "arXiv 2312.06681"
# What the shares under the mouse are held against.
SHARES = (
    "Under the mouse: the share of prompts that are pushed the wrong way, beside that of controls to first order; a "
    "vector that does nothing has half."
)
TITLE = "The paper's experiments"


def report_of(found: Replication) -> Report:
    """All that was found of all behaviours; its CSV has a line for each cell."""
    return Report(
        name="several behaviours",
        title=f"{TITLE}: {', '.join(one.name for one in found.findings)}",
        cards=[_card(found, one) for one in found.findings],
        sections=sections(found),
        rows=_rows(found),
        data=found.summary(),
        settings=_settings(found),
        provenance=_provenance(found),
        text="\n\n".join([*(_text(found, one) for one in found.findings), *filter(None, [found.screen])]),
    )


def _card(found: Replication, one: Findings) -> Card:
    """A behaviour among the others."""
    at = {cell.multiplier: f"{_both(cell).value:.2f}" for cell in one.curve}
    values = [at[m] for m in (MINUS, 0.0, PLUS) if m in at]
    p, grade = found.corrected.get(one.name, (None, ""))
    facts = {
        "layer": one.layer,
        "at × −1, 0, +1": " · ".join(values) if len(values) == 3 else None,
        "items": one.num_items,
        "p, corrected": None if p is None else f"{p:.2g}",
    }
    way = {"with": 1, "against": -1}.get(one.verdict.direction, 0) if one.verdict and grade == EFFECT else 0
    return Card.of(one.name, found.concluded(one), way, facts)


def _rows(found: Replication) -> list[dict[str, Any]]:
    """Every cell as a row: behaviour, experiment, what the model was told, layer of the vector, and the cell's own."""
    rows = []
    for one in found.findings:
        groups: list[tuple[str, str, int | None, Sequence[SweepCell]]] = [
            ("effect by layer", "", None, (one.unsteered, *one.profile)),
            ("effect by multiplier", "", one.layer, one.curve),
            ("transfer to other layers", "", one.layer, one.transfer),
            *(("vector against system prompt", arm.told, one.layer, arm.cells) for arm in one.arms),
            ("effect by layer, as the paper counts", "", None, one.paper_profile),
            ("effect by multiplier, as the paper counts", "", one.layer, one.paper_curve),
        ]
        for experiment, told, made_at, cells in groups:
            named = {"behaviour": one.name, "experiment": experiment, "system_prompt": told}
            rows += [named | {"vector_layer": made_at} | plain(cell) for cell in cells]
    model = {"model": found.provenance["model"]}
    return [row | model for row in rows]


def sections(found: Replication) -> list[Section]:
    """Words, figures and tables of all behaviours; each figure is drawn when it is asked for."""
    findings = found.findings
    said = [f"{one.name}. {found.concluded(one)}{_before(one)}" for one in findings]
    parts = [Section("What was found", "\n\n".join([*said, *filter(None, [found.screen])]))]
    if found.asked[len(findings) :]:
        missing = ", ".join(found.asked[len(findings) :])
        parts.append(Section("Not measured", f"The run was stopped before these: {missing}."))
    done = found.settings["experiments"]
    if MULTIPLIERS in done:
        parts.append(_in_numbers(findings))
    parts += map(_by_layer, findings if LAYERS in done else ())
    if MULTIPLIERS in done:
        parts += [_by_multiplier(findings), _cost(findings)]
    parts += map(_against_prompt, findings if PROMPTS in done else ())
    if (layer := found.shared_layer) is not None:
        parts.append(_between_behaviours(findings, layer))
    parts += map(_between_layers, findings)
    for experiment, draw in ((TRANSFER, _transfer), (COMPONENTS, _components), (TOKENS, _tokens)):
        parts += map(draw, findings if experiment in done else ())
    return parts


def section_of(one: Findings, figure: str) -> Section:
    """The section of one of `FIGURES`, which the findings must have."""
    return FIGURES[figure][1](one)


def _text(found: Replication, one: Findings) -> str:
    """What the command line says of a behaviour."""
    cells = sorted(one.curve, key=lambda cell: cell.multiplier)
    numbers = [f"× {cell.multiplier:g}: {_both(cell).value:.2f}" for cell in cells]
    return f"{one.name}, layer {one.layer}: {', '.join(numbers)}\n{found.concluded(one)}{_before(one)}"


def _before(one: Findings) -> str:
    """What the vector's pairs said before anything was steered, as a line; empty where that is not known."""
    return f"\nBefore steering: {one.vector.diagnostics}" if one.vector.diagnostics else ""


def _by_layer(one: Findings) -> Section:
    return Section(
        f"{one.name}: effect by layer",
        f"The vector of each layer, {one.used} there at × 1 and × −1. Bands are 95% intervals over items."
        f"{_letters(one)}\n{SHARES}",
        f"Counterpart: the per-layer effect of steering in {PAPER}.",
        partial(figures.effect_by_layer, one),
    )


def _by_multiplier(findings: Sequence[Findings]) -> Section:
    band = "; the grey band is how far random vectors of the same norm go" if findings[0].band else ""
    return Section(
        "Effect by multiplier",
        f"At one layer. Bars are 95% intervals over items{band}. {_orders(findings[0])}\n{SHARES}",
        f"Counterpart: effect against multiplier, a line a behaviour, in the multiple-choice results of {PAPER}.",
        partial(figures.effect_by_multiplier, findings),
    )


def _cost(findings: Sequence[Findings]) -> Section:
    return Section(
        "What it costs",
        "How far the distribution over the next token moves and, for choices, how probable it is that the question is "
        "answered at all.",
        drawing=partial(figures.cost_by_multiplier, findings),
    )


def _between_behaviours(findings: Sequence[Findings], layer: int) -> Section:
    return Section(
        "Cosine between behaviours",
        f"Of the vectors of layer {layer}, the middle one of the layers that were chosen.",
        f"Counterpart: cosine similarity between vectors of different behaviours in {PAPER}.",
        partial(figures.cosines_of_behaviours, findings, layer),
    )


def _between_layers(one: Findings) -> Section:
    return Section(
        f"{one.name}: cosine between layers",
        "Between the vector's directions at every two layers.",
        f"Counterpart: cosine similarity between a vector's layers in {PAPER}.",
        partial(figures.cosines_of_layers, one),
    )


def _transfer(one: Findings) -> Section:
    own = ", beside each layer's own vector" if one.profile else ""
    return Section(
        f"{one.name}: transfer to other layers",
        f"The vector made at layer {one.layer}, {one.used} at each layer{own}. {_orders(one)}\n{SHARES}",
        f"Counterpart: the transfer of a vector to other layers in {PAPER}.",
        partial(figures.transfer_by_layer, one),
    )


def _components(one: Findings) -> Section:
    return Section(
        f"{one.name}: activations at the answers",
        "Principal components of the residual stream at the answers' read positions; the slider changes the layer. "
        "Where colours part along the first component, what varies most is the behaviour; where symbols do, it is the "
        "letter.",
        f"Counterpart: PCA of activations by layer, with the answer's letter, in {PAPER}.",
        one.scatter and partial(figures.components, one.scatter, one.layer),
    )


def _tokens(one: Findings) -> Section:
    return Section(
        f"{one.name}: token by token",
        "Held-out items with their matching answers, read by the unsteered model: how far each token's residual stream "
        "points along the vector.",
        f"Counterpart: per-token alignment with a vector in {PAPER}.",
        markup="".join(map(markup.aligned, one.alignments)),
    )


def _in_numbers(findings: Sequence[Findings]) -> Section:
    """The table that goes beside the paper's numbers."""
    heads = [
        "behaviour",
        "layer",
        "how it is counted",
        "× −1",
        "× 0",
        "× +1",
        "wrong way at ±1",
        "the same of controls",
        "KL at ±1, nats",
        "items",
    ]
    rows = []
    for one in findings:
        kinds = [("both letter orders", one.curve, _both)] if one.unsteered.swapped is not None else []
        kinds.append((_count_of(one), one.curve, _given))
        if one.paper_curve:
            kinds.append(("as the paper counts", one.paper_curve, _given))
        for name, cells, number in kinds:
            at = {cell.multiplier: cell for cell in cells}
            values = [f"{number(at[m]):.2f}" for m in (MINUS, 0, PLUS)]
            cost = f"{at[MINUS].kl:.2f}, {at[PLUS].kl:.2f}"
            wrong = "; ".join(str(at[m].anti_steerable or "none moves") for m in (MINUS, PLUS))
            beside = "; ".join(filter(None, (at[m].wrong_of_controls for m in (MINUS, PLUS)))) or "none"
            rows.append([one.name, one.layer, name, *values, wrong, beside, cost, one.num_items])
    text = (
        "Mean over items with 95% intervals; wrong way: the share of prompts pushed against the multiplier's sign, "
        "beside what 95% of controls come to, to first order; a vector that does nothing has half. "
    )
    if findings[0].paper_profile:
        text += (
            "As the paper counts: vector and items in the letter order given, and only the letters A and B, so that a "
            "vector that means a letter counts as an effect. Over both letter orders it does not."
        )
    return Section("In numbers", text, f"Counterpart: multiple-choice results in {PAPER}.", heads=heads, rows=rows)


def _against_prompt(one: Findings) -> Section:
    title = f"{one.name}: vector against system prompt"
    paper = f"Counterpart: the table of steering beside system prompts in {PAPER}."
    if not one.arms:
        return Section(title, "Left out: there are no instructions for this behaviour.", paper)
    told = "\n".join(f"{arm.told}: “{arm.system}”" for arm in one.arms if arm.system)
    text = (
        f"The vector of layer {one.layer} under three system prompts; what “none” puts in is up to the model's "
        f"template. {_orders(one)} KL is against the unsteered model under the same prompt.\n{told}"
    )
    both = one.unsteered.swapped is not None
    heads = ["system prompt", "multiplier", "both letter orders (95%)" if both else _count_of(one), "KL, nats"]
    rows = [
        [arm.told, _signed(cell.multiplier), f"{_both(cell):.2f}", f"{cell.kl:.2f}"]
        for arm in one.arms
        for cell in arm.cells
    ]
    return Section(title, text, paper, partial(figures.vector_against_prompt, one), heads, rows)


def _signed(multiplier: float) -> str:
    return f"{multiplier:+g}" if multiplier else "0"


def _given(cell: SweepCell) -> Estimate:
    return cell.as_given


def _both(cell: SweepCell) -> Estimate:
    """Over both letter orders, where there are two."""
    return cell.swapped or cell.as_given


def _count_of(one: Findings) -> str:
    return "as given" if one.is_choice else "preference, nats a token"


def _orders(one: Findings) -> str:
    return "" if one.unsteered.swapped is None else "Values are means over both letter orders of each item."


def _letters(one: Findings) -> str:
    if not one.given_cosines:
        return ""
    return (
        f" The vector is made from both letter orders; at layer {one.layer} its cosine to one made in the order given "
        f"is {one.given_cosines[one.layer]:.2f}."
    )


# By name: which of `replication.EXPERIMENTS` it takes (None where the vector is all), and how it is drawn.
FIGURES: dict[str, tuple[str | None, Callable[[Findings], Section]]] = {
    "Effect by layer": (LAYERS, _by_layer),
    "Effect by multiplier": (MULTIPLIERS, lambda one: _by_multiplier([one])),
    "Transfer to other layers": (TRANSFER, _transfer),
    "Vector against system prompt": (PROMPTS, _against_prompt),
    "Activations at the answers (PCA)": (COMPONENTS, _components),
    "Cosine between layers": (None, _between_layers),
    "Token by token": (TOKENS, _tokens),
}


def _settings(found: Replication) -> dict[str, Any]:
    asked = found.settings
    layers = spans(asked["layers"]) if asked["layers"] else "all"
    done = asked.get("operation", OPERATION.default)
    drawn = "the first" if asked["seed"] is None else f"drawn with seed {asked['seed']}"
    return {
        "layers": layers,
        "layer of multipliers, transfer, prompts": "chosen on one half of the items, judged on the other"
        if asked["layer"] is None
        else asked["layer"],
        "multipliers": ", ".join(f"{m:g}" for m in asked["multipliers"]),
        "pairs of a behaviour": f"{asked['pairs']}, {drawn}" if asked["pairs"] else "all",
        "test items of a behaviour": f"{asked['items']}, {drawn}" if asked["items"] else "all",
        "vectors from both letter orders": "yes" if asked["letter_swap"] else "no",
        "controls": _controls(asked["controls"], done),
        "answers written": "yes" if asked["counts"] else "no",
        "steered positions": asked["positions"],
        "answer cue": asked["cue"],
        "operation": done,
    }


def _controls(drawn: int, operation: str) -> str:
    """Those of a verdict, which an addition alone has, and those that are measured and drawn."""
    if not drawn:
        return "none"
    each = f"{max(CONTROLS, drawn)} of each kind to first order; " if operation == OPERATION.default else ""
    return f"{each}in figures {drawn} random vectors of the same norm, by exact passes"


def _provenance(found: Replication) -> dict[str, Any]:
    rows = dict(found.provenance)
    rows |= versions()
    for one in found.findings:
        was = one.vector.provenance
        rows[one.name] = (
            f"pairs {one.pairs}, sha256 {was.dataset_sha256}; items {one.test}, sha256 {one.test_sha256}; "
            f"{one.num_items} measured, {len(one.skipped)} skipped; vector: {was.method}, read at {was.read_position}, "
            f"{was.num_pairs} pairs; {one.seconds:.0f} s"
        )
    rows["measuring took"] = f"{sum(one.seconds for one in found.findings):.0f} s"
    return rows
