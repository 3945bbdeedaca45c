import json
from dataclasses import replace

import pytest
import torch

from caa_core.data.pairs import ContrastPair
from caa_core.errors import InputError
from caa_core.measuring.evaluation import evaluate
from caa_core.measuring.paper.behaviours import Behaviour
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.findings import Findings, Replication
from caa_core.measuring.paper.request import EXPERIMENTS, LAYERS, PaperRequest, parse_experiments
from caa_core.measuring.paper.vectors import make_vectors
from caa_core.measuring.requests import EvaluationRequest
from caa_core.measuring.sweep import score_runs
from caa_core.measuring.verdict import Verdict
from caa_core.metrics.controls import random_controls
from caa_core.metrics.cross_fitting import EFFECT, NONE_SHOWN, UNDECIDED
from caa_core.metrics.estimates import Estimate
from caa_core.metrics.items import choose_items
from caa_core.metrics.plain_data import plain
from caa_core.progress import Progress, finish
from caa_core.reports.paper.report import report_of, section_of, sections
from caa_core.steering.interventions import Steer
from caa_core.steering.operations import ADD, Operation
from caa_core.steering.scoring import score
from caa_core.vectors.extraction import extract
from tests.helpers.behaviours import ONE, TOLD, TWO
from tests.helpers.data import PLANTED
from tests.helpers.vectors import towards

SETTINGS = PaperRequest(letter_swap=True, controls=20, multipliers=(-2, 2))


@pytest.fixture(scope="module")
def found(tiny_models):
    return finish(replicate(tiny_models["llama"], [ONE, TWO], SETTINGS))


@pytest.fixture(scope="module")
def vector(tiny_models):
    return finish(extract(tiny_models["llama"], ONE.pairs.in_both_letter_orders()))


def cell(cells, layer, multiplier):
    return next(c for c in cells if (c.layer, c.multiplier) == (layer, multiplier))


def probability(model, vector, at, layer, multiplier, system="", operation=ADD):
    """The mean probability of the matching answer with the vector of one layer used at another, scored directly."""
    run = (Steer(vector.at(at), layer, multiplier, operation),)
    return finish(score(model, ONE.test.pairs, [run], system=system)).probability[1].mean().item()


def test_layers_and_verdict_are_those_of_an_evaluation(tiny_llama, found, vector):
    one = found.findings[0]
    pairs = ONE.pairs.in_both_letter_orders()
    request = EvaluationRequest.parse(data=ONE.test, multipliers=[-1, 1], counts=False, made_from=pairs)
    expected = finish(evaluate(tiny_llama, request, vector))
    told = expected.summary()  # with the shares that controls push the wrong way
    for mine, theirs in zip((one.unsteered, *one.profile), (told["unsteered"], *told["cells"]), strict=True):
        for name, value in plain(mine).items():
            assert value == pytest.approx(theirs[name], abs=1e-5), name
    assert all(one["wrong_random"] and one["wrong_shuffled"] for one in told["cells"])
    assert one.proposal.layer == expected.conclusion.proposal.layer == one.layer
    for kind in ("random", "shuffled"):
        assert getattr(one.verdict, kind) == pytest.approx(getattr(expected.conclusion.verdict, kind), abs=1e-5)
    assert torch.allclose(one.vector.at(2), vector.at(2))


def test_a_behaviour_s_vector_is_held_to_known_directions_as_every_one_that_is_made(tiny_llama):
    made = finish(make_vectors(tiny_llama, replace(ONE, pairs=PLANTED), PaperRequest(experiments=(LAYERS,))))
    assert set(made.vector.diagnostics.overlap) == {"refusal", "letter"}


def test_the_paper_s_counting_is_that_of_an_evaluation_of_the_vector_as_given(tiny_llama, found):
    given = finish(extract(tiny_llama, ONE.pairs))
    request = EvaluationRequest.parse(data=ONE.test, multipliers=[-1, 1], paper_counting=True, counts=False, controls=0)
    work = evaluate(tiny_llama, request, given)
    expected = finish(work).swept
    one = found.findings[0]
    values = [c.value for c in (expected.unsteered, *expected.cells)]
    assert [c.value for c in one.paper_profile] == pytest.approx(values, abs=1e-5)
    assert cell(one.paper_curve, one.layer, 1).value == pytest.approx(
        cell(expected.cells, one.layer, 1).value, abs=1e-5
    )
    assert {c.multiplier for c in one.paper_curve} == {-2, -1, 0, 1, 2}
    assert abs(one.paper_profile[0].value - one.unsteered.value) > 1e-3  # C counts as nothing


