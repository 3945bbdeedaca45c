"""Which rules are tried on which architecture: with `CAA_FULL=1` (`make soak`) all on all."""

from collections.abc import Sequence

ARCHITECTURES = ("gemma2", "gpt2", "llama", "mistral", "qwen2")
# The one most models are like, and the one with most that is its own: two masks, norms on both sides, capped logits.
WHOLLY = ("llama", "gemma2")
FEW = 2


def left_out(items: Sequence) -> set:
    """Tests whose `tiny` model is none of `WHOLLY`, but for `FEW` of each one's rules, other ones on each."""
    rules: dict[tuple, list] = {}
    for item in items:
        given = getattr(item, "callspec", None)
        if given and given.params.get("tiny", WHOLLY[0]) not in WHOLLY:
            rules.setdefault((item.path, item.originalname, given.params["tiny"]), []).append(item)
    others = [name for name in ARCHITECTURES if name not in WHOLLY]
    out: set = set()
    for (_, _, architecture), tests in rules.items():
        first = FEW * others.index(architecture)
        out.update(tests)
        out.difference_update(tests[(first + i) % len(tests)] for i in range(FEW))
    return out
