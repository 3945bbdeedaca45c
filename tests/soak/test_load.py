"""Many people at once on one app: nobody fails, nobody gets what is another's, and together they are faster than alone.

`CAA_LOAD_CLIENTS` people work once, and until `CAA_LOAD_SECONDS` are over, in each of `CAA_LOAD_DTYPES`, where
`default` is what people get; `CAA_LOAD_REPORT` names a file for the table. `make soak` asks for thirty people and five
minutes on the embedded model; `CAA_LOAD_MODEL` names it, and without it a tiny one is loaded.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from caa_core.data.presets import Preset, presets
from caa_core.vectors.vector import SteeringVector, load_vector
from tests.helpers.app import App, get

pytestmark = pytest.mark.long

CLIENTS = int(os.environ.get("CAA_LOAD_CLIENTS", "3"))
SECONDS = float(os.environ.get("CAA_LOAD_SECONDS", "0"))
MODEL = os.environ.get("CAA_LOAD_MODEL", "")
DTYPES = os.environ.get("CAA_LOAD_DTYPES", "float32").split()
# From so many on, what all of them together write a second has to be so many times what one does.
MANY, TIMES = 30, 5.0
PAIRS = 4
TOKENS = 10  # of an answer that is compared
LONG = 80  # of one that is timed
LAYERS, STRENGTH = ([12, 13, 14, 15], 1.5) if MODEL else ([1, 2, 3], 6.0)
THINGS = ("dogs", "rivers", "kings", "trains", "gardens", "ships", "winters", "bakers", "robots", "mountains")


REPORTS: list[str] = []


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def busy_app(request, dtype, tmp_path):
    """In a process of its own where it is measured; else the one of all tests."""
    if not MODEL:
        yield request.getfixturevalue("tiny_app")
        return
    settings = {"CAA_MODEL": MODEL, "CAA_PUBLIC": "0", "CAA_DTYPE": "" if dtype == "default" else dtype}
    app = App(env=settings, log=tmp_path / "log.txt")
    try:
        yield app.wait()
    finally:
        app.stop()


@dataclass(eq=False)
class Guest:
    """One person with a prompt, files of pairs, vectors, multipliers and a seed that nobody else has.

    alone: tokens of each kind of answer, asked while nobody else was there. seconds: of each kind of call.
    """

    number: int
    client: Client
    folder: Path
    names: dict[str, str] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    vectors: dict[str, SteeringVector] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    alone: dict[str, list[list[int]]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    equal: int = 0

    @classmethod
    def arrive(cls, app: App, number: int, folder: Path) -> "Guest":
        folder.mkdir()
        guest = cls(number, Client(app.url, verbose=False, ssl_verify=False, download_files=folder), folder)
        # Everybody calls one vector "mine", and each has another one whose name is theirs alone.
        shift = number // len(presets()) * PAIRS
        guest._write("mine", guest.preset, slice(shift, shift + PAIRS))
        guest._write(guest.own, guest.opposite, slice(-shift - PAIRS, -shift or None))
        return guest

    def _write(self, name: str, preset: Preset, part: slice) -> None:
        pairs = json.loads(preset.pairs_file.read_text())[part]
        assert len(pairs) == PAIRS
        (self.folder / f"{name}.json").write_text(json.dumps(pairs))

    @property
    def preset(self) -> Preset:
        return list(presets().values())[self.number % len(presets())]

    @property
    def opposite(self) -> Preset:
        return presets()[self.preset.opposes]

    @property
    def own(self) -> str:
        return f"only of {self.number}"

    @property
    def prompt(self) -> str:
        return f"Tell me a long story about {self.number + 2} {THINGS[self.number % len(THINGS)]}."

    @property
    def steer(self) -> str:
        """Layer and multiplier."""
        return f"{LAYERS[self.number % len(LAYERS)]}:{STRENGTH + self.number / 100}"

    @property
    def rival(self) -> str:
        return f"{self.names[self.own]}:{LAYERS[-1 - self.number % len(LAYERS)]}:{STRENGTH - self.number / 100}"

    def timed(self, kind: str, **given: Any) -> Any:
        start = time.monotonic()
        found = self.client.predict(**given)
        self.seconds[kind].append(time.monotonic() - start)
        return found

    def make(self, name: str) -> None:
        """A vector from this person's file. Its name says how many of that name the person has had so far."""
        pairs = handle_file(self.folder / f"{name}.json")
        given = {"file": pairs, "name": name, "layers": ",".join(map(str, LAYERS))}
        file, summary = self.timed("vectors", api_name="/extract", **given)
        self.made[name] += 1
        self.names[name] = summary["name"]
        assert summary["name"] == (name if self.made[name] == 1 else f"{name} ({self.made[name]})")
        vector = load_vector(Path(file))
        assert vector.provenance.dataset == name and vector.provenance.num_pairs == PAIRS
        first = self.vectors.setdefault(name, vector)
        self.files[name] = Path(file)
        assert all(torch.equal(found, first.at(layer)) for layer, found in vector.layers.items())

    def make_both(self) -> None:
        self.make("mine")
        self.make(self.own)

    def ask(self, kind: str, steer: list[str], tokens: int = TOKENS, **more: Any) -> list[list[int]]:
        """Token ids of the unsteered and the steered answer."""
        given = {"prompt": self.prompt, "steer": steer, "max_new_tokens": tokens, **more}
        given |= {"temperature": 1, "seed": self.number}
        found = self.timed(kind, api_name="/steer", **given)
        assert found["notes"] == []
        return [found["unsteered_tokens"], found["steered_tokens"]]

    def answers(self) -> dict[str, list[list[int]]]:
        """What this person asks again and again."""
        mine = f"{self.names['mine']}:{self.steer}"
        return {
            "steered": self.ask("steered", [mine]),
            "competing": self.ask("competing", [mine, self.rival]),
        }

    def first_token(self) -> None:
        self.ask("first tokens", [f"{self.names['mine']}:{self.steer}"], tokens=1)

    def write_long(self) -> int:
        """How many tokens came of it."""
        return sum(map(len, self.ask("long answers", [f"{self.names['mine']}:{self.steer}"], tokens=LONG)))

    def is_refused(self, other: "Guest") -> None:
        """What another person has made is not there under its name."""
        with pytest.raises(AppError, match=f"no vector '{other.own}' here"):
            self.ask("never", [f"{other.own}:{LAYERS[0]}:1"])
        self.seconds["refused"].append(0.0)  # only counted


