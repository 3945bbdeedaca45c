"""Jobs a minute of an NDIF host of one node and of two, which is brought up on this machine as by `make test-ndif`.

`CAA_NDIF_VENV=.venv-ndif python -m benchmarks.nodes` prints a table. A node's model has one thread, so two nodes do
twice as much where a second core is free for them; how many cores the models had says whether it was.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from tests.ndif.cluster import FIRST, KEY, NAME, SECOND, Cluster, asking

os.environ |= asking(tempfile.mkdtemp(prefix="caa-nodes-"))  # before anything asks the hub

from caa_core.data.presets import find_test_pairs, presets
from caa_core.model.catalog import DEFAULT_MODEL, locate
from caa_core.progress import finish
from caa_core.remote.host import Host
from caa_core.remote.loading import RemoteModel, load
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from caa_core.vectors.vector import load_vector

# A job measures so many items under so many multipliers; so many people ask for one after the other.
ITEMS, MULTIPLIERS, LAYER = 4, (-1.0, 1.0, 2.0), 12
PEOPLE, JOBS, ROUNDS = 4, 12, 3


@dataclass(frozen=True)
class Spell:
    """What came of jobs that people asked for at once. seconds: from the first to the last; worked: seconds of a
    processor that the model had on each node; busy: cores that were at work, whoever they worked for.
    """

    jobs: int
    seconds: float
    worked: dict[str, float]
    busy: float

    @property
    def a_minute(self) -> float:
        return 60 * self.jobs / self.seconds

    @property
    def cores(self) -> float:
        """That the models had."""
        return sum(self.worked.values()) / self.seconds

    @property
    def share(self) -> float:
        """Of the work, that the second node did."""
        return self.worked[SECOND] / sum(self.worked.values())


@contextmanager
def brought_up() -> Iterator[Cluster]:
    """The host with one node; it is ended whatever happens."""
    host = Cluster(Path(locate(DEFAULT_MODEL).location), Path(tempfile.mkdtemp(prefix="caa-nodes-")))
    try:
        host.start()
        yield host
    finally:
        host.stop()


def spell(host: Cluster, model: RemoteModel, jobs: int) -> Spell:
    """Ask for so many jobs, some at once."""
    vector = load_vector(presets()["joy"].vector_file).at(LAYER)
    pairs = find_test_pairs("joy:ab").first(ITEMS).pairs
    runs = [(Steer(vector, LAYER, multiplier),) for multiplier in MULTIPLIERS]
    before, times, begun = host.worked(), psutil.cpu_times(), time.monotonic()
    with ThreadPoolExecutor(PEOPLE) as people:
        for _ in people.map(lambda _: finish(score(model, pairs, runs)), range(jobs)):
            pass
    seconds, now, idle = time.monotonic() - begun, host.worked(), psutil.cpu_times()
    rested = idle.idle + getattr(idle, "iowait", 0.0) - times.idle - getattr(times, "iowait", 0.0)
    worked = {node: now[node] - before[node] for node in (FIRST, SECOND)}
    return Spell(jobs, seconds, worked, (psutil.cpu_count() or 1) - rested / seconds)


def line(nodes: int, spells: list[Spell]) -> str:
    """Medians of what was measured with so many nodes."""
    minute, cores, busy, share = (
        median(getattr(one, name) for one in spells) for name in ("a_minute", "cores", "busy", "share")
    )
    spread = f"{min(one.a_minute for one in spells):.1f} to {max(one.a_minute for one in spells):.1f}"
    return f"| {nodes} | {minute:.1f} ({spread}) | {share:.0%} | {cores:.2f} | {busy:.2f} |"


def main() -> None:
    """Measure and print."""
    with brought_up() as host:
        asked = Host(host.address, KEY)
        model = load(NAME, asked)
        spell(host, model, PEOPLE)  # the first ones are slow
        one = [spell(host, model, JOBS) for _ in range(ROUNDS)]
        host.add_node(host.until(lambda: asked.check(NAME).model_key, "the host does not say what it runs"))
        spell(host, model, 2 * PEOPLE)
        two = [spell(host, model, JOBS) for _ in range(ROUNDS)]
    print(f"{psutil.cpu_count()} cores; medians of {ROUNDS} times {JOBS} jobs, {PEOPLE} at once.\n")
    print("| nodes | jobs a minute | the second node's part | cores that the models had | cores at work in all |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    print(f"{line(1, one)}\n{line(2, two)}")


if __name__ == "__main__":
    main()
