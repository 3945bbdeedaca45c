"""What a result was made with: kept beside it, said above it, compared with what is chosen now, and filled in again;
also what a link says.
"""

import html
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.app.opening import address
from caa_core.app.opening.links import (
    FIELDS,
    Link,
    named,
    number_within,
    one_of,
    several,
    vector_named,
    vector_text,
    written,
    yes_or_no,
)
from caa_core.app.opening.ready import MADE_BEFORE
from caa_core.app.panels.common import QUIET, Updates, added, guarded, recommended, visible
from caa_core.app.panels.controls import multiplier_at
from caa_core.app.panels.page import LINKED, Page, Restore
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.limits import PROMPT
from caa_core.metrics.grid import parse_layers
from caa_core.metrics.requests import Option

# MadeWith by the names of a form's parts, as plain data.
MadeWith = dict[str, Any]
NOT_KNOWN = "Made with settings that are not known any more; run again for those that are chosen now."
# Of what is set otherwise, so much is said; all of it is below.
MOST_SAID = 2
SAME, OTHER = "made-same", "made-other"
LONGEST = 60
# A multiplier that a link may set: further out there are no words, only a number that overflows.
FARTHEST = 100
# Says that some of a link could not be followed.
NOT_ALL = "Not all of the link could be followed"


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
    changed = [
        f"{_text(labels.get(name, name))} <b>{_text(_word(made[name]))}</b>, now {_text(_word(now[name]))}"
        for name in other[:MOST_SAID]
    ]
    changed += [f"{len(other) - MOST_SAID} more"] if len(other) > MOST_SAID else []
    said = f"{before or 'Made'} with other settings: {'; '.join(changed)}. Run again for these."
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


class Linked:
    """A form that a link brings back, and what copies such a link.

    What the link says counts more than what was kept, and what it does not say is as the form begins.
    """

    def __init__(
        self,
        page: Page,
        tab: str,
        button: gr.Button,
        form: Mapping[str, Component],
        options: Mapping[str, Option[Any]],
    ):
        """tab: its name in links. form: its parts by name, among them a chat's `exchanges`, where there is one.
        options: what its parts are checked by, as far as they are options, by the same names.
        """
        self.page, self.tab, self.options = page, tab, options
        self.form = dict(form)
        # A part that is drawn later holds by then what its reader had.
        self.begins = {name: getattr(part, "value", None) for name, part in form.items()}
        link = gr.Textbox(visible=False, elem_id=f"{tab}-link-text")
        made = button.click(self.link, [*self.form.values()], link, **QUIET)
        made.success(None, link, js=address.copy(os.environ.get("SPACE_ID", "")), api_visibility="private")
        page.restores.append(Restore(self.follow, (), self._parts(), LINKED))

    def _parts(self) -> list[Component]:
        return [part for part in self.form.values() if not isinstance(part, gr.State)]

    def unused(self, form: Mapping[str, Any]) -> Iterable[str]:
        """What is not told of a form, by name."""
        return ()

    def also(self, session: Session, form: Mapping[str, Any]) -> Updates:
        """Updates of what goes with a form that a link has filled in, which are for parts of it, or drawn later."""
        return {}

    @guarded
    def link(self, request: gr.Request, *values: Any) -> str:
        """The query of a link to what is chosen now."""
        session, form = self.page.session(request), dict(zip(self.form, values, strict=True))
        if not (form.get("question") or "").strip() and form.get("exchanges"):
            form["question"] = form["exchanges"][-1].question  # the box is empty once the model has taken it
        own, unused = _own(session), {*self.unused(form)}
        told = {
            name: form[name]
            for name, part in self.form.items()
            if named(name) in FIELDS
            and name not in unused
            and not (isinstance(part, gr.Checkbox) and form[name] == self.begins[name])
        }
        for name in told:
            if name.startswith("vector"):
                told[name] = vector_text(told[name] or "", own)
        fields = {named(name): text for name, value in told.items() if (text := written(value))}
        for name in dict.fromkeys(form[one] for one in told if one.startswith("vector")):
            if name in session.vectors:
                gr.Info(f"The link does not hold {_text(visible(name))}: give its file along, or its recipe.")
        if any(form[name] for name, part in self.form.items() if isinstance(part, gr.File)):
            gr.Info("The link does not hold your file: give it along.")
        return Link(self.tab, self.page.studio.model.name, fields).query

    @guarded
    def follow(self, request: gr.Request) -> Updates:
        """Fill in what the link says with which the page was opened; what cannot be is said."""
        session = self.page.session(request)
        link = session.link
        if not link or link.tab != self.tab or not link.fields:
            return {}
        form, said = self._read(session, link)
        if said:
            gr.Warning(_text(visible(" ".join(said))), title=NOT_ALL)
        filled: Updates = {self.form[name]: value for name, value in form.items()}
        for name, part in self.form.items():
            if isinstance(part, gr.Slider) and part.label == "Multiplier":
                filled[part] = multiplier_at(form[name])
        return added(filled, self.also(session, form))

    def _read(self, session: Session, link: Link) -> tuple[dict[str, Any], list[str]]:
        """What the form holds when the link is followed, by name, and what is to be said of it."""
        form: dict[str, Any] = {}
        said: list[str] = []
        for name, part in self.form.items():
            if isinstance(part, gr.State):
                continue
            form[name] = self.begins[name]
            text = link.fields.get(named(name))
            try:
                if text is not None and name.startswith("vector"):
                    form[name], note = vector_named(text, _own(session))
                    said += filter(None, [note])
                elif text is not None:
                    form[name] = from_link(name, part, text, self.options, self.page.studio)
            except InputError as error:
                said.append(str(error))
        for name in [name for name in form if name.startswith("vector") and name in link.fields]:
            voice = name.removeprefix("vector")
            best = zip(("layer", "multiplier"), recommended(self.page.studio, form[name] or "", session), strict=True)
            form |= {f"{of}{voice}": value for of, value in best if f"{of}{voice}" in {*form} - {*link.fields}}
        return form, said


