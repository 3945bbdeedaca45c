from caa_core.measuring.costs.refusals import HARMFUL, HARMLESS
from caa_core.reports.costs.refusals import APART, refusals_by_multiplier
from caa_core.vectors.diagnostics import Overlap
from tests.measuring.costs.test_refusals import planted


def test_both_kinds_stand_beside_each_other_above_how_far_random_vectors_go():
    found = planted((1, 15), (1, 3))
    found.overlap.update({3: Overlap(0.2, None, None, (-0.1, 0.1)), 4: Overlap(-0.4, None, None, None)})
    figure = refusals_by_multiplier(found)
    kinds = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert list(kinds) == [HARMLESS, HARMFUL]
    assert (list(kinds[HARMFUL].x), list(kinds[HARMFUL].y)) == ([APART, 1.5 + APART], [0.75, 0.15])
    reached = [trace.y for trace in figure.data if trace.mode == "lines" and trace.line.width == 12]
    assert [tuple(round(end, 2) for end in ends) for ends in reached] == [(0.0, 0.1), (0.7, 0.8)]
    (cosines,) = (trace for trace in figure.data if trace.mode == "lines+markers")
    assert (list(cosines.x), list(cosines.y)) == ([3, 4], [0.2, -0.4])
