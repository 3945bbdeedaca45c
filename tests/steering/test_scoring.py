import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from caa_core.data.pairs import ContrastPair, read_pairs
from caa_core.errors import InputError
from caa_core.model.prompts import Cue, ask_pair, render_pair
from caa_core.progress import finish
from caa_core.steering import batching
from caa_core.steering.divergence import kl_divergence, log_sums
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.steering.scoring import score
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.models import make_tiny
from tests.helpers.reference import all_steered_logits, changes_by, short_of_memory, steered_logits
from tests.helpers.sizes import FULL


def plainly(model, pair, steers, covers, one_by_one=False):
    """Log-probabilities of every token of both answers, each answer in a forward pass, or one prediction at a time."""
    rendered = render_pair(model.tokenizer, pair)
    found = []
    for answer in (rendered.positive, rendered.negative):
        end = len(answer.ids)
        steered = [place for place in range(end) if covers(place, answer.start)]
        if one_by_one:
            before = [(answer.ids[:i], [place for place in steered if place < i]) for i in range(answer.start, end)]
            logits = torch.stack([steered_logits(model, ids, changes_by(steers), there) for ids, there in before])
        else:
            logits = all_steered_logits(model, answer.ids, changes_by(steers), steered)[answer.start - 1 : -1]
        found.append((logits.log_softmax(-1), answer.ids[answer.start :], rendered.shared - answer.start))
    return found


def at_every_position(sides):
    """Predictions at each of the answers' positions; up to where they part, both have the same."""
    (positive, _, part), (negative, _, _) = sides
    return torch.cat([positive, negative[part + 1 :]])


@pytest.fixture
def steers(tiny):
    random = torch.Generator().manual_seed(0)
    v, w, u = (torch.randn(tiny.hidden_size, generator=random) for _ in range(3))
    return [
        (Steer(2 * v, 1, 1.5),),
        (Steer(w, 2, -2.0), Steer(u, 0, 1.0)),
        (Steer(v, 2, 1.0), Steer(w, 2, 1.0, Operation("ablate")), Steer(u, 3, 0.7, Operation("cap", -0.3))),
        (Steer(v, 1, 1.0, Operation("cap")), Steer(w, 3, 1.5, Operation("keep-norm"))),
    ]


@pytest.fixture
def steers_of_llama(tiny_llama):
    return (Steer(torch.randn(tiny_llama.hidden_size, generator=torch.Generator().manual_seed(4)), 1, 2.0),)


@pytest.mark.parametrize(
    ("rule", "covers"),
    [("after-prompt", lambda i, start: i >= start - 1), ("all", lambda i, start: True)],
)
def test_answers_score_as_one_forward_pass_a_token(tiny, steers, rule, covers):
    found = finish(score(tiny, TEXTS.pairs, steers, Positions(rule)))
    for item, pair in enumerate(TEXTS.pairs):
        each = FULL or not item
        unsteered = at_every_position(plainly(tiny, pair, (), covers, each))
        for run, additions in enumerate([(), *steers]):
            sides = plainly(tiny, pair, additions, covers, each)
            means = [logp[range(len(ids)), ids].mean().item() for logp, ids, _ in sides]
            assert found.positive[run, item].item() == pytest.approx(means[0], abs=2e-3)
            assert found.negative[run, item].item() == pytest.approx(means[1], abs=2e-3)
            steered = at_every_position(sides)
            kl = (unsteered.exp() * (unsteered - steered)).sum(-1).mean().item()
            assert found.kl[run, item].item() == pytest.approx(kl, rel=1e-2, abs=1e-4)
    assert found.mass.isnan().all()


def test_letters_score_where_they_part_with_their_answer_mass(tiny, steers):
    found = finish(score(tiny, LETTERS.pairs, steers))
    for item, pair in enumerate(LETTERS.pairs):
        for run, additions in enumerate([(), *steers]):
            (positive, ids, part), (_, other, _) = plainly(tiny, pair, additions, lambda i, start: i >= start - 1)
            p, n = positive[part, ids[part]].exp(), positive[part, other[part]].exp()
            before = positive[range(part), ids[:part]].sum().exp()
            assert found.probability[run, item].item() == pytest.approx((p / (p + n)).item(), abs=1e-4)
            assert found.mass[run, item].item() == pytest.approx((before * (p + n)).item(), rel=1e-2)


def test_a_cue_is_given_and_steered_after_the_prompt(tiny_llama, steers_of_llama):
    """As if the answer began with the cue, but neither its probability nor its cost is counted."""
    model, cue = tiny_llama, Cue("Answer:")
    found = finish(score(model, LETTERS.pairs, [steers_of_llama], cue=cue))
    for item, pair in enumerate(LETTERS.pairs):
        whole = replace(pair, positive=f"Answer: {pair.positive}", negative=f"Answer: {pair.negative}")
        (logp, ids, part), (_, other, _) = plainly(model, whole, steers_of_llama, lambda i, start: i >= start - 1)
        p, n = logp[part, ids[part]].exp(), logp[part, other[part]].exp()
        cue_tokens = ask_pair(model.tokenizer, pair, cue=cue).cue_tokens
        before = logp[range(cue_tokens, part), ids[cue_tokens:part]].sum().exp()
        assert found.probability[1, item].item() == pytest.approx((p / (p + n)).item(), abs=1e-4)
        assert found.mass[1, item].item() == pytest.approx((before * (p + n)).item(), rel=1e-2)


def test_yes_and_no_are_chosen_from(tiny_llama):
    pair = ContrastPair("Rain?", "Yes", "No", 1)
    found = finish(score(tiny_llama, [pair]))
    (logp, ids, part), (_, other, _) = plainly(tiny_llama, pair, (), lambda i, start: False)
    assert found.positive[0, 0].item() == pytest.approx(logp[part, ids[part]].item(), abs=1e-4)
    mass = logp[part, ids[part]].exp() + logp[part, other[part]].exp()
    assert found.mass[0, 0].item() == pytest.approx(mass.item(), rel=1e-3)


