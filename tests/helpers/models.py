"""Tiny random models of several architectures."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from caa_core.model.loading import ModelParts, SteerableModel, wrap
from tests.helpers.tokens import make_tokenizer

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}

TINY = {
    "llama": {**SIZES, "num_key_value_heads": 2},
    "qwen2": {**SIZES, "num_key_value_heads": 2},
    "mistral": {**SIZES, "num_key_value_heads": 2, "sliding_window": 12},
    "gemma2": {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 12, "query_pre_attn_scalar": 8},
    "qwen3": {**SIZES, "num_key_value_heads": 2, "head_dim": 8},
    "gpt2": {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 512},
}

# Architectures in which two answers cannot share a row; they are there to be refused.
OLD = {
    "bloom": {"hidden_size": 32, "n_layer": 4, "n_head": 4},
    "gpt_neo": {"hidden_size": 32, "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
}


def make_tiny(architecture: str, chat: bool = True, seed: int = 0, tokenizer=None, **changes) -> SteerableModel:
    """A random float32 model. Weights are larger than usual, so that steering changes what is written."""
    tokenizer = tokenizer or make_tokenizer(chat)
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
