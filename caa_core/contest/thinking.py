"""Can a model reason its way to one of two voices? Words written, read and answered from, each with and without them.

For X = nobody, A, B, both, an arm says what its words are written under, what they are read under (the cache that the
answer sees) and what the answer is given under. Every answer is forced, behind the same prompt and, where there are
any, the same words: what is written under X is written once. Words are read under X from the prompt's last token, which
their first token is written from, to their last; the answer is given under X in all that follows, so also where its
first token is predicted. Both together are what "after-prompt" steers, with words or without.

m, Δ, D, D₀ and I are those of :mod:`caa_core.contest.contest`; the bootstrap draws prompts, and all letter orders and
thoughts of a prompt move together. "Crossed" has no D: with m(w, s) after the words of w, which nobody's voice reads,
where s steers the answer, W = (m(A, B) - m(B, A)) / (m(A, A) - m(B, B)): +1 the words decide, -1 the vector.
"""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product, takewhile
from typing import Any, Literal

import numpy as np

from caa_core.contest.contest import Contest, by_prompt, conclude, dominance_of
from caa_core.contest.thoughts import ThinkingRequest, Thoughts, corrections, thinking_prompt, write_thoughts
from caa_core.contest.voice import Voice
from caa_core.data.pairs import ContrastPair
from caa_core.errors import InputError
from caa_core.metrics.estimates import FEWEST_PROMPTS, Estimate, estimate
from caa_core.metrics.items import Items
from caa_core.model.loading import SteerableModel
from caa_core.model.prompts import Answer, RenderedPair, after_thought, render, thought_turns, with_answer
from caa_core.progress import Progress
from caa_core.steering.interventions import AFTER_PROMPT, AFTER_THOUGHT, THOUGHT, Positions
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import Steers, score_rendered

NOBODY, A, B, BOTH = range(4)
UNDER = ("nobody", "a", "b", "both")
FILLER = "."
# A probability this close to one half names neither voice.
NAMED = 0.02
TOLD = (
    "What a model is told stands before its words, which cannot be read without it: there is no thinking only, answer "
    "only or crossed."
)


@dataclass(frozen=True)
class ThinkingArm:
    """What an arm's words are ("X", "nobody": thoughts written under it), and whether X is there while they are read
    and while the answer is given.
    """

    name: str
    words: Literal["none", "X", "nobody", "filler"]
    read: bool
    answered: bool


DIRECT, STEERED = ThinkingArm("direct", "none", True, True), ThinkingArm("steered", "X", True, True)
ARMS = (
    DIRECT,
    STEERED,
    ThinkingArm("thinking only", "X", True, False),
    ThinkingArm("answer only", "nobody", False, True),
    ThinkingArm("words alone", "X", False, False),
    ThinkingArm("reread", "nobody", True, True),
    ThinkingArm("filler", "filler", True, True),
)
CROSSED = "crossed"
# Whose words, and who steers the answer.
CROSSINGS = ((A, B), (B, A), (A, A), (B, B))


@dataclass(frozen=True)
class ArmResult:
    """What two voices do in an arm; the numbers are those of `contests.Contest`.

    dominance: None where there is no contest. change: of D against "direct", over the same prompts; None where either
    has none. w: of "crossed" alone. thoughts: how many the answers under both voices followed (in "crossed", under
    either); self_corrections: how many of them correct themselves; disagreements: how many of them the unsteered model
    reads as the other voice's than the answer was. kl: KL(unsteered ‖ both) of the answers behind the same words, in
    nats; repetition: of the words.
    """

    name: str
    delta_a: Estimate | None = None
    delta_b: Estimate | None = None
    delta_ab: Estimate | None = None
    dominance: Estimate | None = None
    additive: float | None = None
    interaction: Estimate | None = None
    change: Estimate | None = None
    w: Estimate | None = None
    thoughts: int = 0
    disagreements: int = 0
    self_corrections: int = 0
    kl: float | None = None
    repetition: float | None = None
    verdict: str = ""

    def summary(self) -> dict[str, Any]:
        """As plain data; `low` and `high` are those of the dominance."""
        found: dict[str, Any] = {"arm": self.name}
        for name, value in vars(self).items():
            if name in ESTIMATES:
                prefix = "" if name == "dominance" else f"{name}_"
                ends = (value.value, value.low, value.high) if value else (None, None, None)
                found |= dict(zip((name, f"{prefix}low", f"{prefix}high"), ends, strict=True))
            else:
                found[name] = value
        return found


