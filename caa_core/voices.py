"""Which of two voices does a free answer follow? The unsteered model reads it, beside each voice's vector.

An answer's reading for a voice is the residual stream of the *unsteered* model at the voice's layer, mean over the
answer's own tokens, projected on the voice's vector. Held-out answers give it a scale: 1 is a typical answer of this
voice (the mean over its positive answers), -1 a typical plain one (the mean over its negative ones), and 0, halfway
between, is where the voice begins to be heard. Two vectors may share a good part ("emotional"), so between two voices
the difference of their readings counts, the lean: 1 is typical of A's held-out answers, -1 of B's.

An answer is *neither* where no voice is heard, and else A's or B's by its lean, *mixed* where that is within a third of
0. How well a reading separates held-out answers is its AUC; under `TRUSTED` no answer is given to anybody.
"""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from caa_core.answers import ROWS, Call, costs, write_all
from caa_core.contests import FEWEST_PROMPTS, Estimate, Side
from caa_core.datasets import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.evaluation import RESAMPLES, interval
from caa_core.generation import Decoding, Row
from caa_core.interventions import AFTER_PROMPT, Positions
from caa_core.model import SteerableModel
from caa_core.presets import Preset
from caa_core.progress import Progress, within
from caa_core.prompts import ask, begun, with_answer
from caa_core.readings import read_answers

TRUSTED = 0.8
BETWEEN = 1 / 3
VOICES = ("A", "B", "mixed", "neither")
ARMS = ("unsteered", "A", "B", "both")
SAMPLES = 2
SAMPLED = Decoding(64, temperature=1.0)

# A question, an answer to it, and words that the answer was begun with.
Said = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Direction:
    """A voice as it is listened for: its vector [hidden_size] as it was made, whatever it is multiplied with."""

    name: str
    vector: torch.Tensor
    layer: int


@dataclass(frozen=True)
class HeldOut:
    """Answers that the vectors were not made from: positive and negative ones of each voice, and answers of A
    (positive) and of B (negative) to the same prompts.
    """

    a: Sequence[ContrastPair]
    b: Sequence[ContrastPair] = ()
    contest: Sequence[ContrastPair] = ()


class Share(Estimate):
    """A number between 0 and 1 with its 95 % interval."""

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Scale:
    """A reading's unit: `middle` becomes 0, and `half` more becomes 1."""

    middle: float
    half: float

    @classmethod
    def of(cls, high: np.ndarray, low: np.ndarray) -> "Scale":
        """By which the mean of `high` is 1 and that of `low` -1."""
        return cls((high.mean() + low.mean()) / 2, (high.mean() - low.mean()) / 2 or 1.0)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return (values - self.middle) / self.half


@dataclass(frozen=True)
class Reading:
    """What was read of an answer; see the module's words. b, lean: None for one voice alone.

    voice: one of `VOICES`; None where the reading is not trusted. An answer without a token is neither, and has no
    numbers.
    """

    a: float | None
    b: float | None
    lean: float | None
    voice: str | None


@dataclass(frozen=True, eq=False)
class Reader:
    """One or two voices, calibrated.

    aucs: of held-out positive against negative answers by "A" and "B", and of A's against B's answers by "A against B";
    intervals are over prompts. right: the share of A's, B's and plain ("neither") held-out answers that are read as
    what they are, by the thresholds that were set on these same answers.
    """

    directions: tuple[Direction, ...]
    scales: tuple[Scale, ...]
    lean: Scale | None
    aucs: dict[str, Share]
    right: dict[str, float]

    @property
    def trusted(self) -> bool:
        return all(auc.value >= TRUSTED for auc in self.aucs.values())

    @property
    def doubt(self) -> str:
        """Why no answer is given to a voice; empty where nothing stands against it."""
        weak = [f"{self._names(name)} {auc}" for name, auc in self.aucs.items() if auc.value < TRUSTED]
        return f"No voice is named: the reading has an AUC under {TRUSTED:g} for {', '.join(weak)}." if weak else ""

    def __str__(self) -> str:
        found = ", ".join(f"{self._names(name)} {auc}" for name, auc in self.aucs.items())
        return f"AUC of the reading on held-out answers: {found}."

    def read(
        self, model: SteerableModel, prompts: Sequence[str], answers: Sequence[str], begins: Sequence[str] = ()
    ) -> Generator[Progress, None, list[Reading]]:
        """Read answers to questions, in batches, with the unsteered model. Yields `Progress`.

        Args:
            begins: words that an answer was begun with, which are not its own; they are there, and are not read.

        Raises:
            InputError: an answer that is too long for the model.
        """
        said = zip(prompts, answers, begins or [""] * len(answers), strict=True)
        found = yield from _project(model, list(said), self.directions)
        return self.judge(found)

    def judge(self, projections: np.ndarray) -> list[Reading]:
        """What projections [voices, answers] come to; NaN is an answer without a token."""
        scaled = np.stack([scale(line) for scale, line in zip(self.scales, projections, strict=True)])
        lean = self.lean(scaled[0] - scaled[1]) if self.lean else np.full(scaled.shape[1], np.nan)
        return [
            Reading(*map(_number, ((*column, np.nan)[:2])), _number(between), self._voice(column, between))
            for column, between in zip(scaled.T, lean, strict=True)
        ]

    def _voice(self, heard: np.ndarray, lean: float) -> str | None:
        if not self.trusted:
            return None
        if not (heard > 0).any():
            return "neither"
        if not self.lean:
            return "A"
        return "mixed" if abs(lean) < BETWEEN else "A" if lean > 0 else "B"

    def _names(self, key: str) -> str:
        """A name of `aucs` with the voices' own: "joy against plain answers", "joy against gloom"."""
        by_letter = dict(zip("AB", (direction.name for direction in self.directions), strict=False))
        return f"{by_letter[key]} against plain answers" if key in by_letter else " against ".join(by_letter.values())

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "voices": [{"name": one.name, "layer": one.layer} for one in self.directions],
            "aucs": {name: asdict(auc) for name, auc in self.aucs.items()},
            "trusted": self.trusted,
            "held_out_read_right": self.right,
            "text": str(self),
            "doubt": self.doubt,
        }


