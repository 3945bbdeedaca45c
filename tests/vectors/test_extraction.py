import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from caa_core.data.pairs import ContrastPair, Dataset, read_pairs
from caa_core.errors import InputError
from caa_core.model.prompts import render_pair
from caa_core.progress import finish
from caa_core.steering import batching
from caa_core.steering.read_position import ReadPosition
from caa_core.vectors.extraction import extract
from caa_core.vectors.methods import METHODS
from tests.helpers.data import LETTERS, TEXTS
from tests.helpers.models import make_tiny
from tests.helpers.reference import residuals, short_of_memory
from tests.helpers.sizes import FULL

# Of the embedded model's 30 layers, those that the longest texts are read at.
FIRST = 30 if FULL else 8


def one_by_one(model, dataset):
    """[layers, hidden_size]: each answer of each pair in a forward pass of its own."""
    total = 0
    for pair in dataset.pairs:
        rendered = render_pair(model.tokenizer, pair)
        means = []
        for answer in (rendered.positive, rendered.negative):
            read = [rendered.shared] if dataset.is_lettered else range(answer.start, len(answer.ids))
            means.append(residuals(model, answer.ids)[:, list(read)].mean(1))
        total = total + means[0] - means[1]
    return total / len(dataset.pairs)


def stacked(vector):
    return torch.stack(list(vector.layers.values()))


@pytest.mark.parametrize("dataset", [TEXTS, LETTERS], ids=["text", "letter"])
@pytest.mark.parametrize("budget", [1, 60, 100_000])
def test_equals_plain_hooks_one_answer_at_a_time(tiny, dataset, budget, monkeypatch):
    monkeypatch.setitem(batching.TOKENS_PER_BATCH, "cpu", budget)
    found = stacked(finish(extract(tiny, dataset)))
    expected = one_by_one(tiny, dataset)
    assert torch.cosine_similarity(found, expected).min() >= 0.99999
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() <= 1e-3


def test_base_models_and_merged_borders_too():
    model = make_tiny("gpt2", chat=False)
    found, expected = stacked(finish(extract(model, TEXTS))), one_by_one(model, TEXTS)
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_token_across_the_border_is_said():
    model = make_tiny("gpt2")
    model.tokenizer.chat_template = "{{ messages[0].content }} so hap"
    pairs = Dataset("x", "", "", (ContrastPair("I am", "py now", "less now", 1), ContrastPair("You", "py", "s", 2)))
    notes = []
    found = finish(extract(model, pairs), lambda progress: notes.append(progress.note))
    assert notes[-1].startswith("In 2 pairs a token holds the end of the prompt")
    assert torch.allclose(stacked(found), one_by_one(model, pairs), atol=1e-4)


def test_pairs_of_more_than_one_kind_are_said(tiny_llama):
    mixed = Dataset("mine", "", "", (*LETTERS.pairs, *TEXTS.pairs[:1]))
    notes = []
    found = finish(extract(tiny_llama, mixed), lambda progress: notes.append(progress.note))
    assert found.provenance.read_position == "answer-mean"
    assert "pairs of more than one kind (3 multiple choice, 1 free text), so all are read at 'answer-mean'" in notes[-1]


def test_a_pairs_own_system_message_is_read(tiny_llama):
    told = Dataset("x", "", "", tuple(replace(pair, system="Be short.") for pair in TEXTS.pairs))
    found = stacked(finish(extract(tiny_llama, told)))
    assert torch.allclose(found, one_by_one(tiny_llama, told), atol=1e-4)
    assert not torch.allclose(found, stacked(finish(extract(tiny_llama, TEXTS))), atol=1e-2)


def test_sequences_longer_than_a_sliding_window(tiny_models):
    """Windows are 12 tokens in these models; a mask that forgot them would let far tokens in."""
    for name in ("mistral", "gemma2"):
        model = tiny_models[name]
        assert max(len(render_pair(model.tokenizer, pair).positive.ids) for pair in TEXTS.pairs) > 24
        assert torch.allclose(stacked(finish(extract(model, TEXTS))), one_by_one(model, TEXTS), atol=1e-4)


