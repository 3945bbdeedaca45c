"""`make bench`: CAA Studio beside its peers and its floors, on this machine. Prints the table and writes results.json.

Whatever is compared is run in turns in one go, and medians and their ratios are reported: machines are noisy.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import ours
from caa_core.catalog import DEFAULT_MODEL, locate
from caa_core.datasets import Dataset
from caa_core.exchange import write_vector
from caa_core.interventions import Steer
from caa_core.model import SteerableModel, load
from caa_core.presets import find_pairs, presets
from caa_core.vectors import load_vector

HERE = Path(__file__).parent
Table = list[tuple[str, str, str, str]]


class Peers:
    """The peers' process; `ask` runs one of the functions of `peers.py` there."""

    def __init__(self, python: str):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self._process = subprocess.Popen([python, HERE / "peers.py"], **pipes)

    def ask(self, what: str, **given: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps({"do": what, **given}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def medians(rounds: int, **works: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each work, all of them run in turns."""
    found = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return {name: statistics.median(times) for name, times in found.items()}


def control_vectors(peers: Peers) -> Table:
    """A GGUF that was written here, read by repeng: direction by direction the same."""
    with tempfile.TemporaryDirectory() as folder:
        made, read = Path(folder, "joy.gguf"), Path(folder, "read.pt")
        vector = load_vector(presets()["joy"].vector_file)
        write_vector(vector, made)
        peers.ask("read_gguf", path=str(made), out=str(read))
        directions = torch.load(read, weights_only=True)
    equal = all(torch.equal(direction, vector.at(layer)) for layer, direction in directions.items())
    return [("control vector (.gguf) read by repeng", f"{len(directions)} directions", "", "equal" if equal else "NOT")]


def extraction(model: SteerableModel, peers: Peers, dataset: Dataset, rounds: int) -> Table:
    """Vectors of all layers: ours, the floor, and each peer at two batch sizes, all in the model's dtype."""
    pairs = ours.texts(model, dataset)
    works = {
        "ours": lambda: ours.seconds(lambda: ours.vectors(model, dataset)),
        "floor": lambda: ours.seconds(lambda: ours.bare_trunk(model, dataset)),
    }
    for peer in ("steering_vectors", "repeng"):
        for batch in (1, 8):
            works[f"{peer}, batch {batch}"] = lambda p=peer, b=batch: peers.ask(p, pairs=pairs, batch=b)["seconds"]
    found = medians(rounds, **works)
    what = f"vectors of {dataset.name}, {len(pairs)} pairs, {str(model.dtype).removeprefix('torch.')}"
    return [(what, name, f"{time:.1f} s", f"{time / found['ours']:.2f}") for name, time in found.items()]


def steering(model: SteerableModel, rounds: int) -> Table:
    """Unsteered and steered together, beside one plain answer and beside the same two rows with a bare hook."""
    vector = load_vector(presets()["joy"].vector_file)
    steer = Steer(vector.at(12), 12, 1.5)
    found = medians(
        rounds,
        ours=lambda: ours.seconds(lambda: ours.write(model, [(), (steer,)])),
        **{
            "transformers generate, one row": lambda: ours.seconds(lambda: ours.plain_generate(model)),
            "two rows, a bare hook": lambda: ours.seconds(lambda: ours.hooked_steps(model, steer)),
        },
    )
    what = f"{ours.NEW_TOKENS} tokens, {str(model.dtype).removeprefix('torch.')}"
    return [(what, name, f"{time:.2f} s", f"{time / found['ours']:.2f}") for name, time in found.items()]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True, help="the Python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", default="joy:ab", help="pairs of letters: a file, or a preset's A/B questions")
    parser.add_argument("--limit", type=int, default=60)
    options = parser.parse_args()
    peers = Peers(options.peers)
    dataset = find_pairs(options.data).first(options.limit)
    rows = control_vectors(peers)
    for dtype in ("bfloat16", "float32"):
        model = load(DEFAULT_MODEL, dtype)
        peers.ask("load", folder=locate(DEFAULT_MODEL).location, dtype=dtype)
        rows += extraction(model, peers, dataset, options.rounds) + steering(model, options.rounds)
    lines = ["| what | who | median | of ours |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    print("\n".join(lines))
    (HERE / "results.json").write_text(json.dumps({"rounds": options.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
