"""A prompt beside a vector: what asking for the behaviour in a system prompt does to the same items, alone and with it.

That is the bar to clear (Wu et al., "AxBench", arXiv 2501.17148). Wordings are fixed before anything is measured, and
all of them are shown: none is picked for what it does.
"""

from collections.abc import Generator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from caa_core.data.pairs import Dataset
from caa_core.data.presets import behaviour_of
from caa_core.errors import InputError
from caa_core.measuring.proposal import JudgedCell, judged_halves, prompts_at
from caa_core.measuring.requests import EvaluationRequest
from caa_core.measuring.sweep import RunScores, Sweep, readings_of
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.metrics.cache import key
from caa_core.metrics.estimates import Estimate, Share, mean_of
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import FLAT, SHARED
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.scoring import Steers
from caa_core.steering.told import score_told
from caa_core.vectors.vector import SteeringVector

NONE_KNOWN = (
    "no wording of this behaviour is known here. Give up to three system prompts that ask for it (--told on the "
    "command line, More settings on the page)."
)
NOT_ASKED = (
    "Whether a system prompt for the behaviour does as much was not asked (--prompts on the command line, More "
    "settings on the page)."
)
CONTEXT = (
    "KL is from the model that is told nothing, at the same tokens of the answers. Behind a system prompt their "
    "context differs, so that what it costs is not comparable with what the vector costs."
)


@dataclass(frozen=True)
class ToldChange:
    """What happens to items against the unsteered model that is told nothing.

    difference: the mean change of what verdicts are given by, towards the matching answer. away: of the prompts that
    move, the share that goes away from it; None where none moves. kl: in nats, mean over the answers' positions, see
    `CONTEXT`; None where it is not known, since an answer's tokens are others behind the system prompt.
    """

    difference: Estimate = field(metadata=SHARED)
    away: Share | None = field(metadata=FLAT)
    kl: float | None

    @property
    def brief(self) -> str:
        cost = "not known" if self.kl is None else f"{self.kl:.3f} nats"
        return f"{self.difference:+.3f}, KL {cost}"


@dataclass(frozen=True)
class ToldWording:
    """What a system prompt does alone, and together with the vector."""

    told: str
    alone: ToldChange
    together: ToldChange


@dataclass(frozen=True)
class BesidePrompts:
    """System prompts beside a vector, on the items and in the cells of its verdict.

    behaviour: whose wordings these are, a preset's name; empty where a person gave them. cells: where the vector is
    added, with the one multiplier of each half: a positive one where any was tried. vector: the vector alone. why:
    there are no numbers.
    """

    behaviour: str = ""
    cells: tuple[JudgedCell, ...] = ()
    vector: ToldChange | None = None
    wordings: tuple[ToldWording, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        if self.vector is None:
            return f"No system prompt stands beside it: {self.why}"
        whose = f"wordings of {self.behaviour}, fixed beforehand" if self.behaviour else "the wordings that were given"
        lines = [
            f"Beside system prompts ({whose}; all are shown):",
            f"The vector alone, {self.where}: {self.vector.brief}.",
        ]
        for one in self.wordings:
            lines.append(f"Told “{one.told}”: {one.alone.brief}; with the vector: {one.together.brief}.")
        return "\n".join([*lines, CONTEXT])

    @property
    def where(self) -> str:
        """Layers and multipliers in words."""
        places = dict.fromkeys(f"layer {cell.layer} × {m:g}" for cell in self.cells for m in cell.multipliers)
        return " and ".join(places)


def wordings_for(
    request: EvaluationRequest, vector: SteeringVector, own: Dataset | None
) -> tuple[str, tuple[str, ...]]:
    """Whose wordings stand beside a vector, and these: those that were given, or those of the preset that it was made
    from, or else of the one that the items are of; none where there is no such preset.
    """
    if request.told:
        return "", request.told
    said = (vector.provenance.dataset_sha256, own.sha256 if own else "", request.data.sha256)
    preset = next(filter(None, map(behaviour_of, said)), None)
    return (preset.name, preset.wordings) if preset else ("", ())


def beside_prompts(
    model: SteerableModel,
    swept: Sweep,
    vector: SteeringVector,
    cells: Sequence[JudgedCell],
    behaviour: str,
    wordings: Sequence[str],
    known: MutableMapping[str, RunScores],
) -> Generator[Progress, None, BesidePrompts]:
    """Measure system prompts on the items in the cells of a verdict. Yields `Progress`.

    Args:
        known: readings of before, by all that they depend on: what is in it is not measured again, and what is measured
            is put in.
    """
    if not wordings:
        return BesidePrompts(why=NONE_KNOWN)
    halves = judged_halves(swept.items)
    cells = tuple(replace(cell, multipliers=(max(cell.multipliers),)) for cell in cells)
    places = [(cell.layer, cell.multipliers[0]) for cell in cells]
    steers = [swept.items.steers(vector, *place) for place in places]
    found = []
    try:
        for half, several in zip(halves, steers, strict=True):
            found.append((yield from _told(model, swept.items.some(half), several, wordings, known)))
    except InputError as error:  # such as items that are too long behind it; what the vector does stands without
        return BesidePrompts(behaviour, why=str(error))
    prompts = prompts_at(swept.items, [i for half in halves for i in half])

    def changed(parts: Sequence[RunScores]) -> ToldChange:
        """Of readings of each half."""
        pairs = zip(parts, halves, strict=True)
        moved = np.concatenate([part.paired - swept.baseline.some(half).paired for part, half in pairs])
        kl = float(np.concatenate([part.kl for part in parts]).mean())
        return ToldChange(mean_of(moved, prompts), AntiSteerable.of(moved, prompts).share, kl if kl < np.inf else None)

    alone = [swept.readings[place].some(half) for place, half in zip(places, halves, strict=True)]
    each = (
        ToldWording(told, changed([half[i][0] for half in found]), changed([half[i][1] for half in found]))
        for i, told in enumerate(wordings)
    )
    return BesidePrompts(behaviour, cells, changed(alone), tuple(each))


def _told(
    model: SteerableModel, items: Items, steers: Steers, wordings: Sequence[str], known: MutableMapping[str, RunScores]
) -> Generator[Progress, None, list[tuple[RunScores, RunScores]]]:
    """Of each wording, what items read unsteered and steered. Yields `Progress`; raises InputError where they do not
    fit behind it, or the model's numbers overflow.
    """
    names = [[key(model, "told", items, told, *added) for added in ((None,), steers)] for told in wordings]
    missing = [i for i, both in enumerate(names) if not all(name in known for name in both)]
    fresh: dict[str, RunScores] = {}
    if missing:
        asked, _ = items.both_orders()
        systems = [wordings[i] for i in missing]
        scores = yield from score_told(model, asked, systems, [steers], items.positions, items.cue)
        for i, one in zip(missing, scores, strict=True):
            fresh |= zip(names[i], readings_of(items, one), strict=True)
    if not all(np.isfinite(one.value).all() for one in fresh.values()):
        raise InputError("the model's numbers overflow behind it.")
    known.update({name: one for name, one in fresh.items() if np.isfinite(one.kl).all()})
    there = {**known, **fresh}
    return [(there[alone], there[together]) for alone, together in names]
