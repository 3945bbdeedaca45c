"""What is asked of one vector, declared once an experiment: evaluation, knowledge, open questions, study, inspection.

Nothing in here needs torch, so that the command line says what there is to choose without it.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.measuring.study_results import AS_IS, ASKED, StudyArm
from caa_core.metrics.grid import check_multipliers, number, parse_layers
from caa_core.metrics.options import (
    CONTROLS,
    COUNTS,
    CUE,
    ESTIMATED_CONTROLS,
    LAYER,
    LAYERS,
    MULTIPLIER,
    MULTIPLIERS,
    NEW_TOKENS,
    OPERATION,
    PAPER_COUNTING,
    POSITIONS,
    SEED,
    SHARES,
    SPREAD,
    SYSTEM,
    TEMPERATURE,
    TOGETHER,
    none_or,
    positions_of,
    text,
)
from caa_core.metrics.requests import Option, Request, option
from caa_core.model.prompts import Cue
from caa_core.steering.decoding import Decoding
from caa_core.steering.interventions import POSITIONS as RULES
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.steering.read_position import RULES as READ_RULES
from caa_core.vectors.spread import spread

if TYPE_CHECKING:
    from caa_core.vectors.vector import SteeringVector

# Ranges of a vector's layers that have a name.
ALL, MIDDLE, EVERY_THIRD = "all", "middle third", "every third"
# With so many exact controls of each kind, what lies beyond all of them has p = 0.05 both ways.
FEWEST = 39
MOST_QUESTIONS = 500
# Levels of a study where none are given. The instruction asks for a letter, and "(" begins one.
STUDY_POSITIONS = ("last-prompt", "index:-2", "all", "after-prompt", "generated", "prompt")
STUDY_READS = ("auto", "answer-mean", "last", "last-prompt", "-2")
STUDY_CUES, CUES_WITHOUT_LETTERS = ("none", "Answer:", "(", "instruction"), ("none", "Answer:")

MOST_WORDINGS, LONGEST_WORDING = 3, 1000


def wordings_of(typed: str | Sequence[str] | None) -> tuple[str, ...]:
    """System prompts that stand in a list, or one a line."""
    lines = typed.splitlines() if isinstance(typed, str) else typed or ()
    found = tuple(dict.fromkeys(filter(None, map(text, lines))))
    if len(found) > MOST_WORDINGS:
        raise InputError(f"{len(found)} system prompts are too many to stand beside a vector; {MOST_WORDINGS} at most.")
    if any(len(one) > LONGEST_WORDING for one in found):
        raise InputError(f"A system prompt that stands beside a vector has at most {LONGEST_WORDING} characters.")
    return found


PROMPTS = Option(
    label="Beside system prompts",
    default=False,
    parse=bool,
    help="also what system prompts for the same behaviour do, alone and with the vector",
    info="What asking for the behaviour in a system prompt does, alone and with the vector: three wordings.",
    off="nothing of what system prompts for the same behaviour do",
)
BY_METHODS = Option(
    label="Beside other methods",
    default=False,
    parse=bool,
    help="also what vectors that other methods make of the same pairs do on the same cells, and at what cost",
    info="What PCA, a probe and one pair alone make of the same pairs, on the same cells: in Effect by cost.",
)
TOLD = Option(
    label="System prompts of your own beside it",
    default=(),
    parse=wordings_of,
    help="a system prompt to stand beside the vector in place of the preset's; up to three times",
    info="One a line, at most three, in place of the preset's.",
    metavar="TEXT",
)
EXACT_CONTROLS = Option(
    label="Exact controls of each kind",
    default=0,
    parse=none_or(FEWEST, "exact controls"),
    help=f"so many by passes of the model too, at least {FEWEST}: slow",
    info=f"Scored as the vector is: slow. 0, or at least {FEWEST}; the verdict must not be contradicted by them.",
    metavar="N",
)


def false_open_of(typed: str | float | None) -> float | None:
    """A share of texts; None where nothing was typed."""
    if typed is None or typed == "":
        return None
    if not 0 <= (found := number(typed, "The share of false openings")) < 1:
        raise InputError(f"The share of false openings must be from 0 to below 1, such as 0.05, not {found:g}.")
    return found


FALSE_OPEN = Option(
    label="False openings",
    default="",
    parse=false_open_of,
    help="open in no larger share of the texts where steering should not apply, such as 0.05; by default as many "
    "texts as can be are decided rightly",
    info="Of the texts where it should not apply, such as 0.05. Empty: as few mistakes as can be.",
    metavar="SHARE",
)
EQUAL_COST = Option(
    label="Random vectors at equal cost",
    default=False,
    parse=bool,
    help="random vectors beside refusals as strong as cost the same KL, not of the same norm",
    info="As strong as cost the same KL in plain answers, not of the same norm.",
)


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest(Request):
    """What is asked of a vector.

    data: the test items. made_from: the pairs of the vector, whose labels are shuffled for controls; where None, those
    of the preset that the vector says it was made from. layers: as the person wrote it, since what it means depends on
    vector and model.
    """

    data: Dataset
    made_from: Dataset | None = None
    layers: str = option(
        LAYERS,
        choices=(ALL, MIDDLE, EVERY_THIRD),
        help="all that the vector has, or such as 10,12-15",
        info="Such as 10,12-15",
    )
    multipliers: tuple[float, ...] = option(
        MULTIPLIERS, choices=(MULTIPLIERS.default, "-1,1", "-3,-2,-1.5,-1,-0.5,0.5,1,1.5,2,3")
    )
    positions: Positions = option(POSITIONS)
    cue: Cue = option(CUE)
    paper_counting: bool = option(PAPER_COUNTING)
    counts: bool = option(COUNTS)
    controls: int = option(ESTIMATED_CONTROLS)
    exact_controls: int = option(EXACT_CONTROLS)
    prompts: bool = option(PROMPTS)
    told: tuple[str, ...] = option(TOLD)
    operation: Operation = option(OPERATION)
    by_methods: bool = option(BY_METHODS)
    together: bool = option(TOGETHER)
    shares: str = option(SHARES)

    @property
    def is_estimated(self) -> bool:
        """Whether estimates are asked for, which hold for addition at one layer alone."""
        return bool(self.controls) and self.operation.is_addition and not self.together

    @property
    def beside_prompts(self) -> bool:
        """Whether system prompts are asked for."""
        return self.prompts or bool(self.told)

    def layers_known(self, num_layers: int) -> list[int] | None:
        """Those that were given as numbers; None for a range of the vector's. Raises InputError for anything else."""
        return None if self.layers in (ALL, MIDDLE, EVERY_THIRD) else parse_layers(self.layers, num_layers)

    def layers_of(self, vector: "SteeringVector", num_layers: int) -> list[int]:
        """Which layers are meant. Raises InputError where there are none."""
        numbered = self.layers_known(num_layers)
        if numbered is not None:
            return numbered
        there = list(vector.layers)
        if self.layers == EVERY_THIRD:
            there = there[1::3] or there
        if self.layers == MIDDLE:
            there = [layer for layer in there if num_layers <= 3 * layer < 2 * num_layers]
        if not there:
            raise InputError(f"The vector {vector.name} has no layer in the {self.layers}: choose all, or numbers.")
        return there


