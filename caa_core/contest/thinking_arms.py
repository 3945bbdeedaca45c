"""The arms of an experiment with thoughts: behind which words an answer is given, and which voices are there meanwhile.

For X = nobody, A, B, both, an arm says what its words are written under, what they are read under (the cache that the
answer sees) and what the answer is given under. What is measured is a cell: an answer behind a question and words,
which several arms may have in common. Nothing here runs a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, NamedTuple

from caa_core.contest.thoughts import Thoughts
from caa_core.data.pairs import ContrastPair

NOBODY, A, B, BOTH = range(4)
UNDER = ("nobody", "a", "b", "both")

# What the words are read under, and what the answer is given under.
Under = tuple[int, int]


@dataclass(frozen=True)
class ThinkingArm:
    """What an arm's words are ("X", "nobody": thoughts written under it), and whether X is there while they are read
    and while the answer is given.
    """

    name: str
    words: Literal["none", "X", "nobody", "filler"]
    read: bool
    answered: bool

    @property
    def has_thoughts(self) -> bool:
        return self.words in ("X", "nobody")

    @property
    def writer(self) -> int:
        """What the thoughts are written under that the answers under both voices follow."""
        return NOBODY if self.words == "nobody" else BOTH


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


class AnswerContext(NamedTuple):
    """What an answer is given behind: a question as it is asked, by number, the system prompt, and tokens of words."""

    case: int
    system: str
    words: tuple[int, ...]


class ThinkingCell(NamedTuple):
    """Both answers of a case behind words, with what these are read under and what the answers are given under."""

    context: AnswerContext
    read: int
    answered: int


@dataclass(frozen=True)
class ArmPlan:
    """Which cells an experiment's arms are made of.

    cases: questions as they are asked, and items: of which item each is; see `Items.both_orders`. systems: the system
    prompt by X. samples: thoughts on each case under each X. filler: the token that takes the place of each of a
    thought's. Lists of cells go by `each`, cases with numbers of thoughts.
    """

    cases: tuple[ContrastPair, ...]
    items: tuple[int, ...]
    systems: tuple[str, ...]
    samples: int
    filler: int
    thoughts: Thoughts

    @property
    def each(self) -> list[tuple[int, int]]:
        return [(case, number) for case in range(len(self.cases)) for number in range(self.samples)]

    @property
    def is_prompted(self) -> bool:
        """Whether a voice is a system prompt. Then words and answer are under the same, or there are no words."""
        return self.systems[BOTH] != self.systems[NOBODY]

    @property
    def arms(self) -> list[ThinkingArm]:
        return [arm for arm in ARMS if not self.is_prompted or arm.read == arm.answered]

    @property
    def crossings(self) -> Sequence[Under]:
        return () if self.is_prompted else CROSSINGS

    def written(self, x: int) -> list[tuple[int, ...]]:
        """Tokens of the thoughts under X."""
        return [self.thoughts[self.cases[case].prompt, number, x] for case, number in self.each]

    def cells(self, arm: ThinkingArm, x: int) -> list[ThinkingCell]:
        """An arm's answers under X."""
        words = self.written(NOBODY if arm.words == "nobody" else x)
        if not arm.has_thoughts:
            words = [(self.filler,) * len(ids) if arm.words == "filler" else () for ids in words]
        return self._behind(words, x if arm.read else NOBODY, x if arm.answered else NOBODY)

    def crossed(self, writer: int, answered: int) -> list[ThinkingCell]:
        """Answers under one voice behind words of another that nobody's voice reads."""
        return self._behind(self.written(writer), NOBODY, answered)

    def alone(self, writer: int) -> list[ThinkingCell]:
        """Thoughts as the unsteered model reads them."""
        return self._behind(self.written(writer), NOBODY, NOBODY)

    def _behind(self, words: Sequence[tuple[int, ...]], read: int, answered: int) -> list[ThinkingCell]:
        system = self.systems[answered]
        return [
            ThinkingCell(AnswerContext(case, system, ids), read, answered)
            for (case, _), ids in zip(self.each, words, strict=True)
        ]

    @cached_property
    def needed(self) -> dict[str, set[ThinkingCell]]:
        """By arm, what its numbers are made of."""
        found = {}
        for arm in self.arms:
            alone = [self.alone(x) for x in (NOBODY, BOTH)] if arm.has_thoughts else []
            found[arm.name] = set(chain(*(self.cells(arm, x) for x in range(len(UNDER))), *alone))
        if self.crossings:
            crossed = (self.crossed(*crossing) for crossing in self.crossings)
            found[CROSSED] = set(chain(*crossed, self.alone(A), self.alone(B)))
        return found

    def groups(self) -> dict[tuple[Under, ...], list[AnswerContext]]:
        """All cells, each once, the direct ones first: contexts that are wanted under the same go together. Those whose
        words are read by nobody's voice go apart from the rest, since they are read once.
        """
        cells = [self.cells(arm, x) for arm in self.arms for x in range(len(UNDER))]
        cells += [self.crossed(*crossing) for crossing in self.crossings]
        wanted: dict[tuple[AnswerContext, bool], dict[Under, None]] = {}
        for context, read, answered in chain(*cells):
            wanted.setdefault((context, read != NOBODY), {})[read, answered] = None
        groups: dict[tuple[Under, ...], list[AnswerContext]] = {}
        for (context, _), unders in wanted.items():
            groups.setdefault(tuple(unders), []).append(context)
        return groups
