"""Figures of vectors: norms, how methods separate held-out pairs, cosines; and what a comparison of methods says."""

import math
from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from caa_core.data.text import spans
from caa_core.metrics.correction import holm
from caa_core.metrics.cross_fitting import LEVEL, too_few
from caa_core.metrics.estimates import Estimate
from caa_core.reports.style import BLUE, DOTTED, GREEN, GREY, HEIGHT, SKY, band, error_bars, line, look, plain
from caa_core.vectors.diagnostics import LETTER, REFUSAL, Measured
from caa_core.vectors.known_directions import overlaps
from caa_core.vectors.method_comparison import Comparison
from caa_core.vectors.methods import MEAN_DIFFERENCE
from caa_core.vectors.vector import SteeringVector

METHOD_LABELS = {
    MEAN_DIFFERENCE: "mean difference",
    "pca": "PCA of the differences",
    "probe": "logistic probe",
    "single": "first pair alone (ActAdd)",
}


# Of a vector's diagnostics: title, axis, and what there is where the pairs have nothing in common.
DIAGNOSTICS = {
    "agreement": ("Pairs agree", "mean cosine", 0.0),
    "reliability": ("Halves agree", "reliability", 0.0),
    "auc": ("Held out", "AUC", 0.5),
}


# Of directions that are known.
ALONG = {REFUSAL: "Along refusal", LETTER: "Along the letter"}
# Height of a row of what was measured, in pixels.
ROW = 280

Panel = tuple[str, str, float, Mapping[int, Measured]]
NOTHING: Mapping[str, SteeringVector] = {}


def norms_by_layer(vector: SteeringVector, known: Mapping[str, SteeringVector] = NOTHING) -> go.Figure:
    """Norm of the vector and its relative strength (norm over the median residual norm), against the layer; the share
    of the letter, where the vector was made in both letter orders; below, where its pairs were looked at, how far they
    agree, and how far it lies along directions that are known, with intervals as bars and what 95% of controls lie
    within as a grey band.

    known: directions to which a vector is held whose diagnostics have none.
    """
    layers = list(vector.layers)
    panels: list[tuple[str, str, list[float | None], str]] = [
        ("Norm of the vector", "‖v‖", [vector.norm(n) for n in layers], BLUE),
        ("Relative strength", "‖v‖ / median residual norm", [vector.relative_strength(n) for n in layers], SKY),
    ]
    if vector.letter_share:
        shares = [vector.letter_share.get(n) for n in layers]
        panels.append(("Letter, without the swap", "share of ‖v‖² along the letter", shares, GREY))
    below = _below(vector, known)
    figure, starts = _rows([[title for title, *_ in panels], *([title for title, *_ in row] for row in below)])
    for column, (title, axis, numbers, colour) in zip(starts[0], panels, strict=True):
        hover = f"layer %{{x}}: {title.lower()} %{{y:.3g}}<extra></extra>"
        line(figure, layers, numbers, colour, hovertemplate=hover, row=1, col=column)
        figure.update_yaxes(title=axis, row=1, col=column, rangemode="tozero")
    for row, several in enumerate(below, 2):
        for column, (_, axis, nothing, found) in zip(starts[row - 1], several, strict=True):
            _measured(figure, (row, column), found)
            figure.add_hline(nothing, line=DOTTED, row=row, col=column)
            figure.update_yaxes(title=axis, row=row, col=column)
    figure.update_xaxes(title="layer")
    return plain(figure, height=HEIGHT + ROW * len(below))


