"""What several layers, norms that are kept, ablation and caps do that addition at one layer does not, at equal cost.

`python -m benchmarks.operations` measures the vectors of three presets, keeps what it measured in operations.json (from
which it goes on where it was stopped), and writes docs/operations.md; with --again out of what was kept. What a way
costs is KL(unsteered ‖ steered) at the tokens of plain answers (`measuring/costs`).
"""

import argparse
import json
import sys
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caa_core.data.presets import presets
from caa_core.measuring.costs.answers import answers_on, plain_answers, token_costs
from caa_core.measuring.costs.strength import LEAST_ASKED, strength
from caa_core.metrics.controls import random_controls
from caa_core.metrics.correction import holm, paired_p
from caa_core.metrics.cross_fitting import LEVEL
from caa_core.metrics.estimates import Estimate, by_prompt, mean_of
from caa_core.metrics.items import Items, choose_items
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel, load
from caa_core.progress import Progress, finish
from caa_core.steering.interventions import AFTER_PROMPT, scaled
from caa_core.steering.operations import ADD, Operation
from caa_core.steering.pair_rows import PairRow, inputs_of
from caa_core.steering.passes import watch
from caa_core.steering.plan import Plan
from caa_core.steering.scoring import Steers, score
from caa_core.vectors.extraction import preset_vector
from caa_core.vectors.spread import BY_NORM, EQUAL, spread
from caa_core.vectors.vector import SteeringVector

HERE = Path(__file__).parent
KEPT, REPORT = HERE / "operations.json", HERE.parent / "docs" / "operations.md"

NAMES = ("joy", "formal", "refusal")
# Nats a token that whatever is added costs, in plain answers, of which so many are read to choose by and as many fresh.
COST, ANSWERS = 0.3, 8
# Of the preset's own pairs, so many tell which layer is best, among every third.
OWN, EVERY = 8, 3
# Layers that are steered at once, around the preset's; and random vectors beside each way.
AROUND, CONTROLS = 2, 5
MARK = " \\*"

# By way: how far around the preset's layer it goes, what it does, and how layers share the multiplier.
ONE, BEST, EVERYWHERE, ABLATE = "added at one layer", "added at the best layer", 1000, Operation("ablate")
ADDED = {
    ONE: (0, ADD, EQUAL),
    BEST: (0, ADD, EQUAL),
    "added, and the norm kept": (0, Operation("keep-norm"), EQUAL),
    "added at five layers, equally": (AROUND, ADD, EQUAL),
    "added at five layers, by norm": (AROUND, ADD, BY_NORM),
}
TAKEN = {
    "ablated at one layer": (0, ABLATE, EQUAL),
    "ablated at five layers": (AROUND, ABLATE, EQUAL),
    "ablated at every layer": (EVERYWHERE, ABLATE, EQUAL),
    "capped at one layer": (0, Operation("cap"), EQUAL),
}


@dataclass(frozen=True)
class Row:
    """What a way does to a preset's held-out items.

    factor: its multiplier; None where it cannot cost so much. kl, fresh_kl: what it costs in the plain answers that it
    was chosen by, and in others. changes: of each prompt's preference for the preset's answers, in nats a token.
    random: the mean change under each random vector, at the same cost where that can be chosen, else at the same
    multiplier; random_kl: what they cost. opposite: the same of the vector's opposite added at one layer at the cost of
    a way that takes something away.
    """

    preset: str
    way: str
    layer: int
    factor: float | None
    kl: float | None
    fresh_kl: float | None
    changes: tuple[float, ...] = ()
    random: tuple[float, ...] = ()
    random_kl: tuple[float, ...] = ()
    opposite: tuple[float, ...] = ()

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Row":
        """From what was kept."""
        found: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in kept.items()}
        return cls(**found)


