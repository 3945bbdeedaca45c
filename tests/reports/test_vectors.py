from dataclasses import replace

import pytest
import torch

from caa_core.reports.vectors import comparison_in_words, cosines_by_layer, norms_by_layer, separations_by_layer
from caa_core.vectors.diagnostics import Diagnostics, LayerDiagnostics, Measured, Overlap
from caa_core.vectors.method_comparison import Comparison, Separation
from caa_core.vectors.vector import Provenance, SteeringVector

LAYERS = {1: torch.tensor([3.0, 4.0]), 3: torch.tensor([0.0, 2.0])}


def line(figure, name=None):
    """x and y of the trace of that name, or of the only one with markers."""
    (found,) = (t for t in figure.data if t.mode == "lines+markers" and name in (None, t.name))
    return list(found.x), list(found.y)


def test_norms_and_strengths_against_the_layer():
    figure = norms_by_layer(SteeringVector("v", LAYERS, {1: 10.0, 3: 8.0}, Provenance()))
    assert [(list(t.x), list(t.y)) for t in figure.data] == [([1, 3], [5, 2]), ([1, 3], [0.5, 0.25])]
    assert figure.layout.xaxis.title.text == "layer" and "median residual norm" in figure.layout.yaxis2.title.text


def test_the_letter_has_a_panel_where_it_is_known():
    figure = norms_by_layer(SteeringVector("v", LAYERS, {}, Provenance(), {1: 0.9, 3: 0.4}))
    assert list(figure.data[2].y) == [0.9, 0.4]
    assert "along the letter" in figure.layout.yaxis3.title.text


def test_how_far_pairs_agree_stands_below_beside_controls():
    at = LayerDiagnostics(
        Measured(0.5, 0.4, 0.6, (0.1, 0.3)), Measured(0.8, None, None, None), *[Measured(None, None, None, None)] * 2
    )
    vector = SteeringVector("v", LAYERS, {}, Provenance(), diagnostics=Diagnostics(20, 0.01, {1: at, 3: at}))
    figure = norms_by_layer(vector)
    found = {trace.yaxis: trace for trace in figure.data if trace.hovertext is not None}
    assert [list(trace.y) for trace in found.values()] == [[0.5, 0.5], [0.8, 0.8], []]
    agreement = next(iter(found.values()))
    assert list(agreement.error_y.array) == pytest.approx([0.1, 0.1])
    bands = [list(t.y) for t in figure.data if t.yaxis == agreement.yaxis and t.mode == "lines"]
    assert bands == [[0.1, 0.1], [0.3, 0.3]]
    assert "0.50 (95% interval 0.40 to 0.60; labels exchanged 0.10 to 0.30)" in agreement.hovertext


def test_overlap_with_known_directions_stands_below_beside_controls():
    one = Overlap(0.4, 0.3, 0.5, (-0.1, 0.2))
    told = Diagnostics(20, 0.01, {1: LayerDiagnostics(*[Measured(0.5, None, None, None)] * 4)}, {"refusal": {1: one}})
    known = {name: SteeringVector(name, LAYERS, {}, Provenance()) for name in ("refusal", "letter")}
    figure = norms_by_layer(SteeringVector("v", LAYERS, {}, Provenance(), diagnostics=told), known)
    assert [title.text for title in figure.layout.annotations if title.text.startswith("Along")] == [
        "Along refusal",
        "Along the letter",
    ]
    refusal, letter = [trace for trace in figure.data if trace.hovertext is not None][3:]
    assert (list(refusal.y), list(letter.y)) == ([0.4], [pytest.approx(1.0)] * 2)
    assert "0.40 (95% interval 0.30 to 0.50; halves of the prompts -0.10 to 0.20)" in refusal.hovertext
    assert "random directions" in letter.hovertext[0]
    # A vector that nothing is known of but itself is held to them too.
    alone = norms_by_layer(SteeringVector("v", LAYERS, {}, Provenance()), known)
    assert len([trace for trace in alone.data if trace.hovertext is not None]) == 2


@pytest.fixture
def comparison():
    separations = {"mean-difference": [Separation(0.9, 0.03, 10, 400), Separation(0.7, 0.06, 10, 400)]}
    cosines = {("mean-difference", "pca"): [0.5, -0.2]}
    return Comparison("mine", 24, 5, "letter", (1, 3), cosines, separations)


def test_separations_have_bands(comparison):
    figure = separations_by_layer(comparison)
    assert line(figure) == ([1, 3], [0.9, 0.7])
    line_of = comparison.separations["mean-difference"]
    bands = [[s.low for s in line_of], [s.high for s in line_of]]
    assert [list(t.y) for t in figure.data if t.mode == "lines"] == bands
    assert figure.data[1].fill == "tonexty"


def test_cosines(comparison):
    assert line(cosines_by_layer(comparison), "mean-difference / pca") == ([1, 3], [0.5, -0.2])


def test_which_method_is_best_is_said_where_it_is_told_from_each_other(comparison):
    few = {"mean-difference": [Separation(1.0, 0.0, 4, 7)] * 2}
    text = comparison_in_words(replace(comparison, separations=few))
    assert " to 1.00) at layers 1, 3, **not told from chance**" in text
    assert "is not judged: 7 prompts are too few for a verdict" in text
    folds = [0.9, 0.92, 0.88, 0.91, 0.93]
    close, far = (tuple(fold - less for fold in folds) for less in (0, 0.3))
    apart = (far[0] - 0.01, *far[1:])
    one, other = ([Separation(sum(aucs) / 5, 0.03, 5, 400, aucs)] * 2 for aucs in (close, apart))
    text = comparison_in_words(replace(comparison, separations={"probe": other, "pca": one}))
    assert "Over all layers PCA of the differences tells them apart best, by its paired differences" in text
    alike = comparison_in_words(replace(comparison, separations={"probe": one, "pca": one}))
    assert "Which method tells them apart best is not decided.\n\nMean AUC over all layers: " in alike
