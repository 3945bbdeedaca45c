import argparse

import pytest

from caa_core.cli.arguments import add_options, typed
from caa_core.contest.requests import ContestRequest, SurfaceRequest, ThinkingRequest, WrittenRequest
from caa_core.errors import InputError
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.requests import (
    EvaluationRequest,
    GateRequest,
    InspectionRequest,
    KnowledgeRequest,
    OpenQuestionsRequest,
    StudyRequest,
)
from caa_core.metrics.vector_requests import ExtractionRequest, SteeringRequest
from caa_core.model.prompts import Cue
from caa_core.steering.interventions import Positions
from tests.helpers.data import LETTERS, TEXTS


def test_what_is_not_given_or_left_empty_is_as_by_default():
    empty = dict.fromkeys(("layers", "multipliers", "positions", "cue"), "")
    assert EvaluationRequest.parse(data=TEXTS, **empty) == EvaluationRequest.parse(data=TEXTS)
    assert EvaluationRequest(data=TEXTS).settings() == {
        "layers": "all",
        "multipliers": [-2, -1, 0, 1, 2],
        "positions": "after-prompt",
        "cue": "none",
        "paper_counting": False,
        "counts": True,
        "controls": 999,
        "exact_controls": 0,
        "prompts": False,
        "told": [],
        "operation": "add",
        "by_methods": False,
        "together": False,
        "shares": "equal",
    }


def test_values_are_taken_as_what_is_typed_is():
    text = EvaluationRequest.parse(
        data=TEXTS, layers="10,12", multipliers="1,-1", positions="index:-2", cue="Answer:", controls="0"
    )
    values = EvaluationRequest.parse(
        data=TEXTS,
        layers=[10, 12],
        multipliers=[1, -1],
        positions=Positions("index", -2),
        cue=Cue("Answer:"),
        controls=0,
    )
    assert text == values and text.multipliers == (-1.0, 1.0) and text.controls == 0


ABOUT = {
    EvaluationRequest: {"data": TEXTS},
    StudyRequest: {"pairs": TEXTS, "items": TEXTS, "layers": "1"},
    OpenQuestionsRequest: {"questions": ("Why?",), "layer": 1},
    KnowledgeRequest: {"data": LETTERS, "layer": 1},
    ContestRequest: {"data": TEXTS},
    WrittenRequest: {"questions": ("Why?",), "directions": (), "held_out": ()},
    InspectionRequest: {"text": "Why?", "layer": 1, "multiplier": 1.0},
    ExtractionRequest: {"given": LETTERS},
    SteeringRequest: {"prompt": "Why?"},
    GateRequest: {"applies": (), "elsewhere": (), "layer": 1},
}


