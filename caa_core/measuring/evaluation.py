"""An evaluation as it is asked for: items chosen, swept and concluded, and what is kept of it."""

import base64
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from caa_core.data.pairs import Dataset
from caa_core.data.presets import pairs_behind
from caa_core.errors import InputError
from caa_core.measuring.sweep import RunScores, Sweep, sweep
from caa_core.measuring.vector_controls import FEWEST, FirstOrder
from caa_core.measuring.verdict import NOT_YET, Conclusion, KeptNumbers, conclude
from caa_core.metrics.controls import check_controls
from caa_core.metrics.cross_fitting import CONTROLS as ENOUGH
from caa_core.metrics.grid import parse_layers, whole
from caa_core.metrics.items import choose_items
from caa_core.metrics.options import CONTROLS, COUNTS, CUE, LAYERS, MULTIPLIERS, PAPER_COUNTING, POSITIONS
from caa_core.metrics.requests import Option, Request, option
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Cue
from caa_core.progress import Progress, showing
from caa_core.steering.interventions import Positions
from caa_core.vectors.vector import SteeringVector

# Ranges of a vector's layers that have a name.
ALL, MIDDLE, EVERY_THIRD = "all", "middle third", "every third"

# Bytes of numbers that are kept of all that a person has measured; the oldest go first.
KEPT = 4_000_000

MOST_CONTROLS = 20  # verdicts of which the controls are kept


def _controls(typed: Any) -> int:
    """As many as a verdict takes, or more; 0 for none."""
    count = whole(typed, "The number of controls")
    return max(ENOUGH, check_controls(count)) if count else 0


def _exact_controls(typed: Any) -> int:
    """None, or as many as can contradict a verdict. Raises InputError for fewer."""
    count = whole(typed, "The number of exact controls")
    if count and count < FEWEST:
        raise InputError(f"Exact controls: fewer than {FEWEST} of a kind decide nothing; give 0 or at least {FEWEST}.")
    return check_controls(count) if count else 0


