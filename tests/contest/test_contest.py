import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.cli.main import main
from caa_core.contest.contest import compete, same_cosine
from caa_core.contest.decomposition import less_shared
from caa_core.contest.dominance import Contest, conclude
from caa_core.contest.speaking import by_prompts
from caa_core.contest.voice import Voice
from caa_core.data.presets import find_contest, find_pairs, presets
from caa_core.errors import InputError
from caa_core.measuring.costs import strength
from caa_core.measuring.costs.answers import answers_on, plain_answers, token_costs
from caa_core.metrics.correction import paired_p
from caa_core.metrics.estimates import Estimate, mean_of
from caa_core.metrics.items import choose_items
from caa_core.model.loading import hidden_of
from caa_core.model.prompts import Cue, render_pair
from caa_core.progress import finish
from caa_core.reports.contest import report_of
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.steering.operations import Operation
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector
from tests.helpers import results
from tests.helpers.contests import LAYER, PROMPTS, asked_of
from tests.helpers.reference import changes_by, modules, steered_logits
from tests.helpers.sizes import FULL


def contest(planted, a, b, multiplier=0.2, **settings):
    model, items, *_ = planted
    sides = [Voice(name, (Steer(v, LAYER, multiplier),)) for name, v in (("A", a), ("B", b))]
    return finish(compete(model, items, *sides, **settings))


def test_two_voices_that_add(planted):
    *_, toward, idle = planted
    found = contest(planted, 3 * toward + idle[0], -toward + idle[1])
    assert found.contest and found.items == found.prompts == len(PROMPTS)
    assert found.delta_a.low > 0 > found.delta_b.high
    # 3 forward and 1 back: 2 are left. D = (2·2 - 3 + 1) / (3 + 1), and adding them says the same.
    assert found.dominance.value == pytest.approx(0.5, abs=0.05)
    assert found.additive == pytest.approx(found.dominance.value, abs=0.02)
    assert abs(found.interaction.value) < 0.05 * found.delta_a.value and found.control_count == 39
    assert not found.more_than_added and "Nothing is shown beyond what adding them predicts" in found.verdict
    assert found.headline == "The model follows A when both voices speak at once."
    assert found.verdict.startswith(
        f"{found.headline} Its answers then move as A alone moves them, rather than as B does."
    )


def test_the_sides_may_be_exchanged(planted):
    *_, toward, idle = planted
    found = contest(planted, toward + idle[0], -3 * toward + idle[1], controls=0)
    assert found.dominance.value == pytest.approx(-0.5, abs=0.05)
    assert (
        found.verdict.startswith("The model follows B when ") and "A and B are judged without controls" in found.verdict
    )


def test_what_is_no_contest_says_what_it_is(planted):
    *_, toward, idle = planted
    for a, b, said in (
        (toward, -toward, "No contest: A and B cancel, and next to nothing is left of the two."),
        (toward, toward + idle[0], "No contest: both voices push the answers towards A."),
        (-toward, -toward + idle[0], "No contest: both voices push the answers towards B."),
        (-toward, toward + idle[0], "No contest: both voices push the answers the wrong way."),
    ):
        found = contest(planted, a, b, controls=0)
        assert not found.contest and said in found.verdict
    silent = contest(planted, toward, torch.zeros_like(toward), controls=0)
    assert silent.verdict.startswith("No contest: only A is shown to move the answers its own way. Δ of A")
    assert silent.dominance.value == pytest.approx(1)
    nobody = contest(planted, toward, -toward, multiplier=0.0, controls=0)
    assert nobody.headline == "No contest: neither A nor B is shown to move the answers its own way."
    assert nobody.verdict.startswith(nobody.headline) and nobody.dominance is None


def test_what_sets_each_apart_is_measured_by_itself(planted):
    model, items, toward, idle = planted
    a, b = of_vector("A", 2 * toward + idle[0]), of_vector("B", idle[0])
    found = finish(compete(model, items, a, b, controls=0, second_voices=0))
    for one, alone in zip((found.apart_a, found.apart_b), less_shared(a, b), strict=True):
        by_itself = finish(compete(model, items, alone, b, controls=0, second_voices=0))
        assert one.change.value == pytest.approx(by_itself.delta_a.value, abs=1e-5)
        assert one.kl == pytest.approx(by_itself.kl[0], abs=1e-5)
    assert found.apart_a.change.value == pytest.approx(found.delta_a.value / 2, rel=0.05) and found.apart_a.kl > 0


