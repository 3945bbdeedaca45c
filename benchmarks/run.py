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
from random import Random
from time import perf_counter
from typing import Any

import torch

from benchmarks import forms, ours
from caa_core.catalog import DEFAULT_MODEL, locate
from caa_core.datasets import Dataset
from caa_core.exchange import write_vector
from caa_core.interventions import Steer
from caa_core.model import SteerableModel, load, read
from caa_core.presets import find_pairs, presets
from caa_core.vectors import load_vector

HERE = Path(__file__).parent
# Passes of the plain way that are timed in each round.
SAMPLE = 30
Table = list[tuple[str, str, str, str]]


def name_of(dtype: torch.dtype) -> str:
    """As people write it."""
    return str(dtype).removeprefix("torch.")


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
    what = f"vectors of {dataset.name}, {len(pairs)} pairs, {name_of(model.dtype)}"
    return [(what, name, f"{time:.1f} s", f"{time / found['ours']:.2f}") for name, time in found.items()]


def steering(model: SteerableModel, plain: torch.nn.Module, rounds: int) -> Table:
    """Unsteered and steered together, beside one plain answer, bare hooks, and every form that nnsight offers."""
    vector = load_vector(presets()["joy"].vector_file)
    steer, tokens = Steer(vector.at(12), 12, 1.5), ours.NEW_TOKENS
    ids = torch.tensor([ours.prompt(model).ids] * 2)
    block = plain.get_submodule(model.blocks[12].path.removeprefix("model."))
    works = {
        "ours, two rows": lambda: ours.write(model, [(), (steer,)]),
        "transformers generate, one row": lambda: ours.plain_generate(plain, ids[:1]),
        "two rows, bare hooks": lambda: forms.hooks(plain, block, ids, tokens, steer),
        "two rows, a trace a step": lambda: forms.traces(model, ids, tokens, steer),
        "two rows, a stored edit": lambda: forms.edit(model, ids, tokens, steer),
        "two rows, one trace and its iterator": lambda: forms.iterator(model, ids, tokens, steer),
        "ours, first token of two rows": lambda: ours.write(model, [(), (steer,)], 1),
        "transformers generate, first token": lambda: ours.plain_generate(plain, ids[:1], 1),
        "ours, one row": lambda: ours.write(model, [(steer,)]),
        "ours, 16 rows with plans of their own": lambda: ours.write(
            model, [(Steer(vector.at(layer), layer, 1.0),) for layer in range(8, 24)]
        ),
    }
    found = medians(rounds, **{name: lambda work=work: ours.seconds(work) for name, work in works.items()})
    what = f"{tokens} tokens, {name_of(model.dtype)}"
    return [(what, name, f"{time:.2f} s", f"{time / found['ours, two rows']:.2f}") for name, time in found.items()]


def sweep(model: SteerableModel, train: Dataset, test: Dataset, rounds: int) -> Table:
    """All layers with seven multipliers over an A/B test, beside a forward pass for each cell and item.

    The plain way takes half an hour, so that it is timed on `SAMPLE` of its passes, drawn anew each round.
    """
    items = [pair for pair in test.pairs if pair.is_lettered]
    runs = ours.sweep_runs(model, ours.vectors(model, train))
    random = Random(0)
    worst = 0.0
    scores = None

    def plainly() -> float:
        nonlocal worst
        sample = [(random.randrange(len(items)), random.randrange(len(runs))) for _ in range(SAMPLE)]
        found = []
        time = ours.seconds(lambda: found.extend(ours.one_cell(model, items[i], runs[r][0]) for i, r in sample))
        differences = [abs(p - scores.probability[r + 1, i].item()) for p, (i, r) in zip(found, sample, strict=True)]
        worst = max(worst, *differences)
        return time / SAMPLE * len(items) * len(runs)

    def together() -> float:
        nonlocal scores
        begun = perf_counter()
        scores = ours.sweep(model, items, runs)
        return perf_counter() - begun

    found = medians(rounds, ours=together, plainly=plainly)
    what = f"sweep of {len(runs)} cells, {len(items)} items of {test.name}, {name_of(model.dtype)}"
    return [
        (what, "ours", f"{found['ours']:.1f} s", "1.00"),
        (what, "a forward pass for each", f"{found['plainly']:.0f} s", f"{found['plainly'] / found['ours']:.0f}"),
        (what, "largest difference of a probability", "", f"{worst:.1e}"),
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True, help="the Python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--data", nargs="+", default=["joy:ab"], help="pairs of letters: files, or presets' A/B questions"
    )
    parser.add_argument("--test", default="joy:ab", help="A/B items for the sweep")
    parser.add_argument("--limit", type=int, default=60)
    options = parser.parse_args()
    peers = Peers(options.peers)
    datasets = [find_pairs(data).first(options.limit) for data in options.data]
    test = find_pairs(options.test)
    rows = control_vectors(peers)
    for dtype in ("bfloat16", "float32"):
        model, plain = load(DEFAULT_MODEL, dtype), read(DEFAULT_MODEL, dtype).module
        peers.ask("load", folder=locate(DEFAULT_MODEL).location, dtype=dtype)
        for dataset in datasets:
            rows += extraction(model, peers, dataset, options.rounds)
        rows += steering(model, plain, options.rounds) + sweep(model, datasets[0], test, options.rounds)
    lines = ["| what | who | median | of ours |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    print("\n".join(lines))
    (HERE / "results.json").write_text(json.dumps({"rounds": options.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