def at_once(those: Sequence[Any], work: Callable[[Any], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(those)) as pool:
        return list(pool.map(work, those))


def times(guests: Sequence[Guest], kind: str) -> list[float]:
    return [second for guest in guests for second in guest.seconds[kind]]


def rate(guests: Sequence[Guest]) -> float:
    """Tokens a second of a long answer for each."""
    start = time.monotonic()
    return sum(at_once(guests, Guest.write_long)) / (time.monotonic() - start)


def test_nobody_gets_what_is_anothers_and_all_are_served_at_once(busy_app, dtype, tmp_path, logged):
    guests = [Guest.arrive(busy_app, number, tmp_path / str(number)) for number in range(CLIENTS)]
    others = [*guests[1:], guests[0]]
    for guest in guests:
        guest.make_both()
        guest.alone = guest.answers()
        guest.first_token()
    idle = times(guests, "first tokens")
    for guest, other in zip(guests, others, strict=True):
        # A mix-up would be seen: with somebody else's vector the same question gets another answer.
        plain, steered = guest.ask("swapped", [f"file:{guest.steer}"], vector_file=handle_file(other.files["mine"]))
        assert plain == guest.alone["steered"][0] and steered != guest.alone["steered"][1]
        guest.seconds.clear()

    end = time.monotonic() + SECONDS
    at_once(list(zip(guests, others, strict=True)), lambda pair: work(*pair, guests, end, dtype == "float32"))
    counts = {kind: len(times(guests, kind)) for kind in guests[0].seconds}
    crowd = times(guests, "first tokens")
    assert counts["refused"] >= CLIENTS

    alone, together = [], []
    for turn in range(max(1, int(SECONDS / 60))):
        alone.append(rate([guests[turn % CLIENTS]]))
        together.append(rate(guests))
    ratio = median(together) / median(alone)
    said = get(f"{busy_app.url}health").json()
    assert said["queue"] == {"jobs": 0}
    if MODEL:  # else others were here before
        assert said["sessions"]["kept"] == CLIENTS
    assert '"level": "error"' not in (busy_app.log.read_text() if MODEL else logged.text)
    equal = sum(guest.equal for guest in guests)
    report(
        f"{CLIENTS} people, {said['model']['dtype']}, {SECONDS:g} s",
        {
            "calls, none of which failed": ", ".join(f"{count} {kind}" for kind, count in counts.items()),
            "answers equal to the same asked alone": f"{equal} of {counts['steered'] + counts['competing']}",
            "time to the first token, nobody else there": percentiles(idle),
            "time to the first token, everybody at work": percentiles(crowd),
            "tokens a second of one person": f"{median(alone):.0f}",
            "tokens a second of all who steer at once": f"{median(together):.0f}",
            f"ratio (asked for with {MANY}: {TIMES:g})": f"{ratio:.1f}",
        },
    )
    assert ratio >= TIMES or CLIENTS < MANY or dtype != "default"


def work(guest: Guest, other: Guest, guests: Sequence[Guest], end: float, exact: bool) -> None:
    """What one person does until the time is over, and at least once."""
    while True:
        guest.make_both()
        guest.first_token()
        for kind, found in guest.answers().items():
            assert found == guest.alone[kind] or not exact
            assert not any(found == stranger.alone[kind] for stranger in guests if stranger is not guest)
            guest.equal += found == guest.alone[kind]
        guest.is_refused(other)
        if time.monotonic() > end:
            return


def percentiles(seconds: Sequence[float]) -> str:
    return f"p50 {np.percentile(seconds, 50):.2f} s, p95 {np.percentile(seconds, 95):.2f} s"


def report(title: str, rows: dict[str, str]) -> None:
    """Print a table, and write it behind those of this run."""
    REPORTS.append(
        "\n".join([f"| {title} | |", "|---|---|", *(f"| {what} | {found} |" for what, found in rows.items())])
    )
    print(f"\n{REPORTS[-1]}")
    if path := os.environ.get("CAA_LOAD_REPORT"):
        Path(path).write_text("\n\n".join(REPORTS) + "\n")
