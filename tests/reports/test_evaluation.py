import pytest

from caa_core.measuring.sweep import SweepCell
from caa_core.metrics.estimate_map import EstimateMap, LayerEstimate
from caa_core.metrics.plain_data import plain
from caa_core.reports.evaluation import (
    COST,
    EFFECT,
    VALUE,
    WRONG,
    cells_in_words,
    effect_by_cost,
    estimate_figure,
    estimate_report,
    expected_cells,
    front,
    item_dots,
    items_in_words,
    report_of,
    sweep_map,
)
from caa_core.reports.style import PALE
from tests.helpers import results
from tests.helpers.results import around, cell, files

CELLS = [
    cell(2, -1.0, probability=around(0.4), difference=around(-0.2), kl=0.1),
    cell(2, 1.0, probability=around(0.75), difference=around(0.3), kl=0.6),
    cell(10, 1.0, probability=around(0.5), difference=around(0.01), kl=2.0),
]
TEXT = {"probability": None, "preference": around(-1.5), "swapped": None, "matching": None, "answer_mass": None}
FOUND = results.evaluation() | {"cells": plain(CELLS)}


def test_json_holds_all_of_it_and_csv_the_cells(tmp_path):
    data, rows, page = files(report_of(FOUND), tmp_path)
    assert data == FOUND
    assert [(row["layer"], float(row["multiplier"])) for row in rows] == [("", 0), ("2", -1), ("2", 1), ("10", 1)]
    assert float(rows[2]["probability"]) == 0.75 and {row["vector"] for row in rows} == {"'=1+1"}
    assert page.count("Plotly.newPlot(") == 6 and "transformers" in page and "vector: method" in page
    assert float(rows[2]["anti_steerable"]) == 0.25 and float(rows[2]["anti_steerable_high"]) == 0.45
    assert (rows[2]["wrong_random_low"], rows[2]["wrong_shuffled_high"], rows[0]["wrong_random_low"]) == (
        "0.3",
        "0.95",
        "",
    )


ESTIMATES = EstimateMap(
    vector=results.HOSTILE,
    data="joy",
    measure="preference, nats a token",
    items=8,
    of=8,
    prompts=8,
    controls=999,
    layers=(
        LayerEstimate(2, 0.4, (-0.1, 0.1), (-0.2, 0.2), 0.002),
        LayerEstimate(10, -0.05, (-0.1, 0.1), None, 0.9),
    ),
)


def test_estimates_stand_above_what_controls_do_and_beside_what_was_measured(tmp_path):
    measured = [cell(2, m, **TEXT | {"difference": around(0.45)}) for m in (1.0, 2.0)]
    *bands, line, exact = estimate_figure(ESTIMATES, measured).data
    assert [trace.name for trace in bands if trace.showlegend is not False] == [
        "95% of 999 vectors from shuffled labels",
        "95% of 999 vectors at random",
    ]
    assert list(line.y) == [0.4, -0.05] and list(line.marker.symbol) == ["diamond", "circle"]
    assert (list(exact.x), list(exact.y)) == ([2], [0.45])
    assert len(estimate_figure(ESTIMATES, CELLS).data) == len(bands) + 1  # a probability has another unit
    data, rows, page = files(estimate_report(ESTIMATES, *results.RUN.values()), tmp_path)
    assert EstimateMap.kept_in({"estimate": data}) == ESTIMATES
    assert [(row["layer"], row["random_low"], row["shuffled_high"]) for row in rows] == [
        ("2", "-0.1", "0.2"),
        ("10", "-0.1", ""),
    ]
    assert page.count("Plotly.newPlot(") == 1 and "Layers told from vectors that should do nothing" in page


def test_cells_fill_in_over_what_is_expected_of_them():
    measured, unsteered = [cell(10, 1.0, **TEXT | {"difference": around(0.3)})], cell(None, 0.0, **TEXT)
    found = {"estimate": ESTIMATES.summary(), "settings": {"multipliers": [0.0, 1.0]}}
    found |= {"cells": plain([*measured]), "unsteered": plain(unsteered)}
    figure = sweep_map(measured, unsteered, expected=expected_cells(found))
    assert [list(row) for row in figure.data[0].text] == [["≈ 0.00", "≈ 0.40"], ["≈ 0.00", "0.30"]]
    assert "not measured yet" in figure.data[0].hovertext[0][1] and "not measured yet" in figure.layout.xaxis.title.text
    assert [tuple(at) for at in figure.data[0].customdata[0]] == [(2, 0), (2, 1)]
    # Costs are not estimated, nor what becomes of probabilities.
    assert len(sweep_map(measured, unsteered, COST, expected=expected_cells(found)).data[0].z) == 1
    assert not expected_cells(found | {"unsteered": plain(cell(None, 0.0))})


