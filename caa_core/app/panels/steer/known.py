"""What is known of a vector before it is used: what its multipliers cost at a layer, and what it does by layer.

It is known from the preset's card, from what the person measured last, or from what was measured before anybody was
here; of most vectors nothing is.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from caa_core.app.opening.ready import ready
from caa_core.app.panels.experiment import Cache
from caa_core.app.sessions import Session
from caa_core.data.presets import Preset, presets
from caa_core.errors import InputError
from caa_core.measuring.costs.gauge import FAR, Dose, Gauge
from caa_core.metrics.cross_fitting import ENOUGH_PROMPTS
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.model.loading import SteerableModel
from caa_core.steering.interventions import AFTER_PROMPT
from caa_core.steering.operations import ADD
from caa_core.vectors.vector import SteeringVector

# The experiments that know something, by the names under which their results are kept.
SWEEP, COST, STRENGTH = "measure", "views-cost", "views-strength"
NATS = "nats a token"
# Of vectors that were made here, by their hashes.
ESTIMATES = Cache("estimates", most=20)


@dataclass(frozen=True)
class LayerEffects:
    """What a vector does for a multiplier of 1, by layer, in the unit. source: from what, as a part of a sentence."""

    values: Mapping[int, float]
    unit: str
    source: str

    @property
    def largest(self) -> int:
        """The layer where it does most, either way."""
        return max(self.values, key=lambda layer: abs(self.values[layer]))


def gauge_of(session: Session, model: SteerableModel, name: str, vector: SteeringVector, layer: int) -> Gauge | None:
    """What is known of a vector's multipliers at a layer. name: of the vector in the session's list."""
    return next(_gauges(session, model, name, vector, layer), None)


def effects_of(session: Session, model: SteerableModel, name: str, vector: SteeringVector) -> LayerEffects | None:
    """What is known of what it does by layer: from the card, as measured, or as estimated when it was made."""
    preset = _card(session, model, name)
    if preset and preset.by_layer:
        said = f"to first order, {_on_new_prompts(preset)}"
        return LayerEffects(dict(enumerate(preset.by_layer)), NATS, said)
    if measured := next(filter(None, (_seen(kept) for kept in _sweeps(session, model, vector))), None):
        return measured
    if not (estimated := estimate_of(session, model, vector)):
        return None
    unit = NATS if NATS in estimated.measure else "of log odds"
    said = f"to first order, on {estimated.items} items of {estimated.data}"
    return LayerEffects({one.layer: one.value for one in estimated.layers}, unit, said)


def estimate_of(session: Session, model: SteerableModel, vector: SteeringVector) -> EstimateMap | None:
    """What was estimated of a vector when it was made."""
    kept = ESTIMATES.of(session.person).get(vector.sha256)
    try:
        return EstimateMap.kept_in(kept) if kept and papers(model, vector).items() <= kept.items() else None
    except (InputError, AttributeError):  # kept by another version
        return None


def papers(model: SteerableModel, vector: SteeringVector) -> dict[str, str]:
    """What a measurement notes, so that it is shown of this vector on this model alone."""
    return {"vector_sha256": vector.sha256, "model_fingerprint": model.fingerprint}


def _card(session: Session, model: SteerableModel, name: str) -> Preset | None:
    """The preset, where its card was measured on this model."""
    preset = presets().get(name) if name not in session.vectors else None
    return preset if preset and preset.model == model.name else None


def _on_new_prompts(preset: Preset) -> str:
    return f"on {preset.measured.get('items', 'some')} prompts that it was not made from"


def _gauges(session: Session, model: SteerableModel, name: str, vector: SteeringVector, layer: int) -> Iterator[Gauge]:
    preset = _card(session, model, name)
    if preset and preset.doses and preset.layer == layer:
        yield Gauge.of(preset.doses, _on_new_prompts(preset))
    for kept in _sweeps(session, model, vector):
        doses = tuple(
            Dose(cell["multiplier"], _cost_of(cell["kl"]))
            for cell in kept["cells"]
            if cell["layer"] == layer and cell["multiplier"]
        )
        if doses:
            yield Gauge(doses, f"on {kept['items']} items of {kept['data']}", _judged_safe(kept["best"], layer))
    wanted = {**papers(model, vector), "layer": layer}
    for found in map(session.person.results.get, (COST, STRENGTH)):
        if isinstance(found, dict) and wanted.items() <= found.items() and _as_usual(found):
            yield _cost(found) if "steered" in found else _strength(found)


def _sweeps(session: Session, model: SteerableModel, vector: SteeringVector) -> Iterator[Mapping[str, Any]]:
    """Sweeps of this vector on this model: the person's last one, and the one from before."""
    for kept in (session.person.results.get(SWEEP), ready(SWEEP, model)):
        try:
            if kept and _is_of(kept["found"], model, vector):
                yield kept["found"]
        except (TypeError, KeyError, AttributeError):  # kept by another version
            continue


