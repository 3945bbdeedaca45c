import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from caa_core.contest.requests import WrittenRequest
from caa_core.contest.voice import Voice
from caa_core.contest.written import WrittenResult, follow
from caa_core.data.pairs import ContrastPair
from caa_core.data.presets import find_questions, presets
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import VOICES, Direction, HeldOut, Reader, Scale, calibrate, held_out
from caa_core.metrics.estimates import Estimate, Share, auc
from caa_core.model.prompts import ask, with_answer
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
from caa_core.vectors.extraction import preset_vector
from tests.helpers.models import make_tiny
from tests.helpers.reference import residuals
from tests.helpers.results import written

PROMPTS = ("How are you?", "What is rain?", "Tell me a story.", "Where is the sea?", "Who sings?")
SURE = Share(0.9, 0.8, 1.0)


def asked(questions=PROMPTS, **options):
    return WrittenRequest(questions=questions, directions=(), held_out=(), **options)


def pairs(positive, negative):
    return [ContrastPair(prompt, positive, negative, line) for line, prompt in enumerate(PROMPTS, 1)]


def reader(aucs=SURE, voices=2, prompts=8):
    """Readings are projections as they are, and the lean half their difference."""
    directions = tuple(Direction(name, torch.ones(2), 0) for name in ("joy", "gloom")[:voices])
    known = {"A": aucs} if voices == 1 else {"A": SURE, "B": SURE, "A against B": aucs}
    return Reader(directions, (Scale(0.0, 1.0),) * voices, Scale(0.0, 2.0) if voices == 2 else None, known, {}, prompts)


def test_a_reading_is_the_projection_of_the_answers_mean(tiny):
    """By hand: one text, one pass, hooks, the answer's own tokens; a batch of several lengths makes no difference."""
    torch.manual_seed(1)
    directions = [Direction("a", torch.randn(32), 2), Direction("b", torch.randn(32), 1)]
    data = HeldOut(pairs("Wonderful, thank you!", "Fine."), pairs("Dreadful.", "It is as it is, and no more."))
    found = finish(calibrate(tiny, directions, data))
    prompts, answers = ["How are you?", "And the rain, how is it?"], ["Splendid!", "It rains, and rains, and rains."]
    read = finish(found.read(tiny, prompts, answers))
    for prompt, answer, reading in zip(prompts, answers, read, strict=True):
        whole = with_answer(tiny.tokenizer, ask(tiny.tokenizer, prompt), answer)
        streams = residuals(tiny, whole.ids)
        heard = []
        for direction, scale in zip(directions, found.scales, strict=True):
            mean = streams[direction.layer, whole.start :].mean(0)
            heard.append(((mean @ direction.vector / direction.vector.norm()).item() - scale.middle) / scale.half)
        assert (reading.a, reading.b) == pytest.approx(heard, abs=1e-3)
        assert reading.lean == pytest.approx((heard[0] - heard[1] - found.lean.middle) / found.lean.half, abs=1e-3)


def test_held_out_answers_set_the_scale():
    """1 is the mean of a voice's positive answers, -1 of its negative ones; so is the lean for A's and B's."""
    model = make_tiny("llama")
    data = HeldOut(pairs("Great!", "Fine."), pairs("Awful!", "Well."), pairs("Great, great!", "Awful, awful!"))
    found = finish(calibrate(model, [Direction("a", torch.ones(32), 1), Direction("b", -torch.arange(32.0), 2)], data))

    def mean(name, *answers):
        read = finish(found.read(model, PROMPTS * len(answers), [a for a in answers for _ in PROMPTS]))
        return np.mean([getattr(reading, name) for reading in read])

    ends = [mean("a", "Great!"), mean("a", "Fine."), mean("b", "Awful!"), mean("b", "Well.")]
    ends += [mean("lean", "Great!", "Great, great!"), mean("lean", "Awful!", "Awful, awful!")]
    assert ends == pytest.approx([1, -1] * 3, abs=1e-3)


