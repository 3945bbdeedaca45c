"""What vectors that other methods make of the same pairs do on the same cells."""

import pytest

from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.errors import InputError
from caa_core.measuring.evaluation import evaluate
from caa_core.measuring.requests import EvaluationRequest
from caa_core.progress import finish
from caa_core.reports.evaluation import effect_by_cost, front, methods_in, report_of
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import Provenance, SteeringVector

OTHERS = ("pca", "probe", "single")
ASKED = {"multipliers": "-1,1", "controls": 0, "layers": "1,2"}


@pytest.fixture
def pairs():
    return find_pairs("joy").first(5)


def evaluated(model, vector, pairs, **more):
    request = EvaluationRequest.parse(data=find_test_pairs("joy").first(4), made_from=pairs, **ASKED, **more)
    return finish(evaluate(model, request, vector))


def test_cells_of_other_methods_are_those_of_the_vectors_that_they_make(tiny_llama, pairs):
    vector = finish(extract(tiny_llama, pairs, [1, 2]))
    found = evaluated(tiny_llama, vector, pairs, by_methods=True)
    assert tuple(found.methods) == OTHERS
    for method, one in found.methods.items():
        alone = finish(extract(tiny_llama, pairs, [1, 2], method=method))
        assert one.vector.provenance.method == method and one.vector.sha256 == alone.sha256
        assert one.cells == evaluated(tiny_llama, alone, pairs).swept.cells != found.swept.cells
    kept = found.summary()
    assert methods_in(kept) == {method: list(one.cells) for method, one in found.methods.items()}
    by_cost = next(part.figure for part in report_of(kept).sections if part.title == "Effect against cost")
    assert {place[2] for trace in by_cost.data for place in trace.customdata or () if len(place) > 2} == {*OTHERS}


def test_the_front_goes_over_layers_and_methods(tiny_llama, pairs):
    found = evaluated(tiny_llama, finish(extract(tiny_llama, pairs, [1, 2])), pairs, by_methods=True)
    own, others = found.swept.cells, {method: one.cells for method, one in found.methods.items()}
    every = [*own, *(cell for cells in others.values() for cell in cells)]
    line = effect_by_cost(own, found.swept.unsteered, others).data[0]
    assert list(line.x) == [cell.kl for cell in front(every)] and list(line.x) == sorted(line.x)
    gains = [cell.difference.value * cell.multiplier for cell in every]
    assert max(line.y) == pytest.approx(max(gains))
    for cell, gain in zip(every, gains, strict=True):
        reached = [y for x, y in zip(line.x, line.y, strict=True) if x <= cell.kl]
        assert gain <= 0 or max(reached) >= gain - 1e-12


def test_without_its_pairs_that_is_said_before_anything_is_measured(tiny_llama, pairs):
    stranger = SteeringVector("theirs", finish(extract(tiny_llama, pairs, [1])).layers, {}, Provenance())
    request = EvaluationRequest.parse(data=pairs, layers="1", by_methods=True)
    with pytest.raises(InputError, match="pairs of theirs takes those pairs, which are not known here: give them"):
        next(evaluate(tiny_llama, request, stranger))
