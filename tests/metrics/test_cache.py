from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from caa_core.data.pairs import ContrastPair
from caa_core.measuring.evaluation import EvaluationRequest
from caa_core.metrics import cache
from caa_core.metrics.cache import key
from caa_core.steering.interventions import Steer
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import LETTERS, TEXTS

MODEL = SimpleNamespace(
    name="tiny", fingerprint="f", dtype=torch.float32, device=torch.device("cpu"), template_sha256="t"
)
# Another value of each option.
OTHER = {
    "layers": "2",
    "multipliers": "1",
    "positions": "all",
    "cue": "Answer:",
    "paper_counting": True,
    "counts": False,
    "controls": 3,
}


def test_what_is_the_same_has_the_same_name():
    again = EvaluationRequest.parse(data=replace(TEXTS), multipliers=[2, 1, 0, -1, -2])
    assert key(MODEL, EvaluationRequest(data=TEXTS)) == key(MODEL, again)
    moved = ContrastPair("?", "a", "b", line=7)
    assert key(MODEL, ContrastPair("?", "a", "b", line=1)) == key(MODEL, moved)


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": "g"},
        {"dtype": torch.bfloat16},
        {"device": torch.device("cuda")},
        {"template_sha256": "u"},
    ],
)
def test_another_model_or_machine_is_another_name(changed):
    assert key(SimpleNamespace(**{**vars(MODEL), **changed}), "x") != key(MODEL, "x")


@pytest.mark.parametrize(("part", "value"), [("FORMAT", -1), ("__version__", "another")])
def test_another_version_is_another_name(monkeypatch, part, value):
    before = key(MODEL, "x")
    monkeypatch.setattr(cache, part, value)
    assert key(MODEL, "x") != before


def test_every_option_counts():
    assert OTHER.keys() == EvaluationRequest.options().keys()
    requests = [EvaluationRequest.parse(data=TEXTS, **{name: value}) for name, value in OTHER.items()]
    requests += [EvaluationRequest(data=TEXTS), EvaluationRequest(data=LETTERS)]
    assert len({key(MODEL, request) for request in requests}) == len(requests)


def test_vectors_count_with_their_numbers():
    one, other = torch.zeros(4), torch.tensor([0.0, 0, 0, 1e-9])
    names = {key(MODEL, Steer(vector, layer, m)) for vector in (one, other) for layer in (1, 2) for m in (1.0, 2.0)}
    names |= {key(MODEL, SteeringVector("v", {1: vector}, {}, Provenance())) for vector in (one, other)}
    names |= {key(MODEL, one.to(torch.bfloat16)), key(MODEL, one), key(MODEL, one[None])}
    assert len(names) == 13


def test_what_has_no_content_has_no_name():
    with pytest.raises(TypeError, match="function has no name"):
        key(MODEL, lambda: 0)
