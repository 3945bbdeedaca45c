"""The page: builds it from the panels and launches it. Also the entry point of a Hugging Face Space."""

import os

# On ZeroGPU, before anything that it changes is imported: torch, and gradio.
if ZERO_GPU := os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true"):
    import spaces

from caa_core.app.opening.importing import without_stubs
from caa_core.app.opening.waiting import Opening
from caa_core.model.catalog import DEFAULT_MODEL

MODEL = os.environ.get("CAA_MODEL", DEFAULT_MODEL)
# What is imported below takes a while, in which nobody should sit before a silent terminal and no page.
if __name__ == "__main__":
    opening = Opening(MODEL)

import logging
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

with without_stubs():
    import gradio as gr

from starlette.middleware import Middleware

from caa_core.app import files, guards, traffic
from caa_core.app.keys.classrooms import Rules
from caa_core.app.library import Library, Shelves
from caa_core.app.opening import accessibility, address, logs
from caa_core.app.opening.languages import leaving
from caa_core.app.opening.languages.parts import said
from caa_core.app.panels import glossary
from caa_core.app.panels.common import QUIET, Updates, guarded
from caa_core.app.panels.contest import tab as contest
from caa_core.app.panels.generate import tab as generate
from caa_core.app.panels.hosting import models
from caa_core.app.panels.layout import CONTRAST, FITTED, FOCUS, LAYOUT, LED, TEXT, to_tab
from caa_core.app.panels.lazily import lazily
from caa_core.app.panels.learn import board, class_tab, in_class
from caa_core.app.panels.learn import tab as learn
from caa_core.app.panels.learn.class_file import read_class
from caa_core.app.panels.made_with import take_link
from caa_core.app.panels.measuring import inspection
from caa_core.app.panels.measuring import tab as measuring
from caa_core.app.panels.page import Page, draw_tabs
from caa_core.app.panels.steer import look, strip
from caa_core.app.panels.steer import tab as steer
from caa_core.app.programs import completions, endpoints, tools
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.limits import GRACE, IDLE, KEPT_DAYS, STOP, UPLOAD_MB, is_public, serves_agents
from caa_core.model.elsewhere import Errand, Runner, run_errand
from caa_core.model.machine import open_more, trim
from caa_core.progress import tell
from caa_core.remote.host import Host

