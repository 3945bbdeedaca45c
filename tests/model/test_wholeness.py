"""A model that is not whole is refused in one true sentence, before anything is computed."""

import json

import pytest
from safetensors.torch import load_file, save_file

from caa_core.errors import InputError
from caa_core.model.loading import load
from caa_core.model.wholeness import check_embeddings
from tests.helpers.models import make_tiny, save_tiny

QUIET = {"say": lambda _: None}


@pytest.fixture
def folder(tmp_path):
    return save_tiny(tmp_path / "mine")


def rewrite(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder):
    with pytest.raises(InputError) as caught:
        load(str(folder), dtype="float32", **QUIET)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "lost", ["layers.2.mlp.down", "norm.weight", "embed_tokens", "layers.0", "layers.3.self_attn.q"]
)
def test_weights_that_are_missing_are_named(folder, lost):
    gone = sorted(name for name in load_file(folder / "model.safetensors") if lost in name)
    rewrite(folder, lambda weights: {name: weights[name] for name in weights if name not in gone})
    said = refused(folder)
    assert f"{len(gone)} of its weights {'is' if len(gone) == 1 else 'are'} missing ({gone[0]}" in said


def test_weights_of_another_shape(folder):
    configured(folder, intermediate_size=40)
    assert "12 of its weights are of another shape than its config.json says (model.layers.0.mlp" in refused(folder)


def test_tied_weights_are_not_missing(tmp_path):
    folder = save_tiny(tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert load(str(folder), dtype="float32", **QUIET).num_layers == 4


def test_shards_that_are_missing_are_named(tmp_path):
    model, folder = make_tiny("llama"), tmp_path / "mine"
    model.module.save_pretrained(folder, max_shard_size="60KB")
    model.tokenizer.save_pretrained(folder)
    assert load(str(folder), dtype="float32", **QUIET).num_layers == 4
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    assert f"1 of its files of weights is missing ({shards[1].name})" in refused(folder)
    shards[0].unlink()
    assert f"2 of its files of weights are missing ({shards[0].name}, {shards[1].name})" in refused(folder)


@pytest.mark.parametrize("base", ["someone/base", None])
def test_an_adapter_is_no_model(folder, base):
    (folder / "model.safetensors").unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"}))
    assert f"is a LoRA adapter of {base or 'another model'}" in refused(folder)
    (folder / "config.json").unlink()
    assert "Merge it" in refused(folder)


@pytest.mark.parametrize("cut", [1, 200])
def test_tokens_without_an_embedding(folder, cut):
    def shorter(weights):
        return {k: w[:-cut].contiguous() if "embed" in k or "lm_head" in k else w for k, w in weights.items()}

    rows = json.loads((folder / "config.json").read_text())["vocab_size"] - cut
    rewrite(folder, shorter)
    configured(folder, vocab_size=rows)
    assert f"its tokenizer has {cut} token{'s' * (cut > 1)} more than the model has embeddings ({rows})" in refused(
        folder
    )


def test_special_tokens_without_an_embedding_matter_where_the_chat_has_them():
    model = make_tiny("llama")
    model.tokenizer.add_special_tokens({"additional_special_tokens": ["<|image|>"]})
    check_embeddings("mine", model.module, model.tokenizer)
    model.tokenizer.chat_template = "<|image|>" + model.tokenizer.chat_template
    with pytest.raises(InputError, match="has 1 token more than"):
        check_embeddings("mine", model.module, model.tokenizer)
