"""What people may ask of the app, in one place: who it is for, and how much of everything.

Every limit has two values, one for an app that somebody runs for themselves and one for a public app, and an
environment variable that overrides both. What keeps a reader of hostile files safe (brackets, layers, entries of a zip)
is not a matter of taste and stands beside that reader.
"""

import hashlib
import hmac
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count

from caa_core.errors import InputError


def is_public() -> bool:
    """True where strangers use the app: models of the catalogue only, nothing typed is opened or fetched.

    `CAA_PUBLIC` decides, 1 or 0; where it is not set, a Hugging Face Space is public.
    """
    said = os.environ.get("CAA_PUBLIC", "")
    return said != "0" if said else bool(os.environ.get("SPACE_ID"))


def serves_agents() -> bool:
    """True where agents may call the app's tools by MCP, which `CAA_MCP` asks for with 1."""
    return os.environ.get("CAA_MCP", "") == "1"


def serves_completions() -> bool:
    """True where programs may ask in the way of OpenAI: unless `CAA_API` is 0, on a public app only where it is 1."""
    said = os.environ.get("CAA_API", "")
    return said == "1" if is_public() else said != "0"


def api_key() -> str:
    """What programs give that ask in the way of OpenAI; empty where they need none."""
    return os.environ.get("CAA_API_KEY", "")


def check_api_key(key: str) -> None:
    """Raises InputError for another key than that for programs, where there is one."""
    if api_key() and not _same(key, api_key()):
        raise InputError("This app takes another key: who runs it has set it as CAA_API_KEY.")


def owner_key() -> str:
    """What the owner of a public app types to load another model; empty where nobody may."""
    return os.environ.get("CAA_OWNER_KEY", "")


def check_owner(key: str, do: str = "load another model") -> None:
    """Raises InputError on a public app for everybody who does not have its owner's key; do: what they may not."""
    if is_public() and not (owner_key() and _same(key, owner_key())):
        raise InputError(f"This app is open to strangers: only its owner may {do}.")


def _same(given: str, right: str) -> bool:
    """Whether it is the key."""
    # Digests, since how long the comparison of texts takes tells how long they are.
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, right)]
    return hmac.compare_digest(*digests)


# For whom the thread at hand asks: limits that are lower for them than for others, by variable.
lowered: ContextVar[Mapping[str, int]] = ContextVar("lowered", default={})  # noqa: B039  # nobody writes to it


@dataclass(frozen=True)
class Limit:
    """A number that `variable` sets; without it `alone` counts where one person runs the app, else `public`."""

    variable: str
    what: str
    alone: int
    public: int

    @property
    def value(self) -> int:
        """The number that counts: the app's, or a lower one for who asks. Raises InputError where the variable does not
        hold one.
        """
        return min(self._of_all, lowered.get().get(self.variable, self._of_all))

    @property
    def _of_all(self) -> int:
        said = os.environ.get(self.variable, "").strip()
        if not said:
            return self.public if is_public() else self.alone
        if not (said.isascii() and said.isdigit() and len(said) < 16):
            raise InputError(f"{self.variable} must be a whole number from 0 on.")
        return int(said)

    def check(self, count: int) -> None:
        """Raises InputError where `count` is more than that."""
        if count > self.value:
            raise InputError(f"{count:,} {self.what} are too many; this app takes {self.value:,} at most.")


# In seconds: longer than anybody waits, so without limit.
YEAR = 31_536_000

PAIRS = Limit("CAA_MAX_PAIRS", "contrast pairs at once", 100_000, 2_000)
CUT = Limit("CAA_MAX_CUT", "characters of pairs that are cut into tokens to look them over", 100_000_000, 500_000)
TOKENS = Limit("CAA_MAX_TOKENS", "new tokens in an answer", 2_048, 512)
PROMPT = Limit("CAA_MAX_PROMPT", "characters in a prompt", 1_000_000, 20_000)
ROWS = Limit("CAA_MAX_ROWS", "records in a file", 100_000, 20_000)
FILE_MB = Limit("CAA_MAX_FILE_MB", "MB in a file of pairs", 20, 10)
UPLOAD_MB = Limit("CAA_MAX_UPLOAD_MB", "MB in any file that is uploaded", 200, 50)
UPLOADS_MB = Limit("CAA_MAX_UPLOADS_MB", "MB of uploads at once, of which one address may have half", 20_000, 2_000)
PERSON_MB = Limit("CAA_MAX_PERSON_MB", "MB of uploads that one person uses", 20_000, 200)
BODY_MB = Limit("CAA_MAX_BODY_MB", "MB in a request that is no upload", 50, 5)
SESSIONS = Limit("CAA_MAX_SESSIONS", "sessions that are kept", 1_000, 200)
VECTORS = Limit("CAA_MAX_VECTORS", "vectors in one session", 1_000, 50)
KEPT_MB = Limit("CAA_MAX_KEPT_MB", "MB of memory for what one person has made", 20_000, 200)
ALL_KEPT_MB = Limit("CAA_MAX_ALL_KEPT_MB", "MB of memory for what all have made", 100_000, 2_000)
JOBS = Limit("CAA_MAX_JOBS", "jobs at once of one person", 50, 20)
PLACES = Limit("CAA_MAX_ALL_JOBS", "jobs at once in the app, of which one address may have half", 160, 80)
KEPT_DAYS = Limit("CAA_KEPT_DAYS", "days that what people made is kept for them in CAA_PEOPLE", 3_650, 30)
GRACE_JOB = Limit("CAA_GRACE_JOB", "seconds that a job goes on when nobody listens to it", YEAR, 60)
LONGEST = Limit("CAA_MAX_JOB_SECONDS", "seconds that a job may run", YEAR, 3_600)
PROXIES = Limit("CAA_PROXIES", "proxies before the app, whose word on who asks is taken", 0, 0)
ADDITIONS = Limit("CAA_MAX_ADDITIONS", "vectors added at once", 100, 20)
GRACE = Limit("CAA_GRACE_SECONDS", "seconds that a session outlives its last page", 900, 900)
IDLE = Limit("CAA_IDLE_SECONDS", "seconds that a session stays which nobody uses or leaves", 21_600, 3_600)
STOP = Limit("CAA_STOP_SECONDS", "seconds that running jobs get when the app is ended", 20, 20)

# What a teacher may lower for a class, by its name in the class's file.
OF_A_CLASS = {"tokens": TOKENS, "prompt": PROMPT, "pairs": PAIRS, "vectors": VECTORS, "jobs": JOBS}

# For whom the thread at hand reads: an address, where the app is open to strangers.
asking: ContextVar[str] = ContextVar("asking", default="")


class Turns:
    """At most so many at once; whoever has the fewest at work is next."""

    def __init__(self, most: int):
        self._most = most
        self._numbers = count()
        self._waiting: list[tuple[int, str]] = []
        self._at_work: list[str] = []
        self._changed = threading.Condition()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for a turn, and have it."""
        mine = next(self._numbers), asking.get()
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: self._is_next(mine))
            self._waiting.remove(mine)
            self._at_work.append(mine[1])
            self._changed.notify_all()  # there may be room for one more
        try:
            yield
        finally:
            with self._changed:
                self._at_work.remove(mine[1])
                self._changed.notify_all()

    def _is_next(self, mine: tuple[int, str]) -> bool:
        first = min(self._waiting, key=lambda one: (self._at_work.count(one[1]), one[0]))
        return len(self._at_work) < self._most and first is mine


# Files that are little work are read in the app's own process, the rest in processes of their own.
HERE, APART = Turns(2), Turns(2)