def test_which_voice_an_answer_has():
    found = reader().judge(np.array([[2.0, 0.5, 1.0, -1.0, -0.1, np.nan], [0.0, 2.0, 0.9, -2.0, 0.4, np.nan]]))
    assert [reading.voice for reading in found] == ["A", "B", "mixed", "neither", "mixed", "neither"]
    assert found[0].lean == 1.0 and found[-1].a is found[-1].lean is None
    alone = reader(voices=1).judge(np.array([[2.0, -0.5]]))
    assert [(reading.voice, reading.b, reading.lean) for reading in alone] == [
        ("A", None, None),
        ("neither", None, None),
    ]


def test_no_voice_is_named_by_a_reading_that_cannot_tell():
    poor = reader(Share(0.79, 0.6, 0.95))
    assert not poor.trusted and poor.judge(np.array([[2.0], [0.0]]))[0].voice is None
    assert "AUC under 0.8 for joy against gloom 0.79 (0.60 to 0.95)" in poor.why_not_trusted
    assert reader(Share(0.8, 0.6, 0.95)).why_not_trusted == ""
    wide = reader(Share(0.9, 0.48, 1.0))
    assert not wide.trusted and "not told from chance for joy against gloom 0.90 (0.48 to" in wide.why_not_trusted
    few = reader(Share(1.0, 0.59, 1.0), prompts=7)
    said = "No voice is named: 7 held-out prompts are too few for a verdict, which takes at least 8."
    assert not few.trusted and few.why_not_trusted == said


ALIKE = (1.0, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("difference", "change", "questions", "follows", "said"),
    [
        ((0.5, 0.2, 0.8), (0.4, 0.1, 0.7), 8, 1, "Written answers follow joy. A less B +0.50"),
        ((-0.5, -0.8, -0.2), (-0.4, -0.7, -0.1), 8, -1, "Written answers follow gloom. A less B -0.50"),
        ((0.5, 0.2, 0.8), (0.1, -0.2, 0.4), 8, 0, "Written answers lean to joy, but no more than unsteered ones do"),
        ((0.5, 0.2, 0.8), (-0.4, -0.7, -0.1), 8, 0, "Written answers lean to joy, but no more than unsteered ones do"),
        ((0.1, -0.2, 0.4), (0.4, 0.1, 0.7), 8, 0, "It is not shown that written answers follow one voice more than"),
        (ALIKE, ALIKE, 8, 0, "It is not shown that written answers follow one voice more than"),
        ((0.5, 0.2, 0.8), (0.4, 0.1, 0.7), 7, 0, "Under both, answers read as joy 0.50"),
    ],
)
def test_written_answers_follow_where_lead_and_change_are_both_told_from_nothing(
    difference, change, questions, follows, said
):
    changed = {"difference": Estimate(*difference), "change": Estimate(*change), "questions": questions}
    found = dataclasses.replace(WrittenResult.of(written()), a="joy", b="gloom", **changed)
    assert found.follows == follows and found.verdict.startswith(said)
    few = "7 questions are too few for a verdict, which takes at least 8." in found.verdict
    assert few == (questions == 7)


def test_auc_of_known_cases():
    labels, prompts = np.repeat([True, False], 5), PROMPTS * 2
    apart = auc(np.repeat([1.0, 0.0], 5), labels, ~labels, prompts)
    # All told apart: the interval is that of five coins that all came up heads.
    assert (apart.value, apart.high) == (1, 1) and apart.low == pytest.approx(0.478, abs=0.001)
    assert auc(np.zeros(10), labels, ~labels, prompts).value == 0.5
    assert auc(np.repeat([0.0, 1.0], 5), labels, ~labels, prompts).value == 0


def test_auc_and_its_interval_as_others_compute_them():
    random = np.random.default_rng(3)
    labels = np.repeat([True, False], 60)
    values, prompts = random.normal(labels * 0.8, 1), [str(i) for i in range(60)] * 2
    found = auc(values, labels, ~labels, prompts)
    assert found.value == pytest.approx(roc_auc_score(labels, values))
    expected = bootstrap(
        (values[:60], values[60:]),
        lambda high, low: roc_auc_score(labels, np.concatenate([high, low])),
        paired=True,
        vectorized=False,
        n_resamples=500,
        method="percentile",
        rng=random,
    ).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.03) and found.high == pytest.approx(expected.high, abs=0.03)