def test_a_vector_against_itself_changes_nothing(planted):
    """The self-test: Δ of v with -v is 0, and it has no dominance."""
    *_, toward, _ = planted
    found = contest(planted, toward, -toward, controls=3)
    assert found.delta_ab.value == 0 and not found.delta_ab.has_interval
    assert found.dominance is None and found.additive is None and found.delta_a.value > 0


def test_what_only_both_together_do_is_more_than_added(planted):
    """Planted: behind the last block, the answers move towards A's where both voices' own directions are found."""
    model, items, toward, idle = planted

    def block(_module, _inputs, output):
        hidden = hidden_of(output)
        both = (hidden @ idle[0] > 20) & (hidden @ idle[1] > 20)
        hidden += 30 * both[..., None] * toward

    hook = modules(model)[LAYER].register_forward_hook(block)
    try:
        a, b = (Steer(sign * 10 * toward + 40 * idle[i], 2, 1.0) for i, sign in enumerate((1, -1)))
        sides = Voice("A", (a,)), Voice("B", (b,))
        found, few, alone = (finish(compete(model, items, *sides, second_voices=n)) for n in (39, 20, 0))
    finally:
        hook.remove()
    assert "more than a sum is not judged, which takes second voices (I = " in alone.verdict and alone.controls is None
    assert "more than a sum is not judged, which takes 39 (I = " in few.verdict and few.control_count == 20
    assert not alone.more_than_added and not few.more_than_added
    assert found.more_than_added and found.interaction.value > found.controls[1] and found.interaction_p == 0.05
    assert found.verdict.startswith("The model follows A") and "That is not what adding them predicts" in found.verdict


def test_numbers_are_those_of_plain_passes(planted):
    """m under both voices, by hand: one text, one pass, hooks."""
    model, items, toward, idle = planted
    a, b = Steer(toward * 3, 1, 0.5), Steer(idle[0] * 3, 2, -0.5)
    found = finish(compete(model, items, Voice("A", (a,)), Voice("B", (b,)), controls=0))
    pair = render_pair(model.tokenizer, items.pairs[1])
    ids = pair.positive.ids[: pair.positive.start]
    additions = [(steer.layer, steer.multiplier * steer.vector) for steer in (a, b)]
    logits = steered_logits(model, ids, additions, [len(ids) - 1]).log_softmax(-1)
    expected = logits[pair.positive.ids[-1]] - logits[pair.negative.ids[-1]]
    assert found.rows[1]["with_both"] == pytest.approx(expected.item(), abs=1e-4)


def test_a_voice_that_takes_away_is_measured_and_has_no_estimates(planted):
    """Its opposite undoes nothing, so the self-test is of A alone; and no controls of its estimate stand beside it."""
    model, items, toward, _ = planted
    added, taken = (SteeringVector(name, {2: v}, {}, Provenance()) for name, v in (("A", 3 * toward), ("B", -toward)))
    a, b = Voice.of(added, 2, 0.5), Voice.of(taken, 2, 1.0, operation=Operation("ablate"))
    found = finish(compete(model, items, a, b, second_voices=0))
    pair = render_pair(model.tokenizer, items.pairs[1])
    ids = pair.positive.ids[: pair.positive.start]
    logits = steered_logits(model, ids, changes_by(a.steers + b.steers), [len(ids) - 1]).log_softmax(-1)
    expected = logits[pair.positive.ids[-1]] - logits[pair.negative.ids[-1]]
    assert found.rows[1]["with_both"] == pytest.approx(expected.item(), abs=1e-4)
    # What A adds lies along what B takes away, so that both do what B does.
    assert [row["with_both"] for row in found.rows] == pytest.approx([row["with_b"] for row in found.rows], abs=1e-4)
    assert found.self_test < 1e-3 and (found.voice_a.by, found.voice_b.by) == ("controls", "prompts")
    assert not found.cancels and found.alone_a and found.alone_b is None


