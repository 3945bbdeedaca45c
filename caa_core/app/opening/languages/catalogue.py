"""Sentences as they are said in another language: found by what was said in English, with the values in it.

A catalogue is a gettext file beside this module, `de.po`, whose entries are sentences and templates such as
`Layer {layer} is not one of 0 to {last}.` (see `source`).
"""

import html
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from functools import cache, lru_cache
from pathlib import Path
from string import Formatter

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from caa_core.app.opening.languages.pieces import each_line, has_words, sentences

FOLDER = Path(__file__).parent
ENGLISH = "en"
# Of sentences, and of parts of one, so many at most are looked up together.
TOGETHER = 8
# A template with fewer letters of its own says little about a text.
FEW_LETTERS = 8
# Texts of the page itself whose translations are remembered. What people see of their own is not.
REMEMBERED = 4_000
# Values that are what a person or a model is called, or wrote.
OWN = re.compile(
    r"^(name|a|b|named|followed|other|prompt|prefill|system|first|second|text|shown|clean|opposes|host|path|source|"
    r"spec|typed|listed|model|repo_id|held|final|told|positions|field)\d*$"
)
# What values of some names are, as patterns.
KINDS = {
    r"(done|total|int|run|len_\w+)\d*": r"[0-9.,]+",
    r"repetition\w*": r"[0-9.,]+ ?%?",
    "line_numbers": r"[0-9., ]+",
    "fault": r"[^.:;!?]*",
    r"(low|high)\d*": r"\S*\d\S*",
    "price": r".*",
    "field": r"(?:(?! with )[^,])*?",  # a column, of which others stand before and behind
    "time_left": r"(?:, .*)?",
}
# A few words with nothing between that ends a sentence or a part of one.
FEW_WORDS = r"(?:\S*[^\s.:;,!?](?: \S*[^\s.:;,!?]){0,5}?)?"
# Before values in quotation marks or as code, which are somebody's own, too.
_QUOTES = "'\"`“‘«"
_VALUE = re.compile(r"\{(\w+)\}")
# What stands around a sentence, or a part of one, and is none of it; and at the end of a part of one.
_OPENS, _CLOSES = r"(?:<\w[^<>]*>|\*\*|[*(“\"✓✗◆✕]|\s)*", r"(?:</\w+>|\*\*|[*)”\"]|\s)*"
_AROUND = (
    re.compile(r"^(\s*)(.*?)(\s*)$", re.DOTALL),
    re.compile(rf"^({_OPENS})(.*?)((?:</\w+>|\*\*|\s)*)$", re.DOTALL),
    re.compile(rf"^({_OPENS})(.*?)({_CLOSES})$", re.DOTALL),
    re.compile(rf"^({_OPENS})(.*?)((?:{_CLOSES}|[.:;,!?]|\.\.\.)*)$", re.DOTALL),
)
# Between parts of a sentence.
_JOINTS = re.compile(r"(\s·\s|;\s|:\s|,\s|\s\+\s|\s\\?\(|\\?\)\s|\s—\s|<[^<>]*>)")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+!|<>~$&@:.-])")
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&@-])")


