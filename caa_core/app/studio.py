"""What the page asks for: the model, vectors, people, and work that is handed to the worker."""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from typing import Any
from weakref import WeakKeyDictionary

from caa_core.app.files import Uploads
from caa_core.app.keys.classrooms import Classroom, Classrooms, Rules
from caa_core.app.keys.tries import Tries
from caa_core.app.library import Library, Shelves
from caa_core.app.quick_check import Capability, look
from caa_core.app.sessions import Session, Sessions
from caa_core.app.worker import Job, Owner, Worker
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.elsewhere import Runner, lend
from caa_core.model.loading import ModelParts, SteerableModel, read, wrap
from caa_core.model.machine import free_memory, used_memory
from caa_core.progress import Progress, Queued, Say, tell
from caa_core.remote.host import Host
from caa_core.remote.loading import load as load_there
from caa_core.steering.interventions import Gate, parse_steer
from caa_core.vectors.extraction import preset_vector
from caa_core.vectors.vector import SteeringVector

# How often running jobs are looked at while the app ends, and how long a stopped one may take for its last step.
SECONDS_BETWEEN_LOOKS = 0.05

SECONDS_TO_STOP = 5

# Results for everybody that are kept, each of some 0.1 MB.
MOST_FOUND = 100

# What a measurement takes while it runs, of which part of the memory that is free when a model has been loaded; and so
# many may run at once in any case.
HEAVY_BYTES = 95_000_000
SHARE = 0.6
LEAST_ROOMS = 2

Work = Callable[[SteerableModel], Generator[Any, None, Any]]