@dataclass(frozen=True, kw_only=True)
class AtLayers(Request):
    """What is done with one vector. layer: where, unless several are named in `spread`. shares: of each multiplier,
    where there are several.
    """

    layer: int = option(LAYER)
    operation: Operation = option(OPERATION)
    spread: tuple[int, ...] = option(SPREAD)
    shares: str = option(SHARES)

    @property
    def layers(self) -> tuple[int, ...]:
        """At all of which it is steered at once."""
        return self.spread or (self.layer,)

    def steers(self, vector: "SteeringVector", multiplier: float = 1.0) -> tuple[Steer, ...]:
        """Raises what `vectors.spread` raises."""
        return spread(vector, self.layers, multiplier, self.operation, self.shares)


@dataclass(frozen=True, kw_only=True)
class KnowledgeRequest(AtLayers):
    """What is answered, and how. data: questions whose matching answers are the right ones. controls: random vectors of
    the same norm beside each multiplier; 0 for none. Raises InputError for data with no answers to choose from.
    """

    data: Dataset
    layer: int = option(LAYER, help="")
    multipliers: tuple[float, ...] = option(MULTIPLIERS, default="-1,1", help="such as --multipliers=-1,1", info="")
    positions: Positions = option(POSITIONS, help="where the vector is added in the questions")
    controls: int = option(
        CONTROLS,
        label="Random vectors",
        help="so many random vectors",
        info="Of the same norm, beside each multiplier: how far they move right answers.",
        off="",
    )

    def __post_init__(self) -> None:
        if not all(pair.is_choice for pair in self.data.pairs):
            raise InputError(
                f"{self.data.name} is no test of knowledge: its answers must be letters such as (A) and (B), or Yes "
                "and No, with the right one as the matching answer."
            )


