import math

from caa_core.measuring.costs.text import TextCost, TextCosts
from caa_core.reports.costs.text import costs_by_multiplier


def test_costs_have_the_unsteered_model_in_their_middle():
    figure = costs_by_multiplier(TextCosts(3, 10, 20.0, (TextCost(-1, 0.2, 30.0), TextCost(2, 0.9, math.inf))))
    kl, kl_bound, perplexity, bound = figure.data
    assert (list(kl.x), list(kl.y)) == ([-1, 0, 2], [0.2, 0, 0.9])
    assert list(perplexity.y) == [30, 20, None]
    # Behind the line a point that is not drawn makes room for its words.
    assert (list(kl_bound.y), list(bound.y)) == ([0.5] * 3 + [None, 0.625], [40] * 3 + [None, 50])
    assert list(kl_bound.x) == [-1, 0.5, 2, None, 0.5] and kl_bound.text == ("", "limit", "")
    assert "nats" in figure.layout.yaxis.title.text and figure.layout.xaxis2.title.text == "multiplier"
