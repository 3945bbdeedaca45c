"""How long a visitor waits for what a vector would do, and for verdicts; beside what the processor has to compute.

Measure's own defaults: joy on its held-out items, every third layer, five multipliers, float32; once with exact
controls too, which all verdicts took before there were estimates. Estimates at every layer stand beside one
multiplier's sweep there. Compete's: joy against gloom, with 39 second voices where one of both is followed.
"""

import time
from statistics import median

from benchmarks.ours import seconds
from benchmarks.results import Part, medians
from caa_core.contest.requests import ContestRequest
from caa_core.contest.runs import run
from caa_core.contest.voice import Voice
from caa_core.data.presets import find_test_pairs, presets
from caa_core.measuring.evaluation import Evaluation, estimate_only, evaluate
from caa_core.measuring.requests import EVERY_THIRD, FEWEST, EvaluationRequest
from caa_core.metrics.cross_fitting import CONTROLS
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel, load
from caa_core.model.prompts import NO_CUE
from caa_core.progress import Progress, finish
from caa_core.steering.interventions import AFTER_PROMPT
from caa_core.steering.scored_items import ScoredItem
from caa_core.vectors.vector import SteeringVector, load_vector

WHAT = "joy on 18 items, every third layer, float32"
FIRST, ALL, BESIDE, VERDICT = "first estimates, of 4 items", "of all items", "beside shuffled labels", "the verdict"
EXACT = f"the verdict with {FEWEST} exact controls of each kind, as before, one round"
EVERY_LAYER = "joy on 18 items, every layer, float32"
ESTIMATED, SWEPT = f"estimates beside {CONTROLS} controls of each kind", "one multiplier's sweep"
CONTEST = "joy against gloom, 39 second voices, float32"
FOLLOWED, WHOLE = "the verdict of a contest", "all of the contest"
# Of a parameter and a token: a product and a sum, forwards and, for the gradient by what goes in, backwards.
OPERATIONS = 4


def measure(rounds: int) -> Part:
    """Medians of rounds after one in which the model's gradients are held against exact changes."""
    model, part = load(DEFAULT_MODEL, "float32"), Part(rounds)
    before = _waited(model)
    found = [_waited(model) for _ in range(rounds)]
    contests = [_contest(model) for _ in range(rounds)]
    part.add(f"{WHAT}, once a model", **before)
    part.add(WHAT, **{name: median(one[name] for one in found) for name in before})
    part.add(WHAT, **{EXACT: seconds(lambda: finish(evaluate(model, _asked(FEWEST), _joy())))})
    works = {ESTIMATED: lambda: seconds(lambda: _estimated(model)), SWEPT: lambda: seconds(lambda: _swept(model))}
    beside = medians(rounds, works)
    part.add(EVERY_LAYER, **beside)
    part.add(CONTEST, **{name: median(one[name] for one in contests) for name in contests[0]})
    first, every = (median(one[name] for one in found) for name in (FIRST, ALL))
    operations = _operations(model)
    rate = f"{operations / 1e9:.0f} GFLOP, {operations / every / 1e9:.0f} GFLOP/s"
    part.lines.append((WHAT, "gradients of all items, forwards and backwards over the answers", rate))
    part.claim("first estimates of a vector, s", "≤ 3", first)
    part.claim("estimates of all 18 items, s", "≤ 10", every)
    fifth = beside[ESTIMATED] / beside[SWEPT]
    part.claim("estimates at every layer, beside controls, over one multiplier's sweep there", "≤ 0.2", fifth)
    part.claim("Measure's verdict, s", "≤ 30", median(one[VERDICT] for one in found))
    part.claim("Compete's verdict, s", "≤ 30", median(one[FOLLOWED] for one in contests))
    return part


def _contest(model: SteerableModel) -> dict[str, float]:
    """Seconds from choosing until the verdict is there, and until all is."""
    joy = presets()["joy"]
    chosen = [joy, presets()[joy.opposes]]
    a, b = (Voice.of(load_vector(one.vector_file), joy.layer, one.multiplier) for one in chosen)
    begun, found = time.perf_counter(), dict[str, float]()
    for event in run(model, ContestRequest.parse(data=joy.contest()), a, b):
        if not isinstance(event, Progress):
            found.setdefault(FOLLOWED, time.perf_counter() - begun)
    return found | {WHOLE: time.perf_counter() - begun}


def _joy() -> SteeringVector:
    return load_vector(presets()["joy"].vector_file)


def _estimated(model: SteerableModel) -> None:
    """What it does at every layer, beside controls of both kinds."""
    finish(estimate_only(model, EvaluationRequest.parse(data=find_test_pairs("joy")), _joy()))


def _swept(model: SteerableModel) -> None:
    """The same by exact passes, at one multiplier."""
    finish(evaluate(model, EvaluationRequest.parse(data=find_test_pairs("joy"), multipliers="1", controls=0), _joy()))


def _asked(exact: int = 0) -> EvaluationRequest:
    """What Measure begins with, and so many controls of each kind by exact passes."""
    data = find_test_pairs("joy")
    return EvaluationRequest.parse(data=data, layers=EVERY_THIRD, multipliers="-2,-1,0,1,2", exact_controls=exact)


def _waited(model: SteerableModel) -> dict[str, float]:
    """Seconds from choosing until each is there."""
    begun, found = time.perf_counter(), dict[str, float]()
    for event in (work := evaluate(model, _asked(), _joy())):
        now = time.perf_counter() - begun
        if isinstance(event, EstimateMap):
            name = FIRST if event.items < event.of else BESIDE if event.layers[0].shuffled else ALL
            found.setdefault(name, now)
        if isinstance(event, Evaluation) and event.conclusion.verdict:
            found[VERDICT] = now
            break
    work.close()
    return found


def _operations(model: SteerableModel) -> float:
    """Of the gradients: of the blocks at each token of the answers, of the head where something is predicted."""
    blocks = sum(one.numel() for block in model.blocks for one in block._module.parameters())
    head = model.head._module.weight.numel()
    items = [ScoredItem.of(model, pair, AFTER_PROMPT, NO_CUE) for pair in find_test_pairs("joy").pairs]
    return OPERATIONS * sum(blocks * item.tail + head * len(item.columns) for item in items)
