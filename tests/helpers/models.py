"""Tiny random models of several architectures."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
)

from caa_core.data.presets import presets
from caa_core.model.loading import ModelParts, SteerableModel, wrap

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}

TINY = {
    "llama": {**SIZES, "num_key_value_heads": 2},
    "qwen2": {**SIZES, "num_key_value_heads": 2},
    "mistral": {**SIZES, "num_key_value_heads": 2, "sliding_window": 12},
    "gemma2": {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 12, "query_pre_attn_scalar": 8},
    "gpt2": {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 512},
}

ARCHITECTURES = sorted(TINY)

# Architectures in which two answers cannot share a row; they are there to be refused.
OLD = {
    "bloom": {"hidden_size": 32, "n_layer": 4, "n_head": 4},
    "gpt_neo": {"hidden_size": 32, "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
}


def make_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer, trained on the presets."""
    specials = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((pair.positive for pair in presets()["joy"].dataset().pairs), trainer)
    # The pad token is the end token, as SmolLM2 has it: a mask made from ids would hide the prompt's own tokens.
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = CHAT if chat else None
    return tokenizer


def make_tiny(architecture: str, chat: bool = True, seed: int = 0, **changes) -> SteerableModel:
    """A random float32 model. Weights are larger than usual, so that steering changes what is written."""
    tokenizer = make_tokenizer(chat)
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(tokenizer), "eos_token_id": 0, "bos_token_id": None, "pad_token_id": None}
    settings = {**(TINY | OLD)[architecture], **sizes, "initializer_range": 0.2, **changes}
    config = AutoConfig.for_model(architecture, **settings)
    module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
    return wrap(ModelParts(f"tiny-{architecture}", f"{architecture}-{seed}", module, tokenizer))


def save_tiny(folder, architecture="llama", **changes):
    model = make_tiny(architecture, **changes)
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder
