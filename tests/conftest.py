"""Models for the tests: tiny random ones of several architectures, and the real embedded one."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
)

from caa_core.model import Loaded, SteerableModel, load, wrap
from caa_core.presets import presets

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

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


def pytest_configure() -> None:
    """Tests that run beside each other share the processors, and so do the apps that they start."""
    threads = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)


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
    return wrap(Loaded(f"tiny-{architecture}", f"{architecture}-{seed}", module, tokenizer))


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, SteerableModel]:
    return {architecture: make_tiny(architecture) for architecture in ARCHITECTURES}


@pytest.fixture(params=ARCHITECTURES)
def tiny(request, tiny_models) -> SteerableModel:
    return tiny_models[request.param]


@pytest.fixture
def tiny_llama(tiny_models) -> SteerableModel:
    return tiny_models["llama"]


@pytest.fixture(scope="session")
def embedded() -> SteerableModel:
    """The real embedded model in float32, for exact numbers."""
    return load("smollm2-135m", dtype="float32")


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder with the reference numbers and the paper's data, or a skip where it is not there."""
    if not (SHARED / "reference" / "golden.json").exists():
        if os.environ.get("CAA_REQUIRE_GOLDEN"):
            pytest.fail(f"the golden tests must run here, but {SHARED}/reference is missing")
        pytest.skip("no reference numbers beside the checkout")
    return SHARED


class App:
    """`python app.py` in a process of its own."""

    def __init__(self, python: str = sys.executable, env: dict[str, str] | None = None, log: Path | None = None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log = log
        settings = {"GRADIO_SERVER_PORT": str(self.port), "GRADIO_SERVER_NAME": "127.0.0.1"}
        with open(log or os.devnull, "wb") as out:
            self.process = subprocess.Popen(
                [python, "app.py"], cwd=ROOT, env={**os.environ, **settings, **(env or {})}, stdout=out, stderr=out
            )

    def wait(self, seconds: float = 240) -> "App":
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if httpx.get(self.url, timeout=5).status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.3)
        said = self.log.read_text() if self.log else ""
        raise RuntimeError(f"the app did not start (status {self.process.poll()}): {said[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="session")
def app(tmp_path_factory) -> App:
    """The running app, with the embedded model."""
    running = App(log=tmp_path_factory.mktemp("app") / "log.txt")
    try:
        yield running.wait()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium, or a skip that says how to get one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        if os.environ.get("CAA_REQUIRE_BROWSER"):
            pytest.fail("the browser tests must run here, but there is no Chromium")
        pytest.skip("no Chromium: apt-get install chromium")
    return found
