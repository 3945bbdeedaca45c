"""The app whose jobs run in another process, as on ZeroGPU: a stand-in forks it."""

import json
import sys
from types import ModuleType

import gradio as gr
import pytest

from caa_core.data.presets import presets
from caa_core.errors import InputError
from tests.helpers.app import PAIRS, Served, client_of, four_items


@pytest.fixture
def app(tiny_folder, gradio_files, runner, monkeypatch):
    monkeypatch.setenv("CAA_DTYPE", "float32")
    app = Served(tiny_folder, elsewhere=runner)
    yield app
    app.close()


def test_every_endpoint_answers_as_on_an_app_that_does_it_itself(app, tiny_app, lender, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(PAIRS))
    held_out = tmp_path / "held_out.json"
    held_out.write_text(json.dumps(json.loads((presets()["joy"].folder / "test.json").read_text())[:3]))
    from gradio_client import handle_file

    mine, items, four = (handle_file(str(path)) for path in (tmp_path / "mine.json", held_out, four_items(tmp_path)))

    def all_of(client):
        made = client.predict(api_name="/extract", file=mine, name="mine")[1]
        steered = client.predict(api_name="/steer", prompt="Hi", steer=["mine:2:1.5"], max_new_tokens=8)
        inside = client.predict(api_name="/views", text="Hi", steer="mine:2:1.5")
        chosen = {"layers": "1,2", "multipliers": "-1,1", "controls": 0, "counts": False}
        found = client.predict(api_name="/evaluate", vector="mine", data_file=items, **chosen)
        voices = {"a": "mine:1:1", "b": "mine:3:-2", "controls": 0}
        won = client.predict(api_name="/compete", data_file=four, **voices)
        return made["layers"], steered, inside["lens"], [cell["kl"] for cell in found["cells"]], won["verdict"]

    here = all_of(client_of(tiny_app))
    assert len(lender.asked) == 0
    there = all_of(client_of(app))
    assert len(lender.asked) >= 5  # one job for each, and a vector is none where it was made
    assert there[1] == here[1] and there[2] == here[2] and there[4] == here[4]
    assert there[3] == pytest.approx(here[3], abs=1e-6)


def test_what_zero_gpu_answers_is_said_in_a_sentence(monkeypatch):
    """The package is on ZeroGPU alone; this one lends nothing."""
    import app

    def refuses(duration):
        def decorate(task):
            def handler(*given):
                raise gr.Error("You have exceeded your quota. <a href='https://x'>Log in</a>")
                yield

            return handler

        return decorate

    spaces = ModuleType("spaces")
    spaces.GPU = refuses
    monkeypatch.setattr(app, "spaces", spaces, raising=False)
    for name in ("CAA_DEVICE", "CAA_DTYPE"):
        monkeypatch.setenv(name, "cpu")
    with pytest.raises(InputError, match=r"No GPU was lent .*: You have exceeded your quota\. Log in$"):
        next(app.lent_gpu()(None))


def test_nothing_of_zero_gpu_is_imported_elsewhere():
    assert "spaces" not in sys.modules
