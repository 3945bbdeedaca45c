import pytest
import torch

from caa_core.errors import InputError
from caa_core.model.loading import Inputs
from caa_core.model.prompts import render
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.steering.passes import steered_logits, watch
from caa_core.steering.plan import Plan
from tests.helpers.reference import changes_by, residuals, write
from tests.helpers.vectors import random_vector

IDS, LAYER, PROMPT = [7, 9, 11, 13, 15, 17, 19], 2, 4
INPUTS = Inputs(torch.tensor([IDS]), torch.arange(len(IDS))[None], torch.ones(1, len(IDS), dtype=torch.long))
ABLATE, KEEP_NORM = Operation("ablate"), Operation("keep-norm")


def plan_of(*steers):
    return Plan([steers], [Positions()], [PROMPT])


def streams(model, *steers):
    """What comes out of the block: unsteered and under `steers`, [tokens, hidden_size] each."""
    return residuals(model, IDS)[LAYER], watch(model, INPUTS, plan_of(*steers), [LAYER])[0, 0]


def unit(model, seed=0):
    return torch.nn.functional.normalize(random_vector(model, seed), dim=0)


@pytest.mark.parametrize("rows", [1, 3])
def test_nothing_is_left_along_a_vector_that_is_ablated(tiny, rows):
    v = random_vector(tiny)
    before, after = streams(tiny, *[Steer((1 + row) * v, LAYER, 1.0, ABLATE) for row in range(rows)])
    left = (after @ unit(tiny)).abs() / before.norm(dim=1)
    assert (left[PROMPT - 1 :] < 1e-6).all() and (left[: PROMPT - 1] > 1e-4).all()
    # Twice or more is once; before the steered tokens all is as it was; across the vector, too.
    _, once = streams(tiny, Steer(v, LAYER, 1.0, ABLATE))
    assert torch.allclose(after, once, atol=1e-4)
    assert torch.allclose(after[: PROMPT - 1], before[: PROMPT - 1], atol=1e-4)
    across = before - (before @ unit(tiny))[:, None] * unit(tiny)
    assert torch.allclose(after[PROMPT - 1 :], across[PROMPT - 1 :], atol=1e-4)


def test_nothing_lies_above_a_cap(tiny):
    before, _ = streams(tiny)
    along = before @ unit(tiny)
    cap = along[PROMPT - 1 :].median().item()
    _, after = streams(tiny, Steer(3 * random_vector(tiny), LAYER, 1.0, Operation("cap", cap)))
    assert torch.allclose((after @ unit(tiny))[PROMPT - 1 :], along[PROMPT - 1 :].clamp(max=cap), atol=1e-4)
    assert (along[PROMPT - 1 :] > cap + 1e-3).any()
    # What lies below it is as it was.
    below = [i for i in range(PROMPT - 1, len(IDS)) if along[i] < cap]
    assert torch.allclose(after[below], before[below], atol=1e-4)


@pytest.mark.parametrize("multiplier", [2.0, -0.5])
def test_the_norm_is_kept(tiny, multiplier):
    v = random_vector(tiny)
    before, after = streams(tiny, Steer(v, LAYER, multiplier, KEEP_NORM))
    assert after.norm(dim=1).tolist() == pytest.approx(before.norm(dim=1).tolist(), rel=1e-5)
    toward = torch.nn.functional.normalize(before + multiplier * v, dim=1)
    assert torch.allclose(torch.nn.functional.normalize(after, dim=1)[PROMPT - 1 :], toward[PROMPT - 1 :], atol=1e-4)


def test_sums_come_first_and_what_is_taken_away_is_gone_behind_them(tiny_llama):
    v, w = random_vector(tiny_llama), random_vector(tiny_llama, 1)
    steers = [Steer(v, LAYER, 1.0, ABLATE), Steer(v + w, LAYER, 2.0), Steer(w, LAYER, 1.0, KEEP_NORM)]
    before, after = streams(tiny_llama, *steers)
    assert ((after @ unit(tiny_llama))[PROMPT - 1 :].abs() < 1e-4).all()
    for _, change in changes_by([steers[1], steers[2], steers[0]]):
        before[PROMPT - 1 :] = change(before[PROMPT - 1 :])
    assert torch.allclose(after, before, atol=1e-4)


def test_strength_0_is_exactly_the_unsteered_run(tiny):
    plain = steered_logits(tiny, INPUTS, plan_of())
    for operation in map(Operation.parse, ("add", "keep-norm", "ablate", "cap:-9")):
        nothing, steered = (
            steered_logits(tiny, INPUTS, plan_of(Steer(random_vector(tiny), LAYER, m, operation))) for m in (0.0, 1.0)
        )
        assert torch.equal(nothing, plain) and not torch.allclose(steered, plain, atol=1e-3), operation


def test_opposites_that_keep_the_norm_are_nothing(tiny_llama):
    v = random_vector(tiny_llama)
    plan = plan_of(Steer(v, 1, 1.7, KEEP_NORM), Steer(-v, 1, 1.7, KEEP_NORM))
    assert plan.layers == [] and plan.first_layer is None


@pytest.mark.parametrize("rule", ["after-prompt", "all", "last-prompt", "generated"])
def test_cached_decoding_equals_the_loop_without_cache(tiny, rule):
    """In one batch with rows that are steered otherwise, or not at all."""
    positions = Positions.parse(rule)
    prompts = [render(tiny.tokenizer, [{"role": "user", "content": text}]) for text in ("How was your day?", "Rain?")]
    v, w = 3 * random_vector(tiny), 3 * random_vector(tiny, 1)
    added = [
        (),
        (Steer(v, 2, 1.0),),
        (Steer(v, 2, 1.0, ABLATE), Steer(w, 1, 0.8, ABLATE)),
        (Steer(v, 2, 1.0, Operation("cap", 0.2)),),
        (Steer(v, 2, -1.5, KEEP_NORM),),
        (Steer(w, 2, 1.0), Steer(v, 2, 1.0, ABLATE), Steer(w, 2, 1.0, Operation("cap", -1.0))),
    ]
    rows, expected = [], []
    for number, steers in enumerate(added):
        prompt = prompts[number % 2]
        rows.append(BatchRow(prompt, steers, positions))
        steered = range(*positions.span(len(prompt.ids)))
        expected.append(write(tiny, prompt.ids, changes_by(steers), lambda i, steered=steered: i in steered, 10))
    written = [text.ids for text in finish(generate(tiny, rows, Decoding(10)))]
    assert written == expected
    assert len({tuple(ids) for ids in written[::2]}) > 1


def test_in_bfloat16_next_to_nothing_is_left(tiny_llama):
    stream = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    plan = Plan([(Steer(random_vector(tiny_llama), 0, 1.0, ABLATE),)], [Positions("all")], [9])
    ((_, change),) = plan.changes(torch.arange(9)[None], torch.bfloat16)
    after = change(stream)
    assert after.dtype == torch.bfloat16
    assert ((after.float() @ unit(tiny_llama)).abs() < 2**-8 * stream.float().norm(dim=-1)).all()


@pytest.mark.parametrize("name", ["add", "keep-norm", "ablate", "cap:0", "cap:-1.5", "cap:0.123456789"])
def test_a_name_is_read_as_it_is_written(name):
    assert str(Operation.parse(f" {name.upper()}")) == name


@pytest.mark.parametrize("name", ["", "cap", "cap:", "cap:x", "cap:inf", "subtract", "add:1"])
def test_what_is_no_operation_is_said(name):
    with pytest.raises(InputError, match="There is no operation"):
        Operation.parse(name)
