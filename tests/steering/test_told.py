import pytest
import torch

from caa_core.model.prompts import render_pair
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from caa_core.steering.told import score_told
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.models import make_tiny
from tests.helpers.reference import steered_logits

SYSTEMS = ["Be glad.", "You are very sad, and have been for a long time."]


def predicted(model, pair, system, steers, choice):
    """Log-probabilities at each place of both answers, [places, vocabulary], one forward pass at a time."""
    rendered = render_pair(model.tokenizer, pair, system)
    found = []
    for answer in (rendered.positive, rendered.negative):
        end = rendered.shared + 1 if choice else len(answer.ids)
        for i in range(answer.start, end):
            if answer is rendered.negative and i <= rendered.shared:
                continue  # both answers have the same before it
            steered = [*range(answer.start - 1, i)]
            additions = [(steer.layer, steer.multiplier * steer.vector) for steer in steers]
            found.append(steered_logits(model, answer.ids[:i], additions, steered).log_softmax(-1))
    return torch.stack(found)


@pytest.mark.parametrize("data", [TEXTS, LETTERS], ids=["texts", "letters"])
def test_answers_score_as_behind_that_prompt_and_cost_what_differs_from_behind_none(tiny_llama, data):
    model = tiny_llama
    run = (Steer(torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(0)), 1, 2.0),)
    found = finish(score_told(model, data.pairs, SYSTEMS, [run]))
    for system, told in zip(SYSTEMS, found, strict=True):
        direct = finish(score(model, data.pairs, [run], system=system))
        for name in ("positive", "negative", "mass"):
            pair = getattr(told, name), getattr(direct, name)
            assert torch.allclose(*pair, atol=1e-4, equal_nan=True), name
        for item, pair in enumerate(data.pairs):
            nothing = predicted(model, pair, "", (), pair.is_choice)
            for row, steers in enumerate([(), run]):
                here = predicted(model, pair, system, steers, pair.is_choice)
                kl = (nothing.exp() * (nothing - here)).sum(-1).mean().item()
                assert told.kl[row, item].item() == pytest.approx(kl, rel=1e-2, abs=1e-4)
                assert kl > 0.01


def test_what_is_told_costs_nothing_where_nothing_is_told(tiny_llama):
    (found,) = finish(score_told(tiny_llama, TEXTS.pairs, [""]))
    assert found.kl.abs().max() < 1e-5


def test_a_cost_is_not_known_where_an_answer_has_other_tokens():
    """A tokenizer joins its first letters to a space with which the prompt ends where there is a system prompt."""
    model = make_tiny("llama")
    model.tokenizer.chat_template += "{% if messages[0].role == 'system' %} {% endif %}"
    (found,) = finish(score_told(model, TEXTS.pairs, SYSTEMS[:1]))
    assert found.kl.isnan().all() and not found.preference.isnan().any()
