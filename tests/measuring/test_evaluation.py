import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.errors import InputError
from caa_core.measuring.evaluation import KEPT, Evaluation, estimate_only, evaluate, pack, unpack
from caa_core.measuring.requests import EvaluationRequest
from caa_core.measuring.sweep import RunScores
from caa_core.measuring.vector_controls import SEED
from caa_core.measuring.verdict import NOT_YET, KeptNumbers
from caa_core.metrics.controls import random_controls
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.metrics.plain_data import plain
from caa_core.progress import finish
from caa_core.reports.evaluation import report_of
from caa_core.steering.gradients import gradients
from caa_core.steering.interventions import Steer
from caa_core.steering.operations import Operation
from caa_core.steering.scoring import score
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import A_HEAVY, PLANTED, TEXTS
from tests.helpers.vectors import towards


@pytest.fixture
def vector(tiny_llama):
    return finish(extract(tiny_llama, TEXTS, range(4)))


@pytest.fixture
def passes(tiny_llama, monkeypatch):
    """Counts what the model's first block reads from now on."""
    seen = []
    hook = tiny_llama.blocks[0]._module.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    hook.remove()


def ways(question, model, vector, known):
    """The evaluation at its end, and as it was shown on the way, after its maps of estimates."""
    shown = []
    found = finish(evaluate(model, question, vector, known), shown.append)
    shown = [event for event in shown if isinstance(event, Evaluation | EstimateMap)]
    maps = [event for event in shown if isinstance(event, EstimateMap)]
    assert shown[: len(maps)] == maps
    return found, shown[len(maps) :]


@pytest.mark.parametrize("data", [A_HEAVY, TEXTS], ids=["letters", "texts"])
def test_what_is_known_is_not_computed_again(tiny_llama, vector, passes, data):
    question = EvaluationRequest.parse(data=data, multipliers="-1,1", made_from=TEXTS)
    whole, shown = ways(question, tiny_llama, vector, KeptNumbers())
    assert [len(found.swept.cells) for found in shown] == [4, 8, 8]
    # The verdict is there with the layers that it is given on, which are measured first.
    assert {found.conclusion.text for found in shown} == {whole.conclusion.text} and whole.conclusion.verdict
    judged = {cell.layer for cell in whole.conclusion.verdict.cells}
    assert judged <= {cell.layer for cell in shown[0].swept.cells}
    needed = len(passes)

    # Stopped after the first layers, kept as text, and begun again.
    known = KeptNumbers()
    work = evaluate(tiny_llama, question, vector, known)
    assert next(event for event in work if isinstance(event, Evaluation)).swept.cells == shown[0].swept.cells
    work.close()
    known = unpack(json.loads(json.dumps(pack(known), allow_nan=False)))
    passes.clear()
    resumed, shown = ways(question, tiny_llama, vector, known)
    assert 0 < len(passes) < needed
    for one, other in zip(resumed.swept.cells, whole.swept.cells, strict=True):
        assert plain(one) == pytest.approx(plain(other), abs=1e-5)
    for kind in ("random", "shuffled"):
        assert getattr(resumed.conclusion.verdict, kind) == pytest.approx(
            getattr(whole.conclusion.verdict, kind), abs=1e-5
        )

    # The same again costs nothing, its controls neither.
    passes.clear()
    known = unpack(json.loads(json.dumps(pack(known))))
    again, _ = ways(question, tiny_llama, vector, known)
    assert not passes
    assert again.conclusion.text == resumed.conclusion.text and again.map == resumed.map

    # What was kept before there were shares of prompts is estimated anew.
    old = pack(known)
    old["first_order"] = {name: parts[:4] for name, parts in old["first_order"].items()}
    again, _ = ways(question, tiny_llama, vector, unpack(old))
    assert passes and again.conclusion.verdict.anti_steerable.random
    passes.clear()

    # Another multiplier only costs its own cells; other controls are measured anew.
    ways(EvaluationRequest.parse(data=data, layers="3", multipliers="-1,1,2", controls=0), tiny_llama, vector, known)
    assert 0 < len(passes) < needed
    passes.clear()
    ways(EvaluationRequest.parse(data=data, multipliers="-1,1", controls=1000), tiny_llama, vector, known)
    assert passes


