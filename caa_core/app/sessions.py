"""Who is here, and what each person has made.

A page (a tab, or a program's client) is known by the hash that gradio gives it, which ends with the page. What a person
has made is theirs under a random key that their browser keeps, so that a reload finds it again. The tabs of one browser
share one key and so one list of vectors: they are one person. Each tab has its own jobs; closing one ends only those.
"""

import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from caa_core.app.library import Library
from caa_core.data.presets import presets
from caa_core.data.text import clean
from caa_core.errors import InputError
from caa_core.limits import GRACE, IDLE, JOBS, PLACES, SESSIONS, VECTORS
from caa_core.reports.writing import finite
from caa_core.vectors.vector import SteeringVector

# Who was seen so recently is here; a page asks every few seconds, one that lies in the background every minute.
SECONDS_HERE = 90


class Running(Protocol):
    """A job: its events and how long it waits for them, and how to end it; `stopped` says that it was ended."""

    stopped: bool

    def watch(self) -> Iterator[Any]: ...
    def stop(self) -> None: ...


@dataclass(eq=False)
class Person:
    """What one person has: vectors by name, results by name as plain data, the pairs at work, a folder for files."""

    vectors: dict[str, SteeringVector] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    draft: Any = None
    library: Library | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _folder: Path | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(cls, library: Library) -> "Person":
        """The owner of a library, with what can be read of it."""
        person = cls(results=dict(library.results()))
        for vector in library.vectors():
            person._add(vector)
        person.library = library
        return person

    def keep(self, vector: SteeringVector) -> str:
        """Put a vector into the list under a name that nothing else has, which is returned.

        Raises:
            InputError: the list is full.
        """
        with self._lock:
            VECTORS.check(len(self.vectors) + 1)
            name = self._add(vector)
        if self.library:
            self.library.keep_vector(self.vectors[name])
        return name

    def _add(self, vector: SteeringVector) -> str:
        first = clean(vector.name) or "vector"
        name, count = first, 2
        while name in self.vectors or name in presets():
            name, count = f"{first} ({count})", count + 1
        self.vectors[name] = replace(vector, name=name)
        return name

    def rename(self, name: str, new: str) -> str:
        """Give a vector another name; where something else has it, with a number, as `keep` does."""
        if not (new := clean(new)):
            raise InputError("Write the new name first.")
        with self._lock:
            return self.keep(replace(self.delete(name), name=new))

    def delete(self, name: str) -> SteeringVector:
        """Take a vector out of the list, which is returned."""
        vector = self.vectors.pop(name)
        if self.library:
            self.library.delete_vector(name)
        return vector

    @property
    def has_nothing(self) -> bool:
        """Whether nothing would be lost with them."""
        return not (self.vectors or self.results or self.draft or self._folder)

    def remember(self, name: str, data: Any) -> None:
        """Keep a result, plain data, under a name; the last one counts, and is the latest of all. Numbers that are none
        are kept as None.
        """
        self.results = {**{other: kept for other, kept in self.results.items() if other != name}, name: finite(data)}
        if self.library:
            self.library.keep_result(name, self.results[name])

    def forget(self, name: str) -> None:
        """Delete a result."""
        self.results.pop(name, None)
        if self.library:
            self.library.delete_result(name)

    def path(self, name: str, ending: str) -> Path:
        """Where a file of that name can be written; it is there as long as the person is.

        gradio serves what lies in its folder to whoever knows the path, so that has a part that nobody guesses.
        """
        with self._lock:
            if not self._folder:
                root = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
                self._folder = Path(root) / f"caa-{secrets.token_hex(16)}"
                self._folder.mkdir(mode=0o700, parents=True)
        safe = re.sub(r"[^\w() -]", "_", name).strip()[:80] or "file"
        return self._folder / f"{safe}{ending}"

    def end(self) -> None:
        """Free what they have."""
        self.vectors, self.results, self.draft = {}, {}, None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(eq=False)
class Session:
    """One page of a person, and the jobs that run for it, by panel.

    `seen` is when it was last used or left, in seconds of the clock of `Sessions`. `shown` is with what each result was
    made that the page shows, None where that is not known.
    """

    person: Person = field(default_factory=Person)
    jobs: dict[str, Running] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    seen: float = 0.0
    left: bool = False
    address: str = ""
    drops: Counter[str] = field(default_factory=Counter)
    place: Callable[["Session", str, Running], None] = lambda session, panel, job: session.take(panel, job)

    @property
    def vectors(self) -> dict[str, SteeringVector]:
        return self.person.vectors

    def keep(self, vector: SteeringVector) -> str:
        """As `Person.keep`."""
        return self.person.keep(vector)

    def path(self, name: str, ending: str) -> Path:
        """As `Person.path`."""
        return self.person.path(name, ending)

    def follow(self, panel: str, job: Running) -> Iterator[Any]:
        """Events of a job that `stop(panel)` and leaving end; an older one of the same panel is stopped.

        Raises:
            InputError: too many jobs run already; this one is stopped.
        """
        self.stop(panel)
        try:
            self.place(self, panel, job)
        except InputError:
            job.stop()
            raise
        try:
            yield from job.watch()
        finally:
            if self.jobs.get(panel) is job:
                del self.jobs[panel]

    def take(self, panel: str, job: Running) -> None:
        """Note a job as this page's. Raises InputError where it has too many."""
        JOBS.check(len(self.jobs.keys() | {panel}))
        self.jobs[panel] = job

    def stop(self, panel: str) -> None:
        if job := self.jobs.get(panel):
            job.stop()

    def drop(self, panel: str) -> None:
        """Stop a panel's job, and forget that it was this panel's; `drops` counts how often."""
        self.drops[panel] += 1
        if job := self.jobs.pop(panel, None):
            job.stop()

    def stop_all(self) -> None:
        for job in list(self.jobs.values()):
            job.stop()

    def is_over(self, now: float) -> bool:
        """Whether nobody is expected to come back to it."""
        return now - self.seen > (GRACE if self.left else IDLE).value and not self.jobs