@dataclass(frozen=True, kw_only=True)
class RefusalsRequest(AtLayers):
    """How refusals are counted. controls: random vectors beside each multiplier, 0 for none; of the same norm, or with
    equal_cost as strong as cost the same in plain answers.
    """

    layer: int = option(LAYER, help="")
    multipliers: tuple[float, ...] = option(MULTIPLIERS, default="1", info="")
    positions: Positions = option(POSITIONS)
    controls: int = option(CONTROLS, default=9, label="Random vectors", info="Of the same norm.", off="")
    equal_cost: bool = option(EQUAL_COST)


@dataclass(frozen=True, kw_only=True)
class GateRequest(Request):
    """What a gate is calibrated on. applies, elsewhere: texts where steering should apply and where it should not, each
    a pair's prompt with its positive answer, or without one. made_from: the pairs of its vector; where None, those of
    the preset that the vector says it was made from. positions: which tokens are read, those that would be steered.
    false_open: the largest share of `elsewhere` in which it may be open; None for as few mistakes as can be.
    """

    applies: tuple[ContrastPair, ...]
    elsewhere: tuple[ContrastPair, ...]
    made_from: Dataset | None = None
    layer: int = option(LAYER)
    positions: Positions = option(POSITIONS, help="which tokens are read: those that would be steered")
    false_open: float | None = option(FALSE_OPEN)


@dataclass(frozen=True, kw_only=True)
class OpenQuestionsRequest(AtLayers):
    """What is asked, each question once, and how it is answered. layer: at which answers are read, too. multipliers: in
    rising order, with 0.
    """

    questions: tuple[str, ...]
    multipliers: tuple[float, ...] = option(
        MULTIPLIERS,
        choices=(MULTIPLIERS.default, "0,0.5,1,1.5,2", "-1,0,1"),
        info="Such as -1,1; 0 is always there",
    )
    positions: Positions = option(POSITIONS)
    system: str = option(SYSTEM)
    max_new_tokens: int = option(NEW_TOKENS, default=64)
    temperature: float = option(TEMPERATURE)
    seed: int = option(SEED)

    def __post_init__(self) -> None:
        object.__setattr__(self, "questions", tuple(dict.fromkeys(self.questions)))
        if not 0 < len(self.questions) <= MOST_QUESTIONS:
            raise InputError(f"Give between 1 and {MOST_QUESTIONS} open questions, not {len(self.questions)}.")
        object.__setattr__(self, "multipliers", tuple(check_multipliers([0.0, *self.multipliers])))
        Decoding(self.max_new_tokens, self.temperature, self.seed)

    def decoding(self, question: str) -> Decoding:
        """How a question is answered: with random numbers of its own, whichever others are asked."""
        return Decoding(self.max_new_tokens, self.temperature, self.seed + self.questions.index(question))


def _levels(parse: Callable[[str], Any]) -> Callable[[str | Sequence[str]], tuple[str, ...]]:
    """A parser of levels, which stand in a list or with commas between."""

    def levels(typed: str | Sequence[str]) -> tuple[str, ...]:
        return tuple(str(parse(level)) for level in (typed.split(",") if isinstance(typed, str) else typed) if level)

    return levels


def _cue_name(text: str) -> str:
    """A level as it is shown: the name of the instruction, not its words."""
    cue = Cue.parse(text)
    return "instruction" if cue.instruction else str(cue)


def way_to_ask(typed: str) -> str:
    """One of `ASKED`. Raises InputError for anything else."""
    if typed.strip() not in ASKED:
        raise InputError(f"There is no way to ask called {typed[:60]!r}: there are {', '.join(ASKED)}.")
    return typed.strip()


