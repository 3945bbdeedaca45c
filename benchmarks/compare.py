"""CAA Studio beside its peers and its floors: making vectors, writing steered, sweeping."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import PreTrainedModel

from benchmarks import forms, ours
from benchmarks.ours import DTYPES
from benchmarks.results import HERE, Part, medians
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import presets
from caa_core.model.catalog import CATALOG, DEFAULT_MODEL, locate
from caa_core.model.loading import SteerableModel, load, read
from caa_core.progress import tell
from caa_core.steering.interventions import Steer
from caa_core.vectors.formats import write_vector
from caa_core.vectors.vector import SteeringVector, load_vector

PEERS = "steering_vectors", "repeng"
# Batch sizes that are tried with a few pairs, to find each peer's best.
BATCHES, FEW = (1, 4, 8, 16), 12
# Passes of the plain way to a sweep that are timed in each round.
SAMPLE = 30
# Where and how strongly joy's vector is added in what is written.
LAYER, MULTIPLIER = 12, 1.5
# What two rows may take of the time of one plain one: a step reads the weights once for both.
MOST_OF_TWO = {"float32": 1.0, "bfloat16": 1.05}


class Peers:
    """The peers' process; `ask` runs one of the functions of `peers.py` there."""

    def __init__(self, python: str):
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [python, HERE / "peers.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        assert self._process.stdin and self._process.stdout  # both are pipes
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def ask(self, what: str, **given: Any) -> dict[str, Any]:
        self._questions.write(json.dumps({"do": what, **given}) + "\n")
        self._questions.flush()
        if not (answer := self._answers.readline()):
            self._said.seek(0)
            raise RuntimeError(f"The peers' process has ended:\n{self._said.read()[-2000:]}")
        return json.loads(answer)


def extraction(peers: Peers, datasets: Sequence[Dataset], rounds: int) -> Part:
    """Vectors of all layers in each dtype: ours, the floor, and the fastest peer at its best batch size."""
    models = {dtype: load(DEFAULT_MODEL, dtype) for dtype in DTYPES}
    peers.ask("load", folder=str(locate(DEFAULT_MODEL).location), dtypes=DTYPES)
    part = Part(rounds)
    part.claim("parts of a control vector (.gguf) that repeng reads otherwise", "≤ 0", _read_otherwise(peers))
    part.claim(
        "float32: largest difference to the peer's vector, of its norm",
        "≤ 1e-3",
        _difference(models, peers, datasets[0]),
    )
    fastest = {dtype: _fastest(models[dtype], peers, datasets[0], dtype) for dtype in DTYPES}
    for dataset in datasets:
        made: dict[str, SteeringVector] = {}
        _measure_extraction(part, models, peers, fastest, dataset, made)
        if "bfloat16" in made:
            cosine = _lowest_cosine(made["bfloat16"], made["float32"])
            part.claim(f"{_name(dataset)}: lowest cosine over layers, bfloat16 to float32", "≥ 0.999", cosine)
    return part


def _measure_extraction(
    part: Part,
    models: dict[str, SteerableModel],
    peers: Peers,
    fastest: dict[str, tuple[str, int]],
    dataset: Dataset,
    made: dict[str, SteeringVector],
) -> None:
    """Times of one dataset; `made` gets our vectors."""
    works: dict[str, Callable[[], float]] = {}
    for dtype, model in models.items():
        works |= _makers(dtype, model, peers, fastest[dtype], dataset, made)
    found = medians(part.rounds, works)
    what = _name(dataset)
    part.add(f"vectors of {what}, all layers", **found)
    *_, ours32, _, peer32 = found.values()
    part.claim(f"{what}: fastest peer over CAA Studio, both float32", "≥ 5", peer32 / ours32)
    best, floor, *_ = found.values()
    part.claim(f"{what}: CAA Studio over its floor, {DTYPES[0]}", "≤ 1.4", best / floor)
    if DTYPES[0] == "bfloat16":
        part.claim(f"{what}: fastest peer (its default, float32) over CAA Studio in bfloat16", "≥ 8", peer32 / best)


def _makers(
    dtype: str,
    model: SteerableModel,
    peers: Peers,
    fastest: tuple[str, int],
    dataset: Dataset,
    made: dict[str, SteeringVector],
) -> dict[str, Callable[[], float]]:
    """What makes vectors in one dtype and says in how many seconds, by name."""
    peer, batch = fastest
    pairs = ours.texts(model, dataset)
    return {
        f"CAA Studio, {dtype}": lambda: ours.seconds(lambda: made.update({dtype: ours.vectors(model, dataset)})),
        f"floor, {dtype}": lambda: ours.seconds(lambda: ours.bare_trunk(model, dataset)),
        f"{peer}, batch {batch}, {dtype}": lambda: peers.ask(peer, pairs=pairs, batch=batch, dtype=dtype)["seconds"],
    }


def _lowest_cosine(a: SteeringVector, b: SteeringVector) -> float:
    """Over the layers of both."""
    return min(torch.cosine_similarity(a.at(layer), b.at(layer), dim=0).item() for layer in b.layers)


def _name(dataset: Dataset) -> str:
    return f"{len(dataset.pairs)} pairs of {dataset.name}"


def _fastest(model: SteerableModel, peers: Peers, dataset: Dataset, dtype: str) -> tuple[str, int]:
    """The peer and batch size that take the least time for a few pairs."""
    pairs = ours.texts(model, dataset.first(FEW))
    tried = [(peer, batch) for peer in PEERS for batch in BATCHES]
    return min(tried, key=lambda way: peers.ask(way[0], pairs=pairs, batch=way[1], dtype=dtype)["seconds"])


def _difference(models: dict[str, SteerableModel], peers: Peers, dataset: Dataset) -> float:
    """How far steering-vectors' mean difference is from ours in float32, at the layer where it is farthest."""
    model, few = models["float32"], dataset.first(FEW)
    vector = ours.vectors(model, few)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "theirs.pt")
        peers.ask("steering_vectors", pairs=ours.texts(model, few), batch=1, dtype="float32", out=str(file))
        theirs = torch.load(file, weights_only=True)
    return max(((theirs[layer] - vector.at(layer)).norm() / theirs[layer].norm()).item() for layer in vector.layers)


