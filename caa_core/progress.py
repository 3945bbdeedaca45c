"""How far a long piece of work has come.

Long work in this package is a generator: it yields `Progress` (or results as they come) and returns its
result. Whoever drives it decides the pace, and stops it by closing it; see :mod:`caa_core.app.studio`.
"""

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
# What work yields, and what it yields of its result beside its progress, as it is and as it is shown.
Event = TypeVar("Event")
Part = TypeVar("Part")
Shown = TypeVar("Shown")
SECONDS_BETWEEN_LOOKS = 0.25


@dataclass
class Progress:
    """`done` of `total` units, where `cost` counts the work itself (tokens) when units differ in size.

    `note` is something to know about the data that only the work could tell. `resumed` is the cost that an earlier run
    had paid already, which says nothing about how fast this one is.
    """

    total: int
    unit: str
    total_cost: float
    done: int = 0
    cost: float = 0.0
    note: str = ""
    resumed: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def advance(self, units: int, cost: float) -> "Progress":
        self.done += units
        self.cost += cost
        return self

    @classmethod
    def of_bytes(cls, total: int, resumed: int = 0) -> "Progress":
        """Bytes to be fetched, of which some are there; counted in MB."""
        return cls(round(total / 1e6), "MB", total, resumed=resumed).reach(resumed)

    def reach(self, cost: float) -> "Progress":
        """Set how much has been done, where units only measure the cost."""
        self.cost = min(cost, self.total_cost)
        self.done = int(self.total * self.fraction)
        return self

    @property
    def fraction(self) -> float:
        return self.cost / self.total_cost if self.total_cost else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the end, or None before anything was done."""
        if self.cost <= self.resumed:
            return None
        return (time.monotonic() - self.started) * (self.total_cost - self.cost) / (self.cost - self.resumed)

    @property
    def time_left(self) -> str:
        """In words; nothing where it is not known, or where nothing is left to do."""
        left = self.seconds_left
        if left is None or self.fraction >= 1:
            return ""
        return f", about {max(left, 1):.0f} s left"

    def __str__(self) -> str:
        return f"{self.done} of {self.total} {self.unit}{self.time_left}"


@dataclass
class Whole(Progress):
    """How far work in stages has come: `done` of `total` units are those of the stage that goes on, the cost is that of
    all stages, and so is the time, which is told by what this machine has done since.
    """

    left: float | None = None

    @property
    def seconds_left(self) -> float | None:
        return self.left

    def __str__(self) -> str:
        return f"{int(100 * self.fraction)}%: {self.done} of {self.total} {self.unit}{self.time_left}"


@dataclass
class Waiting(Progress):
    """Nothing was done yet: `total` jobs take a step of the model first, `total_cost` seconds as steps took lately."""

    @classmethod
    def behind(cls, jobs: int, seconds: float) -> "Waiting":
        return cls(jobs, "before you", seconds)

    @property
    def fraction(self) -> float:
        return 0.0

    @property
    def seconds_left(self) -> float:
        return self.total_cost

    def __str__(self) -> str:
        return f"Waiting for the model: {self.total} before you, about {max(self.seconds_left, 1):.0f} s"


@dataclass
class Queued(Waiting):
    """Nothing was done yet: `total` others are at work that take as much memory, and there is room for no more."""

    @classmethod
    def behind(cls, jobs: int, seconds: float = 0.0) -> "Queued":
        return cls(jobs, "before you", seconds)

    def __str__(self) -> str:
        return f"Waiting for memory: {self.total} measurements are at work, for which there is room"


@dataclass
class Stated(Waiting):
    """Nothing was done yet: another machine does it, and says of it what `unit` holds."""

    @classmethod
    def of(cls, state: str) -> "Stated":
        return cls(1, state, 0.0)

    def __str__(self) -> str:
        return f"The host says: {self.unit}"


# Whoever wants to know how far something has come: gets sentences, and `Progress` where there is a measure.
Say = Callable[[str | Progress], None]


def tell(message: Any) -> None:
    """Say it on standard error: progress in one line that is written over where somebody watches."""
    if isinstance(message, Progress) and sys.stderr.isatty():
        print(f"\r{message}\033[K", end="" if message.done < message.total else "\n", file=sys.stderr, flush=True)
    elif not isinstance(message, Progress) or message.done == message.total:
        print(message, file=sys.stderr)
    if isinstance(message, Progress) and message.note and message.done == message.total:
        print(message.note, file=sys.stderr)


def begin(work: Callable[[], Result]) -> "Future[Result]":
    """Start `work` on a thread of its own, which does not hold up the end of the process."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def listen(work: Callable[[Say], Any]) -> Iterator[str | Progress]:
    """Yield what `work` says while it runs elsewhere; raise what it raises. It goes on when nobody listens any more."""
    said: queue.SimpleQueue[str | Progress | None] = queue.SimpleQueue()
    future = begin(lambda: work(said.put))
    future.add_done_callback(lambda _: said.put(None))
    while (message := said.get()) is not None:
        yield message
    future.result()


