"""Models that run elsewhere say what they say here, in float32, by few jobs and few bytes."""

import threading
from dataclasses import asdict, replace

import pytest
import torch
from nnsight.intervention.backends.remote import RemoteError

import caa_core as caa
from caa_core.app.worker import Worker
from caa_core.contest.tokens import run_tokens
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.measuring.costs.refusals import count_refusals
from caa_core.measuring.costs.strength import strength
from caa_core.measuring.evaluation import evaluate
from caa_core.measuring.inspection import inspect
from caa_core.measuring.open_questions import answer
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.requests import (
    EvaluationRequest,
    InspectionRequest,
    OpenQuestionsRequest,
    RefusalsRequest,
)
from caa_core.model.loading import load
from caa_core.model.prompts import ask
from caa_core.progress import finish
from caa_core.remote import blocks, work
from caa_core.remote.jobs import News, run
from caa_core.remote.sentences import HostError
from caa_core.steering.activations import products_of, read_answers
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.gradients import gradients
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.steering.scoring import score
from caa_core.steering.told import score_told
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.data import LETTERS, PLANTED, TEXTS
from tests.helpers.elsewhere import PLACE, elsewhere
from tests.helpers.models import save_tiny
from tests.helpers.waiting import until

MOST = 1_000_000
ABLATE = Operation("ablate")
BOTH = replace(TEXTS, pairs=(*TEXTS.pairs, *LETTERS.pairs))


@pytest.fixture(scope="module")
def two(process, tiny_folder):
    """A model here, the same one elsewhere, and the line to that."""
    return load(tiny_folder, dtype="float32"), *elsewhere(process, tiny_folder)


@pytest.fixture
def jobs(two):
    """How many jobs were sent since, and the most bytes of one either way."""
    _, there, pipe = two
    there.elsewhere.pace = work.Pace()  # how slow this machine was before is no matter
    before = pipe.count.jobs
    pipe.count.sent = pipe.count.got = 0

    def since() -> int:
        assert 0 < pipe.count.sent < MOST
        assert 0 < pipe.count.got < MOST
        return pipe.count.jobs - before

    return since


def steers_of(model, *places):
    random = torch.Generator().manual_seed(1)
    return tuple(Steer(torch.randn(model.hidden_size, generator=random), layer, m) for layer, m in places)


def rows_of(model):
    steers = steers_of(model, (1, 1.5), (2, -1.0))
    prompts = [
        ask(model.tokenizer, text) for text in ("How are you?", "Tell me about the weather in the city.", "Rain?")
    ]
    rules = [Positions(), Positions("generated"), Positions("last-prompt")]
    unsteered = [BatchRow(prompt) for prompt in prompts]
    return unsteered + [BatchRow(prompt, steers, rule) for prompt, rule in zip(prompts, rules, strict=True)]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_forty_tokens_are_one_job_and_the_same(two, jobs, temperature):
    here, there, _ = two
    decoding, seen = Decoding(40, temperature, 3), []
    expected = finish(generate(here, rows_of(here), decoding))
    found = finish(generate(there, rows_of(there), decoding), lambda texts: seen.append(len(texts[0].ids)))
    assert [text.ids for text in found] == [text.ids for text in expected]
    assert [text.text for text in found] == [text.text for text in expected]
    assert len({text.text for text in found}) > 3  # steering does something
    assert jobs() == 1
    assert len(set(seen)) > 5, "tokens come as they are written"


class Lossy:
    """A line whose host loses jobs at their end, so many of them, and sends them on to another machine of its own."""

    def __init__(self, pipe, lost, again=False):
        self.pipe, self.lost, self.again, self.sentence = pipe, lost, again, pipe.sentence

    def __call__(self, hear, stop):
        backend, line = self.pipe(hear, stop), self

        def sent(tracer=None):
            if line.again:
                type(backend).__call__(backend, tracer)
            result = type(backend).__call__(backend, tracer)
            line.lost -= 1
            if line.lost >= 0:
                raise RemoteError("Error submitting request to model deployment. Please try again later.")
            return result

        return sent


