"""Every row of a study is what a direct score says; a planted position is found; items are the same everywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.nulls.studies import on_model, simulate
from caa_core.cli.main import main
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.requests import StudyRequest
from caa_core.measuring.study import ROLE, asked_of, size, study
from caa_core.measuring.study_results import (
    AS_IS,
    ASKED,
    BARE,
    IN_A_ROLE,
    KINDS,
    REWORDED,
    Study,
    StudyArm,
    StudyRow,
    graded,
)
from caa_core.metrics.anti_steerability import wrong_shares
from caa_core.metrics.controls import random_controls
from caa_core.metrics.estimates import mean_of
from caa_core.model.prompts import Cue
from caa_core.progress import Progress, finish
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.read_position import ReadPosition
from caa_core.steering.scoring import score
from caa_core.vectors.extraction import extract
from tests.helpers.data import A_HEAVY, LETTERS, QUESTIONS, TEXTS
from tests.helpers.models import make_tiny, save_tiny
from tests.helpers.vectors import shuffled_controls

FEW = {"positions": ["index:-2"], "reads": ["last"], "cues": ["(", "instruction"]}
SMALL = {**FEW, "layers": [1, 2], "multipliers": [2], "controls": 3}


def asked(pairs=LETTERS, items=A_HEAVY, layers=(1,), **options):
    return StudyRequest.parse(pairs=pairs, items=items, layers=layers, **options)


@pytest.fixture(scope="module")
def grid(tiny_models):
    """A small grid over both factors and cues, and what was kept of it."""
    known = {}
    return finish(study(tiny_models["llama"], asked(**SMALL, full=True), known)), known


def test_every_arm_is_a_direct_score_under_its_positions_cue_and_read_position(tiny_llama, grid):
    found, _ = grid
    assert len(found.rows) == found.cells == 2 * 2 * 3 * 2
    assert len({(row.arm, row.layer, row.multiplier) for row in found.rows}) == found.cells
    pairs = A_HEAVY.pairs
    asked = [*pairs, *(pair.swapped() for pair in pairs)]
    vectors, controls = {}, {}
    for name in ("letter", "last"):
        at = ReadPosition.parse(name)
        vector = vectors[name] = finish(extract(tiny_llama, LETTERS, read=at))
        controls[name] = (
            random_controls(vector, [1, 2], 3),
            shuffled_controls(tiny_llama, LETTERS, vector, [1, 2], 3, at),
        )
    groups = {}
    for row in found.rows:
        groups.setdefault((row.arm.positions, row.arm.cue), []).append(row)
    assert len(groups) == 6
    for (positions, cue), rows in groups.items():
        # All read positions are added with the norm of the base's vector.
        norms = [vectors[row.arm.read].norm(row.layer) for row in rows]
        runs = [
            (Steer(one * vectors["letter"].norm(row.layer) / norm, row.layer, row.multiplier),)
            for row, norm in zip(rows, norms, strict=True)
            for one in (
                vectors[row.arm.read].at(row.layer),
                *(c[row.layer] for kind in controls[row.arm.read] for c in kind),
            )
        ]
        scores = finish(score(tiny_llama, asked, runs, Positions.parse(positions), Cue.parse(cue)))
        given, swapped = scores.probability.double().chunk(2, dim=1)
        both = (given + swapped) / 2
        for number, (row, norm) in enumerate(zip(rows, norms, strict=True)):
            at = 1 + 7 * number
            changes = (both[at] - both[0]).tolist()
            assert [row.unsteered, row.steered] == pytest.approx(both[[0, at]].mean(1).tolist(), abs=1e-5)
            assert row.changes == pytest.approx(changes, abs=1e-5)
            assert row.difference == mean_of(np.array(row.changes))
            assert row.anti_steerable.value == wrong_shares(np.sign(row.multiplier) * np.array(row.changes))
            assert row.as_given == pytest.approx((given[at] - given[0]).mean().item(), abs=1e-5)
            for start, kind in zip((at + 1, at + 4), KINDS, strict=True):
                moved = (both[start : start + 3] - both[0]).mean(1).tolist()
                assert getattr(row, kind) == pytest.approx((min(0, *moved), max(0, *moved)), abs=1e-5)
                shares = wrong_shares(np.sign(row.multiplier) * (both[start : start + 3] - both[0]).numpy())
                assert getattr(row, f"wrong_{kind}") == (shares.min(), shares.max())
            assert row.norm == pytest.approx(norm, rel=1e-5)
            assert row.kl == pytest.approx(scores.kl[at, : len(pairs)].mean().item(), abs=1e-5)
            assert row.mass == pytest.approx(scores.mass[at, : len(pairs)].mean().item(), abs=1e-6)


def test_one_factor_at_a_time_is_part_of_the_grid(tiny_llama, grid):
    few = finish(study(tiny_llama, asked(**SMALL)))
    assert few.cells == (1 + 1 + 1 + 2) * 2
    whole = {(row.arm, row.layer, row.multiplier): row for row in grid[0].rows}
    for row in few.rows:
        assert len(row.arm.differs(few.base)) < 2
        assert row.changes == pytest.approx(whole[row.arm, row.layer, row.multiplier].changes, abs=1e-5)


ONE_TOKEN = [ContrastPair(q, "!", ".", i) for i, q in enumerate(QUESTIONS, 1)]
EXCLAIMED = Dataset("exclaimed", "", "", tuple(ONE_TOKEN))
# What a vector is made from: where all pairs are alike, one from shuffled labels is the vector itself, or its opposite.
VARIED = Dataset(
    "varied", "", "", tuple(replace(pair, negative=word) for pair, word in zip(ONE_TOKEN, "abcdefgh", strict=True))
)


@pytest.fixture(scope="module")
def echo():
    """A model whose head is its embedding, so that what it has read is what it says: reading "!" plants "!"."""
    return make_tiny("llama", tie_word_embeddings=True, initializer_range=0.05)


def test_the_one_position_that_carries_a_planted_effect_is_found(echo):
    """An answer of one token is predicted at the prompt's last token; the last layer does nothing elsewhere."""
    levels = {"positions": ["after-prompt", "index:-2", "generated"], "reads": ["last"], "cues": ["none"]}
    found = finish(study(echo, asked(VARIED, EXCLAIMED, [3], **levels)))
    rows = {row.arm.positions: row for row in found.rows if row.multiplier == 1 and row.arm.read == "answer-mean"}
    assert rows["after-prompt"].effect is True and rows["after-prompt"].grade == "effect"
    assert rows["after-prompt"].verdict.startswith("An effect, with the vector (p = 0.0")
    for elsewhere in ("index:-2", "generated"):
        row = rows[elsewhere]
        assert (row.effect, row.grade, row.p) == (False, "none shown", 1)
        assert row.changes == pytest.approx([0.0] * 8, abs=1e-6)
    furthest, alone, read, norms = found.answers
    assert furthest.startswith("The steered position after-prompt moves the answers furthest, +")
    assert "clearly less than after-prompt: " in furthest
    assert "generated" in furthest.partition("no effect is shown: ")[2]
    assert alone.startswith("Steering the second last token of the prompt alone is not shown to have an effect: ")
    assert "the same thing here" in read  # an answer's only token is its last
    assert norms.startswith("Norms of their vectors: answer-mean ")


