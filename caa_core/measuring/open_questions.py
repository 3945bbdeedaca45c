"""Answers to open questions at several multipliers of one vector at one layer: what is written, and what it costs.

The answers to one question draw the same random numbers at every multiplier, 0 (the unsteered model) among them. A
multiplier's repetition and KL are means over its answers, its perplexity is that of all its tokens.
"""

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from caa_core.measuring.answer_reader import Direction, HeldOut, Reader, VoiceScore, calibrate
from caa_core.measuring.costs.text import SAFE_PERPLEXITY
from caa_core.measuring.requests import OpenQuestionsRequest
from caa_core.metrics.cache import key
from caa_core.metrics.cross_fitting import too_few
from caa_core.metrics.estimates import SAFE_KL, Estimate, Share, estimate, mean_of, share_of
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask
from caa_core.progress import Progress, within
from caa_core.steering.activations import check_here
from caa_core.steering.generation import BatchRow
from caa_core.steering.sampling import ROWS, costs, write_all
from caa_core.vectors.vector import SteeringVector


@dataclass(frozen=True)
class Reply:
    """One answer. perplexity: under the unsteered model; kl: KL(unsteered ‖ steered) in nats, mean over its positions;
    None where it has no token. reading, voice: see `VoiceScore.a`, `VoiceScore.voice`; None where nothing reads it.
    """

    question: str
    multiplier: float
    text: str
    tokens: int
    repetition: float
    perplexity: float | None
    kl: float | None
    reading: float | None = None
    voice: str | None = None


@dataclass(frozen=True)
class Level:
    """All answers at one multiplier. reading: the mean over questions, with its interval; spoken: the share of answers
    in which the voice is heard. None where nothing reads them, or the reading is not trusted.
    """

    multiplier: float
    answers: int
    repetition: float
    perplexity: float
    kl: float
    reading: Estimate | None
    spoken: Share | None


@dataclass(frozen=True)
class OpenQuestions:
    """What was written, question by question. key: what it all depends on but the questions. reading: how well answers
    are read, see `Reader.summary`; None where there is nothing to read them by.
    """

    vector: str
    key: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    reading: dict[str, Any] | None
    replies: tuple[Reply, ...] = field(default=())

    @property
    def questions(self) -> list[str]:
        return list(dict.fromkeys(reply.question for reply in self.replies))

    @property
    def levels(self) -> list[Level]:
        """By rising multiplier."""
        by_multiplier: dict[float, list[Reply]] = {}
        for reply in self.replies:
            by_multiplier.setdefault(reply.multiplier, []).append(reply)
        return [_level(multiplier, by_multiplier[multiplier]) for multiplier in sorted(by_multiplier)]

    @property
    def safe(self) -> tuple[float, float]:
        """The most negative and the largest multiplier that is safe, as all measured ones between it and 0 are: its KL
        lies under `SAFE_KL` and its perplexity under `SAFE_PERPLEXITY` times the unsteered one's, with their whole 95%
        intervals over questions. 0 where none is, or the questions are too few to tell.
        """
        if too_few(len(self.questions)):
            return 0.0, 0.0
        by_multiplier: dict[float, list[Reply]] = {}
        for reply in self.replies:
            by_multiplier.setdefault(reply.multiplier, []).append(reply)
        ends = []
        for sign in (-1, 1):
            outwards = sorted((m for m in by_multiplier if m * sign > 0), key=abs)
            safe = itertools.takewhile(lambda m: _is_safe(by_multiplier[m], by_multiplier[0.0]), outwards)
            ends.append([0.0, *safe][-1])
        return ends[0], ends[1]

    @property
    def verdict(self) -> str:
        """What is safe, and what is heard, in words."""
        levels = {level.multiplier: level for level in self.levels}
        said = (
            f"Safe on such questions: {_span(*self.safe)}. There KL is under {SAFE_KL:g} nats and perplexity under "
            f"{SAFE_PERPLEXITY:g} times the unsteered answers', by 95% intervals over {len(self.questions)} questions."
        )
        if few := too_few(len(self.questions), "question"):
            said = f"What is safe is not judged: {few}."
        if not self.reading:
            return f"{said} Nothing reads these answers: that takes held-out answers of the behaviour."
        if not self.reading["trusted"]:
            return f"{said} {self.reading['doubt']}"
        heard = ", ".join(f"× {m:g} {level.spoken}" for m, level in levels.items())
        return f"{said} Share of answers in which {self.vector} is heard: {heard}."

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **plain(self, without=["replies"]),
            "verdict": self.verdict,
            "safe_multiplier": self.safe[1],
            "safe_negative_multiplier": self.safe[0],
            "levels": plain(self.levels),
            "answers": plain(self.replies),
        }

    @classmethod
    def of(cls, kept: Any) -> "OpenQuestions":
        """From a `summary`. Raises InputError for anything else."""
        renamed = {**kept, "replies": kept.get("answers")} if isinstance(kept, dict) else kept
        return restored(cls, renamed, "The answers that were")


