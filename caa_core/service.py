"""The one worker that owns the model, and what each person has made.

nnsight runs its interventions as greenlets, and greenlets belong to a thread: two threads must never run the model.
So all model work is done by one thread. A job is a generator (see :mod:`caa_core.progress`); the worker takes jobs in
turns, one step of each, so that a long one holds up nobody, and stops a job by closing it between two steps.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from caa_core.catalog import DEFAULT_MODEL
from caa_core.datasets import presets
from caa_core.errors import InputError
from caa_core.extraction import extract
from caa_core.model import SteerableModel, read, wrap
from caa_core.progress import Progress
from caa_core.vectors import SteeringVector

Work = Callable[[], Generator[Any, None, Any]]
_END = object()


class Job:
    """Work handed to the worker. Iterate over it for its events.

    After the last one either `result` is there or `stopped` is True.
    """

    def __init__(self, work: Work):
        self._work = work
        self._steps: Generator[Any, None, Any] | None = None
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self.result: Any = None
        self.stopped = False

    def stop(self) -> None:
        """End it before its next step; what it yielded so far stays with who iterated."""
        self._stop.set()

    def __iter__(self) -> Iterator[Any]:
        """Events as they come. Raises what the work raised. Leaving the loop early stops the job."""
        try:
            while (event := self._events.get()) is not _END:
                yield event
        finally:
            self.stop()
        if self._error:
            raise self._error

    def step(self) -> bool:
        """Advance by one event, on the worker's thread. False when there is nothing more to do."""
        try:
            if self._stop.is_set():
                self.stopped = True
                if self._steps:
                    self._steps.close()
            else:
                self._steps = self._steps or self._work()
                self._events.put(next(self._steps))
                return True
        except StopIteration as end:
            self.result = end.value
        except BaseException as error:
            self._error = error
        self._steps = None
        self._events.put(_END)
        return False


class Worker:
    """A thread that runs jobs in turns."""

    def __init__(self) -> None:
        self._arrivals: queue.SimpleQueue[Job] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="caa-worker", daemon=True).start()

    def submit(self, work: Work) -> Job:
        job = Job(work)
        self._arrivals.put(job)
        return job

    def _run(self) -> None:
        turns: deque[Job] = deque()
        while True:
            while not turns or not self._arrivals.empty():
                turns.append(self._arrivals.get())
            job = turns.popleft()
            if job.step():
                turns.append(job)


@dataclass
class Session:
    """What one person has: vectors by name, and the jobs that are running for them, by panel."""

    vectors: dict[str, SteeringVector] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def keep(self, vector: SteeringVector) -> str:
        """Put a vector into the list under a name that nothing else has, which is returned."""
        name, count = vector.name, 2
        while name in self.vectors or name in presets():
            name, count = f"{vector.name} ({count})", count + 1
        self.vectors[name] = vector
        return name

    def stop(self, panel: str) -> None:
        if job := self.jobs.get(panel):
            job.stop()


class Studio:
    """The model, its worker, and the sessions of everybody who is here."""

    def __init__(self, spec: str = DEFAULT_MODEL, say: Callable[[str], None] = print):
        self._worker = Worker()
        self._sessions: dict[str, Session] = {}
        self._preset_vectors: dict[str, SteeringVector] = {}
        self.model: SteerableModel
        self.load(spec, say=say)

    def run(self, work: Callable[[SteerableModel], Generator[Any, None, Any]]) -> Job:
        """Queue work on whichever model is loaded when its turn comes."""
        return self._worker.submit(lambda: work(self.model))

    def load(self, spec: str, dtype: str = "", say: Callable[[str], None] = print) -> None:
        """Load another model for everybody, and return when it is in place; the old one works until then.

        Raises:
            InputError: it cannot be loaded; the old one stays.
        """
        loaded = read(spec, dtype, say=say)

        def take_over() -> Generator[None, None, None]:
            self.model = wrap(loaded)
            self._preset_vectors = {}
            yield

        for _ in self._worker.submit(take_over):
            pass

    def differences(self, vector: SteeringVector) -> list[str]:
        """In words, how the loaded model differs from the one a vector was made on."""
        return vector.differences(self.model.fingerprint, self.model.template_sha256)

    def session(self, key: str) -> Session:
        return self._sessions.setdefault(key, Session())

    def leave(self, key: str) -> None:
        """Stop what a person left running and free what they had."""
        if session := self._sessions.pop(key, None):
            for panel in session.jobs:
                session.stop(panel)

    def vector(self, model: SteerableModel, session: Session, name: str) -> Generator[Progress, None, SteeringVector]:
        """A vector of the session, or of a preset, which is made on first use and kept for everybody."""
        if name in session.vectors:
            return session.vectors[name]
        if name not in presets():
            raise InputError(f"There is no vector '{name}' here; make it, upload it, or choose a preset.")
        if name not in self._preset_vectors:
            self._preset_vectors[name] = yield from extract(model, presets()[name].dataset())
        return self._preset_vectors[name]