class Catalogue:
    """What is said in one language. messages: translations by templates; an empty one is not known yet."""

    def __init__(self, messages: Mapping[str, str]):
        known = {source: said for source, said in messages.items() if said}
        self._plain = {source: said for source, said in known.items() if not _VALUE.search(source)}
        self._plain |= {_literal(source): _literal(said) for source, said in self._plain.items()}
        self._templates: defaultdict[str, list[_Template]] = defaultdict(list)
        for source, said in known.items():
            if _VALUE.search(source):
                template = _Template(source, said)
                self._templates[template.word].append(template)

    def remembering(self) -> "Catalogue":
        """The same, which finds again at once what it was asked for."""
        found = copy(self)
        found.text = lru_cache(REMEMBERED)(self.text)  # type: ignore[method-assign]
        return found

    def text(self, text: str) -> str:
        """A text in this language: each of its sentences that is known, and the rest as it is."""
        return each_line(text, self._piece) if has_words(text) else text

    def _piece(self, text: str) -> str:
        parts = sentences(text)
        return "".join(self._each(parts, range(1, TOGETHER), self._by_parts))

    def _by_parts(self, text: str) -> str:
        """What is known of a sentence's parts, where all of it is not."""
        parts = _JOINTS.split(text)
        if len(parts) == 1:
            return text
        return "".join(self._each(parts, range(2 * TOGETHER, 0, -1), str, step=2))

    def _each(
        self, parts: list[str], sizes: Iterable[int], otherwise: Callable[[str], str], step: int = 1
    ) -> Iterator[str]:
        """Parts in this language, as many together as are known as one, in the order of the sizes to try. step: at
        every which of them such a group may end; joints stand between.
        """
        at = 0
        while at < len(parts):
            for size in sizes:
                end = at + size
                if end > len(parts) or (end - 1) % step:
                    continue
                if (said := self.whole("".join(parts[at:end]))) is not None:
                    yield said
                    at += size
                    break
            else:
                yield otherwise(parts[at])
                at += 1

    def whole(self, text: str) -> str | None:
        """A sentence, or a word, in this language; None where it is not known."""
        if not has_words(text):
            return None
        parted = list(dict.fromkeys(found.groups() for found in _parted(text)))
        for weak in (False, True):
            for before, inner, after in parted:
                if (found := self._known(inner, weak)) is not None:
                    return f"{before}{found}{after}"
        return None

    def _known(self, text: str, weak: bool) -> str | None:
        """As it stands in the catalogue, but for its first letter, or as HTML or Markdown write it. weak: by templates
        that say little about a text, too.
        """
        if (found := self._exactly(text, weak)) is not None:
            return found
        lower = text[:1].lower() + text[1:]
        if lower != text and (found := self._exactly(lower, weak)) is not None:
            return found[:1].upper() + found[1:]
        if _ESCAPED.search(text) and (found := self._exactly(_ESCAPED.sub(r"\1", text), weak)) is not None:
            return _MARKS.sub(r"\\\1", found)
        if "&" in text and (plain := html.unescape(text)) != text and (found := self._exactly(plain, weak)) is not None:
            return html.escape(found, quote="&quot;" in text)
        return None

    def _exactly(self, text: str, weak: bool) -> str | None:
        if (found := self._plain.get(text)) is not None:
            return found
        words = {"", *_words(text)}
        there = [template for word in words & self._templates.keys() for template in self._templates[word]]
        for template in sorted(there, key=lambda one: -one.letters):
            if (weak or not template.is_weak) and (values := template.values(text)) is not None:
                return template.said(values, self._value)
        return None

    def _value(self, text: str) -> str:
        """A value within a sentence, which may be a sentence or words of the page's own."""
        return self.text(text) if has_words(text) else text


class _Template:
    """A sentence with values in it, in both languages."""

    def __init__(self, source: str, said: str):
        fixed = list(Formatter().parse(source))
        self.own: set[str] = set()
        pattern, before = "", ""
        own = sum(map(str.isalpha, "".join(letters for letters, *_ in fixed)))
        self.is_weak = own < FEW_LETTERS
        value = FEW_WORDS if self.is_weak else ".*?"
        for letters, name, *_ in fixed:
            pattern += r"\s+".join(re.escape(one) for one in re.split(r"\s+", letters))
            before = letters or before
            if name is not None:
                kind = next((kind for names, kind in KINDS.items() if re.fullmatch(names, name)), value)
                pattern += f"(?P<{name}>{kind})"
                if OWN.match(name) or (before[-1:] in _QUOTES and letters):
                    self.own.add(name)
        # What ends a sentence behind a value is none of it.
        self._pattern = re.compile(pattern + (r"(?<![.;:,])" if re.search(r" \{\w+\}$", source) else ""), re.DOTALL)
        self._said = said
        self.letters = sum(len(letters) for letters, *_ in fixed)
        self.word = max(_words(" ".join(_outer(fixed))), key=len, default="")

    def values(self, text: str) -> dict[str, str] | None:
        found = self._pattern.fullmatch(text)
        return found.groupdict() if found else None

    def said(self, values: Mapping[str, str], translate: Callable[[str], str]) -> str:
        told = {name: value if name in self.own else translate(value) for name, value in values.items()}
        return self._said.format(**told)


def _outer(fixed: Iterable[tuple[str, str | None, str | None, str | None]]) -> Iterator[str]:
    """The letters of a template without words that a value may go on."""
    after = False
    for letters, name, *_ in fixed:
        text = re.sub(r"^\w+", "", letters) if after else letters
        yield re.sub(r"\w+$", "", text) if name is not None else text
        after = name is not None


def _parted(text: str) -> Iterator[re.Match[str]]:
    """A text as what stands around it and what it is."""
    return filter(None, (around.match(text) for around in _AROUND))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _literal(template: str) -> str:
    """What a template without values says."""
    return template.replace("{{", "{").replace("}}", "}")


@cache
def languages() -> tuple[str, ...]:
    """Those that there are, English first."""
    return ENGLISH, *sorted(file.stem for file in FOLDER.glob("*.po"))


def stored(language: str) -> Catalog:
    """A language's file as it is."""
    with (FOLDER / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


@cache
def catalogue(language: str) -> Catalogue:
    """What is said in a language, which is read when it is first asked for."""
    return Catalogue({str(entry.id): str(entry.string) for entry in stored(language) if entry.id})


@cache
def of_the_page(language: str) -> Catalogue:
    """The same for the page as it is served, to everybody alike."""
    return catalogue(language).remembering()
