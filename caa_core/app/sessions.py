"""Who is here, and what each person has made.

A page (a tab, or a program's client) is known by the hash that gradio gives it, which ends with the page. What a person
has made is theirs under a random key that their browser keeps, so that a reload finds it again. The tabs of one browser
share one key and so one list of vectors: they are one person. Each tab has its own jobs; closing one ends only those.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from caa_core.app.files import keep_below
from caa_core.app.holdings import MB, Holdings, oldest, size_of, size_of_vector
from caa_core.app.keys.classrooms import Classroom
from caa_core.app.library import Library, Shelves
from caa_core.app.opening.links import Link
from caa_core.data.presets import presets
from caa_core.data.text import clean, download_name
from caa_core.errors import InputError
from caa_core.limits import (
    ALL_KEPT_MB,
    GRACE,
    GRACE_JOB,
    IDLE,
    JOBS,
    KEPT_MB,
    LONGEST,
    PLACES,
    SESSIONS,
    VECTORS,
    lowered,
)
from caa_core.reports.writing import finite
from caa_core.vectors.vector import SteeringVector

# Before a page's name, the name under which its pairs are counted.
DRAFT = "pairs "
# People up to this cost make room for others; see `Sessions._costs`.
CROWDED = 2
# Who was seen so recently is here; a page asks every few seconds, one that lies in the background every minute.
SECONDS_HERE = 90


class Running(Protocol):
    """A job: its events and how long it waits for them, and how to end it; `over` says that it has ended, and `stopped`
    that it was ended. `about` is what shows it to somebody who comes later. See `worker.Job`.
    """

    over: bool
    stopped: bool
    about: Any

    def watch(self, *, lasting: bool = ..., wanted: Callable[[], bool] = ...) -> Iterator[Any]: ...
    def stop(self, why: str = ...) -> None: ...


def always() -> bool:
    """Somebody wants it."""
    return True


@dataclass(eq=False)
class Person:
    """What one person has: vectors by name, results by name as plain data, the pairs that each page works on and those
    that were shown last, a folder for files.
    """

    vectors: dict[str, SteeringVector] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    drafts: dict[str, Any] = field(default_factory=dict)
    draft: Any = None
    library: Library | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    late: bool = False  # whether they came when nobody new was let in
    holdings: Holdings = field(default_factory=Holdings)
    _folder: Path | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(cls, library: Library, key: str = "") -> "Person":
        """The owner of a library, with what can be read of it. key: by which they are known, where they have one."""
        person = cls(results=dict(library.results()))
        person.key = key or person.key
        for vector in library.vectors():
            person._add(vector)
        if library.shared:
            for name, found in person.results.items():
                person.holdings.put(name, size_of(found))
        person.library = library
        return person

    def refresh(self, anyway: bool = False) -> None:
        """Take over what other apps have kept and deleted meanwhile. anyway: also where none seems to have done so."""
        if not (self.library and self.library.shared and (anyway or self.library.has_news)):
            return
        with self._lock:
            vectors, results, without, forgotten = self.library.news()
            for name in without:
                self.vectors.pop(name, None)
                self.holdings.vectors.pop(name, None)
            for vector in vectors:
                self.vectors[vector.name] = vector
                self.holdings.vectors[vector.name] = size_of_vector(vector)
            left = {name: found for name, found in self.results.items() if name not in {*forgotten, *dict(results)}}
            self.results = left | dict(results)
            for name in forgotten:
                self.holdings.others.pop(name, None)
            for name, found in results:
                self.holdings.put(name, size_of(found))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes what they have meanwhile, and what others have changed is known."""
        with self._lock, self.library.held() if self.library else contextlib.nullcontext():
            self.refresh()
            yield

    def keep(self, vector: SteeringVector) -> str:
        """Put a vector into the list under a name that nothing else has, which is returned.

        Raises:
            InputError: the list is full, or the memory for it.
        """
        with self._alone():
            VECTORS.check(len(self.vectors) + 1)
            self.holdings.check(vector)
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
        self.holdings.vectors[name] = size_of_vector(vector)
        return name

    def rename(self, name: str, new: str) -> str:
        """Give a vector another name; where something else has it, with a number, as `keep` does."""
        if not (new := clean(new)):
            raise InputError("Write the new name first.")
        with self._alone():
            return self.keep(replace(self.delete(name), name=new))

    def delete(self, name: str) -> SteeringVector:
        """Take a vector out of the list, which is returned."""
        vector = self.vectors.pop(name)
        self.holdings.vectors.pop(name, None)
        if self.library:
            self.library.delete_vector(name)
        return vector

    @property
    def has_nothing(self) -> bool:
        """Whether nothing would be lost with them."""
        return not (self.vectors or self.results or self.drafts or self._folder)

    def remember(self, name: str, data: Any) -> None:
        """Keep a result, plain data, under a name; the last one counts, and is the latest of all. Numbers that are none
        are kept as None. But in a library of one's own the oldest make room, where there is too much of them.
        """
        self.results = {**{other: kept for other, kept in self.results.items() if other != name}, name: finite(data)}
        if self.library:
            self.library.keep_result(name, self.results[name])
        if not self.library or self.library.shared:
            self._make_room(name, size_of(self.results[name]))

    def work_on(self, page: str, draft: Any, size: int) -> None:
        """Keep the pairs that a page works on, which take so many bytes; None for those that everybody begins with."""
        self.draft = draft
        if draft is None:
            self._drop(page)
        else:
            self.drafts[page] = draft
            self._make_room(f"{DRAFT}{page}", size)

    def without_page(self, page: str) -> None:
        """A page is gone, and with it the pairs that it worked on, but for those that were shown last."""
        if self.drafts.get(page) is not self.draft:
            self._drop(page)

    def _drop(self, page: str) -> None:
        self.drafts.pop(page, None)
        self.holdings.others.pop(f"{DRAFT}{page}", None)

    def _make_room(self, name: str, size: int) -> None:
        with self._lock:
            for other in self.holdings.put(name, size):
                self.let_go(other)
                if self.library and not other.startswith(DRAFT):
                    self.library.delete_result(other)

    def let_go(self, name: str) -> None:
        """Free a result, or the pairs of a page, for want of room; `holdings.gone` has what was not said of it yet."""
        self.holdings.others.pop(name, None)
        if name.startswith(DRAFT):
            self.holdings.gone.append(DRAFT.strip())
            if self.drafts.pop(name.removeprefix(DRAFT), None) is self.draft:
                self.draft = None
        else:
            self.holdings.gone.append(name)
            self.results.pop(name, None)

    def refers_to(self, path: str) -> bool:
        """Whether a result was made with a file, so that it comes back with it."""
        made = [kept.get("asked") for kept in list(self.results.values()) if isinstance(kept, dict)]
        held = [value for asked in made if isinstance(asked, dict) for value in asked.values()]
        return any(path == value or (isinstance(value, list) and path in value) for value in held)

    def forget(self, name: str) -> None:
        """Delete a result."""
        self.results.pop(name, None)
        self.holdings.others.pop(name, None)
        if self.library:
            self.library.delete_result(name)

    def path(self, name: str, ending: str) -> Path:
        """Where a file of that name can be written; it is there as long as the person is, and there is room.

        gradio serves what lies in its folder to whoever knows the path, so that has a part that nobody guesses.
        """
        with self._lock:
            if not self._folder:
                root = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
                self._folder = Path(root) / f"caa-{secrets.token_hex(16)}"
                self._folder.mkdir(mode=0o700, parents=True)
        keep_below(self._folder, KEPT_MB.value * MB)
        return self._folder / download_name(name, ending)

    def end(self) -> None:
        """Free what they have."""
        self.vectors, self.results, self.drafts, self.draft, self.holdings = {}, {}, {}, None, Holdings()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(eq=False)