def test_estimates_are_the_slopes_of_what_is_measured(echo):
    """Of every arm, with the norm of the base's vector: nats a token, and of letters log odds."""
    few = {"multipliers": [-0.01, 0.01], "positions": ["all"], "cues": ["none", "Answer:"], "controls": 1}
    found = finish(study(echo, asked(VARIED, EXCLAIMED, [2, 3], reads=["last", "-2"], **few)))
    assert len({row.arm for row in found.rows}) == 4 and found.left_out
    for row in found.rows:
        assert row.difference.value / row.multiplier == pytest.approx(row.estimate, rel=0.05, abs=1e-4)
    pairs = replace(LETTERS, pairs=tuple(replace(pair, line=i) for i, pair in enumerate(A_HEAVY.pairs)))
    few["multipliers"] = [-0.001, 0.001]
    for row in finish(study(echo, asked(pairs, A_HEAVY, [2], reads=["letter"], **few))).rows:
        slope = row.difference.value / row.multiplier / (row.unsteered * (1 - row.unsteered))
        assert slope == pytest.approx(row.estimate, rel=0.1, abs=0.01)


def test_p_is_corrected_over_all_arms_and_layers(echo):
    """The same arm among more of them has a larger p, of the same estimate."""
    few = {"multipliers": [1], "positions": ["all"], "reads": ["last"], "cues": ["none"], "controls": 1}
    null = replace(EXCLAIMED, pairs=tuple(replace(pair, positive="a", negative="o") for pair in ONE_TOKEN))
    alone, many = (finish(study(echo, asked(null, EXCLAIMED, layers, **few))).rows for layers in ([2], [1, 2, 3]))
    among = {(row.arm, row.layer): row for row in many}
    pairs = [(row, among[row.arm, row.layer]) for row in alone]
    assert all(one.estimate == pytest.approx(other.estimate, rel=1e-4) for one, other in pairs)
    assert all(other.p >= one.p for one, other in pairs) and any(other.p > one.p + 0.01 for one, other in pairs)


