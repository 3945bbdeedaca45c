"""What larger models, more items and a class take, computed from what was measured; and how near that comes to it.

`python -m benchmarks.scale` writes the tables of docs/scale.md. With `--count PAIRS TESTS` (the files of the paper's
data that were measured with) it counts tokens anew. A machine is three numbers:

    operations   multiplications and additions a second, of passes over many tokens
    bytes        of weights that come to the processor in a second, of which a step of writing needs all
    step         seconds that a step of writing takes a block in any case

"""

import argparse
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.results import FILE, HERE

COUNTED = HERE / "scale.json"
PAGE = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- written by python -m benchmarks.scale -->", "<!-- end of what python -m benchmarks.scale writes -->"
# What a prediction may be off by.
NEAR = 0.25


@dataclass(frozen=True)
class Model:
    """Parameters of all blocks and of the head, and what a token's keys and values are made of."""

    name: str
    blocks: float
    head: float
    layers: int
    hidden: int
    keys: int  # numbers that a layer keeps of a token
    width: float = 2.0  # bytes of a parameter

    @property
    def bytes(self) -> float:
        """Of all weights; where the head is the embedding, it is counted once more than it is."""
        return (self.blocks + 2 * self.head) * self.width


@dataclass(frozen=True)
class Machine:
    """What a machine does in a second, see above; memory in bytes."""

    name: str
    operations: float
    bytes: float
    step: float
    memory: float


EMBEDDED = Model("SmolLM2-135M (embedded)", 106.2e6, 28.3e6, 30, 576, 2 * 3 * 64)
MODELS = (
    EMBEDDED,
    Model("Llama-2-7b", 6.476e9, 131.1e6, 32, 4096, 2 * 32 * 128),
    Model("Llama-2-13b", 12.688e9, 163.8e6, 40, 5120, 2 * 40 * 128),
    Model("Llama-2-70b", 68.452e9, 262.1e6, 80, 8192, 2 * 8 * 128),
)


def reading(model: Model, machine: Machine, tokens: float, share: float = 1.0) -> float:
    """Seconds to read tokens through a share of the blocks."""
    return 2 * model.blocks * share * tokens / machine.operations


def making(model: Model, machine: Machine, tokens: float, pairs: float, rendered: float, share: float = 1.0) -> float:
    """Seconds to make vectors from pairs, each of which one core renders and cuts into tokens in so many seconds."""
    return pairs * rendered + reading(model, machine, tokens, share)


def writing(model: Model, machine: Machine, tokens: float, rows: float) -> float:
    """Seconds to write so many tokens in each of some rows, which are one batch."""
    step = model.layers * machine.step + (model.blocks + model.head) * model.width / machine.bytes
    return tokens * (step + rows * 2 * (model.blocks + model.head) / machine.operations)


def sweeping(
    model: Model, machine: Machine, prompts: float, tails: float, columns: float, layers: int, multipliers: int
) -> float:
    """Seconds of a map of layers and multipliers (0 is one of these, and costs nothing) over items.

    prompts, tails, columns: tokens of all items that come before what is steered, that are steered or behind it, and at
    which something is predicted. A cell reads the tails from its layer on; the layers are every so many of the model's.
    """
    above = sum(1 - (layer * model.layers / layers + 1) / model.layers for layer in range(layers))
    cells = layers * (multipliers - 1)
    read = prompts + tails * (1 + (multipliers - 1) * above)
    return (2 * model.blocks * read + 2 * model.head * columns * (1 + cells)) / machine.operations


def estimating(model: Model, machine: Machine, tails: float, columns: float) -> float:
    """Seconds of what any vector would do to first order at every layer: forwards and backwards over items' tails."""
    return 4 * (model.blocks * tails + model.head * columns) / machine.operations


def kept(model: Model, tokens: float) -> float:
    """Bytes of keys and values of so many tokens."""
    return 2 * model.layers * model.keys * tokens


