"""What is known of a vector, drawn along the sliders that choose its layer and its multiplier."""

import html
from collections.abc import Sequence

from caa_core.app.panels.common import MULTIPLIERS, visible
from caa_core.app.panels.steer.known import LayerEffects
from caa_core.measuring.costs.gauge import BREAKS, GOOD, LIGHT, STRONG, Gauge
from caa_core.metrics.estimates import SAFE_KL
from caa_core.reports.style import BLUE, GREY, ORANGE, PURPLE, faint
from caa_core.vectors.vector import SteeringVector

# A cost is purple; the more of it, the deeper.
DEPTH = {LIGHT: 0.08, GOOD: 0.22, STRONG: 0.55, BREAKS: 1.0}
# Of a curve, in pixels, and what of it stays free for a mark at its edges.
TALL, EDGE = 34, 4
NOTHING = "nothing is added"
LOOK = """
/* As a slider is laid out, whose ends take as much room. */
.alongside .html-container { padding: 0 calc(var(--spacing-xl) + 2px + var(--block-border-width)); }
.along { display: flex; align-items: center; gap: var(--size-2); font-size: var(--text-sm); }
.along > span { visibility: hidden; height: 0; margin: 0 var(--size-0-5); }
.along > span:first-child { margin-left: 0; }
@media (max-width: 480px) { .along > span { display: none; } }
/* A slider's thumb keeps half its width from the ends of the track. */
.along > :not(span) { flex: 1; min-width: 0; margin: 0 8px; }
.along .bands { position: relative; height: 10px; border-radius: 5px; overflow: hidden; }
.along .bands span { position: absolute; top: 0; bottom: 0; }
/* Where what is safe ends. */
.along .bands b { position: absolute; top: 0; bottom: 0; width: 3px; background: var(--body-text-color); }
.along .bands b { transform: translateX(-50%); }
.along .bands .breaks { background-image: repeating-linear-gradient(45deg, #0000 0 4px, #fff8 4px 6px); }
.along .curve { position: relative; height: 34px; }
.along svg { position: absolute; width: 100%; height: 100%; overflow: visible; }
/* What stands along a slider is close to it. */
.block.alongside { margin-top: -10px; }
#steer-effect:not(:has(.along)) { display: none; }
/* What would be copied is how it is coloured. */
.answers .message:has(.along-vector) + .message-buttons { display: none; }
.alongside p { margin: 4px 0 0; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: pre-line; }
[data-tip] { position: relative; text-decoration: underline dotted; text-underline-offset: 3px; cursor: help; }
"""


def steps() -> list[float]:
    """The multipliers on the slider, rising."""
    low, high, step = (MULTIPLIERS[name] for name in ("minimum", "maximum", "step"))
    return [round(low + k * step, 6) for k in range(round((high - low) / step) + 1)]


def strength_in_words(vector: SteeringVector, layer: int, multiplier: float, gauge: Gauge | None) -> str:
    """How strong a multiplier is, as HTML: a word where it is known, with the relative strength behind it; what is safe
    and where text falls apart along the slider. Raises InputError where the vector has no such layer.
    """
    behind, push = _behind(vector, layer, multiplier)
    if gauge is None:
        return f"<p>{tip(push, behind)}</p>"
    behind += f"\n{_measured(gauge)}"
    word = gauge.word(multiplier) if multiplier else NOTHING
    if word:
        known = f"<b>{tip(word.capitalize(), behind)}</b>."
    else:
        known = tip(push, f"{behind}\nSo far out it was not measured.")
    return f"{_bands(gauge)}<p>{known} {html.escape(_ends(gauge))}</p>"


def effect_by_layer(effects: LayerEffects | None, layer: int, layers: int) -> str:
    """The effect by layer as a curve along the slider, with a mark at a layer, as HTML; nothing where none is known.

    layers: how many the model has.
    """
    if not effects:
        return ""
    low, high = min(0.0, *effects.values.values()), max(0.0, *effects.values.values())
    last, across = max(layers - 1, 1), (high - low) or 1.0

    def at(value: float) -> float:
        return EDGE + (TALL - 2 * EDGE) * (high - value) / across

    places = [(100 * number / last, at(value)) for number, value in sorted(effects.values.items())]
    here, mark = effects.values.get(layer), ""
    if here is not None:
        colour = BLUE if here >= 0 else ORANGE
        mark = f'<circle cx="{100 * layer / last:.2f}%" cy="{at(here):.1f}" r="4" fill="{colour}"/>'
    said = html.escape(_effects_in_words(effects, layer))
    drawn = f'<svg viewBox="0 0 100 {TALL}" preserveAspectRatio="none">{_curve(places, at(0))}</svg><svg>{mark}</svg>'
    return (
        f'<div class="along" title="{said}"><span aria-hidden="true">0</span>'
        f'<div class="curve" role="img" aria-label="{said}">{drawn}</div><span aria-hidden="true">{last}</span></div>'
    )