def test_a_voice_may_speak_at_several_layers(planted):
    model, items, toward, idle = planted
    vector = SteeringVector("A", dict.fromkeys(range(4), 3 * toward), {}, Provenance())
    a, b = Voice.of(vector, [1, 2], 0.6), Voice("B", (Steer(idle[0] * 3, 2, -0.5),))
    assert [steer.multiplier for steer in a.steers] == [0.3, 0.3]
    found = finish(compete(model, items, a, b))
    pair = render_pair(model.tokenizer, items.pairs[1])
    ids = pair.positive.ids[: pair.positive.start]
    logits = steered_logits(model, ids, changes_by(a.steers + b.steers), [len(ids) - 1]).log_softmax(-1)
    expected = logits[pair.positive.ids[-1]] - logits[pair.negative.ids[-1]]
    assert found.rows[1]["with_both"] == pytest.approx(expected.item(), abs=1e-4)
    assert found.voice_a.by == "prompts" and found.self_test < 1e-3 and a.relative_strength is None
    with pytest.raises(InputError, match="A does not steer at one layer, which is asked for here"):
        a.with_steer(layer=1)


def test_what_the_model_is_told_is_a_voice_too(planted):
    model, items, toward, _ = planted
    told = Voice("told", system="Say x, and nothing else.")
    added = Voice("added", (Steer(-toward, LAYER, 0.1),))
    found = finish(compete(model, items, told, added))
    assert found.controls is None and found.kl[0] is None and found.kl[1] > 0
    alone = finish(compete(model, items, told, Voice("nothing"), controls=0))
    assert alone.delta_a == found.delta_a and alone.delta_ab == alone.delta_a


def test_same_cosine_voices():
    torch.manual_seed(0)
    a, b = Steer(torch.randn(64), 1, 1.0), Steer(torch.randn(64), 2, -0.5)
    cosine = torch.cosine_similarity(a.vector, b.vector, dim=0)
    drawn = same_cosine(a, b, 20)
    for steer in drawn:
        assert torch.cosine_similarity(a.vector, steer.vector, dim=0) == pytest.approx(cosine.item(), abs=1e-5)
        assert steer.vector.norm().item() == pytest.approx(b.vector.norm().item(), rel=1e-5)
        assert (steer.layer, steer.multiplier) == (2, -0.5)
    apart = [torch.cosine_similarity(steer.vector, b.vector, dim=0).item() for steer in drawn]
    assert max(apart) < 0.6


def test_what_rounding_makes_of_nothing_is_no_change():
    assert not Estimate(7e-7, 1e-7, 1.2e-6).is_clear and not Estimate(-7e-7, -1.2e-6, -1e-7).is_clear
    assert Estimate(2e-4, 1e-4, 3e-4).is_clear and Estimate(-2e-4, -3e-4, -1e-4).is_clear
    assert not Estimate(0.2, -0.1, 0.5).is_clear


def test_contest_files(tmp_path):
    found = find_contest("joy")
    assert found.name == "joy against gloom" and len(found.pairs) == 13
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([{"prompt": "Hi", "a": "Yes!", "b": "No."}] * 2))
    assert find_contest(file).pairs[0].negative == "No."
    file.write_text(json.dumps([{"prompt": "Hi", "a": "Yes!", "c": "No."}] * 2))
    with pytest.raises(InputError):
        find_contest(file)


def test_a_contest_on_the_command_line(planted, tmp_path, capsys):
    out = tmp_path / "contest.json"
    asked = [*asked_of(planted, tmp_path), "--no-controls", "--second-voices", "39", "--json", "--out", str(out)]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text())
    assert found["contest"] is True and found["items"] == len(found["rows"]) == len(PROMPTS)
    assert found["low"] < found["dominance"] < found["high"] and found["control_count"] == 39
    assert found["dominance"] == pytest.approx(0.5, abs=0.05) and not found["more_than_added"]
    assert "Nothing is shown beyond what adding them predicts" in found["verdict"]
    assert found["voice_a"]["grade"] == "effect"