# What is taken of machines that are not here: half of what a data sheet says of dense products in bfloat16 for passes
# over many tokens, two thirds of its memory's bandwidth, and 0.15 ms a block and step for its small kernels.
A100 = Machine("one A100, 80 GB", 0.5 * 312e12, 0.67 * 2.0e12, 1.5e-4, 80e9)
H200 = Machine("one H200, 141 GB", 0.5 * 989e12, 0.67 * 4.8e12, 1.5e-4, 141e9)
TWO = replace(H200, name="two H200, 282 GB", memory=282e9)  # one block after the other, so as fast as one
GPUS = (A100, H200, TWO)
# Seconds of a job on NDIF beside its work, on the server that was brought up on this machine: a warm trace.
NDIF_JOB = 0.2


def on_nodes(seconds: float, jobs: int, nodes: int) -> float:
    """Seconds until the last of so many jobs that come at once is done, on NDIF with so many replicas: each runs
    its jobs one after the other, and no two share a batch.
    """
    return math.ceil(jobs / nodes) * (NDIF_JOB + seconds)


def measured(file: Any = FILE) -> dict[tuple[str, str], float]:
    """Seconds by (what, who), from `make bench`."""
    found = {}
    for part in json.loads(file.read_text()).values():
        for what, who, said in part["lines"]:
            if seconds := re.match(r"([\d.]+) s\b", said):
                found[what, who] = float(seconds[1])
    return found


@dataclass(frozen=True)
class Check:
    """What a formula says of something that was measured. by: what its machine's numbers were taken from."""

    what: str
    by: str
    computed: float
    measured: float

    @property
    def off(self) -> float:
        return self.computed / self.measured - 1


def checks() -> Iterator[Check]:
    """Every formula beside what was measured that it says something of, and was not taken from it."""
    seconds, counts = measured(), json.loads(COUNTED.read_text())
    yield from _read_checks(seconds, counts)
    yield from _written_checks(seconds)
    yield from _map_checks(seconds, counts)


def _rendered(seconds: dict[tuple[str, str], float]) -> float:
    """Seconds a pair takes before it is read: what 250 take with one layer, less that layer's part of all."""
    one, every = (seconds["growth, layers, bfloat16", layers] for layers in ("1", "30"))
    return (one - (every - one) / 29) / 250


def _read_checks(seconds: dict[tuple[str, str], float], counts: dict[str, Any]) -> Iterator[Check]:
    rendered, pair = _rendered(seconds), counts["pairs"]["joy:ab, a pair"]
    for dtype in ("bfloat16", "float32"):
        by = "300 pairs of sycophancy"
        known = seconds[f"vectors of {by}, all layers", f"CAA Studio, {dtype}"]
        machine = _reader(counts["pairs"][by], known - 300 * rendered)
        for count, name in ((60, "sycophancy"), (60, "survival-instinct"), (300, "survival-instinct")):
            what = f"{count} pairs of {name}"
            known = seconds[f"vectors of {what}, all layers", f"CAA Studio, {dtype}"]
            computed = making(EMBEDDED, machine, counts["pairs"][what], count, rendered)
            yield Check(f"vectors of {what}, {dtype}", by, computed, known)
    machine, by = _joy_reader(seconds, counts), "500 pairs of joy:ab"
    for count in (100, 250, 1000, 2000):
        known = seconds["growth, pairs, bfloat16", f"{count}"]
        computed = making(EMBEDDED, machine, count * pair, count, rendered)
        yield Check(f"vectors of {count:,} pairs of joy:ab", by, computed, known)
    for layers in (10, 20, 30):
        known = seconds["growth, layers, bfloat16", f"{layers}"]
        computed = making(EMBEDDED, machine, 250 * pair, 250, rendered, layers / EMBEDDED.layers)
        yield Check(f"{layers} layers of 250 pairs of joy:ab", by, computed, known)


def _joy_reader(seconds: dict[tuple[str, str], float], counts: dict[str, Any]) -> Machine:
    read = seconds["growth, pairs, bfloat16", "500"] - 500 * _rendered(seconds)
    return _reader(500 * counts["pairs"]["joy:ab, a pair"], read)


