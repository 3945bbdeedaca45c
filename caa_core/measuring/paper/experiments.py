"""The experiments of the CAA paper (Panickssery et al., arXiv 2312.06681) on several behaviours at once.

A behaviour costs one pass over its pairs and few over its items: everything that can be scored together is.
"""

import base64
import json
import time
from collections.abc import Generator, MutableMapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from caa_core.data.pairs import Dataset
from caa_core.errors import InputError
from caa_core.measuring.inspection import Alignment, align
from caa_core.measuring.paper.behaviours import Behaviour, check_behaviours
from caa_core.measuring.sweep import RunScores, Sweep, SweepCell, cells_of, checked, measure_of, score_runs
from caa_core.measuring.verdict import Proposal, Verdict, propose, verdict_on
from caa_core.metrics.cache import digest
from caa_core.metrics.controls import CONTROLS, Control, ShuffledLabels, random_controls
from caa_core.metrics.grid import check_multipliers
from caa_core.metrics.items import Items, choose_items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import NO_CUE, Cue, Prompt, render_pair
from caa_core.progress import Progress, within
from caa_core.steering.activations import ReadPosition, read_all
from caa_core.steering.interventions import AFTER_PROMPT, Positions, Steer
from caa_core.vectors.extraction import AUTOMATIC, extract
from caa_core.vectors.geometry import ProjectedPairs, Scatter
from caa_core.vectors.vector import SteeringVector, assemble

PLUS, MINUS = 1.0, -1.0
NONE, POSITIVE, NEGATIVE = "none", "positive", "negative"
# Held-out items that are shown token by token, and how many tokens those may have.
SHOWN, LONGEST_SHOWN = 2, 600
PARTS = 6  # of the work on one behaviour
LAYERS, MULTIPLIERS, TRANSFER, PROMPTS = "layers", "multipliers", "transfer", "prompts"
COMPONENTS, TOKENS = "components", "tokens"
EXPERIMENTS = (LAYERS, MULTIPLIERS, TRANSFER, PROMPTS, COMPONENTS, TOKENS)
KEPT_AS = 1  # raised when what a kept behaviour holds has changed

Place = tuple[int, float]
Readings = dict[Place, RunScores]
# What a run is for, which of several it is, and its layer and multiplier.
Run = tuple[str, int, int | None, float]
UNSTEERED: Run = ("unsteered", 0, None, 0.0)


def parse_experiments(text: str) -> tuple[str, ...]:
    """Names of experiments with commas between; nothing is all of them. Raises InputError for anything else."""
    names = [name for part in text.split(",") if (name := part.strip())]
    for name in names:
        if name not in EXPERIMENTS:
            raise InputError(f"There is no experiment {name[:40]!r}: choose some of {', '.join(EXPERIMENTS)}.")
    return tuple(name for name in EXPERIMENTS if name in names) or EXPERIMENTS


@dataclass(frozen=True)
class PaperRequest:
    """How behaviours are measured.

    layers: those of the per-layer effect, all where None. multipliers: of the effect at one layer; -1, 0 and 1 are
    always among them. letter_swap: vectors are made from pairs in both letter orders. controls: how many vectors of
    each kind. layer: at which multipliers, transfer and prompts are measured; where None, what is chosen on one half of
    the items. counts: write answers too. pairs, items, seed: how many are used, see `Behaviour.sample`. experiments:
    which of `EXPERIMENTS` are made; what is left out leaves its place in the findings empty. positions, cue: which
    tokens are steered, and what leads to an answer.
    """

    layers: tuple[int, ...] | None = None
    multipliers: tuple[float, ...] = (-2.0, -1.0, 0.0, 1.0, 2.0)
    letter_swap: bool = False
    controls: int = CONTROLS
    layer: int | None = None
    counts: bool = False
    pairs: int | None = None
    items: int | None = None
    seed: int | None = None
    experiments: tuple[str, ...] = EXPERIMENTS
    positions: str = str(AFTER_PROMPT)
    cue: str = str(NO_CUE)

    def layers_of(self, model: SteerableModel, vector: SteeringVector | None = None) -> list[int]:
        """Layers that are measured, of those that a vector has. Raises InputError for layers that are not there."""
        there = range(model.num_layers) if vector is None else vector.layers
        layers = {model.check_layer(layer) for layer in (there if self.layers is None else self.layers)}
        if self.layer is not None:
            layers.add(model.check_layer(self.layer))
        for layer in layers if vector else ():
            vector.at(layer)
        return sorted(layers)

    @property
    def judges(self) -> bool:
        """Whether anything is measured that stands beside controls."""
        return self.controls > 0 and (LAYERS in self.experiments or MULTIPLIERS in self.experiments)

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class PromptArm:
    """The model told to show a behaviour, or not to, or nothing: cells at multipliers -1, 0 and 1 at the layer.

    Changes are against the unsteered model that is told nothing.
    """

    told: str
    system: str
    cells: tuple[SweepCell, ...]