def test_layers_limit_and_papers(tiny_llama):
    vector = finish(extract(tiny_llama, TEXTS.first(2), layers=[3, 1], name="mine"))
    full = finish(extract(tiny_llama, Dataset("x", "", "", TEXTS.pairs[:2])))
    assert list(vector.layers) == [1, 3]
    assert torch.allclose(vector.at(3), full.at(3), atol=1e-5)
    papers = vector.provenance
    assert (vector.name, papers.num_pairs, papers.read_position, papers.method) == (
        "mine",
        2,
        "answer-mean",
        "mean-difference",
    )
    assert papers.model_fingerprint == tiny_llama.fingerprint and papers.model_architecture == tiny_llama.architecture
    assert papers.pairs_sha256 == TEXTS.first(2).pairs_sha256 != TEXTS.pairs_sha256
    assert finish(extract(tiny_llama, LETTERS)).provenance.read_position == "letter"


def test_residual_norms_are_medians_at_the_read_positions(tiny_llama):
    vector = finish(extract(tiny_llama, TEXTS))
    norms = []
    for pair in TEXTS.pairs:
        rendered = render_pair(tiny_llama.tokenizer, pair)
        for answer in (rendered.positive, rendered.negative):
            norms.append(residuals(tiny_llama, answer.ids)[:, answer.start :].norm(dim=-1))
    expected = torch.cat(norms, dim=1).median(dim=1).values
    assert list(vector.residual_norms.values()) == pytest.approx(expected.tolist(), rel=1e-4)


def test_progress_counts_pairs_to_the_end(tiny_llama, monkeypatch):
    monkeypatch.setitem(batching.TOKENS_PER_BATCH, "cpu", 1)
    seen = []
    finish(extract(tiny_llama, TEXTS), lambda now: seen.append((now.unit, now.done, now.fraction)))
    assert seen[0] == ("pairs rendered", 0, 0.0)
    assert list(dict.fromkeys(done for unit, done, _ in seen if unit == "pairs")) == [0, 1, 2, 3, 4]
    shares = [share for unit, _, share in seen if unit == "pairs"]
    # Every block of a pass over one pair is a step.
    assert shares == sorted(shares) and len(set(shares)) == 1 + 4 * tiny_llama.num_layers
    assert seen[-1] == ("pairs", 4, 1.0)


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_llama):
    expected = finish(extract(tiny_llama, TEXTS))
    with short_of_memory(tiny_llama) as rows:
        found = finish(extract(tiny_llama, TEXTS))
    assert torch.allclose(stacked(found), stacked(expected), atol=1e-4)
    assert max(rows) > 1


def test_closing_in_the_middle_leaves_the_model_as_it_was(tiny_llama, monkeypatch):
    monkeypatch.setitem(batching.TOKENS_PER_BATCH, "cpu", 1)
    before = residuals(tiny_llama, [5, 6, 7])
    work = extract(tiny_llama, TEXTS)
    for _ in range(4):
        next(work)
    work.close()
    assert torch.equal(residuals(tiny_llama, [5, 6, 7]), before)
    assert not any(module._forward_hooks for module in tiny_llama.module.modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"layers": [4]}, "no layer 4"), ({"layers": [-1]}, "no layer -1"), ({"layers": []}, "at least one layer")],
)
def test_bad_choices_are_refused(tiny_llama, changes, message):
    with pytest.raises(InputError, match=message):
        finish(extract(tiny_llama, TEXTS, **changes))


def test_a_pair_too_long_for_the_model_is_named():
    model = make_tiny("gpt2")
    long = Dataset("long", "", "", (*TEXTS.pairs, ContrastPair("word " * 600, "a", "b", 5)))
    with pytest.raises(InputError, match=r"long, pair 5 has \d+ tokens; tiny-gpt2 takes 512"):
        finish(extract(model, long))