def test_a_job_that_the_host_loses_is_sent_again_and_says_nothing_twice(two, jobs, monkeypatch):
    here, there, pipe = two
    rows, decoding = rows_of(here)[3:5], Decoding(12, 0.7, 5)
    expected = [text.ids for text in finish(generate(here, rows, decoding))]
    for line, sent in ((Lossy(pipe, work.TRIES - 1), 3), (Lossy(pipe, 0, again=True), 2)):
        monkeypatch.setattr(there.elsewhere, "line", line)
        before, seen = pipe.count.jobs, []
        found = finish(generate(there, rows, decoding), lambda texts, seen=seen: seen.append(len(texts[0].ids)))
        assert [text.ids for text in found] == expected
        assert seen == sorted(seen) and pipe.count.jobs - before == sent
    monkeypatch.setattr(there.elsewhere, "line", Lossy(pipe, work.TRIES))
    with pytest.raises(HostError, match="lost the job each time"):
        finish(score(there, BOTH.pairs[:2], [steers_of(there, (1, 1.0))]))
    assert jobs() == 3 + 2 + work.TRIES


def test_another_machine_that_rounds_otherwise_has_the_last_word(two, monkeypatch):
    """What a host wrote first goes where its result says something else."""
    _, there, pipe = two

    def line(hear, stop):
        def told(news):
            step, _, tokens = news.line.partition(":")
            hear(News(line=f"{step}:{tokens.replace(tokens.split(',')[0], '7')}") if tokens else news)

        return pipe(told, stop)

    rows, decoding = rows_of(there)[:1], Decoding(6)
    expected = finish(generate(there, rows, decoding))[0]
    monkeypatch.setattr(there.elsewhere, "line", line)
    found = finish(generate(there, rows, decoding))[0]
    assert (found.ids, found.text, found.done) == (expected.ids, expected.text, expected.done)


def test_long_texts_go_on_in_another_job(two, jobs, monkeypatch):
    here, there, _ = two
    monkeypatch.setattr(work, "STEPS", 8)
    rows, decoding = rows_of(here)[3:5], Decoding(20, 0.7, 5)
    expected = finish(generate(here, rows, decoding))
    assert [text.ids for text in finish(generate(there, rows, decoding))] == [text.ids for text in expected]
    assert 1 < jobs() <= 3


def test_twenty_items_under_ten_runs_are_one_job(two, jobs):
    here, there, _ = two
    pairs = [pair for _ in range(3) for pair in BOTH.pairs][:20]
    vector = steers_of(here, (0, 1.0))[0].vector
    runs = [(Steer(vector, layer, m),) for layer in (0, 1, 2, 3) for m in (-1.5, 1.5)]
    runs += [(), steers_of(here, (1, 1.0), (3, 0.5))]
    expected, found = (finish(score(model, pairs, runs, Positions())) for model in (here, there))
    for one, other in zip(vars(found).values(), vars(expected).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)
    assert found.kl[1:9].min() > 1e-4  # steering does something
    assert jobs() == 1


def test_passes_of_few_items_make_no_difference(two, jobs, monkeypatch):
    here, there, _ = two
    monkeypatch.setattr(work, "PASS", 120)
    runs = [(Steer(steers_of(here, (0, 1.0))[0].vector, layer, m),) for layer in (1, 2) for m in (-1.0, 0.5, 1.0)]
    expected, found = (finish(score(model, BOTH.pairs, runs)) for model in (here, there))
    torch.testing.assert_close(found.preference, expected.preference, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.kl, expected.kl, rtol=1e-3, atol=1e-5)
    assert jobs() == 1


def test_windows_and_capped_logits_make_no_difference(process, tmp_path):
    folder = save_tiny(tmp_path / "gemma2", "gemma2")
    here, (there, _) = load(str(folder), dtype="float32"), elsewhere(process, folder)
    rows, decoding, runs = rows_of(here), Decoding(16, 0.9, 3), [steers_of(here, (1, 1.5))]
    one, other = (finish(generate(model, rows, decoding)) for model in (there, here))
    assert [text.ids for text in one] == [text.ids for text in other]
    one, other = (finish(score(model, BOTH.pairs, runs)) for model in (there, here))
    torch.testing.assert_close(one.preference, other.preference, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.kl, other.kl, rtol=1e-3, atol=1e-4)
    one, other = (finish(extract(model, TEXTS)) for model in (there, here))
    torch.testing.assert_close(one.at(3), other.at(3), rtol=1e-4, atol=1e-5)