def held_out(a: Preset | Dataset, b: Preset | Dataset | None = None) -> HeldOut:
    """What ships for presets, or data that somebody gives; presets that oppose each other bring their contest too."""
    own = [one.test().pairs if isinstance(one, Preset) else one.pairs for one in (a, b) if one]
    opposed = isinstance(a, Preset) and isinstance(b, Preset) and a.opposes == b.name
    return HeldOut(*own, contest=a.contest().pairs if opposed else ())


def calibrate(
    model: SteerableModel, directions: Sequence[Direction], data: HeldOut
) -> Generator[Progress, None, Reader]:
    """Make a reader of one voice or two. Yields `Progress`.

    Raises:
        InputError: fewer than `FEWEST_PROMPTS` held-out prompts of a voice, or an answer that cannot be read.
    """
    sets = (data.a, data.b)[: len(directions)]
    for direction, pairs in zip(directions, sets, strict=True):
        if len({pair.prompt for pair in pairs}) < FEWEST_PROMPTS:
            raise InputError(
                f"Reading the voice {direction.name} takes held-out answers to at least {FEWEST_PROMPTS} prompts: give "
                "a file of contrast pairs that its vector was not made from."
            )
    labelled = [
        (pair.prompt, answer, label)
        for pairs, labels in zip((*sets, data.contest), (("A", "not A"), ("B", "not B"), ("A'", "B'")), strict=False)
        for pair in pairs
        for answer, label in zip((pair.positive, pair.negative), labels, strict=True)
    ]
    projections = yield from _project(model, [(prompt, answer, "") for prompt, answer, _ in labelled], directions)
    return _calibrated(tuple(directions), labelled, projections)


def _calibrated(
    directions: tuple[Direction, ...], labelled: Sequence[tuple[str, str, str]], projections: np.ndarray
) -> Reader:
    """From held-out answers, (prompt, answer, label) each, and what was read of them, [voices, answers]."""
    prompts = [prompt for prompt, _, _ in labelled]
    labels = np.array([label for _, _, label in labelled])
    scales, aucs = [], {}
    for voice, line in zip("AB", projections, strict=False):
        there = labels == voice, labels == f"not {voice}"
        scales.append(Scale.of(*(line[mask] for mask in there)))
        aucs[voice] = auc(line, *there, prompts)
    lean = None
    if len(directions) == 2:
        difference = scales[0](projections[0]) - scales[1](projections[1])
        there = np.isin(labels, ("A", "A'")), np.isin(labels, ("B", "B'"))
        lean = Scale.of(*(difference[mask] for mask in there))
        aucs["A against B"] = auc(difference, *there, prompts)
    reader = Reader(directions, tuple(scales), lean, aucs, {})
    read = np.array([reading.voice for reading in reader.judge(projections)])
    truth = np.array(["neither" if label.startswith("not") else label[0] for label in labels])
    right = {voice: float((read[truth == voice] == voice).mean()) for voice in dict.fromkeys(truth.tolist())}
    return Reader(directions, tuple(scales), lean, aucs, right if reader.trusted else {})


