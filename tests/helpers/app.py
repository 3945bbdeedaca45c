"""The app in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.helpers.places import ROOT


class App:
    """`python app.py` in a process of its own."""

    def __init__(self, python: str = sys.executable, env: dict[str, str] | None = None, log: Path | None = None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log = log
        settings = {"GRADIO_SERVER_PORT": str(self.port), "GRADIO_SERVER_NAME": "127.0.0.1"}
        with open(log or os.devnull, "wb") as out:
            self.process = subprocess.Popen(
                [python, "app.py"], cwd=ROOT, env={**os.environ, **settings, **(env or {})}, stdout=out, stderr=out
            )

    def wait(self, seconds: float = 240) -> "App":
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if httpx.get(self.url, timeout=5).status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.3)
        said = self.log.read_text() if self.log else ""
        raise RuntimeError(f"the app did not start (status {self.process.poll()}): {said[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
