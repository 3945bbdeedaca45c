"""Which voice a text speaks with, token by token: how far each token of an answer is aligned with A and with B.

The unsteered model reads the answer behind its prompt, so that nothing which steering added is in the numbers.
Alignment is h·v / ‖v‖ (see `views.align`), less its mean over the tokens of the answer that the unsteered model wrote
to the same prompt: 0 is the model's own way of talking.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caa_core.contest.voice import Voice
from caa_core.contest.written import ARMS, row_under
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import Direction
from caa_core.measuring.inspection import MAX_TOKENS, align
from caa_core.metrics.plain_data import plain, restored
from caa_core.model.elsewhere import handed_over
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Prompt, ask, with_answer
from caa_core.progress import Progress, showing
from caa_core.steering.activations import check_here
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import generate
from caa_core.steering.interventions import AFTER_PROMPT, Positions


@dataclass(frozen=True)
class VoiceTrack:
    """One voice over an answer: its name, the layer at which it was read, and a number for each token."""

    name: str
    layer: int
    values: list[float]


@dataclass(frozen=True)
class TokenVoices:
    """An answer, and each voice over it. tokens: as they stand in the text (see `views.Alignment`)."""

    tokens: list[str]
    tracks: list[VoiceTrack]

    @property
    def lead(self) -> list[float]:
        """How far A is ahead of B at each token; A itself where there is no B."""
        first, *others = (np.array(track.values) for track in self.tracks)
        return (first - others[0] if others else first).tolist()

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return plain(self)

    @classmethod
    def of(cls, summary: dict[str, Any]) -> "TokenVoices":
        """What `summary` was made of. Raises InputError for anything else."""
        return restored(cls, summary, "The answer that was")


def run_tokens(
    model: SteerableModel, question: str, a: Voice, b: Voice, positions: Positions = AFTER_PROMPT, system: str = ""
) -> Generator[Progress, None, dict[str, Any]]:
    """Write the greedy answer to a question unsteered, under A, under B and under both, in one batch, and read the last
    one token by token: `TokenVoices.summary` with the question and the answers. `system` is nobody's voice. Yields
    `Progress`.

    Raises:
        InputError: neither voice has a vector to be read along, or what `generate` and `read_voices` raise.
    """
    check_here(model, "Reading an answer token by token")
    directions = [voice.direction for voice in (a, b) if voice.vector]
    if not directions:
        raise InputError("Reading an answer token by token takes a voice with a vector.")
    voices = dict(zip(ARMS, (Voice("unsteered"), a, b, a.beside(b)), strict=True))
    rows = [row_under(model, question, voice, positions, system) for voice in voices.values()]
    progress = Progress(len(rows), "answers", 1)
    texts = yield from showing(generate(model, rows, Decoding()), lambda _: progress)
    answers = {arm: voice.prefill + text.text for (arm, voice), text in zip(voices.items(), texts, strict=True)}
    prompt = ask(model.tokenizer, question, system)
    found = yield from read_voices(model, prompt, answers["both"], answers["unsteered"], directions)
    return {"question": question, "answers": answers, **found.summary()}


@handed_over
def read_voices(
    model: SteerableModel, prompt: Prompt, answer: str, unsteered: str, directions: Sequence[Direction]
) -> Generator[Progress, None, TokenVoices]:
    """Read an answer to a prompt along each of the voices' directions. Yields `Progress`.

    Args:
        unsteered: the answer of the unsteered model to the same prompt, by which 0 is set.

    Raises:
        InputError: an answer without a token, or longer than is looked at here.
    """
    texts = [with_answer(model.tokenizer, prompt, text) for text in (answer, unsteered)]
    limit = min(MAX_TOKENS, model.context_length)
    for text in texts:
        if text.start == len(text.ids):
            raise InputError("There is no answer to read yet; write something first.")
        if len(text.ids) > limit:
            raise InputError(f"The answer with its prompt has {len(text.ids):,} tokens; {limit:,} are read at most.")
    progress = Progress(len(directions), "voices read", len(directions))
    yield progress
    tokens, tracks = [], []
    for voice in directions:
        read = [align(model, Prompt("", text.ids), voice.vector, voice.layer) for text in texts]
        found, own = (
            (one.tokens[text.start :], one.projections[text.start :]) for one, text in zip(read, texts, strict=True)
        )
        tokens = found[0]
        zero = float(np.mean(own[1]))
        tracks.append(VoiceTrack(voice.name, voice.layer, [value - zero for value in found[1]]))
        yield progress.advance(1, 1)
    return TokenVoices(tokens, tracks)