class Sessions:
    """The pages that are open, and the people whose pages they are. With a library, all of them are its owner.

    `clock` gives seconds that only grow.
    """

    def __init__(self, library: Library | None = None, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._owner = Person.of(library) if library else None
        self._pages: dict[str, Session] = {}
        self._people: dict[str, Person] = {}
        self._lock = threading.RLock()

    def enter(self, page: str | None, key: Any) -> str:
        """A page was opened by a browser that keeps `key`. Returns the key that it shall keep.

        A key that nobody has is not taken over: who makes one up gets an empty session of their own.
        """
        with self._lock:
            session = self.of(page)
            known = self._people.get(key) if isinstance(key, str) else None
            if known and known is not session.person:
                # The page's first events came before this one, and got a person of their own.
                if all(other is session or other.person is not session.person for other in self._pages.values()):
                    self._end(session.person)
                session.person = known
            return session.person.key

    def of(self, page: str | None, address: str = "") -> Session:
        """The session of a page; one of its own for each call that names none. address: where it asks from.

        Raises:
            InputError: it is a new one, and there is no room for it.
        """
        with self._lock:
            page = page or secrets.token_hex(16)
            session = self._pages.get(page)
            if not session:
                session = self._pages[page] = Session(self._owner or self._newcomer(), place=self._place)
            session.seen, session.left, session.address = self._clock(), False, address or session.address
            return session

    def _place(self, session: Session, panel: str, job: Running) -> None:
        """Let a session have a job, where there is a place for it. Raises InputError where there is none."""
        with self._lock:
            jobs = [(other, name) for other in self._pages.values() for name in other.jobs]
            taken = [other.address for other, name in jobs if other is not session or name != panel]
            if len(taken) >= PLACES.value:
                raise InputError("This app is at work on as many things as it takes; try again in a minute.")
            if session.address and taken.count(session.address) >= PLACES.value // 2:
                raise InputError(
                    "Half of what this app does at once is asked for from where you are; wait until some of it is done."
                )
            session.take(panel, job)

    def leave(self, page: str | None) -> None:
        """A page was closed or reloaded, or its connection broke: what it left running ends.

        What the person made stays for a while; a page that only slept finds it too.
        """
        with self._lock:
            if page and (session := self._pages.get(page)):
                session.stop_all()
                session.seen, session.left = self._clock(), True

    def sweep(self) -> list[str]:
        """Forget pages that are gone for good, and free what people had who have no others. Returns those pages."""
        with self._lock:
            now = self._clock()
            over = [page for page, session in self._pages.items() if session.is_over(now)]
            for page in over:
                del self._pages[page]
            remain = {id(session.person) for session in self._pages.values()}
            for person in [person for person in self._people.values() if id(person) not in remain]:
                self._end(person)
            return over

    def running(self) -> list[Running]:
        """Jobs of all pages."""
        return [job for session in list(self._pages.values()) for job in list(session.jobs.values())]

    @property
    def here(self) -> int:
        """How many people were here just now."""
        now = self._clock()
        pages = [session for session in list(self._pages.values()) if not session.left]
        return len({id(session.person) for session in pages if now - session.seen < SECONDS_HERE})

    @property
    def kept(self) -> int:
        """Of how many people something is kept."""
        return len({id(session.person) for session in list(self._pages.values())})

    def end(self) -> None:
        """Free everything, and let another app have the library."""
        with self._lock:
            for person in [*self._people.values(), *filter(None, [self._owner])]:
                self._end(person)
                if person.library:
                    person.library.close()
            self._pages.clear()

    def _newcomer(self) -> Person:
        if len(self._people) >= SESSIONS.value:
            self.sweep()
        if len(self._people) >= SESSIONS.value:
            self._make_room()
        person = Person()
        self._people[person.key] = person
        return person

    def _make_room(self) -> None:
        """Let go of who has nothing to lose, whoever they say they are; then of who left, longest ago first; never of
        somebody who is here and has something.
        """
        pages: defaultdict[str, list[Session]] = defaultdict(list)
        for session in self._pages.values():
            pages[session.person.key].append(session)

        def cost(key: str) -> tuple[int, float]:
            theirs = pages[key]
            idle = self._people[key].has_nothing and not any(session.jobs for session in theirs)
            left = all(session.left for session in theirs)
            return 0 if idle else 1 if left else 2, max((session.seen for session in theirs), default=0.0)

        key = min(self._people, key=cost)
        if cost(key)[0] == 2:
            raise InputError("This app is full: there are as many people here as it takes. Try again later.")
        person = self._people[key]
        for page in [page for page, session in self._pages.items() if session.person is person]:
            del self._pages[page]
        self._end(person)

    def _end(self, person: Person) -> None:
        self._people.pop(person.key, None)
        person.end()
