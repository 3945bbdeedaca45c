"""The options that several experiments share: each with its default, its parser and its words."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from caa_core.errors import InputError
from caa_core.metrics.cross_fitting import CONTROLS as ESTIMATED
from caa_core.metrics.grid import CONTROLS as ENOUGH
from caa_core.metrics.grid import check_controls, check_multipliers, number, parse_multipliers, whole
from caa_core.metrics.requests import Option
from caa_core.model.prompts import CUES, NO_CUE, Cue
from caa_core.steering.decoding import Decoding
from caa_core.steering.interventions import AFTER_PROMPT, OF_THOUGHT, Positions, layers_named, parse_steer
from caa_core.steering.interventions import POSITIONS as RULES
from caa_core.steering.operations import ADD, OPERATIONS, Operation
from caa_core.steering.read_position import AUTOMATIC, ReadPosition
from caa_core.steering.read_position import RULES as READ_RULES
from caa_core.vectors.methods import MEAN_DIFFERENCE, METHODS, method_named
from caa_core.vectors.spread import EQUAL
from caa_core.vectors.spread import SHARES as SHARES_OF_LAYERS

# Answers beside each other that differ in how strong what is added is.
MOST_FACTORS = 16


def text(typed: str) -> str:
    """Text without the space around it."""
    return typed.strip()


def layers_text(typed: str | Sequence[int]) -> str:
    """Layers as they are typed; what they are depends on the model (see `grid.parse_layers`)."""
    if not isinstance(typed, str) and not typed:
        raise InputError("Choose at least one layer.")
    return typed.strip().lower() if isinstance(typed, str) else ",".join(map(str, typed))


def multipliers_of(typed: str | Sequence[float]) -> tuple[float, ...]:
    """Distinct multipliers in rising order."""
    return tuple(parse_multipliers(typed) if isinstance(typed, str) else check_multipliers(typed))


def factors_of(typed: str | Sequence[float]) -> tuple[float, ...]:
    """Factors of what is added, in rising order; none where nothing was typed."""
    found = multipliers_of(typed) if len(typed) else ()
    if len(found) > MOST_FACTORS:
        raise InputError(f"{len(found)} factors are too many; {MOST_FACTORS} at most.")
    return found


def positions_of(typed: str | Positions) -> Positions:
    """Steered positions by their name, where nothing is thought before an answer."""
    found = positions_or_thought(typed)
    if found.is_of_thought:
        raise InputError(f"Nothing is thought here, so there is no {found}: choose {', '.join(RULES)} or index:N.")
    return found


def positions_or_thought(typed: str | Positions) -> Positions:
    """Steered positions by their name, where the model may think first."""
    return typed if isinstance(typed, Positions) else Positions.parse(typed)


def operation_of(typed: str | Operation) -> Operation:
    """An operation by its name."""
    return typed if isinstance(typed, Operation) else Operation.parse(typed)


def spread_of(typed: str | Sequence[int]) -> tuple[int, ...]:
    """Layers in the place of one; none where nothing was typed."""
    return layers_named(typed if isinstance(typed, str) else ",".join(map(str, typed))) if typed else ()


def shares_of(typed: str) -> str:
    """Shares of a multiplier by their name."""
    if typed.strip().lower() not in SHARES_OF_LAYERS:
        raise InputError(f"There are no shares {typed[:40]!r}: choose {' or '.join(SHARES_OF_LAYERS)}.")
    return typed.strip().lower()


def gate_of(typed: str) -> str:
    """A gate as it is typed, VECTOR:LAYER:THRESHOLD; empty for none."""
    typed = typed.strip()
    if typed:
        try:
            parse_steer(typed)
        except InputError as error:
            raise InputError(f"{typed[:80]!r} is no gate: write VECTOR:LAYER:THRESHOLD, such as joy:12:2.5.") from error
    return typed


def cue_of(typed: str | Cue) -> Cue:
    """A cue by its name, or the words themselves."""
    return typed if isinstance(typed, Cue) else Cue.parse(typed)


def controls_of(typed: Any) -> int:
    """A number of controls, or 0 for none."""
    count = whole(typed, "The number of controls")
    return check_controls(count) if count else 0


def none_or(least: int, what: str) -> Callable[[Any], int]:
    """A parser of a number of controls of each kind: 0 for none, or as many as decide something."""

    def count(typed: Any) -> int:
        found = whole(typed, f"The number of {what}")
        if found and found < least:
            raise InputError(
                f"{what.capitalize()}: fewer than {least} of a kind decide nothing; give 0 or at least {least}."
            )
        return check_controls(found) if found else 0

    return count


def method_of(typed: str) -> str:
    """A method by its name."""
    method_named(typed)
    return typed


GREEDY = Decoding()

LAYERS = Option(label="Layers", default="all", parse=layers_text, help="all, or numbers and ranges such as 10,12-15")
LAYER = Option(
    label="Layer",
    default=None,
    parse=lambda typed: whole(typed, "The layer"),
    help="by default the preset's",
    required=True,
)
MULTIPLIER = Option(label="Multiplier", default=1.0, parse=lambda typed: number(typed, "The multiplier"), required=True)
MULTIPLIERS = Option(
    label="Multipliers",
    default="-2,-1,0,1,2",
    parse=multipliers_of,
    help="such as --multipliers=-2,-1,0,1,2",
    info="Such as -1,0,1",
)
POSITIONS = Option(
    label="Steered positions",
    default=str(AFTER_PROMPT),
    parse=positions_of,
    help="where the vector is added",
    choices=RULES,
)
POSITIONS_OR_THOUGHT = replace(
    POSITIONS,
    parse=positions_or_thought,
    choices=(*RULES, *OF_THOUGHT),
    info="The tokens that are steered. index:-2 is the prompt's second last.",
)
THINK = Option(
    label="Think first",
    default=False,
    parse=bool,
    help="let a model that can think do so before it answers; the thought counts among the new tokens",
)
OPERATION = Option(
    label="Operation",
    default=str(ADD),
    parse=operation_of,
    help="add; keep-norm: add, and keep the norm; ablate: take away what lies along the vector; cap:C: what is above C",
    info="What is done with the vector. ablate takes away what lies along it, cap:C what lies above C.",
    choices=OPERATIONS,
)
SPREAD = Option(
    label="Several layers",
    default="",
    parse=spread_of,
    help="steer at several layers at once, in place of the one: such as 12-15, which share each multiplier",
    info="Such as 12-15, in place of the layer above; they share its multiplier.",
    metavar="LAYERS",
)
SHARES = Option(
    label="Shares of several layers",
    default=EQUAL,
    parse=shares_of,
    help="what several layers get of a multiplier: equal, by the norm of the residual stream there, or the whole",
    info="Of the multiplier: equal, by the norm of the residual stream at each layer, or the whole at each.",
    choices=SHARES_OF_LAYERS,
)
TOGETHER = Option(
    label="All layers at once",
    default=False,
    parse=bool,
    help="steer at all of the layers at once, which share each multiplier, not at one after the other",
    info="They share each multiplier. Not one after the other, and without estimates.",
)
GATE = Option(
    label="Gate",
    default="",
    parse=gate_of,
    help="steer only tokens that point further along a vector than a threshold: joy:12:2.5 (see the command gate)",
    info="Only tokens further along a vector than a threshold, such as joy:12:2.5, are steered. Look inside finds one.",
    metavar="FILE:LAYER:THRESHOLD",
)
CUE = Option(
    label="Answer cue",
    default=str(NO_CUE),
    parse=cue_of,
    help="how answers begin, or 'instruction'",
    info="How the answer begins, or an instruction",
    choices=tuple(filter(None, CUES)),
    metavar="TEXT",
)
CONTROLS = Option(
    label="Controls of each kind",
    default=ENOUGH,
    parse=controls_of,
    help="so many random vectors, and so many shuffled",
    info="Random vectors of the same norm, and as many from shuffled labels.",
    flag="--control-seeds",
    metavar="N",
    off="no verdict, which needs them",
)
# Controls by their first-order estimates, which cost no passes of the model.
ESTIMATED_CONTROLS = replace(
    CONTROLS,
    default=ESTIMATED,
    parse=none_or(ESTIMATED, "controls"),
    choices=(str(ESTIMATED), "0"),
    help=f"so many random vectors, and so many from shuffled labels, by their estimates; at least {ESTIMATED}",
    info=f"{ESTIMATED} random vectors of the same norm, and as many from shuffled labels, which cost no passes. "
    "0: no verdict.",
)
COUNTS = Option(
    label="Write answers too",
    default=True,
    parse=bool,
    info="Counts which answer is really written. Choices only.",
    off="only score answers, write none: at least twice as fast",
)
PAPER_COUNTING = Option(
    label="Count as the paper does",
    default=False,
    parse=bool,
    help="only the letters A and B; others count as 0",
    info="Only the letters A and B; other letters count as 0.",
)
SYSTEM = Option(label="System prompt", default="", parse=text, metavar="TEXT")
NEW_TOKENS = Option(
    label="New tokens", default=GREEDY.max_new_tokens, parse=lambda typed: whole(typed, "The number of new tokens")
)
TEMPERATURE = Option(
    label="Temperature",
    default=GREEDY.temperature,
    parse=lambda typed: number(typed, "The temperature"),
    help="0 (the default) is greedy",
    info="0: always the likeliest token",
)
FACTORS = Option(
    label="Factors",
    default="",
    parse=factors_of,
    help="also with what is added so many times as strong, all in one batch: such as --factors=0,0.5,1,1.5,2",
)
SEED = Option(label="Seed", default=GREEDY.seed, parse=lambda typed: whole(typed, "The seed"))
LETTER_SWAP = Option(
    label="Use both letter orders",
    default=False,
    parse=bool,
    help="use multiple-choice pairs in both letter orders",
    info="Keeps the letter out of vectors from A/B questions.",
)
READ = Option(
    label="Read position",
    default=str(AUTOMATIC),
    parse=ReadPosition.parse,
    help="auto, letter, answer-mean, last, last-prompt, or a token's index",
    choices=READ_RULES,
)
NAME = Option(label="Name of the vector", default="", parse=text, help="the vector's name; by default the data's")
METHOD = Option(
    label="Method",
    default=MEAN_DIFFERENCE,
    parse=method_of,
    help="mean-difference, pca, probe or single",
    choices=tuple(METHODS),
)
