import math

import pytest

from caa_core.measuring.cost import TextCost, TextCosts
from caa_core.measuring.inspection import Lens, Mover, NextToken
from caa_core.reports.cost import costs_by_multiplier
from caa_core.reports.inspection import lens_by_layer, next_token_movers


def test_movers_go_from_the_largest_gain_to_the_largest_loss():
    gains = [Mover(" a", 0.1, 0.5), Mover("<b>", 0.0, 0.1)]
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


def test_costs_have_the_unsteered_model_in_their_middle():
    figure = costs_by_multiplier(TextCosts(3, 10, 20.0, (TextCost(-1, 0.2, 30.0), TextCost(2, 0.9, math.inf))))
    kl, kl_bound, perplexity, bound = figure.data
    assert (list(kl.x), list(kl.y)) == ([-1, 0, 2], [0.2, 0, 0.9])
    assert list(perplexity.y) == [30, 20, None]
    # Behind the line a point that is not drawn makes room for its words.
    assert (list(kl_bound.y), list(bound.y)) == ([0.5] * 3 + [None, 0.625], [40] * 3 + [None, 50])
    assert list(kl_bound.x) == [-1, 0.5, 2, None, 0.5] and kl_bound.text == ("", "safe below", "")
    assert "nats" in figure.layout.yaxis.title.text and figure.layout.xaxis2.title.text == "multiplier"
