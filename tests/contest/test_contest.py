import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.cli.main import main
from caa_core.contest.contest import compete, same_cosine
from caa_core.contest.dominance import Contest, conclude
from caa_core.contest.voice import Voice
from caa_core.data.presets import find_contest, find_pairs, presets
from caa_core.errors import InputError
from caa_core.metrics.estimates import Estimate
from caa_core.metrics.items import choose_items
from caa_core.model.loading import hidden_of
from caa_core.model.prompts import Cue, render_pair
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector
from tests.helpers.contests import LAYER, PROMPTS, asked_of, voice
from tests.helpers.reference import modules, steered_logits
from tests.helpers.sizes import FULL


def contest(planted, a, b, multiplier=0.02, **settings):
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
    assert abs(found.interaction.value) < 0.02 * found.delta_a.value
    assert not found.more_than_added and "no more than adding them predicts" in found.verdict
    assert found.verdict.startswith("The model follows A: D = 0.5") and found.control_count == 20


def test_on_ties_nobody_is_followed(planted):
    """Each voice alone moves the answers, and both together neither way: named is one in about 5 % of 400 draws."""
    _, items, toward, idle = planted
    a, b = voice("A", toward + idle[0]), voice("B", idle[1] - toward)
    random = np.random.default_rng(3)
    followed = Counter()
    for _ in range(400):
        m = np.stack([np.zeros(len(PROMPTS)), *(way + random.normal(0, 0.3, len(PROMPTS)) for way in (1, -1, 0))])
        found = conclude(items, a, b, m, np.zeros_like(m))
        followed[found.verdict.split(":")[0]] += 1
    assert followed["The model follows A"] + followed["The model follows B"] <= 0.07 * 400
    assert followed["The model follows neither"] > 0.9 * 400


def test_the_sides_may_be_exchanged(planted):
    *_, toward, idle = planted
    found = contest(planted, toward + idle[0], -3 * toward + idle[1], controls=0)
    assert found.dominance.value == pytest.approx(-0.5, abs=0.05)
    assert found.verdict.startswith("The model follows B") and "without controls" in found.verdict


def test_what_is_no_contest_says_what_it_is(planted):
    *_, toward, idle = planted
    for a, b, said in (
        (toward, -toward, "cancel"),
        (toward, toward + idle[0], "Both push the same way, towards A"),
        (-toward, -toward + idle[0], "Both push the same way, towards B"),
        (-toward, toward + idle[0], "Both push the wrong way"),
    ):
        found = contest(planted, a, b, controls=0)
        assert not found.contest and said in found.verdict
    silent = contest(planted, toward, torch.zeros_like(toward), controls=0)
    assert silent.verdict.startswith("Only A speaks") and silent.dominance.value == pytest.approx(1)
    nobody = contest(planted, toward, -toward, multiplier=0.0, controls=0)
    assert nobody.verdict.startswith("Neither speaks") and nobody.dominance is None


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
        found, alone = (finish(compete(model, items, Voice("A", (a,)), Voice("B", (b,)), controls=n)) for n in (20, 0))
    finally:
        hook.remove()
    assert "perhaps not what adding them predicts" in alone.verdict and "without controls" in alone.verdict
    assert found.more_than_added and found.interaction.value > found.controls[1]
    assert found.verdict.startswith("The model follows A") and "not what adding them predicts" in found.verdict


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
    asked = [*asked_of(planted, tmp_path), "--control-seeds", "2", "--json", "--out", str(out)]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text())
    assert found["contest"] is True and found["items"] == len(found["rows"]) == len(PROMPTS)
    assert found["low"] < found["dominance"] < found["high"] and found["control_count"] == 2
    assert found["dominance"] == pytest.approx(0.5, abs=0.05) and not found["more_than_added"]
    assert "no more than adding them predicts" in found["verdict"]


def test_formal_against_casual_on_the_embedded_model(embedded):
    """Both voices speak, and together they do no more than adding them predicts; with `CAA_FULL=1`, beyond controls."""
    items = finish(choose_items(embedded, find_contest("formal").first(13 if FULL else 8)))
    vectors = (load_vector(presets()[name].vector_file) for name in ("formal", "casual"))
    sides = [Voice.of(vector, 10, 1.0) for vector in vectors]
    sides = [side if FULL else replace(side, vector=None) for side in sides]
    found = finish(compete(embedded, items, *sides, controls=2))
    assert found.contest and found.items == len(found.rows) == len(items.pairs) and found.control_count == 2
    assert found.dominance.low < found.dominance.value < found.dominance.high
    assert found.interaction.low < 0 < found.interaction.high and not found.more_than_added
    assert "no more than adding them predicts" in found.verdict


def test_bad_voices_are_said(capsys):
    assert main(["compete", "--data", "joy", "--a", "joy:10:1"]) == 2
    assert "Give voice B a vector (--b), a system prompt (--system-b) or the beginning" in capsys.readouterr().err


def of_vector(name, direction, multiplier=0.02, data="joy"):
    """A voice that says that it was made from a preset's pairs."""
    vector = SteeringVector(name, {LAYER: direction}, {}, said_of(find_pairs(data)) if data else Provenance())
    return Voice.of(vector, LAYER, multiplier, name)


def said_of(data):
    known = {"num_pairs": len(data.pairs), "pairs_sha256": data.pairs_sha256}
    return Provenance(dataset=data.name, dataset_sha256=data.sha256, **known)


def test_a_voice_that_does_more_than_its_controls(planted):
    model, items, toward, idle = planted
    a, b = of_vector("A", 3 * toward + idle[0]), of_vector("B", -3 * toward + idle[1])
    found = finish(compete(model, items, a, b, written=4))
    assert found.contest and found.alone_a.count == found.alone_b.count == 20
    for alone, change in ((found.alone_a, found.delta_a), (found.alone_b, found.delta_b)):
        assert all(low <= 0 <= high for low, high in (alone.random, alone.shuffled))
        assert not alone.reaches(change.value) and alone.shuffled_from == "joy"
    assert found.self_test == 0
    assert len(found.repetition) == 4 and all(0 <= share <= 1 for share in found.repetition)


def test_a_voice_that_random_vectors_reach_does_not_speak(planted):
    """Its own change is small and sure; among 20 vectors of the same norm some go further the same way."""
    model, items, toward, idle = planted
    a, b = of_vector("A", 3 * toward), of_vector("B", -0.3 * toward + 3 * idle[1])
    alone = finish(compete(model, items, a, b, controls=0))
    assert alone.contest  # without controls
    found = finish(compete(model, items, a, b))
    assert not found.contest and found.alone_b.reaches(found.delta_b.value)
    assert found.verdict.startswith("Only A speaks")
    assert "Vectors of the norm of B that say nothing move the answers as far" in found.verdict


def test_labels_are_shuffled_of_a_voices_own_pairs_alone(planted):
    """Those of its A/B questions where it was made from these; of pairs that nobody knows, none."""
    model, items, toward, idle = planted
    a = of_vector("A", 3 * toward + idle[0], data="joy:ab")
    b = of_vector("B", -3 * toward + idle[1], data="")
    found = finish(compete(model, items, a, b, controls=3))
    assert found.alone_a.shuffled_from == "joy (A/B questions)" and found.alone_a.shuffled
    assert (found.alone_b.shuffled, found.alone_b.shuffled_from, found.alone_b.count) == (None, "", 3)
    assert Contest.of(json.loads(json.dumps(found.summary()))).alone_b == found.alone_b
    assert not found.alone_b.reaches(found.delta_b.value)


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
