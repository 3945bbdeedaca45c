"""Does a voice speak: does it move the answers its own way, further than vectors that should do nothing?

A vector is judged as in Measure (:mod:`caa_core.metrics.cross_fitting`): its first-order estimate among as many random
vectors and vectors from shuffled labels, two-sided, and then how large its change is, by exact passes. A person has
chosen its layer and multiplier, so nothing is chosen by halves: T is the estimate there over all items. What a model
is told, and how its answer begins, has no such controls: its interval over prompts says whether it moves the answers,
and no more than that.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from caa_core.contest.voice import Voice
from caa_core.data.pairs import ContrastPair
from caa_core.measuring.vector_controls import FirstOrder, Ground, group_weights, items_by_prompt
from caa_core.metrics.correction import among_controls
from caa_core.metrics.cross_fitting import EFFECT, UNDECIDED, grade, why_undecided
from caa_core.metrics.estimates import Estimate, objections
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.steering.gradients import NoEstimateError, gradients
from caa_core.vectors.pair_differences import differences_of

# By what a voice is judged: by vectors that should do nothing, or by its interval over prompts alone.
CONTROLS, PROMPTS = "controls", "prompts"


@dataclass(frozen=True)
class VoiceGrade:
    """Whether a voice by itself moves the answers.

    grade: as a verdict of Measure's, empty where it was not judged. way: 1 where it moves them its own way, -1 the
    wrong way, 0 where neither is said. by: `CONTROLS` or `PROMPTS`. p: two-sided, among controls, or of its mean over
    prompts; corrected where several are judged together. estimate: its change to first order. why: it is not judged, or
    not decided.
    """

    grade: str
    way: int
    by: str
    p: float | None = None
    estimate: float | None = None
    why: str = ""


# Of either voice, what its controls do to first order; why there is none, or None for a voice that has no controls.
Ranked = tuple[FirstOrder | str | None, FirstOrder | str | None]
UNRANKED: Ranked = (None, None)


def rank_voices(
    model: SteerableModel, items: Items, voices: Sequence[Voice], controls: int, system: str = ""
) -> Generator[Progress, None, Ranked]:
    """Estimates of both voices and of `controls` controls of each kind, where they have any. Yields `Progress`."""
    judged = [voice for voice in voices if voice.is_vector] if controls else []
    if not judged:
        return UNRANKED
    layers = sorted({voice.steer.layer for voice in judged})
    try:
        slopes = yield from mean_gradients(model, items, layers, system)
    except NoEstimateError as error:
        a, b = (str(error) if voice in judged else None for voice in voices)
        return a, b
    found: list[FirstOrder | None] = []
    for voice in voices:
        if voice not in judged:
            found.append(None)
            continue
        stands_on = yield from voice_ground(model, voice, [voice.steer.layer], slopes, layers)
        found.append(stands_on.first_order(voice.vector, controls))  # type: ignore[arg-type]  # it is a vector
    return found[0], found[1]


def rank_layers(
    model: SteerableModel, items: Items, voices: Sequence[Sequence[Voice]], controls: int, system: str = ""
) -> Generator[Progress, None, list[list[FirstOrder | str | None]]]:
    """The same of lists of voices, each one vector at several layers, whose p is corrected for its list: by the largest
    statistic over the layers, since a control is one draw for all of them. Yields `Progress`.
    """
    if not controls or not all(one.is_vector for voice in voices for one in voice):
        return [[None] * len(voice) for voice in voices]
    layers = sorted({one.steer.layer for voice in voices for one in voice})
    try:
        slopes = yield from mean_gradients(model, items, layers, system)
    except NoEstimateError as error:
        return [[str(error)] * len(voice) for voice in voices]
    found: list[list[FirstOrder | str | None]] = []
    for voice in voices:
        at = [one.steer.layer for one in voice]
        stands_on = yield from voice_ground(model, voice[0], at, slopes, layers)
        own, kinds = stands_on.by_layer(voice[0].vector, controls)  # type: ignore[arg-type]  # it is a vector
        p = among_controls(own, kinds)
        prompts = stands_on.differences.value.shape[1] if stands_on.differences else 0
        random, shuffled = [*kinds, np.zeros((0, len(at)))][:2]
        found.append(
            [FirstOrder(own[None, [i]], random[:, i], shuffled[:, i], prompts, float(p[i])) for i in range(len(at))]
        )
    return found


def mean_gradients(
    model: SteerableModel, items: Items, layers: Sequence[int], system: str = ""
) -> Generator[Progress, None, torch.Tensor]:
    """Of m, the mean over prompts, by what is added at each layer, and behind it of m of each of the first prompts:
    [1 + prompts, layers, hidden_size]. Yields `Progress`.

    Raises:
        NoEstimateError: the model cannot be differentiated.
    """
    asked, weights = _averaged(items, len(layers) * model.hidden_size)
    return (yield from gradients(model, asked, weights, layers, items.positions, items.cue, system))


def voice_ground(
    model: SteerableModel, voice: Voice, at: Sequence[int], slopes: torch.Tensor, layers: Sequence[int]
) -> Generator[Progress, None, Ground]:
    """What a voice's estimates and its controls' are made of at some of `layers`, whose gradients are known."""
    assert voice.vector, "only vectors have controls"
    own = None
    if voice.pairs and not model.elsewhere:  # what is read at each pair stays where it is read
        own = yield from differences_of(model, voice.vector, at, voice.pairs)
    there = slopes[:, [list(layers).index(layer) for layer in at]]
    return Ground(tuple(at), there[:1], own, (there[1:], np.zeros(len(there) - 1, dtype=int)))


def _averaged(items: Items, size: int) -> tuple[list[ContrastPair], torch.Tensor]:
    """What is asked, and weights [1 + prompts, asked] by which it is m: means over letter orders, a prompt's items, and
    in the first row prompts. size: numbers of a prompt's gradient.
    """
    asked, of = items.both_orders()
    orders, sizes = np.bincount(of), np.bincount(items.prompts)
    weights = [1 / orders[item] / sizes[items.prompts[item]] / len(sizes) for item in of]
    everyone = torch.tensor([weights], dtype=torch.float32)
    groups = items_by_prompt(range(len(items.pairs)), items.prompts, size)
    return asked, torch.cat([everyone, group_weights(groups, of)])


def by_controls(found: FirstOrder | str, change: Estimate, multiplier: float, own: int) -> VoiceGrade:
    """The grade of a vector with controls.

    Args:
        found: see `Ranked`.
        change: Δ of the voice, by exact passes.
        own: 1 for A, whose answers m prefers above 0, and -1 for B.
    """
    if isinstance(found, str):
        return VoiceGrade(UNDECIDED, 0, CONTROLS, why=found)
    p, direction = found.rank
    direction *= int(np.sign(multiplier))
    expected = multiplier * found.value
    if found.lacking:
        return VoiceGrade("", 0, CONTROLS, p, expected, found.lacking)
    said = grade(p, direction, change, expected, len(found.kinds))
    why = why_undecided(p, direction, change, len(found.kinds)) if said == UNDECIDED else ""
    return VoiceGrade(said, own * direction if said == EFFECT else 0, CONTROLS, p, expected, why)


def by_prompts(change: Estimate, p: float, own: int) -> VoiceGrade:
    """The grade of a voice without controls by p of its mean over prompts, corrected."""
    direction = 1 if change.value > 0 else -1
    said = grade(p, direction, change)
    why = " and ".join(objections(change, {})) if said == UNDECIDED else ""
    return VoiceGrade(said, own * direction if said == EFFECT else 0, PROMPTS, p, why=why)
