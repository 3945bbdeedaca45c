"""What any vector would do to first order, beside what vectors do."""

import numpy as np
import pytest
import torch

from caa_core.data.presets import presets
from caa_core.model.loading import load
from caa_core.model.prompts import Cue
from caa_core.progress import Progress, finish
from caa_core.steering.gradients import NoEstimateError, gradients
from caa_core.steering.interventions import POSITIONS, Positions, Steer
from caa_core.steering.scoring import score
from caa_core.vectors.vector import load_vector
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.models import make_tiny
from tests.helpers.reference import short_of_memory
from tests.helpers.sizes import FULL

STEP = 0.01
RULES = (*POSITIONS, "index:-2")


def each(pairs):
    return torch.eye(len(pairs))


def drawn(model):
    """A vector for each layer."""
    return torch.randn(model.num_layers, model.hidden_size, generator=torch.Generator().manual_seed(1))


def odd_part(model, pairs, vectors, size, **options):
    """What vectors do at ±size, half of the difference, by layer and item."""
    runs = [(Steer(v, layer, sign * size),) for layer, v in enumerate(vectors) for sign in (1, -1)]
    found = finish(score(model, pairs, runs, **options)).preference[1:]
    return (found[::2] - found[1::2]) / 2


@pytest.mark.parametrize("data", [TEXTS, LETTERS], ids=["texts", "letters"])
@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_central_differences(tiny, data, rule):
    positions, vectors = Positions.parse(rule), drawn(tiny)
    found = finish(gradients(tiny, data.pairs, each(data.pairs), range(tiny.num_layers), positions))
    assert found.shape == (len(data.pairs), tiny.num_layers, tiny.hidden_size) and found.dtype == torch.float32
    estimated = torch.einsum("plh,lh->lp", found, vectors)
    exact = odd_part(tiny, data.pairs, vectors, STEP, positions=positions) / STEP
    assert torch.allclose(estimated, exact, atol=0.01, rtol=0.01)
    assert exact.abs().max() > 0.05


def test_gradients_behind_a_cue(tiny_llama):
    vectors, cue = drawn(tiny_llama), Cue("Answer:")
    found = finish(gradients(tiny_llama, LETTERS.pairs, each(LETTERS.pairs), range(4), cue=cue))
    exact = odd_part(tiny_llama, LETTERS.pairs, vectors, STEP, cue=cue) / STEP
    assert torch.allclose(torch.einsum("plh,lh->lp", found, vectors), exact, atol=0.01, rtol=0.01)


def test_sums_over_items_at_some_layers(tiny_llama):
    own = finish(gradients(tiny_llama, TEXTS.pairs, each(TEXTS.pairs), range(4)))
    weights, events = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, -1.0, 2.0]]), []
    sums = finish(gradients(tiny_llama, TEXTS.pairs, weights, [3, 1]), events.append)
    assert torch.allclose(sums, torch.einsum("sp,plh->slh", weights, own)[:, [3, 1]], atol=1e-5)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.done, last.fraction) == (4, pytest.approx(1.0))


def test_out_of_memory_halves_the_batch(tiny_llama):
    expected = finish(gradients(tiny_llama, TEXTS.pairs, each(TEXTS.pairs), range(4)))
    with short_of_memory(tiny_llama) as rows:
        found = finish(gradients(tiny_llama, TEXTS.pairs, each(TEXTS.pairs), range(4)))
    assert torch.allclose(found, expected, atol=1e-4) and max(rows) > 1


def test_nothing_of_it_stays(tiny_llama):
    before = finish(score(tiny_llama, TEXTS.pairs)).preference
    finish(gradients(tiny_llama, TEXTS.pairs, each(TEXTS.pairs), range(4)))
    assert all(one.grad is None and not one.requires_grad for one in tiny_llama.module.parameters())
    assert torch.equal(finish(score(tiny_llama, TEXTS.pairs)).preference, before)


class _NoBackward(torch.autograd.Function):
    """A kernel that was written for inference alone."""

    @staticmethod
    def forward(ctx, given):
        return given * 1.0

    @staticmethod
    def backward(ctx, _):
        raise NotImplementedError("no backward")


@pytest.mark.parametrize("broken", [torch.Tensor.detach, lambda x: 3 * x - 2 * x.detach(), _NoBackward.apply])
def test_a_model_without_its_own_backward_has_no_estimate(broken):
    """Gradients that are missing, cut off on the way, too large, or refused."""
    model = make_tiny("llama")
    model.blocks[1]._module.register_forward_hook(lambda _m, _i, out: broken(out))
    with pytest.raises(NoEstimateError, match="no estimate for this model: tiny-llama"):
        finish(gradients(model, TEXTS.pairs, each(TEXTS.pairs), range(4)))


@pytest.mark.parametrize("name", ["joy", "formal"] if FULL else ["joy"])
def test_estimates_of_the_embedded_model_are_the_odd_part_of_what_its_vectors_do(embedded, name):
    """By layer, beside (Δ(+0.5) - Δ(-0.5)): the estimate of a multiplier of 1."""
    pairs, vector = presets()[name].test().pairs[: 4 if FULL else 2], load_vector(presets()[name].vector_file)
    layers = range(0, embedded.num_layers, 2 if FULL else 5)
    (mean,) = finish(gradients(embedded, pairs, torch.full((1, len(pairs)), 1 / len(pairs)), layers))
    estimated = (mean * torch.stack([vector.at(layer) for layer in layers])).sum(-1).numpy()
    runs = [(Steer(vector.at(layer), layer, sign * 0.5),) for layer in layers for sign in (1, -1)]
    changed = finish(score(embedded, pairs, runs)).preference[1:].mean(1).numpy()
    exact = changed[::2] - changed[1::2]
    assert np.corrcoef(estimated, exact)[0, 1] >= 0.95
    assert 0.8 <= np.polyfit(estimated, exact, 1)[0] <= 1.25


@pytest.mark.skipif(not FULL, reason="slow where the processor has no bfloat16: make soak")
def test_estimates_in_bfloat16_are_those_in_float32(embedded):
    """Rounding within the model moves them by some percent: what is summed is summed in float32."""
    joy, coarse = presets()["joy"], load("smollm2-135m", dtype="bfloat16")
    pairs, vector = joy.test().pairs[:1], load_vector(joy.vector_file)
    vectors = torch.stack([vector.at(layer) for layer in range(embedded.num_layers)])
    each = [finish(gradients(model, pairs, torch.ones(1, 1), range(30)))[0] for model in (embedded, coarse)]
    exact, rounded = ((mean * vectors).sum(-1) for mean in each)
    assert torch.allclose(rounded, exact, atol=0.02, rtol=0.1)