TITLE = "CAA Studio"
INTRO = (
    "Make a **steering vector** from pairs of answers, and add it while the model writes "
    "([CAA](https://arxiv.org/abs/2312.06681))."
)
TABS = (
    ("Steer", "steer", steer.build),
    ("Generate vectors", "generate", lazily(generate.build)),
    ("Compete", "compete", lazily(contest.build)),
    ("Measure", "measure", measuring.build),
    ("Look inside", "views", lazily(inspection.build)),
    ("Learn", "learn", lazily(learn.build)),
    ("Class", "class", lazily(class_tab.build)),
    ("Models", "models", lazily(models.build)),
)
STARTED_ANEW = (
    "**The app was started anew since this page was opened**, so nothing that is pressed here works any more. Reload "
    "the page: what was kept of yours is found again."
)
NOT_KEPT = (
    "**What you made here before is not there any more**: the app was started anew since, or nobody had asked for it "
    "for long. Files that you downloaded can be brought back."
)
NOBODY_MEANS_IT = "A small model that is steered may write what nobody means, hurtful things among it."
NO_ANSWER = "The app does not answer: it may be starting, asleep, or out of reach. This page goes on when it is back."
# While the app does not answer, one sentence stands on the page, in place of an error at each question.
LISTEN = """() => {
  const said = document.createElement('div');
  said.id = 'no-answer';
  said.setAttribute('role', 'status');
  said.textContent = %s;
  let missed = 0;
  setInterval(async () => {
    try { missed = (await fetch('health', { cache: 'no-store' })).status < 502 ? 0 : missed + 1; }
    catch { missed += 1; }
    if (missed > 1) document.body.append(said); else said.remove();
  }, %d);
}"""
# A page asks whether somebody has loaded another model.
SECONDS_BETWEEN_LOOKS = 5
# So often gradio looks whether somebody asked for something, through a line of each thing that anybody can ask for. By
# itself it does so a thousand times a second, for which an idle app took 7 % of a processor, and takes 2 % now.
SECONDS_BETWEEN_LINES = 0.02
SECONDS_BETWEEN_SWEEPS = 5
# In sweeps: so often files go, and memory that was freed is given back.
BETWEEN_CLEANINGS = 6
# What gradio needs to send the last word of a job that has ended.
SECONDS_TO_SEND = 1
# gradio puts each selector under its own, by its commas.
CSS = """
/* As wide as it may be, whatever stands in it. */
.gradio-container { width: 100% !important; max-width: 1500px !important; margin: auto; }
/* Not hidden, in which nothing could stay where it is while the page scrolls. */
.gradio-container { overflow: clip !important; }
#model-line { text-align: right; }
#no-answer, #started-anew { background: #E69F00; color: black; border-radius: 8px; padding: 8px 14px; }
#no-answer { position: fixed; z-index: 1000; top: 12px; left: 50%; transform: translateX(-50%); max-width: 90vw; }
#started-anew { align-items: center; position: sticky; top: 0; z-index: 999; }
#started-anew * { color: black; }
/* gradio's own words about the same. */
body:has(#no-answer) .toast-wrap { display: none; }
progress { appearance: none; width: 100%; height: 10px; border: 0; background: var(--border-color-primary); }
progress::-webkit-progress-bar { background: var(--border-color-primary); border-radius: 5px; }
progress::-webkit-progress-value { background: var(--primary-500); border-radius: 5px; }
progress::-moz-progress-bar { background: var(--primary-500); border-radius: 5px; }
#generate-preview, #model-list, .numbers { contain: inline-size; overflow-x: auto; }
.prose :is(th, td) { border-color: var(--border-color-primary) !important; }
/* A toast says what went wrong; what was there stays to be seen. */
[data-testid="status-tracker"]:has(.error) { display: none !important; }
:is(#model-list, .numbers) table { width: 100%; }
/* A word is not broken into a column of letters; the table scrolls instead. */
:is(.numbers, .virtual-table-viewport) :is(th, td, .header) { overflow-wrap: normal !important; }
:is(.numbers, .virtual-table-viewport) :is(th, td, .header) { word-break: normal !important; }
#model-list :is(th, td):not(:nth-child(5), :nth-child(7)) { white-space: nowrap; }
#model-load, #measure-steer { align-self: center; }
.table-wrap :is(table, .virtual-row, [role=gridcell], .cell-wrap) { font-family: inherit !important; }
.table-wrap { font-variant-numeric: tabular-nums; }
/* What a section came to stands in its title, which is no paragraph. */
[id^=compete-] > .label-wrap > span:first-child { display: -webkit-box; -webkit-box-orient: vertical; }
[id^=compete-] > .label-wrap > span:first-child { -webkit-line-clamp: 3; overflow: hidden; padding-right: 8px; }
/* What was predicted beside what came out: halves, in each step. */
#learn-result table { table-layout: fixed; width: 100%; }
.papers ul { margin: 0; }
#foot { margin-top: 12px; }
#foot * { color: var(--body-text-color-subdued); }
#foot p { margin: 0; }
#class-line { border-left: 4px solid #2585C2; padding-left: .6em; }
body { overflow-x: clip; }
/* Tabs that do not fit go into gradio's own menu, which looks at the width that it has. */
.tab-wrapper { contain: inline-size; }
/* What is shown was made with other settings than those that are chosen: it pales until they are the same again. */
.block.made:not(:has([class^="made-"])) { display: none; }
.block.made { font-size: var(--text-sm); }
:is(.made, #class-board, #compete-verdict-gauge, #views-words) .html-container { padding: 4px 0; }
.block.made summary { cursor: pointer; opacity: .75; }
.block.made ul { margin: .3em 0 0 1.2em; list-style: disc; }
.block.made:has(.made-other) { border-left: 4px solid #E69F00; padding-left: .6em !important; }
.block.made:has(.made-other) summary { opacity: 1; }
.block.made:has(.made-other) + * { opacity: .9; filter: grayscale(1); }
.block.made:has(.made-other) + * a { color: inherit; }
/* A figure is saved once there is one. */
:not(:has(.js-plotly-plot)) + .save { display: none !important; }
/* gradio's own button that clears a column, which is called otherwise in each language. */
.answers .top-panel { display: none; }
.answers .message { font-size: var(--text-md); }
/* What an answer was written under is a line above it. */
.answers .thought-group { border: 0; padding: 0; margin: 0; background: none; }
.answers .thought-group .title { padding: 0; font-size: var(--text-sm); opacity: .8; text-wrap: balance; }
.answers .message:has(.thought-group) + .message-buttons { display: none; }
"""
log = logging.getLogger("caa_core")