def test_a_planted_null_is_said_in_plain_words(echo):
    null = replace(EXCLAIMED, pairs=tuple(replace(pair, positive="a", negative="o") for pair in ONE_TOKEN))
    found = finish(study(echo, asked(null, EXCLAIMED, [3], positions=["all"], reads=["last"])))
    assert not any(row.works for row in found.rows)
    assert {row.grade for row in found.rows} == {"none shown"}
    assert found.answers[0].startswith("No steered position is shown to have an effect")
    assert any(sentence.startswith("No cue is shown to bring an effect") for sentence in found.answers)


def test_an_effect_the_other_way_does_not_count_as_working(echo):
    turned = replace(EXCLAIMED, pairs=tuple(replace(p, positive=".", negative="!") for p in ONE_TOKEN))
    levels = {"positions": ["all"], "reads": ["last"], "cues": ["none"]}
    found = finish(study(echo, asked(VARIED, turned, [3], multipliers=[1], **levels)))
    assert all(row.verdict.startswith("A backwards effect, against the vector (p = ") for row in found.rows)
    assert all(row.effect for row in found.rows)
    assert found.answers[0].startswith("No steered position is shown to have an effect the way it should on this model")


def test_below_eight_prompts_rows_have_figures_and_no_verdict(echo):
    """A copy of a prompt is no other one."""
    seven = replace(EXCLAIMED, pairs=(*EXCLAIMED.pairs[:7], replace(EXCLAIMED.pairs[0], line=99)))
    levels = {"positions": ["after-prompt", "all"], "reads": ["last"], "cues": ["none"]}
    found = finish(study(echo, asked(VARIED, seven, [3], **levels)))
    said = "Not judged: 7 prompts are too few for a verdict, which takes at least 8"
    assert {(row.effect, row.verdict, row.items) for row in found.rows} == {(None, said, 8)}
    assert found.answers == [f"{said}."] and found.rows[0].difference.value


def test_items_that_do_not_fit_under_one_cue_are_left_out_of_all(tiny_llama):
    long = replace(A_HEAVY.pairs[0], prompt="word " * 60 + A_HEAVY.pairs[0].prompt, line=77)
    items = replace(A_HEAVY, pairs=(*A_HEAVY.pairs, long))
    lengths = [len(tiny_llama.tokenizer(pair.prompt).input_ids) for pair in items.pairs]
    tight = make_tiny("llama", max_position_embeddings=max(lengths) + 30)
    levels = {"positions": ["all"], "reads": ["last"], "cues": ["none", "instruction"]}
    request = asked(items=items, multipliers=[1], controls=2, **levels)
    found = finish(study(tight, request))
    assert {row.items for row in found.rows} == {found.items} == {8}
    assert len(found.skipped) == 1 and found.skipped[0].startswith("Item 77 ")
    alone = finish(study(tight, replace(request, cues=("none",))))
    assert {row.items for row in alone.rows} == {9}


def test_a_read_position_that_there_is_not_is_left_out_with_the_reason(tiny_llama):
    levels = {"positions": ["all"], "reads": ["last-prompt", "999"], "cues": ["none"]}
    found = finish(study(tiny_llama, asked(multipliers=[1], controls=2, **levels)))
    assert [row.arm for row in found.rows] == [StudyArm("after-prompt", "letter"), StudyArm("all", "letter")]
    assert len(found.left_out) == 2 and "the answers of letters do not differ" in found.left_out[0]
    assert "has no token 999" in found.left_out[1]


def test_levels_are_those_that_make_sense():
    of_letters, of_texts = asked(multipliers=[-1, 0, 1]), asked(TEXTS, TEXTS)
    assert of_letters.cues == ("none", "Answer:", "(", "instruction") and of_texts.cues == ("none", "Answer:")
    assert of_letters.reads[0] == "letter" and of_texts.reads == ("answer-mean", "last", "last-prompt", "-2")
    few = asked(positions="all", reads=["letter"], cues=["Answer:"])
    assert (few.positions, few.reads, few.cues) == (("after-prompt", "all"), ("letter",), ("none", "Answer:"))
    assert size(of_letters, 4) == (
        "13 combinations × 1 layer × 2 multipliers = 26 cells, each beside 20 random vectors and 20 "
        "from shuffled labels"
    )
    assert "120 combinations" in size(replace(of_letters, full=True), 4)
    for levels, message in (
        ({"positions": ["first"]}, "no steered positions"),
        ({"reads": ["first"]}, "no read position"),
        ({"cues": ["x" * 300]}, "at most 200"),
    ):
        with pytest.raises(InputError, match=message):
            asked(**levels)


