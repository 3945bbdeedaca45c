"""Which of two voices does a free answer follow? The unsteered model reads it, beside each voice's vector.

An answer's reading for a voice is the residual stream of the *unsteered* model at the voice's layer, mean over the
answer's own tokens, projected on the voice's vector. Held-out answers give it a scale: 1 is a typical answer of this
voice (the mean over its positive answers), -1 a typical plain one (the mean over its negative ones), and 0, halfway
between, is where the voice begins to be heard. Two vectors may share a good part ("emotional"), so between two voices
the difference of their readings counts, the lean: 1 is typical of A's held-out answers, -1 of B's.

An answer is *neither* where no voice is heard, and else A's or B's by its lean, *mixed* where that is within a third of
0. How well a reading separates held-out answers is its AUC; where that is under `TRUSTED`, or its interval does not
leave chance out, or they are of too few prompts, no answer is given to anybody.
"""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import Preset
from caa_core.errors import InputError
from caa_core.limits import PAIRS
from caa_core.metrics.cross_fitting import too_few
from caa_core.metrics.estimates import Share, auc
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import ask, with_answer, with_prefill
from caa_core.progress import Progress
from caa_core.steering.activations import read_answers
from caa_core.vectors.splits import prompts_of

FEWEST_PROMPTS = 4

TRUSTED, CHANCE = 0.8, 0.5

BETWEEN = 1 / 3

VOICES = ("A", "B", "mixed", "neither")

# A question, an answer to it, and words that the answer was begun with.
AnswerText = tuple[str, str, str]


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
class VoiceScore:
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
    intervals are over prompts. accuracy: the share of A's, B's and plain ("neither") held-out answers that are read as
    what they are, by the thresholds that were set on these same answers. prompts: to which a voice's held-out answers
    are, of the voice that has the fewest.
    """

    directions: tuple[Direction, ...]
    scales: tuple[Scale, ...]
    lean: Scale | None
    aucs: dict[str, Share]
    accuracy: dict[str, float]
    prompts: int

    @property
    def trusted(self) -> bool:
        return not self.why_not_trusted

    @property
    def why_not_trusted(self) -> str:
        """Why no answer is given to a voice; empty where nothing stands against it."""
        if lacking := too_few(self.prompts, "held-out prompt"):
            return f"No voice is named: {lacking}."
        weak = {name: auc for name, auc in self.aucs.items() if auc.value < TRUSTED}
        few = {name: auc for name, auc in self.aucs.items() if name not in weak and not auc.low > CHANCE}
        why = [
            f"{what} for {', '.join(self._told(name, auc) for name, auc in group.items())}"
            for what, group in ((f"under {TRUSTED:g}", weak), ("not told from chance", few))
            if group
        ]
        return f"No voice is named: the reading has an AUC {', and '.join(why)}." if why else ""

    def __str__(self) -> str:
        found = ", ".join(self._told(name, auc) for name, auc in self.aucs.items())
        return f"AUC of the reading on held-out answers: {found}."

    def read(
        self, model: SteerableModel, prompts: Sequence[str], answers: Sequence[str], begins: Sequence[str] = ()
    ) -> Generator[Progress, None, list[VoiceScore]]:
        """Read answers to questions, in batches, with the unsteered model. Yields `Progress`.

        Args:
            begins: words that an answer was begun with, which are not its own; they are there, and are not read.

        Raises:
            InputError: an answer that is too long for the model.
        """
        said = zip(prompts, answers, begins or [""] * len(answers), strict=True)
        found = yield from _project(model, list(said), self.directions)
        return self.judge(found)

    def judge(self, projections: np.ndarray) -> list[VoiceScore]:
        """What projections [voices, answers] come to; NaN is an answer without a token."""
        scaled = np.stack([scale(line) for scale, line in zip(self.scales, projections, strict=True)])
        lean = self.lean(scaled[0] - scaled[1]) if self.lean else np.full(scaled.shape[1], np.nan)
        return [
            VoiceScore(
                a=_number(column[0]),
                b=_number(column[1]) if len(column) > 1 else None,
                lean=_number(between),
                voice=self._voice(column, between),
            )
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

    def _told(self, key: str, auc: Share) -> str:
        """One of `aucs` with the voices' own names: "joy against plain answers 0.95 (0.90 to 0.98)"."""
        by_letter = dict(zip("AB", (direction.name for direction in self.directions), strict=False))
        if key in by_letter:
            return f"{by_letter[key]} against plain answers {auc}"
        a, b = by_letter.values()
        return f"{a} against {b} {auc}"

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "voices": [{"name": one.name, "layer": one.layer} for one in self.directions],
            "aucs": {name: asdict(auc) for name, auc in self.aucs.items()},
            "trusted": self.trusted,
            "held_out_read_right": self.accuracy,
            "text": str(self),
            "doubt": self.why_not_trusted,
        }


