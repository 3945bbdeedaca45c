"""Where should steering apply? A gate's threshold, and how often it is wrong on texts that its vector did not see.

A gate decides token by token. A text counts as open where the gate is open at more than half of the tokens that would
be steered in it: its score, by which the threshold is chosen, is the median of their projections h·v / ‖v‖ (of two in
the middle the lower one). The texts are dealt into halves that have no prompt in common. On one the threshold is
chosen; on the other, which neither threshold nor vector saw, mistakes are counted, once a text.

The unsteered model reads them: a gate lies no higher than what is steered, so that both see the same.
"""

import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import pairs_behind
from caa_core.errors import InputError
from caa_core.measuring.inspection import align_answer
from caa_core.measuring.requests import GateRequest
from caa_core.metrics.estimates import Share, auc, share_of
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Answer, Prompt, ask_pair, with_answer
from caa_core.progress import Progress
from caa_core.steering.activations import check_here
from caa_core.steering.batching import batches, budget, in_halves
from caa_core.steering.interventions import Gate, Positions
from caa_core.steering.pair_rows import PairRow, check_attention_mask, inputs_of
from caa_core.steering.passes import watch
from caa_core.steering.plan import Plan
from caa_core.vectors.splits import prompts_of
from caa_core.vectors.vector import SteeringVector

# Texts of a side by which error rates are judged, and by which a threshold can be chosen, at least.
ENOUGH_TEXTS, FEWEST_TEXTS = 50, 4

CHANCE = 0.5

# Of two sides: where steering should apply, and where it should not.
APPLIES, ELSEWHERE = "applies", "elsewhere"


@dataclass(frozen=True)
class GateFound:
    """A gate's threshold, chosen on some texts, and what it does in others.

    chosen_on, judged_on: how many texts of other prompts there were of each side, those where steering should apply
    first. auc: how often a text where it should apply scores above one where it should not. false_open: the share of
    texts where it should not apply in which the gate is open; false_shut: of those where it should in which it is not;
    each with the exact interval (Clopper-Pearson) of one coin a prompt. open_tokens: at which share of the tokens it is
    open in texts of each side, with intervals over prompts. left_out: texts on whose prompts the vector was made.
    seen_known: whether it is known which those are. scores: of the texts that were judged, by side.
    """

    vector: str
    layer: int
    positions: str
    threshold: float
    chosen_on: tuple[int, int]
    judged_on: tuple[int, int]
    auc: Share
    false_open: Share
    false_shut: Share
    open_tokens: tuple[Share, Share]
    left_out: int
    seen_known: bool
    scores: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Any) -> "GateFound":
        """From a `summary`. Raises InputError for anything else."""
        return restored(cls, kept, "The gate that was")

    @property
    def is_judged(self) -> bool:
        """Whether there were texts enough for its error rates."""
        return min(self.judged_on) >= ENOUGH_TEXTS

    @property
    def can_tell(self) -> bool:
        """Whether it tells the two sides apart, and the right way round."""
        return self.auc.low > CHANCE

    def spec(self, source: str) -> str:
        """As it is typed: SOURCE:LAYER:THRESHOLD."""
        return f"{source}:{self.layer}:{self.threshold:g}"

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {**plain(self), "judged": self.is_judged, "can_tell": self.can_tell, "text": str(self)}

    def _verdict(self) -> str:
        if not self.is_judged:
            return (
                f"Not judged: {min(self.judged_on)} texts of a side are too few for error rates, which take at least "
                f"{ENOUGH_TEXTS} that neither threshold nor vector saw."
            )
        if self.can_tell:
            return "It tells them apart, as far as these rates say."
        if self.auc.high < CHANCE:
            return "It tells them apart the wrong way round: take the opposite of the vector."
        return "It cannot tell them apart: the interval of its AUC holds 0.5, which is chance."

    def __str__(self) -> str:
        lines = [
            f"{self.vector} at layer {self.layer} opens above {self.threshold:g}, chosen on {self.chosen_on[0]} texts "
            f"where steering should apply and {self.chosen_on[1]} where it should not.",
            f"In {self.judged_on[0]} and {self.judged_on[1]} others, one decision a text: AUC {self.auc}; open where "
            f"it should not be in {self.false_open}, shut where it should be open in {self.false_shut}.",
            f"Of their tokens it is open at {self.open_tokens[0]} and {self.open_tokens[1]}.",
            self._verdict(),
        ]
        if self.left_out:
            lines.append(f"Left out: {self.left_out} texts on whose prompts the vector was made.")
        if not self.seen_known:
            lines.append("From which texts the vector was made is not known, so it may have seen some of these.")
        return "\n".join(lines)


