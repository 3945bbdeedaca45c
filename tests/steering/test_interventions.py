import pytest
import torch

from caa_core.errors import InputError
from caa_core.model.loading import Inputs
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.passes import steered_logits
from caa_core.steering.plan import Plan
from tests.helpers.reference import residuals
from tests.helpers.reference import steered_logits as plain_logits
from tests.helpers.vectors import random_vector

LENGTH = 5  # of the prompt, in the table below


@pytest.mark.parametrize(
    ("text", "steered"),
    [
        ("after-prompt", [4, 5, 6]),
        ("all", [0, 1, 2, 3, 4, 5, 6]),
        ("prompt", [0, 1, 2, 3, 4]),
        ("last-prompt", [4]),
        ("generated", [5, 6]),
        ("index:-2", [3]),
        ("index:0", [0]),
    ],
)
def test_which_tokens_each_rule_steers(text, steered):
    rule = Positions.parse(text)
    plan = Plan([()], [rule], [LENGTH])
    assert plan.mask(torch.arange(7)[None])[0].nonzero().flatten().tolist() == steered
    # The same rule holds for one token alone, as in a cached decoding step.
    for index in range(7):
        assert plan.mask(torch.tensor([[index]])).item() == (index in steered)


def test_a_thought_divides_what_comes_after_the_prompt():
    """The last prompt token writes the first word; all behind the words is the answer's."""
    steered = {"thought": [4, 5, 6, 7], "after-thought": [8, 9], "after-prompt": [4, 5, 6, 7, 8, 9]}
    for rule, positions in steered.items():
        plan = Plan([()], [Positions(rule)], [LENGTH], [3])
        assert plan.mask(torch.arange(10)[None])[0].nonzero().flatten().tolist() == positions
    no_words = Plan([()], [Positions("after-thought")], [LENGTH], [0])
    assert no_words.mask(torch.tensor([[4, 5]])).tolist() == [[False, True]]


@pytest.mark.parametrize("text", ["", "before", "index:", "index:1.5", "index:x"])
def test_unknown_positions_are_refused(text):
    with pytest.raises(InputError, match="no steered positions"):
        Positions.parse(text)


@pytest.mark.parametrize("index", [5, -6])
def test_an_index_outside_the_prompt_is_refused(index):
    with pytest.raises(InputError, match="outside the prompt, which has 5 tokens"):
        Plan([()], [Positions("index", index)], [LENGTH])


IDS = [7, 9, 11, 13, 15]


def inputs_for(*rows):
    ids = torch.tensor(rows)
    return Inputs(ids, torch.arange(ids.shape[1]).expand_as(ids), torch.ones_like(ids))


def plan_for(*rows, rule="after-prompt"):
    return Plan(rows, [Positions.parse(rule)] * len(rows), [len(IDS)] * len(rows))


@pytest.mark.parametrize("rule", ["after-prompt", "all", "prompt", "last-prompt", "index:1"])
def test_every_row_gets_its_own_plan_at_its_own_layers(tiny, rule):
    v, w = random_vector(tiny, 1), random_vector(tiny, 2)
    rows = [(), (Steer(v, 1, 2.0),), (Steer(v, 1, -1.0), Steer(w, 3, 0.5), Steer(w, 1, 1.5))]
    logits = steered_logits(tiny, inputs_for(IDS, IDS, IDS), plan_for(*rows, rule=rule))[:, -1]
    positions = Positions.parse(rule)
    steered = [i for i in range(5) if i in range(*positions.span(5))]
    for row, steers in enumerate(rows):
        additions = [(steer.layer, steer.multiplier * steer.vector) for steer in steers]
        assert torch.allclose(logits[row], plain_logits(tiny, IDS, additions, steered), atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], atol=1e-2)


def test_the_vector_is_added_once(tiny_llama):
    """Behind the last block only the norm and the head follow, so the addition can be read off exactly."""
    model, v = tiny_llama, random_vector(tiny_llama)
    logits = steered_logits(model, inputs_for(IDS), plan_for((Steer(v, 3, 1.0),)))[0, -1]
    stream = residuals(model, IDS)[3, -1] + v
    head = model.module.lm_head(model.module.model.norm(stream))
    assert torch.allclose(logits, head, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_added_is_exactly_the_unsteered_run(tiny_llama, dtype):
    v = random_vector(tiny_llama)
    nothing = [(Steer(v, 1, 0.0),), (Steer(v, 1, 1.7), Steer(-v, 1, 1.7)), (Steer(v, 2, 1.7), Steer(v, 2, -1.7))]
    plain = steered_logits(tiny_llama, inputs_for(IDS), plan_for(()))
    for steers in nothing:
        plan = plan_for(steers)
        assert plan.additions(torch.arange(5)[None], dtype) == []
        assert torch.equal(steered_logits(tiny_llama, inputs_for(IDS), plan), plain)


def test_sums_at_one_layer_are_made_in_float32_and_rounded_once(tiny_llama):
    v = torch.full((tiny_llama.hidden_size,), 256.0)
    small = torch.full((tiny_llama.hidden_size,), 1.0)
    # 256 + 1 - 256 is 0 when every step is rounded to bfloat16, and 1 when only the sum is.
    plan = plan_for((Steer(v, 1, 1.0), Steer(small, 1, 1.0), Steer(v, 1, -1.0)))
    ((layer, addition),) = plan.additions(torch.tensor([[4]]), torch.bfloat16)
    assert layer == 1 and addition.dtype == torch.bfloat16
    assert torch.equal(addition[0, 0], small.bfloat16())


def test_the_callers_vector_is_never_changed(tiny_llama):
    v = random_vector(tiny_llama)
    kept = v.clone()
    steered_logits(
        tiny_llama, inputs_for(IDS, IDS), plan_for((Steer(v, 1, 3.0), Steer(v, 1, 1.0)), (Steer(v, 1, -2.0),))
    )
    assert torch.equal(v, kept)


def test_an_exception_leaves_nothing_behind(tiny):
    plain = steered_logits(tiny, inputs_for(IDS), plan_for(()))
    wrong = torch.ones(tiny.hidden_size + 1)
    with pytest.raises(RuntimeError):
        steered_logits(tiny, inputs_for(IDS), plan_for((Steer(wrong, 1, 1.0),)))
    assert torch.equal(steered_logits(tiny, inputs_for(IDS), plan_for(())), plain)
    assert not any(module._forward_hooks for module in tiny.module.modules())