def test_labels_of_own_pairs_are_shuffled_on_the_command_line(planted, tmp_path, capsys):
    made_from = [f"--made-from-{letter}={data}" for letter, data in (("a", "joy"), ("b", "gloom"))]
    assert main([*asked_of(planted, tmp_path), *made_from, "--no-second-voices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["contest"] and found["controls"] is None
    assert [found[f"alone_{letter}"]["shuffled_from"] for letter in "ab"] == ["joy", "gloom"]


def test_voices_at_equal_cost_on_the_command_line(planted, tmp_path, capsys, monkeypatch):
    few = tuple(part[:2] for part in plain_answers())
    monkeypatch.setattr(strength, "plain_answers", lambda: few)
    asked = [*asked_of(planted, tmp_path), "--no-controls", "--no-second-voices", "--equal-cost"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    factor, wanted = found["equal_cost"]["factor"], found["equal_cost"]["wanted"]
    model, answers = planted[0], answers_on(planted[0], few[0])
    for name, multiplier in (("A", 0.2), ("B", 0.2 * factor)):
        steers = (Steer(load_vector(tmp_path / f"{name}.safetensors").at(LAYER), LAYER, multiplier),)
        cost = finish(token_costs(model, answers, steers, [1.0], AFTER_PROMPT)).mean()
        assert cost == pytest.approx(wanted, rel=0.06)
    (added,) = found["settings"]["b"]["added"]
    assert factor > 1 and added["multiplier"] == pytest.approx(0.2 * factor)
    report = report_of(found)
    assert report.text.startswith(f"B as strong as costs what A does: × {factor:g} costs ")
    assert main([*asked, "--system-a", "Be glad."]) == 2
    assert "Only two vectors can be made to cost the same" in capsys.readouterr().err


@pytest.mark.skipif(not FULL, reason="a minute on two cores: make soak")
def test_formal_against_casual_on_the_embedded_model(embedded):
    """Both voices speak beside controls, and together nothing is shown beyond adding them."""
    items = finish(choose_items(embedded, find_contest("formal")))
    vectors = (load_vector(presets()[name].vector_file) for name in ("formal", "casual"))
    sides = [Voice.of(vector, 10, 1.0) for vector in vectors]
    found = finish(compete(embedded, items, *sides))
    assert found.contest and found.items == len(found.rows) == len(items.pairs)
    assert found.dominance.low < found.dominance.value < found.dominance.high
    assert not found.more_than_added


def test_why_a_voice_without_controls_is_not_decided_is_what_is_so():
    """p of Student's t and the interval need not agree."""
    for change, why in (
        (Estimate(0.4, -0.1, 0.9), "its interval holds 0"),
        (Estimate(0.04, 0.01, 0.07), "it is smaller than 0.05"),
        (Estimate(0.04, -0.01, 0.09), "its interval holds 0 and it is smaller than 0.05"),
    ):
        found = by_prompts(change, 0.03, 1)
        assert (found.grade, found.way, found.why) == ("not decided", 0, why)


def test_bad_voices_are_said(capsys):
    assert main(["compete", "--data", "joy", "--a", "joy:10:1"]) == 2
    assert "Give voice B a vector (--b), a system prompt (--system-b) or the beginning" in capsys.readouterr().err


def of_vector(name, direction, multiplier=0.2, data="joy"):
    """A voice that says that it was made from a preset's pairs."""
    vector = SteeringVector(name, {LAYER: direction}, {}, said_of(find_pairs(data)) if data else Provenance())
    return Voice.of(vector, LAYER, multiplier, name)


def said_of(data):
    known = {"num_pairs": len(data.pairs), "pairs_sha256": data.pairs_sha256}
    return Provenance(dataset=data.name, dataset_sha256=data.sha256, **known)


def test_a_voice_that_does_more_than_its_controls(planted):
    model, items, toward, idle = planted
    a, b = of_vector("A", 3 * toward + idle[0]), of_vector("B", -3 * toward + idle[1])
    parts = []
    found = finish(compete(model, items, a, b, written=4, second_voices=0), parts.append)
    # The verdict does not wait for answers that are written.
    (before,) = (part for part in parts if isinstance(part, Contest))
    assert before.repetition is None and replace(found, repetition=None) == before
    assert found.contest and found.alone_a.count == found.alone_b.count == 999
    for own, grade, alone, change in (
        (1, found.voice_a, found.alone_a, found.delta_a),
        (-1, found.voice_b, found.alone_b, found.delta_b),
    ):
        assert all(low < 0 < high for low, high in (alone.random, alone.shuffled)) and alone.shuffled_from == "joy"
        assert (grade.grade, grade.way, grade.by) == ("effect", 1, "controls") and grade.p <= 0.05
        # Behind the last block a change is nearly what it is to first order.
        assert grade.estimate == pytest.approx(change.value, rel=0.1) and own * grade.estimate > 0
    assert found.self_test == 0 and "without controls" not in found.verdict
    assert len(found.repetition) == 4 and all(0 <= share <= 1 for share in found.repetition)


def test_estimates_are_the_derivative_of_what_is_measured(planted):
    """Under a system prompt, over a prompt that is asked twice, and with a multiplier below 0."""
    model, items, toward, idle = planted
    items = items.some([0, 0, 1, 2, 3, 4, 5, 6, 7])
    a, b = of_vector("A", toward, 0.004), of_vector("B", toward + idle[0], -0.004)
    found = finish(compete(model, items, a, b, system="Be brief."))
    assert found.prompts == 8 and found.items == 9
    for grade, change in ((found.voice_a, found.delta_a), (found.voice_b, found.delta_b)):
        assert grade.estimate == pytest.approx(change.value, rel=0.03)
    for wrong in (found.anti_steerable_a, found.anti_steerable_b):
        assert wrong.share.value == wrong.estimate and wrong.prompts == 8 and wrong.random[0] < 0.5 < wrong.random[1]
    assert (found.anti_steerable_a.share.value, found.anti_steerable_b.share.value) == (0, 0)


def test_a_voice_that_random_vectors_reach_does_not_speak(planted):
    """Its own change is sure; of vectors of the same norm many go further."""
    model, items, toward, idle = planted
    a, b = of_vector("A", 3 * toward), of_vector("B", -0.5 * toward + 3 * idle[1])
    assert finish(compete(model, items, a, b, controls=0, second_voices=0)).contest  # without controls
    found = finish(compete(model, items, a, b))
    assert not found.contest and (found.voice_b.grade, found.voice_b.way) == ("none shown", 0)
    assert found.verdict.startswith("No contest: only A is shown to move the answers its own way. Δ of A is ")
    assert "Δ of B is" in found.verdict and "of 999 vectors at random 95% lie within" in found.verdict
    assert found.controls is None  # second voices are asked where one is followed


def test_labels_are_shuffled_of_a_voices_own_pairs_alone(planted):
    """Those of its A/B questions where it was made from these; a person's own; of pairs that nobody knows, none, and
    then a voice is not said to speak."""
    model, items, toward, idle = planted
    a = of_vector("A", 3 * toward + idle[0], data="joy:ab")
    b = of_vector("B", -3 * toward + idle[1], data="")
    found = finish(compete(model, items, a, b))
    assert found.alone_a.shuffled_from == "joy (A/B questions)" and found.alone_a.shuffled
    assert (found.alone_b.shuffled, found.alone_b.shuffled_from, found.alone_b.count) == (None, "", 999)
    assert Contest.of(json.loads(json.dumps(found.summary()))) == found
    assert (found.voice_b.grade, found.voice_b.way) == ("not decided", 0) and not found.contest
    assert "Whether B moves them is not decided" in found.verdict and "are not known here" in found.verdict
    known = finish(compete(model, items, a, replace(b, made_from=find_pairs("gloom"))))
    assert known.contest and known.alone_b.shuffled_from == "gloom"


def test_voices_of_words_are_corrected_for_being_two(planted):
    """By their intervals each would be told from 0; for two of them Holm asks one of them for p = 0.025."""
    _, items, *_ = planted
    moved = 0.26 + np.linspace(-0.4, 0.4, 8)
    m = np.stack([np.zeros(8), moved, -moved, np.zeros(8)])
    words = Voice("told", system="Say x."), Voice("begun", prefill="So")
    raw = paired_p(m[1:3])
    assert 0.025 < raw[0] <= 0.05 and mean_of(moved).is_clear
    found = conclude(items, *words, m, np.zeros_like(m))
    assert found.voice_a.p == pytest.approx(2 * raw[0]) and found.voice_a.grade == found.voice_b.grade == "none shown"
    m[1] += 0.5
    found = conclude(items, *words, m, np.zeros_like(m))
    assert found.voice_b.p == pytest.approx(raw[1]) and found.contest
    assert "told and begun are judged without controls: by intervals over prompts alone." in found.verdict


def test_what_was_kept_before_is_still_read():
    kept = results.contest()
    for name in ("voice_a", "voice_b", "interaction_p", "ahead", "ahead_low", "ahead_high", "ahead_p"):
        del kept[name]
    kept.pop("anti_steerable_a"), kept.pop("anti_steerable_b")
    found = Contest.of(kept)
    assert found.followed == "joy" and found.voice_a is None and not found.more_than_added
    assert found.anti_steerable_a is None


def test_a_dominant_voice(planted):
    """Planted: where A's own direction is found, behind the last block the push towards the answers is A's."""
    model, items, toward, idle = planted

    def block(_module, _inputs, output):
        hidden = hidden_of(output)
        there = (hidden @ idle[0] > 20)[..., None]
        hidden += there * (30 - hidden @ toward)[..., None] * toward

    hook = modules(model)[LAYER].register_forward_hook(block)
    try:
        a, b = Steer(40 * idle[0], 2, 1.0), Steer(-10 * toward, 2, 1.0)
        found = finish(compete(model, items, Voice("A", (a,)), Voice("B", (b,)), controls=0))
    finally:
        hook.remove()
    assert found.contest and found.dominance.value == pytest.approx(1, abs=0.1)
    assert found.interaction.low > 0 and found.additive < 0.5


def test_words_that_the_answer_begins_with_are_a_voice(planted):
    """m under a vector and the beginning of an answer, by hand: one text, one pass, hooks."""
    model, items, toward, _ = planted
    words, vector = Voice("words", prefill="I say:"), Steer(toward * 3, 1, 0.5)
    found = finish(compete(model, items, Voice("A", (vector,)), words))
    pair = render_pair(model.tokenizer, items.pairs[1], cue=Cue("I say:"))

    def plainly(answer, additions):
        first = answer.prompt_length - 1  # the prompt's last token; the words behind it are steered too
        places = range(answer.start, len(answer.ids))
        logits = [
            steered_logits(model, answer.ids[:i], additions, list(range(first, i))).log_softmax(-1) for i in places
        ]
        return sum(logp[answer.ids[i]] for logp, i in zip(logits, places, strict=True)) / len(places)

    for name, additions in (("with_b", []), ("with_both", [(vector.layer, vector.multiplier * vector.vector)])):
        expected = plainly(pair.positive, additions) - plainly(pair.negative, additions)
        assert found.rows[1][name] == pytest.approx(expected.item(), abs=1e-4)
    assert found.kl[1:] == (None, None) and found.controls is None


def test_either_voice_may_be_words(planted):
    """The same two the other way round, with the answers exchanged, are the same contest from the other side."""
    model, items, toward, _ = planted
    told, added = Voice("told", system="Say x, and nothing else."), Voice("added", (Steer(-toward, LAYER, 0.1),))
    there = finish(compete(model, items, told, added))
    turned = tuple(replace(pair, positive=pair.negative, negative=pair.positive) for pair in items.pairs)
    back = finish(compete(model, replace(items, pairs=turned), added, told))
    assert back.delta_b.value == pytest.approx(-there.delta_a.value, abs=1e-5)
    assert back.delta_ab.value == pytest.approx(-there.delta_ab.value, abs=1e-5)
    assert back.interaction.value == pytest.approx(-there.interaction.value, abs=1e-5)
