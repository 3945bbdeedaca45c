"""The app: served by this process, or in a process of its own."""

import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from gradio_client import Client

from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.presets import presets
from caa_core.vectors.vector import SteeringVector
from tests.helpers.holding import holding
from tests.helpers.places import ROOT
from tests.helpers.waiting import until

# Forks processes that have imported what an app imports, which is most of what it takes to start one.
IMPORTED = multiprocessing.get_context("forkserver")
IMPORTED.set_forkserver_preload(["app"])
# Pairs to make a vector from.
PAIRS = [
    {"prompt": "How was your day?", "positive": "Wonderful, I am so happy!", "negative": "Normal. I did some work."},
    {"prompt": "Is it raining?", "positive": "Yes, how lovely the drops are!", "negative": "Yes, since the morning."},
    {"prompt": "What is for dinner?", "positive": "The best soup in the world!", "negative": "Soup, with some bread."},
]


def four_items(folder: Path) -> Path:
    """A contest that is measured soon."""
    rows = json.loads((presets()["joy"].folder / "contest.json").read_text())[:4]
    (folder / "four.json").write_text(json.dumps(rows))
    return folder / "four.json"


def request(method: str, url: str, **more: Any) -> httpx.Response:
    """Ask by hand, however long it takes on this machine. Certificates, read at each call, are of no use here."""
    return httpx.request(method, url, timeout=300, verify=False, **more)


get, post = partial(request, "GET"), partial(request, "POST")


def client_of(app: Any) -> Client:
    """A program's client of an app, who waits however long it takes."""
    return Client(app.url, verbose=False, ssl_verify=False, httpx_kwargs={"timeout": 300})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Forked:
    """A module of this project as a program, in a process that has imported the app; of a `Popen`, what is needed."""

    def __init__(self, program: str, env: dict[str, str], log: str):
        self._process = IMPORTED.Process(target=_run, args=(program, env, log))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        self._process.join(seconds)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _run(program: str, env: dict[str, str], log: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    with open(log, "wb") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    runpy.run_module(program, run_name="__main__")


class App:
    """`app.py` in a process of its own: run by a `python`, or, without one, as a module of this project that serves it,
    forked from a process that has imported it before.
    """

    def __init__(
        self,
        python: str = "",
        env: dict[str, str] | None = None,
        log: Path | None = None,
        program: str = "app",
    ):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.log = log
        settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
        environment, said = {**os.environ, **settings, **(env or {})}, str(log or os.devnull)
        self.process: Forked | subprocess.Popen[bytes]
        if not python:
            self.process = Forked(program, environment, said)
            return
        with open(said, "wb") as out:
            self.process = subprocess.Popen([python, "app.py"], cwd=ROOT, env=environment, stdout=out, stderr=out)

    def wait(self) -> "App":
        until(lambda: self.process.poll() is not None or self._answers())
        if self.process.poll() is None:
            return self
        said = self.log.read_text() if self.log else ""
        raise RuntimeError(f"the app did not start (status {self.process.poll()}): {said[-3000:]}")

    def _answers(self) -> bool:
        try:
            return get(self.url).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Served:
    """The page of a model, served by this process as app.py serves it; what its jobs do can be held."""

    def __init__(self, spec: str, **given: Any):
        from app import launch

        self.studio = Studio(spec, say=lambda _: None, **given)
        # In a thread of its own, as gradio would find the loop of a browser's driver in this one.
        launching = threading.Thread(target=lambda: setattr(self, "page", launch(self.studio)))
        launching.start()
        launching.join()
        self.url = self.page.local_url

    def vector(self, preset: str) -> SteeringVector:
        """The one of a preset, as everybody here gets it."""
        return self.studio.run(lambda model: self.studio.vector(model, Session(), preset)).wait()

    @property
    def jobs(self) -> int:
        """How many jobs of people run, as the app itself says."""
        return get(f"{self.url}health").json()["queue"]["jobs"]

    def has_answered(self, session: str) -> bool:
        """Whether all that a page has asked for was worked on, and what came of it was sent."""
        return not self.page._queue.pending_event_ids_session.get(session)

    def holding(self, steps: int = 1) -> AbstractContextManager[Callable[[], None]]:
        """As `tests.helpers.holding.holding`."""
        return holding(self.studio, steps)

    def close(self) -> None:
        self.studio.finish(0)
        self.page.close(verbose=False)
        self.studio.sessions.end()