def test_multiplier_0_costs_nothing_and_changes_nothing(tiny_llama):
    nothing = (Steer(torch.ones(tiny_llama.hidden_size), 1, 0.0),)
    found = finish(score(tiny_llama, TEXTS.pairs, [nothing]))
    assert torch.equal(found.positive[0], found.positive[1])
    assert found.kl.abs().max() < 1e-6


def test_whoever_asks_for_no_costs_gets_the_same_answers(tiny_llama, steers_of_llama):
    for data in (TEXTS, LETTERS):
        whole = finish(score(tiny_llama, data.pairs, [steers_of_llama]))
        found = finish(score(tiny_llama, data.pairs, [steers_of_llama], costs=False))
        assert torch.equal(found.preference, whole.preference)
        assert found.kl.isnan().all() and (whole.kl[1] > 0).all()


def test_sums_over_the_vocabulary_are_those_of_torch():
    logits = 40 * torch.randn(3, 5, 70, generator=torch.Generator().manual_seed(0))
    logits[0, 0, 0], logits[1, 2] = torch.nan, 1e5
    found, expected = log_sums(logits), logits.logsumexp(-1)
    assert torch.allclose(found, expected, equal_nan=True) and found.isnan().sum() == 1


def test_what_overflows_costs_without_end():
    logits = torch.zeros(1, 2, 8)
    logits[0, 1, 0] = torch.inf
    kl = kl_divergence(torch.zeros(1, 8).log_softmax(-1), logits, log_sums(logits))
    assert kl.tolist() == [[pytest.approx(0, abs=1e-6), torch.inf]]


def test_many_runs_and_small_batches_are_the_same(tiny_llama, monkeypatch):
    random = torch.Generator().manual_seed(0)
    runs = [(Steer(torch.randn(32, generator=random), layer, 1.0),) for layer in (0, 1, 2, 3, 1, 2)]
    together = finish(score(tiny_llama, TEXTS.pairs, runs))
    seen = []
    monkeypatch.setitem(batching.TOKENS_PER_BATCH, "cpu", 150)
    apart = finish(score(tiny_llama, TEXTS.pairs, runs), lambda now: seen.append((now.done, now.fraction)))
    assert torch.allclose(together.preference, apart.preference, atol=1e-4)
    assert torch.allclose(together.kl, apart.kl, atol=1e-4)
    assert seen[-1] == (4, pytest.approx(1.0))


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_llama):
    runs = [(Steer(torch.ones(32), 1, 1.0),)]
    expected = finish(score(tiny_llama, TEXTS.pairs, runs))
    with short_of_memory(tiny_llama) as rows:
        found = finish(score(tiny_llama, TEXTS.pairs, runs))
    assert torch.allclose(found.preference, expected.preference, atol=1e-4)
    assert max(rows) > 1


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (ContrastPair("Rain?", "Yes", "Yes, it does", 7), "Item 7: its answers do not part"),
        (ContrastPair("Rain?", "Yes", "No", 7, "Sun?"), "Item 7 has two prompts"),
        (ContrastPair("word " * 600, "Yes", "No", 7), r"Item 7 has \d+ tokens"),
    ],
)
def test_what_cannot_be_scored_is_named(pair, message):
    with pytest.raises(InputError, match=message):
        finish(score(make_tiny("gpt2"), [pair]))


@pytest.mark.golden
@pytest.mark.parametrize("behavior", ["corrigible-neutral-HHH", "survival-instinct", *(["sycophancy"] if FULL else [])])
def test_golden_probabilities(embedded, reference_data, behavior):
    """Through the real model, with the golden vectors: every layer and multiplier that there are numbers of."""
    numbers = json.loads((reference_data / "reference" / "golden.json").read_text())["behaviors"][behavior]
    vectors = load_file(reference_data / "reference" / "golden.safetensors")[f"{behavior}.letter"]
    items = [
        pair
        for pair in read_pairs(reference_data / "data" / "caa" / behavior / "test_dataset_ab.json").pairs
        if pair.positive in ("(A)", "(B)")
    ][:12]
    cells = [(layer, multiplier) for layer in (10, 15, 24) for multiplier in (-2.0, 1.0, 2.0)]
    runs = [(Steer(vectors[layer], layer, multiplier),) for layer, multiplier in cells]
    found = finish(score(embedded, items, runs)).probability.mean(1)
    expected = numbers["ab_probability"]
    assert len(expected) == 1 + len(cells)
    assert found[0].item() == pytest.approx(expected["unsteered"], abs=1e-4)
    for value, (layer, multiplier) in zip(found[1:], cells, strict=True):
        assert value.item() == pytest.approx(expected[f"layer {layer}, multiplier {multiplier:+.1f}"], abs=1e-4)


@pytest.mark.parametrize("runs", [1, 3])
def test_kl_over_a_large_vocabulary_is_that_in_float64(runs):
    """Whatever all logits have in common, which is nothing to the distribution."""
    random = torch.Generator().manual_seed(0)
    steered = 15 + 2.5 * torch.randn(7, runs, 49_152, generator=random)
    unsteered = steered[:, 0] + 0.05 * torch.randn(7, 49_152, generator=random)
    unsteered[:, 5] += 14
    logp = unsteered.log_softmax(-1)
    exact = (logp.double().exp()[:, None] * (logp.double()[:, None] - steered.double().log_softmax(-1))).sum(-1)
    torch.testing.assert_close(kl_divergence(logp, steered, log_sums(steered)).double(), exact, rtol=1e-4, atol=2e-4)
