import json

import pytest
import torch

from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.inspection import (
    Views,
    align,
    as_prompt,
    look_inside,
    predict,
    token_name,
    token_texts,
    unembed,
)
from caa_core.progress import finish
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.passes import logits_of, watch
from caa_core.steering.plan import Plan
from caa_core.vectors.vector import load_vector
from tests.helpers.models import make_tiny
from tests.helpers.reference import residuals
from tests.helpers.reference import steered_logits as plain_logits

TEXT = "How lovely!\n\nThe café is open 🎈."
LAYER = 2


def random_vector(model, seed=0):
    return torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(seed))


def steered(length, rule="after-prompt"):
    first, end = Positions.parse(rule).span(length)
    return list(range(first, min(end, length)))


@pytest.mark.parametrize("chat", [True, False])
def test_alignment_is_that_of_plain_hooks(tiny, chat):
    prompt, vector = as_prompt(tiny, TEXT, chat), random_vector(tiny)
    found = align(tiny, prompt, vector, LAYER)
    stream = residuals(tiny, prompt.ids)[LAYER]
    assert torch.allclose(torch.tensor(found.projections), stream @ vector / vector.norm(), atol=1e-4)
    assert torch.allclose(torch.tensor(found.cosines), torch.cosine_similarity(stream, vector[None]), atol=1e-5)
    assert "".join(found.tokens) == prompt.text and len(found.tokens) == len(prompt.ids)


def test_the_number_stands_at_its_own_token(tiny_llama):
    """A vector taken from the stream at one token is aligned with that token, and the text there is that token's."""
    prompt = as_prompt(tiny_llama, "one two three four five", chat=False)
    for place in range(len(prompt.ids)):
        found = align(tiny_llama, prompt, residuals(tiny_llama, prompt.ids)[LAYER, place], LAYER)
        assert found.cosines[place] == pytest.approx(1, abs=1e-5)
        assert max(range(len(found.cosines)), key=found.cosines.__getitem__) == place
        assert found.tokens[place] == tiny_llama.tokenizer.decode([prompt.ids[place]])


def test_a_character_of_several_tokens_stands_at_the_last(tiny_llama):
    tokenizer = tiny_llama.tokenizer
    ids = tokenizer("a🎈b").input_ids
    texts = token_texts(tokenizer, ids)
    assert texts == ["a", *[""] * (len(ids) - 3), "🎈", "b"] and len(ids) > 3
    assert token_name(tokenizer, ids[1]) == tokenizer.convert_ids_to_tokens(ids[1])


@pytest.mark.parametrize("rule", ["after-prompt", "all", "index:-2"])
def test_what_is_watched_is_what_hooks_see(tiny, rule):
    ids, vector = [7, 9, 11, 13, 15], random_vector(tiny)
    plan = Plan([(), (Steer(vector, 1, 2.0),)], [Positions.parse(rule)] * 2, [5, 5])
    seen = watch(tiny, tiny.plain_inputs(ids, rows=2), plan, [0, 1, 3])
    plain = residuals(tiny, ids)[[0, 1, 3]]
    assert torch.allclose(seen[:, 0], plain, atol=1e-4)
    # At the steered layer it is the unsteered stream and what was added, where something was.
    expected = plain[1].clone()
    expected[steered(5, rule)] += 2 * vector
    assert torch.allclose(seen[1, 1], expected, atol=1e-4)


@pytest.mark.parametrize("rule", ["after-prompt", "all"])
def test_the_lens_ends_with_the_logits(tiny, rule):
    prompt, vector = as_prompt(tiny, TEXT), random_vector(tiny)
    length, plan = len(prompt.ids), [(1, 3 * vector)]
    unsteered = plain_logits(tiny, prompt.ids, [], []).softmax(-1)
    changed = plain_logits(tiny, prompt.ids, plan, steered(length, rule)).softmax(-1)
    next_token, lens = predict(tiny, prompt, (Steer(vector, 1, 3.0),), Positions.parse(rule))
    for run, expected in enumerate((unsteered, changed)):
        assert lens.tokens[run][-1] == lens.finals[run] == token_name(tiny.tokenizer, expected.argmax().item())
        assert lens.probabilities[run][-1] == pytest.approx(expected.max().item(), abs=1e-4)
    assert lens.toward[1][0][-1] == pytest.approx(changed[unsteered.argmax()].item(), abs=1e-4)
    kl = (unsteered * (unsteered / changed).log()).sum().item()
    assert next_token.kl == pytest.approx(kl, rel=1e-3)
    change = changed - unsteered
    for movers, sign in ((next_token.gains, 1), (next_token.losses, -1)):
        expected = (sign * change).topk(len(movers)).values * sign
        assert torch.allclose(torch.tensor([mover.difference for mover in movers]), expected, atol=1e-4)
    assert next_token.steered_tokens == len(steered(length, rule))
    # Below the steered layer nothing differs, from there on something does.
    assert lens.probabilities[0][0] == pytest.approx(lens.probabilities[1][0], abs=1e-6)
    assert lens.probabilities[0][1] != pytest.approx(lens.probabilities[1][1], abs=1e-6)


