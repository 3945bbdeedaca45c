"""One job at an NDIF host: nnsight's own client, with short timeouts, a stop, and results read as plain numbers.

A block is sent as its source, with the functions of this project that it calls; the model is named and never sent. What
comes back are statuses, what the block printed line by line, and one result.
"""

import io
import json
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import httpx2
import nnsight
import torch
import websocket
import zstandard
from nnsight.intervention.backends.display import StatusDisplay
from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
from nnsight.schema.request import RequestModel
from nnsight.schema.response import ResponseModel, Status

from caa_core.errors import InputError
from caa_core.progress import begin
from caa_core.remote.host import Host
from caa_core.remote.sentences import HostError, JobError, LostError, is_lost

# What a job is sent with, and what comes back.
MOST_SENT, MOST_GOT = 1_000_000, 1_000_000
SECONDS_TO_CONNECT = 5.0
# So long a host may say nothing before it is asked whether it is still there, and so often a stop is looked for.
SECONDS_OF_SILENCE, SECONDS_BETWEEN_LOOKS = 5.0, 0.25
# How long whoever drives a job waits for news of it before others have their turn.
SECONDS_OF_A_TURN = 0.02
# Before each line that a block prints for us; the server's own warnings come the same way.
MARK = "caa:"

# A function that runs at the host with its model and plain data.
Block = Callable[..., Any]


@dataclass
class Count:
    """What has gone over the wire: jobs, and the most bytes of one either way."""

    jobs: int = 0
    sent: int = 0
    got: int = 0

    def add(self, sent: int = 0, got: int = 0) -> None:
        self.sent, self.got = max(self.sent, sent), max(self.got, got)


@dataclass
class News:
    """What a running job says: in which state it is, or a line that its block printed."""

    state: str = ""
    line: str = ""


class Line(Protocol):
    """How a job gets to a model and back."""

    def __call__(self, hear: Callable[[News], None], stop: threading.Event) -> RemoteBackend: ...


@dataclass
class Wire:
    """The line to a host's model. env: see nnsight's `_remoteable_get_env`."""

    host: Host
    model_key: str
    env: dict[str, Any]
    count: Count = field(default_factory=Count)

    def __call__(self, hear: Callable[[News], None], stop: threading.Event) -> RemoteBackend:
        return HostJob(self, hear, stop)

    def sentence(self, error: BaseException) -> str:
        return self.host.sentence(error)


class HostJob(RemoteBackend):  # type: ignore[misc]  # nnsight has no types
    """nnsight's backend, which waits for the host no longer than is said above, and can be left."""

    def __init__(self, wire: Wire, hear: Callable[[News], None], stop: threading.Event):
        super().__init__(wire.model_key, host=wire.host.address, api_key=wire.host.key, env=wire.env)
        self.api_key = wire.host.key  # and no other one that nnsight knows
        self.compress = True
        self.display = StatusDisplay(enabled=False)
        self.wire, self.hear, self.stop = wire, hear, stop

    def __call__(self, tracer: Any = None) -> Any:
        """Send the block and wait for its result. Raises what nnsight and its libraries raise, and InputError."""
        blob = self._serialize(tracer)
        check_size(len(blob), MOST_SENT)
        self.wire.count.jobs += 1
        self.wire.count.add(sent=len(blob))
        headers = {"ndif-api-key": self.api_key} if self.api_key else None
        connection = websocket.create_connection(
            f"{self.ws_host}/subscribe", timeout=SECONDS_TO_CONNECT, header=headers
        )
        try:
            request = RequestModel(model_key=self.model_key, compress=self.compress, env=self.env)
            request.session_id = _session_of(connection.recv())
            self.hear(News(state=_state(self._post(request, blob))))
            result = self._follow(connection)
        finally:
            connection.close()
        self._push(result, tracer)
        return result

    def _post(self, request: RequestModel, blob: bytes) -> ResponseModel:
        headers = {"ndif-timestamp": repr(time.time()), **({"ndif-api-key": self.api_key} if self.api_key else {})}
        try:
            answer = httpx2.post(
                f"{self.host}/request",
                data={"data": request.metadata()},
                files={"blob": ("request", blob, "application/octet-stream")},
                headers=headers | client_versions(),
                timeout=SECONDS_TO_CONNECT,
            )
        except httpx2.HTTPError as error:
            raise RemoteError(f"Failed to send request: {type(error).__name__}: {error}") from None
        if answer.status_code != 200:
            raise RemoteError(f"Failed to send request: {answer.status_code} {_detail(answer.text)}")
        return ResponseModel.model_validate_json(answer.text)

    def _follow(self, connection: Any) -> Any:
        """Hear of the job until it ends."""
        connection.settimeout(SECONDS_BETWEEN_LOOKS)
        heard = time.monotonic()
        while not self.stop.is_set():
            try:
                message = connection.recv()
            except websocket.WebSocketTimeoutException:
                if time.monotonic() - heard > SECONDS_OF_SILENCE:
                    self.wire.host.get("/ping")
                    heard = time.monotonic()
                continue
            heard = time.monotonic()
            response = self.parse(message)
            if response.status == Status.ERROR:
                raise RemoteError(response.description)
            if response.status == Status.COMPLETED:
                return self._result(response.data)
            self._tell(response)
        raise InputError("The job was left: it goes on at the host, and nobody listens.")

    def _tell(self, response: ResponseModel) -> None:
        if response.status != Status.LOG:
            self.hear(News(state=_state(response)))
        elif response.description.startswith(MARK):
            self.hear(News(line=response.description.removeprefix(MARK)))

    def _result(self, data: Any) -> Any:
        """The values that the block kept, which came with the response or lie at an address."""
        if isinstance(data, str):
            with httpx2.stream("GET", data, timeout=SECONDS_TO_CONNECT) as answer:
                parts, size = [], 0
                for part in answer.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    check_size(size, MOST_GOT, "The result")
                data = b"".join(parts)
        self.wire.count.add(got=len(data))
        check_size(len(data), MOST_GOT, "The result")
        return self.finalize(data)

    @staticmethod
    def parse(message: str | bytes) -> ResponseModel:
        if isinstance(message, str):
            return ResponseModel.model_validate_json(message)
        return ResponseModel(**plain_load(message))

    def finalize(self, content: bytes) -> Any:
        return plain_load(zstandard.ZstdDecompressor().decompress(content, max_output_size=64 * MOST_GOT))


