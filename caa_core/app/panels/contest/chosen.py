"""What is chosen of two voices in the Compete tab, and what it stands for on the worker."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch.nn.functional import cosine_similarity

from caa_core.app.made_from import pairs_of
from caa_core.app.panels.common import misfits
from caa_core.app.panels.conversation import Voices, caption
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.contest.decomposition import decompose, shared_part, without_shared
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.limits import PROMPT
from caa_core.metrics.grid import parse_layers
from caa_core.metrics.options import OPERATION, SHARES
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.vectors.vector import SteeringVector

SAME, DIFFERENT = "Same layer", "Different layers"
TOLD, BEGUN = "Vector against prompt", "Vector against words"
KINDS = [SAME, DIFFERENT, TOLD, BEGUN]
NO_SUM = {
    TOLD: "A vector against a prompt is no sum: what comes of both has to be tried.",
    BEGUN: "A vector against words is no sum: what comes of both has to be tried. A is added from those words on.",
}
SEVERAL = "At several layers the voices are no one sum: what comes of both has to be tried."
ONE_VOICE = "A and B are the same vector: choose two."
# Vectors whose cosine is more are one.
ALIKE = 0.9999


@dataclass(frozen=True)
class Chosen:
    """What the controls of both voices hold."""

    vector_a: str
    layer_a: float
    multiplier_a: float
    vector_b: str
    layer_b: float
    multiplier_b: float
    kind: str
    told: str
    begins: str
    apart: bool
    operation_a: str = OPERATION.default
    operation_b: str = OPERATION.default
    spread_a: str = ""
    spread_b: str = ""
    shares: str = SHARES.default

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> "Chosen":
        """From the values of a form that has these among others."""
        return cls(**{one.name: form[one.name] for one in fields(cls) if one.name in form})

    @staticmethod
    def unused(form: Mapping[str, Any]) -> set[str]:
        """What such a contest has no use for, by name."""
        kind = form.get("kind")
        there = {
            SAME: {"vector_b", "multiplier_b", "apart", "operation_b"},
            DIFFERENT: {"vector_b", "multiplier_b", "layer_b", "apart", "operation_b", "spread_b"},
            TOLD: {"told"},
            BEGUN: {"begins"},
        }.get(str(kind), set())
        alone = kind == SAME and form.get("multiplier_a") == form.get("multiplier_b")
        of_b = {"vector_b", "multiplier_b", "layer_b", "told", "begins", "apart", "operation_b", "spread_b"}
        return of_b - there | ({"apart"} if alone else set())

    def where(self, letter: str) -> tuple[float, str]:
        """The layer of a voice, and layers in its place where some are named; in a contest at one layer, those of A."""
        of = "b" if letter == "b" and self.kind == DIFFERENT else "a"
        return getattr(self, f"layer_{of}"), (getattr(self, f"spread_{of}") or "").replace(" ", "")

    @property
    def shares_named(self) -> str:
        """Raises InputError for none of them."""
        return SHARES.value(self.shares)

    @property
    def is_one_voice(self) -> bool:
        """Whether both are the same vector and speak the same way: nothing could come of a contest."""
        vectors = self.kind in (SAME, DIFFERENT)
        return vectors and self.vector_a == self.vector_b and self.speak_alike

    @property
    def speak_alike(self) -> bool:
        """Whether the same is done with both vectors, and the same way."""
        return self.multiplier_a * self.multiplier_b > 0 and self.operation_a == self.operation_b

    @property
    def may_part(self) -> bool:
        """Whether the two may be tried without what they share: of one sum at equal multipliers nothing is left."""
        return self.kind == DIFFERENT or (self.kind == SAME and self.multiplier_a != self.multiplier_b)


def _are_one(a: SteeringVector, b: SteeringVector) -> bool:
    """Whether two vectors are one under two names: at each layer that both have they point the same way."""
    both = a.layers.keys() & b.layers.keys() if a.hidden_size == b.hidden_size else set()
    return bool(both) and all(cosine_similarity(a.at(n), b.at(n), dim=0) > ALIKE for n in both)


@dataclass(frozen=True)
class Voicing:
    """Makes voices of what is chosen: on the worker, since vectors may have to be made first."""

    studio: Studio

    def pair(
        self, model: SteerableModel, session: Session, chosen: Chosen
    ) -> Generator[Progress, None, tuple[Voice, Voice]]:
        """The two voices, where both are vectors. Raises InputError for one vector on both sides."""
        if chosen.is_one_voice:
            raise InputError(ONE_VOICE)
        vector_a = yield from self.studio.vector(model, session, chosen.vector_a)
        vector_b = yield from self.studio.vector(model, session, chosen.vector_b)
        if chosen.speak_alike and _are_one(vector_a, vector_b):
            raise InputError(ONE_VOICE)
        a, b = self._voice(session, vector_a, chosen, "a"), self._voice(session, vector_b, chosen, "b")
        if vector_a.hidden_size != vector_b.hidden_size:
            raise InputError("The two vectors belong to models of different hidden sizes and cannot be compared.")
        return without_shared(a, b) if chosen.apart and chosen.may_part else (a, b)

    def both(
        self, model: SteerableModel, session: Session, chosen: Chosen
    ) -> Generator[Progress, None, tuple[Voice, Voice]]:
        """Voice A; and voice B, or the words that are in its place."""
        if chosen.kind in (SAME, DIFFERENT):
            return (yield from self.pair(model, session, chosen))
        words = ((chosen.told if chosen.kind == TOLD else chosen.begins) or "").strip()
        if not words:
            raise InputError("Write what the model is told, or how its answer begins: these words are voice B.")
        PROMPT.check(len(words))
        vector = yield from self.studio.vector(model, session, chosen.vector_a)
        other = Voice("the prompt", system=words) if chosen.kind == TOLD else Voice("the words", prefill=words)
        return self._voice(session, vector, chosen, "a"), other

    def _voice(self, session: Session, vector: SteeringVector, chosen: Chosen, letter: str) -> Voice:
        """With the pairs of a person's own vector, whose labels are shuffled for controls."""
        layer, several = chosen.where(letter)
        layers = parse_layers(several, self.studio.model.num_layers) if several else [int(layer)]
        multiplier, done = (getattr(chosen, f"{part}_{letter}") for part in ("multiplier", "operation"))
        done, shares = OPERATION.value(done), chosen.shares_named
        voice = Voice.of(vector, layers, float(multiplier), operation=done, shares=shares)
        return replace(voice, made_from=pairs_of(session.person, vector))

    def readers(
        self, model: SteerableModel, session: Session, chosen: Chosen
    ) -> Generator[Progress, None, list[Voice]]:
        """The vectors along which an answer is read: those of the voices; for words, that of B's name at A's layer."""
        a, b = yield from self.both(model, session, chosen)
        if b.vector:
            return [a, b]
        vector = yield from self.studio.vector(model, session, chosen.vector_b)
        layer = a.direction.layer
        fits = vector.hidden_size == len(a.direction.vector) and layer in vector.layers
        return [a, Voice.of(vector, layer, 1.0)] if chosen.kind in (TOLD, BEGUN) and fits else [a]

    def columns(self, model: SteerableModel, session: Session, chosen: Chosen) -> Generator[Progress, None, Voices]:
        """What is added and said in each column: nobody's voice, A's, B's, both, and what both share."""
        a, b = yield from self.both(model, session, chosen)
        steers = [(), a.steers, b.steers, a.steers + b.steers]
        captions = ["", caption(a), caption(b), f"{caption(a)} + {caption(b)}"]
        fit = misfits(model, *(voice.vector for voice in (a, b) if voice.vector))
        if b.vector and max(len(a.steers), len(b.steers)) > 1:
            return Voices(steers, [SEVERAL, *fit], captions=captions)
        if not b.vector:
            return Voices(
                steers,
                [NO_SUM[chosen.kind], *fit],
                ["", "", b.system, b.system],
                ["", "", b.prefill, b.prefill],
                captions,
            )
        if shared := shared_part(a, b):
            steers.append(shared.steers)
            captions.append(caption(shared))
        return Voices(steers, [decompose(a, b).verdict, *fit], captions=captions)
