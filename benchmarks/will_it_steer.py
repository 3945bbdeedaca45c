"""Do the numbers that are given of a vector before anything is steered predict what it does? And does it do the same
where the same is asked otherwise?

`python -m benchmarks.will_it_steer [FOLDER]` measures the vectors of all presets and, where a folder with the CAA
paper's data is given, of its behaviours, keeps what it measured in will_it_steer.json (from which it goes on where it
was stopped), and writes docs/will-it-steer.md; with --again out of what was kept. The unit is the vector: intervals
draw vectors again.
"""

import argparse
import json
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from caa_core.data.pairs import Dataset
from caa_core.data.presets import presets
from caa_core.measuring.paper.behaviours import find_behaviours
from caa_core.measuring.study import ROLE, asked_of
from caa_core.measuring.study_results import AS_IS, ASKED, IN_A_ROLE, REWORDED
from caa_core.measuring.verdict import estimate
from caa_core.metrics.anti_steerability import AntiSteerable, wrong_shares
from caa_core.metrics.controls import random_vectors
from caa_core.metrics.correction import holm, paired_p
from caa_core.metrics.cross_fitting import LEVEL
from caa_core.metrics.estimates import Estimate, Share, by_prompt, mean_of, middle
from caa_core.metrics.items import Items, choose_items
from caa_core.metrics.plain_data import restored
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel, load
from caa_core.progress import Progress, finish
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from caa_core.vectors.diagnostics import NAMES
from caa_core.vectors.known_directions import make
from caa_core.vectors.vector import SteeringVector, load_vector

HERE = Path(__file__).parent
KEPT, REPORT = HERE / "will_it_steer.json", HERE.parent / "docs" / "will-it-steer.md"

# How strong every vector is made at every layer, beside the median residual norm there; presets are used at 0.2 to 0.4.
STRENGTH = 0.25
# Random vectors of the same norm beside each, items of each, and pairs of the paper's behaviours, drawn with a seed.
CONTROLS, ITEMS, PAIRS, SEED = 2, 8, 20, 0

RESAMPLES = 1999
# What is said of a vector and items, where all else is said of the vector's pairs.
ESTIMATE = "estimate to first order, of the same items"
# Half the width of an interval beyond which it cannot be told.
WIDE = 0.3


@dataclass(frozen=True)
class Source:
    """What a vector is made from, what it is measured on, and the same items in other words where there are any.

    vector: one that is there already.
    """

    name: str
    pairs: Dataset
    test: Dataset
    reworded: Dataset | None = None
    vector: SteeringVector | None = None


@dataclass(frozen=True)
class Measured:
    """What a vector of `STRENGTH` does under one way to ask.

    changes: of each prompt, in the vector's direction, in nats a token (of lettered answers log odds). random: the mean
    change under each random vector; random_right: of the prompts that move, the share that goes its way. kl: in nats.
    """

    changes: tuple[float, ...]
    random: tuple[float, ...]
    kl: float
    random_right: tuple[float, ...] = ()

    @property
    def effect(self) -> Estimate:
        return mean_of(np.array(self.changes))

    @property
    def standardised(self) -> float:
        """The mean over the spread of prompts, which has no unit."""
        return float(np.mean(self.changes) / np.std(self.changes, ddof=1))

    @property
    def right_share(self) -> Share | None:
        """Of the prompts that move, the share that goes the vector's way, with its interval; None where none moves."""
        return AntiSteerable.of(-np.array(self.changes), range(len(self.changes))).share

    @property
    def right_way(self) -> float:
        """The share by itself; of a vector that moves none it is half, as of one that does nothing."""
        return self.right_share.value if self.right_share else 0.5

    @property
    def holds(self) -> bool:
        """Whether it moves answers the vector's way, further than each random vector moves them."""
        return self.effect.low > 0 and self.effect.value > max(map(abs, self.random), default=0.0)


@dataclass(frozen=True)
class Row:
    """A vector: what was said of it before (`told`, by name), and what was measured, by way to ask."""

    name: str
    texts: bool
    grade: str
    p: float | None
    told: dict[str, float]
    measured: dict[str, Measured]

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Row":
        return restored(cls, kept, "What was measured and")


