from dataclasses import replace

import pytest

from caa_core.contest.dominance import Contest
from caa_core.contest.requests import ContestRequest, SurfaceRequest, WrittenRequest
from caa_core.contest.runs import KEPT, run, run_surface, run_written
from caa_core.contest.voice import Voice
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.measuring.answer_reader import Direction
from caa_core.progress import Progress, finish
from tests.helpers.contests import LAYER, PROMPTS, voice

GRID = SurfaceRequest(multipliers_a=(0.0, 0.02), multipliers_b=(0.0, 0.02))


@pytest.fixture(scope="module")
def sides(planted):
    *_, toward, idle = planted
    return voice("A", 3 * toward + idle[0]), voice("<b>B</b>", -toward + idle[1])


@pytest.fixture(scope="module")
def data():
    return Dataset("=data", "", "", tuple(ContrastPair(f"={prompt}", "x", "y", i) for i, prompt in enumerate(PROMPTS)))


def test_what_is_known_is_not_computed_again(planted, sides, data):
    model, known = planted[0], {}
    first = finish(run(model, ContestRequest(data=data, second_voices=2, written_tokens=4), *sides, known))
    with pytest.raises(StopIteration) as end:
        next(run(model, ContestRequest(data=data, second_voices=2, written_tokens=4), *sides, known))
    assert end.value.value == first and len(known) == 1
    other = voice("A", 2 * sides[0].steers[0].vector)
    for bout, a in (
        (ContestRequest(data=data, second_voices=0, written_tokens=4), sides[0]),
        (ContestRequest(data=data, second_voices=2, written_tokens=4), other),
    ):
        finish(run(model, bout, a, sides[1], known))
    finish(run_surface(model, ContestRequest(data=data), *sides, GRID, known))
    finish(run_surface(model, ContestRequest(data=data), *sides, SurfaceRequest(layers_a="1", layers_b="2"), known))
    assert len(known) == 5
    known |= {str(i): {} for i in range(KEPT)}
    finish(run(model, ContestRequest(data=data, second_voices=1, written_tokens=0), *sides, known))
    assert len(known) == KEPT


def test_second_voices_come_last_and_can_be_left_out(planted, sides, data):
    """What is known before them is shown, and is what there is without them."""
    request, parts = ContestRequest(data=data, controls=0, second_voices=39, written_tokens=0), []
    found = finish(run(planted[0], request, *sides), parts.append)
    (before,) = (part for part in parts if not isinstance(part, Progress))
    last = max(i for i, part in enumerate(parts) if part is before)
    assert any("items scored" in str(part) for part in parts[last + 1 :]), "with progress of their own"
    assert (before["controls"], before["control_count"]) == (None, 0) and before["contest"]
    assert found["control_count"] == 39 and found["interaction_p"] >= 0.05
    without = finish(run(planted[0], replace(request, second_voices=0), *sides), lambda _: None)
    assert without["verdict"] == before["verdict"] != found["verdict"]


def test_written_answers_are_known_too(planted, sides, data):
    model, _, toward, idle = planted
    directions = [Direction("A", toward, LAYER), Direction("B", idle[0], LAYER)]
    about = {"questions": ("Hi?", "Why?"), "directions": directions, "held_out": [data, data]}
    asked, known, parts = WrittenRequest(**about, samples=1, max_new_tokens=4, temperature=0), {}, []
    first = finish(run_written(model, asked, *sides, known), parts.append)
    assert first == [part for part in parts if not isinstance(part, Progress)][-1], "what has come is shown on the way"
    assert finish(run_written(model, asked, *sides, known), pytest.fail) == first
    assert first["settings"]["max_new_tokens"] == 4 and first["provenance"]["data"] == "=data, =data"
    for other in (replace(asked, questions=("Hi?", "Who?")), replace(asked, directions=directions[::-1])):
        finish(run_written(model, other, *sides, known))
    assert len(known) == 3


def test_a_run_says_what_makes_it_repeatable(planted, sides, data):
    found = finish(
        run(planted[0], ContestRequest(data=data, second_voices=2, written_tokens=4, system="Be brief."), *sides)
    )
    assert found["settings"]["a"] == {"name": "A", "added": [{"layer": LAYER, "multiplier": 0.2}]}
    assert found["settings"]["system"] == "Be brief." and found["settings"]["second_voices"] == 2
    assert found["provenance"]["model"] == "tiny-llama" and found["provenance"]["data"] == "=data"
    assert len(found["repetition"]) == 4 and found["self_test"] == 0
    assert Contest.of(found).summary() == {name: found[name] for name in Contest.of(found).summary()}


def test_what_words_cost_is_not_known(planted, sides, data):
    told = Voice("told", system="Say x.")
    found = finish(run(planted[0], ContestRequest(data=data, second_voices=1, written_tokens=4), sides[0], told))
    assert found["kl"][1] is None and found["kl"][0] >= 0
