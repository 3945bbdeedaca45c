"""Two voices over a grid: of their multipliers, or of the layers at which they speak.

m, Δ, D and I are those of :mod:`caa_core.contest.dominance`. Over multipliers a and b the voices balance where m is
what it is unsteered. Near the unsteered model Δ is close to a plane, Δ = α·a + β·b, and its slope is the exchange rate:
1 of A weighs α / -β of B.
"""

import itertools
import math
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from caa_core.contest.contest import measure_voices
from caa_core.contest.dominance import (
    ContestPs,
    ahead_of,
    by_prompt,
    interactions_of,
    judge_contest,
    measured,
)
from caa_core.contest.requests import SURFACE_STEPS
from caa_core.contest.speaking import rank_layers
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.metrics.anti_steerability import AntiSteerable
from caa_core.metrics.correction import holm, paired_p
from caa_core.metrics.cross_fitting import CONTROLS, LEVEL, too_few
from caa_core.metrics.estimates import SAFE_KL, Estimate, Share, estimate, means_of
from caa_core.metrics.grid import check_multipliers
from caa_core.metrics.items import Items
from caa_core.metrics.plain_data import FLAT, SHARED, plain, restored
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress

MOST_CELLS = 441
NO_CONTROLS = "No controls stand beside it: whether a voice speaks is for the verdict to say."
# Of what the cells show, a plane has to explain so much for its slope to be worth a number.
STRAIGHT = 0.8


@dataclass(frozen=True)
class SurfaceCell:
    """Both voices at once. a, b: their multipliers; for words 1 and 0, there or not.

    m, change: mean over prompts in nats a token, and its change against the unsteered model. kl: KL(unsteered ‖
    steered) in nats; None where the model is told something. towards_a: of the prompts that move, the share that goes
    A's way, half of them where nothing is done; None where none moves, or in what was kept before.
    """

    a: float
    b: float
    m: float
    change: Estimate = field(metadata=SHARED)
    kl: float | None
    towards_a: Share | None = field(default=None, metadata=FLAT)


@dataclass(frozen=True)
class Surface:
    """m over both multipliers.

    a, b: the voices' names; layer_a, layer_b: None for words. balance: (a, b) at which m is as unsteered, between
    neighbouring cells of one a (of one b, where B is words). rate: how much of B balances 1 of A, None where that
    cannot be told; straight: which share of the squared changes of the `cheap` cells, those under `SAFE_KL` nats, a
    plane explains.
    """

    a: str
    b: str
    layer_a: int | None
    layer_b: int | None
    items: int
    prompts: int
    unsteered: float
    cells: tuple[SurfaceCell, ...]
    balance: tuple[tuple[float, float], ...]
    rate: Estimate | None
    straight: float | None
    cheap: int
    verdict: str

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": "multipliers", **plain(self)}


@dataclass(frozen=True)
class LayerGrid:
    """A at each of some layers against B at each of others, at fixed multipliers.

    cells: by layers, what `Contest` says under the same names; what is said of a voice is corrected for its layers, and
    who is followed for all cells. contests: in how many both voices speak; follows_a, follows_b: in how many of these
    one of them is followed. clear: how many have an interaction that is told from 0, after Holm; that it is not what
    adding predicts takes second voices, which are not measured here.
    """

    a: str
    b: str
    multiplier_a: float
    multiplier_b: float
    items: int
    prompts: int
    cells: tuple[dict[str, Any], ...]
    clear: int
    verdict: str
    contests: int | None = None
    follows_a: int | None = None
    follows_b: int | None = None

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": "layers", **plain(self)}


def surface_of(summary: dict[str, Any]) -> Surface | LayerGrid:
    """What `summary` was made of. Raises InputError for anything else."""
    what = "The surface that was"
    if summary.get("kind") == "layers":
        return restored(LayerGrid, summary, what)
    return restored(Surface, summary, what)


