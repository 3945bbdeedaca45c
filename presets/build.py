"""Make anew what ships with each preset: its vector for the embedded model, and the numbers on its card.

    python -m presets.build [--diagnostics | --effect | --look] [NAME ...]

The vectors stay as they are with --diagnostics, where only what their pairs say of them is made anew; with --effect,
where what the card recommends is measured anew, but for the answers that were written; and with --look, where what
their multipliers cost and what they do by layer is.

Vectors are made in float32, so that they come out the same on every machine but for rounding. What they do is measured
in bfloat16, in which most people run them.
"""

import json
import sys
from dataclasses import replace
from typing import Any

from caa_core.data.presets import Preset, presets
from caa_core.measuring.costs.gauge import measure_gauge
from caa_core.measuring.effect import by_layer, measure
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel, load
from caa_core.progress import finish
from caa_core.vectors.diagnostics import LETTER, REFUSAL
from caa_core.vectors.extraction import extract
from caa_core.vectors.known_directions import LETTER_FILE, letter_pairs, make
from caa_core.vectors.vector import SteeringVector, load_vector

# How far a vector that is made again may lie from the one that ships, beside its norm.
ALIKE = 1e-3
# What alone is made anew.
ALONE = DIAGNOSTICS, EFFECT, LOOK = "--diagnostics", "--effect", "--look"


def build(exact: SteerableModel, quick: SteerableModel, preset: Preset) -> None:
    """Write the preset's vector, and put what was measured of it into its card."""
    vector = finish(extract(exact, preset.dataset(), name=preset.name))
    vector.save(preset.vector_file)
    if preset.name == REFUSAL:
        finish(extract(exact, letter_pairs(), name=LETTER)).save(LETTER_FILE)
    measure_effect(quick, preset, vector)
    look_at(quick, preset, vector)


def measure_effect(
    model: SteerableModel, preset: Preset, vector: SteeringVector, written: tuple[float, float] | None = None
) -> None:
    """Put on the card what the vector does to its held-out test pairs, as the card recommends it. See `measure`."""
    how = vector, preset.layer, preset.multiplier, preset.dataset(), written
    effect = finish(measure(model, preset.test(), *how))
    write_card(preset, measured=effect.summary())
    print(f"{preset.name}: {effect}", flush=True)


def look_at(model: SteerableModel, preset: Preset, vector: SteeringVector) -> None:
    """Put on the card what the vector's multipliers cost at the card's layer, and what it does at each layer."""
    gauge = finish(measure_gauge(model, preset.test(), vector, preset.layer))
    write_card(preset, doses=[vars(dose) for dose in gauge.doses])
    effects = finish(by_layer(model, preset.test(), vector))
    write_card(preset, by_layer=[effects[layer] for layer in range(model.num_layers)])
    print(f"{preset.name}: {gauge.summary()}", flush=True)


def diagnose(exact: SteerableModel, preset: Preset) -> None:
    """Put what its pairs say into the preset's vector, whose numbers stay as they are."""
    ready, made = load_vector(preset.vector_file), finish(make(exact, preset.dataset(), name=preset.name))
    apart = [layer for layer in made.layers if (made.at(layer) - ready.at(layer)).norm() > ALIKE * ready.norm(layer)]
    if apart:
        raise SystemExit(f"{preset.name} has changed at layers {apart}: make the vector anew.")
    replace(ready, diagnostics=made.diagnostics).save(preset.vector_file)
    print(f"{preset.name}: {made.diagnostics}", flush=True)


def write_card(preset: Preset, **found: Any) -> None:
    """Put numbers on a card, as precise as they are read."""
    card = preset.folder / "card.json"
    fields = {**json.loads(card.read_text(encoding="utf-8")), **{name: _rounded(one) for name, one in found.items()}}
    card.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _rounded(one) for name, one in found.items()}
    if isinstance(found, list):
        return [_rounded(one) for one in found]
    return round(found, 4) if isinstance(found, float) else found


def main(names: list[str], alone: str) -> None:
    """Of all presets that are named; alone: one of `ALONE`, or "" for everything."""
    if alone != DIAGNOSTICS:
        quick = load(DEFAULT_MODEL, "bfloat16")
    if alone in (EFFECT, LOOK):
        for name in names:
            preset = presets()[name]
            vector, known = load_vector(preset.vector_file), preset.measured
            if alone == LOOK:
                look_at(quick, preset, vector)
            else:
                measure_effect(quick, preset, vector, (known["repetition_unsteered"], known["repetition"]))
        return
    exact = load(DEFAULT_MODEL, "float32")
    for name in names if not alone else ():
        build(exact, quick, presets()[name])
    # Once all vectors are there, since they are held to one of them.
    for name in names:
        diagnose(exact, presets()[name])


if __name__ == "__main__":
    given = [name for name in sys.argv[1:] if name not in ALONE]
    main(given or [*presets()], next((one for one in sys.argv if one in ALONE), ""))