@dataclass(frozen=True)
class Case:
    """A vector on a model, at the layer where it is used; items that it was not made from; random vectors beside it."""

    name: str
    model: SteerableModel
    vector: SteeringVector
    layer: int
    items: Items
    controls: tuple[SteeringVector, ...]

    def steers(self, way: str, vector: SteeringVector) -> Steers:
        """What a way does with a vector, at multiplier 1."""
        reach, operation, shares = (ADDED | TAKEN)[way]
        layers = [layer for layer in vector.layers if abs(layer - self.layer) <= reach]
        if operation.name == "cap":
            operation = replace(operation, cap=self.median_along(vector))
        return spread(vector, layers, 1.0, operation, shares)

    def median_along(self, vector: SteeringVector) -> float:
        """How much of plain answers lies along a vector at the layer: the median over their tokens."""
        answers = answers_on(self.model, plain_answers()[0][:ANSWERS])
        inputs = inputs_of(self.model, [PairRow.of_one(answer.ids) for answer in answers])
        nothing = Plan([()] * len(answers), [AFTER_PROMPT] * len(answers), [1] * len(answers))
        stream = watch(self.model, inputs, nothing, [self.layer])[0]
        there = torch.cat([stream[r, answer.start : len(answer.ids)] for r, answer in enumerate(answers)])
        return float((there @ torch.nn.functional.normalize(vector.at(self.layer), dim=0)).median())


def case_of(model: SteerableModel, name: str, controls: int) -> Generator[Progress, None, Case]:
    """A preset with its vector, its held-out items, and random vectors of its norms. Yields `Progress`."""
    preset = presets()[name]
    vector = yield from preset_vector(model, preset)
    items = yield from choose_items(model, preset.test())
    drawn = [replace(vector, layers=one) for one in random_controls(vector, [*vector.layers], controls)]
    return Case(name, model, vector, preset.layer, items, tuple(drawn))


def changed(case: Case, runs: Sequence[Steers]) -> Generator[Progress, None, np.ndarray]:
    """How far each run moves each prompt, [runs, prompts]. Yields `Progress`."""
    scores = yield from score(case.model, case.items.pairs, runs, costs=False)
    moved = (scores.preference[1:] - scores.preference[0]).double().numpy()
    return by_prompt(moved, case.items.prompts)


def costs_of(case: Case, runs: Sequence[Steers]) -> Generator[Progress, None, list[tuple[float, float]]]:
    """What runs cost in the plain answers that are chosen by, and in fresh ones. Yields `Progress`."""
    halves = [answers_on(case.model, pairs[:ANSWERS]) for pairs in plain_answers()]
    found = []
    for steers in runs:
        both = []
        for answers in halves:
            both.append(float((yield from token_costs(case.model, answers, steers, [1.0], AFTER_PROMPT)).mean()))
        found.append((both[0], both[1]))
    return found


def at_cost(case: Case, steers: Steers, nats: float) -> Generator[Progress, None, tuple[float | None, Steers]]:
    """The smallest factor at which something costs so much, and that. Yields `Progress`."""
    found = yield from strength(case.model, steers, nats, most=ANSWERS)
    return found.factor, scaled(steers, found.factor or 0.0)


def added(case: Case, way: str) -> Generator[Progress, None, Row]:
    """A way that adds, as strong as costs `COST`, beside random vectors that cost as much. Yields `Progress`."""
    factor, own = yield from at_cost(case, case.steers(way, case.vector), COST)
    if factor is None:
        return Row(case.name, way, case.layer, None, None, None)
    runs = [own]
    for control in case.controls:
        reached, steers = yield from at_cost(case, case.steers(way, control), COST)
        runs += [steers] if reached else []
    ((kl, fresh), *beside) = yield from costs_of(case, runs)
    changes = yield from changed(case, runs)
    random, random_kl = tuple(changes[1:].mean(1).tolist()), tuple(cost for cost, _ in beside)
    return Row(case.name, way, case.layer, factor, kl, fresh, tuple(changes[0].tolist()), random, random_kl)


def best_layer(case: Case, own: Items, every: int = EVERY) -> Generator[Progress, None, int]:
    """At which layer, of every third, the vector does most to items that it was made from, at the cost `COST`: what is
    measured on others is not chosen by them. Yields `Progress`.
    """
    reached = {}
    for layer in list(case.vector.layers)[1::every]:
        factor, steers = yield from at_cost(case, spread(case.vector, [layer], 1.0), COST)
        if factor is not None:
            reached[layer] = steers
    changes = yield from changed(replace(case, items=own), [*reached.values()])
    return [*reached][int(changes.mean(1).argmax())]