def test_what_cannot_be_asked_is_said(tiny_llama):
    with pytest.raises(InputError, match="a multiplier other than 0"):
        finish(study(tiny_llama, asked(multipliers=[0])))
    with pytest.raises(InputError, match="= 2400 cells are too many"):
        finish(study(tiny_llama, asked(layers=[0, 1], multipliers=range(1, 11), full=True)))


def test_what_is_known_is_not_computed_again(tiny_llama, grid):
    whole, known = grid
    known = json.loads(json.dumps(known, allow_nan=False))
    passes = []
    hook = tiny_llama.blocks[0]._module.register_forward_hook(lambda *_: passes.append(1))
    request = asked(**SMALL, full=True)
    again = finish(study(tiny_llama, request, known))
    assert again.rows == whole.rows and not passes

    # Stopped after the first part, and begun again.
    known = {}
    work = study(tiny_llama, request, known)
    part = next(event for event in work if isinstance(event, Study))
    work.close()
    assert 0 < len(part.rows) < part.cells and part.answers == [f"Not finished: {len(part.rows)} of 24 cells."]
    rest = []
    resumed = finish(study(tiny_llama, request, known), rest.append)
    hook.remove()
    shown = [event for event in rest if isinstance(event, Progress) and event.unit == "cells"]
    assert shown[0].resumed == len(part.rows)
    for one, other in zip(resumed.rows, whole.rows, strict=True):
        assert one.arm == other.arm and one.changes == pytest.approx(other.changes, abs=1e-5)


def test_without_controls_and_from_few_pairs_nothing_is_judged(echo):
    few = {"multipliers": [1], "positions": ["all"], "reads": ["last"], "cues": ["none"]}
    for request, why in (
        (asked(VARIED, EXCLAIMED, [3], controls=0, **few), "Not judged: that takes controls beside it"),
        (
            asked(VARIED.first(5), EXCLAIMED, [3], controls=2, **few),
            "Not judged: vectors from 5 prompts are not told from shuffled labels; it takes 6",
        ),
    ):
        found = finish(study(echo, request))
        assert {(row.effect, row.grade, row.p, row.verdict) for row in found.rows} == {(None, "", None, why)}
        assert found.answers == [f"{why}."]


def test_a_model_without_backward_has_figures_and_no_verdicts():
    model = make_tiny("llama")
    model.blocks[3]._module.register_forward_hook(lambda _m, _i, out: out.detach())
    few = {"multipliers": [1], "positions": ["all"], "reads": ["last"], "cues": ["none"], "controls": 1}
    found = finish(study(model, asked(VARIED, EXCLAIMED, [2], **few)))
    assert {(row.effect, row.grade, row.p) for row in found.rows} == {(None, "not decided", None)}
    (said,) = found.answers
    assert said.startswith("Not decided: There is no estimate for this model: tiny-llama cannot be differentiated")


def test_exact_controls_may_contradict_an_effect():
    row = replace(told_rows(none=(0.9, 1.0) * 4)[0], random=(-2.0, 2.0))
    said = graded(row, 0.9, 0.002, choices=False)
    assert (said.grade, said.effect) == ("not decided", None) and "random vectors reach as far" in said.verdict
    assert graded(replace(row, random=None), 0.9, 0.002, choices=False).grade == "effect"
    assert graded(row, 0.1, 0.5, choices=False).grade == "not decided"  # nine times what it is to first order
    assert graded(row, 0.9, 0.5, choices=False).verdict.startswith("None shown: ")


def test_a_study_can_be_kept(grid):
    found = grid[0]
    kept = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert Study.of(kept).rows == found.rows and json.loads(json.dumps(Study.of(kept).summary())) == kept
    for row in kept["rows"]:  # as it was before there were grades
        for name in ("estimate", "p", "grade"):
            del row[name]
    del kept["prompts"]
    before = Study.of(kept)
    assert [row.changes for row in before.rows] == [row.changes for row in found.rows] and before.answers
    with pytest.raises(InputError, match="cannot be read"):
        Study.of({"rows": 3})


