"""A contest whose directions act in a known way."""

import json

import torch

from caa_core.contest.voice import Voice
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.metrics.items import choose_items
from caa_core.progress import finish
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.models import make_tiny, save_tiny

LAYER = 3
PROMPTS = (
    "How are you?",
    "What is rain?",
    "Tell me a story.",
    "Where is the sea?",
    "Who sings?",
    "Why not?",
    "What is for lunch?",
    "When is it?",
)


def plant():
    """A model, contest items, and directions at its last layer that act on the answers in a known way.

    Behind the last block lie a norm and the head only, so the row of the head for A's token less that for B's is what
    moves m, and what is orthogonal to both rows, and to the residual stream, moves nothing at first order.
    """
    model = make_tiny("llama")
    items = tuple(ContrastPair(prompt, "x", "y", i) for i, prompt in enumerate(PROMPTS))
    items = finish(choose_items(model, Dataset("planted", "", "", items)))
    head = model.module.get_output_embeddings().weight
    x, y = (model.tokenizer("xy", add_special_tokens=False).input_ids[i] for i in (0, 1))
    toward = (head[x] - head[y]).detach()
    toward /= toward.norm()
    torch.manual_seed(5)
    idle = torch.randn(3, len(toward))
    idle -= (idle @ toward)[:, None] * toward
    return model, items, toward, torch.nn.functional.normalize(idle, dim=1)


def everywhere(name, direction):
    """A vector that is the same at every layer."""
    return SteeringVector(name, {layer: direction.clone() for layer in range(LAYER + 1)}, {}, Provenance())


def voice(name, direction, multiplier=0.2):
    return Voice.of(everywhere(name, direction), LAYER, multiplier)


def asked_of(planted, folder, prompts=PROMPTS):
    """Arguments of a contest on the command line: 3 of A's push are planted against 1 of B's."""
    _, _, toward, idle = planted
    save_tiny(folder / "tiny")
    for name, direction in (("A", 3 * toward + idle[0]), ("B", -toward + idle[1])):
        everywhere(name, direction).save(folder / f"{name}.safetensors")
    (folder / "data.json").write_text(json.dumps([{"prompt": prompt, "a": "x", "b": "y"} for prompt in prompts]))
    voices = [f"--{name.lower()}={folder / name}.safetensors:{LAYER}:0.2" for name in ("A", "B")]
    return ["compete", f"--model={folder / 'tiny'}", "--dtype=float32", *voices, f"--data={folder / 'data.json'}"]