def held_out(a: Preset | Dataset, b: Preset | Dataset | None = None) -> HeldOut:
    """What ships for presets, or data that somebody gives; presets that oppose each other bring their contest too.

    Raises:
        InputError: it is more than may be read at once.
    """
    own_a, own_b = ((one.test() if isinstance(one, Preset) else one).pairs if one else () for one in (a, b))
    PAIRS.check(max(len(own_a), len(own_b)))
    if isinstance(a, Preset) and isinstance(b, Preset) and a.opposes == b.name:
        return HeldOut(own_a, own_b, a.contest().pairs)
    return HeldOut(own_a, own_b)


def calibrate(
    model: SteerableModel, directions: Sequence[Direction], data: HeldOut
) -> Generator[Progress, None, Reader]:
    """Make a reader of one voice or two. Yields `Progress`.

    Raises:
        InputError: fewer than `FEWEST_PROMPTS` held-out prompts of a voice, or an answer that cannot be read.
    """
    sets = (data.a, data.b)[: len(directions)]
    for direction, pairs in zip(directions, sets, strict=True):
        if len(set(prompts_of(pairs))) < FEWEST_PROMPTS:
            raise InputError(
                f"Reading the voice {direction.name} takes held-out answers to at least {FEWEST_PROMPTS} prompts: give "
                "a file of contrast pairs that its vector was not made from."
            )
    if any(pair.has_context for pairs in (*sets, data.contest) for pair in pairs):
        raise InputError("Answers are read behind their prompts alone: give held-out pairs without system messages.")
    kinds = zip((*sets, data.contest), (("A", "not A"), ("B", "not B"), ("A'", "B'")), strict=False)
    given = [(pair, pair_labels) for pairs, pair_labels in kinds for pair in pairs]
    said = [(pair.prompt, answer, "") for pair, _ in given for answer in (pair.positive, pair.negative)]
    labels = np.array([label for _, pair_labels in given for label in pair_labels])
    prompts = np.repeat(prompts_of([pair for pair, _ in given]), 2)
    projections = yield from _project(model, said, directions)
    return _calibrated(tuple(directions), labels, prompts, projections)


def _calibrated(
    directions: tuple[Direction, ...], labels: np.ndarray, prompts: np.ndarray, projections: np.ndarray
) -> Reader:
    """From the labels of held-out answers and the numbers of their prompts, [answers], and what was read of them,
    [voices, answers].
    """
    scales, aucs, count = [], {}, []
    for voice, line in zip("AB", projections, strict=False):
        there = labels == voice, labels == f"not {voice}"
        scales.append(Scale.of(*(line[mask] for mask in there)))
        aucs[voice] = auc(line, *there, prompts)
        count.append(len(np.unique(prompts[there[0]])))
    lean = None
    if len(directions) == 2:
        difference = scales[0](projections[0]) - scales[1](projections[1])
        there = np.isin(labels, ("A", "A'")), np.isin(labels, ("B", "B'"))
        lean = Scale.of(*(difference[mask] for mask in there))
        aucs["A against B"] = auc(difference, *there, prompts)
    reader = Reader(directions, tuple(scales), lean, aucs, {}, min(count))
    read = np.array([reading.voice for reading in reader.judge(projections)])
    truth = np.array(["neither" if label.startswith("not") else label[0] for label in labels])
    accuracy = {voice: float((read[truth == voice] == voice).mean()) for voice in dict.fromkeys(truth.tolist())}
    return replace(reader, accuracy=accuracy if reader.trusted else {})


def _project(
    model: SteerableModel, said: Sequence[AnswerText], directions: Sequence[Direction]
) -> Generator[Progress, None, np.ndarray]:
    """[voices, answers]: h·v / ‖v‖ of each answer's mean residual stream h; NaN for answers without a token."""
    write = model.tokenizer
    answers = [
        with_answer(write, with_prefill(write, ask(write, prompt), words), answer) for prompt, answer, words in said
    ]
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


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
