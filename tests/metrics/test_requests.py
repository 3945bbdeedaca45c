import argparse

import pytest

from caa_core.cli.common import add_options, typed
from caa_core.errors import InputError
from caa_core.measuring.evaluation import EvaluationRequest
from caa_core.model.prompts import Cue
from caa_core.steering.interventions import Positions
from tests.helpers.data import TEXTS


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
        "controls": 20,
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": []}, "at least one layer"),
        ({"layers": 5}, "Layers: '5'"),
        ({"multipliers": "one"}, "'one' are not multipliers"),
        ({"multipliers": 1}, "Multipliers: '1'"),
        ({"multipliers": []}, "at least one multiplier"),
        ({"positions": "nowhere"}, "no steered positions 'nowhere'"),
        ({"positions": 3}, "Steered positions: '3'"),
        ({"controls": 100_000}, "Controls must be"),
        ({"controls": 2.5}, "The number of controls must be a whole number"),
        ({"controls": [1]}, "The number of controls must be a number"),
        ({"cue": "x" * 300}, "A cue has at most 200"),
    ],
)
def test_what_cannot_be_chosen_is_named(given, message):
    with pytest.raises(InputError, match=message):
        EvaluationRequest.parse(data=TEXTS, **given)


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ([], {}),
        (["--no-counts", "--paper-counting"], {"counts": False, "paper_counting": True}),
        (["--no-controls"], {"controls": 0}),
        (["--control-seeds", "3", "--layers", "2"], {"controls": 3, "layers": "2"}),
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
