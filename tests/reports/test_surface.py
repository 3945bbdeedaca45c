from dataclasses import replace

import pytest

from caa_core.contest.surface import surface_of
from caa_core.reports.surface import INTERACTION, layer_map, report_of, surface_map
from tests.helpers import results
from tests.helpers.results import files


def found(summary):
    return surface_of({name: value for name, value in summary.items() if name not in results.RUN})


def test_a_surface_as_files(tmp_path):
    told, rows, page = files(report_of(results.surface()), tmp_path)
    assert told["kind"] == "multipliers" and len(rows) == len(told["cells"]) == 9 and "1 of joy weighs 3." in page
    told, rows, _ = files(report_of(results.layers()), tmp_path)
    assert told["kind"] == "layers" and rows[4]["layer_a"] == rows[4]["layer_b"] == "1"


def test_a_cell_says_which_it_is_and_the_line_lies_between_cells():
    heat, line = surface_map(found(results.surface())).data
    assert tuple(heat.customdata[1][2]) == (1.0, 0.5) and heat.z[1][2] == 0.5
    assert "Δ +0.50 (+0.40 to +0.60)" in heat.hovertext[1][2] and "over 0.5" in heat.hovertext[0][0]
    assert "of the prompts that move, towards A: 0.75 (0.50 to 0.90)<br>half of them where" in heat.hovertext[1][2]
    assert line.hoverinfo == "skip", "clicks go to the cell below it"
    assert (line.x, line.y) == ((0.5, 1), (0.5, 1)), "at places of cells, not at multipliers"


def test_layers_are_shown_by_dominance_or_interaction():
    grid = found(results.layers())
    heat = layer_map(grid).data[0]
    assert tuple(heat.customdata[0][1]) == (1, 0) and heat.z[0][1] == 0.5 and "D₀ +0.50" in heat.hovertext[0][1]
    assert "pushed the wrong way by A 0.25 (0.10 to 0.50); to first order" in heat.hovertext[0][1]
    nowhere = replace(grid, cells=tuple(cell | {"contest": False} for cell in grid.cells))
    assert layer_map(nowhere).data[0].z[0][0] is None and "no contest" in layer_map(nowhere).data[0].hovertext[0][0]
    assert layer_map(nowhere, INTERACTION).data[0].z[0][0] == pytest.approx(0)


def test_names_are_not_taken_for_tags():
    figure = surface_map(replace(found(results.surface()), a="<b>x</b>"))
    assert "<b>x" not in figure.layout.xaxis.title.text and "&lt;b&gt;x" in figure.data[0].hovertext[0][0]
