"""Where steering applies: thresholds by planted scores, and gates by texts that a vector was made to tell apart."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from caa_core.cli.main import main
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.measuring.costs.gate import GateFound, calibrate_gate, chosen_threshold, messages, opened, sides_of
from caa_core.measuring.requests import GateRequest
from caa_core.metrics.estimates import exact
from caa_core.model.prompts import ask, with_answer
from caa_core.progress import finish
from caa_core.steering.interventions import Gate, Positions, Steer
from caa_core.steering.passes import watch
from caa_core.steering.plan import Plan
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.models import save_tiny
from tests.helpers.reference import residuals
from tests.helpers.vectors import random_vector

LAYER, ENDS = 1, " .,;:"


def planted(count):
    """Pairs whose positive answers have one letter in common, which no negative one has."""
    sides = [[f"{letter * (5 + i % 4)}{ENDS[i % 5]}" for i in range(count)] for letter in "xw"]
    return pairs_of(*sides)


def pairs_of(positive, negative):
    both = enumerate(zip(positive, negative, strict=True), 1)
    return Dataset("planted", "", "", tuple(ContrastPair(f"Number {i}?", *one, i) for i, one in both))


def apart(model):
    """A vector from the one letter to the other, as both are read on another prompt."""
    read = []
    for letter in "xw":
        answer = said(model, "Which?", letter * 12)
        read.append(residuals(model, answer.ids)[LAYER][answer.start :].mean(0))
    return SteeringVector("apart", {LAYER: read[0] - read[1]}, {}, Provenance())


def said(model, prompt, answer):
    return with_answer(model.tokenizer, ask(model.tokenizer, prompt), answer)


def found_of(model, data, vector, **how):
    asked = GateRequest.parse(**sides_of(data), layer=LAYER, **{"positions": "generated", **how})
    return finish(calibrate_gate(model, asked, vector))


@pytest.mark.parametrize(
    ("applies", "elsewhere", "false_open", "threshold"),
    [
        ([4, 5, 9], [1, 2, 3], None, 3.5),
        ([5, 6, 7, 2], [1, 2, 3, 3], None, 4),  # one that is low is given up
        ([3, 8], [1, 3, 6], None, 7),
        ([5, 6], [1, 2, 3, 5.5], 0.25, 4),
        ([5, 6], [1, 2, 3, 5.5], 0, 5.75),
        ([1, 2], [3, 4], 0, 7),  # open nowhere
    ],
)
def test_a_threshold_lies_where_mistakes_are_fewest_or_within_the_rate_asked_for(
    applies, elsewhere, false_open, threshold
):
    assert chosen_threshold(np.array(applies), np.array(elsewhere), false_open) == threshold


def test_texts_that_are_apart_are_told_apart_and_exchanged_ones_the_wrong_way_round(tiny_llama):
    data, vector = planted(100), apart(tiny_llama)
    found = found_of(tiny_llama, data, vector)
    assert found.chosen_on == found.judged_on == (50, 50) and found.is_judged and found.can_tell
    assert (found.false_open.value, found.false_shut.value, found.auc.value) == (0, 0, 1)
    assert (found.false_open.low, found.false_open.high) == exact(0, 50)
    swapped = replace(data, pairs=tuple(replace(p, positive=p.negative, negative=p.positive) for p in data.pairs))
    exchanged = found_of(tiny_llama, swapped, vector)
    assert exchanged.auc.value == 0 and not exchanged.can_tell and "the wrong way round" in str(exchanged)


def test_a_text_is_read_as_it_is_by_itself(tiny):
    """Many in a batch; of two tokens in the middle the lower one counts."""
    vector, data = SteeringVector("v", {LAYER: random_vector(tiny)}, {}, Provenance()), planted(8)
    found = found_of(tiny, data, vector)
    unit = torch.nn.functional.normalize(vector.at(LAYER), dim=0)
    for side, texts in sides_of(data).items():
        answers = [said(tiny, pair.prompt, pair.positive) for pair in texts]
        along = [residuals(tiny, one.ids)[LAYER][one.start :] @ unit for one in answers]
        plainly = np.array([one.median().item() for one in along])
        assert len(found.scores[side]) == 4
        assert all(np.isclose(plainly, score, atol=1e-4).any() for score in found.scores[side])


def test_texts_that_differ_in_nothing_are_not_told_apart(tiny_llama):
    """Answers that coins give to either side."""
    coins = np.random.default_rng(0)
    words = ["".join(coins.choice([*"abcdxw"], 5)) for _ in range(240)]
    found = found_of(tiny_llama, pairs_of(words[::2], words[1::2]), apart(tiny_llama))
    assert found.auc.low < 0.5 < found.auc.high and found.is_judged
    assert not found.can_tell and "It cannot tell them apart" in str(found)


def test_mistakes_are_counted_by_hand_on_the_other_half(tiny_llama):
    """Of 120 texts where it should be shut, a third looks as if it should be open."""
    data = planted(120)
    looks_open = np.random.default_rng(0).random(120) < 1 / 3
    elsewhere = tuple(
        ContrastPair(f"Number {500 + i}?", pair.positive if alike else pair.negative, "", i)
        for i, (pair, alike) in enumerate(zip(data.pairs, looks_open, strict=True))
    )
    asked = GateRequest(applies=data.pairs, elsewhere=elsewhere, layer=LAYER, positions=Positions("generated"))
    found = finish(calibrate_gate(tiny_llama, asked, apart(tiny_llama)))
    wrong = sum(score > found.threshold for score in found.scores["elsewhere"])
    assert 10 < wrong < 30 and found.judged_on == (60, 60)
    assert (found.false_open.low, found.false_open.high) == exact(wrong, 60)
    assert found.false_shut.value < 0.15 and found.open_tokens[0].value > 0.8 > 0.4 > found.open_tokens[1].value
    # A rate that is asked for holds where the threshold is chosen, at the price of what stays shut.
    strict = finish(calibrate_gate(tiny_llama, replace(asked, false_open=0.05), apart(tiny_llama)))
    assert strict.threshold > found.threshold
    assert strict.false_open.value < found.false_open.value and strict.false_shut.value > found.false_shut.value


def test_too_few_are_said_and_not_judged_and_those_that_the_vector_saw_are_left_out(tiny_llama):
    data, vector = planted(30), apart(tiny_llama)
    found = found_of(tiny_llama, data, vector, made_from=replace(data, pairs=data.pairs[::3]))
    assert (found.judged_on, found.left_out, found.can_tell, found.is_judged) == ((10, 10), 20, True, False)
    assert "Not judged: 10 texts of a side are too few" in str(found) and "Left out: 20 texts" in str(found)
    assert GateFound.of(json.loads(json.dumps(found.summary()))) == found
    few = planted(8)
    assert "is not known" in str(found_of(tiny_llama, few, vector))
    with pytest.raises(InputError, match=r"at least 8 texts of each side .* a half of these has 3"):
        found_of(tiny_llama, replace(few, pairs=few.pairs[:7]), vector)


def test_messages_are_decided_once_where_their_answer_begins(tiny_llama):
    texts = {
        side: [f"{letter} {i} {letter * 3}?" for i in range(10)]
        for side, letter in {"applies": "x", "elsewhere": "w"}.items()
    }
    asked = GateRequest(**{side: messages(some) for side, some in texts.items()}, layer=LAYER)
    vector = SteeringVector("v", {LAYER: random_vector(tiny_llama)}, {}, Provenance())
    found = finish(calibrate_gate(tiny_llama, asked, vector))
    unit = torch.nn.functional.normalize(vector.at(LAYER), dim=0)
    for side, some in texts.items():
        last = [residuals(tiny_llama, ask(tiny_llama.tokenizer, text).ids)[LAYER][-1] @ unit for text in some]
        assert {round(score, 3) for score in found.scores[side]} < {round(one.item(), 3) for one in last}
    with pytest.raises(InputError, match="no token of text 1 would be steered"):
        finish(calibrate_gate(tiny_llama, replace(asked, positions=Positions("generated")), vector))
    with pytest.raises(InputError, match="10 texts stand on both sides"):
        finish(calibrate_gate(tiny_llama, replace(asked, elsewhere=asked.applies), vector))


def test_where_it_is_open_is_where_it_steers(tiny):
    """Token by token in an answer, beside what a pass under the gate changes."""
    prompt = ask(tiny.tokenizer, "How was your day?")
    both = with_answer(tiny.tokenizer, prompt, "Good, and yours was not?")
    along = residuals(tiny, both.ids)[LAYER][both.start :] @ torch.nn.functional.normalize(random_vector(tiny), dim=0)
    gate = Gate(random_vector(tiny), LAYER, along.mean().item())
    found = opened(tiny, prompt, "Good, and yours was not?", gate)
    inputs, steers = tiny.plain_inputs(both.ids), (Steer(100 * random_vector(tiny, 1), LAYER, 1.0),)
    plans = Plan([steers], [Positions()], [prompt.length], gates=[gate]), Plan([()], [Positions()], [prompt.length])
    steered, plainly = (watch(tiny, inputs, plan, [LAYER])[0, 0, both.start :] for plan in plans)
    assert found["open"] == ((steered - plainly).norm(dim=1) > 1).tolist() and len(set(found["open"])) == 2


def test_the_command_says_what_steer_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CAA_CACHE", str(tmp_path))
    model = ["--model", str(save_tiny(tmp_path / "model")), "--dtype", "float32"]
    vector = SteeringVector(
        "v", {n: torch.randn(32, generator=torch.Generator().manual_seed(n)) for n in (1, 2)}, {}, Provenance()
    )
    vector.save(tmp_path / "v.safetensors")
    monkeypatch.chdir(tmp_path)
    assert main(["gate", *model, "--vector", "v.safetensors", "--data", "joy", "--layer", "1"]) == 0
    said, spec = capsys.readouterr().out.strip().rsplit("--gate ", 1)
    assert "Not judged: 9 texts" in said and spec.startswith("v.safetensors:1:")
    found = {}
    for gate in ("v.safetensors:1:-1e9", "v.safetensors:1:1e9", ""):
        asked = ["steer", *model, "--prompt", "x", "--steer", "v.safetensors:2:9", "--max-new-tokens", "9", "--json"]
        assert main([*asked, *(["--gate", gate] if gate else [])]) == 0
        found[gate] = json.loads(capsys.readouterr().out)
    always, never, without = found.values()
    assert always["steered_tokens"] == without["steered_tokens"] != without["unsteered_tokens"]
    assert never["steered_tokens"] == without["unsteered_tokens"] and "gate" not in without
    assert set(always["gate"]["open"]) == {True} and set(never["gate"]["open"]) == {False}
