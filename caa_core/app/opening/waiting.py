"""What is said and served while libraries and model are being loaded: what goes on, and what was made before.

The page asks every second whether the app is there, and gives way to it. Nothing in here waits for a library.
"""

import contextlib
import html
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from caa_core.app.opening.ready import MADE_BEFORE, shipped
from caa_core.progress import Progress, tell

# As gradio does where no port is set.
FIRST_PORT, PORTS = 7860, 100
# In seconds: for one who asks and then says nothing.
PATIENCE = 10
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
# What an answer was written under that says nothing of itself.
UNSTEERED = "Unsteered"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>CAA Studio is starting</title>
<noscript><meta http-equiv="refresh" content="3"></noscript>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
#status { border-left: 4px solid #E69F00; padding-left: .6em; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 1rem; }
.columns p { white-space: pre-wrap; border: 1px solid rgba(136,136,136,.4); border-radius: 8px; padding: .8em; }
</style>
</head>
<body>
<h1>CAA Studio</h1>
<div id="status" role="status"><b>It is starting; this page goes on by itself.</b> <div id="said">%(said)s</div></div>
%(ready)s
<script>
setInterval(async () => {
  try {
    const answer = await fetch('health', { cache: 'no-store' });
    if (answer.ok) location.reload();
    else document.querySelector('#said').textContent = (await answer.json()).said;
  } catch { /* between this page and the app */ }
}, 1000);
</script>
</body>
</html>
"""


class Opening:
    """Says on the terminal what goes on until the app is there, and serves it at the app's address, if that is free."""

    def __init__(self, model: str):
        """model: the one that will be loaded, of which is shown what was made before."""
        self.model, self.said = model, "The libraries are being loaded, which takes a while ..."
        self._server = _served(self)
        where = f" at http://{self._server.server_name}:{self._server.server_port}" if self._server else ""
        tell(f"CAA Studio is starting{where}. {self.said}")

    def say(self, message: str | Progress) -> None:
        """Say what goes on now."""
        self.said = str(message)
        tell(message)

    def close(self) -> None:
        """Leave the address to the app."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    @property
    def page(self) -> str:
        """What a browser is shown."""
        return PAGE % {"said": html.escape(self.said), "ready": "\n".join(_before(self.model))}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, opening: Opening):
        """Raises OSError or OverflowError where it cannot serve there."""
        self.opening = opening
        super().__init__((os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1").strip("[]"), port), _Answer)

    def server_bind(self) -> None:
        """Without asking for the machine's name, for which some wait."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE

    def do_GET(self) -> None:  # as the library calls it
        if self.path.partition("?")[0] == "/health":
            self._send("application/json", json.dumps({"status": "starting", "said": self.server.opening.said}))
        else:
            self._send("text/html; charset=utf-8", self.server.opening.page)

    def _send(self, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(503)  # so that nobody takes it for the app
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Retry-After": "2",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Who asks is not logged."""


def _served(opening: Opening) -> _Server | None:
    """A server where the app will be; None where there cannot be one."""
    port = os.environ.get("GRADIO_SERVER_PORT", "")
    for one in [int(port)] if port.isdecimal() else range(FIRST_PORT, FIRST_PORT + PORTS):
        with contextlib.suppress(OSError, OverflowError):
            server = _Server(one, opening)
            threading.Thread(target=server.serve_forever, args=(0.05,), name="caa-opening", daemon=True).start()
            return server
    return None


def _before(model: str) -> Iterator[str]:
    """Answers that were made before with a model, as HTML."""
    for title, name in (("Steer", "steer"), ("Compete", "compete")):
        kept = shipped(name)
        if not kept or (made := kept["asked"][MADE_BEFORE])["model"] != model:
            continue
        yield f"<h2>{title}</h2>"
        on = f"on {made['model']} in {made['dtype']}, commit {made['commit']}"
        for exchange in kept["exchanges"]:
            yield f"<p><b>Made before</b> ({html.escape(on)}): {html.escape(exchange['question'])}</p>"
            columns = dict(zip(exchange["captions"], exchange["answers"], strict=True))
            written = (
                f"<div><b>{html.escape(caption or UNSTEERED)}</b><p>{html.escape(answer)}</p></div>"
                for caption, answer in columns.items()
            )
            yield f'<div class="columns">{"".join(written)}</div>'