def test_a_map_of_estimates_comes_before_anything_is_measured(tiny_llama):
    """By a few items beside random vectors, by all, and beside shuffled labels; each is a mean of the items' own."""
    vector, own = towards(tiny_llama, "!", ".", 2.0), replace(PLANTED, pairs=PLANTED.pairs[:6])
    question = EvaluationRequest.parse(data=PLANTED, multipliers="-1,0,1", made_from=own)
    shown = []
    found = finish(evaluate(tiny_llama, question, vector), shown.append)
    few, every, last = [event for event in shown if isinstance(event, EstimateMap)]
    assert last == found.map and EstimateMap.kept_in(json.loads(json.dumps(found.summary()))) == last
    assert [(one.items, one.of, one.layers[0].shuffled is None) for one in (few, every, last)] == [
        (4, 8, True),
        (8, 8, True),
        (8, 8, False),
    ]
    gradient = finish(gradients(tiny_llama, PLANTED.pairs, torch.full((1, 8), 1 / 8), [*vector.layers]))[0]
    expected = [float(gradient[i] @ vector.at(layer)) for i, layer in enumerate(vector.layers)]
    assert [one.value for one in last.layers] == pytest.approx(expected, rel=1e-3)
    assert last.furthest.is_told and few.furthest.p is None
    assert f"to first order, by 8 items, furthest beside controls at layer {last.furthest.layer}: +" in (
        str(last).lower()
    )
    assert "by the first 4 of 8 items" in str(few) and "It says nothing about what it costs" in str(few)
    # Beside the share of each cell that is pushed the wrong way: what controls push so at its layer, either way.
    assert few.layers[0].wrong_random is None and every.layers[0].wrong_shuffled is None
    cells = found.summary()["cells"]
    for down, still, up in zip(cells[::3], cells[1::3], cells[2::3], strict=True):
        (low, high), at = up["wrong_shuffled"], last.at(up["layer"])
        assert (low, high) == at.wrong_shuffled and tuple(up["wrong_random"]) == at.wrong_random
        assert down["wrong_shuffled"] == pytest.approx([1 - high, 1 - low]) and still["wrong_random"] is None


def test_without_controls_there_is_no_map_and_no_early_verdict(tiny_llama, vector):
    question = EvaluationRequest.parse(data=TEXTS, multipliers="1", controls=0)
    found, shown = ways(question, tiny_llama, vector, KeptNumbers())
    assert found.map is None and {one.conclusion.text for one in shown} == {NOT_YET}
    # What its pairs said before stands in the report all the same.
    report = report_of(json.loads(json.dumps(found.summary())))
    assert f"its pairs said: {vector.diagnostics}" in report.text
    assert str(vector.diagnostics) in next(one.text for one in report.sections if one.title == "Will it steer?")