def told_rows(factor="cue", **changes):
    """Rows of cues, or levels of another factor, by the changes of their items."""
    return [
        StudyRow(
            arm=StudyArm(**{factor: level}),
            layer=1,
            multiplier=1.0,
            items=len(of_items),
            norm=1.0,
            unsteered=0.5,
            steered=0.5,
            difference=mean_of(np.array(of_items)),
            as_given=0.0,
            random=None,
            shuffled=None,
            controls=20,
            mass_unsteered=None,
            mass=None,
            kl=0.0,
            effect=None,
            verdict="",
            changes=tuple(of_items),
        )
        for level, of_items in changes.items()
    ]


def told(p, factor="cue", **changes):
    """What is said of cues, or levels of another factor, by their p among controls and the changes of their items."""
    rows = told_rows(factor, **changes)
    rows = [graded(row, row.difference.value, p[getattr(row.arm, factor)], choices=False) for row in rows]
    return Study(tuple(rows), StudyArm(), len(rows), "", 8, (), ()).answers[-1]


def test_whether_an_effect_holds_where_the_same_is_asked_otherwise():
    noise = np.array([0.02, -0.03, 0.01, -0.01, 0.03, -0.02, 0.0, 0.01])
    nothing, small, large = 0.005 + noise, 0.1 + noise[::-1], 0.3 + 2 * noise
    p = {AS_IS: 0.01, IN_A_ROLE: 0.01, BARE: 0.9}
    said = told(p, "asked", **{AS_IS: large, IN_A_ROLE: large[::-1], BARE: nothing})
    assert said.startswith("The effect holds where the same is asked otherwise: in a role +0.302; as it is, +0.3")
    assert said.endswith(
        "; it is not shown to hold: without the template +0.006; clearly less than as it is: without the template."
    )
    said = told(p, "asked", **{AS_IS: small, IN_A_ROLE: large})
    assert said.endswith("; clearly more than as it is: in a role.")
    said = told(p, "asked", **{AS_IS: large, BARE: nothing})
    assert said.startswith(
        "The effect is not shown to hold where the same is asked otherwise: without the template +0.0"
    )
    # Where there is none as the items are, there is nothing that could hold.
    said = told(p | {AS_IS: 0.9}, "asked", **{AS_IS: nothing, IN_A_ROLE: large})
    assert "is not judged: none is shown as it is, +0.006" in said and said.endswith("; it is in a role +0.302.")
    said = told(p | {AS_IS: 0.9}, "asked", **{AS_IS: nothing, BARE: nothing})
    assert said.endswith(", nor is one without the template.")


@pytest.mark.parametrize("questions", [False, True], ids=["texts", "letters"])
def test_the_same_asked_otherwise_is_a_direct_score_of_that(tiny_llama, questions):
    joy = presets()["joy"]
    test, reworded = ((one.as_questions() if questions else one).first(2) for one in (joy.test(), joy.reworded()))
    few = {"positions": ["after-prompt"], "reads": ["last"], "cues": ["none"], "controls": 0, "multipliers": [2]}
    question = asked(VARIED, test, [2], asked=ASKED[1:], **few)
    known = {}
    found = finish(study(tiny_llama, question, known))
    vector = finish(extract(tiny_llama, VARIED, [2]))
    rows = {row.arm.asked: row for row in found.rows if row.arm.read == "answer-mean"}
    for way, model, pairs, system in (
        (AS_IS, tiny_llama, test.pairs, ""),
        (IN_A_ROLE, tiny_llama, test.pairs, ROLE),
        (REWORDED, tiny_llama, reworded.pairs, ""),
        (BARE, asked_of(tiny_llama, BARE), test.pairs, ""),
    ):
        both = [*pairs, *(pair.swapped() for pair in pairs if questions)]
        scores = finish(score(model, both, [(Steer(vector.at(2), 2, 2.0),)], system=system))
        values = (scores.probability if questions else scores.preference).double().reshape(2, -1, 2).mean(1)
        assert rows.pop(way).changes == pytest.approx((values[1] - values[0]).tolist(), abs=1e-5)
    assert not rows and len({row.unsteered for row in found.rows}) == 4  # each way has an unsteered model of its own
    again = finish(study(tiny_llama, question, known))
    assert again.rows == found.rows and Study.of(json.loads(json.dumps(found.summary()))).rows == found.rows


