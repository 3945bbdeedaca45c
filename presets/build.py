"""Make anew what ships with each preset: its vector for the embedded model, and the numbers on its card.

    python -m presets.build [NAME ...]

Vectors are made in float32, so that they come out the same on every machine but for rounding. What they do is measured
in bfloat16, in which most people run them.
"""

import json
import sys
from typing import Any

from caa_core.data.presets import Preset, presets
from caa_core.measuring.effect import measure
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel, load
from caa_core.progress import finish
from caa_core.vectors.extraction import extract


def build(exact: SteerableModel, quick: SteerableModel, preset: Preset) -> None:
    """Write the preset's vector, and put the effect on its held-out test pairs into its card."""
    vector = finish(extract(exact, preset.dataset(), name=preset.name))
    vector.save(preset.vector_file)
    work = measure(quick, preset.test(), vector, preset.layer, preset.multiplier, preset.dataset())
    effect = finish(work)
    write_card(preset, effect.summary())
    print(f"{preset.name}: {effect}", flush=True)


def write_card(preset: Preset, measured: dict[str, Any]) -> None:
    """Put numbers on a card, as precise as they are read."""
    card = preset.folder / "card.json"
    fields = json.loads(card.read_text(encoding="utf-8"))
    fields["measured"] = {
        key: round(value, 4) if isinstance(value, float) else value for key, value in measured.items()
    }
    card.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    models = load(DEFAULT_MODEL, "float32"), load(DEFAULT_MODEL, "bfloat16")
    for name in sys.argv[1:] or presets():
        build(*models, presets()[name])
