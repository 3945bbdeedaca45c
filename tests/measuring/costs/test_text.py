import json
import math

import pytest
import torch

from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.costs import text as perplexity
from caa_core.measuring.costs.text import TextCost, TextCosts, cheap_up_to, cost, neutral_text
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.vectors.vector import load_vector
from tests.helpers.reference import steered_logits

TEXT = "The bridge was built of stone, and the river runs below it."


def random_vector(model, seed=0):
    return torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(seed))


def token_by_token(model, ids, additions):
    """Log-probabilities [tokens, vocabulary], each from a run of its own, steered at all positions."""
    logits = [steered_logits(model, ids[:end], additions, list(range(end))) for end in range(1, len(ids))]
    return torch.stack(logits).log_softmax(-1)


def test_costs_are_those_of_plain_hooks(tiny):
    ids, vector = tiny.tokenizer(TEXT).input_ids[:16], random_vector(tiny)
    text = tiny.tokenizer.decode(ids)
    found = finish(cost(tiny, text, (Steer(vector, 2, 1.0),), [1.5, -1, 0]))
    own = torch.tensor(ids[1:])[:, None]
    plain = token_by_token(tiny, ids, [])
    assert found.tokens == len(ids) - 1 and [c.multiplier for c in found.steered] == [-1, 0, 1.5]
    assert found.perplexity == pytest.approx((-plain.gather(-1, own).mean()).exp().item(), rel=1e-4)
    for one in found.steered:
        steered = token_by_token(tiny, ids, [(2, one.multiplier * vector)])
        assert one.perplexity == pytest.approx((-steered.gather(-1, own).mean()).exp().item(), rel=1e-3)
        kl = (plain.exp() * (plain - steered)).sum(-1).mean().item()
        assert one.kl == pytest.approx(kl, rel=1e-3, abs=1e-6)
    assert found.steered[1].kl == 0 and found.steered[1].perplexity == found.perplexity


def test_windows_are_pooled_over_their_tokens(tiny_llama, monkeypatch):
    ids = tiny_llama.tokenizer(TEXT).input_ids
    monkeypatch.setattr(perplexity, "WINDOW", 8)
    found = finish(cost(tiny_llama, TEXT, (Steer(random_vector(tiny_llama), 1, 1.0),), [1]))
    parts = [ids[start : start + 8] for start in range(0, len(ids), 8)]
    lost = [
        -token_by_token(tiny_llama, part, []).gather(-1, torch.tensor(part[1:])[:, None]) for part in parts if part[1:]
    ]
    assert len(lost) > 2 and found.tokens == sum(map(len, lost))
    assert found.perplexity == pytest.approx(torch.cat(lost).mean().exp().item(), rel=1e-4)


def test_every_window_begins_as_the_tokenizer_begins(tiny_llama, monkeypatch):
    """A model that wants a first token of its own gets it, and it is not predicted."""
    monkeypatch.setattr(perplexity, "WINDOW", 8)
    tokenizer = tiny_llama.tokenizer
    ids, plain = tokenizer(TEXT).input_ids, type(tokenizer).__call__

    def beginning(self, text, add_special_tokens=True, **rest):
        found = plain(self, text, **rest)
        found["input_ids"] = [2] * add_special_tokens + found["input_ids"]
        return found

    monkeypatch.setattr(type(tokenizer), "__call__", beginning)
    windows = perplexity._windows(tiny_llama, TEXT)
    assert all(window[0] == 2 and len(window) <= 8 for window in windows)
    assert [token for window in windows for token in window[1:]] == ids


def costs(*rows):
    return TextCosts(1, 10, 20.0, tuple(TextCost(*row) for row in rows))


@pytest.mark.parametrize(
    ("rows", "up", "down"),
    [
        ([(-2, 0.6, 25), (-1, 0.1, 21), (1, 0.2, 22), (2, 0.4, 30)], 2, -1),
        ([(1, 0.2, 22), (2, 0.4, 40)], 1, 0),  # twice the perplexity is not under twice
        ([(1, 0.5, 22), (2, 0.1, 22)], 0, 0),  # nothing counts above what is dear
        ([(0, 0.0, 20)], 0, 0),
    ],
)
def test_up_to_which_multiplier_it_costs_little(rows, up, down):
    assert (cheap_up_to(costs(*rows)), cheap_up_to(costs(*rows), -1)) == (up, down)


def test_the_summary_is_plain_data():
    kept = costs((-1, 0.1, 21), (1, 0.2, math.inf))
    found = kept.summary()
    assert TextCosts.of(json.loads(json.dumps(found, allow_nan=False))) == kept
    with pytest.raises(InputError, match="cannot be read"):
        TextCosts.of({"steered": 3})
    assert found["steered"][1] == {"multiplier": 1, "kl": 0.2, "perplexity": None}
    assert (found["safe_multiplier"], found["safe_negative_multiplier"]) == (0, -1)


def test_the_mean_of_one_text_calls_nothing_safe():
    """Safe is a range in which every upper bound lies under the limit; one text has no interval."""
    for rows, said in (
        (((-2, 0.9, 21), (-1, 0.1, 21), (1, 0.9, 21)), "multipliers from -1 to 0 cost less than 0.5 nats of KL in the"),
        (((-1, 0.1, 21), (1, 0.9, 21)), "from -1 to 0, and perhaps some beyond, cost less than"),
        (((-1, 0.9, 21), (1, 0.9, 21)), "none of the multipliers next to 0 cost less than"),
    ):
        told = str(costs(*rows))
        assert said in told and "are safe" not in told and "without an interval" in told


def test_the_embedded_model_reads_the_neutral_text_and_steering_costs(embedded):
    preset = presets()["joy"]
    vector = load_vector(preset.vector_file).at(preset.layer)
    found = finish(cost(embedded, neutral_text(), (Steer(vector, preset.layer, 1.0),), [0.5, 20]))
    assert found.tokens > 300 and 5 < found.perplexity < 40
    assert cheap_up_to(found) == 0.5
    assert found.steered[1].perplexity > 2 * found.perplexity and found.steered[1].kl > found.steered[0].kl


def test_the_neutral_text_is_a_page_of_prose():
    paragraphs = neutral_text().split("\n\n")
    assert len(paragraphs) > 4 and all(paragraph.endswith(".") for paragraph in paragraphs)


def test_what_cannot_be_read_is_refused(tiny_llama):
    with pytest.raises(InputError, match="too short"):
        finish(cost(tiny_llama, "", (Steer(random_vector(tiny_llama), 1, 1.0),)))
    with pytest.raises(InputError, match="no layer 9"):
        finish(cost(tiny_llama, TEXT, (Steer(random_vector(tiny_llama), 9, 1.0),)))
