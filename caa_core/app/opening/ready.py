"""What was made before: results that ship for the embedded model, which the page shows to who has none of their own.

Each is what is kept for a person who ran the experiment with what its form begins with (`Person.results`), and says in
its settings with which weights, in which precision and at which commit it was made. `make presets` makes them anew.
"""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caa_core.data.presets import PRESETS

# The page that is shown while libraries are loaded reads what ships, too.
if TYPE_CHECKING:
    from caa_core.model.loading import SteerableModel

# Where a result's settings say that it was made before, and with what.
MADE_BEFORE = "made_before"
# Voice A of the contest with which Compete opens. Its two voices speak, and the model is shown to follow neither; joy
# against gloom, say, is no contest: neither moves the answers its way further than controls do.
OPENS_WITH = "formal"


def ready_file(name: str) -> Path:
    """Where the result of the experiment of that name ships."""
    return PRESETS / "ready" / f"{name}.json"


@cache
def contests() -> dict[str, tuple[str, str]]:
    """Results of verdict and answers, by the preset that is voice A: of each two that oppose each other the one that
    has their questions.
    """
    names = sorted(file.parent.name for file in PRESETS.glob("*/open.json") if (file.parent / "card.json").exists())
    return {name: (f"contest-{name}", f"answers-{name}") for name in names} | {
        OPENS_WITH: ("compete-verdict", "compete")
    }


def ready(name: str, model: "SteerableModel") -> dict[str, Any] | None:
    """The result of the experiment of that name that was made before on these weights; None where none was."""
    kept = shipped(name)
    return kept if kept and kept["asked"][MADE_BEFORE]["model_fingerprint"] == model.fingerprint else None


@cache
def shipped(name: str) -> dict[str, Any] | None:
    """The result of the experiment of that name that ships, with whichever weights it was made; None without one."""
    file = ready_file(name)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