def take_link(studio: Studio, session: Session, query: Mapping[str, str]) -> None:
    """Note what the address says with which a page was opened; what cannot be followed is said."""
    try:
        session.link = Link.read(query)
    except InputError as error:
        gr.Warning(_text(visible(str(error))), title=NOT_ALL)
        return
    made_on, here = session.link.model if session.link else "", studio.model.name
    if made_on not in ("", here):
        said = f"The link was made with the model {made_on}, and here is {here}: what comes of it may differ."
        gr.Warning(_text(visible(said)), title="Another model")


def from_link(name: str, part: Component, text: str, options: Mapping[str, Option[Any]], studio: Studio) -> Any:
    """What a form's part of that name takes of a link's text. Raises InputError for what cannot be chosen there."""
    value: Any = text
    label, deepest = str(getattr(part, "label", "") or name), studio.model.num_layers - 1
    if isinstance(part, gr.Checkbox):
        value = yes_or_no(text, label)
    elif isinstance(part, gr.Slider):
        bounds = {"Layer": (0, deepest), "Multiplier": (-FARTHEST, FARTHEST)}
        least, most = bounds.get(label, (part.minimum, part.maximum))
        value = number_within(text, label, least, most, float(part.step or 0).is_integer())
    elif isinstance(part, gr.Number):
        value = number_within(text, label, -math.inf, math.inf, part.precision == 0)
    elif isinstance(part, gr.Dropdown | gr.Radio) and not getattr(part, "allow_custom_value", False):
        choices = [choice for _, choice in part.choices or ()]
        many = isinstance(part, gr.Dropdown) and part.multiselect
        value = [one_of(one, label, choices) for one in several(text)] if many else one_of(text, label, choices)
    else:
        PROMPT.check(len(text))
        value = several(text) if getattr(part, "multiselect", False) else text
    if name == "layers" and text not in options[name].choices:
        parse_layers(text, studio.model.num_layers)
    if name in options:
        options[name].value(value)
    return value


def _own(session: Session) -> dict[str, Callable[[], str]]:
    """The hashes of a person's vectors by name, to be asked for."""
    return {name: lambda vector=vector: vector.sha256 for name, vector in session.vectors.items()}  # type: ignore[misc]  # it is not given


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