class SystemFont(gr.themes.Font):
    """A font by a keyword of CSS, which stands without quotation marks."""

    def __str__(self) -> str:
        return self.name


# Of the theme's own font the bold letters are A and B alone, so that bold words would be set in two.
FONT: list[gr.themes.Font | str] = [SystemFont("system-ui"), "sans-serif"]
THEME = gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONT, text_size=TEXT).set(**CONTRAST)


def build(studio: Studio) -> gr.Blocks:
    """The whole page around one studio."""
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False) as blocks:
        with gr.Row(visible=False, elem_id="started-anew") as anew:
            gr.Markdown(STARTED_ANEW)
            reload = gr.Button("Reload", size="sm", min_width=90, scale=0, elem_id="started-anew-reload")
            reload.click(None, js="() => location.reload()", api_visibility="private")
        not_kept = gr.Markdown(NOT_KEPT, visible=False, elem_id="not-kept", container=True)
        room = gr.Markdown(visible=False, elem_id="class-line")
        # What a page holds comes back with each question, from a page that another run of the app has served too.
        served_by = gr.Textbox(studio.run_id, visible=False, elem_id="served-by")
        line = _draw_top(studio)
        key = gr.BrowserState("", storage_key="caa-studio", secret=studio.secret)  # by which a reload finds it
        page = Page(studio, blocks, line, gr.State(0), steer.controls(studio), gr.State(0))
        page.attach(draw_tabs(page, TABS))
        glossary.listed()
        gr.Markdown(f"{NOBODY_MEANS_IT}\n\n{kept_how_long(studio)}", elem_id="foot")
        page.tell()
        page.watching()
        endpoints.build(studio)
        tools.build(studio)
        restored = page.restored()

        @guarded
        def enter(request: gr.Request, known: Any, *values: Any) -> Updates:
            """Find out whose page it is, and show what they had."""
            lost = {not_kept: gr.Markdown(visible=True)} if known and not studio.sessions.knows(known) else {}
            found = {key: studio.sessions.enter(request.session_hash, known), line: models.describe(studio)}
            session, query = page.session(request), getattr(request, "query_params", {})
            take_link(studio, session, query)
            said = in_class.join(studio, session, query)
            if studio.sessions.refuses(session):
                gr.Warning("Look around, but nothing can be run: who runs this app lets nobody new in just now.")
            page.session(request)  # whose limits are lower from now on
            of_class = {room: gr.Markdown(said, visible=True)} if said else {}
            return found | lost | of_class | restored.handler(request, *values)

        @guarded
        def look(request: gr.Request, shown: str, run_id: str) -> Updates:
            """See whether somebody else has loaded another model, or the app was started anew."""
            if run_id != studio.run_id:
                return {anew: gr.Row(visible=True)}
            page.session(request)  # is still in use
            now = models.describe(studio)
            return {line: gr.skip() if leaving.spoken(now) == shown else now}

        def leave(request: gr.Request) -> None:
            studio.sessions.leave(request.session_hash)

        entered = blocks.load(enter, [key, *restored.inputs], [key, line, not_kept, room, *restored.outputs], **QUIET)
        titles = {str(tab.id): str(tab.label) for tab in blocks.blocks.values() if isinstance(tab, gr.Tab)}
        # Once a tab can be drawn with what the link says.
        entered.then(None, js=address.follow(titles), api_visibility="private")
        for script in (glossary.TOOLTIPS, FOCUS, FITTED, LED, *accessibility.SCRIPTS):
            blocks.load(None, js=script, api_visibility="private")
        blocks.load(None, js=LISTEN % (said(NO_ANSWER), 1000 * SECONDS_BETWEEN_LOOKS), api_visibility="private")
        gr.Timer(SECONDS_BETWEEN_LOOKS).tick(look, [line, served_by], [line, anew], queue=False, **QUIET)
        blocks.unload(leave)
    return blocks


def kept_how_long(studio: Studio) -> str:
    """One sentence on what is kept of people, and for how long, and what is logged."""
    if studio.sessions.has_library:
        return (
            "What you make is kept in this app's library until you delete it. Nothing that you type or make is logged."
        )
    if studio.sessions.shelves:
        days = KEPT_DAYS.value
        return (
            f"What you make is kept for this browser, until you have not been here for {days} days. The log holds none."
        )
    gone, unused = GRACE.value // 60, IDLE.value // 3600
    return (
        f"What you type, bring and make is kept for {gone} minutes after you have left, "
        f"or {f'{unused} hours' if unused > 1 else 'an hour'} unused. "
        "The log holds none of it."
    )


def _draw_top(studio: Studio) -> gr.Markdown:
    """Draw the header. Gives the line that says which model is loaded."""
    with gr.Row(elem_id="top"):
        with gr.Column(scale=5, min_width=340):
            gr.Markdown(f"# {TITLE}\n{INTRO}", elem_id="intro")
        with gr.Column(scale=2, min_width=340):
            line = gr.Markdown(models.describe(studio), elem_id="model-line")
        to_learn = gr.Button("Learn", size="sm", scale=0, min_width=80, elem_id="to-learn")
        to_learn.click(None, js=to_tab("learn"), api_visibility="private")
    return line


