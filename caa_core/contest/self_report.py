"""Does a model know which of two voices it followed? It is told of both, behind its thought and answer, and asked."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from caa_core.contest.dominance import by_prompt
from caa_core.contest.thinking_arms import BOTH, STEERED, A, B
from caa_core.contest.thinking_scores import ThinkingScores
from caa_core.contest.thoughts import thinking_prompt, thought_text
from caa_core.contest.voice import Voice
from caa_core.metrics.cross_fitting import too_few
from caa_core.metrics.estimates import Estimate, mean_of
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Answer, RenderedPair, Turn, render, thought_turns, with_answer
from caa_core.progress import Progress
from caa_core.steering.interventions import AFTER_PROMPT
from caa_core.steering.scoring import score_rendered

# A probability this close to one half names neither voice.
NAMED = 0.02


@dataclass(frozen=True)
class SelfReport:
    """The model, told of the two voices, is asked which it followed, while both steer it.

    probability: of naming A, over both orders of the names; unsteered: the same of the model that nobody steers and
    that reads the same text. mass: of naming either. named_a, followed_a: in how many prompts A was named, and was
    followed as measured (both do what A alone does rather than B); agree: in how many the two agree.
    """

    probability: Estimate
    unsteered: Estimate
    mass: float
    prompts: int
    named_a: int
    followed_a: int
    agree: int
    verdict: str

    @property
    def names(self) -> int:
        """1 where the model names A, -1 where B, 0 where neither more than the other, or the prompts are too few."""
        p = self.probability
        if too_few(self.prompts) or abs(p.value - 0.5) < NAMED or p.low <= 0.5 <= p.high:
            return 0
        return 1 if p.value > 0.5 else -1


def ask_which(
    model: SteerableModel, items: Items, names: tuple[str, str], voices: Sequence[Voice], scores: ThinkingScores
) -> Generator[Progress, None, SelfReport]:
    """Tell the model of both voices, behind the first thought and answer under both to every prompt, and ask it.
    `voices` go by X. Yields `Progress`.
    """
    plan, system = scores.plan, voices[BOTH].system
    thoughts, m = plan.written(BOTH), scores.m(plan.cells(STEERED, BOTH))
    pairs = []
    for item, pair in enumerate(items.pairs):
        first = item * plan.samples
        answer = pair.positive if m[first] > 0 else pair.negative
        turns = thought_turns(model.tokenizer, pair.prompt, thought_text(model, thoughts[first]), answer)
        head = thinking_prompt(model, pair.prompt, system).ids
        a_first, b_first = (_question(model, turns, system, head, order) for order in (names, names[::-1]))
        pairs += [a_first, RenderedPair(b_first.negative, b_first.positive)]
    found = yield from score_rendered(model, pairs, True, [voices[BOTH].steers], [AFTER_PROMPT])
    named = found.probability.double().numpy().reshape(2, -1, 2).mean(-1)
    unsteered, steered = by_prompt(items, named)
    means = by_prompt(items, scores.of(STEERED)[0])
    says_a, follows_a = steered > 0.5, 2 * means[BOTH] > means[A] + means[B]
    report = SelfReport(
        probability=mean_of(steered, within=(0, 1)),
        unsteered=mean_of(unsteered, within=(0, 1)),
        mass=float(found.mass[1].mean()),
        prompts=len(steered),
        named_a=int(says_a.sum()),
        followed_a=int(follows_a.sum()),
        agree=int(np.equal(says_a, follows_a).sum()),
        verdict="",
    )
    return replace(report, verdict=_in_words(report, *names))


def _question(
    model: SteerableModel, turns: Sequence[Turn], system: str, head: Sequence[int], names: tuple[str, str]
) -> RenderedPair:
    """The question behind what was said, a letter for each name. It is steered where its text was: from the end of the
    first prompt, `head`, on.
    """
    first, second = names
    asked = (
        f"Two voices pulled at you while you wrote that: {first} and {second}. Which of them did you follow?"
        f"\n\nChoices:\n (A) {first}\n (B) {second}"
    )
    prompt = render(model.tokenizer, [*turns, {"role": "user", "content": asked}], system)
    shared = len(list(takewhile(lambda ids: ids[0] == ids[1], zip(head, prompt.ids, strict=False))))
    answers = (with_answer(model.tokenizer, prompt, letter) for letter in ("(A)", "(B)"))
    a, b = (Answer(answer.ids, answer.start, answer.merged, answer.start - shared) for answer in answers)
    return RenderedPair(a, b)


def _in_words(report: SelfReport, a: str, b: str) -> str:
    p, reader = report.probability, report.unsteered
    which = {1: a, -1: b, 0: "neither more than the other"}[report.names]
    if few := too_few(report.prompts):
        which = f"neither for certain, since {few}"
    return (
        f"Asked which voice it followed, the model names {which}: p of {a} {p:.2f}; "
        f"unsteered, reading the same text, {reader.value:.2f}. It names the voice that was "
        f"measured in {report.agree} of {report.prompts} prompts."
    )
