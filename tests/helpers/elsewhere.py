"""Models that run in a process of their own, by jobs that are sent to it as to an NDIF host."""

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from nnsight.intervention.backends.remote import RemoteBackend, RemoteError

from caa_core.remote.jobs import MARK, Count, News, plain_load
from caa_core.remote.loading import RemoteModel, arrived, described
from caa_core.remote.sentences import sentence
from tests.helpers.places import ROOT

RUNNER = ROOT / "tests" / "helpers" / "block_runner.py"
PLACE = "in another process"


class Pipe:
    """The line to a folder's model in the process; see `remote.jobs.Line`."""

    # One job at a time.
    turn = threading.Lock()

    def __init__(self, process: subprocess.Popen[bytes], folder: str):
        self.process, self.folder, self.count = process, folder, Count()

    def __call__(self, hear, stop) -> RemoteBackend:
        return PipeJob(self, hear)

    def sentence(self, error: BaseException) -> str:
        return sentence(error, "another process")

    def send(self, blob: bytes) -> None:
        for part in (self.folder.encode(), blob):
            self.process.stdin.write(struct.pack(">Q", len(part)) + part)
        self.process.stdin.flush()

    def frame(self) -> tuple[bytes, bytes]:
        kind, size = self._read(1), struct.unpack(">Q", self._read(8))[0]
        return kind, self._read(size)

    def _read(self, size: int) -> bytes:
        found = self.process.stdout.read(size)
        if len(found) < size:
            raise ConnectionResetError("the process has ended")
        return found


class PipeJob(RemoteBackend):
    """Sends a block as nnsight's own client serializes it."""

    def __init__(self, pipe: Pipe, hear):
        super().__init__("", host="http://127.0.0.1:9")
        self.compress = True
        self.pipe, self.hear = pipe, hear

    def __call__(self, tracer=None):
        blob = self._serialize(tracer)
        with self.pipe.turn:
            self.pipe.count.jobs += 1
            self.pipe.send(blob)
            self.hear(News(state="running"))
            while True:
                kind, content = self.pipe.frame()
                if kind == b"E":
                    raise RemoteError(content.decode())
                if kind == b"R":
                    self.pipe.count.add(len(blob), len(content))
                    result = self.finalize(content)
                    self._push(result, tracer)
                    return result
                text = content.decode()
                if text.startswith(MARK):
                    self.hear(News(line=text.removeprefix(MARK)))

    def finalize(self, content: bytes):
        import zstandard

        return plain_load(zstandard.ZstdDecompressor().decompress(content))


@contextmanager
def runner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that cannot import this project and runs blocks."""
    process = subprocess.Popen(
        [sys.executable, "-I", str(RUNNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=gettempdir(),
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()


def elsewhere(process: subprocess.Popen[bytes], folder: str | Path, name: str = "tiny") -> tuple[RemoteModel, Pipe]:
    """A folder's model that runs in the process, and the line to it."""
    pipe = Pipe(process, str(folder))
    return arrived(name, described(str(folder)), pipe, PLACE, say=lambda _: None), pipe