def test_what_is_not_added_is_measured_by_passes_alone(tiny_llama):
    """Estimates hold for addition, and so does a verdict's p; what controls reach is measured by the same operation."""
    vector, ablate = towards(tiny_llama, "!", ".", 2.0), Operation("ablate")
    question = EvaluationRequest.parse(data=PLANTED, multipliers="1", exact_controls=39, operation="ablate")
    found = finish(evaluate(tiny_llama, question, vector))
    scores = finish(score(tiny_llama, PLANTED.pairs, [(Steer(vector.at(3), 3, 1.0, ablate),)]))
    change = (scores.preference[1] - scores.preference[0]).mean().item()
    assert found.swept.cells[0].difference.value == pytest.approx(change, abs=1e-5) and abs(change) > 0.01
    controls = random_controls(vector, [3], 39, SEED)
    scores = finish(score(tiny_llama, PLANTED.pairs, [(Steer(one[3], 3, 1.0, ablate),) for one in controls]))
    reached = (scores.preference[1:] - scores.preference[0]).mean(1)
    ((low, high),) = found.conclusion.verdict.exact
    assert (low, high) == pytest.approx((reached.min().item(), reached.max().item()), abs=1e-5)
    verdict = found.conclusion.verdict
    assert (found.map, verdict.p, verdict.grade) == (None, None, "not decided")
    assert found.conclusion.text.startswith("Not decided: There is no estimate of this operation: first-order ")
    drawn = f"{found.conclusion.verdict.exact_drawn} controls of each kind"
    assert f"By exact passes {drawn} reach {low:+.3f} to {high:+.3f}." in found.conclusion.text
    with pytest.raises(InputError, match="hold for vectors that are added"):
        finish(estimate_only(tiny_llama, question, vector))


@pytest.mark.parametrize(
    ("layers", "there"),
    [("all", [0, 1, 2, 3]), ("", [0, 1, 2, 3]), ("Middle third", [2]), ("every third", [1]), ("0,2-3", [0, 2, 3])],
)
def test_layers_in_words(tiny_llama, vector, layers, there):
    assert EvaluationRequest.parse(data=TEXTS, layers=layers).layers_of(vector, tiny_llama.num_layers) == there


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"multipliers": "one"}, "are not multipliers"),
        ({"positions": "nowhere"}, "no steered positions"),
        ({"controls": 100_000}, "Controls must be"),
        ({"cue": "x" * 300}, "at most 200"),
        ({"layers": "9"}, "no layer 9"),
        ({"layers": "middle"}, "'middle' is not a layer"),
    ],
)
def test_bad_settings_are_named(tiny_llama, vector, given, message):
    with pytest.raises(InputError, match=message):
        finish(evaluate(tiny_llama, EvaluationRequest.parse(data=TEXTS, **given), vector))


def test_a_vector_of_another_model_is_named_before_anything_is_estimated(tiny_llama):
    deep = SteeringVector("deep", {layer: torch.ones(tiny_llama.hidden_size) for layer in range(6)}, {}, Provenance())
    wide = SteeringVector("wide", {1: torch.ones(5)}, {}, Provenance())
    for vector, message in ((deep, "no layer 4"), (wide, "wide has hidden size 5 and belongs to another model")):
        for work in (evaluate, estimate_only):
            with pytest.raises(InputError, match=message):
                finish(work(tiny_llama, EvaluationRequest.parse(data=TEXTS), vector))


def test_a_vector_without_the_layers_is_named(tiny_llama):
    edge = SteeringVector("edge", {0: torch.ones(tiny_llama.hidden_size)}, {}, Provenance())
    with pytest.raises(InputError, match="edge has no layer in the middle third"):
        finish(evaluate(tiny_llama, EvaluationRequest.parse(data=TEXTS, layers="middle third"), edge))


def test_what_is_kept_has_an_end(tiny_llama):
    many = np.arange(100_000.0)
    readings = {str(i): RunScores(many, many, many, many, many.astype(int)) for i in range(4)}
    kept = pack(KeptNumbers(readings))
    assert list(kept["readings"]) == ["3"] and len(json.dumps(kept)) < KEPT * 1.1


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {},
        {"readings": {"a": 5}, "changes": {}},
        {"readings": {"a": ["!", "", "", "", ""]}, "changes": {}},
        {"readings": {}, "changes": {"a": [1]}},
        {"readings": {}, "changes": {}, "first_order": {"a": ["AAAA", "", ""]}},
        {"readings": {}, "changes": {}, "first_order": {"a": ["AAAAAAAAAAAAAAAA", "", "", 8]}},
    ],
)
def test_what_was_not_kept_by_us_is_refused(kept):
    with pytest.raises(InputError, match="cannot be read"):
        unpack(kept)