def test_what_has_no_second_wording_is_left_out_and_said(tiny_llama):
    few = {"positions": ["after-prompt"], "reads": ["last"], "cues": ["none"], "controls": 0, "multipliers": [2]}
    found = finish(study(tiny_llama, asked(VARIED, EXCLAIMED, [2], asked=[REWORDED, BARE], **few)))
    assert {row.arm.asked for row in found.rows} == {AS_IS, BARE}
    assert found.left_out[0].startswith("exclaimed in other words: a second wording is known of the presets' held-out")
    with pytest.raises(InputError, match="There is no way to ask called 'shouted': there are as it is, in a role, "):
        asked(asked="in a role,shouted")


def test_whether_a_cue_is_needed_is_said_with_its_numbers():
    noise = np.array([0.02, -0.03, 0.01, -0.01, 0.03, -0.02, 0.0, 0.01])
    nothing, small, large = 0.005 + noise, 0.1 + noise[::-1], 0.3 + 2 * noise
    text = told({"none": 0.4, "word": 0.01}, none=nothing, word=large)
    assert text.startswith("It needs a cue: without one it is +0.006 (") and ", and 0.05 is ruled out; with" in text
    assert "apart by +0.296 (" in text
    # Called an effect with it and not without, and yet no more than without.
    text = told({"none": 0.06, "word": 0.04}, none=small, word=small[::-1])
    assert text.startswith("Whether it needs a cue is not decided: an effect is shown with word, +0.101 (")
    assert text.endswith("and no effect is shown.")
    # Controls reach as far as it does without, which is not none.
    text = told({"none": 0.2, "word": 0.01}, none=small, word=large)
    assert text.startswith("It does clearly more with a cue: with word, +0.302 (")
    assert text.endswith("and no effect is shown, which is not none.")
    text = told({"none": 0.01, "word": 0.01, "other": 1}, none=small, word=large, other=nothing)
    assert text.startswith("It needs no cue: without one it is +0.101 (")
    assert "clearly more with word +0.302; clearly less with other +0.006." in text
    text = told({"none": 0.01, "word": 0.01}, none=small, word=small[::-1])
    assert "not told apart from that: word" in text


@pytest.mark.parametrize("effect", [0.0, 1.2, 1.8])
def test_where_arms_are_alike_none_is_called_needed_or_best(effect):
    """Cues that all do the same, whatever that is: at the edge of what is told from controls, some of them are called
    an effect and others are not.
    """
    said = simulate(100, prompts=12, arms=4, effects=[effect] * 4)
    assert max(said["needs a cue"], said["more with a cue"]) <= 0.05 and said["furthest"] <= 0.07
    if not effect:
        assert said["an effect"] <= 0.07


def test_vectors_from_shuffled_labels_are_rarely_told_from_controls_under_any_arm(tiny_llama):
    assert on_model(tiny_llama, "joy", [2], 100, items=2) <= 0.13  # three standard deviations above one in twenty


def test_where_arms_differ_that_is_said():
    said = simulate(30, prompts=20, arms=4, effects=[0, 3, 3, 3])
    assert said["needs a cue"] >= 0.8 and said["more with a cue"] >= 0.8 and said["furthest"] <= 0.07
    said = simulate(30, prompts=16, arms=4, effects=[1.8, 1.8, 1.8, 5])
    assert said["furthest"] >= 0.8 and said["more with a cue"] >= 0.8, "what it does without counts as an effect"
    assert said["needs a cue"] <= 0.07


def test_a_study_on_the_command_line(capsys, tmp_path):
    folder, out = save_tiny(tmp_path / "tiny"), tmp_path / "study.csv"
    given = ["study", "--model", str(folder), "--dtype", "float32", "--data", "joy", "--test", "joy:ab", "--layer", "1"]
    few = [
        "--items",
        "3",
        "--limit",
        "4",
        "--positions",
        "all",
        "--reads",
        "last",
        "--cue",
        "(",
        "--control-seeds",
        "2",
    ]
    assert main([*given, *few, "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    assert (
        "4 combinations × 1 layer × 2 multipliers = 8 cells, each beside 2 random vectors and 2 from shuffled labels"
        in said.err
    )
    found = Study.of(json.loads(said.out))
    assert len(found.rows) == found.cells == 8 and found.items == 3
    assert len(out.read_text().splitlines()) == 9
    for wrong, message in ((["--layer", "99"], "no layer 99"), (["--out", "x.pdf"], "should end in")):
        assert main([*given, *few, *wrong]) == 2
        assert message in capsys.readouterr().err