def _written_checks(seconds: dict[tuple[str, str], float]) -> Iterator[Check]:
    one, many = (seconds["growth, rows, bfloat16", rows] / 80 for rows in ("1", "32"))
    row = (many - one) / 31
    weights = EMBEDDED.blocks + EMBEDDED.head
    machine = Machine("", 2 * weights / row, weights * EMBEDDED.width / (one - row), 0.0, 0.0)
    by = "1 and 32 rows of 80 tokens"
    for rows in (2, 4, 8, 16):
        known = seconds["growth, rows, bfloat16", f"{rows}"]
        yield Check(f"80 tokens in {rows} rows", by, writing(EMBEDDED, machine, 80, rows), known)
    for tokens in (20, 40, 80, 160, 320, 640):
        known = seconds["growth, tokens, bfloat16", f"{tokens}"]
        yield Check(f"{tokens} tokens in 2 rows", by, writing(EMBEDDED, machine, tokens, 2), known)


def _map_checks(seconds: dict[tuple[str, str], float], counts: dict[str, Any]) -> Iterator[Check]:
    for dtype in ("bfloat16", "float32"):
        asked, other = (
            (f"sweep of 210 cells, {items}, {dtype}", counts["items"][items])
            for items in ("50 A/B items of survival-instinct", "18 free-text items of joy")
        )
        machine = _machine(
            sweeping(EMBEDDED, ONE, **asked[1], layers=30, multipliers=7), seconds[asked[0], "CAA Studio"]
        )
        computed = sweeping(EMBEDDED, machine, **other[1], layers=30, multipliers=7)
        yield Check(other[0], asked[0], computed, seconds[other[0], "CAA Studio"])


ONE = Machine("one operation a second", 1.0, 1.0, 0.0, 0.0)


def _machine(operations: float, seconds: float) -> Machine:
    return Machine("", operations / seconds, 0.0, 0.0, 0.0)


def _reader(tokens: float, seconds: float) -> Machine:
    return _machine(reading(EMBEDDED, ONE, tokens), seconds)


def here() -> Machine:
    """The machine of the tables: two threads of a Xeon with AMX, as far as what was measured on it says."""
    seconds, counts = measured(), json.loads(COUNTED.read_text())
    read = _joy_reader(seconds, counts)
    one = seconds["growth, rows, bfloat16", "1"] / 80
    written = (EMBEDDED.blocks + EMBEDDED.head) * EMBEDDED.width / one
    return Machine("two threads of a Xeon with AMX", read.operations, written, 0.0, 24e9)


# What the page computes for.
PAIRS, PEOPLE, ASKED, ANSWER, NODES = 1_000, 30, 400, 80, (1, 2, 4, 8)


def tables() -> str:
    """The page's tables."""
    counts = json.loads(COUNTED.read_text())
    pair, items = counts["pairs"]["joy:ab, a pair"], counts["items"]["18 free-text items of joy"]
    machines = (here(), *GPUS)
    lines = ["| model | machine | weights | vectors of 1,000 pairs | map of joy | estimate | 80 tokens, alone | "]
    lines[0] += f"{PEOPLE} people: tokens a second each | their memory |"
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for model in MODELS:
        lines += [_row(model, machine, pair, items) for machine in machines]
    lines += ["", f"| {PEOPLE} people ask at once | one app, one batch | "]
    lines[-1] += " | ".join(f"NDIF, {nodes} node{'s' * (nodes > 1)}" for nodes in NODES) + " |"
    lines.append("| --- |" + " ---: |" * (1 + len(NODES)))
    lines += map(_asked_at_once, MODELS)
    found = [*checks()]
    lines += ["", "| what was measured | by | computed | measured | off |", "| --- | --- | ---: | ---: | ---: |"]
    lines += [
        f"| {one.what} | {one.by} | {one.computed:.2f} s | {one.measured:.2f} s | {one.off:+.0%} |" for one in found
    ]
    return "\n".join(lines)


