"""Steering only where it applies: at tokens at which a gate is open."""

import pytest
import torch

from caa_core.errors import InputError
from caa_core.model.prompts import render
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate, side_by_side
from caa_core.steering.interventions import Gate, Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.steering.passes import watch
from caa_core.steering.plan import Plan
from tests.helpers.reference import residuals, steered_logits
from tests.helpers.vectors import random_vector
from tests.steering.test_operations import IDS, INPUTS, LAYER, PROMPT, unit

TOKENS = 16


def written(model, *rows):
    """Token ids of each row."""
    return [text.ids for text in finish(generate(model, rows, Decoding(TOKENS)))]


def prompt_of(model, question="How was your day?"):
    return render(model.tokenizer, [{"role": "user", "content": question}])


def middle_of(values):
    """Between the two in the middle, so that no rounding moves one across."""
    values = values.sort().values
    return values[len(values) // 2 - 1 :][:2].mean().item()


def test_always_open_is_addition_and_always_shut_is_nothing_token_by_token(tiny):
    """Rows of one batch, whose gates are read at different layers."""
    prompt, steers = prompt_of(tiny), (Steer(random_vector(tiny), 2, 6.0), Steer(random_vector(tiny, 1), 3, -4.0))
    gates = [Gate(random_vector(tiny, 2), layer, way * torch.inf) for way in (-1, 1) for layer in (0, 2)]
    rows = [BatchRow(prompt, steers, Positions("all"), gate) for gate in gates]
    added, nothing, *gated = written(tiny, BatchRow(prompt, steers, Positions("all")), BatchRow(prompt), *rows)
    assert gated == [added, added, nothing, nothing] and added != nothing


@pytest.mark.parametrize("layer", [1, 2])
def test_a_gate_is_read_at_each_token_in_cached_decoding_as_in_the_whole_text(tiny, layer):
    """Also at the layer that is steered, where it is read before anything is added."""
    steer, at = Steer(random_vector(tiny), 2, 6.0), unit(tiny, 2)
    prompt = prompt_of(tiny)
    (plain,) = written(tiny, BatchRow(prompt, (steer,), Positions("all")))
    threshold = middle_of(residuals(tiny, [*prompt.ids, *plain])[layer] @ at)
    gate = Gate(5 * random_vector(tiny, 2), layer, threshold)
    longer = BatchRow(prompt_of(tiny, "Is it raining, and for how long?"), (steer,), Positions("all"))
    found, _ = written(tiny, BatchRow(prompt, (steer,), Positions("all"), gate), longer)
    ids, opened = list(prompt.ids), set()
    for _ in range(TOKENS):
        open_at = [i for i, along in enumerate((residuals(tiny, ids)[layer] @ at).tolist()) if along > threshold]
        opened |= {(i in open_at, i >= len(prompt.ids)) for i in range(len(ids))}
        token = steered_logits(tiny, ids, [(2, 6.0 * steer.vector)], open_at).argmax().item()
        if token in tiny.end_tokens:
            break
        ids.append(token)
    assert found == ids[len(prompt.ids) :] != plain and len(opened) == 4


def test_a_gate_holds_for_every_operation(tiny_llama):
    v = random_vector(tiny_llama)
    before = residuals(tiny_llama, IDS)
    along = before[0] @ unit(tiny_llama, 2)
    gate = Gate(random_vector(tiny_llama, 2), 0, middle_of(along[PROMPT - 1 :]))
    steers = [Steer(v, LAYER, 1.0, Operation("ablate")), Steer(random_vector(tiny_llama, 1), LAYER, 1.0)]
    under, ungated = (
        watch(tiny_llama, INPUTS, Plan([steers], [Positions()], [PROMPT], gates=gates), [LAYER])[0, 0]
        for gates in ([gate], ())
    )
    is_open = [i >= PROMPT - 1 and along[i] > gate.threshold for i in range(len(IDS))]
    assert 0 < sum(is_open) < len(IDS) - PROMPT + 1
    for i, there in enumerate(is_open):
        assert torch.allclose(under[i], (ungated if there else before[LAYER])[i], atol=1e-4)


def test_answers_side_by_side_have_the_gate_but_for_the_unsteered_one(tiny_llama):
    prompt, steers = prompt_of(tiny_llama), (Steer(random_vector(tiny_llama), 2, 6.0),)
    shut = Gate(random_vector(tiny_llama, 2), 1, torch.inf)
    found = finish(side_by_side(tiny_llama, prompt, steers, Positions(), Decoding(TOKENS), (0.5, 2.0), shut))
    texts = [found.unsteered, found.steered, *found.by_factor.values()]
    assert len(texts) == 4 and len({tuple(text.ids) for text in texts}) == 1


@pytest.mark.parametrize(
    ("size", "layer", "said"), [(32, 3, "is read too late"), (32, 9, "has no layer 9"), (7, 1, "hidden size 7")]
)
def test_a_gate_that_cannot_be_is_said(tiny_llama, size, layer, said):
    row = BatchRow(
        prompt_of(tiny_llama), (Steer(random_vector(tiny_llama), 2, 1.0),), gate=Gate(torch.ones(size), layer, 0.0)
    )
    with pytest.raises(InputError, match=said):
        written(tiny_llama, row)