ESTIMATES = ("delta_a", "delta_b", "delta_ab", "dominance", "interaction", "change", "w")


@dataclass(frozen=True)
class PromptedThoughts:
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


@dataclass(frozen=True)
class ThinkingResult:
    """A contest in all arms that are known by now, within one budget, and the thoughts as plain data."""

    a: str
    b: str
    prompts: int
    items: int
    budget: ThinkingRequest
    arms: tuple[ArmResult, ...]
    thoughts: tuple[dict[str, Any], ...]
    told: PromptedThoughts | None
    note: str
    verdict: str

    def arm(self, name: str) -> ArmResult | None:
        """What is known of an arm."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def summary(self) -> dict[str, Any]:
        """As plain data, under the names that the command line prints: `arms`, and all the rest in `thinking`."""
        rest = {name: getattr(self, name) for name in ("a", "b", "prompts", "items", "verdict", "note")}
        rest |= {"budget": asdict(self.budget), "told": asdict(self.told) if self.told else None}
        return {"arms": [arm.summary() for arm in self.arms], "thinking": rest | {"thoughts": list(self.thoughts)}}


def reason(
    model: SteerableModel, items: Items, a: Voice, b: Voice, budget: ThinkingRequest | None = None, system: str = ""
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
    budget = budget or ThinkingRequest()
    kept = list(dict.fromkeys(pair.prompt for pair in items.pairs))[: budget.prompts]
    items = items.some([i for i, pair in enumerate(items.pairs) if pair.prompt in kept])
    work = _Experiment(model, items, a, b, budget, system)
    yield from work.write()
    yield work.found()
    yield from work.score()
    yield from work.ask()
    return work.found()


@dataclass(frozen=True)
class _Text:
    """What an answer is given behind: a question as it is asked, by number, what the model is told, and words."""

    case: int
    system: str
    words: tuple[int, ...]


# A text, and the voices that its words are read under and its answer is given under.
ThinkingCell = tuple[_Text, int, int]
Under = tuple[int, int]


@dataclass
class _Experiment:
    """Cases are questions as they are asked: every item, then every other letter order of one.

    known: m and KL of each cell; results: of arms whose cells are known.
    """

    model: SteerableModel
    items: Items
    a: Voice
    b: Voice
    budget: ThinkingRequest
    system: str
    thoughts: Thoughts = field(default_factory=dict)
    known: dict[ThinkingCell, tuple[float, float]] = field(default_factory=dict)
    results: dict[str, ArmResult] = field(default_factory=dict)
    told: PromptedThoughts | None = None

    def __post_init__(self) -> None:
        self.voices = [Voice("nobody", system=self.system)]
        self.voices += [self.voices[0].beside(voice) for voice in (self.a, self.b, self.a.beside(self.b))]
        there = [i for i, swapped in enumerate(self.items.swapped) if swapped]
        self.item_of = [*range(len(self.items.pairs)), *there]
        self.cases: list[ContrastPair] = [*self.items.pairs, *(self.items.swapped[i] for i in there)]
        self.each = [(case, number) for case in range(len(self.cases)) for number in range(self.budget.thoughts)]
        self.filler = self.model.tokenizer(FILLER, add_special_tokens=False).input_ids[-1]
        self.is_told = bool(self.a.system or self.b.system)
        # Words are under the same as the answer, or there are no words, or nothing is told.
        self.arms = [arm for arm in ARMS if not self.is_told or arm.read == arm.answered]

    def write(self) -> Generator[Progress, None, None]:
        """All thoughts; both letter orders of a question have the same random numbers."""
        questions = {pair.prompt: item for pair, item in zip(self.cases, self.item_of, strict=True)}
        self.thoughts = yield from write_thoughts(self.model, questions, self.voices, self.budget)

    def words(self, case: int, number: int, x: int) -> tuple[int, ...]:
        return self.thoughts[self.cases[case].prompt, number, x]

    def cell(self, arm: ThinkingArm, case: int, number: int, x: int) -> ThinkingCell:
        """What an arm's answer under X is measured as."""
        own = self.words(case, number, NOBODY if arm.words == "nobody" else x)
        words = {"none": (), "filler": (self.filler,) * len(own)}.get(arm.words, own)
        return self._cell(case, words, x if arm.read else NOBODY, x if arm.answered else NOBODY)

    def crossing(self, case: int, number: int, words: int, answered: int) -> ThinkingCell:
        return self._cell(case, self.words(case, number, words), NOBODY, answered)

    def _cell(self, case: int, words: tuple[int, ...], read: int, answered: int) -> ThinkingCell:
        return _Text(case, self.voices[answered].system, words), read, answered

    def cells(self) -> list[ThinkingCell]:
        """All that are wanted, each once, the direct ones first."""
        found = [self.cell(arm, *each, x) for arm in self.arms for x in range(len(UNDER)) for each in self.each]
        if not self.is_told:
            found += [self.crossing(*each, *crossing) for crossing in CROSSINGS for each in self.each]
        return list(dict.fromkeys(found))

    def score(self) -> Generator[Progress | ThinkingResult, None, None]:
        """Every cell. Texts that are wanted under the same go together; those whose words are read by nobody's voice
        apart from the rest, since they are read once.
        """
        wanted: dict[tuple[_Text, bool], list[Under]] = {}
        for text, *under in self.cells():
            wanted.setdefault((text, under[0] != NOBODY), []).append(tuple(under))
        groups: dict[tuple[Under, ...], list[_Text]] = {}
        for (text, _), unders in wanted.items():
            groups.setdefault(tuple(unders), []).append(text)
        costs = [sum(len(t.words) + 1 for t in texts) * (len(unders) + 1) for unders, texts in groups.items()]
        progress = Progress(sum(map(len, groups.values())), "texts answered", sum(costs))
        yield progress
        for (unders, texts), cost in zip(groups.items(), costs, strict=True):
            done = progress.cost
            for event in self._score(texts, unders):
                progress.cost = done + cost * event.fraction
                yield progress
            progress.cost = done + cost
            yield progress.advance(len(texts), 0)
            yield self.found()

    def _score(self, texts: Sequence[_Text], unders: Sequence[Under]) -> Generator[Progress, None, None]:
        runs = [self._run(*under) for under in unders]
        pairs = [self._rendered(text) for text in texts]
        scores = yield from score_rendered(
            self.model, pairs, self.items.are_choices, *map(list, zip(*runs, strict=True))
        )
        m, kl = scores.preference[1:].double().numpy(), scores.kl[1:].double().numpy()
        for run, under in enumerate(unders):
            for i, text in enumerate(texts):
                # Against a model that is told less the KL is not known.
                same = text.system == self.system
                self.known[text, *under] = float(m[run, i]), float(kl[run, i]) if same else np.nan

    def _run(self, read: int, answered: int) -> tuple[Steers, Positions]:
        if read == NOBODY:
            return self.voices[answered].steers, AFTER_THOUGHT
        return self.voices[read].steers, AFTER_PROMPT if answered else THOUGHT

    def _rendered(self, text: _Text) -> RenderedPair:
        pair = self.cases[text.case]
        head = thinking_prompt(self.model, pair.prompt, text.system)
        answers = (after_thought(self.model.tokenizer, head, text.words, a) for a in (pair.positive, pair.negative))
        return RenderedPair(*answers)

    def ask(self) -> Generator[Progress, None, None]:
        """Tell the model of both voices, behind the first thought and answer under both to every prompt, and ask it."""
        pairs = [self._question(case, a_first) for case in range(len(self.items.pairs)) for a_first in (True, False)]
        scores = yield from score_rendered(self.model, pairs, True, [self.voices[BOTH].steers], [AFTER_PROMPT])
        named = scores.probability.double().numpy().reshape(2, -1, 2).mean(-1)
        unsteered, steered = by_prompt(self.items, named)
        m = by_prompt(self.items, self._means(STEERED))
        says_a, follows_a = steered > 0.5, 2 * m[BOTH] > m[A] + m[B]
        told = PromptedThoughts(
            probability=estimate(np.mean, steered),
            unsteered=estimate(np.mean, unsteered),
            mass=float(scores.mass[1].mean()),
            prompts=len(steered),
            named_a=int(says_a.sum()),
            followed_a=int(follows_a.sum()),
            agree=int((says_a == follows_a).sum()),
            verdict="",
        )
        self.told = replace(told, verdict=self._said(told))

    def _said(self, told: PromptedThoughts) -> str:
        p, reader = told.probability, told.unsteered
        named = "neither more than the other"
        if abs(p.value - 0.5) >= NAMED and not p.low <= 0.5 <= p.high:
            named = self.a.name if p.value > 0.5 else self.b.name
        return (
            f"Asked which voice it followed, the model names {named}: p of {self.a.name} {p.value:.2f} ({p.low:.2f} to "
            f"{p.high:.2f}); unsteered, reading the same text, {reader.value:.2f}. It names the voice that was "
            f"measured in {told.agree} of {told.prompts} prompts."
        )

    def _question(self, case: int, a_first: bool) -> RenderedPair:
        """Steered from the first prompt's end on, as the text was written. The positive answer names A."""
        tokenizer, pair, system = self.model.tokenizer, self.cases[case], self.voices[BOTH].system
        m, _ = self.known[self.cell(STEERED, case, 0, BOTH)]
        names = (self.a.name, self.b.name) if a_first else (self.b.name, self.a.name)
        asked = (
            f"Two voices pulled at you while you wrote that: {names[0]} and {names[1]}. Which of them did you follow?"
            f"\n\nChoices:\n (A) {names[0]}\n (B) {names[1]}"
        )
        thought = self._decoded(self.words(case, 0, BOTH))
        turns = thought_turns(tokenizer, pair.prompt, thought, pair.positive if m > 0 else pair.negative)
        prompt = render(tokenizer, [*turns, {"role": "user", "content": asked}], system)
        head = thinking_prompt(self.model, pair.prompt, system).ids
        first = len(list(takewhile(lambda ids: ids[0] == ids[1], zip(head, prompt.ids, strict=False))))
        answers = [with_answer(tokenizer, prompt, letter) for letter in ("(A)", "(B)")]
        answers = [Answer(answer.ids, answer.start, answer.merged, answer.start - first) for answer in answers]
        return RenderedPair(*(answers if a_first else reversed(answers)))

    def found(self) -> ThinkingResult:
        """As far as it is known."""
        for arm in self.arms:
            needed = {self.cell(arm, *each, x) for each, x in product(self.each, range(len(UNDER)))}
            if arm.words in ("X", "nobody"):
                needed |= {self._alone(*each, x) for each, x in product(self.each, (NOBODY, BOTH))}
            # Every other arm is compared with the direct one, which is the first.
            comparable = arm is DIRECT or DIRECT.name in self.results
            if comparable and arm.name not in self.results and needed <= self.known.keys():
                self.results[arm.name] = self._result(arm)
        if not self.is_told and CROSSED not in self.results:
            needed = {self.crossing(*each, *crossing) for each, crossing in product(self.each, CROSSINGS)}
            if needed | {self._alone(*each, x) for each, x in product(self.each, (A, B))} <= self.known.keys():
                self.results[CROSSED] = self._crossed()
        prompts = len({pair.prompt for pair in self.items.pairs})
        return ThinkingResult(
            self.a.name,
            self.b.name,
            prompts,
            len(self.items.pairs),
            self.budget,
            tuple(self.results[name] for name in [*(arm.name for arm in ARMS), CROSSED] if name in self.results),
            tuple(self._thought(*each, x) for each in self.each for x in range(len(UNDER))),
            self.told,
            TOLD if self.is_told else "",
            _overall(self.a.name, self.b.name, prompts, self.results),
        )

    def _by_item(self, cells: Sequence[ThinkingCell]) -> np.ndarray:
        """[m and KL, items] of cells that go by `each`: means over thoughts and letter orders."""
        values = (
            np.array([self.known[cell] for cell in cells]).reshape(len(self.cases), self.budget.thoughts, 2).mean(1)
        )
        of = np.array(self.item_of)
        return np.stack([values[of == item].mean(0) for item in range(len(self.items.pairs))], axis=1)

    def _numbers(self, arm: ThinkingArm) -> np.ndarray:
        """[m and KL, X, items]."""
        unders = range(len(UNDER))
        return np.stack([self._by_item([self.cell(arm, *each, x) for each in self.each]) for x in unders], axis=1)

    def _means(self, arm: ThinkingArm) -> np.ndarray:
        return self._numbers(arm)[0]

    def _contest(self, arm: ThinkingArm) -> tuple[Contest, np.ndarray]:
        """What both voices do in an arm, and Δ of A, B and both, [3, prompts]."""
        m, kl = self._numbers(arm)
        by = by_prompt(self.items, m)
        return conclude(self.items, self.a, self.b, m, kl), by[1:] - by[0]

    def _result(self, arm: ThinkingArm) -> ArmResult:
        found, changes = self._contest(arm)
        direct, before = self._contest(DIRECT)
        there = found.contest and found.dominance
        change = None
        if arm is not DIRECT and there and direct.contest and direct.dominance:
            change = estimate(
                lambda *x, axis: dominance_of(*x[:3], axis=axis) - dominance_of(*x[3:], axis=axis), *changes, *before
            )
        verdict = found.verdict
        if there and found.prompts >= FEWEST_PROMPTS:
            verdict = f"The model {self._follows(found.dominance)}: D = {found.dominance}"
            verdict += "." if arm is DIRECT else f"; {self._moved(change)}."
        writer = NOBODY if arm.words == "nobody" else BOTH
        of_words = {}
        if arm.words in ("X", "nobody"):
            of_words = self._counted([(*each, writer, self.cell(arm, *each, BOTH)) for each in self.each])
        return ArmResult(
            arm.name,
            found.delta_a,
            found.delta_b,
            found.delta_ab,
            found.dominance if there else None,
            found.additive if there else None,
            found.interaction,
            change,
            kl=_number(found.kl[2]),
            verdict=verdict,
            **of_words,
        )

    def _crossed(self) -> ArmResult:
        cells = [[self.crossing(*each, *crossing) for each in self.each] for crossing in CROSSINGS]
        ab, ba, aa, bb = m = by_prompt(self.items, np.stack([self._by_item(row)[0] for row in cells]))
        apart = estimate(lambda x, y, axis: (x - y).mean(axis), aa, bb)
        w = estimate(_words_over_vector, ab, ba, aa, bb) if apart.is_clear and apart.value > 0 else None
        if m.shape[1] < FEWEST_PROMPTS:
            verdict = f"{m.shape[1]} prompts are too few to tell; give at least {FEWEST_PROMPTS}."
        elif w is None:
            verdict = (
                f"Words and answer under {self.a.name} cannot be told from both under {self.b.name}, so there is no W."
            )
        elif w.is_clear:
            verdict = f"The {'words decide' if w.value > 0 else 'vectors decide'} more: W = {w}."
        else:
            verdict = f"Neither words nor vectors can be said to decide: W = {w}."
        followed = [(*each, x, self.crossing(*each, x, A + B - x)) for x in (A, B) for each in self.each]
        return ArmResult(CROSSED, w=w, verdict=verdict, **self._counted(followed))

    def _counted(self, answers: Sequence[tuple[int, int, int, ThinkingCell]]) -> dict[str, Any]:
        """What is counted of the thoughts that answers followed: case, number and writer of each, and its answer."""
        alone = [self.known[self._alone(*thought)][0] for *thought, _ in answers]
        texts = [self.words(*thought) for *thought, _ in answers]
        return {
            "thoughts": len(answers),
            "disagreements": sum(m * self.known[answer][0] < 0 for m, (*_, answer) in zip(alone, answers, strict=True)),
            "self_corrections": sum(bool(corrections(self._decoded(ids))) for ids in texts),
            "repetition": float(np.mean([repetition(ids) for ids in texts])),
        }

    def _alone(self, case: int, number: int, x: int) -> ThinkingCell:
        """A thought as the unsteered model reads it."""
        return self._cell(case, self.words(case, number, x), NOBODY, NOBODY)

    def _thought(self, case: int, number: int, x: int) -> dict[str, Any]:
        """As plain data, with m of the unsteered model that reads it, and m where it is read and answered under what it
        was written under; None where they are not known.
        """
        text = self._decoded(self.words(case, number, x))
        alone = self.known.get(self._alone(case, number, x), (None,))[0]
        m = self.known.get(self.cell(STEERED, case, number, x), (None,))[0]
        return {
            "prompt": self.cases[case].prompt,
            "number": number + 1,
            "under": UNDER[x],
            "text": text,
            "corrections": corrections(text),
            "m_alone": alone,
            "m": m,
            "disagrees": None if alone is None or m is None else alone * m < 0,
        }

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.model.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def _follows(self, dominance: Estimate) -> str:
        return _follows(self.a.name, self.b.name, dominance)

    def _moved(self, change: Estimate | None) -> str:
        if not change:
            return "without a thought there is no contest to compare it with"
        if not change.is_clear:
            return f"no change against direct that can be told from 0 ({change})"
        return f"towards {self.a.name if change.value > 0 else self.b.name} against direct ({change})"