@dataclass(frozen=True, eq=False)
class Findings:
    """What was measured of one behaviour.

    given_cosines: by layer, the cosine between the vector and one made in the letter order given; None where those are
    the same. unsteered, profile: cells of each layer at ±1. curve: of each multiplier at `layer`. transfer: of the
    vector of `layer`, added at each layer at ±1. arms: vector against system prompt; empty without instructions.
    band: by multiplier of the curve, the least and the most that random vectors of the same norm change. paper: as the
    paper counts (vector and items in the order given, letters A and B only): cells of each layer at ±1, the unsteered
    one first, and those of the curve's multipliers at `layer`; empty where items have no letters.
    """

    name: str
    measure: str
    vector: SteeringVector
    given_cosines: list[float] | None
    pairs: str
    test: str
    test_sha256: str
    num_items: int
    skipped: list[str]
    unsteered: SweepCell
    profile: tuple[SweepCell, ...]
    layer: int
    proposal: Proposal | None
    verdict: Verdict | None
    conclusion: str
    curve: tuple[SweepCell, ...]
    band: list[tuple[float, float, float]]
    transfer: tuple[SweepCell, ...]
    arms: tuple[PromptArm, ...]
    paper_profile: tuple[SweepCell, ...]
    paper_curve: tuple[SweepCell, ...]
    scatter: Scatter | None
    alignments: tuple[Alignment, ...]
    seconds: float

    @property
    def is_choice(self) -> bool:
        return self.unsteered.probability is not None

    def summary(self) -> dict[str, Any]:
        """As plain data; of the vector, what `SteeringVector.summary` says."""
        plain = {
            name: value
            for name, value in vars(self).items()
            if name not in ("vector", "proposal", "verdict", "scatter")
        }
        plain |= {
            name: [asdict(one) for one in getattr(self, name)]
            for name in ("profile", "curve", "transfer", "arms", "paper_profile", "paper_curve", "alignments")
        }
        return {
            **plain,
            "unsteered": asdict(self.unsteered),
            "vector": {**self.vector.summary(), "provenance": asdict(self.vector.provenance)},
            "proposal": self.proposal and asdict(self.proposal),
            "verdict": self.verdict and asdict(self.verdict),
            "scatter": self.scatter and asdict(self.scatter),
        }

    def pack(self) -> dict[str, Any]:
        """All of it as plain data, the vector's numbers too; `unpack` reads it back."""
        numbers = {layer: base64.b64encode(v.numpy().tobytes()).decode() for layer, v in self.vector.layers.items()}
        return {**self.summary(), "vector": {"metadata": self.vector.metadata(), "layers": numbers}}

    @classmethod
    def unpack(cls, kept: Any) -> "Findings":
        """What was packed. Raises InputError for anything else."""
        try:
            numbers = {
                int(layer): torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy())
                for layer, text in kept["vector"]["layers"].items()
            }
            arms = tuple(PromptArm(**{**arm, "cells": _cells(arm["cells"])}) for arm in kept["arms"])
            cells = ("profile", "curve", "transfer", "paper_profile", "paper_curve")
            return cls(
                **{
                    **kept,
                    **{name: _cells(kept[name]) for name in cells},
                    "vector": assemble(numbers, kept["vector"]["metadata"], "kept vector"),
                    "unsteered": SweepCell(**kept["unsteered"]),
                    "proposal": kept["proposal"] and Proposal(**kept["proposal"]),
                    "verdict": kept["verdict"] and _verdict(kept["verdict"]),
                    "arms": arms,
                    "band": [tuple(row) for row in kept["band"]],
                    "scatter": kept["scatter"] and Scatter(**kept["scatter"]),
                    "alignments": tuple(Alignment(**one) for one in kept["alignments"]),
                }
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError("The findings that were kept cannot be read.") from error


@dataclass(frozen=True, eq=False)
class Replication:
    """Findings on several behaviours, as far as they have come; `asked` are the names of all."""

    findings: tuple[Findings, ...]
    asked: tuple[str, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def shared_layer(self) -> int | None:
        """At which behaviours are set beside each other: the middle one of the layers at which they were measured.

        None where one of the vectors does not have it, or there is one behaviour only.
        """
        layers = sorted(found.layer for found in self.findings)
        middle = layers[len(layers) // 2]
        shared = len(layers) > 1 and all(middle in found.vector.layers for found in self.findings)
        return middle if shared else None

    def pack(self) -> dict[str, Any]:
        """All of it as plain data; `unpack` reads it back."""
        return {**vars(self), "findings": [found.pack() for found in self.findings]}

    @classmethod
    def unpack(cls, kept: Any) -> "Replication":
        """What was packed. Raises InputError for anything else."""
        try:
            findings = tuple(Findings.unpack(one) for one in kept["findings"])
            return cls(**{**kept, "findings": findings, "asked": tuple(kept["asked"])})
        except (TypeError, KeyError) as error:
            raise InputError("The findings that were kept cannot be read.") from error

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "behaviours": [found.summary() for found in self.findings],
            "asked": list(self.asked),
            "settings": self.settings,
            "provenance": self.provenance,
        }


def replicate(
    model: SteerableModel,
    behaviours: Sequence[Behaviour],
    settings: PaperRequest,
    known: MutableMapping[str, dict[str, Any]] | None = None,
) -> Generator[Progress | Replication, None, Replication]:
    """Measure behaviours one after the other. Yields `Progress`, and after each behaviour all that has come.

    Args:
        known: packed findings by all that they depend on (`key_of`): what is in it is not measured again, and what is
            measured is put in.

    Raises:
        InputError: a layer or multiplier that cannot be, behaviours that cannot be measured beside each other, or
            that this model cannot be measured on.
    """
    settings = replace(settings, multipliers=tuple(check_multipliers([*settings.multipliers, MINUS, 0.0, PLUS])))
    settings.layers_of(model)
    behaviours = [one.sample(settings.pairs, settings.items, settings.seed) for one in check_behaviours(behaviours)]
    known = {} if known is None else known
    provenance = {
        **model.provenance,
        "device": model.device.type,
    }
    costs = [_cost(behaviour, settings) for behaviour in behaviours]
    progress = Progress(PARTS * len(behaviours), "parts", sum(costs))
    found: list[Findings] = []
    for behaviour, cost in zip(behaviours, costs, strict=True):
        key = key_of(model, behaviour, settings)
        if key in known:
            found.append(Findings.unpack(known[key]))
            progress.resumed += cost
            yield progress.advance(PARTS, cost)
        else:
            found.append((yield from _measure(model, behaviour, settings, progress, cost)))
            known[key] = found[-1].pack()
        so_far = Replication(tuple(found), tuple(b.name for b in behaviours), settings.summary(), provenance)
        yield so_far
    return so_far


def key_of(model: SteerableModel, behaviour: Behaviour, settings: PaperRequest) -> str:
    """A name for everything that the findings on a behaviour depend on."""
    told = behaviour.instructions and asdict(behaviour.instructions)
    texts = [behaviour.name, behaviour.pairs.records(), behaviour.test.records(), told]
    if behaviour.vector:
        numbers = b"".join(direction.numpy().tobytes() for direction in behaviour.vector.layers.values())
        texts += [list(behaviour.vector.layers), digest(numbers)]
    machine = [model.name, model.fingerprint, str(model.dtype), model.device.type, model.template_sha256]
    return digest(json.dumps([KEPT_AS, texts, machine, settings.summary()]).encode())


def _measure(
    model: SteerableModel, behaviour: Behaviour, settings: PaperRequest, progress: Progress, cost: float
) -> Generator[Progress, None, Findings]:
    """The experiments on one behaviour, which is `cost` of the whole work."""
    started = time.monotonic()
    stages = _Stages(progress, behaviour.name, _shares(behaviour, settings), cost)
    made = yield from stages.run("vector", _vectors(model, behaviour, settings))
    vector = made.vector
    layers = settings.layers_of(model, vector)
    asked = yield from stages.run("items", _Asked.of(model, behaviour.test, settings))

    places = [(layer, m) for layer in layers for m in (MINUS, PLUS)]
    swept, proposal = None, ""
    first: dict[Run, RunScores] = {}
    if LAYERS in settings.experiments or settings.layer is None:
        runs = {("own", 0, *place): _at(vector, *place) for place in places}
        if made.given is not vector and asked.paper:
            runs |= {("given", 0, *place): _at(made.given, *place) for place in places}
        first = yield from _read(model, asked, runs, stages, "effect by layer")
        swept = asked.sweep(vector.name, first[UNSTEERED], _of(first, "own"))
        fixed = {place: reading for place, reading in swept.readings.items() if place[0] == settings.layer}
        proposal = propose(replace(swept, readings=fixed or swept.readings))
    chosen = proposal if isinstance(proposal, Proposal) else None
    layer, multiplier = (chosen.layer, chosen.multiplier) if chosen else (_fallback(settings, layers), PLUS)

    runs = _second_runs(settings, made, layers, (layer, multiplier), bool(asked.paper))
    runs = {run: steers for run, steers in runs.items() if run not in first}
    second = yield from _read(model, asked, runs, stages, "multipliers, controls, transfer", needed=not first)
    readings = {**second, **first}
    baseline = readings[UNSTEERED]
    own = _of(readings, "own") | {(layer, 0.0): baseline}
    given = _of(readings, "given") | {(layer, 0.0): baseline} if made.given is not vector else own

    verdict = None
    if chosen:
        half = swept.items.halves()[1]
        changes = [_changes(readings, kind, multiplier, swept.baseline, half) for kind in ("random", "shuffled")]
        verdict = verdict_on(swept, (layer, multiplier), *changes, half)
    curve = {place: own[place] for place in sorted(own) if place[0] == layer and place[1] in settings.multipliers}
    if settings.counts and asked.items.are_choices:
        work = score_runs(model, asked.all, [_at(vector, *place) for place in curve], counts=True)
        curve = dict(zip(curve, (yield from stages.run("answers written", work))[1:], strict=True))
    with_curve, with_layers = MULTIPLIERS in settings.experiments, LAYERS in settings.experiments
    moved = _of(readings, "transfer") | {(layer, m): own[layer, m] for m in (MINUS, PLUS)}
    arms = yield from _arms(model, behaviour, asked, vector, own, layer, settings, stages)
    tokens = _aligned(model, behaviour.test, vector, layer) if TOKENS in settings.experiments else ()
    stages.end()
    by_layer = {place: own[place] for place in places} if with_layers else {}
    unsteered, *profile = asked.cells({(None, 0.0): baseline, **by_layer}, baseline)
    paper = {place: given[place] for place in places} if with_layers and asked.paper else {}
    paper_curve = {place: given[place] for place in curve} if with_curve and asked.paper else {}
    return Findings(
        name=behaviour.name,
        measure=asked.measure,
        vector=vector,
        given_cosines=_cosines(vector, made.given) if made.given is not vector else None,
        pairs=f"{made.pairs.name}: {made.pairs.kind}",
        test=f"{behaviour.test.name}: {behaviour.test.kind}",
        test_sha256=behaviour.test.sha256,
        num_items=len(asked.items.pairs),
        skipped=list(asked.items.skipped),
        unsteered=unsteered,
        profile=tuple(profile),
        layer=layer,
        proposal=chosen,
        verdict=verdict,
        conclusion=f"{verdict}\n{chosen}" if verdict else str(proposal),
        curve=asked.cells(curve, baseline) if with_curve else (),
        band=_band(readings, asked, baseline) if with_curve else [],
        transfer=asked.cells(dict(sorted(moved.items())), baseline) if TRANSFER in settings.experiments else (),
        arms=arms,
        paper_profile=asked.paper_cells({(None, 0.0): baseline, **paper}, baseline) if paper else (),
        paper_curve=asked.paper_cells(paper_curve, baseline),
        scatter=made.scatter,
        alignments=tokens,
        seconds=round(time.monotonic() - started, 1),
    )


@dataclass(frozen=True, eq=False)
class _VectorsMade:
    """A vector, the same made in the letter order given (the same object where that is what it is), and what else came
    of reading the pairs.
    """

    vector: SteeringVector
    given: SteeringVector
    pairs: Dataset
    shuffled: list[Control]
    scatter: Scatter | None


def _vectors(
    model: SteerableModel, behaviour: Behaviour, settings: PaperRequest
) -> Generator[Progress, None, _VectorsMade]:
    """Read the pairs once for all that comes of them."""
    swap = settings.letter_swap and behaviour.vector is None
    pairs = behaviour.pairs.in_both_letter_orders() if swap else behaviour.pairs
    drawn, shuffled, in_order = (
        ProjectedPairs(pairs),
        ShuffledLabels(pairs, max(1, settings.controls), 0),
        _MeanInOrder(pairs),
    )
    vector = given = behaviour.vector
    wanted = COMPONENTS in settings.experiments
    controls = settings.judges
    if vector is None:
        vector = yield from extract(model, pairs, None, behaviour.name, also=(drawn, shuffled, in_order))
        given = replace(vector, layers=in_order.layers) if settings.letter_swap else vector
    elif wanted or controls:
        position = ReadPosition.parse(vector.provenance.read_position or "auto") if behaviour.made_from else AUTOMATIC
        yield from read_all(model, pairs, list(vector.layers), position, drawn, shuffled)
    layers = list(vector.layers)
    return _VectorsMade(
        vector,
        given,
        pairs,
        shuffled.controls(vector, layers) if controls else [],
        drawn.scatter(layers) if wanted else None,
    )


def _read(
    model: SteerableModel,
    asked: "_Asked",
    runs: dict[Run, tuple[Steer, ...]],
    stages: "_Stages",
    part: str,
    needed: bool = True,
) -> Generator[Progress, None, dict[Run, RunScores]]:
    """Score runs together, and the unsteered model with them; nothing where there is nothing to score."""
    if not (runs or needed):
        return {}
    baseline, *found = yield from stages.run(part, score_runs(model, asked.all, list(runs.values())))
    for (_, _, layer, multiplier), reading in zip(runs, found, strict=True):
        checked((layer, multiplier), reading)
    return {UNSTEERED: baseline, **dict(zip(runs, found, strict=True))}


def _of(readings: dict[Run, RunScores], kind: str) -> Readings:
    return {(layer, m): reading for (which, _, layer, m), reading in readings.items() if which == kind}


def _second_runs(
    settings: PaperRequest, made: _VectorsMade, layers: Sequence[int], place: Place, lettered: bool
) -> dict[Run, tuple[Steer, ...]]:
    """What is scored once the layer is chosen."""
    layer, multiplier = place
    at_curve = [m for m in settings.multipliers if m] if MULTIPLIERS in settings.experiments else [MINUS, PLUS]
    vector = made.vector
    runs = {("own", 0, layer, m): _at(vector, layer, m) for m in at_curve}
    if made.given is not vector and lettered:
        runs |= {("given", 0, layer, m): _at(made.given, layer, m) for m in at_curve}
    if settings.judges:
        for i, control in enumerate(random_controls(vector, [layer], settings.controls)):
            runs |= {("random", i, layer, m): (Steer(control[layer], layer, m),) for m in at_curve}
        for i, control in enumerate(made.shuffled):
            runs["shuffled", i, layer, multiplier] = (Steer(control[layer], layer, multiplier),)
    if TRANSFER in settings.experiments:
        others = [(to, m) for to in layers if to != layer for m in (MINUS, PLUS)]
        runs |= {("transfer", 0, to, m): (Steer(vector.at(layer), to, m),) for to, m in others}
    return runs


def _arms(
    model: SteerableModel,
    behaviour: Behaviour,
    asked: "_Asked",
    vector: SteeringVector,
    own: Readings,
    layer: int,
    settings: PaperRequest,
    stages: "_Stages",
) -> Generator[Progress, None, tuple[PromptArm, ...]]:
    """The vector beside system prompts, as in the paper's table of system prompts; none without instructions."""
    if not behaviour.instructions or PROMPTS not in settings.experiments:
        return ()
    places = [(layer, MINUS), (layer, 0.0), (layer, PLUS)]
    baseline = own[layer, 0.0]
    arms = [PromptArm(NONE, "", asked.cells({place: own[place] for place in places}, baseline))]
    for told in (POSITIVE, NEGATIVE):
        system = getattr(behaviour.instructions, told)
        work = score_runs(model, asked.all, [_at(vector, *place) for place in places], system=system)
        found = yield from stages.run(f"{told} system prompt", work)
        arms.append(PromptArm(told, system, asked.cells(dict(zip(places, found[1:], strict=True)), baseline)))
    return tuple(arms)


@dataclass(frozen=True)
class _Asked:
    """Items as they are, and as the paper counts them, to be scored together.

    all: the items, and behind them those that the paper's counting asks in another way. paper: the items as the paper
    counts them, None where items have no letters; places: where each of them stands among all.
    """

    items: Items
    all: Items
    paper: Items | None
    places: tuple[int, ...]

    @classmethod
    def of(cls, model: SteerableModel, test: Dataset, settings: PaperRequest) -> Generator[Progress, None, "_Asked"]:
        how = Positions.parse(settings.positions), Cue.parse(settings.cue)
        items = yield from choose_items(model, test, *how)
        if not test.is_lettered:
            return cls(items, items, None, ())
        paper = yield from choose_items(model, test, *how, paper_counting=True)
        more = tuple(pair for pair in paper.pairs if pair not in items.pairs)
        together = replace(items, pairs=items.pairs + more, swapped=items.swapped + (None,) * len(more))
        return cls(items, together, paper, tuple(together.pairs.index(pair) for pair in paper.pairs))

    @property
    def measure(self) -> str:
        """What a cell's value is."""
        return measure_of(self.items)

    def some(self, reading: RunScores) -> RunScores:
        """What was read of the items as they are."""
        return reading.some(range(len(self.items.pairs)))

    def cells(self, readings: dict[Any, RunScores], baseline: RunScores) -> tuple[SweepCell, ...]:
        found = {place: self.some(reading) for place, reading in readings.items()}
        return tuple(cells_of(self.items, found, self.some(baseline)))

    def paper_cells(self, readings: dict[Any, RunScores], baseline: RunScores) -> tuple[SweepCell, ...]:
        if not self.paper:
            return ()
        found = {place: reading.some(list(self.places)) for place, reading in readings.items()}
        return tuple(cells_of(self.paper, found, baseline.some(list(self.places))))

    def sweep(self, name: str, baseline: RunScores, readings: Readings) -> Sweep:
        unsteered, *cells = self.cells({(None, 0.0): baseline, **readings}, baseline)
        kept = {place: self.some(reading) for place, reading in readings.items()}
        return Sweep(name, self.items, unsteered, tuple(cells), self.some(baseline), kept)


class _MeanInOrder:
    """Collects the mean difference of pairs in the letter order given: `layers` is by layer."""

    def __init__(self, dataset: Dataset):
        kept = torch.tensor([float(not pair.swapped_copy) for pair in dataset.pairs])
        self._weights = kept / kept.sum()
        self._mean: torch.Tensor | float = 0.0

    def __call__(self, pairs: list[int], positive: torch.Tensor, negative: torch.Tensor) -> None:
        self._mean = self._mean + torch.einsum("p,lph->lh", self._weights[pairs], positive - negative)

    @property
    def layers(self) -> dict[int, torch.Tensor]:
        return {layer: direction.clone() for layer, direction in enumerate(self._mean)}


class _Stages:
    """How far the work on a behaviour has come: its parts by name, each with its share of `cost`."""

    def __init__(self, progress: Progress, name: str, shares: dict[str, float], cost: float):
        self._progress, self._name = progress, name
        total = sum(shares.values())
        self._shares = {part: cost * share / total for part, share in shares.items()}
        self._end = progress.cost + cost
        self._done = progress.done

    def say(self, part: str) -> Generator[Progress, None, None]:
        self._progress.unit = f"parts ({self._name}: {part})"
        yield self._progress

    def run(self, part: str, work: Generator[Progress, None, Any]) -> Generator[Progress, None, Any]:
        yield from self.say(part)
        found = yield from within(self._progress, work, self._shares[part])
        yield self._progress.advance(1, 0)
        return found

    def end(self) -> None:
        self._progress.unit = "parts"
        self._progress.done = self._done + PARTS
        self._progress.cost = self._end


def _shares(behaviour: Behaviour, settings: PaperRequest) -> dict[str, float]:
    """What the parts cost beside each other, by the letters that go through the model."""
    orders = 2 if settings.letter_swap else 1
    pairs = orders * sum(len(p.prompt) + len(p.positive) + len(p.negative) + 100 for p in behaviour.pairs.pairs)
    items = 2 * sum(len(p.prompt) + 100 for p in behaviour.test.pairs)
    ends = 2 * sum(len(p.positive) + len(p.negative) for p in behaviour.test.pairs)
    wanted = settings.experiments
    shares = {
        "vector": pairs,
        "items": 0.01 * items,
        "effect by layer": items + 60 * ends if LAYERS in wanted or settings.layer is None else 0,
        "multipliers, controls, transfer": items + 150 * ends,
        "answers written": 10 * items if settings.counts else 0,
    }
    told = items + 3 * ends if behaviour.instructions and PROMPTS in wanted else 0
    shares |= {f"{side} system prompt": told for side in (POSITIVE, NEGATIVE)}
    return shares


def _cost(behaviour: Behaviour, settings: PaperRequest) -> float:
    return sum(_shares(behaviour, settings).values())


def _at(vector: SteeringVector, layer: int, multiplier: float) -> tuple[Steer, ...]:
    return (Steer(vector.at(layer), layer, multiplier),)


def _fallback(settings: PaperRequest, layers: Sequence[int]) -> int:
    """Where there was nothing to choose from: the middle one."""
    return layers[len(layers) // 2] if settings.layer is None else settings.layer


def _changes(
    readings: dict[Run, RunScores], kind: str, multiplier: float, baseline: RunScores, half: Sequence[int]
) -> np.ndarray:
    """How far each control of a kind moves some of the items: [controls, 1]."""
    there = [reading.some(half) for (which, _, _, m), reading in readings.items() if (which, m) == (kind, multiplier)]
    start = baseline.some(half).paired
    return np.array([[(reading.paired - start).mean()] for reading in there]).reshape(-1, 1)


def _band(readings: dict[Run, RunScores], asked: "_Asked", baseline: RunScores) -> list[tuple[float, float, float]]:
    """Multiplier, the least and the most change of random vectors, rising; no change at 0."""
    found: dict[float, list[float]] = {0.0: [0.0]}
    for (kind, _, _, m), reading in readings.items():
        if kind == "random":
            change = asked.some(reading).paired - asked.some(baseline).paired
            found.setdefault(m, []).append(float(change.mean()))
    return [(m, min(changes), max(changes)) for m, changes in sorted(found.items())] if len(found) > 1 else []


def _cosines(vector: SteeringVector, given: SteeringVector) -> list[float]:
    pairs = zip(vector.layers.values(), given.layers.values(), strict=True)
    return [torch.cosine_similarity(a, b, dim=0).item() for a, b in pairs]


def _aligned(model: SteerableModel, test: Dataset, vector: SteeringVector, layer: int) -> tuple[Alignment, ...]:
    """The first held-out items with their matching answers, beside the vector."""
    texts = (render_pair(model.tokenizer, pair).positive.ids for pair in test.pairs)
    short = [ids for ids in texts if len(ids) <= min(LONGEST_SHOWN, model.context_length)][:SHOWN]
    return tuple(align(model, Prompt("", ids), vector.at(layer), layer) for ids in short)


def _cells(rows: Sequence[dict[str, Any]]) -> tuple[SweepCell, ...]:
    return tuple(SweepCell(**row) for row in rows)


def _verdict(kept: dict[str, Any]) -> Verdict:
    ranges = {kind: kept[kind] and tuple(kept[kind]) for kind in ("random", "shuffled")}
    return Verdict(**{**kept, **ranges})
