"""What is served and said before the app is there, and how it gets there sooner."""

import inspect
import socket
import sys
from types import ModuleType

import pytest
from gradio.components import Textbox

from caa_core.app.opening.importing import without_stubs
from caa_core.app.opening.ready import shipped
from caa_core.app.opening.waiting import Opening
from caa_core.progress import Progress
from tests.helpers.app import free_port, get


@pytest.fixture
def address(monkeypatch):
    port = free_port()
    monkeypatch.setenv("GRADIO_SERVER_NAME", "127.0.0.1")
    monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
    return "127.0.0.1", port


def test_it_says_on_page_and_terminal_what_goes_on_and_shows_what_was_made_before(address, capsys):
    opening = Opening("smollm2-135m")
    url = f"http://127.0.0.1:{address[1]}/"
    assert f"CAA Studio is starting at {url[:-1]}" in capsys.readouterr().err
    page, answers = get(url), shipped("steer")["exchanges"][0]["answers"]
    assert page.status_code == 503 and page.headers["retry-after"]
    assert "It is starting;" in page.text and "Made before" in page.text and "commit" in page.text
    assert all(answer[:40].replace("'", "&#x27;") in page.text for answer in answers)
    opening.say("Fetching <b>it</b> ...")
    assert "Fetching &lt;b&gt;it" in get(url).text and "Fetching <b>it</b> ..." in capsys.readouterr().err
    opening.say(Progress(4, "pairs", 4, 2))
    assert get(f"{url}health").json() == {"status": "starting", "said": opening.said} and "2 of 4" in opening.said
    opening.close()
    with socket.create_server(address):  # the app's from now on
        pass


def test_of_another_model_nothing_was_made_before(address):
    opening = Opening("another")
    assert "Made before" not in opening.page and "It is starting;" in opening.page
    opening.close()


def test_where_the_address_is_taken_it_is_said_on_the_terminal_alone(address, capsys):
    with socket.create_server(address):
        opening = Opening("smollm2-135m")
        opening.close()
    assert "CAA Studio is starting. The libraries" in capsys.readouterr().err


def test_gradio_writes_no_stubs_of_its_components(tmp_path, monkeypatch):
    """It does as soon as it may: else there is nothing to keep it from any more."""
    module, found = ModuleType("gradio.mine"), inspect.getfile
    module.__file__ = str(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    monkeypatch.setitem(sys.modules, "gradio.mine", module)

    def define():
        type(Textbox)("Mine", (Textbox,), {"__module__": "gradio.mine"})
        return (tmp_path / "mine.pyi").exists()

    with without_stubs():
        assert not define()
    assert inspect.getfile is found
    assert define()