def _curve(places: Sequence[tuple[float, float]], nothing: float) -> str:
    """A line through some places, above and below where nothing is in the colours of more and less."""
    zero, line = f"{nothing:.1f}", " ".join(f"{x:.2f},{y:.1f}" for x, y in places)
    area = f"{places[0][0]:.2f},{zero} {line} {places[-1][0]:.2f},{zero}"
    turn = f'offset="{nothing / TALL:.3f}"'
    thin, both = 'vector-effect="non-scaling-stroke"', "url(#along-sign)"
    return (
        f'<linearGradient id="along-sign" gradientUnits="userSpaceOnUse" x1="0" y1="0" x2="0" y2="{TALL}">'
        f'<stop {turn} stop-color="{BLUE}"/><stop {turn} stop-color="{ORANGE}"/></linearGradient>'
        f'<path d="M0 {zero}H100" stroke="{GREY}" stroke-dasharray="2 3" {thin}/>'
        f'<polygon points="{area}" fill="{both}" fill-opacity=".2"/>'
        f'<polyline points="{line}" fill="none" stroke="{both}" stroke-width="2" {thin}/>'
    )


def tip(said: str, behind: str) -> str:
    """Words with what is said at the pointer or the focus, as HTML."""
    return (
        f'<span data-tip tabindex="0">{html.escape(visible(said))}'
        f'<span class="unseen">{html.escape(behind)}</span></span>'
    )


def _behind(vector: SteeringVector, layer: int, multiplier: float) -> tuple[str, str]:
    """How large what is added is, in full and in short. Raises InputError where the vector has no such layer."""
    size = f"‖{multiplier:g} · v‖ is {abs(multiplier) * vector.norm(layer):.1f}"
    relative = vector.relative_strength(layer, multiplier)
    if relative is None:
        return f"{size}; the vector's file does not say how large the residual stream is.", f"{size}."
    there = (
        f"{size} at layer {layer}, where the median norm of the residual stream is {vector.residual_norms[layer]:.0f}"
    )
    return f"Relative strength {relative:.2f}: {there}.", f"Push: {relative:.0%} of the model's own signal."


def _bands(gauge: Gauge) -> str:
    """What the slider's multipliers cost, along it, with a mark at each end of what is safe."""
    there = steps()
    low, high = there[0], there[-1]
    half = (there[1] - low) / 2
    parts = []
    for first, last, word in gauge.bands(there):
        if word:
            begin, end = max(low, first - half), min(high, last + half)
            place = f"left:{100 * (begin - low) / (high - low):.2f}%;width:{100 * (end - begin) / (high - low):.2f}%"
            place += f";background-color:{faint(PURPLE, DEPTH[word])}"
            kind = ' class="breaks"' if word == BREAKS else ""
            parts.append(f'<span{kind} title="{word}" style="{place}"></span>')
    for end in filter(None, gauge.safe or ()):
        place = f"left:{100 * (end - low) / (high - low):.2f}%"
        parts.append(f'<b title="{end:g}" style="{place}"></b>')
    ends = f'<span aria-hidden="true">{low:g}</span>', f'<span aria-hidden="true">{high:g}</span>'
    return f'<div class="along" aria-hidden="true">{ends[0]}<div class="bands">{"".join(parts)}</div>{ends[1]}</div>'


def _ends(gauge: Gauge) -> str:
    """What is safe, and where text falls apart, as far as that is known."""
    said = []
    if gauge.safe:
        low, high = gauge.safe
        said.append(f"Safe: {low:g} to {high:g}." if low or high else "No multiplier measured is safe.")
    if breaking := gauge.breaking(steps()):
        said.append(f"Text falls apart from {' and '.join(f'{one:g}' for one in breaking)} on.")
    return " ".join(said)


def _measured(gauge: Gauge) -> str:
    tried = ", ".join(f"{dose.multiplier:g}" for dose in sorted(gauge.doses, key=lambda dose: dose.multiplier))
    on_what = gauge.source  # which would be taken for somebody's own by that name, and not be translated
    return f"Measured {on_what} at × {tried}; up to {SAFE_KL:g} nats of KL a token are good."


def _effects_in_words(effects: LayerEffects, layer: int) -> str:
    here, best = effects.values.get(layer), effects.largest
    on_what = effects.source
    said = f"Effect by layer {on_what}: most at layer {best}, {effects.values[best]:+.2f} {effects.unit} at × 1"
    return f"{said}; here {here:+.2f}." if here is not None else f"{said}."
