"""The plan of the arms, without a model: thoughts are numbers, and an X is told by them."""

from itertools import chain

import pytest

from caa_core.contest.thinking_arms import ARMS, BOTH, CROSSINGS, DIRECT, NOBODY, STEERED, UNDER, A, ArmPlan, B
from caa_core.data.pairs import ContrastPair

FILLER = 7


def plan(systems=("", "", "", "")):
    cases = tuple(ContrastPair(prompt, "x", "y", line) for line, prompt in enumerate(("Why?", "How?"), 1))
    thoughts = {
        (pair.prompt, number, x): (10 * case + number, 100 + x)
        for case, pair in enumerate(cases)
        for number in range(2)
        for x in range(len(UNDER))
    }
    return ArmPlan(cases, (0, 1), systems, 2, FILLER, thoughts)


def test_words_and_what_they_are_under():
    arms = {arm.name: arm for arm in ARMS}
    last = {name: plan().cells(arms[name], B)[-1] for name in arms}
    words = {"direct": (), "answer only": (11, 100), "reread": (11, 100), "filler": (FILLER, FILLER)}
    assert {name: cell.context.words for name, cell in last.items()} == dict.fromkeys(arms, (11, 100 + B)) | words
    unders = {"thinking only": (B, NOBODY), "answer only": (NOBODY, B), "words alone": (NOBODY, NOBODY)}
    assert {name: (cell.read, cell.answered) for name, cell in last.items()} == dict.fromkeys(arms, (B, B)) | unders


def test_a_system_prompt_is_there_for_words_and_answer_or_for_neither():
    told = plan(("", "Say x.", "", "Say x."))
    assert [arm.name for arm in told.arms] == ["direct", "steered", "words alone", "reread", "filler"]
    assert not told.crossings and plan().crossings == CROSSINGS and len(plan().arms) == len(ARMS)
    assert {cell.context.system for cell in told.cells(STEERED, BOTH)} == {"Say x."}
    assert {cell.context.system for cell in told.alone(A)} == {""}


@pytest.mark.parametrize(
    "systems", [("", "", "", ""), ("Be brief.", "Be brief.\nSay x.", "Be brief.", "Be brief.\nSay x.")]
)
def test_every_cell_is_scored_once_the_direct_ones_first(systems):
    made = plan(systems)
    groups = made.groups()
    cells = [(context, *under) for unders, contexts in groups.items() for context in contexts for under in unders]
    assert len(cells) == len(set(cells))
    assert set(cells) == set(map(tuple, chain(*made.needed.values())))
    assert next(iter(groups.values()))[0] == made.cells(DIRECT, NOBODY)[0].context
    for unders in groups:
        assert len({read == NOBODY for read, _ in unders}) == 1, "words that nobody's voice reads go apart"