def taken(case: Case, way: str) -> Generator[Progress, None, Row]:
    """A way that takes all of something away, beside random vectors, and beside the opposite vector that is added at
    one layer at its cost. Yields `Progress`.
    """
    runs = [case.steers(way, vector) for vector in (case.vector, *case.controls)]
    ((kl, fresh), *beside) = yield from costs_of(case, runs)
    if kl >= LEAST_ASKED:
        reached, steers = yield from at_cost(case, spread(case.vector, [case.layer], -1.0), kl)
        runs += [steers] if reached else []
    changes = yield from changed(case, runs)
    own, random, opposite = np.split(changes, [1, 1 + len(case.controls)])
    numbers = tuple(own[0].tolist()), tuple(random.mean(1).tolist()), tuple(cost for cost, _ in beside)
    return Row(case.name, way, case.layer, 1.0, kl, fresh, *numbers, tuple(opposite.flatten().tolist()))


def report(rows: Sequence[Row], model: str) -> str:
    """All of it, in Markdown."""
    many = {"controls": max(len(row.random) for row in rows), "around": 2 * AROUND + 1, "own": OWN}
    parts = [HEAD.format(model=model, cost=COST, **many), in_short(rows)]
    for name in dict.fromkeys(row.preset for row in rows):
        own = [row for row in rows if row.preset == name]
        parts += [f"## {name}, layer {own[0].layer}", *(part for part in (sums(own), takes(own)) if part)]
    return "\n\n".join(parts) + "\n"


def sums(rows: Sequence[Row]) -> str:
    """What adds, beside addition at the preset's layer and at the best one."""
    there = sorted((row for row in rows if row.way in ADDED), key=lambda row: [*ADDED].index(row.way))
    told = [adds_apart(there, way) for way in (ONE, BEST)]
    heads = ["way", "×", "KL, chosen / fresh", "change (95 %)", "against one layer (95 %)"]
    heads += ["against the best layer (95 %)", "random vectors, mean changes"]
    names = {row.way: f"{row.way}, {row.layer}" if row.way == BEST else row.way for row in there}
    lines = [
        [names[row.way], *_numbers(row), *(str(one.get(row.way, "")) for one in told), _range(row.random)]
        for row in there
    ]
    return _table(heads, lines) if lines else ""


def takes(rows: Sequence[Row]) -> str:
    """What takes away, beside the opposite vector at the same cost."""
    there = [row for row in rows if row.way in TAKEN]
    told = takes_apart(there)
    heads = ["way", "×", "KL, chosen / fresh", "change (95 %)", "opposite added, at its cost", "against that (95 %)"]
    heads += ["random vectors", "their KL"]
    lines = []
    for row in there:
        beside = f"{mean_of(np.array(row.opposite))}" if row.opposite else "costs too little, or cannot cost so much"
        lines.append(
            [row.way, *_numbers(row), beside, str(told.get(row.way, "")), _range(row.random), _range(row.random_kl)]
        )
    return _table(heads, lines) if lines else ""


@dataclass(frozen=True)
class Difference:
    """How far a way does more than another, in nats a token. way: 1 or -1 where that is told from 0, else 0."""

    by: Estimate
    way: int

    def __str__(self) -> str:
        return f"{self.by}{MARK if self.way else ''}"


def apart(rows: Sequence[Row], others: Sequence[Row | None]) -> dict[str, Difference]:
    """By way, how far it does more than another; told from 0 after Holm over these."""
    differences = [np.subtract(row.changes, other.changes) for row, other in zip(rows, others, strict=False) if other]
    if not differences:
        return {}
    p = holm(paired_p(np.stack(differences)))
    return {
        row.way: Difference(mean_of(one), int(np.sign(one.mean())) if told <= LEVEL else 0)
        for row, one, told in zip(rows, differences, p, strict=True)
    }


def adds_apart(rows: Sequence[Row], way: str) -> dict[str, Difference]:
    """Of a preset's ways to add, how far each does more than one of them does."""
    base = next((row for row in rows if row.way == way and row.changes), None)
    more = [row for row in rows if row.way in ADDED and row is not base and row.changes]
    return apart(more, [base] * len(more))


def takes_apart(rows: Sequence[Row]) -> dict[str, Difference]:
    """Of a preset's ways to take away, how far each does more than its opposite that is added."""
    less = [row for row in rows if row.opposite]
    return apart(less, [_opposite(row) for row in less])