def sources(folder: str = "") -> Iterator[Source]:
    """All presets, and the paper's behaviours."""
    for name, preset in presets().items():
        test, reworded = preset.test().first(ITEMS), preset.reworded().first(ITEMS)
        yield Source(name, preset.dataset(), test, reworded, load_vector(preset.vector_file))
    for one in find_behaviours([folder]) if folder else ():
        some = one.sample(PAIRS, ITEMS, SEED)
        yield Source(one.name, some.pairs.in_both_letter_orders(), some.test)


def half_exchanged(source: Source) -> Source:
    """The same with the sides of every second pair exchanged: no vector that steers can come of it."""
    pairs = tuple(
        replace(pair, positive=pair.negative, negative=pair.positive) if i % 2 else pair
        for i, pair in enumerate(source.pairs.pairs)
    )
    return Source(f"{source.name}, half exchanged", replace(source.pairs, pairs=pairs), source.test)


def measured(model: SteerableModel, source: Source, ways: Sequence[str] = ASKED) -> Generator[Any, None, Row]:
    """Make a vector, note what is said of it, and measure it. Yields `Progress`."""
    layer = layer_of(model)
    vector = source.vector or (yield from make(model, source.pairs, range(layer + 1), name=source.name))
    strong = _strong(vector, layer)
    found, told = {}, _told(vector, layer)
    for way in ways:
        test = source.reworded if way == REWORDED else source.test
        if test:
            items = yield from choose_items(model, test)
            system, controls = ROLE if way == IN_A_ROLE else "", CONTROLS if way == AS_IS else 0
            found[way] = yield from _under(asked_of(model, way), items, strong, layer, controls, system)
            if way == AS_IS:
                estimated = yield from estimate(model, items, replace(vector, layers={layer: strong}), [layer], None)
                assert estimated.map, estimated.why
                told[ESTIMATE] = estimated.map.layers[0].value
    said = vector.diagnostics
    assert said
    return Row(source.name, not items.are_choices, said.grade, said.p, told, found)


def layer_of(model: SteerableModel) -> int:
    """Where all vectors are added: at two fifths of the depth, as the paper does (13 of 32). None is chosen."""
    return model.num_layers * 2 // 5


def _strong(vector: SteeringVector, layer: int) -> torch.Tensor:
    """Its direction at a layer, as strong as all are made."""
    return torch.nn.functional.normalize(vector.at(layer), dim=0) * STRENGTH * vector.residual_norms[layer]


def _told(vector: SteeringVector, layer: int) -> dict[str, float]:
    """What is said of a vector at a layer."""
    said = vector.diagnostics
    assert said
    numbers = {name: getattr(said.layers[layer], name).value for name in NAMES}
    numbers |= {
        f"cosine to {name}, either way": abs(by_layer[layer].value or 0.0) for name, by_layer in said.overlap.items()
    }
    numbers["relative strength at × 1"] = vector.relative_strength(layer)
    return {name: float(value or 0.0) for name, value in numbers.items()}


def _under(
    model: SteerableModel, items: Items, direction: torch.Tensor, layer: int, controls: int, system: str
) -> Generator[Progress, None, Measured]:
    """The change of each prompt: half of what lies between × 1 and × -1."""
    asked, of = items.both_orders()
    everyone = [direction, *(random_vectors(direction, controls, SEED) if controls else [])]
    runs = [(Steer(one, layer, sign),) for one in everyone for sign in (1.0, -1.0)]
    scores = yield from score(model, asked, runs, items.positions, items.cue, system)
    both = scores.preference[1:].double().numpy().reshape(len(everyone), 2, len(asked))
    own, *others = by_prompt(by_prompt((both[:, 0] - both[:, 1]) / 2, of), items.prompts)
    means, right = tuple(float(one.mean()) for one in others), tuple(1 - float(wrong_shares(one)) for one in others)
    return Measured(tuple(map(float, own)), means, float(scores.kl[1:3].mean()), right)