class Session:
    """One page of a person, and the jobs that run for it, by panel.

    `seen` is when it was last used or left, in seconds of the clock of `Sessions`. `shown` is with what each result was
    made that the page shows, None where that is not known. `wanted` is which vector a tab is to begin with, by the
    name of the tab, until it has; `settings` is what an experiment is to be asked, by its name, until it is filled in.
    `link` is what the address said with which it was opened. `opened` is which tabs it has opened, and which sections
    are open that follow, by gradio's number; `asked` is when what is shown of some choices was asked for, see
    `Page.latest`. `joined` is a class.
    `is_owner` says whether the owner's key was given here.
    """

    person: Person = field(default_factory=Person)
    jobs: dict[str, Running] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)
    link: Link | None = None
    opened: set[int] = field(default_factory=set)
    asked: dict[int, float] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: float = 0.0
    left: bool = False
    address: str = ""
    drops: Counter[str] = field(default_factory=Counter)
    joined: Classroom | None = None
    is_owner: bool = False
    place: Callable[["Session", str, Running], None] = lambda session, panel, job: session.take(panel, job)

    @property
    def classroom(self) -> Classroom | None:
        """The class whose rules apply here, if there is one, while it is held."""
        room = self.joined
        return None if not room or room.over or self.person in room.teachers else room

    @property
    def limits(self) -> Mapping[str, int]:
        """Limits that are lower here than elsewhere, by variable."""
        return self.classroom.rules.limits if self.classroom else {}

    @property
    def vectors(self) -> dict[str, SteeringVector]:
        return self.person.vectors

    def keep(self, vector: SteeringVector) -> str:
        """As `Person.keep`."""
        return self.person.keep(vector)

    def path(self, name: str, ending: str) -> Path:
        """As `Person.path`."""
        return self.person.path(name, ending)

    def follow(
        self, panel: str, job: Running, lasting: bool = False, wanted: Callable[[], bool] = always
    ) -> Generator[Any, None, None]:
        """Events of a job that `stop(panel)` ends; an older one of the same panel is stopped. Leaving ends it too,
        unless it is `lasting`, and so does `wanted`, where it says no.

        Raises:
            InputError: too many jobs run already; this one is stopped.
        """
        self.stop(panel)
        try:
            self.place(self, panel, job)
        except InputError:
            job.stop()
            raise
        yield from self.listen(panel, job, lasting, wanted)

    def listen(
        self, panel: str, job: Running, lasting: bool = True, wanted: Callable[[], bool] = always
    ) -> Iterator[Any]:
        """Events of a job that runs already, from its last one on. As `follow`."""
        try:
            yield from job.watch(lasting=lasting, wanted=wanted)
        finally:
            if (job.over or not lasting) and self.jobs.get(panel) is job:
                del self.jobs[panel]

    def take(self, panel: str, job: Running) -> None:
        """Note a job as this page's. Raises InputError where it has too many."""
        JOBS.check(len(self.running.keys() | {panel}))
        self.jobs[panel] = job

    @property
    def running(self) -> dict[str, Running]:
        """Its jobs that go on. One that nobody listened to when it ended is forgotten now."""
        for panel, job in list(self.jobs.items()):
            if job.over and self.jobs.get(panel) is job:
                del self.jobs[panel]
        return dict(self.jobs)

    def stop(self, panel: str) -> None:
        if job := self.jobs.get(panel):
            job.stop()

    def drop(self, panel: str) -> None:
        """Stop a panel's job, and forget that it was this panel's; `drops` counts how often."""
        self.drops[panel] += 1
        if job := self.jobs.pop(panel, None):
            job.stop()

    def stop_all(self) -> None:
        for job in self.running.values():
            job.stop()

    def is_over(self, now: float) -> bool:
        """Whether nobody is expected to come back to it."""
        return now - self.seen > (GRACE if self.left else IDLE).value and not self.running


