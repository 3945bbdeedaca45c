"""Classes: what a teacher has chosen for all in one, and what has come of it, in counts.

All of it is in memory, and goes with the class. Whoever is in one has a number there, drawn by chance, and no name.
"""

import hashlib
import hmac
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from caa_core.app.keys.tries import Tries
from caa_core.errors import InputError

# Classes at once, and people of one that are counted.
MOST, PEOPLE = 20, 500
SECONDS_AN_HOUR = 3600
NOBODY = hashlib.sha256(b"").digest()


@dataclass(frozen=True)
class Rules:
    """What a teacher has chosen.

    code: by which the class is joined, in small letters. model: which is loaded, as `caa.load` finds it; any where that
    is empty. presets: those that there are. lesson: as the tab Learn reads it; None for the one that ships. limits:
    lower ones than the app's, by their variables. texts: what may be asked where prompts are not free. word_pieces:
    whether lists of tokens are shown. everybody: whether all are in it who come, with a code or without.
    """

    title: str
    code: str
    presets: tuple[str, ...]
    model: str = ""
    lesson: Any = None
    limits: Mapping[str, int] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()
    free_prompts: bool = True
    word_pieces: bool = True
    everybody: bool = False
    hours: float = 4.0

    def check_preset(self, name: str) -> None:
        """Raises InputError for a preset that is no part of the class."""
        if name not in self.presets:
            raise InputError(f"{name} is no part of this class, which has {', '.join(self.presets)}.")

    def check_text(self, text: str | None) -> None:
        """Raises InputError for a text of somebody's own where prompts are not free."""
        if not self.free_prompts and (text or "").strip() not in self.texts | {""}:
            raise InputError("In this class only the examples can be asked: choose one of them.")


@dataclass(frozen=True)
class Part:
    """How far somebody is in the lesson. predictions: choices, outcomes: what came out and whether it was of a run of
    their own, each by step, from 0.
    """

    step: int = 0
    predictions: Mapping[int, int] = field(default_factory=dict)
    outcomes: Mapping[int, tuple[str, bool]] = field(default_factory=dict)


class Classroom:
    """A class that is held. `teachers` are those who have given its key, to whom its rules do not apply. `ends`: when,
    in seconds of the clock of `Classrooms`.
    """

    def __init__(self, rules: Rules, key: str, ends: float):
        self.rules, self.ends, self.over = rules, ends, False
        self.teachers: WeakSet[Any] = WeakSet()
        self._digest = _digest(key)
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._parts: dict[int, Part] = {}
        self._lock = threading.Lock()

    def opens(self, key: str) -> bool:
        """Whether it is the class's key. It takes as long whatever is given."""
        return hmac.compare_digest(_digest(key), self._digest)

    def join(self, person: Any) -> None:
        """Count somebody, once."""
        self._put(person, None)

    def note(self, person: Any, part: Part) -> None:
        """Note how far somebody is."""
        self._put(person, part)

    def _put(self, person: Any, part: Part | None) -> None:
        with self._lock:
            if self.over or person in self.teachers or (person not in self._numbers and len(self._parts) >= PEOPLE):
                return
            number = self._numbers.get(person)
            if number is None:
                number = self._numbers[person] = random.SystemRandom().getrandbits(62)
            self._parts[number] = part or self._parts.get(number, Part())

    @property
    def parts(self) -> list[Part]:
        """How far each is, in an order that says nothing."""
        with self._lock:
            return [part for _, part in sorted(self._parts.items(), key=lambda one: one[0])]

    def end(self) -> None:
        """Forget what came of it."""
        with self._lock:
            self.over = True
            self._parts.clear()
            self._numbers.clear()


class Classrooms:
    """Those that are held, by code. `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._held: dict[str, Classroom] = {}
        self._lock = threading.RLock()
        self.tries = Tries(clock)

    def open(self, rules: Rules, key: str) -> Classroom:
        """Hold a class. Raises InputError where its code is taken, or there are too many."""
        with self._lock:
            self.sweep()
            if rules.code in self._held:
                raise InputError(f"There is a class with the code {rules.code} already: choose another code.")
            if len(self._held) >= MOST:
                raise InputError(f"There are {MOST} classes already, which is all that this app holds at once.")
            if rules.everybody and self.of_everybody:
                raise InputError("There is a class for everybody already: end it first.")
            self._held[rules.code] = room = Classroom(rules, key, self._clock() + rules.hours * SECONDS_AN_HOUR)
            return room

    def find(self, code: str) -> Classroom | None:
        """The class of a code, however it is written."""
        self.sweep()
        return self._held.get(code.strip().lower())

    def behind(self, code: str, key: str, address: str, teacher: Any) -> Classroom:
        """The class of a code for who gives its key, who is one of its teachers from then on. Raises InputError for who
        does not have both, and for who tries too fast.
        """

        def look(given: str) -> Classroom:
            room = self.find(code)
            # It takes as long for a code that there is not.
            right = room.opens(given) if room else hmac.compare_digest(_digest(given), NOBODY)
            if not (room and right):
                raise InputError("There is no class with this code and this key.")
            return room

        room = self.tries.open(key, address, look)
        room.teachers.add(teacher)
        return room

    def taught_by(self, person: Any) -> Classroom | None:
        """The last class whose key somebody has given."""
        self.sweep()
        return next((room for room in reversed(self.held) if person in room.teachers), None)

    @property
    def held(self) -> Sequence[Classroom]:
        """In the order in which they were opened."""
        with self._lock:
            return [*self._held.values()]

    @property
    def of_everybody(self) -> Classroom | None:
        """The class of all who come, if there is one."""
        return next((room for room in self.held if room.rules.everybody), None)

    def check_model(self, spec: str) -> None:
        """Raises InputError where a class is held with another model."""
        self.sweep()
        if found := next((room for room in self.held if room.rules.model not in ("", spec)), None):
            raise InputError(f"A class is held with the model {found.rules.model}: another one can be loaded after it.")

    def end(self, room: Classroom) -> None:
        """End a class, and forget what came of it."""
        with self._lock:
            if self._held.get(room.rules.code) is room:
                del self._held[room.rules.code]
        room.end()

    def sweep(self) -> None:
        """End those whose time is over."""
        for room in self.held:
            if self._clock() >= room.ends:
                self.end(room)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