def _judged_safe(best: Mapping[str, Any] | None, layer: int) -> tuple[float, float] | None:
    """Which multipliers a sweep's proposal calls safe at a layer, 0 alone where it calls none so; None where it does
    not say.
    """
    if not best or best["layer"] != layer or best["reported_on"] < ENOUGH_PROMPTS:
        return None
    low, high = best["safe"] or (0.0, 0.0)
    return float(low), float(high)


def _is_of(found: Mapping[str, Any], model: SteerableModel, vector: SteeringVector) -> bool:
    """Whether a sweep was of this vector on this model, added at the positions that mostly are steered."""
    made, of, how = found["provenance"], _made(_told(vector)), found["settings"]
    usual = (how["positions"], how.get("operation", str(ADD))) == (str(AFTER_PROMPT), str(ADD))
    usual = usual and not how.get("together")
    return usual and made["model_fingerprint"] == model.fingerprint and _made(made["vector"]) == of


def _told(vector: SteeringVector) -> dict[str, Any]:
    return {name: value for name, value in asdict(vector.provenance).items() if value}


def _made(told: Mapping[str, Any]) -> dict[str, Any]:
    """What says from what a vector was made and how, whichever version did it."""
    return {name: value for name, value in told.items() if name != "created_with"}


def _as_usual(kept: Mapping[str, Any]) -> bool:
    """Whether a vector was added, at the positions that mostly are steered, or at all."""
    asked = kept["asked"] or {}
    usual = {"positions": str(AFTER_PROMPT), "operation": str(ADD)}
    return all(asked.get(name) in (None, "", value) for name, value in usual.items())


def _seen(kept: Mapping[str, Any]) -> LayerEffects | None:
    """Exact changes at each layer's smallest multiplier over it, of both signs where both were tried."""
    changes: defaultdict[int, dict[float, float]] = defaultdict(dict)
    for cell in kept["cells"]:
        if cell["multiplier"] and cell["difference"] is not None:
            changes[cell["layer"]][cell["multiplier"]] = cell["difference"]
    values = {}
    for layer, by_multiplier in sorted(changes.items()):
        nearest = [min(side, key=abs) for side in _signs(by_multiplier) if side]
        values[layer] = sum(by_multiplier[m] / m for m in nearest) / len(nearest)
    unit = NATS if NATS in kept["measure"] else "of probability"
    return LayerEffects(values, unit, f"as measured on {kept['items']} items of {kept['data']}") if values else None


def _signs(multipliers: Mapping[float, float]) -> tuple[list[float], list[float]]:
    return [m for m in multipliers if m < 0], [m for m in multipliers if m > 0]


def _cost(kept: Mapping[str, Any]) -> Gauge:
    doses = tuple(Dose(one["multiplier"], _cost_of(one["kl"])) for one in kept["steered"])
    return Gauge(doses, "on neutral text")


def _cost_of(kept: float | None) -> float:
    """A cost that was no number any more is kept as None."""
    return FAR if kept is None else kept


def _strength(kept: Mapping[str, Any]) -> Gauge:
    doses = tuple(Dose(kept["way"] * factor, _cost_of(cost)) for factor, cost in kept["tried"] if factor)
    return Gauge(doses, "on plain answers")
