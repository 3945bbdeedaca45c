import math

import gradio as gr
import pytest

from caa_core.app.programs import endpoints, tools
from caa_core.app.sessions import Person, Session
from caa_core.app.worker import Worker
from caa_core.progress import Progress

REQUIRED = object()
# What programs rely on: the arguments of each endpoint, in order, with their defaults.
PROMISED = {
    "/extract": {
        "file": None,
        "preset": "",
        "layers": "all",
        "limit": None,
        "name": "",
        "letter_swap": False,
        "read": "auto",
        "method": "mean-difference",
        "columns": "",
    },
    "/steer": {
        "prompt": REQUIRED,
        "steer": ["joy:12:1.5"],
        "vector_file": None,
        "system": "",
        "positions": "after-prompt",
        "max_new_tokens": 80,
        "temperature": 0,
        "seed": 0,
        "factors": "",
        "projections": False,
        "operation": "add",
        "shares": "equal",
        "think": False,
        "gate": "",
    },
    "/views": {
        "text": REQUIRED,
        "steer": "joy:12:1.5",
        "vector_file": None,
        "chat": True,
        "positions": "after-prompt",
        "cost": False,
        "operation": "add",
        "shares": "equal",
    },
    "/evaluate": {
        "vector": "joy",
        "vector_file": None,
        "data": "",
        "data_file": None,
        "layers": "",
        "multipliers": "",
        "positions": "after-prompt",
        "controls": 999,
        "counts": True,
        "paper_counting": False,
        "cue": "",
        "columns": "",
        "limit": None,
        "prompts": False,
        "told": "",
        "operation": "add",
        "by_methods": False,
        "together": False,
        "shares": "equal",
    },
    "/compete": {
        "a": "joy:12:1",
        "b": "gloom:12:1",
        "a_file": None,
        "b_file": None,
        "data": "",
        "data_file": None,
        "system_a": "",
        "system_b": "",
        "begin_a": "",
        "begin_b": "",
        "positions": "after-prompt",
        "controls": 999,
        "second_voices": 39,
        "surface": False,
        "multipliers": "",
        "layers": "",
        "system": "",
        "without_shared": False,
        "operation_a": "add",
        "operation_b": "add",
        "shares": "equal",
    },
    "/list_presets": {},
    "/describe_preset": {"preset": REQUIRED},
    "/steer_with_preset": {
        "preset": REQUIRED,
        "prompt": REQUIRED,
        "layer": None,
        "multiplier": None,
        "max_new_tokens": 60,
        "operation": "add",
    },
    "/measure_preset": {"preset": REQUIRED, "layer": None, "multiplier": None, "items": 12},
    "/compete_with_opposite": {"preset": REQUIRED, "layer": None, "multiplier": None, "multiplier_of_opposite": None},
}


@pytest.fixture(scope="module")
def described():
    with gr.Blocks() as demo:
        endpoints.build(None)  # which needs no model to say what it takes
        tools.build(None)
    return demo.get_api_info()["named_endpoints"]


def test_the_endpoints_are_those_that_were_promised(described):
    assert described.keys() == PROMISED.keys()


@pytest.mark.parametrize("name", PROMISED)
def test_arguments_keep_their_names_their_order_and_their_defaults(described, name):
    found = {
        one["parameter_name"]: one["parameter_default"] if one["parameter_has_default"] else REQUIRED
        for one in described[name]["parameters"]
    }
    assert list(found.items()) == list(PROMISED[name].items())


@pytest.mark.parametrize("name", PROMISED)
def test_arguments_that_are_files_are_uploaded(described, name):
    """gradio checks that what is named is an upload only where the component is a file."""
    for one in described[name]["parameters"]:
        is_file = one["parameter_name"] == "file" or one["parameter_name"].endswith("_file")
        assert (one["component"] == "File") == is_file


def test_what_is_answered_has_no_number_that_is_none():
    def work():
        yield Progress(1, "steps", 1)
        return {"perplexity": math.inf, "cells": [{"kl": math.nan}, 0.5]}

    session = Session(Person())
    answer = endpoints.outcome(session, Worker().submit(work))
    assert answer == {"perplexity": None, "cells": [{"kl": None}, 0.5]}
