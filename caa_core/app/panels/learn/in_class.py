"""What a class changes of the page: who is in one, what its forms hold, and what is told of a lesson."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.keys.classrooms import Part, Rules
from caa_core.app.panels.common import Updates, plain, recommended
from caa_core.app.panels.learn.record import Record
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.limits import TOKENS

# What a person types that the model reads, by the names of forms' parts.
WORDS = {"question", "text", "system", "told", "begins", "positive", "negative"}
LENGTH = "max_new_tokens"
LOCKED = "(in this class, examples only)"
LONGEST_CODE = 40
COUNTED = "Your teacher sees how many are at which step, what they predicted and what came out, without names."


def join(studio: Studio, session: Session, query: Mapping[str, str]) -> str:
    """Put who comes into the class that the address names, or that everybody is in. Gives a line about it; nothing
    where there is none.
    """
    if code := query.get("class", "")[:LONGEST_CODE]:
        found = studio.classes.find(code)
        session.joined = found or session.joined
        if not found:
            gr.Warning(f"There is no class with the code {plain(code)} now: ask your teacher for it.", title="No class")
    if not (room := session.classroom):
        return ""
    room.join(session.person)
    return f"**{plain(room.rules.title)}.** {COUNTED}"


def tell(session: Session, record: Record) -> None:
    """Let the class know how far somebody is."""
    if room := session.classroom:
        outcomes = {step: (found.outcome, found.own) for step, found in record.outcomes.items()}
        room.note(session.person, Part(record.step, dict(record.predictions), outcomes))


def fitted(form: Mapping[str, Component], session: Session, studio: Studio) -> Updates:
    """Updates that let a form begin with what the class has, and offer nothing else."""
    if not (room := session.classroom):
        return {}
    updates: Updates = {}
    for name, part in form.items():
        if name.startswith("vector"):
            updates |= _vector(name, form, room.rules, studio)
        elif isinstance(part, gr.Dropdown) and _names_presets(part):
            updates[part] = _offered(part, room.rules)
        elif isinstance(part, gr.Slider) and name == LENGTH and part.maximum > TOKENS.value:
            updates[part] = gr.Slider(maximum=TOKENS.value, value=min(part.value or 0, TOKENS.value))
        elif not room.rules.free_prompts and name in WORDS:
            updates[part] = gr.Textbox(interactive=False, label=f"{part.label} {LOCKED}")
        elif not room.rules.free_prompts and isinstance(part, gr.File):
            updates[part] = gr.File(visible=False)
    return updates


def allowed(parts: Mapping[str, Component], session: Session, form: Mapping[str, Any]) -> Mapping[str, Any]:
    """A form as it may be asked in the class. Raises InputError for what may not be."""
    if not (room := session.classroom):
        return form
    for name, part in parts.items():
        value = form.get(name)
        if isinstance(part, gr.Dropdown):
            for one in value if isinstance(value, list) else [value]:
                if one in presets() and one not in session.vectors:
                    room.rules.check_preset(one)
        elif name in WORDS:
            room.rules.check_text(value)
        elif isinstance(part, gr.File) and value and not room.rules.free_prompts:
            raise InputError("In this class nothing of one's own is asked: take the file away.")
    return {**form, **({LENGTH: min(form[LENGTH], TOKENS.value)} if isinstance(form.get(LENGTH), int | float) else {})}


def shows(session: Session, kept: Mapping[str, Any]) -> bool:
    """Whether a result that was made before is of what the class has."""
    room, asked = session.classroom, kept.get("asked") or {}
    return not room or all(
        value in room.rules.presets for value in asked.values() if isinstance(value, str) and value in presets()
    )


def _vector(name: str, form: Mapping[str, Component], rules: Rules, studio: Studio) -> Updates:
    """Of a vector that the class does not have, the first that it has, with its layer and multiplier."""
    part, of = form[name], name.removeprefix("vector")
    if getattr(part, "value", None) in rules.presets:
        return {}
    first = rules.presets[0]
    layer, multiplier = recommended(studio, first)
    there = {f"layer{of}": layer, f"multiplier{of}": multiplier}
    return {part: first, **{form[name]: value for name, value in there.items() if name in form}}


def _names_presets(part: gr.Dropdown) -> bool:
    return any(value in presets() for _, value in part.choices or ())


def _offered(part: gr.Dropdown, rules: Rules) -> gr.Dropdown:
    choices: list[Any] = [one for one in part.choices or () if one[1] in rules.presets or one[1] not in presets()]
    there, value = [one[1] for one in choices], part.value
    if isinstance(value, list):
        return gr.Dropdown(choices, value=[one for one in value if one in there], multiselect=True)
    return gr.Dropdown(choices, value=value if value in there else there[0])
