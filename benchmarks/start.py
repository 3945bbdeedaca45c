"""How long the app takes to start, beside the least that it could: importing the libraries and reading the weights."""

import os
import subprocess
import sys
import time
import urllib.request

import psutil

from benchmarks.ours import DTYPES, free_port, seconds
from benchmarks.results import Part, medians
from caa_core.model.catalog import DEFAULT_MODEL, locate

LEAST = """
import accelerate, gradio, nnsight, plotly, torch, transformers
transformers.AutoModelForCausalLM.from_pretrained({folder!r}, dtype=torch.{dtype})
transformers.AutoTokenizer.from_pretrained({folder!r})
"""
# The first load is when the libraries import what they need for it.
LOAD = """
import time
from caa_core.model.loading import load
load({model!r}, "{dtype}")
begun = time.process_time()
load({model!r}, "{dtype}")
print(time.process_time() - begun)
"""


def measure(rounds: int) -> Part:
    """A warm start: the converted weights lie in the cache."""
    folder = str(locate(DEFAULT_MODEL).location)
    least = [sys.executable, "-c", LEAST.format(folder=folder, dtype=DTYPES[0])]
    works = {
        "libraries and weights alone": lambda: seconds(lambda: subprocess.run(least, check=True, capture_output=True)),
        "CAA Studio, until its page is served": lambda: seconds(_serve),
        "reading the embedded model, seconds of CPU": _load,
    }
    found = medians(rounds, works)
    alone, page, load = found.values()
    part, megabytes = Part(rounds), _serve()
    part.add(f"warm start, {DTYPES[0]}", **found)
    part.claim("from a start to the whole page, the model in the cache, s", "≤ 10", page)
    part.claim("memory of the whole app at rest, MB", "≤ 2000", megabytes)
    part.claim("warm start to a page over importing the libraries and reading the weights alone", "≤ 1.5", page / alone)
    part.claim("seconds of CPU to load the converted embedded model", "≤ 1", load)
    return part


def _load() -> float:
    command = [sys.executable, "-c", LOAD.format(model=DEFAULT_MODEL, dtype=DTYPES[0])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _serve() -> float:
    """Start the app and ask for its page until it comes. Gives MB of memory that it takes then."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    app = subprocess.Popen(
        [sys.executable, "app.py"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).read()
                return psutil.Process(app.pid).memory_info().rss / 1e6
            except OSError:  # not there yet, or starting
                if app.poll() is not None:
                    raise
                time.sleep(0.02)
    finally:
        app.kill()
        app.wait()
