import json
import shutil
from copy import deepcopy

import pytest
import torch
from transformers import AutoConfig, T5Config

from caa_core.errors import InputError
from caa_core.model import loading as rooms
from caa_core.model.loading import ModelParts, load, wrap
from tests.helpers.models import SIZES, make_tiny, save_tiny
from tests.helpers.reference import residuals

QUIET = {"say": lambda _: None}


def test_blocks_are_found_and_put_out_the_residual_stream(tiny):
    assert tiny.num_layers == 4
    # On a copy: transformers leaves its hooks in a model that it was once asked for hidden states of.
    copy = deepcopy(tiny.module)
    hidden = copy(torch.tensor([[1, 2, 3]]), output_hidden_states=True).hidden_states
    streams = residuals(tiny, [1, 2, 3])
    # hidden_states[L + 1] is the output of block L; transformers puts the last one through the final norm.
    for layer in range(tiny.num_layers - 1):
        assert torch.allclose(streams[layer], hidden[layer + 1][0], atol=1e-5)


def test_a_local_folder(tmp_path):
    original = make_tiny("qwen2")
    model = load(str(save_tiny(tmp_path / "mine", "qwen2")), dtype="float32", **QUIET)
    assert model.name == "mine" and model.dtype == torch.float32
    ids = torch.tensor([[1, 2, 3]])
    assert torch.allclose(model.module(ids).logits, original.module(ids).logits, atol=1e-5)
    assert load(str(tmp_path / "mine"), dtype="bfloat16", **QUIET).dtype == torch.bfloat16


def test_the_fingerprint_is_the_weights_not_the_dtype(tmp_path):
    first = str(save_tiny(tmp_path / "a"))
    second = str(save_tiny(tmp_path / "b", seed=1))
    prints = [
        load(spec, dtype=dtype, **QUIET).fingerprint
        for spec, dtype in ((first, "float32"), (first, "bfloat16"), (second, "float32"))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_the_dtype_is_chosen_for_the_hardware(tmp_path, monkeypatch):
    monkeypatch.delenv("CAA_DTYPE")
    spec = str(save_tiny(tmp_path / "a"))
    for capable, dtype in (({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capable=capable: capable, raising=False)
        assert load(spec, device="cpu", **QUIET).dtype == dtype
    monkeypatch.setenv("CAA_DTYPE", "float16")
    assert load(spec, device="cpu", **QUIET).dtype == torch.float16


def test_weights_that_can_carry_code_are_refused(tmp_path):
    folder = save_tiny(tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="no weights in safetensors format"):
        load(str(folder), **QUIET)


def test_code_of_a_models_own_is_never_run(tmp_path):
    folder = save_tiny(tmp_path / "custom")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    witness = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(witness)!r}, 'w')")
    with pytest.raises(InputError, match="cannot be loaded"):
        load(str(folder), **QUIET)
    assert not witness.exists()


def test_an_encoder_decoder_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "t5")
    T5Config(d_model=8).save_pretrained(folder)
    with pytest.raises(InputError, match="only decoder models"):
        load(str(folder), **QUIET)


def test_a_model_whose_blocks_cannot_be_found_is_refused_with_a_sentence():
    tiny = make_tiny("llama")
    tiny.module.config.num_hidden_layers = 7
    with pytest.raises(InputError, match=r"decoder blocks of odd \(LlamaForCausalLM\) cannot be found"):
        wrap(ModelParts("odd", "", tiny.module, tiny.tokenizer))


def test_blocks_of_another_shape_are_refused():
    tiny = make_tiny("llama")

    class Wider(torch.nn.Module):
        def forward(self, hidden, **_):
            return hidden.repeat(1, 1, 2)

    tiny.module.model.layers[-1] = Wider()
    tiny.module.model.norm = torch.nn.Linear(64, 32)
    with pytest.raises(InputError, match=r"put out \[1, 3, 64\] where \[1, 3, 32\] was expected"):
        wrap(ModelParts("odd", "", tiny.module, tiny.tokenizer))


def test_a_hub_id_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="not on this machine and the model hub cannot be reached"):
        load("nobody/no-such-model", **QUIET)


def test_a_broken_file_of_weights(tmp_path):
    folder = save_tiny(tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="'broken' cannot be loaded"):
        load(str(folder), **QUIET)


@pytest.mark.parametrize("dtype", ["int8", "float64"])
def test_an_unknown_dtype(dtype):
    with pytest.raises(InputError, match="There is no dtype"):
        load("smollm2-135m", dtype=dtype, **QUIET)


def test_no_method_is_left_on_every_object_of_the_process():
    """nnsight puts one there; anyio, under gradio, does not start with it."""
    assert rooms and not hasattr(object(), "save")


def test_a_check_of_layers(tiny_llama):
    assert tiny_llama.check_layer(3) == 3
    with pytest.raises(InputError, match="tiny-llama has no layer 4: its layers are 0 to 3"):
        tiny_llama.check_layer(4)


def test_the_config_is_not_touched_by_loading(tmp_path):
    folder = save_tiny(tmp_path / "same")
    before = (folder / "config.json").read_text()
    copy = shutil.copytree(folder, tmp_path / "copy")
    load(str(copy), **QUIET)
    assert (copy / "config.json").read_text() == before
    assert AutoConfig.from_pretrained(copy).hidden_size == SIZES["hidden_size"]


def test_a_pass_asks_nnsight_at_blocks_and_not_within_them_and_leaves_all_as_it_was():
    model, asked = make_tiny("llama"), []

    def spy(part):
        forward = part.__dict__["forward"]
        part.__dict__["forward"] = lambda *given, **more: asked.append(part) or forward(*given, **more)
        return part.__dict__["forward"]

    inside = [model.module.get_submodule(f"model.layers.0.{name}") for name in ("mlp", "self_attn", "mlp.up_proj")]
    block = model.module.get_submodule("model.layers.0")
    spies = {part: spy(part) for part in (*inside, block)}
    model.call(model.plain_inputs([1, 2, 3]))
    assert asked == [block]
    with pytest.raises(IndexError):
        model.call(model.plain_inputs([10**6]))
    assert all(part.__dict__["forward"] is found for part, found in spies.items())
