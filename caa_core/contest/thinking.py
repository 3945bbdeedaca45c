"""Can a model reason its way to one of two voices? Words written, read and answered from, each with and without them.

The arms are those of :mod:`caa_core.contest.thinking_arms`; what is written under X is written once.

m, Δ, D, D₀ and I are those of :mod:`caa_core.contest.dominance`; the bootstrap draws prompts, and all letter orders and
thoughts of a prompt move together. "Crossed" has no D: with m(w, s) after the words of w, which nobody's voice reads,
where s steers the answer, W = (m(A, B) - m(B, A)) / (m(A, A) - m(B, B)): +1 the words decide, -1 the vector.
"""

from collections.abc import Generator

from caa_core.contest.requests import ThinkingRequest
from caa_core.contest.self_report import ask_which
from caa_core.contest.thinking_arms import ArmPlan
from caa_core.contest.thinking_results import ThinkingResult, ThinkingSummary
from caa_core.contest.thinking_scores import ThinkingScores, score_answers
from caa_core.contest.thoughts import write_thoughts
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.steering.interventions import AFTER_PROMPT

FILLER = "."


def think(
    model: SteerableModel, items: Items, a: Voice, b: Voice, request: ThinkingRequest, system: str = ""
) -> Generator[Progress | ThinkingResult, None, ThinkingResult]:
    """Run the experiment on the first prompts of `items`, whose matching answers are A's.

    Yields `Progress`, and what is known after each stage. `system`: what the model is told by nobody's voice.

    Raises:
        InputError: the arms divide what comes after the prompt, so they take no other positions, and no voice that is
            the beginning of an answer; sequences that are too long.
    """
    if items.positions != AFTER_PROMPT:
        raise InputError("Thoughts are steered from the prompt's end on: leave the steered positions at after-prompt.")
    if a.prefill or b.prefill:
        raise InputError("A voice that is the beginning of an answer leaves no room for a thought before it.")
    kept = list(dict.fromkeys(pair.prompt for pair in items.pairs))[: request.prompts]
    items = items.some([i for i, pair in enumerate(items.pairs) if pair.prompt in kept])
    nobody = Voice("nobody", system=system)
    voices = [nobody, *(nobody.beside(voice) for voice in (a, b, a.beside(b)))]
    cases, of_item = items.both_orders()
    # Both letter orders of a question have the same random numbers.
    questions = {pair.prompt: item for pair, item in zip(cases, of_item, strict=True)}
    thoughts = yield from write_thoughts(model, questions, voices, request)
    filler = model.tokenizer(FILLER, add_special_tokens=False).input_ids[-1]
    systems = tuple(voice.system for voice in voices)
    plan = ArmPlan(tuple(cases), tuple(of_item), systems, request.thoughts, filler, thoughts)
    summary = ThinkingSummary(model, items, a, b, request, plan)
    yield summary.result(ThinkingScores(plan))
    scores = yield from showing(score_answers(model, plan, voices, items.are_choices), summary.result)
    report = yield from ask_which(model, items, (a.name, b.name), voices, scores)
    return summary.result(scores, report)