def _read_otherwise(peers: Peers) -> int:
    """Directions of a GGUF written here that repeng does not read bit by bit the same."""
    with tempfile.TemporaryDirectory() as folder:
        written, read_there = Path(folder, "joy.gguf"), Path(folder, "read.pt")
        vector = load_vector(presets()["joy"].vector_file)
        write_vector(vector, written)
        peers.ask("read_gguf", path=str(written), out=str(read_there))
        directions = torch.load(read_there, weights_only=True)
    return sum(not torch.equal(direction, vector.at(layer)) for layer, direction in directions.items())


def steering(peers: Peers, rounds: int) -> Part:
    """Unsteered and steered together, beside one plain answer, bare hooks, every form that nnsight offers, and what
    peers take for the steered one.
    """
    part = Part(rounds)
    peers.ask("load", folder=str(locate(DEFAULT_MODEL).location), dtypes=DTYPES)
    with tempfile.TemporaryDirectory() as folder:
        files = _files_of_llama_cpp(peers, Path(folder))
        for dtype in DTYPES:
            model, plain = ours.endless(load(DEFAULT_MODEL, dtype)), read(DEFAULT_MODEL, dtype).module
            works = {name: partial(ours.seconds, work) for name, work in _forms(model, plain).items()}
            found = medians(rounds, works | _peers_forms(peers, model, dtype, files if dtype == "float32" else {}))
            part.add(f"{ours.NEW_TOKENS} tokens, {dtype}", **found)
            _claim_steering(part, found, dtype)
    return part


def _files_of_llama_cpp(peers: Peers, folder: Path) -> dict[str, str]:
    """The embedded model's own file, and one of its weights in float32; none where llama.cpp could not be built."""
    own = CATALOG[DEFAULT_MODEL].gguf
    if not own or not peers.ask("has_llama_cpp")["there"]:
        return {}
    files = {"its Q4_1 file": str(folder / own.name), "float32": str(folder / "float32.gguf")}
    own.sources[0].fetch(own, folder / own.name, tell)
    peers.ask("write_float32", path=files["its Q4_1 file"], out=files["float32"])
    return files


def _peers_forms(
    peers: Peers, model: SteerableModel, dtype: str, files: Mapping[str, str]
) -> dict[str, Callable[[], float]]:
    """One steered row by each peer, in seconds, by name."""
    given = {
        "ids": ours.prompt(model).ids,
        "direction": load_vector(presets()["joy"].vector_file).at(LAYER).tolist(),
        "layer": LAYER,
        "multiplier": MULTIPLIER,
        "tokens": ours.NEW_TOKENS,
    }

    def timed(what: str, **how: str) -> Callable[[], float]:
        return lambda: peers.ask(what, **given, **how)["seconds"]

    works = {f"{peer}, one row": timed(f"write_with_{peer}", dtype=dtype) for peer in PEERS}
    return works | {
        f"llama.cpp, one row, {weights}": timed("write_with_llama_cpp", path=path) for weights, path in files.items()
    }


def _claim_steering(part: Part, found: dict[str, float], dtype: str) -> None:
    """Beside transformers' generate of one text; of how long an answer takes, and of how long its first token."""
    plain, first = found["transformers generate, one row"], found["transformers generate, first token"]
    two, one = found["CAA Studio, two rows"], found["CAA Studio, one row"]
    many = found["CAA Studio, 16 rows with plans of their own"] / 16
    part.claim(f"{dtype}: unsteered and steered together over one plain text", f"≤ {MOST_OF_TWO[dtype]}", two / plain)
    part.claim(f"{dtype}: one steered text over it", "≤ 0.9", one / plain)
    part.claim(f"{dtype}: tokens a second of 16 rows with plans of their own over its", "≥ 9.5", plain / many)
    own_first = found["CAA Studio, first token of two rows"]
    part.claim(f"{dtype}: first token of both over its first token", "≤ 1.3", own_first / first)
    nnsight = found["two rows, a trace a step"] / found["two rows, bare hooks"]
    part.claim(f"{dtype}: what nnsight's trace a step takes over bare hooks", "≤ 1.1", nnsight)


