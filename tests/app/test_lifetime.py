"""The app as a process: how it ends, and what is there when it starts again."""

import json
import signal
import threading
import time

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.app.test_app import PAIRS
from tests.helpers.app import App
from tests.helpers.models import save_tiny

LONG = {"prompt": "Tell me everything.", "steer": ["mine:1:1"], "max_new_tokens": 400}


@pytest.fixture
def start(tmp_path):
    """Start the app on a tiny model, with a library."""
    tiny = save_tiny(tmp_path / "tiny")
    begun = []

    def start(**settings):
        env = {"CAA_MODEL": str(tiny), "CAA_LIBRARY": str(tmp_path / "library"), "CAA_DTYPE": "float32", **settings}
        begun.append(App(env=env, log=tmp_path / f"log{len(begun)}.txt"))
        return begun[-1].wait()

    yield start
    for app in begun:
        if app.process.poll() is None:
            app.stop()


def busy(app):
    """Wait until a job runs."""
    end = time.monotonic() + 60
    while not httpx.get(f"{app.url}health").json()["queue"]["jobs"]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_end_in_the_middle_of_a_job_and_a_new_start(start, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(PAIRS))
    app = start(CAA_STOP_SECONDS="100")  # enough for all that runs, on any machine
    client = Client(app.url, verbose=False)
    client.predict(api_name="/extract", file=handle_file(tmp_path / "mine.json"), name="mine", layers="1")
    client.predict(api_name="/extract", file=handle_file(tmp_path / "mine.json"), name="broken", layers="1")
    answers = []
    asking = threading.Thread(target=lambda: answers.append(client.predict(api_name="/steer", **LONG)))
    asking.start()
    busy(app)
    app.process.send_signal(signal.SIGTERM)
    while (said := httpx.get(f"{app.url}health")).status_code == 200:
        time.sleep(0.01)
    assert said.status_code == 503 and said.json()["status"] == "ending"
    # What runs comes to its end, and nothing new begins.
    with pytest.raises(AppError, match="is being ended"):
        Client(app.url, verbose=False).predict(api_name="/steer", prompt="Hi", steer=["joy:1:1"], max_new_tokens=2)
    assert app.process.wait(120) == 0
    asking.join(20)
    assert answers and len(answers[0]["steered_tokens"]) > 10
    lines = [json.loads(line) for line in app.log.read_text().splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines] == ["serving", "ending", "ended"] and lines[-1]["stopped"] == 0

    (broken,) = (tmp_path / "library").glob("broken-*")
    broken.write_bytes(b"no vector")
    again = start(CAA_STOP_SECONDS="0")
    found = Client(again.url, verbose=False).predict(
        api_name="/steer", prompt="Hi", steer=["mine:1:4"], max_new_tokens=4
    )
    assert found["steered"]
    (aside,) = (tmp_path / "library").glob("broken-*")
    assert aside.name.endswith(".unreadable") and aside.read_bytes() == b"no vector"
    assert "was set aside" in again.log.read_text() and str(tmp_path) not in again.log.read_text()

    # This one has no time to wait for what runs.
    job = Client(again.url, verbose=False).submit(api_name="/steer", **LONG)
    busy(again)
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(60) == 0
    assert isinstance(job.exception(20), Exception)
    assert '"stopped": 1' in again.log.read_text()
