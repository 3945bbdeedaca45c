"""`make bench`: CAA Studio beside its peers and its floors, on this machine.

Prints every claim and writes them, with the medians behind them, to results.json and the README beside it. Whatever is
compared is run in turns in one go, and ratios of medians are reported: machines are noisy.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import beside, compare, estimates, floor, growth, start
from benchmarks.results import Part, keep
from caa_core.data.pairs import Dataset
from caa_core.data.presets import find_pairs, find_test_pairs

PARTS = "start", "beside", "estimates", "steering", "sweep", "growth", "floor", "extraction"


def _label(name: str) -> str:
    """The paper's files all have one name, and the behaviour's as their folder's."""
    return Path(name).parent.name or name


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True, help="the Python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts; others keep their last numbers")
    parser.add_argument(
        "--data", nargs="+", default=["joy:ab"], help="pairs of letters: files, or presets' A/B questions"
    )
    parser.add_argument("--pairs", nargs="+", type=int, default=[60, 300], help="how many pairs of each")
    parser.add_argument("--tests", nargs="+", default=["joy:ab", "joy"], help="A/B and free-text items for the sweep")
    options = parser.parse_args()
    data = [replace(find_pairs(name), name=_label(name)) for name in options.data]
    tests = [replace(find_test_pairs(name), name=_label(name)) for name in options.tests]
    works: dict[str, Callable[[], Part]] = {
        "start": lambda: start.measure(options.rounds),
        "beside": lambda: beside.measure(options.rounds),
        "estimates": lambda: estimates.measure(options.rounds),
        "steering": lambda: compare.steering(compare.Peers(options.peers), options.rounds),
        "sweep": lambda: compare.sweeping(data[-1].first(min(options.pairs)), tests, options.rounds),
        "growth": growth.measure,
        "floor": lambda: floor.measure(data[0].first(min(options.pairs)), options.rounds),
    }
    for count in options.pairs:
        # Sets that have fewer are measured once, as they are.
        sets = [one.first(count) for one in data if len(one.pairs) >= count or count == min(options.pairs)]
        if sets:
            works[f"extraction of {count} pairs"] = partial(_extraction, options.peers, sets, options.rounds)
    for name in (name for name in works if name.split()[0] in options.only):
        part = works[name]()
        keep(name, part)
        for claim in part.claims:
            print(
                f"{'met    ' if claim.met else 'NOT MET'}  {claim.what}: {claim.measured:.3g} ({claim.asked})",
                flush=True,
            )


def _extraction(python: str, datasets: Sequence[Dataset], rounds: int) -> Part:
    return compare.extraction(compare.Peers(python), datasets, rounds)


if __name__ == "__main__":
    main()