def surface(
    model: SteerableModel,
    items: Items,
    a: Voice,
    b: Voice,
    multipliers_a: Sequence[float] = SURFACE_STEPS,
    multipliers_b: Sequence[float] = SURFACE_STEPS,
    system: str = "",
) -> Generator[Progress, None, Surface]:
    """Measure m at every two multipliers. A voice of words alone is there or not, whatever the multipliers.
    Yields `Progress`.

    Raises:
        InputError: too many cells, or a voice of several vectors.
    """
    steps_a, steps_b = _steps(a, multipliers_a), _steps(b, multipliers_b)
    grid = list(itertools.product(steps_a, steps_b))
    _check(len(grid))
    voices = [Voice("unsteered"), *(steps_a[x].beside(steps_b[y]) for x, y in grid)]
    m, kl = yield from measure_voices(model, items, voices, system)
    by = by_prompt(items, m)
    changes = by[1:] - by[0]
    cost = [float(value) if math.isfinite(value) else None for value in kl[1:].mean(1)]
    # Wrong is what goes below 0, so that of the opposite it is what goes A's way.
    towards_a = [AntiSteerable.of(-change, range(by.shape[1])).share for change in changes]
    cells = tuple(
        SurfaceCell(x, y, float(of.mean()), change, nats, share)
        for (x, y), of, change, nats, share in zip(grid, by[1:], means_of(changes), cost, towards_a, strict=True)
    )
    rate, straight, cheap = _rate(cells, changes)
    found = Surface(
        a=a.name,
        b=b.name,
        layer_a=a.steers[0].layer if a.steers else None,
        layer_b=b.steers[0].layer if b.steers else None,
        items=len(items.pairs),
        prompts=by.shape[1],
        unsteered=float(by[0].mean()),
        cells=cells,
        balance=_balance(cells, "ba" if a.steers and not b.steers else "ab"),
        rate=rate,
        straight=straight,
        cheap=cheap,
        verdict="",
    )
    return replace(found, verdict=_in_words(found))


def layer_grid(
    model: SteerableModel,
    items: Items,
    a: Voice,
    b: Voice,
    layers_a: Sequence[int],
    layers_b: Sequence[int],
    system: str = "",
    controls: int = CONTROLS,
) -> Generator[Progress, None, LayerGrid]:
    """Measure the contest at every two layers. Yields `Progress`.

    controls: of each kind, beside each voice at each layer; see `speaking.rank_layers`.

    Raises:
        InputError: too many cells, or a voice that is no vector with those layers.
    """
    if not (a.vector and b.vector and len(a.steers) == len(b.steers) == 1):
        raise InputError("Layers can be crossed where both voices are vectors.")
    _check(len(layers_a) * len(layers_b))
    ones = [
        [voice.with_steer(vector=vector.at(layer), layer=layer) for layer in layers]
        for voice, vector, layers in ((a, a.vector, layers_a), (b, b.vector, layers_b))
    ]
    both = list(itertools.product(range(len(layers_a)), range(len(layers_b))))
    voices = [Voice("unsteered"), *ones[0], *ones[1], *(ones[0][x].beside(ones[1][y]) for x, y in both)]
    m, kl = yield from measure_voices(model, items, voices, system)
    ranked = yield from rank_layers(model, items, ones, controls, system)
    rows = [[0, 1 + x, 1 + len(layers_a) + y, 1 + sum(map(len, ones)) + i] for i, (x, y) in enumerate(both)]
    found = [measured(items, ones[0][x], ones[1][y], m[of], kl[of]) for of, (x, y) in zip(rows, both, strict=True)]
    by = by_prompt(items, m)
    changes = [by[of[1:]] - by[0] for of in rows]
    tested, interactions = _corrected(by, changes, [len(of) for of in ones])
    judged = [
        judge_contest(one, ones[0][x], ones[1][y], tested[i], (ranked[0][x], ranked[1][y]))
        for i, (one, (x, y)) in enumerate(zip(found, both, strict=True))
    ]
    cells = [
        {"layer_a": layers_a[x], "layer_b": layers_b[y], **plain(one, without=["rows"]), "more_than_added": False}
        for one, (x, y) in zip(judged, both, strict=True)
    ]
    leads = Counter(one.leads for one in judged)
    grid = LayerGrid(
        a=a.name,
        b=b.name,
        multiplier_a=a.steer.multiplier,
        multiplier_b=b.steer.multiplier,
        items=len(items.pairs),
        prompts=by.shape[1],
        cells=tuple(cells),
        clear=int((interactions <= LEVEL).sum()),
        verdict="",
        contests=sum(one.contest for one in judged),
        follows_a=leads[1],
        follows_b=leads[-1],
    )
    return replace(grid, verdict=_crossings_in_words(grid))


def _corrected(
    by: np.ndarray, changes: Sequence[np.ndarray], layers: Sequence[int]
) -> tuple[list[ContestPs], np.ndarray]:
    """p of what is said of each crossing, after Holm: of each voice without controls over its own layers, of who is
    ahead over all crossings, [crossings]; and of I over all crossings.
    """
    moved = by[1:] - by[0]
    ends = np.cumsum([0, *layers])
    of_a, of_b = (holm(paired_p(moved[first:last])) for first, last in itertools.pairwise(ends))
    ahead, interactions = (holm(paired_p(np.stack([of(one) for one in changes]))) for of in (ahead_of, interactions_of))
    places = itertools.product(of_a, of_b)
    tested = [ContestPs(float(x), float(y), float(one)) for (x, y), one in zip(places, ahead, strict=True)]
    return tested, interactions