@pytest.mark.parametrize(
    ("change", "multiplier", "how"),
    [
        (0.4, 1.0, ""),
        (-0.4, 1.0, "the other way"),
        (0.4, -1.0, "the other way"),
        (0.9, 1.0, "more than 2 times as far"),
        (-0.05, 1.0, ""),  # not clear of 0
        (0.3, 0.0, ""),
    ],
)
def test_a_cell_that_does_otherwise_than_estimated_is_said(change, multiplier, how):
    assert ESTIMATES.layers[0].unlike(around(change), multiplier) == how
    unlike = [{"layer": 2, "multiplier": multiplier, "how": how}] if how else []
    report = report_of(FOUND | {"estimate": ESTIMATES.summary(), "unlike_estimate": unlike})
    said = f"Measured otherwise than estimated: layer 2 × {multiplier:g} {how}."
    assert (said in report.text) == bool(how)
    assert "To first order" in [section.title for section in report.sections]


def test_the_front_joins_cells_of_which_none_that_costs_no_more_does_more():
    found = [
        cell(layer, multiplier, difference=around(change), kl=kl)
        for layer, multiplier, change, kl in [
            (1, 1.0, 0.1, 0.1),
            (1, 2.0, 0.3, 0.4),
            (2, 1.0, 0.25, 0.5),  # costs more and does less
            (2, -1.0, -0.4, 0.6),  # against the vector, where that is its direction
            (3, 1.0, -0.2, 0.05),  # the other way
            (3, -2.0, -0.4, 0.7),  # costs more and does as much
            (3, 0.0, 0.0, 0.0),
        ]
    ]
    assert [(one.layer, one.multiplier) for one in front(found)] == [(1, 1), (1, 2), (2, -1)]
    line, up, down = effect_by_cost(found, cell(None, 0.0)).data
    assert (list(line.x), list(line.y)) == ([0.1, 0.4, 0.6], [0.1, 0.3, 0.4])
    assert [tuple(place) for place in up.customdata] == [(1, 1), (1, 2), (2, 1), (3, 1)]
    assert list(down.y) == [0.4, 0.4] and list(down.marker.color) == [2, 3]
    assert not front([]) and not effect_by_cost([], cell(None, 0.0)).data[0].x


def test_what_the_command_line_prints_has_a_line_for_each_cell():
    lines = report_of(FOUND).text.splitlines()
    assert lines[0].endswith("3 items, 3 skipped; probability of the matching answer, with 95% intervals over items")
    cells = [["none", "0"], ["2", "-1"], ["2", "1"], ["10", "1"]]
    assert [line.split()[:2] for line in lines[2:6]] == cells
    assert lines[6] == "1 items have no other letter order." and lines[7].startswith("1 items whose matching letter")
    assert lines[8].startswith("Skipped. ") and lines[-1] == "Not judged."


def test_cells_in_words_have_a_column_for_each_number():
    headers, rows = cells_in_words(FOUND)
    assert len(headers) == 11 and {len(row) for row in rows} == {11}
    row = dict(zip(headers, rows[2], strict=True))
    assert (row["layer"], row["multiplier"], row["KL, nats"]) == (2, "1", "0.600")
    assert row["change (95%)"] == "+0.300 (+0.200 to +0.400)"
    assert row["matching / not / neither"] == "3 / 2 / 1"
    assert row["pushed the wrong way (95%)"] == "0.25 (0.10 to 0.45), 1 not moved"
    assert row["the same of controls, to first order"] == "random 0.30 to 0.70, shuffled labels 0.05 to 0.95"
    # What cannot be otherwise is not said.
    assert rows[0][0] == "unsteered" and rows[0][2] == rows[0][-1] == ""
    texts = FOUND | {"unsteered": plain(cell(None, 0.0, **TEXT)), "cells": [plain(cell(1, 1.0, **TEXT))]}
    headers, rows = cells_in_words(texts)
    assert len(headers) == 8 and {len(row) for row in rows} == {8} and "nats a token" in headers[5]


