"""A lesson: plain data out of a JSON file, checked field by field, whoever wrote it.

    {"format": "caa-lesson", "version": 1, "title": ..., "about": ..., "steps": [{
        "title": ..., "text": ..., "question": ..., "choices": [{"text": ..., "when": OUTCOME}, ...],
        "check": CHECK, "settings": {NAME: VALUE}, "do": ...,
        "conclude": ..., "not": ..., "hints": [NUDGE, SUGGESTION, SHOW_ME]}, ...]}

CHECK is one of `readings.CHECKS`, which says what OUTCOME and the names of settings can be. A choice comes true when
the run has its outcome. All texts are shown letter by letter: neither HTML nor Markdown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from caa_core.app.panels.learn.readings import CHECKS, Check
from caa_core.data.presets import PRESETS
from caa_core.data.text import clean
from caa_core.errors import InputError

FORMAT, VERSION = "caa-lesson", 1
BUILT_IN = PRESETS / "lesson.json"
MOST_BYTES = 200_000
# Steps, choices of one, letters of a short text and of a long one.
STEPS, CHOICES, SHORT, LONG = (1, 12), (2, 6), 160, 2000
HINTS = ("nudge", "suggestion", "show me")
# In place of a layer, layers or a multiplier: what is recommended for the vector on the model at hand.
RECOMMENDED = "recommended"
FIELDS = ("format", "version", "title", "about", "steps")
OF_A_STEP = ("title", "text", "question", "choices", "check", "settings", "do", "conclude", "not", "hints")
OPTIONAL = ("settings", "about")


@dataclass(frozen=True)
class Choice:
    """What can be predicted, and the outcome of the run with which it comes true."""

    text: str
    when: str


@dataclass(frozen=True)
class Step:
    """One question with its experiment. beyond: what may not be concluded. hints: of the kinds of `HINTS`."""

    title: str
    text: str
    question: str
    choices: tuple[Choice, ...]
    check: str
    settings: Mapping[str, Any]
    do: str
    conclude: str
    beyond: str
    hints: tuple[str, ...]

    @property
    def how(self) -> Check:
        """How its run is made and read."""
        return CHECKS[self.check]


@dataclass(frozen=True)
class Lesson:
    """data: what it was made of. key: tells it from others."""

    title: str
    about: str
    steps: tuple[Step, ...]
    data: Mapping[str, Any]

    @property
    def key(self) -> str:
        return sha256(json.dumps(self.data, sort_keys=True).encode()).hexdigest()[:16]


@cache
def built_in() -> Lesson:
    """The lesson that ships."""
    return read_lesson(BUILT_IN)


def read_lesson(path: Path) -> Lesson:
    """The lesson in a file. Raises InputError that says where it is none."""
    return lesson_of(read_json(path, "A lesson"))


def read_json(path: Path, what: str) -> Any:
    """Plain data in a small file. Raises InputError that says where it is none."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError(f"{what} has {MOST_BYTES:,} bytes at most; this file has {size:,}.")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror}.") from error
    try:
        data = json.loads(content.decode("utf-8-sig"), parse_constant=_no_number)
        json.dumps(data, ensure_ascii=False).encode()  # of half a letter there is no text
    except json.JSONDecodeError as error:
        raise InputError(f"It is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except UnicodeDecodeError as error:
        raise InputError("It is not text in UTF-8.") from error
    except (RecursionError, ValueError) as error:
        raise InputError(
            f"{what} it is not: it nests too deeply, or holds a number or a letter that is none."
        ) from error
    return data


def lesson_of(data: Any) -> Lesson:
    """A lesson from plain data. Raises InputError that names the step and the field."""
    fields = fields_of(data, FIELDS, "The lesson")
    if (fields.get("format"), fields.get("version")) != (FORMAT, VERSION):
        raise InputError(f'The lesson begins with "format": "{FORMAT}" and "version": {VERSION}.')
    title, about = text_of(fields, "title", "The lesson", SHORT), text_of(fields, "about", "The lesson", LONG)
    steps = list_of(fields, "steps", "The lesson", STEPS)
    return Lesson(title, about, tuple(_step(step, f"Step {number}") for number, step in enumerate(steps, 1)), data)


def _step(data: Any, where: str) -> Step:
    fields = fields_of(data, OF_A_STEP, where)
    title = text_of(fields, "title", where, SHORT)
    where = f"{where} ({clean(title)[:40]})"
    check = text_of(fields, "check", where, SHORT)
    if check not in CHECKS:
        raise InputError(f"{where}, check: there is none called {quoted(check)}; choose one of {', '.join(CHECKS)}.")
    choices = list_of(fields, "choices", where, CHOICES)
    hints = list_of(fields, "hints", where, (len(HINTS), len(HINTS)))
    return Step(
        title=title,
        text=text_of(fields, "text", where, LONG),
        question=text_of(fields, "question", where, SHORT),
        choices=tuple(_choice(one, CHECKS[check], f"{where}, choice {n}") for n, one in enumerate(choices, 1)),
        check=check,
        settings=_settings(fields.get("settings", {}), CHECKS[check], where),
        do=text_of(fields, "do", where, LONG),
        conclude=text_of(fields, "conclude", where, LONG),
        beyond=text_of(fields, "not", where, LONG),
        hints=tuple(
            text_of({kind: hint}, kind, f"{where}, hints", LONG) for kind, hint in zip(HINTS, hints, strict=True)
        ),
    )


def _choice(data: Any, check: Check, where: str) -> Choice:
    fields = fields_of(data, ("text", "when"), where)
    choice = Choice(text_of(fields, "text", where, SHORT), text_of(fields, "when", where, SHORT))
    if choice.when not in check.outcomes:
        raise InputError(f"{where}, when: {quoted(choice.when)} is none of {', '.join(check.outcomes)}.")
    return choice


def _settings(data: Any, check: Check, where: str) -> dict[str, Any]:
    where = f"{where}, settings"
    settings = fields_of(data, check.settings, where)
    for name, value in settings.items():
        number = isinstance(value, int | float) and abs(value) < 1e9
        if not (number or (isinstance(value, str) and len(value) <= LONG)):
            raise InputError(f"{where}, {name}: it takes a text of at most {LONG:,} letters, a number, true or false.")
    return dict(settings)


def fields_of(data: Any, names: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """An object with no other fields than these. Raises InputError for anything else; where: what it says it is."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: it takes an object with {', '.join(names)}.")
    if strange := [name for name in data if name not in names]:
        raise InputError(f"{where}: there is no field {quoted(strange[0])}; there are {', '.join(names)}.")
    return data


def list_of(fields: Mapping[str, Any], name: str, where: str, ends: tuple[int, int]) -> list[Any]:
    """A field that is a list of so many. Raises InputError for anything else."""
    least, most = ends
    found = fields.get(name)
    if not isinstance(found, list) or not least <= len(found) <= most:
        many = f"{least} to {most}" if least < most else f"{most} ({', '.join(HINTS)})"
        raise InputError(f"{where}, {name}: it takes a list of {many}.")
    return found


def text_of(fields: Mapping[str, Any], name: str, where: str, most: int) -> str:
    """A field that is a text of so many letters at most. Raises InputError for anything else."""
    found = fields.get(name, "" if name in OPTIONAL else None)
    if not isinstance(found, str):
        raise InputError(f"{where}, {name}: {'it is missing' if name not in fields else 'it takes a text'}.")
    if len(found) > most:
        raise InputError(f"{where}, {name}: it has {len(found):,} letters, and takes {most:,} at most.")
    if not found.strip() and name not in OPTIONAL:
        raise InputError(f"{where}, {name}: it is empty.")
    return found.strip()


def quoted(text: Any) -> str:
    """The beginning of what somebody wrote."""
    return repr(clean(str(text))[:40])


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