def test_a_voice_that_is_planted_is_heard_and_one_that_is_turned_round_is_not():
    model = make_tiny("llama")
    more = [ContrastPair(f"And the {what}?", "Joy, joy, joy!", "A plain answer.", 6) for what in ("rain", "sun", "sea")]
    data = HeldOut([*pairs("Joy, joy, joy!", "A plain answer."), *more])

    def mean(prompt, answer):
        whole = with_answer(model.tokenizer, ask(model.tokenizer, prompt), answer)
        return residuals(model, whole.ids)[1, whole.start :].mean(0)

    vector = sum(mean(prompt, "Joy, joy, joy!") - mean(prompt, "A plain answer.") for prompt in PROMPTS)
    found = finish(calibrate(model, [Direction("joy", vector, 1)], data))
    assert found.aucs["A"].value == 1 and found.accuracy == {"A": 1.0, "neither": 1.0}
    shouted = [dataclasses.replace(pair, prompt=f" {pair.prompt.upper()}") for pair in data.a]
    again = finish(calibrate(model, [Direction("joy", vector, 1)], HeldOut([*data.a, *shouted])))
    assert again.aucs == found.aucs and again.prompts == 8, "the same prompts again prove no more"
    turned = finish(calibrate(model, [Direction("joy", -vector, 1)], data))
    assert turned.aucs["A"].value == 0 and not turned.trusted and turned.accuracy == {}


def test_what_calibration_asks_for():
    model = make_tiny("llama")
    copies = [ContrastPair(f"How{' ' * n}are you?", "Great!", "Fine.", n) for n in range(1, 6)]
    with pytest.raises(InputError, match="voice joy takes held-out answers to at least 4 prompts"):
        finish(calibrate(model, [Direction("joy", torch.ones(32), 1)], HeldOut(copies)))
    with pytest.raises(InputError, match="voice joy takes held-out answers to at least 4 prompts"):
        finish(calibrate(model, [Direction("joy", torch.ones(32), 1)], HeldOut(pairs("Yes!", "No.")[:3])))


SIDES = (
    Voice("joy", (Steer(torch.arange(32.0) - 15, 1, 0.3),)),
    Voice("gloom", (Steer(torch.ones(32), 2, -2.0),), "Be sad."),
)


@pytest.fixture(scope="module")
def followed():
    model = make_tiny("llama")
    data = HeldOut(pairs("Great!", "Fine."), pairs("Awful!", "Well."))
    directions = [voice.direction for voice in SIDES]
    trusted = dataclasses.replace(
        finish(calibrate(model, directions, data)), aucs={"A": SURE, "B": SURE, "A against B": SURE}, prompts=8
    )
    events = []
    found = finish(follow(model, trusted, *SIDES, asked(samples=3, max_new_tokens=5, seed=7)), events.append)
    parts = [event for event in events if isinstance(event, WrittenResult)]
    assert [part.questions for part in parts] == [2, 4, 5] and parts[-1] == found, "what has come is kept"
    assert events[-2].fraction == pytest.approx(1)
    return model, trusted, found


def test_every_arm_is_written_under_its_own_voices(followed):
    """Question 2 in sample 1, by itself: each arm under what is its own, all with the same random numbers."""
    model, _, found = followed
    number = 1 * len(PROMPTS) + 2
    place = 2 * 3 + 1
    a, b = SIDES
    for arm, steers, told in (
        ("unsteered", (), ""),
        ("A", a.steers, ""),
        ("B", b.steers, "Be sad."),
        ("both", a.steers + b.steers, "Be sad."),
    ):
        row = BatchRow(ask(model.tokenizer, PROMPTS[2], told), steers)
        alone = finish(generate(model, [row], Decoding(5, 1.0, 7 + number)))
        answer = found.arms[arm].answers[place]
        assert (answer["question"], answer["answer"]) == (PROMPTS[2], alone[0].text)