def main(opening: Opening) -> None:
    """Load the model and serve until told to end; `opening` serves until then.

    Host and port: GRADIO_SERVER_NAME, GRADIO_SERVER_PORT; model: CAA_MODEL, which runs on the NDIF host CAA_NDIF_HOST
    where CAA_MODEL_AT is ndif; a folder that keeps what is made: CAA_LIBRARY, for an app that is not public; one for
    many people, which several apps share: CAA_PEOPLE; a server of tools for agents: CAA_MCP; the file of a class:
    CAA_CLASS.
    """
    logs.setup()
    open_more()
    if serves_agents() and not find_spec("mcp"):
        sys.exit("CAA_MCP is set, but the package mcp is not here: pip install -r requirements-mcp.txt")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # there is nothing to lose yet
    # A folder of its own: what people upload and make is nobody else's on this machine, and goes with the app.
    folder = tempfile.mkdtemp(prefix="caa-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        library, shelves = kept_where()
        given = read_class(Path(os.environ["CAA_CLASS"])) if os.environ.get("CAA_CLASS") else None
        opening.say("The model is being loaded ...")
        spec = (given and given[0].model) or MODEL
        lent = lent_gpu() if ZERO_GPU else None
        host = Host.of() if os.environ.get("CAA_MODEL_AT") == "ndif" else None
        studio = Studio(spec, say=opening.say, library=library, elsewhere=lent, shelves=shelves, host=host)
        if given:
            hold(studio, *given)
        serve(studio, opening)
    except InputError as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    # Threads of the libraries that still wait for work would make the interpreter's own end a crash.
    os._exit(0)


def kept_where() -> tuple[Library | None, Shelves | None]:
    """The folder of this app's owner, or that of all people, as far as there is to be one. Raises InputError."""
    own, shared = (os.environ.get(name, "") for name in ("CAA_LIBRARY", "CAA_PEOPLE"))
    if shared and own and not is_public():
        raise InputError("CAA_LIBRARY is for one person and CAA_PEOPLE for many: set one of the two.")
    return Library(Path(own)) if own and not is_public() else None, Shelves(Path(shared)) if shared else None


def lent_gpu() -> Runner:
    """What runs a job on a GPU that is lent for it by ZeroGPU, where this process has none: its weights are in its own
    memory, and what little it computes itself it does on its processor.
    """
    os.environ.setdefault("CAA_DEVICE", "cpu")
    os.environ.setdefault("CAA_DTYPE", "bfloat16")
    on_gpu = spaces.GPU(duration=lambda errand: errand.seconds)(run_errand)

    def run(errand: Errand) -> Iterator[bytes]:
        try:
            yield from on_gpu(errand)
        except gr.Error as error:
            why = " ".join(re.sub("<[^>]*>", " ", str(error.message)).split())
            raise InputError(f"No GPU was lent for this, or not for long enough: {why[:300]}") from error

    return run


def launch(studio: Studio, opening: Opening | None = None) -> gr.Blocks:
    """Serve the page from a thread of its own, where `opening` served until now."""
    guards.install_guards()
    leaving.serve_by_language()
    tools.offer_alone()
    served = guards.settings(studio)
    served["routes"] += completions.routes(studio)
    page = build(studio).queue(default_concurrency_limit=None, api_open=False)
    if opening:
        opening.close()
    page.launch(
        theme=THEME,
        css=CSS + LAYOUT + look.LOOK + strip.LOOK + glossary.LOOK + address.LOOK + board.LOOK + accessibility.LOOK,
        footer_links=["api"],
        # Handlers wait in threads for the one that runs the model; Stop must always get one.
        max_threads=traffic.threads(),
        max_file_size=f"{UPLOAD_MB.value}mb",
        # Whatever the machine's settings ask for: servers beside this one would take what is refused here.
        ssr_mode=False,
        num_workers=0,
        run_history=False,  # it would ask the hub for whoever asks, with the owner's token
        enable_monitoring=False,
        mcp_server=serves_agents(),
        app_kwargs={**served, "middleware": [Middleware(traffic.Traffic, studio=studio)]},
        prevent_thread_lock=True,
    )
    page.app.state_holder = traffic.States(page)
    page._queue.pending_messages_per_session = traffic.Messages(studio.sessions)
    page._queue.sleep_when_free = SECONDS_BETWEEN_LINES
    traffic.take_turns(page._queue, studio.sessions)
    traffic.spare_parts(page)
    traffic.fill_in(page)
    leaving.speak(page)
    return page


def hold(studio: Studio, rules: Rules, key: str) -> None:
    """Hold the class of a file, and say how it is joined and seen: the terminal is its teacher's."""
    studio.hold(rules, key)
    tell(f"The class {rules.code} is held for {rules.hours:g} hours: ?class={rules.code} behind the page's address.")
    tell(f"Its teacher sees it in the tab Class, with the key {key}")


def sweep(studio: Studio, page: gr.Blocks) -> None:
    """Free what is kept of pages to which nobody is expected to come back, and end jobs for which nobody waits."""
    studio.classes.sweep()
    states = page.app.state_holder
    assert isinstance(states, traffic.States)
    asking = states.asking()
    for closed in studio.sessions.sweep(asking):
        states.forget(closed)
    states.forget_unknown(studio.sessions, asking)


def clean(studio: Studio, page: gr.Blocks) -> None:
    """Delete files by their age, and those that nobody uses any more, and give back memory that was freed."""
    kept = {path for part in page.blocks.values() for path in getattr(part, "keep_in_cache", ())}
    gone = files.sweep(Path(page.app.uploaded_file_dir), IDLE.value, kept)
    gone += studio.uploads.free(studio.sessions.needs)
    for noted in page.temp_file_sets:
        noted.difference_update(gone)
    traffic.forget_progress()
    if studio.sessions.shelves:
        studio.sessions.shelves.sweep()
    trim()


def serve(studio: Studio, opening: Opening) -> None:
    """Serve the page until the process is told to end; then let running jobs come to theirs."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    page = launch(studio, opening)
    log.info("serving", extra={"model": studio.model.name, "public": is_public()})
    for turn in count():
        if told.wait(SECONDS_BETWEEN_SWEEPS):
            break
        sweep(studio, page)
        if turn % BETWEEN_CLEANINGS == 0:
            clean(studio, page)
    log.info("ending", extra={"jobs": len(studio.sessions.running()), "seconds": STOP.value})
    stopped = studio.finish(STOP.value)
    told.clear()
    told.wait(SECONDS_TO_SEND)
    page.close(verbose=False)
    studio.sessions.end()
    log.info("ended", extra={"stopped": stopped})


if __name__ == "__main__":
    main(opening)
