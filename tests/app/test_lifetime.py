"""The app as a process: how it ends, and what is there when it starts again."""

import json
import signal
import threading

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from tests.helpers.app import PAIRS, App, client_of, get
from tests.helpers.waiting import until

pytestmark = pytest.mark.long

LONG = {"prompt": "Tell me everything.", "steer": ["mine:1:1"], "max_new_tokens": 40}


@pytest.fixture
def hold(tmp_path):
    """While this file is there, jobs that run come to no end."""
    return tmp_path / "hold"


@pytest.fixture
def start(tiny_folder, hold, tmp_path):
    """Start the app on a tiny model, with a library."""
    begun = []
    always = {"CAA_MODEL": tiny_folder, "CAA_LIBRARY": str(tmp_path / "library"), "CAA_DTYPE": "float32"}

    def start(**settings):
        log = tmp_path / f"log{len(begun)}.txt"
        environment = {**always, "HOLD": str(hold), **settings}
        begun.append(App(env=environment, log=log, program="tests.helpers.held_app"))
        return begun[-1].wait()

    yield start
    for app in begun:
        if app.process.poll() is None:
            app.stop()


def health(app):
    return get(f"{app.url}health")


def busy(app):
    """Wait until a job runs."""
    until(lambda: health(app).json()["queue"]["jobs"])


def test_an_end_in_the_middle_of_a_job_and_a_new_start(start, hold, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(PAIRS))
    app = start(CAA_STOP_SECONDS="600")  # more than all that runs takes, on any machine
    assert f"CAA Studio is starting at {app.url[:-1]}" in app.log.read_text()
    client = client_of(app)
    client.predict(api_name="/extract", file=handle_file(tmp_path / "mine.json"), name="mine", layers="1")
    client.predict(api_name="/extract", file=handle_file(tmp_path / "mine.json"), name="broken", layers="1")
    answers = []
    hold.touch()
    asking = threading.Thread(target=lambda: answers.append(client.predict(api_name="/steer", **LONG)))
    asking.start()
    busy(app)
    app.process.send_signal(signal.SIGTERM)
    said = until(lambda: (said := health(app)).status_code != 200 and said)
    assert said.status_code == 503 and said.json()["status"] == "ending"
    # What runs comes to its end, and nothing new begins.
    with pytest.raises(AppError, match="is being ended"):
        client_of(app).predict(api_name="/steer", prompt="Hi", steer=["joy:1:1"], max_new_tokens=2)
    hold.unlink()
    assert app.process.wait(300) == 0
    asking.join(300)
    assert answers and len(answers[0]["steered_tokens"]) > 10
    lines = [json.loads(line) for line in app.log.read_text().splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines] == ["serving", "ending", "ended"] and lines[-1]["stopped"] == 0

    (broken,) = (tmp_path / "library").glob("broken-*")
    broken.write_bytes(b"no vector")
    again = start(CAA_STOP_SECONDS="0")
    found = client_of(again).predict(api_name="/steer", prompt="Hi", steer=["mine:1:4"], max_new_tokens=4)
    assert found["steered"]
    (aside,) = (tmp_path / "library").glob("broken-*")
    assert aside.name.endswith(".unreadable") and aside.read_bytes() == b"no vector"
    assert "was set aside" in again.log.read_text() and str(tmp_path) not in again.log.read_text()

    # This one has no time to wait for what runs.
    hold.touch()
    job = client_of(again).submit(api_name="/steer", **LONG)
    busy(again)
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(300) == 0
    assert isinstance(job.exception(300), Exception)
    assert '"stopped": 1' in again.log.read_text()
