"""The same work on a real NDIF host: the embedded model in float32, here and there. Run by `make test-ndif`."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
import torch

import caa_core as caa
from caa_core.app.as_code import Here, Named, steering
from caa_core.errors import InputError
from caa_core.measuring.inspection import inspect
from caa_core.measuring.requests import InspectionRequest
from caa_core.progress import finish
from caa_core.remote.host import Host
from caa_core.remote.loading import load
from caa_core.remote.sentences import HostError
from caa_core.remote.work import Pace
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import generate
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.steering.scoring import score
from tests.helpers.places import ROOT
from tests.ndif.cluster import KEY, NAME, SECONDS
from tests.ndif.conftest import LAYER, rows_of
from tests.remote.test_host import silent
from tests.remote.test_work import alike

MOST = 1_000_000


@pytest.fixture
def jobs(there):
    """How many jobs were sent since; no one of them had many bytes."""
    there.elsewhere.pace = Pace()  # how slow this machine was before is no matter
    count = there.elsewhere.line.count
    before = count.jobs
    count.sent = count.got = 0

    def since() -> int:
        assert 0 < count.sent < MOST
        assert 0 < count.got < MOST
        return count.jobs - before

    return since


def test_it_runs_there_in_float32(there, here):
    assert there.dtype == torch.float32
    assert there.num_layers == here.num_layers == 30
    assert there.architecture == here.architecture


def test_a_vector_is_the_same(there, vector, jobs):
    found = caa.extract(there, caa.pairs("joy").first(12), layers=[8, LAYER])
    for layer in (8, LAYER):
        torch.testing.assert_close(found.at(layer), vector.at(layer), rtol=1e-3, atol=1e-4)
    assert found.residual_norms == pytest.approx(vector.residual_norms, rel=1e-4)
    assert jobs() == 1


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_forty_tokens_are_one_job_and_the_same(there, here, vector, jobs, temperature):
    rows, decoding, seen = rows_of(here, vector, "How was your day?"), Decoding(40, temperature, 7), []
    expected = finish(generate(here, rows, decoding))
    found = finish(generate(there, rows, decoding), lambda texts: seen.append(len(texts[0].ids)))
    assert [text.text for text in found] == [text.text for text in expected]
    assert found[0].text != found[1].text
    assert jobs() == 1
    assert len(set(seen)) > 10, "tokens come as they are written"


def test_twenty_items_in_ten_cells_are_one_job_and_the_same(there, here, vector, jobs):
    pairs = [*caa.test_pairs("joy:ab").first(16).pairs, *caa.test_pairs("joy").first(4).pairs]
    runs = [(Steer(vector.at(layer), layer, m),) for layer in (8, LAYER) for m in (-2.0, -1.0, 0.5, 1.0, 2.0)]
    expected, found = (finish(score(model, pairs, runs, AFTER_PROMPT)) for model in (here, there))
    torch.testing.assert_close(found.preference, expected.preference, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.kl, expected.kl, rtol=1e-2, atol=1e-4)
    assert jobs() == 1


def test_a_sweep_and_a_contest_say_the_same(there, here, vector):
    asked = {"layers": [8, LAYER], "multipliers": [-1.0, 1.0], "counts": False}
    items = caa.test_pairs("joy:ab").first(8)
    one, other = (caa.evaluate(model, vector, items, **asked) for model in (there, here))
    for place, reading in other.swept.readings.items():
        assert one.swept.readings[place].value == pytest.approx(reading.value, rel=1e-2, abs=1e-3)
    assert one.map.furthest.layer == other.map.furthest.layer
    assert one.conclusion.verdict.grade == other.conclusion.verdict.grade
    gloom = caa.extract(here, caa.pairs("gloom").first(12), layers=[LAYER])
    voices, contest = ((vector, LAYER, 1.0), (gloom, LAYER, 1.0)), caa.contest_pairs("joy").first(4)
    one, other = (caa.compete(model, *voices, contest, controls=0, second_voices=0) for model in (there, here))
    assert alike(one["rows"], other["rows"])
    assert one["contest"] == other["contest"]


def test_looking_inside_is_one_job_and_the_same(there, here, vector, jobs):
    asked = InspectionRequest.parse(text="How was your day?", layer=LAYER, multiplier=2.0)
    one, other = (finish(inspect(model, asked, vector)) for model in (there, here))
    assert one.lens.tokens == other.lens.tokens
    assert one.next_token.kl == pytest.approx(other.next_token.kl, rel=1e-2)
    assert [token for token, _ in one.unembedding.promoted] == [token for token, _ in other.unembedding.promoted]
    assert jobs() == 1


def test_two_people_at_once(cluster, there, here, vector):
    questions = "How was your day?", "What is a river?"
    models = there, load(NAME, Host(cluster.address, KEY))
    decoding = Decoding(24)

    def write(model, question):
        return [text.text for text in finish(generate(model, rows_of(model, vector, question), decoding))]

    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(write, models, questions)]
    assert found == [write(here, question) for question in questions]


def command(cluster, *arguments, key=KEY):
    """Status and what was said of a command of ours at the host."""
    environment = os.environ | {"CAA_NDIF_HOST": cluster, "CAA_NDIF_KEY": key, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "caa_core", *arguments, "--model", NAME, "--host"]
    ended = subprocess.run(run, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert KEY not in ended.stdout + ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_line_and_what_the_page_shows_as_code(cluster, here, vector, tmp_path, monkeypatch):
    file = tmp_path / "joy.safetensors"
    caa.write_vector(vector, file)
    asked = "steer", "--prompt", "How was your day?", "--steer", f"{file}:{LAYER}:2", "--max-new-tokens", "12"
    status, said, told = command(cluster.address, *asked)
    assert status == 0, told
    expected = caa.steer(here, "How was your day?", [(vector, LAYER, 2.0)], max_new_tokens=12)
    assert expected.steered.text in said
    page, form = Here(NAME, "", "http://localhost:7860/", host=cluster.address), {"max_new_tokens": 12}
    code, found = steering(page, "How was your day?", Named(str(file), True), LAYER, 2, form), {}
    monkeypatch.setenv("CAA_NDIF_KEY", KEY)
    exec(code.python, found)
    assert found["answers"] == expected


@pytest.mark.parametrize("key", ["00000000-0000-4000-8000-000000000000", "no-key-at-all", ""])
def test_a_wrong_key_is_one_sentence(cluster, key):
    with pytest.raises(HostError, match="does not take the key") as raised:
        load(NAME, Host(cluster.address, key), say=lambda _: None)
    assert not key or key not in str(raised.value)


def test_a_model_that_is_nowhere(cluster):
    with pytest.raises(InputError, match="no model of that name"):
        load("nobody/nothing", Host(cluster.address, KEY), say=lambda _: None)


def test_a_hanging_host_is_left_and_others_go_on(there, here, vector):
    with silent() as address, pytest.raises(HostError, match="does not answer"):
        load(NAME, Host(address, KEY))
    rows = rows_of(here, vector, "Hello!")
    assert finish(generate(there, rows, Decoding(4)))[1].ids == finish(generate(here, rows, Decoding(4)))[1].ids


def test_a_host_that_dies_in_a_job_loses_nothing_and_comes_back(cluster, there, here, vector):
    rows, decoding = rows_of(here, vector, "Tell me a long story."), Decoding(120)
    expected = finish(generate(here, rows, Decoding(40)))
    writing = generate(there, rows, decoding)
    seen: list[int] = []
    for texts in writing:
        if len(texts[1].ids) >= 5:
            break
    cluster.kill_api()
    with pytest.raises(HostError, match=r"went away|cannot be reached"):
        for texts in writing:
            seen = texts[1].ids
    kept = texts[1].ids
    assert len(kept) >= 5
    assert [*islice(expected[1].ids, len(kept))] == kept[:40]
    assert seen in ([], kept)
    with pytest.raises(HostError, match="cannot be reached"):
        load(NAME, Host(cluster.address, KEY))
    cluster.start_api()
    again = finish(generate(there, rows_of(here, vector, "Hello!"), Decoding(4)))
    assert again[1].ids == finish(generate(here, rows_of(here, vector, "Hello!"), Decoding(4)))[1].ids
