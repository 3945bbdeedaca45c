"""Contrastive Activation Addition: make steering vectors, add them, let two of them compete.

    import caa_core as caa

    model = caa.load("smollm2-135m")
    vector = caa.extract(model, caa.pairs("joy"), layers=[12])
    print(caa.steer(model, "How was your day?", [(vector, 12, 2.0)]).steered.text)

Panickssery et al., "Steering Llama 2 via Contrastive Activation Addition", arXiv 2312.06681. Layer L is the residual
stream after decoder block L, from 0. torch is loaded by the first name that needs it, not by `import caa_core`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from caa_core.api import (
        compare,
        compete,
        contest_pairs,
        estimate,
        evaluate,
        extract,
        gate,
        inspect,
        load,
        pairs,
        presets,
        read_vector,
        steer,
        strength,
        test_pairs,
        think,
        write_vector,
    )
    from caa_core.errors import InputError
    from caa_core.model.loading import SteerableModel
    from caa_core.progress import tell
    from caa_core.vectors.vector import SteeringVector

__all__ = [
    "InputError",
    "SteerableModel",
    "SteeringVector",
    "compare",
    "compete",
    "contest_pairs",
    "estimate",
    "evaluate",
    "extract",
    "gate",
    "inspect",
    "load",
    "pairs",
    "presets",
    "read_vector",
    "steer",
    "strength",
    "tell",
    "test_pairs",
    "think",
    "write_vector",
]

_HOMES = {
    "InputError": "errors",
    "SteerableModel": "model.loading",
    "SteeringVector": "vectors.vector",
    "tell": "progress",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"caa_core.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
