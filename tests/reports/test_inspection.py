import pytest

from caa_core.measuring.inspection import Lens, Mover, NextToken
from caa_core.reports.inspection import lens_by_layer, next_token_movers


def test_movers_go_from_the_largest_gain_to_the_largest_loss():
    gains = [Mover(" a", 0.1, 0.5), Mover("<b>", 0.0, 0.1), Mover("dust", 0.0, 0.005)]
    figure = next_token_movers(NextToken(gains, [Mover("x", 0.6, 0.1), Mover("\n", 0.2, 0.1)], 0.3, 1))
    unsteered, steered = figure.data
    assert (list(unsteered.x), list(steered.x)) == ([0.1, 0.0, 0.2, 0.6], [0.5, 0.1, 0.1, 0.1])
    assert list(figure.layout.yaxis.ticktext) == ["␣a", "&lt;b&gt;", "⏎", "x"]
    assert "probability" in figure.layout.xaxis.title.text and figure.layout.yaxis.title.text == "token"


@pytest.mark.parametrize(("finals", "lines"), [(["a", "b"], 4), (["a", "a"], 2)])
def test_the_lens_has_a_line_for_each_token_and_run(finals, lines):
    toward = [[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]]
    figure = lens_by_layer(Lens([["x", finals[0]], ["y", finals[1]]], [[0.1, 0.2], [0.7, 0.8]], finals, toward))
    assert len(figure.data) == lines and len({trace.name for trace in figure.data}) == lines
    assert [list(trace.y) for trace in figure.data[:2]] == [[0.1, 0.2], [0.5, 0.6]]
    assert "layer" in figure.layout.xaxis.title.text and "probability" in figure.layout.yaxis.title.text