@dataclass(frozen=True, kw_only=True)
class StudyRequest(Request):
    """What is compared: the base's level of each factor is always among them.

    pairs: what vectors are made from, anew for each read position. items: what is measured. layers: as the person wrote
    them. Levels are as `Positions.parse`, `ReadPosition.parse` and `Cue.parse` take them; where none are given, all
    that make sense with this data. full: every combination, in place of one factor at a time around the base. controls:
    by exact passes, of each kind for each arm, with its norm: vectors drawn at random, and made from the pairs with
    shuffled labels at its read position. What is called an effect lies beyond all of them. 0: no verdicts.
    """

    pairs: Dataset
    items: Dataset
    layers: str = option(
        LAYERS,
        label="Layer",
        flag="--layer",
        metavar="LAYER",
        help="one, or a few such as 10,12",
        info="One, or a few: 10,12",
        required=True,
    )
    multipliers: tuple[float, ...] = option(
        MULTIPLIERS, default="-1,1", help="such as --multipliers=-1,1", info="Commas between"
    )
    positions: tuple[str, ...] = option(
        Option(
            label="Steered positions",
            default="",
            parse=_levels(positions_of),
            help="steered positions with commas between; all by default",
            choices=tuple(dict.fromkeys([*STUDY_POSITIONS, *RULES])),
        )
    )
    reads: tuple[str, ...] = option(
        Option(
            label="Read positions",
            default="",
            parse=_levels(ReadPosition.parse),
            help="read positions with commas between; all that make sense by default",
            choices=tuple(dict.fromkeys([*STUDY_READS, *READ_RULES])),
        )
    )
    cues: tuple[str, ...] = option(
        Option(
            label="Answer cues",
            default=(),
            parse=_levels(_cue_name),
            help="how answers begin, or 'instruction'",
            info="None chosen: those that make sense for the items",
            choices=CUE.choices,
            flag="--cue",
            metavar="TEXT",
        )
    )
    asked: tuple[str, ...] = option(
        Option(
            label="Asked otherwise",
            default=(),
            parse=_levels(way_to_ask),
            help=f"other ways to ask the same, with commas between: {', '.join(ASKED[1:])}. Does the effect hold?",
            info="Does the effect hold? In other words: the presets' items alone",
            choices=ASKED[1:],
            metavar="WAYS",
        )
    )
    full: bool = option(
        Option(
            label="Every combination",
            default=False,
            parse=bool,
            help="every combination, not one factor at a time",
        )
    )
    controls: int = option(
        CONTROLS,
        help="so many random vectors for each, and as many shuffled",
        info="By exact passes: random vectors, and as many from shuffled labels. 0: no verdicts.",
        off="",
    )
    operation: Operation = option(OPERATION)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", tuple(dict.fromkeys((AS_IS, *self.asked))))
        cues = STUDY_CUES if self.items.is_lettered else CUES_WITHOUT_LETTERS
        reads = [str(ReadPosition.parse(level).of(self.pairs)) for level in self.reads or STUDY_READS]
        for name, level, levels in (
            ("positions", self.base.positions, self.positions or STUDY_POSITIONS),
            ("reads", self.base.read, reads),
            ("cues", self.base.cue, self.cues or cues),
        ):
            there = levels if level in levels else (level, *levels)
            object.__setattr__(self, name, tuple(dict.fromkeys(there)))

    @property
    def base(self) -> StudyArm:
        """The arm that the others are compared with."""
        return StudyArm(read=str(AUTOMATIC.of(self.pairs)))

    @property
    def arms(self) -> list[StudyArm]:
        """All of them, those that share positions, cue and way to ask beside each other."""
        grid = itertools.product(self.asked, self.positions, self.cues, self.reads)
        arms = [StudyArm(positions, read, cue, asked) for asked, positions, cue, read in grid]
        return arms if self.full else [arm for arm in arms if len(arm.differs(self.base)) < 2]


@dataclass(frozen=True, kw_only=True)
class InspectionRequest(AtLayers):
    """A text that is looked at, as a person's message in a chat or as it is, and what is done where."""

    text: str
    multiplier: float = option(MULTIPLIER)
    positions: Positions = option(POSITIONS)
    chat: bool = option(Option(label="Read as a message in a chat", default=True, parse=bool))