@dataclass(frozen=True)
class AtWork:
    """A job that runs: of which panel, for how many seconds, and by which number it is known while it does."""

    number: str
    panel: str
    seconds: float
    job: Running


class Sessions:
    """The pages that are open, and the people whose pages they are. With a library, all of them are its owner; with
    shelves, what each person has made lies there, and other apps find it as well.

    `clock` gives seconds that only grow.
    """

    def __init__(
        self,
        library: Library | None = None,
        clock: Callable[[], float] = time.monotonic,
        shelves: Shelves | None = None,
    ):
        self._clock = clock
        self.shelves = shelves
        self._owner = Person.of(library) if library else None
        self._pages: dict[str, Session] = {}
        self._people: dict[str, Person] = {}
        self.closed = False  # nobody new may run anything
        self._gone: list[str] = []  # pages that had to make room
        self._streams: Counter[str] = Counter()
        self._since: WeakKeyDictionary[Running, float] = WeakKeyDictionary()
        self._lock = threading.RLock()

    def knows(self, key: Any) -> bool:
        """Whether a browser that keeps `key` finds what its person has made; with a library everybody does."""
        if self._owner or not isinstance(key, str):
            return bool(self._owner)
        return key in self._people or bool(self.shelves and self.shelves.has(key))

    @property
    def has_library(self) -> bool:
        """Whether everybody here is the owner of one library."""
        return bool(self._owner)

    def enter(self, page: str | None, key: Any) -> str:
        """A page was opened by a browser that keeps `key`. Returns the key that it shall keep.

        A key that nobody has is not taken over: who makes one up gets an empty session of their own.
        """
        kept = self._kept_of(key)
        with self._lock:
            session = self.of(page)
            known = self._people.get(key) if isinstance(key, str) else None
            if kept and not known:
                self._make_place()
                known = self._people[kept.key] = kept
            if known and known is not session.person:
                # The page's first events came before this one, and got a person of their own.
                if all(other is session or other.person is not session.person for other in self._pages.values()):
                    self._end(session.person)
                session.person = known
            person = session.person
        if self.shelves and not person.library:
            person.library = self.shelves.make(person.key)
        return person.key

    def _kept_of(self, key: Any) -> Person | None:
        """Whoever has that key and is not known yet, with what they have made at another app, or before."""
        if not (self.shelves and isinstance(key, str)):
            return None
        if known := self._people.get(key):
            known.refresh(anyway=True)
            return None
        library = self.shelves.find(key)
        return Person.of(library, key) if library else None

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
        lowered.set(session.limits)
        if self.refuses(session):
            raise InputError("Who runs this app lets nobody new in just now, so nothing can be run.")
        with self._lock:
            jobs = [(other, name) for other in self._pages.values() for name in other.running]
            others = [other for other, name in jobs if other is not session or name != panel]
            taken = [other.address for other in others]
            if not self._owner:
                JOBS.check(1 + sum(other.person is session.person for other in others))
            if len(taken) >= PLACES.value:
                raise InputError("This app is at work on as many things as it takes; try again in a minute.")
            if session.address and taken.count(session.address) >= PLACES.value // 2:
                raise InputError(
                    "Half of what this app does at once is asked for from where you are; wait until some of it is done."
                )
            session.take(panel, job)
            self._since[job] = self._clock()

    def listens(self, page: str, streams: int) -> None:
        """So many more streams of a page are open, over which it hears what becomes of what it asked for."""
        with self._lock:
            self._streams[page] += streams
            if session := self._pages.get(page):
                session.seen = self._clock()
            if self._streams[page] <= 0:
                del self._streams[page]

    def is_open(self, page: str) -> bool:
        """Whether somebody listens to what becomes of what a page asked for."""
        return self._streams[page] > 0

    def expects(self, page: str) -> bool:
        """Whether a page is there, or is expected to come back."""
        return page in self._pages

    def needs(self, person: Person, path: str) -> bool | None:
        """Whether a person's results refer to a file; None where they are gone."""
        if person is not self._owner and person.key not in self._people:
            return None
        return person.refers_to(path)

    def runs_elsewhere(self, session: Session, panel: str) -> bool:
        """Whether another page of the same person has a job of that panel."""
        return self._elsewhere(session, panel) is not None

    def take_over(self, session: Session, panel: str) -> Running | None:
        """The job of that panel that another page of the same person left running, which is this page's from now on;
        None where there is none, or somebody still listens there.
        """
        with self._lock:
            found = self._elsewhere(session, panel)
            if not found or self._streams[found[0]] or panel in session.running:
                return None
            other = self._pages[found[0]]
            session.jobs[panel] = job = other.jobs.pop(panel)
            session.drops[panel] = other.drops[panel]
            return job

    def _elsewhere(self, session: Session, panel: str) -> tuple[str, Running] | None:
        with self._lock:
            for page, other in self._pages.items():
                if other is not session and other.person is session.person and panel in other.running:
                    return page, other.jobs[panel]
        return None

    def leave(self, page: str | None) -> None:
        """A page was closed or reloaded, or its connection broke.

        What the person made stays for a while, and what runs goes on for a while; a page that only slept finds both.
        """
        with self._lock:
            if page and (session := self._pages.get(page)):
                session.seen, session.left = self._clock(), True

    def sweep(self, asking: Collection[str] = ()) -> list[str]:
        """Forget pages that are gone for good, and free what people had who have no others; end jobs that nobody waits
        for any more, and those that have run too long. Returns those pages. asking: pages that have just asked for
        something, of which nobody knows here yet.
        """
        with self._lock:
            now = self._clock()
            self._end_jobs(now)
            over = [page for page, session in self._pages.items() if session.is_over(now) and page not in asking]
            for page in over:
                self._pages.pop(page).person.without_page(page)
            remain = {id(session.person) for session in self._pages.values()}
            for person in [person for person in self._people.values() if id(person) not in remain]:
                self._end(person)
            self._shrink()
            gone, self._gone = [*over, *(page for page in self._gone if page not in self._pages)], []
            return gone

    def _end_jobs(self, now: float) -> None:
        for page, session in self._pages.items():
            for job in session.running.values():
                if not self._streams[page] and now - session.seen > GRACE_JOB.value:
                    job.stop()
                elif now - self._since.get(job, now) > LONGEST.value:
                    job.stop(f"This app lets a job run for {LONGEST.value:,} s at most; what had come by then is kept.")

    def refuses(self, session: Session) -> bool:
        """Whether somebody has come since nobody new is let in."""
        return self.closed and session.person.late

    def at_work(self) -> list[AtWork]:
        """Jobs of all pages, the oldest first."""
        now, pages = self._clock(), list(self._pages.values())
        jobs = [(panel, job) for session in pages for panel, job in session.running.items()]
        found = [AtWork(f"{id(job)}", panel, now - self._since.get(job, now), job) for panel, job in jobs]
        return sorted(found, key=lambda one: -one.seconds)

    @property
    def held_mb(self) -> float:
        """MB of memory of all that people have made."""
        return sum(person.holdings.total for person in list(self._people.values())) / MB

    def running(self) -> list[Running]:
        """Jobs of all pages."""
        return [job for session in list(self._pages.values()) for job in session.running.values()]

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
            for session in self._pages.values():
                session.stop_all()
            for person in [*self._people.values(), *filter(None, [self._owner])]:
                self._end(person)
                if person.library:
                    person.library.close()
            self._pages.clear()

    def _make_place(self) -> None:
        """Let there be a place for one more. Raises InputError where there is none."""
        if len(self._people) >= SESSIONS.value:
            self.sweep()
        if len(self._people) >= SESSIONS.value:
            self._make_room()

    def _newcomer(self) -> Person:
        self._make_place()
        person = Person(late=self.closed)
        self._people[person.key] = person
        return person

    def _make_room(self) -> None:
        """Let go of one person. Raises InputError where all places are taken by what people have, who are here."""
        cost = self._costs()
        key = min(cost, key=lambda key: cost[key])
        if cost[key][0] <= CROWDED:
            self._let_go(key)
        elif len(self._people) - sum(map(self._is_idle, self._people)) >= SESSIONS.value:
            raise InputError("This app is full: there are as many people here as it takes. Try again later.")

    def _shrink(self) -> None:
        """Free memory where people hold more than they all may: first who would have to make room, then what was kept
        first, whoever it belongs to.
        """
        while sum(person.holdings.total for person in self._people.values()) > ALL_KEPT_MB.value * MB:
            cost = {key: cost for key, cost in self._costs().items() if self._people[key].holdings.total}
            key = min(cost, key=lambda key: cost[key])
            if cost[key][0] <= CROWDED:
                self._let_go(key)
            elif found := oldest(person.holdings for person in self._people.values()):
                holdings, name = found
                next(person for person in self._people.values() if person.holdings is holdings).let_go(name)
            else:
                return

    def _pages_of(self, key: str) -> dict[str, Session]:
        person = self._people[key]
        return {page: session for page, session in self._pages.items() if session.person is person}

    def _is_idle(self, key: str) -> bool:
        return self._people[key].has_nothing and not any(one.running for one in self._pages_of(key).values())

    def _costs(self) -> dict[str, tuple[int, float]]:
        """In which order people make room, by their keys: who has nothing to lose, whoever they say they are; who left,
        or was not seen lately; who is at an address that has more than half of all places; each time who was seen
        longest ago. Above CROWDED are those who do not: something of theirs runs, or their page is open.
        """
        pages: defaultdict[str, dict[str, Session]] = defaultdict(dict)
        for page, session in self._pages.items():
            pages[session.person.key][page] = session
        crowd = Counter(next(iter(theirs.values())).address for theirs in pages.values())
        lately = self._clock() - SECONDS_HERE

        def cost(key: str) -> int:
            theirs = pages[key].values()
            if any(self._streams[page] for page in pages[key]):
                return CROWDED + 2
            runs = any(session.running for session in theirs)
            if self._people[key].has_nothing and not runs:
                return 0
            if runs:
                return CROWDED + 1
            if all(session.left or session.seen <= lately for session in theirs):
                return 1
            crowded = any(session.address and crowd[session.address] > SESSIONS.value // 2 for session in theirs)
            return CROWDED if crowded else CROWDED + 1

        return {
            key: (cost(key), max((session.seen for session in pages[key].values()), default=0.0))
            for key in self._people
        }

    def _let_go(self, key: str) -> None:
        for page in self._pages_of(key):
            del self._pages[page]
            self._gone.append(page)
        self._end(self._people[key])

    def _end(self, person: Person) -> None:
        self._people.pop(person.key, None)
        person.end()