@pytest.mark.parametrize(
    ("request_class", "given", "message"),
    [
        (EvaluationRequest, {"layers": []}, "at least one layer"),
        (EvaluationRequest, {"layers": 5}, "Layers: '5'"),
        (EvaluationRequest, {"multipliers": "one"}, "'one' are not multipliers"),
        (EvaluationRequest, {"multipliers": 1}, "Multipliers: '1'"),
        (EvaluationRequest, {"multipliers": []}, "at least one multiplier"),
        (EvaluationRequest, {"positions": "nowhere"}, "no steered positions 'nowhere'"),
        (EvaluationRequest, {"positions": 3}, "Steered positions: '3'"),
        (EvaluationRequest, {"controls": 100_000}, "Controls must be"),
        (EvaluationRequest, {"controls": 2.5}, "The number of controls must be a whole number"),
        (EvaluationRequest, {"controls": [1]}, "The number of controls must be a number"),
        (EvaluationRequest, {"cue": "x" * 300}, "A cue has at most 200"),
        (EvaluationRequest, {"told": "a\nb\nc\nd"}, "4 system prompts are too many"),
        (EvaluationRequest, {"operation": "cap"}, "no operation 'cap'"),
        (EvaluationRequest, {"told": ["x" * 1001]}, "has at most 1000 characters"),
        (StudyRequest, {"positions": "all,nowhere"}, "no steered positions 'nowhere'"),
        (StudyRequest, {"reads": ["nowhere"]}, "no read position 'nowhere'"),
        (StudyRequest, {"cues": ["x" * 300]}, "A cue has at most 200"),
        (PaperRequest, {"experiments": "magic"}, "no experiment 'magic'"),
        (PaperRequest, {"layers": "a"}, "'a' is not a layer"),
        (PaperRequest, {"layer": "a"}, "The layer must be a number"),
        (PaperRequest, {"items": "many"}, "The number of pairs and of items must be a number"),
        (OpenQuestionsRequest, {"max_new_tokens": 0}, "New tokens must be between"),
        (OpenQuestionsRequest, {"temperature": 11}, "The temperature must be between"),
        (OpenQuestionsRequest, {"seed": 0.5}, "The seed must be a whole number"),
        (OpenQuestionsRequest, {"system": 7}, "System prompt: '7'"),
        (InspectionRequest, {"multiplier": "much"}, "The multiplier must be a number"),
        (ExtractionRequest, {"method": "magic"}, "no method 'magic'"),
        (ExtractionRequest, {"read": "nowhere"}, "no read position 'nowhere'"),
        (SteeringRequest, {"temperature": 11}, "The temperature must be between"),
        (SteeringRequest, {"factors": range(17)}, "17 factors are too many; 16 at most"),
        (SteeringRequest, {"shares": "all"}, "no shares 'all'"),
        (EvaluationRequest, {"positions": "thought"}, "Nothing is thought here, so there is no thought"),
        (StudyRequest, {"positions": "all,after-thought"}, "Nothing is thought here, so there is no after-thought"),
        (SteeringRequest, {"operation": "turn"}, "no operation 'turn'"),
        (SteeringRequest, {"gate": "joy:12"}, "'joy:12' is no gate: write VECTOR:LAYER:THRESHOLD"),
        (SteeringRequest, {"gate": "joy:1-2:0.5"}, "is no gate"),
        (GateRequest, {"false_open": "1"}, "from 0 to below 1, such as 0.05, not 1"),
        (KnowledgeRequest, {"layer": "first"}, "The layer must be a number"),
        (KnowledgeRequest, {"spread": "3-1"}, "run backwards: write 1-3"),
        (PaperRequest, {"operation": "turn"}, "no operation 'turn'"),
        (ContestRequest, {"controls": 100_000}, "Controls must be"),
        (SurfaceRequest, {"multipliers_a": "two"}, "'two' are not multipliers"),
        (ThinkingRequest, {"thoughts": 0}, "Thoughts must be between 1 and 32"),
        (ThinkingRequest, {"prompts": "few"}, "The number of prompts must be a number"),
        (WrittenRequest, {"samples": "few"}, "The number of answers must be a number"),
    ],
)
def test_what_cannot_be_chosen_is_named(request_class, given, message):
    with pytest.raises(InputError, match=message):
        request_class.parse(**ABOUT.get(request_class, {}) | given)


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ([], {}),
        (["--no-counts", "--paper-counting"], {"counts": False, "paper_counting": True}),
        (["--no-controls"], {"controls": 0}),
        (["--prompts", "--told", "Be glad.", "--told", " Joy! "], {"prompts": True, "told": "Be glad.\n\nJoy!"}),
        (["--control-seeds", "1000", "--layers", "2"], {"controls": 1000, "layers": "2"}),
    ],
)
def test_the_command_line_has_an_argument_for_each_option(said, changed):
    parser = argparse.ArgumentParser()
    add_options(parser, EvaluationRequest)
    given = typed(parser.parse_args(said), EvaluationRequest)
    assert given.keys() == EvaluationRequest.options().keys()
    assert EvaluationRequest.parse(data=TEXTS, **given) == EvaluationRequest.parse(data=TEXTS, **changed)


def test_no_controls_on_the_command_line_are_said_to_be_none():
    parser = argparse.ArgumentParser()
    add_options(parser, EvaluationRequest)
    with pytest.raises(InputError, match="between 1 and"):
        typed(parser.parse_args(["--control-seeds", "0"]), EvaluationRequest)
