"""What a study of positions and cues says where all arms do the same, and where some do more.

In the simulation, changes of a prompt under several arms have half of their variance, 1 in all, in common. On the
model, labels of the pairs are exchanged by coins, and all arms of a study are ranked to first order: what is not told
from controls there is called no effect, and needs no cue.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from caa_core.data.presets import find_pairs, find_test_pairs
from caa_core.measuring.requests import StudyRequest
from caa_core.measuring.study_results import Study, StudyArm, StudyRow, graded
from caa_core.measuring.vector_controls import Ground, slopes_of
from caa_core.metrics.correction import among_controls
from caa_core.metrics.cross_fitting import CONTROLS, LEVEL
from caa_core.metrics.estimates import LEAST, means_of
from caa_core.metrics.items import choose_items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue
from caa_core.progress import finish
from caa_core.steering.interventions import Positions
from caa_core.steering.read_position import ReadPosition
from caa_core.vectors.extraction import extract
from caa_core.vectors.pair_differences import differences_of

# Sentences, and what they begin with or hold.
SENTENCES = {
    "an effect": ("An effect is shown", "moves the answers furthest, "),
    "furthest": ("moves the answers furthest, +", "moves the answers furthest, -"),
    "clearly less": ("clearly less",),
    "needs a cue": ("It needs a cue",),
    "more with a cue": ("clearly more with", "It needs a cue"),
}


def simulate(
    runs: int,
    prompts: int,
    arms: int,
    effects: Sequence[float],
    spread: float = 0.3,
    controls: int = CONTROLS,
    seed: int = 0,
) -> dict[str, float]:
    """Share of runs in which each thing is said of cues, the first of which is none, or of steered positions.

    effects: of each arm, in standard deviations between items, one of which is the smallest change that counts; to all
    of them comes what the vector does by chance.
    """
    random = np.random.default_rng(seed)
    said: Counter[str] = Counter()
    for _ in range(runs):
        own = spread * random.standard_normal() + np.asarray(effects)
        changes = LEAST * (own + _noise(random, prompts, arms))
        kinds = [LEAST * _controls(random, controls, prompts, arms, spread) for _ in range(2)]
        p = among_controls(changes.mean(0), kinds)
        text = " ".join(answer for factor in ("cue", "positions") for answer in _study(changes, p, factor).answers)
        said.update(what for what, words in SENTENCES.items() if any(one in text for one in words))
    return {what: said[what] / runs for what in SENTENCES}


def _noise(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Of variance 1, half of it the same along the last axis."""
    shared = random.standard_normal((*shape[:-1], 1))
    return np.sqrt(0.5) * (random.standard_normal(shape) + shared)


def _controls(random: np.random.Generator, count: int, prompts: int, arms: int, spread: float) -> np.ndarray:
    """Means over prompts, [controls, arms]: what a control does by chance is the same under all arms."""
    return spread * random.standard_normal((count, 1)) + _noise(random, count, arms) / np.sqrt(prompts)


def _study(changes: np.ndarray, p: np.ndarray, factor: str) -> Study:
    """Of changes [prompts, arms] at a multiplier of 1, the arms being levels of one factor."""
    rows = [
        StudyRow(
            arm=StudyArm(**({factor: f"level {number}"} if number else {})),
            layer=1,
            multiplier=1.0,
            items=len(changes),
            norm=1.0,
            unsteered=0.0,
            steered=size.value,
            difference=size,
            as_given=size.value,
            random=None,
            shuffled=None,
            controls=CONTROLS,
            mass_unsteered=None,
            mass=None,
            kl=0.0,
            effect=None,
            verdict="",
            changes=tuple(changes[:, number].tolist()),
        )
        for number, size in enumerate(means_of(changes.T))
    ]
    rows = [graded(row, row.difference.value, float(one), choices=False) for row, one in zip(rows, p, strict=True)]
    return Study(tuple(rows), StudyArm(), len(rows), "", len(changes), (), ())


def on_model(model: SteerableModel, name: str, layers: Sequence[int], vectors: int, items: int = 12) -> float:
    """The share of `vectors` from a preset's pairs with labels exchanged of which any arm of a study at some layers is
    told from controls. "effect", "needs a cue" and what is said of arms that have an effect are said of no others.
    """
    request = StudyRequest.parse(pairs=find_pairs(name), items=find_test_pairs(name).first(items), layers=layers)
    arms, slopes, differences = [], {}, {}
    for read in request.reads:
        if read == "last-prompt":  # where the answers of a prompt do not differ yet
            continue
        vector = finish(extract(model, request.pairs, layers, read=ReadPosition.parse(read)))
        differences[read] = vector, finish(differences_of(model, vector, layers, request.pairs))
    for arm in request.arms:
        if arm.read in differences:
            arms.append(arm)
            if (how := (arm.positions, arm.cue)) not in slopes:
                asked = finish(choose_items(model, request.items, Positions.parse(how[0]), Cue.parse(how[1])))
                slopes[how] = finish(slopes_of(model, asked, layers))
    # Nulls are drawn as the controls from shuffled labels are, under other coins; the same for all arms.
    drawn = [
        (Ground(tuple(layers), slopes[arm.positions, arm.cue], differences[arm.read][1]), differences[arm.read][0])
        for arm in arms
    ]
    kinds = [stands_on.by_layer(vector, CONTROLS)[1] for stands_on, vector in drawn]
    nulls = [stands_on.by_layer(vector, vectors, seed=77_000)[1][-1] for stands_on, vector in drawn]
    controls = [np.concatenate(kind, axis=1) for kind in zip(*kinds, strict=True)]
    found = np.concatenate(nulls, axis=1)
    return float(np.mean([(among_controls(one, controls) <= LEVEL).any() for one in found]))
