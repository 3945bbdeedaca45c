"""The one worker that owns the model. A job is a generator; the worker takes jobs in turns, step by step."""

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from caa_core.errors import InputError
from caa_core.progress import Waiting

Work = Callable[[], Generator[Any, None, Any]]
Events = queue.SimpleQueue[Any]

_END = object()

# What a step counts at least, so that a job which only waits for another one leaves it its turns.
LEAST_SECONDS = 0.02

# How much of its share another job must be owed to have a turn before the first one of somebody new: more than long
# jobs owe each other, whose steps take turns.
HEAD_START = 0.5

# Who waits for a first turn hears so often how long it may be, judged by so many steps.
SECONDS_TO_SAY = 0.5

STEPS_LATELY = 20

log = logging.getLogger("caa_core")


@dataclass(frozen=True)
class Owner:
    """Who asks for a job, and where from."""

    person: Hashable
    address: str = ""


class Job:
    """Work handed to the worker. Iterate over it for its events.

    After the last one it is `over`: either `result` is there, or `error`, or `stopped` is True. `about` is what whoever
    began it needs to show it to somebody who comes later.
    """

    def __init__(self, work: Work, ahead: Callable[["Job"], Waiting], owner: Hashable = None):
        """owner: who else's jobs it shares one share of the time with; by itself where that is None."""
        self.owner = self if owner is None else owner
        self._work: Work | None = work
        self._ahead = ahead
        self._steps: Generator[Any, None, Any] | None = None
        self._first: Events | None = queue.SimpleQueue()  # what comes before anybody listens
        self._listeners: list[Events] = [self._first]
        self._last: list[Any] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._why = ""
        self.about: Any = None
        self.error: BaseException | None = None
        self.result: Any = None
        self.stopped = False
        self.begun = False
        self.over = False
        self.spent = 0.0  # seconds of the worker, counted from what the owner's other jobs had when this one came

    @property
    def done(self) -> bool:
        """Whether it came to its end, so that its result is there. Who left it may be there before it has stopped."""
        return self.over and not self.stopped and self.error is None

    def stop(self, why: str = "") -> None:
        """End it before its next step; what it yielded so far stays with who iterated. With a reason, which is said, it
        has failed.
        """
        self._why = self._why or why
        self._stop.set()

    def wait(self) -> Any:
        """Let it come to its end and return the result; None where it was stopped. Raises what the work raised."""
        for _ in self:
            pass
        return self.result

    def __iter__(self) -> Iterator[Any]:
        """Events as they come. Raises what the work raised. Leaving the loop early stops the job."""
        return self.watch(None)

    def watch(
        self, seconds: float | None = SECONDS_TO_SAY, lasting: bool = False, wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[Any]:
        """As by iterating; and before the first event, every so many seconds, how long the job waits for its turn.

        Args:
            lasting: leaving does not stop it. Whoever comes then hears its last event, and those that follow.
            wanted: is asked as often; where it says no, this is left.
        """
        events = self._listen()
        try:
            while (event := self._next(events, seconds, wanted)) is not _END:
                yield event
        finally:
            with self._lock:
                self._listeners.remove(events)
            if not lasting:
                self.stop()
        if self.error:
            raise self.error

    def _listen(self) -> Events:
        with self._lock:
            if events := self._first:
                self._first = None
                return events
            events = queue.SimpleQueue()
            for event in self._last:
                events.put(event)
            self._listeners.append(events)
            return events

    def _tell(self, event: Any) -> None:
        with self._lock:
            self._last = [event]
            for events in self._listeners:
                events.put(event)

    def _next(self, events: Events, seconds: float | None, wanted: Callable[[], bool]) -> Any:
        while wanted():
            try:
                return events.get(timeout=seconds)
            except queue.Empty:
                if not self.begun:
                    return self._ahead(self)
        return _END

    def step(self) -> bool:
        """Advance by one event, on the worker's thread. False when there is nothing more to do."""
        self.begun = True
        if self._work is None:
            return False
        try:
            if not self._stop.is_set():
                self._steps = self._steps or self._work()
                self._tell(next(self._steps))
                return True
            self.stopped = not self._why
            if self._steps:
                self._steps.close()
            if self._why:
                raise InputError(self._why)
        except StopIteration as end:
            self.result = end.value
        except BaseException as error:  # a failed job fails alone, whatever it raised
            if not isinstance(error, InputError):
                log.error("a job failed", exc_info=error)
            # Without its frames, which hold the cache and the tensors of the step that failed.
            self.error = error.with_traceback(None)
        self._steps = self._work = None
        self.over = True
        self._tell(_END)
        return False


def apart(work: Work) -> Job:
    """A job that needs no model, in a thread of its own."""
    job = Job(work, lambda job: Waiting.behind(0, 0.0))

    def run() -> None:
        while job.step():
            pass

    threading.Thread(target=run, name="caa-apart", daemon=True).start()
    return job


class Worker:
    """A thread that runs jobs in turns. Each owner gets as much time as the others, whatever a step takes, and each job
    as much as its owner's others. Of n owners at one address each weighs 1/sqrt(n): who calls themselves forty people
    has the time of six, and so has a class of forty.

    One that comes anew takes its first step before the others take another one, unless so many come that somebody falls
    behind: a fair share is counted as in generalized processor sharing (Parekh and Gallager, IEEE/ACM Transactions on
    Networking 1993), and whoever is furthest from it is next.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        """clock: gives seconds that only grow."""
        self._clock = clock
        self._jobs: list[Job] = []
        self._share = 0.0  # seconds that an owner would have had by now who was always here
        self._spent: dict[Hashable, float] = {}  # seconds of each owner, counted from the share when they came
        self._came = threading.Condition()
        self._lately: deque[float] = deque(maxlen=STEPS_LATELY)
        self._start()

    def submit(self, work: Work, owner: Hashable = None) -> Job:
        """A job of an owner; see `Job`."""
        job = Job(work, self.ahead, owner)
        with self._came:
            self._spent.setdefault(job.owner, self._share)
            job.spent = min((other.spent for other in self._jobs if other.owner == job.owner), default=0.0)
            self._jobs.append(job)
            self._came.notify()
        return job

    def ahead(self, job: Job) -> Waiting:
        """How many jobs take a step before one that has not begun, and how long that takes if steps are as lately."""
        with self._came:
            waiting = [other for other in self._jobs if not other.begun]
            before = waiting.index(job) if job in waiting else 0
            # The one whose step is being made goes first in any case.
            before += len(waiting) < len(self._jobs)
            return Waiting.behind(before, before * sum(self._lately) / max(len(self._lately), 1))

    @property
    def jobs(self) -> int:
        """How many jobs share the model now."""
        return len(self._jobs)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="caa-worker", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self._turn()
        except BaseException as error:  # from outside of any job
            log.error("the thread that runs the model was ended; another one takes over", exc_info=error)
            self._start()

    def _weights(self) -> dict[Hashable, float]:
        addresses = Counter(owner.address for owner in self._spent if isinstance(owner, Owner))
        return {
            owner: addresses[owner.address] ** -0.5 if isinstance(owner, Owner) and owner.address else 1.0
            for owner in self._spent
        }

    def _turn(self) -> None:
        with self._came:
            self._came.wait_for(lambda: self._jobs)
            job = min(self._jobs, key=lambda job: (self._spent[job.owner] - HEAD_START * (not job.begun), job.spent))
        start = self._clock()
        goes_on = job.step()
        took = self._clock() - start
        with self._came:
            cost = max(took, LEAST_SECONDS)
            job.spent += cost
            weights = self._weights()
            self._spent[job.owner] += cost / weights[job.owner]
            self._share += cost / sum(weights.values())
            if not goes_on:
                self._jobs.remove(job)
                if all(other.owner != job.owner for other in self._jobs):
                    del self._spent[job.owner]
            self._lately.append(took)
