"""The experiments of the CAA paper (Panickssery et al., arXiv 2312.06681) on several behaviours at once.

A behaviour costs one pass over its pairs and few over its items: everything that can be scored together is.
"""

import time
from collections.abc import Generator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from caa_core.errors import InputError
from caa_core.measuring.inspection import Alignment, align
from caa_core.measuring.paper.behaviours import Behaviour, check_behaviours
from caa_core.measuring.paper.findings import MINUS, PLUS, Findings, PromptArm, Replication
from caa_core.measuring.paper.items import PaperItems
from caa_core.measuring.paper.request import LAYERS, MULTIPLIERS, PROMPTS, TOKENS, TRANSFER, PaperRequest
from caa_core.measuring.paper.runs import GIVEN, OWN, RANDOM, TRANSFERRED, ScoredRuns
from caa_core.measuring.paper.stages import (
    AT_LAYER,
    BY_LAYER,
    ITEMS,
    JUDGED,
    PARTS,
    SIDES,
    TOLD,
    VECTOR,
    WRITTEN,
    Stages,
    cost_of,
    prompt_part,
)
from caa_core.measuring.paper.vectors import BehaviourVectors, make_vectors
from caa_core.measuring.sweep import UNSTEERED, Place, RunScores, Sweep, SweepCell, score_runs
from caa_core.measuring.told import beside_prompts
from caa_core.measuring.verdict import Conclusion, KeptNumbers, conclude
from caa_core.metrics.cache import key
from caa_core.metrics.controls import random_controls
from caa_core.metrics.cross_fitting import CONTROLS
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.metrics.grid import check_multipliers
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Prompt, render_pair
from caa_core.progress import Progress
from caa_core.steering.activations import check_here
from caa_core.steering.interventions import Steer

# Held-out items that are shown token by token, and how many tokens those may have.
SHOWN, LONGEST_SHOWN = 2, 600


@handed_over
def replicate(
    model: SteerableModel,
    behaviours: Sequence[Behaviour],
    settings: PaperRequest,
    known: MutableMapping[str, dict[str, Any]] | None = None,
) -> Generator[Progress | Replication, None, Replication]:
    """Measure behaviours one after the other. Yields `Progress`, and after each behaviour all that has come.

    Args:
        known: packed findings by all that they depend on: what is in it is not measured again, and what is measured is
            put in.

    Raises:
        InputError: a layer or multiplier that cannot be, behaviours that cannot be measured beside each other, or
            that this model cannot be measured on.
    """
    check_here(model, "Measuring several behaviours at once")
    settings = replace(settings, multipliers=tuple(check_multipliers([*settings.multipliers, MINUS, 0.0, PLUS])))
    settings.layers_of(model)
    behaviours = [one.sample(settings.pairs, settings.items, settings.seed) for one in check_behaviours(behaviours)]
    if settings.letter_swap and not any(one.has_letters or one.vector for one in behaviours):
        raise InputError("Not one of these behaviours has lettered options, so there are no letters to swap.")
    known = {} if known is None else known
    provenance = {**model.provenance, "device": model.device.type}
    costs = [cost_of(behaviour, settings) for behaviour in behaviours]
    progress = Progress(PARTS * len(behaviours), "parts", sum(costs))
    found: list[Findings] = []
    for behaviour, cost in zip(behaviours, costs, strict=True):
        name = key(model, behaviour, settings, behaviour.wordings)
        if name in known:
            found.append(Findings.unpack(known[name]))
            progress.resumed += cost
            yield progress.advance(PARTS, cost)
        else:
            found.append((yield from _measure(model, behaviour, settings, Stages(progress, behaviour, settings, cost))))
            known[name] = found[-1].pack()
        so_far = Replication(tuple(found), tuple(b.name for b in behaviours), settings.settings(), provenance)
        yield so_far
    return so_far


def _measure(
    model: SteerableModel, behaviour: Behaviour, request: PaperRequest, stages: Stages
) -> Generator[Progress, None, Findings]:
    """The experiments on one behaviour."""
    started = time.monotonic()
    vectors = yield from stages.run(VECTOR, make_vectors(model, behaviour, request))
    layers = request.layers_of(model, vectors.vector)
    choosing = PaperItems.choose(model, behaviour.test, request.positions, request.cue, request.operation)
    items = yield from stages.run(ITEMS, choosing)
    work = _Experiments(model, behaviour, request, stages, vectors, items, layers)
    choice = yield from work.choose()
    yield from work.score_at(choice)
    curve = yield from work.curve(choice.layer)
    arms = yield from work.arms(choice.layer)
    tokens = work.alignments(choice.layer)
    stages.end()
    concluded = choice.concluded
    return Findings(
        name=behaviour.name,
        measure=items.measure,
        vector=vectors.vector,
        given_cosines=vectors.given_cosines,
        pairs=f"{vectors.pairs.name}: {vectors.pairs.kind}",
        test=f"{behaviour.test.name}: {behaviour.test.kind}",
        test_sha256=behaviour.test.sha256,
        num_items=len(items.items.pairs),
        skipped=list(items.items.skipped),
        unsteered=items.cells({UNSTEERED: work.runs.baseline}, work.runs.baseline)[0],
        profile=work.profile(),
        layer=choice.layer,
        proposal=concluded.proposal,
        verdict=concluded.verdict,
        conclusion=concluded.text,
        curve=curve,
        band=work.band(),
        transfer=work.transfer(choice.layer),
        arms=arms,
        paper_profile=work.paper_profile(),
        paper_curve=work.paper_curve(choice.layer),
        scatter=vectors.scatter,
        alignments=tokens,
        seconds=round(time.monotonic() - started, 1),
        operation=str(request.operation),
    )