@pytest.mark.parametrize(
    ("shown", "numbers", "span", "unit"),
    [
        (EFFECT, [["-0.20", "0.30"], ["", "0.01"]], (-0.5, 0.5), "change of probability"),
        (VALUE, [["0.40", "0.75"], ["", "0.50"]], (0.0, 1.0), "probability of matching"),
        (COST, [["0.10", "0.60"], ["", "2.00"]], (0, 1.0), "nats"),
        (WRONG, [["0.25", "0.25"], ["", "0.25"]], (0, 1.0), "wrong way"),
    ],
)
def test_a_map_of_layers_and_multipliers(shown, numbers, span, unit):
    figure = sweep_map(CELLS, cell(None, 0.0), shown, (2, 1))
    (heat,), (_, mark) = figure.data, figure.layout.shapes
    assert (list(heat.x), list(heat.y)) == (["-1", "1"], ["2", "10"])
    assert [list(row) for row in heat.text] == numbers
    assert (heat.zmin, heat.zmax) == pytest.approx(span)
    assert unit in heat.colorbar.title.text
    assert (mark.x0, mark.x1, mark.y0, mark.y1) == (0.5, 1.5, -0.5, 0.5)
    assert tuple(heat.customdata[1][1]) == (10, 1)
    titles = figure.layout.xaxis.title.text, figure.layout.yaxis.title.text
    assert titles == ("multiplier (outlined: proposed)", "layer")
    for part in ("layer 2, × 1", "+0.300 (+0.200 to +0.400)", "3 matching, 2 not, 1 neither", "4 skipped", "mass 0.80"):
        assert part in heat.hovertext[0][1]
    assert "controls, to first order: random 0.30 to 0.70, shuffled labels 0.05 to 0.95" in heat.hovertext[0][1]


def test_maps_of_one_measure_have_one_scale_on_which_what_is_not_clear_of_nothing_is_pale():
    little, much = (
        sweep_map([cell(1, m, difference=around(m)) for m in changes], cell(None, 0.0)).data[0]
        for changes in ([0.09], [0.09, 0.4])
    )
    assert (little.zmin, little.zmax) == (much.zmin, much.zmax) == (-0.5, 0.5)
    assert list(much.z[0]) == [pytest.approx(0.09 * PALE), 0.4]


def test_a_map_of_free_text_is_in_nats():
    heat = sweep_map([cell(1, 1.0, **TEXT)], cell(None, 0.0, **TEXT)).data[0]
    assert heat.colorbar.title.text == "change of preference, nats a token"
    assert "letter" not in heat.hovertext[0][0] and "written" not in heat.hovertext[0][0]


def test_a_dot_for_each_item_with_its_text_and_the_way_it_is_pushed():
    found = results.by_item(4)
    figure = item_dots(found, 0, 1.0, "probability")
    line, right, wrong, still = figure.data
    assert (list(line.x), list(line.y)) == ([0.4, 0.7], [0.4, 0.7])
    assert (right.name, wrong.name, still.name) == ("right way (2)", "wrong way (1)", "not moved (1)")
    assert (list(wrong.x), list(wrong.y), list(still.y)) == ([0.5], [0.4], [0.5])
    assert "<script" not in wrong.customdata[0] and "1. &lt;script&gt;" in wrong.customdata[0]
    rows = items_in_words(found, 0, 1.0)
    assert [(row[0], row[-2], row[-1]) for row in rows][:2] == [(1, -0.1, "wrong way"), (2, 0.0, "not moved")]
    assert item_dots(found, 0, 2.0, "") is None and items_in_words(found, 0, 2.0) == []


def test_what_was_kept_before_there_were_shares_and_items_is_drawn(tmp_path):
    cells = [
        {name: value for name, value in one.items() if not name.startswith(("anti", "unchanged"))}
        for one in FOUND["cells"]
    ]
    old = {name: value for name, value in FOUND.items() if name != "by_item"} | {"cells": cells}
    page = files(report_of(old), tmp_path)[2]
    assert page.count("Plotly.newPlot(") == 5 and "Item by item" not in page
    assert sweep_map([SweepCell.of(cells[0])], CELLS[0], WRONG).data[0].text[0][0] == ""
