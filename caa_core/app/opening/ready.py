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


def ready_file(name: str) -> Path:
    """Where the result of the experiment of that name ships."""
    return PRESETS / "ready" / f"{name}.json"


@cache
def contests() -> dict[str, tuple[str, str]]:
    """Of contests that ship: the results of their verdict and of their answers, by the preset that is voice A."""
    files = ["compete-verdict", *sorted(file.stem for file in (PRESETS / "ready").glob("contest-*.json"))]
    of = {(shipped(file) or {})["asked"]["vector_a"]: file for file in files}
    answers = {"compete-verdict": "compete"}
    return {name: (file, answers.get(file) or file.replace("contest", "answers")) for name, file in of.items()}


def ready(name: str, model: "SteerableModel") -> dict[str, Any] | None:
    """The result of the experiment of that name that was made before on these weights; None where none was."""
    kept = shipped(name)
    return kept if kept and kept["asked"][MADE_BEFORE]["model_fingerprint"] == model.fingerprint else None


@cache
def shipped(name: str) -> dict[str, Any] | None:
    """The result of the experiment of that name that ships, with whichever weights it was made; None without one."""
    file = ready_file(name)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
