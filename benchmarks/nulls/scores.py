"""What is said of a judge's scores, of readings and written answers, of what a model says itself, of costs and right
answers, where steering changes nothing, or costs as much as it may.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from caa_core.contest.self_report import SelfReport
from caa_core.contest.written import ARMS, result_of
from caa_core.measuring.answer_reader import VOICES, Direction, Reader, Scale
from caa_core.measuring.costs.knowledge import levels_of
from caa_core.measuring.judging.axes import Rating
from caa_core.measuring.judging.levels import unblinded
from caa_core.measuring.open_questions import OpenQuestions, Reply
from caa_core.measuring.sweep import RunScores
from caa_core.metrics.cross_fitting import ENOUGH_PROMPTS
from caa_core.metrics.estimates import SAFE_KL, Share, auc, mean_of

MULTIPLIERS = (-2.0, -1.0, 0.0, 1.0, 2.0)
STEERED = tuple(m for m in MULTIPLIERS if m)

# Shares of answers that are read as A's, B's, mixed and neither's.
EVEN, LEANING = (0.3, 0.3, 0.1, 0.3), (0.7, 0.1, 0.1, 0.1)


def simulate(runs: int, prompts: int, seed: int = 0) -> dict[str, float]:
    """Share of runs in which each thing is said, over so many prompts."""
    random = np.random.default_rng(seed)
    said: Counter[str] = Counter()
    for _ in range(runs):
        said.update(what for what, draw in SENTENCES.items() if draw(random, prompts))
    return {what: said[what] / runs for what in SENTENCES}


def _judged(random: np.random.Generator, prompts: int, more: float = 0.0) -> bool:
    """Whole scores from 0 to 10, of questions that differ; `more`: at the largest multiplier."""
    of_question = random.normal(5, 1.5, (prompts, 1))
    scores = of_question + random.normal(0, 1.5, (prompts, len(MULTIPLIERS))) + more * (np.array(MULTIPLIERS) == 2)
    scores = np.clip(np.round(scores), 0, 10)
    given = {place: Rating(*[float(score)] * 3) for place, score in enumerate(scores.ravel())}
    return any(level.is_clear for level in unblinded([*_replies(np.zeros(scores.shape))], given))


def _replies(costs: np.ndarray) -> Iterator[Reply]:
    """Answers [questions, multipliers] that cost so many nats of KL."""
    for question, line in enumerate(costs):
        for multiplier, cost in zip(MULTIPLIERS, line, strict=True):
            yield Reply(f"{question}?", multiplier, "text", 8, 0.0, 10.0, float(cost) if multiplier else 0.0)


def _safe(random: np.random.Generator, prompts: int) -> bool:
    """Every multiplier costs in the mean what one may cost, some questions far more; of positive multipliers."""
    costs = random.gamma(2, SAFE_KL / 2, (prompts, len(MULTIPLIERS)))
    return OpenQuestions("", "", {"layer": 0}, {}, None, tuple(_replies(costs))).safe[1] > 0


def _trusted(random: np.random.Generator, prompts: int) -> bool:
    """Readings that have nothing to do with the answers."""
    positive = np.arange(2 * prompts) % 2 == 0
    found = auc(random.standard_normal(2 * prompts), positive, ~positive, np.arange(2 * prompts) // 2)
    return _reader({"A": found}, prompts).trusted


def _follows(random: np.random.Generator, prompts: int, unsteered: Sequence[float], both: Sequence[float]) -> bool:
    """Two answers to each question, of which so large shares are read as `VOICES`."""
    shares = {arm: both if arm == "both" else unsteered for arm in ARMS}
    reader = _reader({}, ENOUGH_PROMPTS)
    by_arm = {
        arm: [{"voice": VOICES[n], "repetition": 0.0, "kl": 0.0} for n in random.choice(4, 2 * prompts, p=share)]
        for arm, share in shares.items()
    }
    return result_of(reader, ("A", "B"), 2, by_arm).follows != 0


def _names(random: np.random.Generator, prompts: int) -> bool:
    """What a model says of itself, which is for neither voice."""
    said = mean_of(np.clip(random.normal(0.5, 0.2, prompts), 0, 1), within=(0, 1))
    return SelfReport(said, said, 1.0, prompts, 0, 0, 0, "").names != 0


def _reader(aucs: dict[str, Share], prompts: int) -> Reader:
    return Reader((Direction("", torch.ones(1), 0),), (Scale(0, 1),), None, aucs, {}, prompts)


def _costs(random: np.random.Generator, prompts: int) -> bool:
    """Questions that are answered right in four of five cases, as often steered as not."""
    sure = random.normal(0.7, 0.2, (prompts, 1)) + random.normal(0, 0.1, (prompts, 1 + len(STEERED)))
    baseline, *steered = (_scores(np.clip(line, 0, 1)) for line in sure.T)
    rows = levels_of(baseline, {m: [one] for m, one in zip(STEERED, steered, strict=True)}, range(prompts))
    return any(row.costs for row in rows)


def _scores(probabilities: np.ndarray) -> RunScores:
    return RunScores(probabilities, probabilities, np.ones_like(probabilities), np.zeros_like(probabilities))


SENTENCES: dict[str, Callable[[np.random.Generator, int], bool]] = {
    "a judge's score changes": _judged,
    "of a score that is 3 higher": lambda random, prompts: _judged(random, prompts, 3.0),
    "costs capability": _costs,
    "safe on such questions": _safe,
    "a reading is trusted": _trusted,
    "answers follow a voice, though none leans": lambda random, prompts: _follows(random, prompts, EVEN, EVEN),
    "answers follow a voice, though all lean alike": lambda random, prompts: _follows(
        random, prompts, LEANING, LEANING
    ),
    "of answers that A moves": lambda random, prompts: _follows(random, prompts, EVEN, LEANING),
    "the model names a voice": _names,
}
