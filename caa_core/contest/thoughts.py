"""Thoughts: words that a model writes before it answers, drawn several times, under several voices at once."""

import re
from collections.abc import Generator, Iterator, Sequence

from caa_core.contest.requests import ThinkingRequest
from caa_core.contest.voice import Voice
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Prompt, asked_to_think, text_of, thought_of
from caa_core.progress import Progress
from caa_core.steering.generation import BatchRow, Completion, generate

# Texts that are written in one batch.
ROWS = {"cpu": 64, "cuda": 512}

# What one says who changes their mind; "no" counts at the beginning of a sentence or behind a dash.
CORRECTION = re.compile(
    r"\b(?:wait|actually|hold on|on second thoughts?|on reflection|let me (?:reconsider|rethink|correct)|scratch that|"
    r"i was wrong|that(?:'s| is) (?:wrong|not right)|correction)\b|(?:^|[.!?\n—-]\s*)no,",
    re.IGNORECASE,
)

# Tokens of thoughts, by question, number of the thought, and voice that it was written under.
Thoughts = dict[tuple[str, int, int], tuple[int, ...]]


def corrections(text: str) -> list[tuple[int, int]]:
    """Where a thought corrects itself, by the words of `CORRECTION`: spans of characters."""
    return [match.span() for match in CORRECTION.finditer(text)]


def thinking_prompt(model: SteerableModel, question: str, system: str = "") -> Prompt:
    """One message of the user, up to where the thought begins."""
    return asked_to_think(model.tokenizer, [{"role": "user", "content": question}], system)


def thought_text(model: SteerableModel, thought: Sequence[int]) -> str:
    """A thought's tokens as text."""
    return text_of(model.tokenizer, thought, skip_special_tokens=True).strip()


def write_thoughts(
    model: SteerableModel, questions: dict[str, int], voices: Sequence[Voice], request: ThinkingRequest
) -> Generator[Progress, None, Thoughts]:
    """Write `request.thoughts` thoughts on each question under each voice. Yields `Progress`.

    Args:
        questions: each with the number that its random numbers go by; the same in both letter orders.
    """
    wanted = [(question, number) for question in questions for number in range(request.thoughts)]
    size = max(1, ROWS.get(model.device.type, ROWS["cpu"]) // len(voices))
    progress = Progress(len(wanted) * len(voices), "thoughts written", len(wanted) * request.tokens)
    found: Thoughts = {}
    yield progress
    for first in range(0, len(wanted), size):
        batch = wanted[first : first + size]
        works = [
            generate(
                model,
                [BatchRow(thinking_prompt(model, question, voice.system), voice.steers) for voice in voices],
                request.decoding(questions[question], number),
            )
            for question, number in batch
        ]
        done, texts = progress.cost, {}
        for texts in _together(works):
            longest = max(len(text.ids) for written in texts.values() for text in written)
            progress.cost = done + longest * len(batch)
            yield progress
        for place, (question, number) in enumerate(batch):
            found |= {
                (question, number, x): thought_of(model.tokenizer, text.ids) for x, text in enumerate(texts[place])
            }
        progress.cost = done + request.tokens * len(batch)
        yield progress.advance(len(batch) * len(voices), 0)
    return found


def _together(
    works: Sequence[Generator[list[Completion], None, list[Completion]]],
) -> Iterator[dict[int, list[Completion]]]:
    """Advance all of them in turns, whoever comes first making the step for all. Yields what each has by now."""
    left, texts = dict(enumerate(works)), {}
    try:
        while left:
            for place, work in list(left.items()):
                try:
                    texts[place] = next(work)
                except StopIteration:
                    del left[place]
            yield texts
    finally:
        for work in left.values():
            work.close()
