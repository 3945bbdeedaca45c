"""Gradio's script in the browser, mended: a message touches the parts that it is about.

At each message of any event, gradio's page sets the status of every part that some event has read or written since the
page was opened, and looks for each of them through the tree of the whole page: `update_loading_stati_state` of gradio
6.31, for which there is no setting. With all tabs opened that was most of what the browser did (`benchmarks/page.py`).
"""

from pathlib import Path

import gradio as gr
from starlette.responses import Response
from starlette.routing import Route

# An hour, by browsers.
KEPT = {"Cache-Control": "max-age=3600"}
ASSETS = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
# What stands in the script, and what takes its place: which events' statuses have changed is noted, and only those are
# set; all of them where parts were drawn anew.
MENDS = (
    (
        "update_loading_status(e){",
        "update_loading_status(e){(this.changed??=new Set).add(e.fn_index);",
    ),
    (
        "await Promise.all(Object.entries(this.loading_stati.current).map(",
        "let c=this.changed;this.changed=void 0;"
        "await Promise.all(Object.entries(this.loading_stati.current).filter(([,s])=>!c||c.has(s.fn_index)).map(",
    ),
    (
        ".then(()=>this.update_loading_stati_state())",
        ".then(()=>(this.changed=void 0,this.update_loading_stati_state()))",
    ),
)


def mended() -> tuple[str, str] | None:
    """Name and text of the script, or None where gradio's is another one than is known here: it is served as it is."""
    for script in ASSETS.glob("Blocks-*.js"):
        text = script.read_text()
        if all(text.count(old) == 1 for old, _ in MENDS):
            for old, new in MENDS:
                text = text.replace(old, new)
            return script.name, text
    return None


def routes() -> list[Route]:
    """Where the browser asks for it."""
    found = mended()
    if not found:
        return []
    name, text = found
    return [Route(f"/assets/{name}", lambda _: Response(text, headers=KEPT, media_type="text/javascript"))]
