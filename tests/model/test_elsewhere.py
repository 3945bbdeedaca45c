"""Jobs of a model in another process, which a stand-in for ZeroGPU's forks."""

import os
import pickle
from contextvars import ContextVar

import pytest
import torch

from caa_core.app.studio import Studio
from caa_core.contest.requests import ContestRequest
from caa_core.contest.runs import run
from caa_core.contest.voice import Voice
from caa_core.data.presets import find_contest, find_test_pairs
from caa_core.errors import InputError
from caa_core.measuring.evaluation import evaluate
from caa_core.measuring.requests import EvaluationRequest
from caa_core.measuring.verdict import KeptNumbers
from caa_core.model import elsewhere
from caa_core.model.elsewhere import LEAST_SECONDS, MOST_SECONDS, AskedFor, handed_over, lend, seconds_of
from caa_core.model.loading import load
from caa_core.model.prompts import render
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.vectors.extraction import extract
from tests.helpers import results
from tests.helpers.data import PLANTED
from tests.helpers.models import save_tiny
from tests.helpers.waiting import until

QUIET = {"say": lambda _: None}
WHO = ContextVar("who", default="nobody")


@pytest.fixture
def lent(tiny_folder, runner):
    """A model whose jobs run in another process, and the same that stays here."""
    model = load(tiny_folder, "float32", **QUIET)
    lend(model, tiny_folder, "float32", runner)
    return model, load(tiny_folder, "float32", **QUIET)


@handed_over
def where(model, known):
    """Which process runs it; what it finds is put into what is known."""
    for number in range(3):
        known[number] = known["nested"]["n"] = number
        yield number
    return os.getpid()


@handed_over
def fails(model, error):
    yield 1
    raise error


@handed_over
def for_ever(model, file):
    try:
        while True:
            yield os.getpid()
    finally:
        file.write_text("ended")


def test_a_job_runs_to_its_end_in_one_other_process_and_what_it_finds_out_comes_back(lent, lender):
    model, here = lent
    known = {"before": "kept", "nested": {}}
    events = []
    first = finish(where(model, known), events.append)
    assert [event for event in events if not isinstance(event, AskedFor)] == [0, 1, 2]
    assert first != os.getpid() and known == {"before": "kept", 0: 0, 1: 1, 2: 2, "nested": {"n": 2}}
    until(lambda: lender.idle)
    assert finish(where(model, {"nested": {}})) == first  # the process is kept
    assert finish(where(here, {"nested": {}})) == os.getpid()
    assert lender.asked == [LEAST_SECONDS, LEAST_SECONDS]


def test_what_is_written_there_is_what_is_written_here(lent):
    model, here = lent
    rows = [BatchRow(render(here.tokenizer, [{"role": "user", "content": "How are you?"}]))]
    written = [finish(generate(one, rows, Decoding(12)))[0].ids for one in (model, here)]
    assert written[0] == written[1] and len(written[0]) == 12


def test_a_measurement_there_is_the_one_here_with_all_that_is_kept_of_it(lent):
    model, here = lent
    items = find_test_pairs("joy").first(9)
    vector = finish(extract(here, PLANTED, [1, 2]))
    request = EvaluationRequest.parse(data=items, layers=[1], multipliers=[-1, 1], controls=0, counts=False)
    kept = KeptNumbers(), KeptNumbers()
    found = [finish(evaluate(one, request, vector, known)) for one, known in zip(lent, kept, strict=True)]
    assert torch.allclose(
        *(torch.tensor([cell.difference.value for cell in one.swept.cells]) for one in found), atol=1e-5
    )
    assert kept[0].readings.keys() == kept[1].readings.keys() and kept[0].readings
    assert model is not here


def test_what_goes_wrong_there_is_said_here(lent):
    model, _ = lent
    with pytest.raises(InputError, match="too long"):
        finish(fails(model, InputError("It is too long.")))
    with pytest.raises(RuntimeError, match=r"^ZeroDivisionError$"):
        finish(fails(model, ZeroDivisionError("of somebody's own words")))


def test_stopping_a_job_ends_it_there(lent, lender, tmp_path):
    model, _ = lent
    work = for_ever(model, tmp_path / "ended")
    there = next(event for event in work if not isinstance(event, AskedFor))
    work.close()
    until((tmp_path / "ended").exists)
    until(lambda: lender.idle)
    assert finish(where(model, {"nested": {}})) == there


def test_a_process_that_is_gone_is_said(lent, monkeypatch):
    model, _ = lent

    def broken(errand):
        yield from ()

    lend(model, "any", "float32", broken)
    with pytest.raises(InputError, match="The GPU was taken away"):
        finish(where(model, {"nested": {}}))


def test_another_model_is_loaded_where_the_process_was_forked_before(lent, runner, tmp_path):
    finish(where(lent[0], {"nested": {}}))
    other = str(save_tiny(tmp_path / "other", "qwen2", seed=3))
    new = load(other, "float32", **QUIET)
    lend(new, other, "float32", runner)
    rows = [BatchRow(render(new.tokenizer, [{"role": "user", "content": "Who?"}]))]
    there = finish(generate(new, rows, Decoding(6)))[0].ids
    assert there == finish(generate(load(other, "float32", **QUIET), rows, Decoding(6)))[0].ids


def test_seconds_grow_with_the_work(tiny_llama, monkeypatch):
    monkeypatch.setattr(elsewhere, "MULTIPLICATIONS_A_SECOND", 1e7)
    monkeypatch.setattr(elsewhere, "SECONDS_A_BLOCK", 0.02)
    joy = find_test_pairs("joy")
    requests = [
        EvaluationRequest.parse(data=items, layers=layers, multipliers=[-1, 1])
        for items, layers in ((joy.first(4), [1]), (joy, [1]), (joy, [0, 1, 2, 3]))
    ]
    seconds = [seconds_of(tiny_llama, {"request": request}) for request in requests]
    assert LEAST_SECONDS <= seconds[0] < seconds[1] < seconds[2] <= MOST_SECONDS
    writing = [seconds_of(tiny_llama, {"decoding": Decoding(tokens)}) for tokens in (100, 400, 2000)]
    assert writing[0] < writing[1] < writing[2] == MOST_SECONDS


def test_an_app_lets_its_jobs_run_there_and_says_who_asks(tiny_folder, lender, runner):
    studio = Studio(tiny_folder, dtype="float32", elsewhere=runner, **QUIET)
    assert not lender.asked  # nobody has asked for the quick look
    assert studio.capability

    def ask(who):
        WHO.set(who)
        return studio.run(lambda model: where(model, {"nested": {}}))

    jobs = [ask("one"), ask("two")]
    beside = studio.run(lambda model: iter_here())
    assert {job.wait() for job in jobs}.isdisjoint({os.getpid()}) and beside.wait() == os.getpid()
    assert sorted(context[WHO] for context in lender.contexts) == ["one", "two"]


def test_what_measurements_come_to_can_be_sent():
    for made in (results.study(), results.open_questions(), results.paper(), results.by_item()):
        assert repr(pickle.loads(pickle.dumps(made))) == repr(made)


def iter_here():
    yield
    return os.getpid()


def test_a_contest_there(lent):
    model, here = lent
    vector = finish(extract(here, PLANTED, [1, 2]))
    request = ContestRequest.parse(data=find_contest("joy").first(8), controls=0, second_voices=0)
    a, b = Voice.of(vector, 1, 1.0), Voice.of(vector, 2, 1.0)
    found = [finish(run(one, request, a, b)) for one in (model, here)]
    assert found[0]["verdict"] == found[1]["verdict"] and found[0].keys() == found[1].keys()