def check_size(size: int, most: int, what: str = "The job") -> None:
    """Raises InputError for what does not go over the wire."""
    if size > most:
        raise InputError(
            f"{what} has {size / 1e6:.1f} MB, of which {most / 1e6:g} go to or from an NDIF host at once: "
            "ask for fewer layers, vectors or items."
        )


def client_versions() -> dict[str, str]:
    """What a host is told of the client."""
    return {"nnsight-version": version("nnsight"), "python-version": sys.version}


# What a result may be made of; a stranger's pickle could name anything.
PLAIN = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "Size"),
    ("torch", "device"),
    ("collections", "OrderedDict"),
    ("nnsight.schema.response", "Status"),
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads tensors, numbers, texts, lists and dicts, and nothing that does something."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in PLAIN or (module == "torch" and name.endswith("Storage")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


class _Plain:
    """What `torch.load` asks of a module like pickle."""

    Unpickler = _PlainUnpickler
    UnpicklingError = pickle.UnpicklingError
    __name__ = "plain"


def plain_load(content: bytes) -> Any:
    """What `torch.save` wrote, of plain data alone. Raises UnpicklingError for anything else."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", pickle_module=_Plain, weights_only=False)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # whatever a file of a stranger makes torch raise
        raise pickle.UnpicklingError(f"{type(error).__name__}") from None


def _session_of(message: str | bytes) -> str:
    try:
        return str(json.loads(message)["session_id"])
    except (ValueError, KeyError, TypeError):
        raise websocket.WebSocketBadStatusException("no session", 0) from None


def _detail(text: str) -> str:
    """What a server says of its refusal."""
    try:
        said = json.loads(text)
        return str(said.get("detail") if isinstance(said, dict) else said)
    except ValueError:
        return text[:300]


def _state(response: ResponseModel) -> str:
    """A state in words, with the place in the queue where the host says it."""
    said = " ".join(response.description.split())[:120]
    return f"{response.status.value.lower()}{f': {said}' if said else ''}"


def run(line: Line, nn: Any, block: Block, given: dict[str, Any]) -> Generator[News | None, None, Any]:
    """Run `block(nn, **given)` at a host as one job. Yields its news, and None where there are none for a moment.

    Closing it leaves the job, which goes on at the host: there it cannot be stopped.

    Raises:
        HostError: the host fails, in one sentence; JobError: the block does; LostError: the host has lost it.
        InputError: the job is too large.
    """
    news: queue.SimpleQueue[News] = queue.SimpleQueue()
    stop = threading.Event()
    future = begin(lambda: _sent(nn, block, given, line(news.put, stop)))
    try:
        while not future.done() or not news.empty():
            try:
                yield news.get(timeout=SECONDS_OF_A_TURN)
            except queue.Empty:
                yield None
    finally:
        stop.set()
    error = future.exception()
    if isinstance(error, InputError):
        raise error
    if error is not None:
        say = getattr(line, "sentence", str)
        kind = JobError if "Traceback" in str(error) else LostError if is_lost(error) else HostError
        raise kind(say(error)) from None
    return future.result()


def _sent(nn: Any, block: Block, given: dict[str, Any], backend: RemoteBackend) -> Any:
    """The session that is the job; on a thread of its own."""
    nnsight.register("caa_core")
    found = None
    with nn.session(backend=backend):
        found = nnsight.save(block(nn, **given))
    return found
