"""Which of two voices does a free answer follow? Written under each and both, read by the unsteered model."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from caa_core.contest.requests import WrittenRequest
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import VOICES, Reader
from caa_core.metrics.cross_fitting import too_few
from caa_core.metrics.estimates import Estimate, Share, mean_of, share_of
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask, with_prefill
from caa_core.progress import Progress, within
from caa_core.steering.generation import BatchRow
from caa_core.steering.interventions import Positions
from caa_core.steering.sampling import ROWS, Call, costs, write_all

ARMS = ("unsteered", "A", "B", "both")


@dataclass(frozen=True)
class WrittenArm:
    """What was written under one condition of `ARMS`.

    shares: of answers by `VOICES`, means over questions; None where the reading is not trusted. repetition: share of
    tokens that end a run of four which the same text has had before. kl: KL(unsteered ‖ steered) in nats, mean over the
    answers; None where a voice is a system prompt, whose KL against a model without it is not known. answers: each with
    its question and its reading.
    """

    name: str
    shares: dict[str, Share] | None
    repetition: float
    kl: float | None
    answers: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class WrittenResult:
    """Which voice answers to open questions follow, unsteered, under each voice, and under both.

    reading: see `Reader.summary`. difference: share of A less share of B under both, and `change` that less the same of
    the unsteered model, with intervals over questions; None where the reading is not trusted.
    """

    a: str
    b: str
    reading: dict[str, Any]
    questions: int
    samples: int
    arms: dict[str, WrittenArm]
    difference: Estimate | None
    change: Estimate | None

    @property
    def follows(self) -> int:
        """1 where answers under both follow A, -1 where B, 0 where neither is said: the lead and the change against the
        unsteered model both leave 0 out, the same way.
        """
        lead, moved = self.difference, self.change
        if not (lead and moved and lead.is_clear and moved.is_clear) or too_few(self.questions):
            return 0
        return 0 if lead.value * moved.value < 0 else 1 if lead.value > 0 else -1

    @property
    def verdict(self) -> str:
        """What it comes to, in words."""
        both = self.arms["both"].shares
        if not (both and self.difference and self.change):
            return self.reading["doubt"]
        names = dict(zip(VOICES, (self.a, self.b, *VOICES[2:]), strict=True))
        shares = ", ".join(f"{name} {both[voice]}" for voice, name in names.items())
        found = f"Under both, answers read as {shares}."
        if few := too_few(self.questions, "question"):
            return f"{found} {few}."
        numbers = f"A less B {self.difference}, against unsteered {self.change}. {found}"
        if not self.difference.is_clear:
            return f"It is not shown that written answers follow one voice more than the other. {numbers}"
        name = self.a if self.difference.value > 0 else self.b
        if not self.follows:
            return f"Written answers lean to {name}, but no more than unsteered ones do. {numbers}"
        return f"Written answers follow {name}. {numbers}"

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {**plain(self), "verdict": self.verdict}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "WrittenResult":
        """What `summary` was made of. Raises InputError for anything else."""
        return restored(cls, kept, "The answers that were")


def follow(
    model: SteerableModel, reader: Reader, a: Voice, b: Voice, request: WrittenRequest
) -> Generator[Progress | WrittenResult, None, WrittenResult]:
    """Write the answers to each question unsteered, under A, under B and under both; and let `reader` read them all.

    The answers to one question draw the same random numbers under all four. Yields `Progress`, and what has come after
    some questions.

    Raises:
        InputError: no questions, several samples of what is always the same, or what `generate` raises.
    """
    questions, samples = request.questions, request.samples
    if not questions or samples < 1:
        raise InputError("Give at least one open question, and at least one sample of its answer.")
    if samples > 1 and not request.temperature:
        raise InputError("At temperature 0 every sample is the same: take one sample, or a temperature above 0.")
    voices = (Voice("unsteered"), a, b, a.beside(b))
    count = len(questions) * samples * len(voices)
    progress = Progress(count, "answers", count * 1.25)
    by_arm: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    size = max(1, ROWS.get(model.device.type, ROWS["cpu"]) // (samples * len(voices)))
    for first in range(0, len(questions), size):
        asked, calls = [], []
        for number, sample in product(range(len(questions))[first : first + size], range(samples)):
            asked.append(questions[number])
            rows = [row_under(model, asked[-1], voice, request.positions, request.system) for voice in voices]
            calls.append((rows, request.decoding(number, sample)))
        answers = yield from _write_and_read(model, reader, voices, asked, calls, progress)
        for place, (arm, voice) in enumerate(zip(ARMS, voices, strict=True)):
            unknown = {"kl": None} if voice.system else {}
            by_arm[arm] += [answer | unknown for answer in answers[place :: len(voices)]]
        found = result_of(reader, (a.name, b.name), samples, by_arm)
        yield found
    return found


def _write_and_read(
    model: SteerableModel,
    reader: Reader,
    voices: Sequence[Voice],
    questions: Sequence[str],
    calls: Sequence[Call],
    progress: Progress,
) -> Generator[Progress, None, list[dict[str, Any]]]:
    """Answers with their readings and costs, by question and voice; a call is a question under every voice."""
    rows = [row for rows, _ in calls for row in rows]
    written = yield from within(progress, write_all(model, calls), len(rows))
    texts = [text for call in written for text in call]
    asked = [question for question in questions for _ in voices]
    prefills = [voice.prefill for _ in calls for voice in voices]
    read = reader.read(model, asked, [text.text for text in texts], prefills)
    readings = yield from within(progress, read, len(rows) / 8)
    weighed = yield from within(progress, costs(model, rows, texts), len(rows) / 8)
    yield progress.reach(progress.cost)
    return [
        {"question": question, "answer": text.text, "repetition": cost.repetition, "kl": cost.kl, **asdict(reading)}
        for question, text, cost, reading in zip(asked, texts, weighed, readings, strict=True)
    ]


def row_under(model: SteerableModel, question: str, voice: Voice, positions: Positions, system: str = "") -> BatchRow:
    """The row of a batch in which a voice's answer to a question is written; `system` is nobody's voice."""
    whole = "\n".join(filter(None, (system.strip(), voice.system)))
    prompt = with_prefill(model.tokenizer, ask(model.tokenizer, question, whole), voice.prefill)
    return BatchRow(prompt, voice.steers, positions)


def result_of(
    reader: Reader, names: tuple[str, str], samples: int, by_arm: Mapping[str, Sequence[dict[str, Any]]]
) -> WrittenResult:
    """What the voices of answers come to that were read, by arm, question by question."""
    shares = {arm: _shares(answers, samples) for arm, answers in by_arm.items()}
    arms = {
        arm: WrittenArm(
            arm,
            {voice: share_of(line) for voice, line in shares[arm].items()} if reader.trusted else None,
            float(np.mean([answer["repetition"] for answer in answers])),
            _mean([answer["kl"] for answer in answers]),
            tuple(answers),
        )
        for arm, answers in by_arm.items()
    }
    apart = {arm: by_voice["A"] - by_voice["B"] for arm, by_voice in shares.items()}
    difference, change = (
        mean_of(line) if reader.trusted else None for line in (apart["both"], apart["both"] - apart["unsteered"])
    )
    questions = len(by_arm["both"]) // samples
    return WrittenResult(*names, reader.summary(), questions, samples, arms, difference, change)


def _shares(answers: Sequence[dict[str, Any]], samples: int) -> dict[str, np.ndarray]:
    """By voice, the share of each question's samples, [questions]."""
    voices = np.array([answer["voice"] for answer in answers], dtype=object).reshape(-1, samples)
    return {voice: (voices == voice).mean(1) for voice in VOICES}


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that are there."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