def test_the_curve_has_every_multiplier_and_a_band_of_random_vectors(tiny_llama, found, vector):
    one = found.findings[0]
    assert [c.multiplier for c in one.curve] == [-2, -1, 0, 1, 2]
    assert cell(one.curve, one.layer, 2).value == pytest.approx(
        probability(tiny_llama, vector, one.layer, one.layer, 2), abs=1e-5
    )
    assert cell(one.curve, one.layer, 0).difference.value == 0
    assert [row[0] for row in one.band] == [-2, -1, 0, 1, 2] and one.band[2] == (0, 0, 0)
    assert all(low < high for m, low, high in one.band if m)


def test_transfer_adds_one_layer_s_vector_at_another(tiny_llama, found, vector):
    one = found.findings[0]
    assert [(c.layer, c.multiplier) for c in one.transfer] == [(n, m) for n in range(4) for m in (-1, 1)]
    for at in range(4):
        direct = probability(tiny_llama, vector, one.layer, at, 1)
        assert cell(one.transfer, at, 1).value == pytest.approx(direct, abs=1e-5)
    assert cell(one.transfer, one.layer, 1) == cell(one.profile, one.layer, 1)


def test_a_system_prompt_is_before_every_item(tiny_llama, found, vector):
    one = found.findings[0]
    assert [arm.told for arm in one.arms] == ["none", "positive", "negative"]
    for arm, system in zip(one.arms, ("", TOLD.positive, TOLD.negative), strict=True):
        assert arm.system == system
        for m in (-1, 0, 1):
            direct = probability(tiny_llama, vector, one.layer, one.layer, m, system)
            assert cell(arm.cells, one.layer, m).value == pytest.approx(direct, abs=1e-5)
    told = cell(one.arms[1].cells, one.layer, 0)
    assert told.difference.value == pytest.approx(told.swapped.value - one.unsteered.swapped.value, abs=1e-6)
    assert found.findings[1].arms == ()


def test_every_experiment_does_with_vectors_what_it_is_asked(tiny_llama):
    """By passes: there is no estimate of what is no addition."""
    ablate = Operation("ablate")
    found = finish(replicate(tiny_llama, [ONE], PaperRequest(operation=ablate, controls=2, multipliers=(1,), layer=2)))
    (one,) = found.findings
    told = one.arms[1]
    for cells, at, layer, system in (
        (one.profile, 1, 1, ""),
        (one.curve, 2, 2, ""),
        (one.transfer, 2, 3, ""),
        (told.cells, 2, 2, told.system),
    ):
        direct = probability(tiny_llama, one.vector, at, layer, 1, system, ablate)
        assert cell(cells, layer, 1).value == pytest.approx(direct, abs=1e-5)
    runs = [(Steer(drawn[2], 2, 1.0, ablate),) for drawn in random_controls(one.vector, [2], 2)]
    baseline, *random = finish(score_runs(tiny_llama, finish(choose_items(tiny_llama, ONE.test)), runs))
    moved = [float((scores.paired - baseline.paired).mean()) for scores in random]
    assert one.band[-1] == pytest.approx((1, min(moved), max(moved)), abs=1e-5)
    assert one.verdict.difference and one.verdict.p is None and one.verdict.random is None
    report = report_of(found)
    assert report.settings["operation"] == "ablate" and "to first order" not in report.settings["controls"]
    assert "used (ablate) there at × 1" in section_of(one, "Effect by layer").text
    assert Findings.unpack(json.loads(json.dumps(one.pack()))).operation == "ablate"


def test_the_rest_is_there(found):
    one = found.findings[0]
    assert len(one.scatter.x) == 4 and len(one.scatter.x[0]) == 24 and set(one.scatter.answers) == {"(A)", "(B)", "(C)"}
    assert len(one.alignments) == 2 and one.alignments[0].layer == one.layer
    assert len(one.given_cosines) == 4 and max(one.given_cosines) < 0.9999
    assert found.shared_layer in {f.layer for f in found.findings}
    assert found.settings["multipliers"] == [-2, -1, 0, 1, 2]