def _crossings_in_words(grid: LayerGrid) -> str:
    if few := too_few(grid.prompts):
        return f"{few}."
    return (
        f"In {grid.contests} of {len(grid.cells)} crossings both voices move the answers their way; there the model "
        f"follows {grid.a} in {grid.follows_a} and {grid.b} in {grid.follows_b}, after correction for being so many. "
        "Whether that is more than a sum is not judged here: steer with a cell, and measure it beside second voices."
    )


def _steps(voice: Voice, multipliers: Sequence[float]) -> dict[float, Voice]:
    """A voice by multiplier."""
    if not voice.steers:
        return {0.0: Voice(voice.name), 1.0: voice}
    if len(voice.steers) > 1:
        raise InputError(f"{voice.name} has several vectors; a surface takes one on each side.")
    return {x: voice.with_steer(multiplier=x) for x in check_multipliers(multipliers)}


def _check(cells: int) -> None:
    if cells > MOST_CELLS:
        raise InputError(f"{cells} cells are too many; {MOST_CELLS} at most.")


def _rate(cells: Sequence[SurfaceCell], changes: np.ndarray) -> tuple[Estimate | None, float | None, int]:
    """Exchange rate, the share of the squared changes [cells, prompts] that a plane explains, and of how many cells.

    Each prompt has a plane of its own by least squares, through its unsteered m, over the cells that cost little.
    """
    alone = {cell.a: cell.kl for cell in cells if cell.kl is not None and cell.b == 0}
    kept = []
    for i, cell in enumerate(cells):
        nats = alone.get(cell.a) if cell.kl is None else cell.kl  # what words cost by themselves is not known
        if (cell.a or cell.b) and (nats is None or nats < SAFE_KL):
            kept.append(i)
    places = np.array([(cells[i].a, cells[i].b) for i in kept]).reshape(-1, 2)
    if len(kept) < 3 or np.linalg.matrix_rank(places) < 2:
        return None, None, len(kept)
    slopes = np.linalg.pinv(places) @ changes[kept]
    mean = changes[kept].mean(1)
    total = float((mean**2).sum())
    straight = 1 - float(((mean - places @ slopes.mean(1)) ** 2).sum()) / total if total else None
    a, b = means_of(slopes)
    if a.low <= 0 or b.high >= 0:
        return None, straight, len(kept)
    return estimate(lambda x, y: x / -y, *slopes), straight, len(kept)


def _balance(cells: Sequence[SurfaceCell], axes: str) -> tuple[tuple[float, float], ...]:
    """Where Δ crosses 0 between neighbouring cells that have the first of two axes in common, by a straight line."""
    same, along = (lambda cell, axis=axis: getattr(cell, axis) for axis in axes)
    found = []
    for at, run in itertools.groupby(sorted(cells, key=lambda cell: (same(cell), along(cell))), key=same):
        line = list(run)
        places = [along(cell) for cell in line if cell.change.value == 0]
        places += [
            along(low) + (along(high) - along(low)) * low.change.value / (low.change.value - high.change.value)
            for low, high in itertools.pairwise(line)
            if low.change.value * high.change.value < 0
        ]
        found += [(at, place) if axes == "ab" else (place, at) for place in places]
    return tuple(sorted(found))


def _in_words(found: Surface) -> str:
    if found.straight is None:
        return f"Too few cells cost less than {SAFE_KL:g} nats to tell an exchange rate: take smaller multipliers."
    if few := too_few(found.prompts):
        weighs = f" {_weighs(found, found.rate)}." if found.rate else ""
        return f"Whether the voices balance is not judged: {few}.{weighs}"
    if found.rate is None:
        return (
            "No balance found: one of the two does not pull its own way, or not surely, in the "
            f"{found.cheap} cells that cost less than {SAFE_KL:g} nats."
        )
    text = _weighs(found, found.rate)
    explained = f"{found.straight:.0%} of the {found.cheap} cells that cost less than {SAFE_KL:g} nats"
    if found.straight < STRAIGHT:
        return f"{text} on the average, but a plane explains only {explained}: go by the line of balance. {NO_CONTROLS}"
    return f"{text}. A plane explains {explained}. {NO_CONTROLS}"


def _weighs(found: Surface, rate: Estimate) -> str:
    a, b = (f"1 of {found.a}" if found.layer_a is not None else found.a), found.b
    unit = f" of {b}" if found.layer_b is not None else f" times {b}"
    return f"{a} weighs {rate.value:.2f}{unit} ({rate.ends('.2f')})"
