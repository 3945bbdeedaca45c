"""The page: builds it from the panels and launches it. Also the entry point of a Hugging Face Space."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app import endpoints, guards, logs
from caa_core.app.library import Library
from caa_core.app.panels import generate, inspection, models, steer
from caa_core.app.panels.common import QUIET, Updates, guarded
from caa_core.app.panels.contest import tab as contest
from caa_core.app.panels.lazily import lazily
from caa_core.app.panels.measuring import tab as measuring
from caa_core.app.panels.page import Page, draw_tabs
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.limits import IDLE, STOP, UPLOAD_MB, is_public
from caa_core.model.catalog import DEFAULT_MODEL

TITLE = "CAA Studio"
INTRO = (
    "Make a **steering vector** from pairs of answers that differ in one behaviour, add it to a language model while "
    "it writes, and compare. Contrastive Activation Addition, after "
    "[Panickssery et al.](https://arxiv.org/abs/2312.06681)"
)
TABS = (
    ("Steer", "steer", steer.build),
    ("Generate vectors", "generate", lazily(generate.build)),
    ("Compete", "compete", lazily(contest.build)),
    ("Measure", "measure", measuring.build),
    ("Look inside", "views", lazily(inspection.build)),
    ("Models", "models", lazily(models.build)),
)
# A page asks so often whether somebody has loaded another model.
SECONDS_BETWEEN_LOOKS = 5
# Handlers wait in threads for the one that runs the model; Stop must always get one.
THREADS = 200
SECONDS_BETWEEN_SWEEPS = 30
# What gradio needs to send the last word of a job that has ended.
SECONDS_TO_SEND = 1
CSS = """
.gradio-container { max-width: 1500px !important; margin: auto; }
#model-line { text-align: right; }
progress { appearance: none; width: 100%; height: 10px; border: 0; background: var(--border-color-primary); }
progress::-webkit-progress-bar { background: var(--border-color-primary); border-radius: 5px; }
progress::-webkit-progress-value { background: var(--primary-500); border-radius: 5px; }
progress::-moz-progress-bar { background: var(--primary-500); border-radius: 5px; }
#generate-preview, #model-list, .numbers { contain: inline-size; overflow-x: auto; }
:is(#compete-decomposition, #model-list, .numbers) :is(th, td) { border-color: var(--border-color-primary) !important; }
/* A toast says what went wrong; what was there stays to be seen. */
[data-testid="status-tracker"]:has(.error) { display: none !important; }
:is(#model-list, .numbers) table { width: 100%; }
/* A word is not broken into a column of letters; the table scrolls instead. */
.numbers :is(th, td) { overflow-wrap: normal !important; word-break: normal !important; }
#model-list :is(th, td) { white-space: nowrap; }
#model-load, #measure-steer { align-self: center; }
.papers ul { margin: 0; }
body { overflow-x: clip; }
/* Tabs that do not fit go into gradio's own menu, which looks at the width that it has. */
.tab-wrapper { contain: inline-size; }
/* Stop is red while there is something to stop. */
button.primary:enabled ~ button.stop {
    --button-cancel-background-fill: var(--button-secondary-background-fill);
    --button-cancel-background-fill-hover: var(--button-secondary-background-fill-hover);
    --button-cancel-border-color: var(--button-secondary-border-color);
    --button-cancel-border-color-hover: var(--button-secondary-border-color-hover);
    --button-cancel-text-color: var(--button-secondary-text-color);
}
.answers button[aria-label="Clear"] { display: none; }
.answers .message { font-size: var(--text-md); }
"""
log = logging.getLogger("caa_core")
THEME = gr.themes.Default(primary_hue="blue", neutral_hue="slate")


def build(studio: Studio) -> gr.Blocks:
    """The whole page around one studio."""
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(600, IDLE.value)) as blocks:
        with gr.Row(equal_height=True):
            with gr.Column(scale=3):
                gr.Markdown(f"# {TITLE}\n{INTRO}")
            with gr.Column(scale=3, min_width=340):
                line = gr.Markdown(models.describe(studio), elem_id="model-line")
        key = gr.BrowserState("", storage_key="caa-studio")  # by which a reload finds what the person has made
        page = Page(studio, blocks, line, gr.State(0), steer.controls(studio), gr.State(0))
        page.attach(draw_tabs(page, TABS))
        page.tell()
        endpoints.build(studio)
        restored = page.restored()

        @guarded
        def enter(request: gr.Request, known: Any, *values: Any) -> Updates:
            """Find out whose page it is, and show what they had."""
            found = {key: studio.sessions.enter(request.session_hash, known), line: models.describe(studio)}
            return found | restored.handler(request, *values)

        @guarded
        def look(request: gr.Request, shown: str) -> Any:
            """See whether somebody else has loaded another model."""
            page.session(request)  # is still in use
            line = models.describe(studio)
            return gr.skip() if line == shown else line

        def leave(request: gr.Request) -> None:
            studio.sessions.leave(request.session_hash)

        blocks.load(enter, [key, *restored.inputs], [key, line, *restored.outputs], **QUIET)
        gr.Timer(SECONDS_BETWEEN_LOOKS).tick(look, line, line, queue=False, **QUIET)
        blocks.unload(leave)
    return blocks


def main() -> None:
    """Load the model and serve until told to end.

    Host and port: GRADIO_SERVER_NAME, GRADIO_SERVER_PORT; model: CAA_MODEL; a folder that keeps what is made:
    CAA_LIBRARY, for an app that is not public.
    """
    logs.setup()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # there is nothing to lose yet
    # A folder of its own: what people upload and make is nobody else's on this machine, and goes with the app.
    files = tempfile.mkdtemp(prefix="caa-")
    os.environ["GRADIO_TEMP_DIR"] = files
    try:
        library = None if is_public() or not os.environ.get("CAA_LIBRARY") else Library(Path(os.environ["CAA_LIBRARY"]))
        serve(Studio(os.environ.get("CAA_MODEL", DEFAULT_MODEL), library=library))
    except InputError as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(files, ignore_errors=True)
    sys.stdout.flush()
    # Threads of the libraries that still wait for work would make the interpreter's own end a crash.
    os._exit(0)


def launch(studio: Studio) -> gr.Blocks:
    """Serve the page from a thread of its own."""
    guards.install_guards()
    page = build(studio).queue(default_concurrency_limit=None, api_open=False)
    page.launch(
        theme=THEME,
        css=CSS,
        footer_links=["api"],
        max_threads=THREADS,
        max_file_size=f"{UPLOAD_MB.value}mb",
        run_history=False,  # it would ask the hub for whoever asks, with the owner's token
        enable_monitoring=False,
        app_kwargs=guards.settings(studio),
        prevent_thread_lock=True,
    )
    return page


def serve(studio: Studio) -> None:
    """Serve the page until the process is told to end; then let running jobs come to theirs."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    page = launch(studio)
    log.info("serving", extra={"model": studio.model.name, "public": is_public()})
    while not told.wait(SECONDS_BETWEEN_SWEEPS):
        for closed in studio.sessions.sweep():
            page.state_holder.delete_state(closed)
    log.info("ending", extra={"jobs": len(studio.sessions.running()), "seconds": STOP.value})
    stopped = studio.finish(STOP.value)
    told.clear()
    told.wait(SECONDS_TO_SEND)
    page.close(verbose=False)
    studio.sessions.end()
    log.info("ended", extra={"stopped": stopped})


if __name__ == "__main__":
    main()