def _row(model: Model, machine: Machine, pair: float, items: dict[str, float]) -> str:
    weights = f"{model.bytes / 1e9:.1f} GB"
    memory = kept(model, 2 * PEOPLE * (ASKED + ANSWER))
    if not _has_room(model, machine):
        packed = "; fits in 4 bit" if 0.65 * model.bytes / model.width + memory < 0.9 * machine.memory else ""
        return f"| {model.name} | {machine.name} | {weights}: no room{packed} | | | | | | |"
    layers = len(range(0, model.layers, 3))
    cells = [
        making(model, machine, PAIRS * pair, PAIRS, _rendered(measured())),
        sweeping(model, machine, **items, layers=layers, multipliers=5),
        estimating(model, machine, items["tails"], items["columns"]),
        writing(model, machine, ANSWER, 2),
    ]
    each = 1 / writing(model, machine, 1, 2 * PEOPLE)
    said = " | ".join(_seconds(cell) for cell in cells)
    return f"| {model.name} | {machine.name} | {weights} | {said} | {each:.1f} | {memory / 1e9:.1f} GB |"


def _has_room(model: Model, machine: Machine) -> bool:
    """For the weights and for the people who write."""
    return model.bytes + kept(model, 2 * PEOPLE * (ASKED + ANSWER)) <= 0.9 * machine.memory


def _asked_at_once(model: Model) -> str:
    machine = next(one for one in GPUS if _has_room(model, one))
    one, many = writing(model, machine, ANSWER, 2), writing(model, machine, ANSWER, 2 * PEOPLE)
    waited = [_seconds(on_nodes(one, PEOPLE, nodes)) for nodes in NODES]
    return f"| {model.name}, {machine.name} a node | {_seconds(many)} | {' | '.join(waited)} |"


def _seconds(seconds: float) -> str:
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return (
        f"{seconds:.0f} s"
        if seconds < 180
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )


def page(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


def count(files: Sequence[str], test_files: Sequence[str]) -> None:
    """Tokens of what was measured, by the embedded model."""
    from caa_core.data.presets import find_pairs, find_test_pairs
    from caa_core.model.catalog import DEFAULT_MODEL
    from caa_core.model.loading import load
    from caa_core.model.prompts import NO_CUE, render_pair
    from caa_core.steering.interventions import AFTER_PROMPT
    from caa_core.steering.pair_rows import PairRow
    from caa_core.steering.scored_items import ScoredItem

    model = load(DEFAULT_MODEL, "float32")

    def tokens(pairs: Any) -> int:
        """What all of them begin with is read once."""
        rendered = [render_pair(model.tokenizer, pair) for pair in pairs]
        columns = zip(*(one.positive.ids[: one.shared] for one in rendered), strict=False)
        before = len([*takewhile(lambda column: len(set(column)) == 1, columns)])
        return before + sum(PairRow.of(one, one.shared + 1, one.shared + 1).length - before for one in rendered)

    def items(pairs: Any) -> dict[str, int]:
        found = [ScoredItem.of(model, pair, AFTER_PROMPT, NO_CUE) for pair in pairs]
        splits, tails = sum(one.split for one in found), sum(one.tail for one in found)
        return {"prompts": splits, "tails": tails, "columns": sum(len(one.columns) for one in found)}

    pairs: dict[str, float] = {}
    for file in map(Path, files):
        for size in (60, 300):
            pairs[f"{size} pairs of {file.parent.name}"] = tokens(find_pairs(file).first(size).pairs)
    joy = find_pairs("joy:ab").pairs
    pairs["joy:ab, a pair"] = tokens(joy) / len(joy)
    tests = {}
    for file in map(Path, test_files):
        asked = find_pairs(file).pairs
        tests[f"{len(asked)} A/B items of {file.parent.name}"] = items(asked)
    tests["18 free-text items of joy"] = items(find_test_pairs("joy").pairs)
    COUNTED.write_text(json.dumps({"pairs": pairs, "items": tests}, indent=1) + "\n")


def main() -> None:
    """Count and measure what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", nargs=2, metavar=("PAIRS", "TESTS"), help="files, with commas between them")
    asked = parser.parse_args()
    if asked.count:
        count(*(given.split(",") for given in asked.count))
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()