def _rows(titles: Sequence[Sequence[str]]) -> tuple[go.Figure, list[range]]:
    """A figure of rows of panels, each as wide as the page however many it has, and in which columns those begin."""
    columns = math.lcm(*map(len, titles))
    starts = [range(1, columns + 1, columns // len(row)) for row in titles]
    specs = [
        [{"colspan": columns // len(row)} if column in begin else None for column in range(1, columns + 1)]
        for row, begin in zip(titles, starts, strict=True)
    ]
    return make_subplots(
        rows=len(titles),
        cols=columns,
        specs=specs,
        subplot_titles=[title for row in titles for title in row],
        horizontal_spacing=0.13,
    ), starts


def _below(vector: SteeringVector, known: Mapping[str, SteeringVector]) -> list[list[Panel]]:
    """The rows of panels of what was measured, each with its title, axis, and what there is where nothing is."""
    told = vector.diagnostics.layers if vector.diagnostics else {}
    agreement: list[Panel] = [
        (title, axis, nothing, {layer: getattr(one, name) for layer, one in told.items()})
        for name, (title, axis, nothing) in DIAGNOSTICS.items()
    ]
    along: list[Panel] = [(ALONG[name], "cosine", 0.0, found) for name, found in overlaps(vector, known).items()]
    return [row for row in (agreement if told else [], along) if row]


def _measured(figure: go.Figure, at: tuple[int, int], by_layer: Mapping[int, Measured]) -> None:
    """Numbers by layer, above what controls come to, in a row and column."""
    row, column = at
    found = {layer: one for layer, one in by_layer.items() if one.value is not None}
    ends = [one.controls or (math.nan, math.nan) for one in found.values()]
    band(figure, [*found], [low for low, _ in ends], [high for _, high in ends], GREY, row=row, col=column)
    figure.add_scatter(
        x=[*found],
        y=[one.value for one in found.values()],
        error_y=error_bars([_ended(one) for one in found.values()], thickness=1),
        mode="lines+markers",
        line={"color": GREEN},
        hovertext=[str(one) for one in found.values()],
        hovertemplate="layer %{x}: %{hovertext}<extra></extra>",
        row=row,
        col=column,
    )


def _ended(found: Measured) -> Estimate:
    """With its interval, where it has one."""
    low, high = (math.inf if end is None else end for end in (found.low, found.high))
    return Estimate(found.value or 0.0, low, high)


def separations_by_layer(comparison: Comparison) -> go.Figure:
    """How well each method separates held-out pairs, against the layer, with bands of 95%."""
    figure = go.Figure()
    layers = list(comparison.layers)
    for number, (method, found) in enumerate(comparison.separations.items()):
        colour, dash, symbol = look(number)
        low, high = [one.low for one in found], [one.high for one in found]
        band(figure, layers, low, high, colour, legendgroup=method, showlegend=False)
        line(
            figure,
            layers,
            [one.auc for one in found],
            colour,
            dash,
            symbol,
            size=8,
            name=method,
            legendgroup=method,
            customdata=list(zip(low, high, strict=True)),
            hovertemplate="layer %{x}: AUC %{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})",
        )
    figure.add_hline(0.5, line=DOTTED, annotation_text="chance", annotation_position="top left")
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="AUC on held-out pairs")
    return plain(figure, legend=True)


def cosines_by_layer(comparison: Comparison) -> go.Figure:
    """Cosine between the directions of every two methods, against the layer."""
    figure = go.Figure()
    for number, ((a, b), cosines) in enumerate(comparison.cosines.items()):
        colour, dash, symbol = look(number)
        hover = "layer %{x}: cosine %{y:.2f}"
        layers = list(comparison.layers)
        line(figure, layers, cosines, colour, dash, symbol, size=8, name=f"{a} / {b}", hovertemplate=hover)
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="cosine", range=[-1.05, 1.05])
    return plain(figure, legend=True)


def best_method(found: Comparison) -> str:
    """The method with the largest mean AUC over all layers, so that no layer is chosen, where its paired difference to
    each other method is clear, corrected over all pairs of methods (Holm). Empty where none is, or prompts are too few.
    """
    pairs = found.differences()
    if too_few(found.prompts) or not pairs:
        return ""
    p = dict(zip(pairs, holm([*pairs.values()]), strict=True))
    best = next(iter(found.means))
    return best if all(p[pair] <= LEVEL for pair in pairs if best in pair) else ""


def comparison_in_words(found: Comparison, plainly: Callable[[str], str] = str) -> str:
    """What a comparison says, as Markdown.

    Args:
        plainly: takes the marks of Markdown from the data's name.
    """
    lines = [
        f"{plainly(found.dataset)}, {found.num_pairs} pairs read at '{found.read_position}'; directions made from "
        f"{found.folds - 1} of {found.folds} parts and tried on the one left out.",
        "",
        "By method, the layer of which the 95% interval begins highest; the intervals here hold for all layers and "
        "methods at once:",
        "",
    ]
    for method in found.separations:
        best, layers = found.best(method)
        low, high = found.interval(best)
        told = "" if found.surely(method) and not too_few(found.prompts) else ", **not told from chance**"
        lines.append(
            f"- {METHOD_LABELS[method]}: AUC **{best.auc:.2f}** ({low:.2f} to {high:.2f}) at {spans(layers)}{told}"
        )
    last = "Telling answers apart is not steering: a layer that does may steer little."
    return "\n\n".join(["\n".join(lines), *best_in_words(found), last])


def best_in_words(found: Comparison) -> list[str]:
    """Whether a method is told from each other one, and by which numbers: paragraphs."""
    if few := too_few(found.prompts):
        return [f"Which method tells them apart best is not judged: {few}."]
    means = ", ".join(f"{METHOD_LABELS[method]} {mean:.2f}" for method, mean in found.means.items())
    if best := best_method(found):
        told = (
            f"Over all layers {METHOD_LABELS[best]} tells them apart best, by its paired differences to each other one"
        )
    else:
        told = "Which method tells them apart best is not decided"
    return [f"{told}.", f"Mean AUC over all layers: {means}."]