def test_the_lens_within_is_norm_and_head(tiny_llama):
    prompt = as_prompt(tiny_llama, TEXT)
    _, lens = predict(tiny_llama, prompt, (), Positions())
    module = tiny_llama.module
    for layer, stream in enumerate(residuals(tiny_llama, prompt.ids)[:, -1]):
        expected = module.lm_head(module.model.norm(stream)).softmax(-1)
        assert lens.probabilities[0][layer] == pytest.approx(expected.max().item(), abs=1e-5)
    assert lens.tokens[0] == lens.tokens[1]


def test_nothing_steered_moves_nothing(tiny_llama):
    """Among the prompt's tokens none is steered by 'generated'."""
    prompt = as_prompt(tiny_llama, TEXT)
    next_token, _ = predict(tiny_llama, prompt, (Steer(random_vector(tiny_llama), 1, 3.0),), Positions("generated"))
    assert next_token.steered_tokens == 0 and next_token.kl == pytest.approx(0, abs=1e-6)


def test_the_unembedding_is_a_product_of_matrices():
    model, vector = make_tiny("llama", seed=3), 5 * random_vector(make_tiny("llama"))
    gain = model.module.model.norm.weight.data.uniform_(0.2, 3)
    product = model.module.lm_head.weight @ (gain * vector) / vector.square().mean().sqrt()
    product -= product.mean()
    found = unembed(model, vector)
    for listed, largest in ((found.promoted, True), (found.suppressed, False)):
        expected = product.topk(10, largest=largest)
        assert torch.allclose(torch.tensor([value for _, value in listed]), expected.values, atol=1e-4)
        assert [name for name, _ in listed] == [token_name(model.tokenizer, int(i)) for i in expected.indices]


def test_the_opposite_vector_says_the_opposite(tiny):
    vector = random_vector(tiny)
    one, other = unembed(tiny, vector), unembed(tiny, -vector)
    assert [name for name, _ in one.promoted] == [name for name, _ in other.suppressed]


def test_the_french_vector_makes_the_embedded_model_begin_in_french(embedded):
    preset = presets()["french"]
    steer = Steer(load_vector(preset.vector_file).at(preset.layer), preset.layer, preset.multiplier)
    next_token, lens = predict(embedded, as_prompt(embedded, "How was your day?"), (steer,), Positions())
    assert "Je" in [mover.token for mover in next_token.gains]
    assert "It" in [mover.token for mover in next_token.losses]
    assert next_token.kl > 1 and lens.finals[0] != lens.finals[1]


def test_all_views_are_plain_data(tiny):
    views = finish(look_inside(tiny, as_prompt(tiny, TEXT), (Steer(random_vector(tiny), 1, 2.0),), Positions()))
    found = views.summary()
    assert set(found) == {"alignment", "next_token", "lens", "unembedding"}
    assert [len(run) for run in found["lens"]["tokens"]] == [tiny.num_layers] * 2
    assert Views.of(json.loads(json.dumps(found))).next_token == views.next_token
    assert not any(module._forward_hooks for module in tiny.module.modules())


def test_logits_are_those_of_each_place_alone(tiny):
    streams = torch.randn(5, tiny.hidden_size, generator=torch.Generator().manual_seed(1))
    together = logits_of(tiny, streams)
    for place, stream in enumerate(streams):
        assert torch.allclose(logits_of(tiny, stream[None])[0], together[place], atol=1e-5)


@pytest.mark.parametrize(
    ("text", "chat", "message"),
    [("  ", True, "empty"), ("", False, "empty"), ("word " * 9000, False, "Shorten it")],
)
def test_bad_texts_are_refused(tiny_llama, text, chat, message):
    with pytest.raises(InputError, match=message):
        as_prompt(tiny_llama, text, chat)


def test_a_layer_that_is_not_there_is_refused(tiny_llama):
    prompt, vector = as_prompt(tiny_llama, TEXT), random_vector(tiny_llama)
    with pytest.raises(InputError, match="no layer 9"):
        align(tiny_llama, prompt, vector, 9)
    with pytest.raises(InputError, match="no layer 9"):
        predict(tiny_llama, prompt, (Steer(vector, 9, 1.0),), Positions())


@pytest.mark.parametrize("kept", [{}, {"alignment": {}}, [], "x"])
def test_what_is_no_view_is_refused(kept):
    with pytest.raises(InputError, match="cannot be read"):
        Views.of(kept)


def test_steering_that_breaks_the_numbers_is_said(tiny_llama):
    vector = random_vector(tiny_llama)
    with pytest.raises(InputError, match="smaller multiplier"):
        predict(tiny_llama, as_prompt(tiny_llama, TEXT), (Steer(vector, 1, 1e39),), Positions())
