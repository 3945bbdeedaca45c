from dataclasses import make_dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from caa_core.contest.requests import ContestRequest, SurfaceRequest, ThinkingRequest, WrittenRequest
from caa_core.data.pairs import ContrastPair
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.requests import (
    EvaluationRequest,
    GateRequest,
    InspectionRequest,
    KnowledgeRequest,
    OpenQuestionsRequest,
    RefusalsRequest,
    StudyRequest,
)
from caa_core.metrics import cache
from caa_core.metrics.cache import key
from caa_core.metrics.vector_requests import ExtractionRequest, SteeringRequest
from caa_core.steering.interventions import Steer
from caa_core.steering.operations import Operation
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import LETTERS, TEXTS

MODEL = SimpleNamespace(
    name="tiny", fingerprint="f", precision="float32", device=torch.device("cpu"), template_sha256="t"
)
AT_LAYERS = {"layer": 2, "operation": "ablate", "spread": "1-2", "shares": "norm"}
# Requests, and another value of each of their options.
REQUESTS = {
    EvaluationRequest: {
        "layers": "2",
        "multipliers": "1",
        "positions": "all",
        "cue": "Answer:",
        "paper_counting": True,
        "counts": False,
        "controls": 1000,
        "exact_controls": 39,
        "prompts": True,
        "told": ["Be glad."],
        "operation": "cap:1",
        "by_methods": True,
        "together": True,
        "shares": "norm",
    },
    StudyRequest: {
        "layers": "2",
        "multipliers": "1",
        "positions": "all",
        "reads": "last",
        "cues": ["("],
        "asked": ["in a role"],
        "full": True,
        "controls": 3,
        "operation": "ablate",
    },
    OpenQuestionsRequest: {
        "multipliers": "1",
        "positions": "all",
        "system": "Be brief.",
        "max_new_tokens": 8,
        "temperature": 1.0,
        "seed": 1,
        **AT_LAYERS,
    },
    KnowledgeRequest: {"multipliers": "1", "positions": "all", "controls": 3, **AT_LAYERS},
    RefusalsRequest: {"multipliers": "2", "positions": "all", "controls": 3, "equal_cost": True, **AT_LAYERS},
    GateRequest: {"layer": 2, "positions": "all", "false_open": "0.05"},
    ContestRequest: {
        "positions": "all",
        "system": "Be brief.",
        "controls": 0,
        "second_voices": 40,
        "written_tokens": 8,
    },
    SurfaceRequest: {"multipliers_a": "1", "multipliers_b": "1", "layers_a": "2", "layers_b": "2"},
    ThinkingRequest: {"prompts": 3, "thoughts": 2, "tokens": 8, "seed": 1, "temperature": 1.0},
    WrittenRequest: {
        "positions": "all",
        "system": "Be brief.",
        "samples": 3,
        "max_new_tokens": 8,
        "temperature": 0.5,
        "seed": 1,
    },
    InspectionRequest: {"multiplier": 2.0, "positions": "all", "chat": False, **AT_LAYERS},
    ExtractionRequest: {"layers": "2", "letter_swap": True, "read": "last", "method": "pca", "name": "mine"},
    SteeringRequest: {
        "positions": "all",
        "system": "Be brief.",
        "max_new_tokens": 8,
        "temperature": 0.5,
        "seed": 1,
        "factors": "0,2",
        "operation": "ablate",
        "shares": "norm",
        "think": True,
        "gate": "joy:1:0.5",
    },
    PaperRequest: {
        "layers": "2",
        "multipliers": "1",
        "letter_swap": True,
        "controls": 3,
        "layer": 2,
        "counts": True,
        "pairs": 5,
        "items": 5,
        "seed": 0,
        "experiments": "layers",
        "positions": "all",
        "cue": "Answer:",
        "operation": "ablate",
    },
}
# What they are about, and what has no default.
ABOUT = {
    EvaluationRequest: {"data": TEXTS},
    StudyRequest: {"pairs": TEXTS, "items": TEXTS, "layers": "1"},
    OpenQuestionsRequest: {"questions": ("Why?",), "layer": 1},
    KnowledgeRequest: {"data": LETTERS, "layer": 1},
    RefusalsRequest: {"layer": 1},
    GateRequest: {"applies": TEXTS.pairs, "elsewhere": LETTERS.pairs, "layer": 1},
    ContestRequest: {"data": TEXTS},
    SurfaceRequest: {},
    ThinkingRequest: {},
    WrittenRequest: {"questions": ("Why?",), "directions": (), "held_out": ()},
    InspectionRequest: {"text": "Why?", "layer": 1, "multiplier": 1.0},
    ExtractionRequest: {"given": LETTERS},
    SteeringRequest: {"prompt": "Why?"},
    PaperRequest: {},
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
        {"precision": "bfloat16"},
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


@pytest.mark.parametrize("request_class", REQUESTS)
def test_every_option_counts(request_class):
    about, other = ABOUT[request_class], REQUESTS[request_class]
    assert other.keys() == request_class.options().keys() == request_class.parse(**about).settings().keys()
    requests = [request_class.parse(**{**about, name: value}) for name, value in other.items()]
    names = {key(MODEL, request) for request in [*requests, request_class.parse(**about)]}
    assert len(names) == 1 + len(other)


def test_what_is_measured_counts():
    assert key(MODEL, EvaluationRequest(data=TEXTS)) != key(MODEL, EvaluationRequest(data=LETTERS))


def test_vectors_count_with_their_numbers():
    one, other = torch.zeros(4), torch.tensor([0.0, 0, 0, 1e-9])
    names = {key(MODEL, Steer(vector, layer, m)) for vector in (one, other) for layer in (1, 2) for m in (1.0, 2.0)}
    names |= {key(MODEL, SteeringVector("v", {1: vector}, {}, Provenance())) for vector in (one, other)}
    names |= {key(MODEL, one.to(torch.bfloat16)), key(MODEL, one), key(MODEL, one[None])}
    assert len(names) == 13


def test_addition_has_the_name_that_it_had_before_there_were_operations():
    v = torch.ones(4)
    before = make_dataclass("Before", ["vector", "layer", "multiplier"])(v, 1, 2.0)
    assert key(MODEL, Steer(v, 1, 2.0)) == key(MODEL, before)
    assert (
        len({key(MODEL, Steer(v, 1, 2.0, Operation.parse(name))) for name in ("add", "ablate", "cap:0", "cap:1")}) == 4
    )


def test_what_has_no_content_has_no_name():
    with pytest.raises(TypeError, match="function has no name"):
        key(MODEL, lambda: 0)
