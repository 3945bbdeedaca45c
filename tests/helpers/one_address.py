"""One address before several apps, as a balancer has it: each connection goes to the app that is chosen just then."""

import contextlib
import shutil
import socket
import socketserver
import threading

from tests.helpers.app import App, Served


class OneAddress:
    """Serve at `url` what the chosen app serves."""

    def __init__(self, app: App | Served):
        self.app, self.open = app, set()
        address = self

        class Forward(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", int(address.app.url.split(":")[2].strip("/")))) as there:
                    address.open |= {there, self.connection}
                    back = threading.Thread(target=_pass, args=(there, self.connection), daemon=True)
                    back.start()
                    _pass(self.connection, there)
                    back.join()
                    address.open -= {there, self.connection}

        socketserver.ThreadingTCPServer.daemon_threads = True
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def go_to(self, app: App | Served) -> None:
        """Whoever comes from now on comes to that app, also who was at another one."""
        self.app = app
        for connection in [*self.open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.go_to(self.app)
        self.server.shutdown()
        self.server.server_close()


def _pass(source: socket.socket, target: socket.socket) -> None:
    """All that comes from the one to the other, and then its end."""
    with contextlib.suppress(OSError):
        shutil.copyfileobj(source.makefile("rb", 0), target.makefile("wb", 0), 1 << 16)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