EXACT_CONTROLS = Option(
    label="Exact controls of each kind",
    default=0,
    parse=_exact_controls,
    help=f"so many by passes of the model too, at least {FEWEST}: slow",
    info=f"Scored as the vector is: slow. 0, or at least {FEWEST}; the verdict must not be contradicted by them.",
    metavar="N",
)


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest(Request):
    """What is asked of a vector.

    data: the test items. made_from: the pairs of the vector, whose labels are shuffled for controls; where None, those
    of the preset that the vector says it was made from. layers: as the person wrote it, since what it means depends on
    vector and model.
    """

    data: Dataset
    made_from: Dataset | None = None
    layers: str = option(
        LAYERS,
        choices=(ALL, MIDDLE, EVERY_THIRD),
        help="all that the vector has, or such as 10,12-15",
        info="of the vector's, or such as 10,12-15",
    )
    multipliers: tuple[float, ...] = option(
        MULTIPLIERS, choices=(MULTIPLIERS.default, "-1,1", "-3,-2,-1.5,-1,-0.5,0.5,1,1.5,2,3")
    )
    positions: Positions = option(POSITIONS)
    cue: Cue = option(CUE)
    paper_counting: bool = option(PAPER_COUNTING)
    counts: bool = option(COUNTS)
    controls: int = option(
        CONTROLS,
        default=ENOUGH,
        parse=_controls,
        help=f"so many random vectors, and so many from shuffled labels, by their estimates; at least {ENOUGH}",
        info=f"Random vectors of the same norm, and as many from shuffled labels: at least {ENOUGH}, which cost no "
        "passes. 0: no verdict.",
    )
    exact_controls: int = option(EXACT_CONTROLS)

    def layers_known(self, num_layers: int) -> list[int] | None:
        """Those that were given as numbers; None for a range of the vector's. Raises InputError for anything else."""
        return None if self.layers in (ALL, MIDDLE, EVERY_THIRD) else parse_layers(self.layers, num_layers)

    def layers_of(self, vector: SteeringVector, num_layers: int) -> list[int]:
        """Which layers are meant. Raises InputError where there are none."""
        numbered = self.layers_known(num_layers)
        if numbered is not None:
            return numbered
        there = list(vector.layers)
        if self.layers == EVERY_THIRD:
            there = there[1::3] or there
        if self.layers == MIDDLE:
            there = [layer for layer in there if num_layers <= 3 * layer < 2 * num_layers]
        if not there:
            raise InputError(f"The vector {vector.name} has no layer in the {self.layers}: choose all, or numbers.")
        return there


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A sweep, what is concluded from it, and the settings and papers that make it repeatable."""

    swept: Sweep
    conclusion: Conclusion
    settings: dict[str, Any]
    provenance: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """As plain data, under the names that the command line prints."""
        found = self.conclusion
        return {
            **self.swept.summary(),
            "verdict": {**(found.verdict.summary() if found.verdict else {"effect": None}), "text": found.text},
            "best": found.proposal.summary() if found.proposal else None,
            "safe_multiplier": found.proposal.safe_multiplier if found.proposal else None,
            "shuffled_from": found.shuffled_from,
            "settings": self.settings,
            "provenance": self.provenance,
        }


def evaluate(
    model: SteerableModel, request: EvaluationRequest, vector: SteeringVector, known: KeptNumbers | None = None
) -> Generator[Progress | Evaluation, None, Evaluation]:
    """Choose the items, sweep, and conclude: all that `evaluate` on the command line does. See `sweep`, `conclude`.

    Yields `Progress`, and the evaluation as far as it has come, which has no verdict. What is in `known` is not
    computed again, and what is computed is put in.
    """
    known = KeptNumbers() if known is None else known
    layers = request.layers_of(vector, model.num_layers)
    settings = request.settings() | {"layers": layers}
    provenance = {
        **model.provenance,
        "data": request.data.name,
        "data_sha256": request.data.sha256,
        "vector": {name: value for name, value in asdict(vector.provenance).items() if value},
    }
    items = yield from choose_items(model, request.data, request.positions, request.cue, request.paper_counting)
    waiting = Conclusion(None, None, NOT_YET)
    work = sweep(model, items, vector, layers, request.multipliers, request.counts, known.readings)
    swept = yield from showing(work, lambda found: Evaluation(found, waiting, settings, provenance))
    yield Evaluation(swept, waiting, settings, provenance)
    own = request.made_from or pairs_behind(vector.provenance)
    conclusion = yield from conclude(model, swept, vector, own, request.controls, request.exact_controls, known)
    return Evaluation(swept, conclusion, settings, provenance)


def pack(known: KeptNumbers) -> dict[str, Any]:
    """What is known as plain data, the latest `KEPT` bytes of it; numbers are float32, which is what readings are."""
    changes = {key: known.changes[key].tolist() for key in [*known.changes][-MOST_CONTROLS:]}
    estimates = {
        key: [*(_text(part) for part in (found.own, found.random, found.shuffled)), found.prompts]
        for key, found in [*known.first_order.items()][-MOST_CONTROLS:]
    }
    readings = {key: [_text(part) for part in vars(reading).values()] for key, reading in known.readings.items()}
    room, latest = KEPT, []
    for key, parts in reversed(readings.items()):
        room -= sum(len(part or "") for part in parts)
        if room < 0:
            break
        latest.append((key, parts))
    return {"readings": dict(reversed(latest)), "first_order": estimates, "changes": changes}


def unpack(kept: Any) -> KeptNumbers:
    """What was packed. Raises InputError for anything else."""
    try:
        readings = {str(key): _reading(parts) for key, parts in kept["readings"].items()}
        # What was kept before has controls by exact passes under another rule, which nothing asks for.
        estimates = {str(key): _estimates(*parts) for key, parts in kept.get("first_order", {}).items()}
        changes = {str(key): np.array([*map(list, found)], float) for key, found in kept["changes"].items()}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError("What was kept of earlier measurements cannot be read.") from error
    return KeptNumbers(readings, estimates, changes)


def _estimates(own: str, random: str, shuffled: str, prompts: int) -> FirstOrder:
    return FirstOrder(_numbers(own).reshape(2, -1), _numbers(random), _numbers(shuffled), int(prompts))


def _reading(parts: Sequence[str | None]) -> RunScores:
    value, both, mass, kl, written = (None if part is None else _numbers(part) for part in parts)
    if value is None or kl is None:
        raise ValueError("no numbers")
    empty = np.full_like(value, np.nan)
    both, mass = (empty if part is None else part for part in (both, mass))
    if any(part.shape != value.shape for part in (both, mass, kl)):
        raise ValueError("not of one length")
    return RunScores(value, both, mass, kl, None if written is None else written.astype(int))


def _text(numbers: np.ndarray | None) -> str | None:
    """Numbers as text; None where there are none."""
    if numbers is None or (len(numbers) and np.isnan(numbers).all()):
        return None
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


def _numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(float)