def test_what_is_told_says_the_same(two, jobs):
    here, there, _ = two
    asked = ["Be brief.", "Say no."], [steers_of(here, (1, 1.5)), steers_of(here, (2, -1.0))]
    found, expected = (finish(score_told(model, BOTH.pairs, *asked)) for model in (there, here))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.preference, other.preference, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.kl, other.kl, rtol=1e-3, atol=1e-4, equal_nan=True)
    assert jobs() == 1


def test_positions_and_slices_make_no_difference(two, jobs, monkeypatch):
    here, there, _ = two
    monkeypatch.setattr(work, "SECONDS", 0.0)
    monkeypatch.setattr(work, "TOKENS_AT_FIRST", 60)
    monkeypatch.setattr(work, "FEWEST_TOKENS", 60)
    monkeypatch.setattr(work, "ROOM", 400)
    monkeypatch.setattr(there.elsewhere, "pace", work.Pace())
    runs = [steers_of(here, (1, 1.0), (2, -1.0)), steers_of(here, (0, 2.0))]
    expected, found = (finish(score(model, BOTH.pairs, runs, Positions("all"), costs=False)) for model in (here, there))
    torch.testing.assert_close(found.preference, expected.preference, rtol=1e-4, atol=1e-4)
    assert found.kl.isnan().all()
    assert jobs() > 2


@pytest.mark.parametrize("dataset", [PLANTED, LETTERS.in_both_letter_orders()], ids=["text", "letters"])
def test_vectors_are_the_same(two, jobs, dataset):
    here, there, _ = two
    expected, found = (finish(extract(model, dataset)) for model in (here, there))
    for layer in expected.layers:
        torch.testing.assert_close(found.at(layer), expected.at(layer), rtol=1e-4, atol=1e-5)
    assert found.residual_norms == pytest.approx(expected.residual_norms, rel=1e-4)
    assert found.letter_share == pytest.approx(expected.letter_share, rel=1e-3)
    assert jobs() == 1
    assert found.diagnostics.grade == ("may steer" if dataset is PLANTED else "")  # too few prompts
    assert alike(found.diagnostics.summary(), expected.diagnostics.summary() | {"text": str(found.diagnostics)})
    for layer in expected.layers if dataset is PLANTED else ():
        assert alike(asdict(found.diagnostics.layers[layer]), asdict(expected.diagnostics.layers[layer]))


def test_inner_products_are_of_prompts_that_every_job_has_read():
    read, jobs = torch.randn(2, 3, 10, 5), ([0, 1, 2, 4, 5, 7], [1, 2, 3, 4, 7, 8])
    of_layers = (read[:, :2], read[:, 2:])
    found = [(own, products_of(*sides[:, :, own])) for own, sides in zip(jobs, of_layers, strict=True)]
    places, products = work._in_common(found)
    assert places == [1, 2, 4, 7]
    torch.testing.assert_close(products, products_of(*read[:, :, places]))
    prompts = torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])
    assert work._within(prompts, range(0, 3)) == [0, 2] and work._within(prompts, range(4)) == [0, 1, 2]


def alike(one, other) -> bool:
    """Whether plain data say the same up to rounding."""
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == pytest.approx(other, rel=1e-2, abs=1e-3) if isinstance(other, float) else one == other


def test_it_measures_and_competes_as_here(two):
    here, there, _ = two
    vector = finish(extract(here, TEXTS))
    asked = {"layers": [1, 2], "multipliers": [-1.0, 1.0]}
    one, other = (caa.evaluate(model, vector, PLANTED, **asked) for model in (there, here))
    assert one.swept.readings.keys() == other.swept.readings.keys()
    for place, reading in other.swept.readings.items():
        assert one.swept.readings[place].value == pytest.approx(reading.value, rel=1e-3, abs=1e-4)
    assert alike(one.map.summary(), other.map.summary())
    assert one.conclusion.verdict.grade == other.conclusion.verdict.grade
    opposite = replace(vector, layers={layer: -one.roll(3) for layer, one in vector.layers.items()})
    voices = (vector, 1, 1.0), (opposite, 2, 1.0)
    found = [caa.compete(model, *voices, PLANTED, controls=0, second_voices=0) for model in (there, here)]
    numbers = [{key: one[key] for key in one if key not in ("provenance", "settings")} for one in found]
    assert alike(*numbers)


