from dataclasses import replace

import plotly.graph_objects as go

from caa_core.measuring.study_results import Study, StudyArm
from caa_core.reports.study import report_of, rows_in_words, study_dots
from tests.helpers.results import HOSTILE, files, study


def test_files_hold_everything_and_no_formula(tmp_path):
    found = study()
    kept, rows, page = files(report_of(found), tmp_path)
    assert Study.of(kept).rows == found.rows and Study.of(kept).summary() == kept
    assert len(rows) == 4 and rows[3]["cue"] == "'=1+1" and float(rows[0]["difference"]) == 0.5
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page


def test_what_the_command_line_prints_says_what_was_left_out():
    lines = report_of(study()).text.splitlines()
    assert "1 left out everywhere" in lines[0] and lines[1].startswith("steered positions  read position  cue")
    assert [line for line in lines if line.startswith("Left out. ")] == [f"Left out. {HOSTILE}"] * 2
    assert lines[-1] == "Not finished: 4 of 5 cells."


def test_the_figure_has_a_dot_for_every_row_around_the_base():
    found = study()
    figure = study_dots(found, 2)
    dots = [x for trace in figure.data if trace.mode == "markers" for x in trace.x]
    assert dots == [0.5] * (4 + 2), "the base stands beside each factor"
    assert [note.text for note in figure.layout.annotations] == ["Steered positions", "Read position", "Answer cue"]
    title = figure.layout.xaxis3.title.text.replace("<br>", " ")
    assert title == "change of the probability of the matching answer over both letter orders"
    bands = [trace for trace in figure.data if trace.mode == "lines"]
    assert [trace.showlegend for trace in bands] == [True, False, False] and bands[0].x[:3] == (-0.5, 0.5, None)
    headers, rows = rows_in_words(found)
    assert len(rows) == 4 and {len(row) for row in rows} == {len(headers)}


def test_of_a_grid_in_which_nothing_near_the_base_has_come_nothing_is_drawn():
    far = replace(study().rows[0], arm=StudyArm(positions="all", cue="Answer:"))
    figure = study_dots(replace(study(), rows=(far,)), 2)
    assert isinstance(figure, go.Figure) and not figure.data