def growing(work: Callable[[], Result], there: Callable[[], int], progress: Progress, say: Say) -> Result:
    """Run `work`, return its result, and say meanwhile how many bytes are `there`; never that it is all of them."""
    future = begin(work)
    while not future.done():
        wait([future], SECONDS_BETWEEN_LOOKS)
        say(progress.reach(min(there(), progress.total_cost - 1)))
    return future.result()


def sizes_below(folder: Path) -> list[int]:
    """Bytes of each file in a folder, where files may come and go."""
    sizes = []
    for root, _, names in os.walk(folder):  # which, unlike rglob, passes over folders that are gone
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(os.lstat(os.path.join(root, name)).st_size)
    return sizes


def within(
    progress: Progress, work: Generator[Progress, None, Result], cost: float
) -> Generator[Progress, None, Result]:
    """Run a part of the work, which is `cost` of the whole, and say how far the whole has come."""
    before = progress.cost
    while True:
        try:
            part = next(work)
        except StopIteration as end:
            progress.cost = before + cost
            return end.value
        progress.cost = max(progress.cost, before + cost * part.fraction * 0.999)
        yield progress


# What a stage counts, which is the unit of its progress, and what it costs beside the others.
Stage = tuple[str, float]


def in_stages(
    work: Generator[Progress | Part, None, Result], plan: Sequence[Stage]
) -> Generator[Progress | Part, None, Result]:
    """Run `work`, which says stage by stage how far it has come, and say how far all of it has.

    Args:
        plan: the stages in their order. One that does not come costs nothing after all; what comes without being
            planned is taken for a part of the stage that goes on.
    """
    told = _Plan([*plan])

    def reached(event: Progress | Part) -> Progress | Part:
        return told.reach(event) if isinstance(event, Progress) and not isinstance(event, Waiting) else event

    return each(work, reached)


class _Plan:
    """Stages, of which some are over, and how fast they went."""

    def __init__(self, plan: Sequence[Stage]):
        self.plan, self.stage = plan, -1
        self.last: Progress | None = None
        self.whole = Whole(0, "", sum(cost for _, cost in plan) or 1.0, started=time.monotonic())
        self.began = self.heard = self.whole.started
        self.at_first = 0.0

    def reach(self, progress: Progress) -> Whole:
        """How far all of it is, by how far a stage is."""
        now, whole = time.monotonic(), self.whole
        if progress is not self.last:
            self._begin(progress)
        cost = self.plan[self.stage][1] if self.stage >= 0 else 0.0
        before = sum(earlier for _, earlier in self.plan[: max(self.stage, 0)])
        share = min(progress.fraction, 0.999)
        whole.total, whole.unit, whole.done, whole.note = progress.total, progress.unit, progress.done, progress.note
        whole.cost = max(whole.cost, before + cost * share)
        done, took = whole.cost - whole.resumed, now - whole.started
        if done > 0 and took > 0:
            here = share - self.at_first  # done of this stage since it began, whose own pace counts for its rest
            rest = (1 - share) * (now - self.began) / here if here > 0 else cost * (1 - share) * took / done
            whole.left = rest + (whole.total_cost - before - cost) * took / done
        self.heard = now
        return whole

    def _begin(self, progress: Progress) -> None:
        later = range(self.stage + 1, len(self.plan))
        self.last = progress
        if (found := next((n for n in later if self.plan[n][0] == progress.unit), None)) is None:
            return
        self.stage, self.began = found, self.heard  # it goes on since the one before it was heard of last
        cost = self.plan[found][1]
        self.at_first = progress.resumed / progress.total_cost if progress.total_cost else 0.0
        # Stages that did not come, and what an earlier run had done, say nothing about how fast this one is.
        before = sum(earlier for _, earlier in self.plan[:found])
        self.whole.resumed += max(0.0, before - self.whole.cost) + cost * self.at_first
        self.whole.cost = max(self.whole.cost, before)


def showing(
    work: Generator[Progress | Part, None, Result], show: Callable[[Part], Shown]
) -> Generator[Progress | Shown, None, Result]:
    """Run `work`. Its progress goes through as it is; for what it yields of its result comes what `show` returns."""
    return each(work, lambda event: event if isinstance(event, Progress) else show(event))


def each(work: Generator[Event, None, Result], change: Callable[[Event], Shown]) -> Generator[Shown, None, Result]:
    """Run `work`; for all that it yields comes what `change` makes of it."""
    try:
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                return end.value
            yield change(event)
    finally:
        work.close()


def progress_of(work: Generator[Progress | Part, None, Result]) -> Generator[Progress, None, Result]:
    """Run `work` and say how far it has come, and nothing of what it yields of its result."""
    try:
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                return end.value
            if isinstance(event, Progress):
                yield event
    finally:
        work.close()


def finish(work: Generator[Event, None, Result], on_event: Callable[[Event], object] = lambda event: None) -> Result:
    """Run `work` to its end here and now and return its result."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        on_event(event)