def test_gradients_are_the_same(two, jobs, monkeypatch):
    here, there, _ = two
    monkeypatch.setattr(work, "ROOM", 2 * 4 * here.hidden_size * work.NUMBER)  # two sums a job
    weights = torch.eye(len(BOTH.pairs))[:3]
    expected, found = (
        finish(gradients(model, BOTH.pairs, weights, range(4), checked=False)) for model in (here, there)
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert jobs() == 2


def test_views_are_the_same(two, jobs):
    here, there, _ = two
    vector, asked = finish(extract(here, TEXTS)), InspectionRequest.parse(text="Rain?", layer=1, multiplier=2.0)
    one, other = (finish(inspect(model, asked, vector)) for model in (there, here))
    assert one.alignment.tokens == other.alignment.tokens
    assert one.alignment.projections == pytest.approx(other.alignment.projections, rel=1e-3, abs=1e-4)
    assert one.lens.tokens == other.lens.tokens
    assert one.next_token.kl == pytest.approx(other.next_token.kl, rel=1e-3)
    assert one.next_token.steered_tokens == other.next_token.steered_tokens > 0
    assert [token for token, _ in one.unembedding.promoted] == [token for token, _ in other.unembedding.promoted]
    assert jobs() == 1


VECTOR = SteeringVector("v", {1: torch.ones(32)}, {}, Provenance())
VOICE = Voice.of(VECTOR, 1, 1.0)
ASKED = OpenQuestionsRequest(questions=("Rain?",), layer=1)
VIEWED = InspectionRequest(text="Rain?", layer=1, multiplier=1.0, spread=(1, 2))
METHODS = EvaluationRequest.parse(data=PLANTED, by_methods=True, made_from=TEXTS)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda model: run_tokens(model, "Rain?", VOICE, VOICE), "token by token"),
        (lambda model: answer(model, VECTOR, ASKED), "open questions"),
        (lambda model: count_refusals(model, RefusalsRequest(layer=1), VECTOR), "refusals"),
        (lambda model: replicate(model, [], PaperRequest()), "several behaviours"),
        (
            lambda model: inspect(model, VIEWED, replace(VECTOR, layers=dict.fromkeys((1, 2), VECTOR.at(1)))),
            "several layers",
        ),
        (lambda model: evaluate(model, METHODS, VECTOR), "methods"),
        (lambda model: extract(model, TEXTS, method="pca"), "pca"),
        (lambda model: read_answers(model, [], [1]), "one by one"),
        (lambda model: strength(model, steers_of(model, (1, 1.0)), 0.2), "not done"),
        (lambda model: score(model, TEXTS.pairs, [(replace(steers_of(model, (1, 1.0))[0], operation=ABLATE),)]), "add"),
    ],
    ids=["tokens", "open", "refusals", "behaviours", "views", "methods", "pca", "answers", "strength", "operations"],
)
def test_what_is_not_done_there_is_said_without_a_job(two, what, says):
    _, there, pipe = two
    before = pipe.count.jobs
    with pytest.raises(InputError, match=says) as raised:
        finish(what(there))
    assert PLACE in str(raised.value)
    assert pipe.count.jobs == before


def test_a_block_that_fails_is_one_sentence(two):
    _, there, pipe = two
    with pytest.raises(HostError) as raised:
        finish(run(pipe, there.elsewhere.nn, blocks.written, {"where": {}}))
    said = str(raised.value)
    assert "TypeError" in said
    assert "\n" not in said
    assert "on this machine" in said


class Hanging:
    """A line to a host that takes jobs and says nothing more, as long as `never` is not set."""

    def __init__(self):
        self.taken, self.never, self.sentence = threading.Event(), threading.Event(), str

    def __call__(self, hear, stop):
        def sent(tracer=None):
            self.taken.set()
            self.never.wait(60)

        return sent


def test_a_job_that_hangs_at_a_host_holds_up_nobody(two):
    """On the app's one thread."""
    _, there, _ = two
    worker, line = Worker(), Hanging()
    hung = worker.submit(lambda: run(line, there.elsewhere.nn, blocks.probe, {"where": {}, "mark": {}}))
    try:
        assert line.taken.wait(60)
        written = worker.submit(lambda: generate(there, rows_of(there)[:1], Decoding(3))).wait()
        assert len(written[0].ids) == 3
        assert worker.jobs == 1 and not line.never.is_set()
        hung.stop()
        until(lambda: not worker.jobs)
    finally:
        line.never.set()