def sides_of(data: Dataset) -> dict[str, tuple[ContrastPair, ...]]:
    """Contrast pairs as texts of both sides: positive answers behind their prompts, and negative ones."""
    other = [
        replace(pair, prompt=pair.negative_prompt or pair.prompt, positive=pair.negative, negative=pair.positive)
        for pair in data.pairs
    ]
    return {APPLIES: data.pairs, ELSEWHERE: tuple(other)}


def messages(texts: Sequence[str]) -> tuple[ContrastPair, ...]:
    """Texts without answers: what a person says."""
    return tuple(ContrastPair(text, "", "", line) for line, text in enumerate(texts, 1))


@handed_over
def calibrate_gate(
    model: SteerableModel, request: GateRequest, vector: SteeringVector
) -> Generator[Progress, None, GateFound]:
    """Choose a threshold, and count mistakes. Yields `Progress` over the texts.

    Raises:
        InputError: fewer than `FEWEST_TEXTS` of a side to choose by or to judge by, a text that stands on both sides,
            or in which nothing would be steered, or that is too long; a layer that model or vector do not have.
    """
    check_here(model, "Calibrating a gate")
    layer = model.check_layer(request.layer)
    direction, made_from = vector.at(layer), request.made_from or pairs_behind(vector.provenance)
    texts, sides = _texts(request)
    fresh, prompts = _unseen(texts, made_from)
    halves = _halves(texts, sides, prompts, fresh)
    of_half = [{side: [i for i in half if sides[i] == side] for side in (APPLIES, ELSEWHERE)} for half in halves]
    chosen_on, judged_on = (_counted(half, prompts) for half in of_half)
    if (fewest := min(*chosen_on, *judged_on)) < FEWEST_TEXTS:
        raise InputError(
            f"A gate takes at least {2 * FEWEST_TEXTS} texts of each side that its vector was not made from, half of "
            f"them to choose by, half to judge by; a half of these has {fewest}."
        )
    found = yield from projections(model, texts, direction, layer, request.positions)
    applies, elsewhere = (_scores(found, of_half[0][side]) for side in (APPLIES, ELSEWHERE))
    threshold = chosen_threshold(applies, elsewhere, request.false_open)
    return GateFound(
        vector=vector.name,
        layer=layer,
        positions=str(request.positions),
        threshold=threshold,
        chosen_on=chosen_on,
        judged_on=judged_on,
        **_judged(found, of_half[1], np.array(prompts), threshold),
        left_out=len(texts) - len(fresh),
        seen_known=made_from is not None,
    )


def chosen_threshold(applies: np.ndarray, elsewhere: np.ndarray, false_open: float | None = None) -> float:
    """Between scores of both sides, where the mean of both shares of right decisions is largest (of several such places
    in the widest gap); or the lowest above which there is no larger share of `elsewhere` than `false_open`.
    """
    there = np.unique(np.concatenate([applies, elsewhere]))
    beyond = float(np.ptp(there)) or 1.0
    tried = np.concatenate([[there[0] - beyond], (there[:-1] + there[1:]) / 2, [there[-1] + beyond]])
    right, wrong = ((side[None] > tried[:, None]).mean(1) for side in (applies, elsewhere))
    if false_open is None:
        gaps = np.concatenate([[0.0], np.diff(there), [0.0]])
        place = max(range(len(tried)), key=lambda i: (round(right[i] - wrong[i], 9), gaps[i]))
    else:
        place = int(np.argmax(wrong <= false_open))
    return float(f"{tried[place]:.4g}")


def projections(
    model: SteerableModel, texts: Sequence[ContrastPair], vector: torch.Tensor, layer: int, positions: Positions
) -> Generator[Progress, None, list[np.ndarray]]:
    """h·v / ‖v‖ at the tokens of each text that would be steered, read by the unsteered model: [tokens] each. A text is
    a pair's prompt with its positive answer. Yields `Progress`.
    """
    check_attention_mask(model)
    answers = [_answer(model, pair) for pair in texts]
    spans = [slice(*positions.span(answer.prompt_length)) for answer in answers]
    rows = [PairRow.of_one(answer.ids) for answer in answers]
    for number, (row, span) in enumerate(zip(rows, spans, strict=True), 1):
        row.check(model, f"Text {number}")
        if not row.ids[span]:
            raise InputError(f"At the positions {positions} no token of text {number} would be steered: choose others.")
    unit = torch.nn.functional.normalize(vector.float(), dim=0).cpu()
    found = [np.empty(0)] * len(texts)
    progress = Progress(len(rows), "texts read", sum(row.length for row in rows))
    yield progress

    def read(batch: list[int]) -> Iterator[Progress]:
        inputs = inputs_of(model, [rows[i] for i in batch])
        unsteered = Plan([()] * len(batch), [positions] * len(batch), [answers[i].prompt_length for i in batch])
        for i, stream in zip(batch, watch(model, inputs, unsteered, [layer])[0], strict=True):
            found[i] = (stream[: rows[i].length][spans[i]] @ unit).double().numpy()
        yield progress.advance(len(batch), sum(rows[i].length for i in batch))

    for batch in batches(rows, budget(model)):
        yield from in_halves(batch, read)
    return found