def in_short(rows: Sequence[Row]) -> str:
    """How many of the comparisons are told from 0, and which way they go."""
    by_preset = [[row for row in rows if row.preset == name] for name in dict.fromkeys(row.preset for row in rows)]
    more = [one.way for own in by_preset for way, one in adds_apart(own, BEST).items() if way != ONE]
    less = [one.way for own in by_preset for one in takes_apart(own).values()]
    measured = [row for row in rows if row.random and row.changes]
    beyond = sum(_is_beyond(row) for row in measured)
    drawn = max((len(row.random) for row in measured), default=0)
    return (
        f"**In short**: of {len(more)} times that another way adds at the cost of addition at the best single layer it "
        f"does more {more.count(1)} times and less {more.count(-1)} times, told from 0 after Holm over each table. Of "
        f"{len(less)} times that a way takes away beside the opposite that is added at its cost, it goes further that "
        f"way {less.count(-1)} times, and less far, or the other way, {less.count(1)} times. {beyond} of "
        f"{len(measured)} lie beyond all their random vectors, which of what does nothing 2 in {drawn + 1} would."
    )


def _opposite(row: Row) -> Row:
    return replace(row, changes=row.opposite)


def _is_beyond(row: Row) -> bool:
    """Whether a way moves the items further, its way, than any of its random vectors."""
    mean = float(np.mean(row.changes))
    return all(mean > one if mean > 0 else mean < one for one in row.random)


def _numbers(row: Row) -> list[str]:
    if row.factor is None or row.kl is None or row.fresh_kl is None:
        return ["not reachable", "", ""]
    return [f"{row.factor:g}", f"{row.kl:.3f} / {row.fresh_kl:.3f}", f"{mean_of(np.array(row.changes))}"]


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):+.3f} to {max(numbers):+.3f}" if numbers else ""


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


HEAD = """# Other ways to steer than adding at one layer, at equal cost

Written by `python -m benchmarks.operations`: vectors of presets on {model}, at the layer of the preset's card and,
where several layers are steered, the {around} around it. What is done with a vector, and its source, stands in
`caa_core/steering/operations.py`, how several layers share a multiplier in `caa_core/vectors/spread.py`.

What adds is as strong as costs {cost:g} nats of KL a token in plain answers (and is looked at on fresh ones); what
takes away is done whole, and beside it stands the opposite vector, added at one layer as strong as costs the same. A
change is of the preference for the preset's answer on its held-out prompts, in nats a token, with an interval over
prompts; a difference is taken prompt by prompt, and a * marks one that is told from 0 after Holm over its table. Beside
each way stand {controls} random vectors with the vector's norm at each layer, with their least and largest mean change:
at the same cost where something is added, and whole where something is taken away. A cap is the median of what plain
answers have along the vector. The layer was chosen when the preset was made, for addition at one layer; the best one,
of every third, is that at which the vector does most at this cost to {own} of the pairs it was made from."""


def study(controls: int) -> None:
    """Measure what is not kept yet, and keep each row as it comes."""
    model = load(DEFAULT_MODEL)
    name = f"{model.name} ({str(model.dtype).removeprefix('torch.')})"
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if (kept.get("model"), kept.get("controls")) != (name, controls):
        kept = {"model": name, "controls": controls, "rows": []}
    there = {(row["preset"], row["way"]) for row in kept["rows"]}
    for preset in NAMES:
        missing = [way for way in (*ADDED, *TAKEN) if (preset, way) not in there]
        case = finish(case_of(model, preset, controls)) if missing else None
        for way in missing:
            assert case, "it is there where something is missing"
            of = case
            if way == BEST:
                own = finish(choose_items(model, presets()[preset].dataset().first(OWN)))
                of = replace(case, layer=finish(best_layer(case, own)))
            kept["rows"].append(asdict(finish(added(of, way) if way in ADDED else taken(of, way))))
            KEPT.write_text(json.dumps(kept) + "\n", encoding="utf-8")
            print(preset, way, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write the report out of all that is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--controls", type=int, default=CONTROLS, help="random vectors beside each way")
    parser.add_argument("--again", action="store_true", help="write the report out of what was kept")
    options = parser.parse_args()
    if not options.again:
        study(options.controls)
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    REPORT.write_text(report([Row.of(row) for row in kept["rows"]], kept["model"]), encoding="utf-8")


if __name__ == "__main__":
    main()
