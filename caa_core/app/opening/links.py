"""Links that bring back what somebody had chosen: written, read, and every part of one checked.

A link is the page's address and a query that can be read, such as
`?v=1&tab=steer&model=smollm2-135m&vector=joy~1a2b3c4d&layer=15&multiplier=1.5&prompt=How+are+you%3F`. What stands in it
was typed by a stranger, as far as is known.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlencode

from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.metrics.grid import number

VERSION = "1"
# In characters of the query: what browsers, chats and servers on the way take.
LONGEST = 6000
# Tabs by their names in links: the ids of the tabs that are opened, one in the other.
TABS = {
    "steer": ("steer",),
    "generate": ("generate",),
    "compete": ("compete",),
    "measure": ("measure", "measure-layers-tab"),
    "behaviours": ("measure", "behaviours-tab"),
    "study": ("measure", "study-tab"),
    "open": ("measure", "measure-open-tab"),
    "views": ("views",),
    "learn": ("learn",),
    "class": ("class",),
    "models": ("models",),
}
# Names in a link of what a form calls otherwise.
ALIASES = {"question": "prompt", "max_new_tokens": "tokens"}
# Beside these a query may have others, which are the server's own and are left alone.
FIELDS = (
    "prompt",
    "think",
    "vector",
    "layer",
    "multiplier",
    *(f"{name}_{voice}" for voice in "ab" for name in ("vector", "layer", "multiplier")),
    "kind",
    "told",
    "begins",
    "apart",
    "contest",
    "second_voices",
    "preset",
    "presets",
    "questions",
    "layers",
    "multipliers",
    "prompts",
    "controls",
    "limit",
    "design",
    "most_items",
    "most_pairs",
    "drawn",
    "letter_swap",
    "reads",
    "cues",
    "asked",
    "counts",
    "paper_counting",
    "cue",
    "map",
    "system",
    "positions",
    "tokens",
    "temperature",
    "seed",
    "by_methods",
    "operation",
    "operation_a",
    "operation_b",
    "together",
    "spread",
    "spread_a",
    "spread_b",
    "shares",
    "gate",
)
# Of a vector or of a preset's pairs, in hexadecimal digits of a sha256.
MARK = 8


@dataclass(frozen=True)
class Link:
    """What a link says. tab: of `TABS`. model: which was loaded. fields: what was chosen, as text, by `FIELDS`."""

    tab: str
    model: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """What stands behind the page's address. Raises InputError where that is too long."""
        fields = {name: self.fields[name] for name in FIELDS if name in self.fields}
        model = {"model": self.model} if self.model else {}
        query = "?" + urlencode({"v": VERSION, "tab": self.tab, **model, **fields})
        if len(query) > LONGEST:
            raise InputError(
                f"What stands here is too long for a link: {len(query):,} characters, of {LONGEST:,} at most."
            )
        return query

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "Link | None":
        """From a query's parts; None where it is none of ours. Raises InputError for what cannot be followed."""
        if "tab" not in query:
            return None
        if (version := query.get("v", VERSION)) != VERSION:
            raise InputError(f"This link is of version {version[:20]!r}, and this app reads version {VERSION}.")
        if (tab := query["tab"]) not in TABS:
            raise InputError(f"There is no tab {tab[:40]!r} here: there are {', '.join(TABS)}.")
        found = {name: query[name] for name in FIELDS if name in query}
        if sum(map(len, found.values())) > LONGEST:
            raise InputError(f"This link is too long: a link has {LONGEST:,} characters at most.")
        return cls(tab, query.get("model", "")[:200], found)


def named(name: str) -> str:
    """What a form's part is called in a link."""
    return ALIASES.get(name, name)


def written(value: Any) -> str:
    """A value of a form as a link's text, from which `yes_or_no`, `number` and the like give it back."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return ",".join(written(one).replace("%", "%25").replace(",", "%2C") for one in value)
    return "" if value is None else str(value)


def several(text: str) -> list[str]:
    """The texts of a list."""
    return [one.replace("%2C", ",").replace("%25", "%") for one in text.split(",")] if text else []


def yes_or_no(text: str, label: str) -> bool:
    """Raises InputError for anything but yes and no."""
    if text not in ("yes", "no"):
        raise InputError(f"{label}: {text[:40]!r} is neither yes nor no.")
    return text == "yes"


def number_within(text: str, label: str, least: float, most: float, is_whole: bool = False) -> float:
    """A number between two. Raises InputError for anything else."""
    if not text.strip():
        raise InputError(f"{label} must be a number.")
    found = number(text, label)
    if is_whole and not found.is_integer():
        raise InputError(f"{label} must be a whole number.")
    if not least <= found <= most:
        raise InputError(f"{label} must be between {least:g} and {most:g}, not {found:g}.")
    return int(found) if is_whole else found


def one_of(text: str, label: str, choices: Iterable[Any]) -> Any:
    """The choice that is written so. Raises InputError where there is none."""
    for choice in choices:
        if written(choice) == text:
            return choice
    raise InputError(f"{label}: there is no {text[:60]!r} to choose.")


def vector_text(name: str, own: Mapping[str, Callable[[], str]]) -> str:
    """A vector as it stands in a link: its name, and by what a changed one is known. own: by name what gives the sha256
    of a person's own.
    """
    sha256 = own[name]() if name in own else _preset_sha256(name) if name in presets() else ""
    return f"{name}~{sha256[:MARK]}" if sha256 else name


def vector_named(text: str, own: Mapping[str, Callable[[], str]]) -> tuple[str, str]:
    """The name here of a link's vector, and what is to be said of it, if anything. own: as in `vector_text`. Raises
    InputError where it is not here.
    """
    name, mark = split(text)
    if mark and (found := _marked(mark, name, own)):
        return found, ""
    if name in presets():
        changed = mark and not _preset_sha256(name).startswith(mark)
        said = f"The preset {name} is not the one that the link was made with, so what comes of it may differ."
        return name, said if changed else ""
    if name in own and not mark:
        return name, ""
    other = " Your vector of that name is another one." if name in own else ""
    raise InputError(
        f"The vector {name[:60]!r} is not here.{other} Whoever made the link can give you its file or its recipe."
    )


def split(text: str) -> tuple[str, str]:
    """Name and mark of a vector in a link; the mark is empty where none stands there."""
    found = re.fullmatch(rf"(.*)~([0-9a-f]{{{MARK}}})", text, re.DOTALL)
    return (found[1], found[2]) if found else (text, "")


def _marked(mark: str, name: str, own: Mapping[str, Callable[[], str]]) -> str | None:
    """The name of a person's own vector of that mark; the one that is called so is looked at first."""
    return next((one for one in sorted(own, key=lambda one: one != name) if own[one]().startswith(mark)), None)


@cache
def _preset_sha256(name: str) -> str:
    return presets()[name].dataset().sha256
