import math

import pytest
import torch

from caa_core.model.prompts import ask
from caa_core.progress import finish
from caa_core.steering import sampling as answers
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, Completion, generate
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.sampling import costs, repetition, write_all
from tests.helpers.models import make_tiny
from tests.helpers.reference import steered_logits


def test_each_call_is_written_as_it_would_be_alone(monkeypatch):
    model = make_tiny("llama")
    steer = Steer(3 * model.module.get_input_embeddings().weight[7].detach(), 1, 1.0)
    calls = [
        ([BatchRow(ask(model.tokenizer, prompt), steers) for steers in ((), (steer,))], Decoding(6 + seed, 1.0, seed))
        for seed, prompt in enumerate(("How are you?", "Hi", "Tell me about the rain in Spain.", "How are you?"))
    ]
    monkeypatch.setitem(answers.ROWS, "cpu", 3)  # two calls at a time
    events = []
    together = finish(write_all(model, calls), lambda progress: events.append((progress.done, progress.fraction)))
    for call, written in zip(calls, together, strict=True):
        assert [text.ids for text in written] == [text.ids for text in finish(generate(model, *call))]
    assert together[0][0].ids != together[3][0].ids, "each call draws for itself"
    assert events == sorted(events) and events[-1] == (8, 1.0)


def test_what_is_stopped_leaves_nothing_behind():
    model = make_tiny("llama")
    calls = [([BatchRow(ask(model.tokenizer, "Hi"))], Decoding(50, 1.0, seed)) for seed in range(3)]
    work = write_all(model, calls)
    for _ in range(5):
        next(work)
    work.close()
    alone = finish(generate(model, *calls[0]))
    assert alone[0].ids == finish(write_all(model, calls[:1]))[0][0].ids


def test_costs_are_those_of_plain_passes(tiny):
    """By hand: one text, one token at a time, hooks. Rows differ in length, layer and steered positions."""
    torch.manual_seed(3)
    vector = torch.randn(32)
    rows = [
        BatchRow(ask(tiny.tokenizer, "Hi"), (Steer(vector, 1, 1.5),)),
        BatchRow(ask(tiny.tokenizer, "How is the rain in Spain?"), (Steer(vector, 2, -1.0),), Positions("all")),
        BatchRow(ask(tiny.tokenizer, "Hi")),
    ]
    written = [Completion([9, 40, 40, 9, 40, 40, 9]), Completion([12, 300, 7]), Completion([5, 6])]
    found = finish(costs(tiny, rows, written))
    for row, text, cost in zip(rows, written, found, strict=True):
        nats, kl = [], []
        first = row.prompt.length - 1 if row.positions.rule == "after-prompt" else 0
        for i, token in enumerate(text.ids):
            ids = [*row.prompt.ids, *text.ids[:i]]
            added = [(steer.layer, steer.multiplier * steer.vector) for steer in row.steers]
            plain, steered = (
                steered_logits(tiny, ids, additions, list(range(first, len(ids)))).log_softmax(-1)
                for additions in ([], added)
            )
            nats.append(-plain[token].item())
            kl.append((plain.exp() * (plain - steered)).sum().item())
        assert cost.nats == pytest.approx(sum(nats) / len(nats), abs=1e-3)
        assert cost.kl == pytest.approx(sum(kl) / len(kl), abs=1e-3)
        assert cost.perplexity == pytest.approx(math.exp(cost.nats)) and cost.repetition == repetition(text.ids)
    assert found[2].kl == 0 and found[0].kl > 0 and found[0].repetition > 0


def test_an_answer_without_a_token_has_no_cost():
    model = make_tiny("llama")
    row = BatchRow(ask(model.tokenizer, "Hi"), (Steer(torch.ones(32), 1, 1.0),))
    nothing, something = finish(costs(model, [row] * 2, [Completion([]), Completion([5])]))
    assert (nothing.nats, nothing.kl, nothing.perplexity) == (None, None, None) and something.kl > 0
    assert finish(costs(model, [row], [Completion([])]))[0].kl is None
