"""A class as a teacher writes it: a JSON file that is checked field by field, as a lesson's is.

    {"format": "caa-class", "version": 1, "title": ..., "code": ..., "key": ..., "model": ..., "presets": [NAME, ...],
     "lesson": LESSON or the name of its file, "limits": {"tokens": 60, ...}, "free_prompts": true, "word_pieces": true,
     "everybody": false, "hours": 4}

All but the first three may be left out. A code or a key that is not there is drawn by chance.
"""

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caa_core.app.keys.classrooms import Rules
from caa_core.app.panels.learn.lesson import (
    LONG,
    SHORT,
    Lesson,
    built_in,
    fields_of,
    lesson_of,
    list_of,
    quoted,
    read_json,
    text_of,
)
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.limits import OF_A_CLASS

FORMAT, VERSION = "caa-class", 1
HERE = "The class"
FIELDS = (
    "format",
    "version",
    "title",
    "code",
    "key",
    "model",
    "presets",
    "lesson",
    "limits",
    "free_prompts",
    "word_pieces",
    "everybody",
    "hours",
)
SWITCHES = ("free_prompts", "word_pieces", "everybody")
CODE, SHORTEST_KEY, LONGEST_KEY = re.compile(r"[a-z0-9][a-z0-9-]{2,31}"), 8, 200
HOURS = (0.1, 24.0)
# What a code is drawn of: no letters that are taken for others.
LETTERS = "abcdefghkmnpqrstuvwxyz23456789"


def read_class(path: Path) -> tuple[Rules, str]:
    """The class in a file, and its key. Raises InputError that says where it is none."""
    return class_of(read_json(path, HERE), path.parent)


def class_of(data: Any, folder: Path | None = None) -> tuple[Rules, str]:
    """A class from plain data, and its key. folder: where the file of its lesson lies, where one can be named. Raises
    InputError that names the field.
    """
    fields = fields_of(data, FIELDS, HERE)
    if (fields.get("format"), fields.get("version")) != (FORMAT, VERSION):
        raise InputError(f'{HERE} begins with "format": "{FORMAT}" and "version": {VERSION}.')
    names, lesson = _presets(fields), _lesson(fields.get("lesson"), folder)
    _check_lesson(lesson or built_in(), names)
    rules = Rules(
        title=text_of(fields, "title", HERE, SHORT),
        code=_code(fields),
        presets=names,
        model=text_of(fields, "model", HERE, LONG) if "model" in fields else "",
        lesson=lesson,
        limits=_limits(fields.get("limits", {})),
        texts=_texts(lesson or built_in()),
        hours=_number(fields, "hours", HOURS, 4.0),
        **{name: _switch(fields, name) for name in SWITCHES if name in fields},
    )
    return rules, _key(fields)


def _presets(fields: Mapping[str, Any]) -> tuple[str, ...]:
    if "presets" not in fields:
        return tuple(presets())
    names = list_of(fields, "presets", HERE, (1, len(presets())))
    if unknown := [name for name in names if not isinstance(name, str) or name not in presets()]:
        raise InputError(
            f"{HERE}, presets: there is none called {quoted(unknown[0])}; there are {', '.join(presets())}."
        )
    return tuple(dict.fromkeys(names))


def _lesson(given: Any, folder: Path | None) -> Lesson | None:
    """None for the one that ships."""
    if isinstance(given, str) and folder:
        path = folder / given
        if not path.is_file():
            raise InputError(f"{HERE}, lesson: there is no file {quoted(given)} beside it.")
        given = read_json(path, "A lesson")
    elif isinstance(given, str):
        raise InputError(f"{HERE}, lesson: a file that is uploaded holds the lesson itself, not the name of its file.")
    return None if given is None else lesson_of(given)


def _check_lesson(lesson: Lesson, names: tuple[str, ...]) -> None:
    """Raises InputError where a step takes a preset that is no part of the class."""
    for number, step in enumerate(lesson.steps, 1):
        taken = [value for value in step.settings.values() if isinstance(value, str) and value in presets()]
        if missing := [name for name in taken if name not in names]:
            raise InputError(
                f"{HERE}, presets: step {number} of its lesson takes {missing[0]}, which is not among them."
            )


def _limits(data: Any) -> dict[str, int]:
    """By the variables of the app's limits."""
    where = f"{HERE}, limits"
    found = fields_of(data, tuple(OF_A_CLASS), where)
    for name, value in found.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1e9:
            raise InputError(f"{where}, {name}: it takes a whole number from 1 on.")
    return {OF_A_CLASS[name].variable: value for name, value in found.items()}


def _texts(lesson: Lesson) -> frozenset[str]:
    """What ships to be asked, and what the lesson asks."""
    shipped = [text for one in presets().values() for text in (*one.prompts, one.told, one.begins)]
    asked = [value for step in lesson.steps for value in step.settings.values() if isinstance(value, str)]
    return frozenset(text.strip() for text in (*shipped, *asked))


def _code(fields: Mapping[str, Any]) -> str:
    if "code" not in fields:
        return "".join(secrets.choice(LETTERS) for _ in range(6))
    code = text_of(fields, "code", HERE, SHORT).lower()
    if not CODE.fullmatch(code):
        raise InputError(f"{HERE}, code: it takes 3 to 32 letters (a to z), digits and dashes.")
    return code


def _key(fields: Mapping[str, Any]) -> str:
    if "key" not in fields:
        return secrets.token_urlsafe(12)
    key = text_of(fields, "key", HERE, LONGEST_KEY)
    if len(key) < SHORTEST_KEY:
        raise InputError(f"{HERE}, key: it takes {SHORTEST_KEY} letters or more.")
    return key


def _switch(fields: Mapping[str, Any], name: str) -> bool:
    if not isinstance(fields[name], bool):
        raise InputError(f"{HERE}, {name}: it takes true or false.")
    return fields[name]


def _number(fields: Mapping[str, Any], name: str, ends: tuple[float, float], otherwise: float) -> float:
    value = fields.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not ends[0] <= value <= ends[1]:
        raise InputError(f"{HERE}, {name}: it takes a number from {ends[0]:g} to {ends[1]:g}.")
    return float(value)