def auc(values: np.ndarray, positive: np.ndarray, negative: np.ndarray, prompts: Sequence[str]) -> Share:
    """Area under the ROC curve: how often one of `positive` answers (a mask) lies above one of the negative ones.

    With a bootstrap 95 % interval over prompts, all of whose answers are drawn together; it is never narrower than the
    exact one of as many coins, since a few answers that are all told apart would have none.
    """
    names = list(dict.fromkeys(compress(prompts, positive | negative)))
    of = np.array([names.index(prompt) if prompt in names else -1 for prompt in prompts])
    above, below = values[positive][:, None], values[negative][None]
    wins = (above > below) + 0.5 * (above == below)
    drawn = np.random.default_rng(0).multinomial(len(names), [1 / len(names)] * len(names), RESAMPLES).astype(float)
    weights = drawn[:, of[positive]], drawn[:, of[negative]]
    total = weights[0].sum(1) * weights[1].sum(1)
    found = ((weights[0] @ wins) * weights[1]).sum(1)[total > 0] / total[total > 0]
    value = float(wins.mean())
    exact = binomtest(round(value * len(names)), len(names)).proportion_ci()
    low, high = np.percentile(found, [2.5, 97.5])
    return Share(value, float(min(low, exact.low)), float(max(high, exact.high)))


def _project(
    model: SteerableModel, said: Sequence[Said], directions: Sequence[Direction]
) -> Generator[Progress, None, np.ndarray]:
    """[voices, answers]: h·v / ‖v‖ of each answer's mean residual stream h; NaN for answers without a token."""
    write = model.tokenizer
    answers = [with_answer(write, begun(write, ask(write, prompt), words), answer) for prompt, answer, words in said]
    there = [i for i, answer in enumerate(answers) if answer.start < len(answer.ids)]
    found = np.full((len(directions), len(said)), np.nan)
    if not there:
        return found
    layers = sorted({model.check_layer(direction.layer) for direction in directions})
    means = yield from read_answers(model, [answers[i] for i in there], layers)
    for voice, direction in enumerate(directions):
        unit = direction.vector.float() / direction.vector.float().norm()
        found[voice, there] = (means[layers.index(direction.layer)] @ unit.cpu()).double().numpy()
    return found


@dataclass(frozen=True)
class Arm:
    """What was written under one condition of `ARMS`.

    shares: of answers by `VOICES`, means over questions; None where the reading is not trusted. repetition: share of
    tokens that end a run of four which the same text has had before. kl: KL(unsteered ‖ steered) in nats, mean over the
    answers; None where the model is told something, whose KL against a model that is not is not known. answers: each
    with its question and its reading.
    """

    name: str
    shares: dict[str, Share] | None
    repetition: float
    kl: float | None
    answers: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Arm":
        """From plain data."""
        shares = kept["shares"] and {voice: Share(**share) for voice, share in kept["shares"].items()}
        return cls(**{**kept, "shares": shares, "answers": tuple(kept["answers"])})