@np.errstate(all="ignore")
def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rank correlations [...] of numbers [..., vectors]; NaN where one of the two is the same for all."""
    off = [ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(x, axis=-1), rankdata(y, axis=-1))]
    found: np.ndarray = (off[0] * off[1]).sum(-1) / np.sqrt((off[0] ** 2).sum(-1) * (off[1] ** 2).sum(-1))
    return found


@dataclass(frozen=True)
class Prediction:
    """A rank correlation over vectors with its 95 % interval, vectors drawn again; and what 95 % of orders drawn at
    random come to.
    """

    rho: Estimate
    by_chance: tuple[float, float]

    @property
    def said(self) -> str:
        if not self.rho.has_interval or self.rho.high - self.rho.low > 2 * WIDE:
            return "cannot tell"
        return "predicts it" if self.rho.low > 0 else "predicts the opposite" if self.rho.high < 0 else "none shown"


def prediction(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Prediction:
    """Of numbers that are given of each vector, and what was measured of it."""
    drawn, (one, other) = np.random.default_rng(0), np.array([x, y], float)
    again = drawn.integers(len(one), size=(RESAMPLES, len(one)))
    orders = drawn.permuted(np.tile(other, (RESAMPLES, 1)), axis=1)
    found = spearman(one[again], other[again]), spearman(np.broadcast_to(one, orders.shape), orders)
    # Where those that were drawn are all the same, they say nothing: as little as -1 to 1.
    bounds = (np.where(np.isnan(found[0]), end, found[0]) for end in (-1.0, 1.0))
    (low, _), (_, high) = (middle(rhos) or (np.nan, np.nan) for rhos in bounds)
    return Prediction(Estimate(float(spearman(one, other)), low, high), middle(found[1]) or (np.nan, np.nan))


def coverage(count: int, correlation: float, runs: int = 200) -> float:
    """How often the interval holds the rank correlation that so many draws of two normal numbers come from."""
    drawn = np.random.default_rng(1)
    true = 6 / np.pi * np.arcsin(correlation / 2)
    held = []
    for _ in range(runs):
        x = drawn.standard_normal(count)
        y = correlation * x + np.sqrt(1 - correlation**2) * drawn.standard_normal(count)
        rho = prediction(x, y).rho
        held.append(rho.low <= true <= rho.high)
    return float(np.mean(held))


OUTCOMES = {
    "effect over its spread": lambda one: one.standardised,
    "share pushed the right way": lambda one: one.right_way,
    "effect": lambda one: one.effect.value,
}


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *rows))


def predictions(rows: Sequence[Row], outcome: str) -> str:
    """How well each number predicts an outcome over some vectors, in Markdown."""
    found = [OUTCOMES[outcome](row.measured[AS_IS]) for row in rows]
    lines = []
    for name in rows[0].told:
        one = prediction([row.told[name] for row in rows], found)
        if np.isnan(one.rho.value):
            lines.append([name, "none", "", "", "the same for all"])
            continue
        low, high = one.by_chance
        lines.append([name, f"{one.rho.value:+.2f}", one.rho.ends(), f"{low:+.2f} to {high:+.2f}", one.said])
    heads = ["said before", f"rank correlation with the {outcome}", "95 %", "orders drawn at random", ""]
    return _table(heads, lines)


def each_vector(rows: Sequence[Row]) -> str:
    """What was said of each, and what it does, in Markdown."""
    lines = []
    for row in rows:
        one = row.measured[AS_IS]
        p = "none" if row.p is None else f"{row.p:.3g}"
        numbers = [f"{row.told[name]:.2f}" for name in NAMES]
        reach = max(map(abs, one.random), default=0.0)
        own = [
            f"{one.effect.value:+.2f} ({one.effect.ends()})",
            f"{reach:.2f}",
            f"{one.right_share:.0%}" if one.right_share else "none moves",
            ", ".join(f"{share:.0%}" for share in one.random_right),
            f"{one.kl:.2f}",
        ]
        lines.append([row.name, row.grade or "not judged", p, *numbers, *own])
    heads = ["vector", "said", "p", *NAMES, "effect (95 %)", "random vectors, at most", "right way (95 %)"]
    heads += ["of random vectors", "KL, nats"]
    return _table(heads, lines)


def ways(rows: Sequence[Row]) -> str:
    """The effect under each way to ask, and whether it differs from that as it is; corrected over the table (Holm)."""
    pairs = [(row, way) for row in rows for way in ASKED[1:] if way in row.measured]
    differences = [np.array(row.measured[way].changes) - np.array(row.measured[AS_IS].changes) for row, way in pairs]
    raw = [paired_p(one[None])[0] for one in differences]
    p = dict(zip(((row.name, way) for row, way in pairs), holm(raw), strict=True))
    lines = []
    for row in rows:
        cells = [row.name]
        for way in ASKED:
            one = row.measured.get(way)
            mark = " *" if p.get((row.name, way), 1.0) <= LEVEL else ""
            cells.append(f"{one.effect.value:+.2f} ({one.effect.ends()}){mark}" if one else "")
        lines.append(cells)
    return _table(["vector", *ASKED], lines)


def held(rows: Sequence[Row]) -> str:
    """Of the vectors that move answers their way as the items are, how many do so under each other way to ask."""
    there = [row for row in rows if row.measured[AS_IS].holds]
    parts = []
    for way in ASKED[1:]:
        some = [row for row in there if way in row.measured]
        kept = [row.measured[way].effect.value / row.measured[AS_IS].effect.value for row in some]
        if some:
            many = sum(row.measured[way].holds for row in some)
            parts.append(f"{way}: {many} of {len(some)}, with {np.median(kept):.2f} times the effect (median)")
    return f"{len(there)} of {len(rows)} vectors move answers their way as the items are. Of these, " + "; ".join(parts)


def in_short(rows: Sequence[Row], tables: dict[str, list[tuple[Sequence[Row], str]]]) -> str:
    """What it comes to."""
    told, many = _told_apart([each for several in tables.values() for each in several])
    texts = [each for several in tables.values() for each in several if all(row.texts for row in each[0])]
    told_of_texts, many_of_texts = _told_apart(texts)
    may = [row for row in rows if row.grade == "may steer"]
    return (
        f"**In short**: {len(may)} of {len(rows)} vectors are said to be ones that may steer, and "
        f"{sum(row.measured[AS_IS].holds for row in may)} of these do. Of {many} rank correlations between what is "
        f"said before and what is measured, {many - len(told)} cannot be told from so few vectors"
        f"{'; ' if told else ''}{', '.join(told)}. Texts and letters differ in what is said and in what is measured, "
        "so that what holds over both together may be no more than that difference: of the texts alone "
        f"{len(told_of_texts) or 'none'} of {many_of_texts} can be told. {held(rows)}."
    )


def _told_apart(tables: Sequence[tuple[Sequence[Row], str]]) -> tuple[list[str], int]:
    """Of some vectors and outcomes, which numbers can be told to predict them or not, and of how many."""
    told, many = [], 0
    for some, outcome in tables:
        found = [OUTCOMES[outcome](row.measured[AS_IS]) for row in some]
        for name in some[0].told:
            said = prediction([row.told[name] for row in some], found).said
            many += 1
            told += [f"{name} {said} ({outcome}, {len(some)} vectors)"] if said != "cannot tell" else []
    return told, many


def report(rows: Sequence[Row], broken: Sequence[Row], model: str, layer: int) -> str:
    """All of it, in Markdown."""
    texts, lettered = [row for row in rows if row.texts], [row for row in rows if not row.texts]
    said = [row.grade == "may steer" for row in rows]
    caught = sum(row.grade == "not likely" for row in broken)
    still = sum(row.measured[AS_IS].holds for row in broken)
    wrong = [
        f"{row.name} ({row.grade or 'not judged'})"
        for row, may in zip(rows, said, strict=True)
        if may != row.measured[AS_IS].holds
    ]
    many = {"presets": len(texts), "behaviours": len(lettered), "items": ITEMS, "controls": CONTROLS, "pairs": PAIRS}
    tables: dict[str, list[tuple[Sequence[Row], str]]] = {
        f"All {len(rows)} vectors": [(rows, "effect over its spread"), (rows, "share pushed the right way")],
        f"The {len(texts)} vectors from texts alone": [(texts, "effect over its spread"), (texts, "effect")],
    }
    parts = [HEAD.format(model=model, layer=layer, strength=STRENGTH, role=ROLE, **many)]
    parts += [in_short(rows, tables), "## What was said, and what it does", each_vector(rows)]
    parts.append(
        f"{sum(said)} of {len(rows)} are said to be ones that may steer. Said otherwise than measured: "
        f"{', '.join(wrong) or 'none'}."
    )
    if broken:
        parts.append(
            f"With the sides of every second pair exchanged, {caught} of {len(broken)} presets' vectors are called not "
            f"likely to steer; {still} of them move answers their way.\n\n{each_vector(broken)}"
        )
    parts.append("## How well does each number predict it?")
    for title, several in tables.items():
        parts += [f"### {title}", *(predictions(some, outcome) for some, outcome in several)]
    held_at = ", ".join(f"{coverage(len(rows), r):.0%} at {r:g}" for r in (0.0, 0.5, 0.8))
    parts.append(
        f"Of two normal numbers of {len(rows)} vectors these intervals hold the true rank correlation in {held_at}."
    )
    parts += ["## Does it hold where the same is asked otherwise?", ways(rows)]
    return "\n\n".join(parts) + "\n"


HEAD = """# Will it steer? What is said before, and what is measured