def _forms(model: SteerableModel, plain: PreTrainedModel) -> dict[str, Callable[[], object]]:
    vector = load_vector(presets()["joy"].vector_file)
    steer, tokens = Steer(vector.at(LAYER), LAYER, MULTIPLIER), ours.NEW_TOKENS
    one = torch.tensor([ours.prompt(model).ids])
    ids = one.repeat(2, 1)
    blocks = [plain.get_submodule(block.path.removeprefix("model.")) for block in model.blocks]
    many = [(Steer(vector.at(layer), layer, 1.0),) for layer in range(8, 24)]
    return {
        "CAA Studio, two rows": lambda: ours.write(model, [(), (steer,)]),
        "transformers generate, one row": lambda: ours.plain_generate(plain, one),
        "two rows, bare hooks": lambda: forms.hooks(plain, blocks, ids, tokens, [(), (steer,)]),
        "two rows, a trace a step": lambda: forms.traces(model, ids, tokens, steer),
        "two rows, a stored edit": lambda: forms.edit(model, ids, tokens, steer),
        "two rows, one trace and its iterator": lambda: forms.iterator(model, ids, tokens, steer),
        "CAA Studio, first token of two rows": lambda: ours.write(model, [(), (steer,)], 1),
        "two rows, bare hooks, first token": lambda: forms.hooks(plain, blocks, ids, 1, [(), (steer,)]),
        "transformers generate, first token": lambda: ours.plain_generate(plain, one, 1),
        "CAA Studio, one row": lambda: ours.write(model, [(steer,)]),
        "one row, bare hooks": lambda: forms.hooks(plain, blocks, one, tokens, [(steer,)]),
        "CAA Studio, 16 rows with plans of their own": lambda: ours.write(model, many),
        "16 rows with plans of their own, bare hooks": lambda: forms.hooks(
            plain, blocks, one.repeat(16, 1), tokens, many
        ),
    }


def sweeping(train: Dataset, tests: Sequence[Dataset], rounds: int) -> Part:
    """All layers with seven multipliers over test items, beside a forward pass for each cell and item."""
    part = Part(rounds)
    for dtype in DTYPES:
        model = load(DEFAULT_MODEL, dtype)
        runs = ours.sweep_runs(model, ours.vectors(model, train))
        for test in tests:
            _measure_sweep(part, model, dtype, test, runs)
    return part


def _measure_sweep(
    part: Part, model: SteerableModel, dtype: str, test: Dataset, runs: Sequence[tuple[Steer, ...]]
) -> None:
    """The plain way takes half an hour, so it is timed on `SAMPLE` of its passes, drawn anew each round."""
    items = [pair for pair in test.pairs if pair.is_lettered or not pair.is_choice]
    together = _Together(model, items, runs)
    plainly = _Plainly(model, items, runs, together)
    found = medians(
        part.rounds, {"CAA Studio": together.seconds, "a forward pass for each, from a sample": plainly.seconds}
    )
    kind = "A/B" if items[0].is_choice else "free-text"
    what = f"sweep of {len(runs)} cells, {len(items)} {kind} items of {test.name}, {dtype}"
    ours_, theirs = found.values()
    part.add(what, **found)
    # A free-text answer is many tokens, all of which every cell has to read: no such multiple is to be had there.
    part.claim(f"{what}: times as fast as a pass for each", "≥ 60" if kind == "A/B" else "≥ 1", theirs / ours_)
    if dtype == "float32":
        part.claim(f"{what}: largest difference of a probability", "≤ 1e-4", plainly.worst)


class _Together:
    """Our sweep; `scores` holds what it found."""

    def __init__(self, model: SteerableModel, items: Sequence[ContrastPair], runs: Sequence[tuple[Steer, ...]]):
        self._asked = model, items, runs

    def seconds(self) -> float:
        def sweep() -> None:
            self.scores = ours.sweep(*self._asked)

        return ours.seconds(sweep)


class _Plainly:
    """The plain way; `worst` is the largest difference of its probabilities to the sweep's."""

    def __init__(
        self,
        model: SteerableModel,
        items: Sequence[ContrastPair],
        runs: Sequence[tuple[Steer, ...]],
        together: _Together,
    ):
        self._model, self._items, self._runs, self._together = model, items, runs, together
        self._random = Random(0)
        self.worst = 0.0

    def seconds(self) -> float:
        """What all passes would take, from some."""
        cells = [
            (self._random.randrange(len(self._items)), self._random.randrange(len(self._runs))) for _ in range(SAMPLE)
        ]
        found: list[float] = []
        time = ours.seconds(
            lambda: found.extend(ours.one_cell(self._model, self._items[i], self._runs[r][0]) for i, r in cells)
        )
        known = self._together.scores.probability
        differences = [abs(p - known[r + 1, i].item()) for p, (i, r) in zip(found, cells, strict=True)]
        self.worst = max(self.worst, *differences)
        return time / SAMPLE * len(self._items) * len(self._runs)