def _level(multiplier: float, replies: Sequence[Reply]) -> Level:
    there = [reply for reply in replies if reply.tokens]
    tokens = sum(reply.tokens for reply in there)
    nats = sum(math.log(reply.perplexity) * reply.tokens for reply in there if reply.perplexity)
    costs = [reply.kl for reply in there if reply.kl is not None]
    readings = np.array([reply.reading for reply in there if reply.reading is not None], float)
    trusted = len(readings) and all(reply.voice for reply in there)
    return Level(
        multiplier=multiplier,
        answers=len(replies),
        repetition=float(np.mean([reply.repetition for reply in replies])),
        perplexity=math.exp(nats / tokens) if tokens else math.inf,
        kl=float(np.mean(costs)) if costs else math.inf,
        reading=mean_of(readings) if trusted else None,
        spoken=share_of(np.array([reply.voice == "A" for reply in replies], float)) if trusted else None,
    )


@handed_over
def answer(
    model: SteerableModel,
    vector: SteeringVector,
    asked: OpenQuestionsRequest,
    data: HeldOut | None = None,
    known: OpenQuestions | None = None,
) -> Generator[Progress | OpenQuestions, None, OpenQuestions]:
    """Answer every question at every multiplier. Yields `Progress`, and what has come after some questions.

    Args:
        data: held-out answers by which the answers are read; nothing reads them where there are none.
        known: what was found before; answers that depend on the same are not written again.

    Raises:
        InputError: there is no such layer, or what `calibrate` and `generate` raise.
    """
    check_here(model, "Weighing answers to open questions")
    for layer in (asked.layer, *asked.spread):
        model.check_layer(layer)
    found = _empty(model, vector, asked, data)
    same = known if known and known.key == found.key else found
    there: dict[str, list[Reply]] = {}
    for reply in same.replies:
        there.setdefault(reply.question, []).append(reply)
    missing = [question for question in asked.questions if question not in there]
    rows = len(asked.questions) * len(asked.multipliers)
    progress = Progress(rows, "answers", rows * 1.25)
    progress.reach((rows - len(missing) * len(asked.multipliers)) * 1.25)
    progress.resumed = progress.cost
    reader = None
    if data and missing:
        direction = Direction(vector.name, vector.at(asked.layer), asked.layer)
        reader = yield from calibrate(model, [direction], data)
        found = replace(found, reading=reader.summary())
    elif there:
        found = replace(found, reading=same.reading)
    size = max(1, ROWS.get(model.device.type, ROWS["cpu"]) // len(asked.multipliers))
    for first in range(0, len(missing), size):
        some = missing[first : first + size]
        for reply in (yield from _replies(model, vector, asked, some, reader, progress)):
            there.setdefault(reply.question, []).append(reply)
        found = replace(found, replies=tuple(r for question in asked.questions for r in there.get(question, ())))
        yield found
    return replace(found, replies=tuple(r for question in asked.questions for r in there[question]))


def _replies(
    model: SteerableModel,
    vector: SteeringVector,
    asked: OpenQuestionsRequest,
    questions: Sequence[str],
    reader: Reader | None,
    progress: Progress,
) -> Generator[Progress, None, list[Reply]]:
    """The answers to some questions, by question and then by multiplier."""
    steers = [asked.steers(vector, m) if m else () for m in asked.multipliers]
    calls = []
    for question in questions:
        prompt = ask(model.tokenizer, question, asked.system)
        calls.append(([BatchRow(prompt, added, asked.positions) for added in steers], asked.decoding(question)))
    rows = [row for rows, _ in calls for row in rows]
    count = len(rows)
    written = [text for texts in (yield from within(progress, write_all(model, calls), count)) for text in texts]
    weighed = yield from within(progress, costs(model, rows, written), count / 8)
    of = [question for question in questions for _ in steers]
    readings: list[VoiceScore | None] = [None] * count
    if reader:
        work = reader.read(model, of, [text.text for text in written])
        readings = list((yield from within(progress, work, count / 8)))
    yield progress.reach(progress.cost)
    return [
        Reply(
            question=question,
            multiplier=multiplier,
            text=text.text,
            tokens=len(text.ids),
            repetition=cost.repetition,
            perplexity=cost.perplexity,
            kl=cost.kl,
            reading=reading.a if reading else None,
            voice=reading.voice if reading else None,
        )
        for question, multiplier, text, cost, reading in zip(
            of, asked.multipliers * len(questions), written, weighed, readings, strict=True
        )
    ]


def _empty(
    model: SteerableModel, vector: SteeringVector, asked: OpenQuestionsRequest, data: HeldOut | None
) -> OpenQuestions:
    """Nothing written yet, but what it will depend on."""
    settings = asked.settings()
    provenance = {
        **model.provenance,
        **{f"vector_{name}": value for name, value in asdict(vector.provenance).items() if value},
    }
    # What goes without saying was not said either before there was a choice.
    unsaid = {name: asked.options()[name].default for name in ("operation", "shares")} | {"spread": []}
    said = {name: value for name, value in settings.items() if unsaid.get(name) != value}
    several = [vector.at(layer) for layer in asked.spread]
    name = key(model, said, vector.name, vector.provenance, vector.at(asked.layer), data, *several)
    return OpenQuestions(vector.name, name, settings, provenance, None)


def _is_safe(steered: Sequence[Reply], unsteered: Sequence[Reply]) -> bool:
    """Whether the costs of a multiplier lie under their limits with their whole intervals, over the questions to which
    both answers have a token.
    """
    both = [pair for pair in zip(steered, unsteered, strict=True) if all(reply.tokens for reply in pair)]
    if too_few(len(both)):
        return False
    kl = mean_of(np.array([reply.kl for reply, _ in both], float))
    tokens = [np.array([reply.tokens for reply in side], float) for side in zip(*both, strict=True)]
    nats = [
        np.array([math.log(reply.perplexity or math.inf) * reply.tokens for reply in side])
        for side in zip(*both, strict=True)
    ]
    times = estimate(lambda a, b, c, d: a / c - b / d, *nats, *tokens)
    return _most(kl) < SAFE_KL and _most(times) < math.log(SAFE_PERPLEXITY)


def _most(cost: Estimate) -> float:
    """The upper end of its interval; where all answers cost the same, as where none is changed, what they cost."""
    return cost.high if cost.has_interval else cost.value


def _span(down: float, up: float) -> str:
    """A range of multipliers in words."""
    if down and up:
        return f"multipliers from {down:g} to {up:g}"
    return f"multipliers {'up' if up else 'down'} to {up or down:g}" if up or down else "none"