def test_findings_survive_being_kept_as_plain_data(found):
    kept = json.loads(json.dumps(found.pack(), allow_nan=False))
    again = Replication.unpack(kept)
    assert json.dumps(again.summary()) == json.dumps(found.summary())
    assert torch.equal(again.findings[0].vector.at(3), found.findings[0].vector.at(3))
    with pytest.raises(InputError, match="cannot be read"):
        Findings.unpack({**kept["findings"][0], "curve": [{"layer": 1}]})


def test_after_a_stop_what_was_finished_is_there_and_is_not_measured_again(tiny_llama, found):
    known = {}
    work = replicate(tiny_llama, [ONE, TWO], SETTINGS, known)
    first = next(event for event in work if isinstance(event, Replication))
    next(work)
    work.close()
    assert [one.name for one in first.findings] == ["one"] and first.asked == ("one", "two")
    assert first.findings[0].profile == found.findings[0].profile
    known = json.loads(json.dumps(known))
    said = []
    again = finish(replicate(tiny_llama, [ONE, TWO], SETTINGS, known), said.append)
    assert len(known) == 2 and again.findings[0].seconds == first.findings[0].seconds
    assert not any(isinstance(event, Progress) and "(one" in event.unit for event in said)
    other = replace(SETTINGS, controls=3)
    finish(replicate(tiny_llama, [ONE], replace(other, experiments=(LAYERS,)), known))
    assert len(known) == 3


def test_a_planted_effect_of_a_ready_vector_is_found(tiny_llama):
    """PLANTED's matching answers begin with one token, the others with another one."""
    pairs = replace(PLANTED, pairs=PLANTED.pairs + tuple(replace(p, line=p.line + 10) for p in PLANTED.pairs))
    ready = Behaviour("planted", pairs, pairs, None, towards(tiny_llama, "!", ".", 2.0), made_from=True)
    (one,) = finish(replicate(tiny_llama, [ready], PaperRequest())).findings
    assert one.verdict.effect and one.layer == 3 and not one.is_choice
    assert one.conclusion.startswith("An effect on this model, with the vector, both ways: ") and one.paper_curve == ()
    assert {c.layer for c in one.profile} == {3}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_can_be_made_one_by_one(tiny_llama, found, experiment):
    layer = found.findings[0].layer
    alone = replace(SETTINGS, experiments=(experiment,), layer=layer, controls=0)
    (one,) = finish(replicate(tiny_llama, [ONE], alone)).findings
    whole = found.findings[0]
    places = {
        "layers": "profile",
        "multipliers": "curve",
        "transfer": "transfer",
        "prompts": "arms",
        "components": "scatter",
        "tokens": "alignments",
    }
    for name, place in places.items():
        if name == experiment:
            assert json.dumps(one.summary()[place])[:300] == json.dumps(whole.summary()[place])[:300]
        else:
            assert not getattr(one, place)


def test_what_has_no_letters_stays_as_it_is_beside_what_has(tiny_llama):
    """Yes and No cannot be swapped, nor need they be, and are measured by the same command."""
    words = replace(ONE, name="words", pairs=worded(ONE.pairs), test=worded(ONE.test), instructions=None)
    settings = replace(SETTINGS, experiments=(LAYERS,), controls=0)
    found = finish(replicate(tiny_llama, [ONE, words], settings)).findings
    assert [one.vector.provenance.num_pairs for one in found] == [len(ONE.pairs.pairs)] * 2
    assert found[0].given_cosines and found[1].given_cosines is None
    with pytest.raises(InputError, match="no letters to swap"):
        finish(replicate(tiny_llama, [words], settings))