NOTHING = Conclusion(None, None, "")


@dataclass(frozen=True)
class _Choice:
    """The layer at which experiments are made, and what is concluded from the layers that were measured."""

    layer: int
    concluded: Conclusion = NOTHING


class _Experiments:
    """The experiments on one behaviour: `choose` and `score_at` run the model, the others return their part of
    `Findings`, empty where it was not asked for.
    """

    def __init__(
        self,
        model: SteerableModel,
        behaviour: Behaviour,
        request: PaperRequest,
        stages: Stages,
        vectors: BehaviourVectors,
        items: PaperItems,
        layers: Sequence[int],
    ):
        self.model, self.behaviour, self.request, self.stages = model, behaviour, request, stages
        self.vectors, self.items, self.layers = vectors, items, layers
        self.places = [(layer, m) for layer in layers for m in (MINUS, PLUS)]
        # Where the vector is as given already, or items have no letters, it is scored once.
        self.kinds = (OWN, GIVEN) if vectors.given is not vectors.vector and items.paper else (OWN,)
        self.runs = ScoredRuns()
        self.map: EstimateMap | None = None  # what the verdict's estimates are at each layer, beside controls

    def choose(self) -> Generator[Progress, None, _Choice]:
        """Score the vector of every layer where that is asked for, or a layer is to be chosen by it."""
        layer = self.request.layer
        fallback = self.layers[len(self.layers) // 2] if layer is None else layer
        if layer is not None and not self._wants(LAYERS):
            return _Choice(fallback)
        yield from self._score(BY_LAYER, self._at_places(self.places))
        swept = self.items.sweep(self.vectors.vector.name, self.runs.of(OWN), self.runs.baseline)
        there = {place: scores for place, scores in swept.readings.items() if place[0] == layer}
        swept = replace(swept, readings=there or swept.readings)
        own = self.vectors.pairs if self.behaviour.vector is None or self.behaviour.made_from else None
        controls = max(CONTROLS, self.request.controls) if self.request.judges else 0
        known = KeptNumbers()
        work = conclude(self.model, swept, self.vectors.vector, own, controls, known=known)
        concluded = yield from self.stages.run(JUDGED, work)
        self.map = next(iter(known.maps.values()), None)
        concluded = yield from self._beside_prompts(swept, concluded)
        return _Choice(concluded.proposal.layer if concluded.proposal else fallback, concluded)

    def _beside_prompts(self, swept: Sweep, concluded: Conclusion) -> Generator[Progress, None, Conclusion]:
        """With what system prompts for the behaviour do on the items of its verdict, where some are known."""
        verdict, wordings = concluded.verdict, self.behaviour.wordings
        if not (verdict and wordings and self._wants(PROMPTS)):
            return concluded
        vector, name = self.vectors.vector, self.behaviour.name
        work = beside_prompts(self.model, swept, vector, verdict.cells, name, wordings, {})
        told = yield from self.stages.run(TOLD, work)
        return replace(concluded, verdict=replace(verdict, told=told), text=f"{concluded.text}\n{told}")

    def score_at(self, choice: _Choice) -> Generator[Progress, None, None]:
        """Score all that is still wanted once the layer is chosen."""
        layer, vector = choice.layer, self.vectors.vector
        multipliers = [m for m in self.request.multipliers if m] if self._wants(MULTIPLIERS) else [MINUS, PLUS]
        wanted = self._at_places([(layer, m) for m in multipliers])
        if self.request.judges:
            random = random_controls(vector, [layer], self.request.controls)
            wanted += [(RANDOM, self._steer(one[layer], layer, m)) for one in random for m in multipliers]
        if self._wants(TRANSFER):
            others = [place for place in self.places if place[0] != layer]
            wanted += [(TRANSFERRED, self._steer(vector.at(layer), *place)) for place in others]
        yield from self._score(AT_LAYER, wanted)

    def profile(self) -> tuple[SweepCell, ...]:
        """Every layer at ±1."""
        if not self._wants(LAYERS):
            return ()
        own = self.runs.of(OWN)
        return self._cells({place: own[place] for place in self.places})

    def paper_profile(self) -> tuple[SweepCell, ...]:
        """The same as the paper counts, behind the unsteered model."""
        if not self._wants(LAYERS):
            return ()
        baseline, given = self.runs.baseline, self.runs.of(self.kinds[-1])
        unsteered = self.items.paper_cells({UNSTEERED: baseline}, baseline)
        return unsteered + self.items.paper_cells({place: given[place] for place in self.places}, baseline)

    def curve(self, layer: int) -> Generator[Progress, None, tuple[SweepCell, ...]]:
        """Every multiplier at the layer. Where answers are written, yields `Progress`."""
        if not self._wants(MULTIPLIERS):
            return ()
        found = self._at(OWN, layer, self.request.multipliers)
        if self.request.counts and self.items.items.are_choices:
            runs = [(self._steer(self.vectors.vector.at(layer), *place),) for place in found]
            work = score_runs(self.model, self.items.all, runs, counts=True)
            _, *scores = yield from self.stages.run(WRITTEN, work)
            found = dict(zip(found, scores, strict=True))
        return self._cells(found)

    def paper_curve(self, layer: int) -> tuple[SweepCell, ...]:
        """The same as the paper counts."""
        if not self._wants(MULTIPLIERS):
            return ()
        found = self._at(self.kinds[-1], layer, self.request.multipliers)
        return self.items.paper_cells(found, self.runs.baseline)

    def band(self) -> list[tuple[float, float, float]]:
        """Multiplier, the least and the most change of random vectors, rising; no change at 0."""
        random = self.runs.all_of(RANDOM)
        if not (random and self._wants(MULTIPLIERS)):
            return []
        start = self.items.own(self.runs.baseline).paired
        found = [(0.0, 0.0, 0.0)]
        for (_, m), controls in random.items():
            changes = [float((self.items.own(one).paired - start).mean()) for one in controls]
            found.append((m, min(changes), max(changes)))
        return sorted(found)

    def transfer(self, layer: int) -> tuple[SweepCell, ...]:
        """The vector of the layer at each of the layers."""
        if not self._wants(TRANSFER):
            return ()
        found = self.runs.of(TRANSFERRED) | self._at(OWN, layer, (MINUS, PLUS))
        cells = self._cells(dict(sorted(found.items())))
        # Labels were shuffled of the pairs as they are read at each layer, where this vector was not made.
        return tuple(cell if cell.layer == layer else replace(cell, wrong_shuffled=None) for cell in cells)

    def arms(self, layer: int) -> Generator[Progress, None, tuple[PromptArm, ...]]:
        """The vector beside system prompts, as in the paper's table of them; none without instructions."""
        instructions = self.behaviour.instructions
        if not (instructions and self._wants(PROMPTS)):
            return ()
        baseline, own = self.runs.baseline, self._at(OWN, layer, (MINUS, 0.0, PLUS))
        found = [PromptArm("none", "", self._cells(own))]
        for side in SIDES:
            system = getattr(instructions, side)
            runs = [(self._steer(self.vectors.vector.at(layer), *place),) for place in own]
            work = score_runs(self.model, self.items.all, runs, system=system)
            _, *scores = yield from self.stages.run(prompt_part(side), work)
            found.append(PromptArm(side, system, self.items.cells(dict(zip(own, scores, strict=True)), baseline)))
        return tuple(found)

    def alignments(self, layer: int) -> tuple[Alignment, ...]:
        """The first held-out items with their matching answers, beside the vector."""
        if not self._wants(TOKENS):
            return ()
        longest = min(LONGEST_SHOWN, self.model.context_length)
        texts = (render_pair(self.model.tokenizer, pair).positive.ids for pair in self.behaviour.test.pairs)
        short = [ids for ids in texts if len(ids) <= longest][:SHOWN]
        return tuple(align(self.model, Prompt("", ids), self.vectors.vector.at(layer), layer) for ids in short)

    def _cells(self, runs: dict[Place, RunScores]) -> tuple[SweepCell, ...]:
        """Means over the items as they are, with what controls push the wrong way beside them, where that is known."""
        return tuple(cell.beside(self.map) for cell in self.items.cells(runs, self.runs.baseline))

    def _wants(self, experiment: str) -> bool:
        return experiment in self.request.experiments

    def _steer(self, vector: torch.Tensor, layer: int, multiplier: float) -> Steer:
        """vector: [hidden_size]."""
        return Steer(vector, layer, multiplier, self.request.operation)

    def _at_places(self, places: Sequence[Place]) -> list[tuple[str, Steer]]:
        """The vector, and the one as given where that is another one, at each place."""
        vectors = {OWN: self.vectors.vector, GIVEN: self.vectors.given}
        return [(kind, self._steer(vectors[kind].at(layer), layer, m)) for kind in self.kinds for layer, m in places]

    def _score(self, stage: str, wanted: Sequence[tuple[str, Steer]]) -> Generator[Progress, None, None]:
        """Score what is not there yet, all of it together, and the unsteered model with it."""
        wanted = [one for one in wanted if (one[1].layer, one[1].multiplier) not in self.runs.all_of(one[0])]
        if wanted:
            work = score_runs(self.model, self.items.all, [(steer,) for _, steer in wanted])
            self.runs.add(wanted, (yield from self.stages.run(stage, work)))

    def _at(self, kind: str, layer: int, multipliers: Sequence[float]) -> dict[Place, RunScores]:
        """The runs of a kind at one layer; a multiplier of 0 is the unsteered model."""
        there = self.runs.of(kind)
        return {(layer, m): there[layer, m] if m else self.runs.baseline for m in multipliers}