def test_shares_are_of_answers_and_their_intervals_over_questions(followed):
    _, _, found = followed
    assert (found.questions, found.samples) == (5, 3)
    for arm in found.arms.values():
        assert sum(share.value for share in arm.shares.values()) == pytest.approx(1)
        voices = [answer["voice"] for answer in arm.answers]
        assert len(voices) == 15
        for voice in VOICES:
            assert arm.shares[voice].value == pytest.approx(voices.count(voice) / 15)
            assert arm.shares[voice].low <= arm.shares[voice].value <= arm.shares[voice].high
    both = found.arms["both"].shares
    assert found.difference.value == pytest.approx(both["A"].value - both["B"].value)
    told = json.loads(json.dumps(found.summary()))
    assert WrittenResult.of(told) == found
    assert told["arms"]["both"]["answers"][0]["question"] == PROMPTS[0] and told["reading"]["trusted"]


def test_a_reading_that_cannot_tell_gives_no_shares(followed):
    model, trusted, _ = followed
    poor = dataclasses.replace(trusted, aucs={**trusted.aucs, "B": Share(0.6, 0.4, 0.8)})
    found = finish(follow(model, poor, *SIDES, asked(PROMPTS[:1], samples=1, max_new_tokens=3, temperature=0)))
    assert found.arms["both"].shares is None and found.difference is None
    assert found.verdict.startswith("No voice is named") and "gloom against plain answers 0.60" in found.verdict
    assert found.arms["both"].answers[0]["answer"], "what was written is there to be read"


def test_what_follow_asks_for(followed):
    model, reader, _ = followed
    with pytest.raises(InputError, match="At temperature 0 every sample is the same"):
        finish(follow(model, reader, *SIDES, asked(samples=2, max_new_tokens=3, temperature=0)))
    with pytest.raises(InputError, match="at least one open question"):
        finish(follow(model, reader, *SIDES, asked((), samples=1, max_new_tokens=3, temperature=0)))


def test_joy_is_read_on_the_embedded_model(embedded):
    """Held-out joyful answers against plain ones to the same prompts, and two answers of nobody's data."""
    joy = presets()["joy"]
    direction = Direction("joy", finish(preset_vector(embedded, joy)).at(joy.layer), joy.layer)
    data = held_out(joy)
    found = finish(calibrate(embedded, [direction], HeldOut(data.a[:8])))
    assert found.aucs["A"].value >= 0.8 and found.trusted
    said = ["I had the most wonderful day, I could dance for joy!", "I went to the office and answered some letters."]
    read = finish(found.read(embedded, ["How was it?"] * 2, said))
    assert [reading.voice for reading in read] == ["A", "neither"]


def test_presets_bring_what_is_held_out_and_what_is_asked(tmp_path):
    joy, gloom, french = (presets()[name] for name in ("joy", "gloom", "french"))
    both = held_out(joy, gloom)
    assert (len(both.a), len(both.b), len(both.contest)) == (18, 18, 13)
    assert held_out(joy, french).contest == () and held_out(joy).b == ()
    assert held_out(joy.test()).a == joy.test().pairs
    assert find_questions("gloom") == find_questions("joy") and len(find_questions("joy")) == 11
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([{"question": "Why? "}, {"question": "How?", "id": 2}]))
    assert find_questions(file) == ("Why?", "How?")
    file.write_text(json.dumps([{"question": "Why?"}, {"question": ""}]))
    with pytest.raises(InputError, match="pair 2: the field 'question' is missing or empty"):
        find_questions(file)
    file.write_text(json.dumps([{"text": "Why?"}]))
    with pytest.raises(InputError, match="has the fields text"):
        find_questions(file)


def test_the_papers_open_questions_are_read(reference_data):
    files = sorted((reference_data / "data" / "caa").glob("*/test_dataset_open_ended.json"))
    assert [len(find_questions(file)) for file in files] == [50, 50, 50, 53]