def worded(dataset):
    """The same questions, to be answered by Yes or No."""
    pairs = [ContrastPair(pair.prompt.partition("\n")[0], "Yes", "No", pair.line) for pair in dataset.pairs]
    return replace(dataset, pairs=tuple(pairs))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PaperRequest(layer=9), "no layer 9"),
        (PaperRequest(layers=(1, 7)), "no layer 7"),
        (PaperRequest(multipliers=(float("inf"),)), "finite numbers"),
        (PaperRequest(pairs=1), "too few"),
    ],
)
def test_settings_that_cannot_be(tiny_llama, settings, message):
    with pytest.raises(InputError, match=message):
        finish(replicate(tiny_llama, [ONE], settings))


def test_experiments_by_name():
    assert parse_experiments("") == EXPERIMENTS and parse_experiments("transfer, layers") == ("layers", "transfer")
    with pytest.raises(InputError, match="no experiment 'pca': choose some of layers"):
        parse_experiments("pca")


def test_verdicts_on_several_behaviours_are_corrected_over_all_of_them(found):
    """What is told from controls by itself need not be among many."""
    (one, *_) = found.findings

    def named(name, p, grade):
        size = Estimate(0.3, 0.1, 0.5)
        told = {"grade": grade, "direction": "with", "ways": "both"} if grade == EFFECT else {"grade": grade}
        verdict = Verdict(1, 1.0, None, 9, size, 0.3, None, None, 999, "m", "", p=p, **told)
        return replace(one, name=name, verdict=verdict, conclusion=f"{verdict.sentence} Numbers.")

    several = [named("a", 0.002, EFFECT), named("b", 0.03, EFFECT), named("c", 0.6, NONE_SHOWN)]
    few = replace(found, findings=(*several, replace(named("d", 0.9, ""), verdict=None)))
    grades = {name: (round(p, 6), grade) for name, (p, grade) in few.corrected.items()}
    assert grades == {"a": (0.006, EFFECT), "b": (0.06, UNDECIDED), "c": (0.6, NONE_SHOWN)}
    told = "a effect with the vector (p = 0.006), b not decided (p = 0.06), c none shown (p = 0.6)"
    assert few.screen == f"Corrected over these 3 behaviours (Holm): {told}."
    assert report_of(few).text.endswith(few.screen)
    # And an effect is called one only where it is left of it.
    left = (
        "Not decided: by itself it is told from vectors that should do nothing, but not among 3 behaviours (p = 0.06, "
    )
    for told in (report_of(few).text, sections(few)[0].text):
        assert told.count("An effect on this model") == 1 and f"{left}Holm). Numbers." in told
    said = [each["conclusion"] for each in few.summary()["behaviours"]]
    assert said[0] == several[0].conclusion and said[1].startswith(left) and said[2] == several[2].conclusion
    assert few.summary()["corrected"]["b"] == {"p": pytest.approx(0.06), "grade": UNDECIDED}
    # What is said while others are still to come stays.
    alone = replace(found, findings=(several[1],), asked=("b", "a", "c"))
    assert alone.screen == "" and alone.corrected["b"] == (pytest.approx(0.09), UNDECIDED)
    assert alone.concluded(several[1]).startswith("Not decided: by itself") and "among 3 beh" in report_of(alone).text
    two = replace(alone, findings=(several[0], several[1]))
    assert two.screen.startswith(
        "Corrected over these 2 behaviours and 1 to come (Holm): a effect with the vector (p = "
    )
    assert replace(found, findings=(several[1],), asked=("b",)).concluded(several[1]) == several[1].conclusion


def test_a_verdict_says_what_system_prompts_do_beside_it(tiny_llama, found, vector):
    """Those that ask for the behaviour, on the verdict's own items; none where none are known."""
    one, other = found.findings
    told = one.verdict.told
    assert [wording.told for wording in told.wordings] == [TOLD.positive] and str(told) in one.conclusion
    request = EvaluationRequest.parse(
        data=ONE.test,
        multipliers=[-1, 1],
        counts=False,
        made_from=ONE.pairs.in_both_letter_orders(),
        told=[TOLD.positive],
    )
    expected = finish(evaluate(tiny_llama, request, vector)).conclusion.verdict.told
    for mine, theirs in ((told.vector, expected.vector), *zip(told.wordings, expected.wordings, strict=True)):
        for part in ("alone", "together"):
            mean, same = (getattr(each, part, each).difference.value for each in (mine, theirs))
            assert mean == pytest.approx(same, abs=1e-5)
    assert other.verdict.told is None