def test_methods_are_made_from_what_is_read(tiny_llama):
    """The same directions as from one answer at a time, and each as long as the mean difference along it."""
    positive, negative = plainly_read(tiny_llama, TEXTS)
    for name, method in METHODS.items():
        made = finish(extract(tiny_llama, TEXTS, method=name))
        assert made.provenance.method == name
        assert made.provenance.num_pairs == (1 if name == "single" else 4)
        for layer in range(4):
            own = slice(1) if name == "single" else slice(None)
            expected = method(positive[layer, own], negative[layer, own])
            assert torch.cosine_similarity(made.at(layer), expected, dim=0) > 0.999, (name, layer)
            assert made.norm(layer) == pytest.approx(expected.norm().item(), rel=1e-2)


def plainly_read(model, dataset):
    """[layers, pairs, hidden_size] at positive and at negative answers of free text."""
    read = [[], []]
    for pair in dataset.pairs:
        rendered = render_pair(model.tokenizer, pair)
        for side, answer in enumerate((rendered.positive, rendered.negative)):
            read[side].append(residuals(model, answer.ids)[:, answer.start :].mean(1))
    return [torch.stack(side, dim=1) for side in read]


def test_answers_that_do_not_differ_where_they_are_read_are_refused(tiny_llama):
    with pytest.raises(InputError, match="Read at 'last-prompt', the answers of texts do not differ at layer 0"):
        finish(extract(tiny_llama, TEXTS, read=ReadPosition("last-prompt")))
    with pytest.raises(InputError, match="no method 'median': choose one of mean-difference, pca"):
        finish(extract(tiny_llama, TEXTS, method="median"))


def test_the_share_of_the_letter(tiny_llama):
    """Every matching answer at (A): what the given order says is the letter and the behaviour; both orders tell."""
    pairs = tuple(ContrastPair(f"{pair.prompt} {n}", "(A)", "(B)", n) for n, pair in enumerate(LETTERS.pairs))
    given = Dataset("given", "", "", pairs)
    both = given.in_both_letter_orders()
    swapped = Dataset("swapped", "", "", both.pairs[len(pairs) :])
    a, b = (stacked(finish(extract(tiny_llama, dataset))) for dataset in (given, swapped))
    made = finish(extract(tiny_llama, both))
    expected = torch.cosine_similarity(a, a - b) ** 2
    assert list(made.letter_share.values()) == pytest.approx(expected.tolist(), abs=1e-3)
    assert finish(extract(tiny_llama, given)).letter_share == {}
    single = finish(extract(tiny_llama, both, method="single"))
    assert single.provenance.num_pairs == 1


@pytest.mark.golden
@pytest.mark.parametrize(
    ("behavior", "layers"), [("sycophancy", FIRST), ("survival-instinct", FIRST), ("corrigible-neutral-HHH", 30)]
)
def test_golden_letter_vectors(embedded, reference_data, behavior, layers):
    golden = load_file(reference_data / "reference" / "golden.safetensors")[f"{behavior}.letter"]
    dataset = read_pairs(reference_data / "data" / "caa" / behavior / "generate_dataset.json")
    check_golden(stacked(finish(extract(embedded, dataset.first(24), range(layers)))), golden[:layers])


@pytest.mark.golden
def test_golden_text_vectors(embedded, reference_data, tmp_path):
    golden = load_file(reference_data / "reference" / "golden.safetensors")["joy.text"]
    pairs = json.loads((reference_data / "reference" / "golden.json").read_text())["free_text_pairs"]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    check_golden(stacked(finish(extract(embedded, read_pairs(tmp_path / "pairs.json")))), golden)


def check_golden(found, golden):
    assert found.shape == golden.shape
    assert torch.cosine_similarity(found, golden).min() >= 0.99999
    assert ((found - golden).norm(dim=1) / golden.norm(dim=1)).max() <= 1e-3
