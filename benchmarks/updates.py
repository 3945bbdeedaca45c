"""What the server itself does for an update of the page while two answers are written, beside gradio as it comes, and
beside its floor: a page of gradio's in which there is nothing but what an update changes.

`python -m benchmarks.updates`. It is the time of the processor of all threads but the one that runs the model, of
whatever model; the first two are measured in turns.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import gradio as gr
import psutil
from gradio.components import State

from app import launch
from benchmarks.ours import free_port
from caa_core.app.panels import common
from caa_core.app.studio import Studio
from caa_core.model.catalog import DEFAULT_MODEL

# Of each answer, as the page asks for by itself.
TOKENS = 80
# In a process of its own, so that its time is not counted: asks, and counts what comes.
VISITOR = """
import json, sys, urllib.request
url, asked = sys.argv[1] + "gradio_api/queue/", json.loads(sys.argv[2])
head = {"Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(url + "join?", json.dumps(asked).encode(), head)).read()
updates = 0
for line in urllib.request.urlopen(url + "data?session_hash=" + asked["session_hash"]):
    message = json.loads(line[5:]) if line.startswith(b"data:") else {}
    updates += message.get("msg") == "process_generating"
    if message.get("msg") == "process_completed":
        print(updates if message["success"] else 0)
        break
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="catalogue key or folder")
    options = parser.parse_args()
    common.SECONDS_BETWEEN_UPDATES = 0.0  # at every token, so that there are many
    page = launch(Studio(options.model, say=lambda _: None))
    here, plainly = page.postprocess_data, lambda *given: gr.Blocks.postprocess_data(page, *given)
    ways: dict[str, Callable[..., Any]] = {"here": here, "gradio as it comes": plainly}
    found = _rounds(page, ways, _asked(page), options.rounds)
    begun = time.monotonic()
    _an_update(page, {**_asked(page), "session_hash": "pace"})
    bare = _bare((time.monotonic() - begun) / TOKENS)
    page.close(verbose=False)  # a server that waits computes, too
    nothing = {"a page with nothing else": bare.postprocess_data}
    found |= _rounds(bare, nothing, {"data": [], "fn_index": 0}, options.rounds)
    print("| the server's own work for an update | median of", options.rounds, "|\n|---|---:|")
    for name, rounds in found.items():
        print(f"| {name} | {1000 * median(rounds):.1f} ms |")
    sys.stdout.flush()
    os._exit(0)


def _rounds(
    page: gr.Blocks, ways: dict[str, Callable[..., Any]], asked: dict[str, Any], rounds: int
) -> dict[str, list[float]]:
    """Seconds of the processor for an update by each way, in turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name, way in ways.items():
            page.postprocess_data = way  # type: ignore[method-assign]
            seconds = _an_update(page, {**asked, "session_hash": f"{name}-{number}".replace(" ", "-")})
            if number >= 0:  # the first makes what is made once
                found[name].append(seconds)
    return found


def _asked(page: gr.Blocks) -> dict[str, Any]:
    """What a visitor's page sends to have two answers written, as it opens."""
    (fn, *_) = (fn for fn in page.fns.values() if _of_steer(fn.fn))
    data = [None if isinstance(part, State) else getattr(part, "value", None) for part in fn.inputs]
    return {"data": data, "fn_index": fn._id}


def _bare(pace: float) -> gr.Blocks:
    """Two chats and a line, into which nothing of ours writes. pace: seconds that a token takes."""

    def write() -> Iterator[tuple[list[dict[str, str]], list[dict[str, str]], str]]:
        for count in range(1, TOKENS + 1):
            said = [{"role": "user", "content": "How was your day?"}, {"role": "assistant", "content": "word " * count}]
            yield said, said, f"{count} tokens"
            time.sleep(pace)

    with gr.Blocks() as page:
        outputs = [gr.Chatbot(), gr.Chatbot(), gr.Markdown()]
        gr.Button().click(write, None, outputs)
    page.queue().launch(prevent_thread_lock=True, quiet=True, server_port=free_port())
    return page


def _an_update(page: gr.Blocks, asked: dict[str, Any]) -> float:
    """Seconds of the processor for one of the updates of what a visitor asks for."""
    command = [sys.executable, "-c", VISITOR, str(page.local_url), json.dumps(asked)]
    before = _seconds()
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return (_seconds() - before) / int(said.stdout)


def _of_steer(function: Any) -> bool:
    return getattr(getattr(function, "__self__", None), "name", "") == "steer" and function.__name__ == "run"


def _seconds() -> float:
    """Of all threads but the one that runs the model, and those that compute for it."""
    (model,) = (one.native_id for one in threading.enumerate() if one.name == "caa-worker")
    ours = {one.native_id for one in threading.enumerate()} - {model}
    return sum(one.user_time + one.system_time for one in psutil.Process().threads() if one.id in ours)


if __name__ == "__main__":
    main()
