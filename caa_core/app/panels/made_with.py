"""What a result was made with: kept beside it, said above it, compared with what is chosen now, and filled in again."""

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.opening.ready import MADE_BEFORE
from caa_core.app.panels.common import visible
from caa_core.app.panels.controls import multiplier_at
from caa_core.app.sessions import Session

# MadeWith by the names of a form's parts, as plain data.
MadeWith = dict[str, Any]
NOT_KNOWN = "Made with settings that are not known any more; run again for those that are chosen now."
SAME, OTHER = "made-same", "made-other"
LONGEST = 60


def settings_of(form: Mapping[str, Component], values: Mapping[str, Any]) -> MadeWith:
    """What was set, without what only the page knows, and without passwords."""
    return {
        name: values[name]
        for name, part in form.items()
        if not isinstance(part, gr.State) and getattr(part, "type", "") != "password"
    }


def differing(then: MadeWith, now: MadeWith, aside: Iterable[str] = ()) -> list[str]:
    """Names of what is set otherwise now; what is `aside` does not count."""
    return [name for name in then if name not in aside and name in now and _same(then[name]) != _same(now[name])]


def in_words(form: Mapping[str, Component], made: MadeWith | None, now: MadeWith, aside: Iterable[str] = ()) -> str:
    """What a result was made with, as HTML that can be unfolded, and whether that is what is chosen now, or what it was
    made with before anybody was here.
    """
    if made is None:
        return f'<div class="{OTHER}">{NOT_KNOWN}</div>'
    shown = {name: value for name, value in made.items() if name in form and name not in aside}
    labels = _labels({name: form[name] for name in shown})
    rows = "".join(f"<li>{_text(labels[name])}: {_text(_word(shown[name]))}</li>" for name in shown)
    other, before = differing(made, now, aside), _before(made.get(MADE_BEFORE))
    if not other:
        said = f"{before}; what you run takes its place" if before else "Made with these settings"
        return f'<details class="{SAME}"><summary>{said}</summary><ul>{rows}</ul></details>'
    changed = "; ".join(
        f"{_text(labels.get(name, name))} <b>{_text(_word(made[name]))}</b>, now {_text(_word(now[name]))}"
        for name in other
    )
    said = f"{before or 'Made'} with other settings: {changed}. Run again for what is chosen now."
    return f'<details class="{OTHER}"><summary>{said}</summary><ul>{rows}</ul></details>'


def _before(was: Mapping[str, str] | None) -> str:
    """Says of a result that it was made before anybody was here, and with what; nothing where it was not."""
    if not was:
        return ""
    on = f"{was['model']} in {was['dtype']}, commit {was['commit']}"
    return f"<b>Made before</b> (on {_text(on)})"


def filled(part: Component, value: Any, session: Session, deepest: int) -> Any:
    """Update of a part to what was set, or None where that cannot be any more: a vector or a file that is gone, a layer
    that the model of now does not have. deepest: that model's last layer.
    """
    if isinstance(part, gr.File):
        paths = value if isinstance(value, list) else [value]
        return value if value and all(isinstance(path, str) and Path(path).is_file() for path in paths) else None
    if isinstance(part, gr.Dropdown) and not part.allow_custom_value:
        there = {choice for _, choice in part.choices or ()} | set(session.vectors)
        values = value if isinstance(value, list) else [value]
        return value if there.issuperset(values) else None
    if isinstance(part, gr.Slider):
        if not isinstance(value, int | float):
            return None
        if part.label == "Layer":
            return value if 0 <= value <= deepest else None
        if part.label == "Multiplier":
            return multiplier_at(value)
        return value if part.minimum <= value <= part.maximum else None
    return value


def _same(value: Any) -> Any:
    """What two values that mean the same have in common."""
    if isinstance(value, str):
        return value.strip() or None
    return [*value] if isinstance(value, list | tuple) else value or (0 if value == 0 and value is not False else None)


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:g}"
    text = visible(str(value or "")).strip()
    if "/" in text and Path(text).is_absolute():
        text = Path(text).name
    return (text if len(text) <= LONGEST else f"{text[:LONGEST]} ...") or "none"


def _labels(parts: Mapping[str, Component]) -> dict[str, str]:
    """What parts are called; of several that are called the same, with the letter of their voice."""
    labels = {name: str(getattr(part, "label", "") or name) for name, part in parts.items()}
    twice = [*labels.values()]
    return {
        name: f"{label} of {name[-1].upper()}" if twice.count(label) > 1 and name[-2:] in ("_a", "_b") else label
        for name, label in labels.items()
    }


def _text(text: str) -> str:
    return html.escape(text, quote=False)