@dataclass(frozen=True)
class Followed:
    """Which voice answers to open questions follow, unsteered, under each voice, and under both.

    reading: see `Reader.summary`. difference: share of A less share of B under both, and `change` that less the same of
    the unsteered model, with intervals over questions; None where the reading is not trusted.
    """

    a: str
    b: str
    reading: dict[str, Any]
    questions: int
    samples: int
    arms: dict[str, Arm]
    difference: Estimate | None
    change: Estimate | None

    @property
    def verdict(self) -> str:
        """What it comes to, in words."""
        if self.reading["doubt"]:
            return self.reading["doubt"]
        both = self.arms["both"].shares
        names = dict(zip(VOICES, (self.a, self.b, *VOICES[2:]), strict=True))
        shares = ", ".join(f"{name} {both[voice]}" for voice, name in names.items())
        found = f"Under both, written answers are read as {shares}."
        if self.questions < FEWEST_PROMPTS:
            return f"{found} {self.questions} questions are too few to tell; give at least {FEWEST_PROMPTS}."
        if not self.difference.is_clear:
            return f"Written answers follow neither voice more than the other: A less B {self.difference}. {found}"
        followed = self.a if self.difference.value > 0 else self.b
        beyond = "" if self.change.is_clear else ", no more than unsteered ones do"
        return f"Written answers follow {followed}{beyond}: A less B {self.difference}. {found}"

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Followed":
        """What `summary` was made of. Raises InputError for anything else."""
        try:
            fields = {name: kept[name] for name in cls.__dataclass_fields__}
            fields["arms"] = {name: Arm.of(arm) for name, arm in kept["arms"].items()}
            fields |= {name: kept[name] and Estimate(**kept[name]) for name in ("difference", "change")}
            return cls(**fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError("The answers that were kept cannot be read.") from error


def follow(
    model: SteerableModel,
    reader: Reader,
    a: Side,
    b: Side,
    questions: Sequence[str],
    samples: int = SAMPLES,
    decoding: Decoding = SAMPLED,
    positions: Positions = AFTER_PROMPT,
    system: str = "",
) -> Generator[Progress | Followed, None, Followed]:
    """Write `samples` answers to each question unsteered, under A, under B and under both; and read them all.

    The answers to one question draw the same random numbers under all four. Yields `Progress`, and what has come after
    some questions.

    Args:
        system: what the model is told by nobody's voice, in all of them.

    Raises:
        InputError: no questions, several samples of what is always the same, or what `generate` raises.
    """
    questions = list(dict.fromkeys(questions))
    if not questions or samples < 1:
        raise InputError("Give at least one open question, and at least one sample of its answer.")
    if samples > 1 and not decoding.temperature:
        raise InputError("At temperature 0 every sample is the same: take one sample, or a temperature above 0.")
    sides = (Side("unsteered"), a, b, a.beside(b))
    count = len(questions) * samples * len(sides)
    progress = Progress(count, "answers", count * 1.25)
    by_arm: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    size = max(1, ROWS.get(model.device.type, ROWS["cpu"]) // (samples * len(sides)))
    for first in range(0, len(questions), size):
        some = [(number, sample) for number in range(len(questions))[first : first + size] for sample in range(samples)]
        calls = []
        for number, sample in some:
            own = replace(decoding, seed=decoding.seed + sample * len(questions) + number)
            calls.append(([row_under(model, questions[number], side, positions, system) for side in sides], own))
        asked = [questions[number] for number, _ in some]
        answers = yield from _answered(model, reader, sides, asked, calls, progress)
        for place, (arm, side) in enumerate(zip(ARMS, sides, strict=True)):
            told = {"kl": None} if side.system else {}
            by_arm[arm] += [answer | told for answer in answers[place :: len(sides)]]
        found = _followed(reader, (a.name, b.name), samples, by_arm)
        yield found
    return found


def _answered(
    model: SteerableModel,
    reader: Reader,
    sides: Sequence[Side],
    questions: Sequence[str],
    calls: Sequence[Call],
    progress: Progress,
) -> Generator[Progress, None, list[dict[str, Any]]]:
    """Answers with their readings and costs, by question and side; a call is a question under every side."""
    rows = [row for rows, _ in calls for row in rows]
    written = yield from within(progress, write_all(model, calls), len(rows))
    texts = [text for call in written for text in call]
    asked = [question for question in questions for _ in sides]
    begins = [side.begin for _ in calls for side in sides]
    read = reader.read(model, asked, [text.text for text in texts], begins)
    readings = yield from within(progress, read, len(rows) / 8)
    weighed = yield from within(progress, costs(model, rows, texts), len(rows) / 8)
    yield progress.reach(progress.cost)
    return [
        {"question": question, "answer": text.text, "repetition": cost.repetition, "kl": cost.kl, **asdict(reading)}
        for question, text, cost, reading in zip(asked, texts, weighed, readings, strict=True)
    ]


def row_under(model: SteerableModel, question: str, side: Side, positions: Positions, system: str = "") -> Row:
    """A text to be written: the answer to a question under a voice."""
    told = "\n".join(filter(None, (system.strip(), side.system)))
    return Row(begun(model.tokenizer, ask(model.tokenizer, question, told), side.begin), side.steers, positions)


def _followed(
    reader: Reader, names: tuple[str, str], samples: int, by_arm: dict[str, list[dict[str, Any]]]
) -> Followed:
    counted = {arm: _counted(answers, samples) for arm, answers in by_arm.items()}
    arms = {
        arm: Arm(
            arm,
            {voice: share_of(line) for voice, line in counted[arm].items()} if reader.trusted else None,
            float(np.mean([answer["repetition"] for answer in answers])),
            _mean([answer["kl"] for answer in answers]),
            tuple(answers),
        )
        for arm, answers in by_arm.items()
    }
    apart = {arm: shares["A"] - shares["B"] for arm, shares in counted.items()}
    found = (apart["both"], apart["both"] - apart["unsteered"]) if reader.trusted else ()
    estimates = [Estimate(float(line.mean()), *interval(line)) for line in found] or [None, None]
    return Followed(*names, reader.summary(), len(by_arm["both"]) // samples, samples, arms, *estimates)


def _counted(answers: Sequence[dict[str, Any]], samples: int) -> dict[str, np.ndarray]:
    """By voice, the share of each question's samples, [questions]."""
    voices = np.array([answer["voice"] for answer in answers], dtype=object).reshape(-1, samples)
    return {voice: (voices == voice).mean(1) for voice in VOICES}


def share_of(values: np.ndarray) -> Share:
    """The mean over questions. Where all agree, the interval is the exact one of as many coins."""
    low, high = interval(values)
    if low == high:
        low, high = binomtest(round(values.mean() * len(values)), len(values)).proportion_ci()
    return Share(float(values.mean()), float(low), float(high))


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that are there."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
