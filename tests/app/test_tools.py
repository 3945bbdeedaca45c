"""Tools for agents: what each gives, what it refuses, and what an agent is told of it."""

import gradio as gr
import pytest
from gradio.utils import get_function_description
from gradio_client.exceptions import AppError

from caa_core.app.programs import tools
from caa_core.data.presets import presets
from tests.helpers.app import client_of


@pytest.fixture
def call(tiny_app):
    client = client_of(tiny_app)
    return lambda name, **given: client.predict(api_name=f"/{name}", **given)


def test_presets_are_listed_and_described(call):
    found = call("list_presets")
    assert found["model"]["layers"] == 4
    assert [one["name"] for one in found["presets"]] == [*presets()]
    assert all(one["shown"].startswith("Tested on 18 new prompts. ") for one in found["presets"])
    said = {one["name"]: one["shown"] for one in found["presets"]}
    assert "An effect, with the vector." in said["joy"] and "Not decided." in said["french"]
    joy = call("describe_preset", preset="joy")
    assert joy.items() >= next(one for one in found["presets"] if one["name"] == "joy").items()
    assert len(joy["examples"]) == 3 and joy["pairs"] == len(presets()["joy"].dataset().pairs)
    assert [row["layer"] for row in joy["vector"]["layers"]] == [0, 1, 2, 3]


def test_a_preset_steers_as_steer_does(call):
    asked = {"preset": "joy", "prompt": "Rain?", "layer": 1, "multiplier": 2.5, "max_new_tokens": 8}
    written = {"prompt": "Rain?", "steer": ["joy:1:2.5"], "max_new_tokens": 8}
    found, same = call("steer_with_preset", **asked), call("steer", **written)
    assert (found["unsteered"], found["steered"]) == (same["unsteered"], same["steered"])
    assert (found["layer"], found["multiplier"]) == (1, 2.5) and found["relative_strength"] > 0
    found = call("steer_with_preset", **asked, operation="ablate")
    same = call("steer", **written, operation="ablate")
    assert found["steered"] == same["steered"] and found["relative_strength"] is None
    # Made for another model: its own multiplier, and a layer towards the middle.
    found = call("steer_with_preset", preset="joy", prompt="Rain?", max_new_tokens=1)
    assert (found["layer"], found["multiplier"]) == (1, presets()["joy"].multiplier)


def test_a_preset_is_measured_as_evaluate_does(call):
    found = call("measure_preset", preset="joy", layer=2, multiplier=-1, items=4)
    asked = {"vector": "joy", "data": "joy", "layers": "2", "multipliers": "-1,1", "limit": 4, "counts": False}
    same = call("evaluate", **asked)
    assert found["verdict"] == same["verdict"]["text"] and found["items"] == 4
    assert found["cells"] == same["cells"] and [cell["multiplier"] for cell in found["cells"]] == [-1, 1]


def test_opposites_compete_as_compete_does(call):
    found = call("compete_with_opposite", preset="joy", layer=2, multiplier=0.5, multiplier_of_opposite=1)
    same = call("compete", a="joy:2:0.5", b="gloom:2:1", data="joy", second_voices=0)
    for name in ("verdict", "dominance", "delta_a", "delta_b", "delta_ab"):
        assert found[name] == same[name]
    assert (found["a"], found["b"], found["layer"]) == ("joy", "gloom", 2)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("describe_preset", {"preset": "/etc/passwd"}, "There is no preset '/etc/passwd'"),
        ("describe_preset", {"preset": "JOY"}, "There is no preset 'JOY'"),
        ("steer_with_preset", {"preset": "joy", "prompt": "Hi", "layer": 4}, "no layer 4"),
        ("steer_with_preset", {"preset": "joy", "prompt": "Hi", "multiplier": 9}, "out of range"),
        ("steer_with_preset", {"preset": "joy", "prompt": "Hi", "operation": "turn"}, "no operation 'turn'"),
        ("steer_with_preset", {"preset": "joy", "prompt": "Hi", "max_new_tokens": 201}, "200 at most"),
        ("measure_preset", {"preset": "joy", "items": 19}, "18 at most"),
        ("measure_preset", {"preset": "joy", "multiplier": 0}, "changes nothing"),
        ("compete_with_opposite", {"preset": "joy", "multiplier": -8.5}, "out of range"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(call, name, given, said):
    with pytest.raises(AppError, match=said):
        call(name, **given)


@pytest.mark.parametrize("name", tools.TOOLS)
def test_an_agent_is_told_what_a_tool_and_each_argument_is(name):
    with gr.Blocks() as demo:
        tools.build(None)
    assert {fn.api_name for fn in demo.fns.values()} == {*tools.TOOLS}
    description, arguments, _ = get_function_description(getattr(tools.Tools, name))
    asked = demo.get_api_info()["named_endpoints"][f"/{name}"]["parameters"]
    assert description.endswith(".") and len(description) > 80
    for one in asked:
        assert arguments[one["parameter_name"]], one
        assert one["component"] != "File" and one["type"]["type"] in ("string", "integer", "number")
        assert one["parameter_name"] != "preset" or one["type"]["enum"] == [*presets()]