def _words_over_vector(ab: np.ndarray, ba: np.ndarray, aa: np.ndarray, bb: np.ndarray, axis: int = -1) -> np.ndarray:
    return (ab - ba).mean(axis) / (aa - bb).mean(axis)


def _number(value: float) -> float | None:
    """None in place of what is no number, which JSON has no word for."""
    return None if np.isnan(value) else float(value)


def _follows(a: str, b: str, dominance: Estimate) -> str:
    return f"follows {a if dominance.value > 0 else b}" if dominance.is_clear else "follows neither"


def _overall(a: str, b: str, prompts: int, arms: dict[str, ArmResult]) -> str:
    """Can it reason its way to one voice? Nothing before it can be said."""
    direct, steered, filler = (arms.get(name) for name in ("direct", "steered", "filler"))
    if not (direct and steered and filler):
        return ""
    if prompts < FEWEST_PROMPTS:
        return f"{prompts} prompts are too few to tell; give at least {FEWEST_PROMPTS}."
    if not direct.dominance:
        return f"Without a thought there is no contest that thinking could settle. {direct.verdict}"
    before = f"Without a thought the model {_follows(a, b, direct.dominance)} (D = {direct.dominance})"
    if not steered.dominance:
        return f"{before}; with one there is no contest any more. {steered.verdict}"
    after = f"{before}, with one it {_follows(a, b, steered.dominance)} (D = {steered.dominance})"
    if not steered.change.is_clear:
        return f"No: thinking makes no change that can be told from 0 ({steered.change}). {after}."
    said = f"Thinking moves it towards {a if steered.change.value > 0 else b} ({steered.change}). {after}."
    if filler.change and filler.change.is_clear:
        way = "the same way" if filler.change.value * steered.change.value > 0 else "the other way"
        return f"{said} Filler of the same length moves it {way} ({filler.change})."
    return f"{said} Filler of the same length does not ({filler.change or 'no contest'})."