def opened(model: SteerableModel, prompt: Prompt, answer: str, gate: Gate) -> dict[str, Any]:
    """Where a gate is open in an answer: its tokens, their projections, and whether it is open there, as plain data."""
    found = align_answer(model, prompt, answer, gate.vector, gate.layer)
    along = found.projections
    return {"tokens": found.tokens, "projections": along, "open": [one > gate.threshold for one in along]}


def _answer(model: SteerableModel, pair: ContrastPair) -> Answer:
    prompt = ask_pair(model.tokenizer, pair)
    if not pair.positive:
        return Answer(prompt.ids, len(prompt.ids), False)
    return with_answer(model.tokenizer, prompt, pair.positive)


def _texts(request: GateRequest) -> tuple[list[ContrastPair], list[str]]:
    """The texts of both sides, and the side of each."""
    given = {APPLIES: request.applies, ELSEWHERE: request.elsewhere}
    both = {(pair.prompt, pair.positive) for pair in request.applies}
    if twice := [pair for pair in request.elsewhere if (pair.prompt, pair.positive) in both]:
        raise InputError(f"{len(twice)} texts stand on both sides, such as {twice[0].prompt[:60]!r}: leave them out.")
    return [pair for texts in given.values() for pair in texts], [side for side in given for _ in given[side]]


def _unseen(texts: Sequence[ContrastPair], made_from: Dataset | None) -> tuple[list[int], list[int]]:
    """Indices of the texts on whose prompts the vector was not made, and the number of each one's prompt."""
    own = made_from.pairs if made_from else ()
    numbers = prompts_of([*own, *texts])
    seen, prompts = set(numbers[: len(own)]), numbers[len(own) :]
    return [i for i, prompt in enumerate(prompts) if prompt not in seen], prompts


def _halves(
    texts: Sequence[ContrastPair], sides: Sequence[str], prompts: Sequence[int], some: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Indices of some texts in two halves without a common prompt, alike in length and in what they have of each side.
    The second is not the smaller one.
    """
    members: dict[int, list[int]] = {}
    for index in some:
        members.setdefault(prompts[index], []).append(index)
    strata: dict[tuple[str, ...], list[list[int]]] = {}
    for indices in members.values():
        strata.setdefault(tuple(sorted(sides[i] for i in indices)), []).append(indices)
    halves: tuple[list[int], list[int]] = [], []
    drawn = random.Random(0)  # what comes back in a file at every so many lines must not all be in one half
    for stratum in strata.values():
        drawn.shuffle(stratum)
        stratum.sort(key=lambda indices: sum(len(texts[i].prompt) + len(texts[i].positive) for i in indices))
        for number, indices in enumerate(stratum):
            halves[1 - number % 2].extend(indices)
    return halves


def _counted(half: Mapping[str, list[int]], prompts: Sequence[int]) -> tuple[int, int]:
    """How many prompts the texts of each side in a half have."""
    return len({prompts[i] for i in half[APPLIES]}), len({prompts[i] for i in half[ELSEWHERE]})


def _scores(found: Sequence[np.ndarray], indices: Sequence[int]) -> np.ndarray:
    """Of each text what more than half of its tokens have to lie above for it to be above."""
    return np.array([np.sort(found[i])[(len(found[i]) - 1) // 2] for i in indices])


def _judged(
    found: Sequence[np.ndarray], half: Mapping[str, list[int]], prompts: np.ndarray, threshold: float
) -> dict[str, Any]:
    """What the gate does in one half of the texts, indices of which are given by side."""
    scores = {side: _scores(found, some) for side, some in half.items()}
    of = {side: prompts[some] for side, some in half.items()}
    is_open = {side: (one > threshold).astype(float) for side, one in scores.items()}
    tokens = {side: np.array([(found[i] > threshold).mean() for i in some]) for side, some in half.items()}
    positive = np.repeat([True, False], [len(one) for one in scores.values()])
    return {
        "auc": auc(np.concatenate([*scores.values()]), positive, ~positive, np.concatenate([*of.values()])),
        "false_open": share_of(is_open[ELSEWHERE], of[ELSEWHERE]),
        "false_shut": share_of(1 - is_open[APPLIES], of[APPLIES]),
        "open_tokens": (share_of(tokens[APPLIES], of[APPLIES]), share_of(tokens[ELSEWHERE], of[ELSEWHERE])),
        "scores": {side: one.tolist() for side, one in scores.items()},
    }