class Studio:
    """The model, its worker, and the sessions of everybody who is here."""

    def __init__(
        self,
        spec: str = DEFAULT_MODEL,
        say: Say = tell,
        library: Library | None = None,
        dtype: str = "",
        elsewhere: Runner | None = None,
        shelves: Shelves | None = None,
        host: Host | None = None,
    ):
        """elsewhere: what runs jobs of the model in another process, which has a GPU. shelves: where what people have
        made lies, for other apps too.
        host: where the model runs, if not here.
        """
        self.run_id = secrets.token_hex(8)  # by which a page finds out that it was served by another one
        self._worker = Worker()
        self.sessions = Sessions(library, shelves=shelves)
        self.owner, self.programs = Tries(), Tries()
        self.classes = Classrooms()
        self.uploads = Uploads()
        # What experiments on presets have come to, for all who ask the same: plain data by `metrics.cache.key`.
        self.found: dict[str, dict[str, Any]] = {}
        self._closing = False
        self._elsewhere = elsewhere
        self.rooms = LEAST_ROOMS  # for measurements that are at work, and from where they were asked for
        self._at_work: list[str] = []
        # Vectors of presets by model, and how far those that are being made have come.
        self._preset_vectors: WeakKeyDictionary[SteerableModel, dict[str, SteeringVector]] = WeakKeyDictionary()
        self._making: dict[tuple[SteerableModel, str], Progress] = {}
        self._loading = threading.Lock()
        self.model: SteerableModel
        self.host: Host | None = None
        self._look: Job
        self.load(spec, dtype, say, host)

    def run(self, work: Work, session: Session | None = None, heavy: bool = False) -> Job:
        """Queue work on whichever model is loaded when its turn comes. All jobs of a session's person have one share of
        the time together, which is the smaller the more people are at the same address. What is `heavy` on
        memory waits while as much of it is at work as there is room for. Raises InputError while the app ends.
        """
        if self._closing:
            raise InputError("The app is being ended just now; try again in a minute.")
        if self._elsewhere:
            work = _asked_in(copy_context(), work)
        owner = Owner(id(session.person), session.address) if session else None
        address = session.address if session else ""
        return self._worker.submit(lambda: self._heavy(work, address) if heavy else work(self.model), owner)

    def _heavy(self, work: Work, address: str) -> Generator[Any, None, Any]:
        while len(self._at_work) >= self.rooms or (address and self._at_work.count(address) >= self.rooms // 2):
            yield Queued.behind(len(self._at_work))
        self._at_work.append(address)
        try:
            return (yield from work(self.model))
        finally:
            self._at_work.remove(address)

    def keep_found(self, name: str, found: dict[str, Any]) -> None:
        """Keep what an experiment came to for whoever asks the same next; the oldest goes."""
        self.found[name] = found
        if len(self.found) > MOST_FOUND:
            del self.found[next(iter(self.found))]

    def load(self, spec: str, dtype: str = "", say: Say = tell, host: Host | None = None) -> None:
        """Load another model for everybody, and return when it is in place; the old one works until then.

        Both are in memory for a moment, so the new one has to fit beside the old one.

        Args:
            say: is told how far it has come.
            host: where it runs, if not here.

        Raises:
            InputError: it cannot be loaded, another one is being loaded, or a class is held with the old one, which
                stays.
        """
        self.classes.check_model(spec)
        if not self._loading.acquire(blocking=False):
            raise InputError("Another model is being loaded just now; wait until it is there.")
        try:
            if host:
                self.model = load_there(spec, host, say)
            else:
                loaded = read(spec, dtype, say=say)
                self.model = self._worker.submit(lambda: _wrapped(loaded)).wait()
            self.spec, self.host = spec, host  # by which a program loads the same
            self.rooms = max(LEAST_ROOMS, int(free_memory(self.model.device.type) * SHARE // HEAVY_BYTES))
            self._look = self.run(look)
            if self._elsewhere and not host:
                # Nobody has asked for the look, and a GPU is lent to somebody.
                with contextlib.suppress(Exception):
                    self._look.wait()
                lend(self.model, spec, self.model.precision, self._elsewhere)
        finally:
            self._loading.release()

    def hold(self, rules: Rules, key: str, say: Say = tell) -> Classroom:
        """Hold a class, with its model loaded. Raises InputError where one of both cannot be."""
        if self.sessions.has_library:
            raise InputError(
                "With CAA_LIBRARY everybody is the owner of one library, so nobody could be told from others: "
                "start the app without."
            )
        if rules.model not in ("", self.spec):
            self.load(rules.model, say=say)
        self.classes.check_model(rules.model or self.spec)
        return self.classes.open(rules, key)

    @property
    def capability(self) -> Capability | BaseException | None:
        """What a quick look at the loaded model found, or why it failed; None while it goes on."""
        return self._look.result or self._look.error

    @property
    def secret(self) -> str | None:
        """What browsers hide their keys with: the same at all apps that share a folder; None for one of its own."""
        return self.sessions.shelves.secret if self.sessions.shelves else None

    @property
    def jobs(self) -> int:
        """How many jobs share the model now."""
        return self._worker.jobs

    def session(self, page: str | None, address: str = "") -> Session:
        """The session of a page or a client; see `Sessions.of`."""
        session = self.sessions.of(page, address)
        session.person.refresh()
        if not session.joined or session.joined.over:
            session.joined = self.classes.of_everybody
        return session

    def finish(self, seconds: float) -> int:
        """Take no new work, and let what runs come to its end for so long. Returns how many jobs had to be stopped."""
        self._closing = True
        self._wait(seconds)
        late = self.sessions.running()
        for job in late:
            job.stop()
        self._wait(SECONDS_TO_STOP)
        return len(late)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.sessions.running() and time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_LOOKS)

    @property
    def health(self) -> dict[str, Any]:
        """What somebody who looks after the app wants to know, and nothing of anybody's: counts and sizes."""
        model, dtype = self.model, self.model.precision
        return {
            "status": "ending" if self._closing else "ok",
            "model": {"name": model.name, "dtype": dtype, "device": model.device.type},
            "queue": {"jobs": len(self.sessions.running())},
            "sessions": {"here": self.sessions.here, "kept": self.sessions.kept},
            "memory": {"used_mb": used_memory() // 1_000_000, "free_mb": int(free_memory(model.device.type) / 1e6)},
        }

    def vector(self, model: SteerableModel, session: Session, name: str) -> Generator[Progress, None, SteeringVector]:
        """A vector of the session, or of a preset, which is made on first use and kept for everybody."""
        if name in session.vectors:
            return session.vectors[name]
        if name not in presets():
            raise InputError(f"There is no vector '{name[:80]}' here; make it, upload it, or choose a preset.")
        if room := session.classroom:
            room.rules.check_preset(name)
        made = self._preset_vectors.setdefault(model, {})
        while name not in made:
            if (model, name) in self._making:
                # Somebody else's job makes it; it advances while this one gives up its turns.
                yield self._making[model, name]
            else:
                made[name] = yield from self._make(model, name)
        return made[name]

    def gate(self, model: SteerableModel, session: Session, spec: str) -> Generator[Progress, None, Gate | None]:
        """A gate as it is typed (see `options.GATE`), where one is."""
        if not spec:
            return None
        name, layer, threshold = parse_steer(spec)
        vector = yield from self.vector(model, session, name)
        return Gate(vector.at(model.check_layer(layer)), layer, threshold)

    def _make(self, model: SteerableModel, name: str) -> Generator[Progress, None, SteeringVector]:
        work = preset_vector(model, presets()[name])
        try:
            while True:
                self._making[model, name] = progress = next(work)
                yield progress
        except StopIteration as end:
            return end.value
        finally:
            work.close()
            self._making.pop((model, name), None)


def _asked_in(context: Context, work: Work) -> Work:
    """The same work, whose steps know who asks, as the thread does that asks for it."""

    def steps(model: SteerableModel) -> Generator[Any, None, Any]:
        made = context.run(work, model)
        try:
            while True:
                try:
                    event = context.run(next, made)
                except StopIteration as end:
                    return end.value
                yield event
        finally:
            made.close()

    return steps


def _wrapped(loaded: ModelParts) -> Generator[None, None, SteerableModel]:
    yield
    return wrap(loaded)