Written by `python -m benchmarks.will_it_steer FOLDER`: the vectors of {presets} presets and of {behaviours} of the CAA
paper's behaviours on {model}, all at layer {layer} and {strength:g} times the median residual norm there, so that
nothing is chosen. The unit is the vector. What is said of it is taken at that layer, p over all layers that were read,
of its pairs alone; but for the estimate to first order, which is of this strength and of the very items on which it is
then measured. What it does is measured on {items} items that it was not made from: half of what lies between × 1 and ×
−1, in nats a token of texts, in log odds of letters (both letter orders); beside it the larger of what {controls}
random vectors of the same norm do, either way. *Right way*: of the prompts that move, the share that goes the vector's
way, beside what the random vectors do; of a vector that does nothing it is half. KL is the mean at × 1 and × −1.
Intervals of an effect are over prompts, those of shares exact; those of a rank correlation come of drawing vectors
again, one at a time and not corrected for being many. Where they are wider than ± 0.3, it is said that it cannot be
told. What is said before has its own interval and controls in each vector's file, and where the vector is made.
Presets' vectors are made from all of their pairs, those of behaviours from {pairs} of them in both letter orders.

*In a role*: behind the system prompt “{role}”
*In other words*: the presets' second wordings of the same prompts. *Without the template*: prompts as a base model gets
them. A * marks an effect that differs from that of the items as they are (Holm, over the table)."""


def study(folder: str) -> None:
    """Measure what is not kept yet, and keep each vector as it comes."""
    model = load(DEFAULT_MODEL)
    name = f"{model.name} ({str(model.dtype).removeprefix('torch.')})"
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if kept.get("model") != name:
        kept = {"model": name, "layer": layer_of(model), "rows": [], "broken": []}
    there = {row["name"] for part in ("rows", "broken") for row in kept[part]}
    found = list(sources(folder))
    asked: list[tuple[str, Source, tuple[str, ...]]] = [("rows", source, ASKED) for source in found]
    asked += [("broken", half_exchanged(source), (AS_IS,)) for source in found if source.reworded]
    for part, source, ways_to_ask in asked:
        if source.name not in there:
            kept[part].append(asdict(finish(measured(model, source, ways_to_ask))))
            KEPT.write_text(json.dumps(kept) + "\n", encoding="utf-8")
            print(source.name, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write the report out of all that is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="", help="holds the data of the CAA paper's behaviours")
    parser.add_argument("--again", action="store_true", help="write the report out of what was kept")
    options = parser.parse_args()
    if not options.again:
        study(options.folder)
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    rows, broken = ([Row.of(row) for row in kept[name]] for name in ("rows", "broken"))
    REPORT.write_text(report(rows, broken, kept["model"], kept["layer"]), encoding="utf-8")


if __name__ == "__main__":
    main()
