"""Make anew what ships with each preset: its vector for the embedded model, and the numbers on its card.

    python -m presets.build [NAME ...]

Everything is computed in float32, so that the files come out the same on every machine but for rounding.
"""

import json
import sys

from caa_core.catalog import DEFAULT_MODEL
from caa_core.evaluation import measure
from caa_core.extraction import extract
from caa_core.model import SteerableModel, load
from caa_core.presets import Preset, presets
from caa_core.progress import finish


def build(model: SteerableModel, preset: Preset) -> None:
    """Write the preset's vector, and put the effect on its held-out test pairs into its card."""
    vector = finish(extract(model, preset.dataset(), name=preset.name))
    vector.save(preset.vector_file)
    layer, multiplier = preset.layer, preset.multiplier
    effect = finish(measure(model, preset.test().pairs, vector.at(layer), layer, multiplier))
    card = preset.folder / "card.json"
    fields = json.loads(card.read_text(encoding="utf-8"))
    fields["measured"] = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in effect.summary().items()
    }
    card.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{preset.name}: {effect}", flush=True)


if __name__ == "__main__":
    embedded = load(DEFAULT_MODEL, "float32")
    for name in sys.argv[1:] or presets():
        build(embedded, presets()[name])
