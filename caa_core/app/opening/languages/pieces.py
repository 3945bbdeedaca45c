"""What a text of the page is made of: markup, which is the same in every language, and sentences, which are not.

Texts in the code and texts that leave for a page are cut alike, so that each sentence finds its translation whatever
stands around it.
"""

import re
from collections.abc import Callable

# Between these stands text of its own: lines, and tags of HTML (and plotly) but for those that mark words.
_TAGS = (
    "article|br|button|circle|dd|defs|details|div|dl|dt|extra|figcaption|figure|footer|g|h[1-6]|header|hr|img|input|label|"
    "li|line|linearGradient|mark|nav|ol|p|path|polygon|polyline|pre|progress|rect|script|section|small|span|stop|style|"
    "summary|svg|table|tbody|td|text|th|thead|title|tr|ul"
)
_BETWEEN = re.compile(rf"(\s*\n\s*|</?(?:{_TAGS})\b[^<>]*>)")
# How a line of Markdown begins: a heading, a list, a quotation.
_LEAD = re.compile(r"(?:#{1,6}|[-*>]|\d+\.)\s+")
# Begins and ends a block of code in Markdown.
_FENCE = re.compile(r"`{3,}|~{3,}")
_CELL = re.compile(r"(?<!\\)\|")
# A sentence's end, whatever marks its last word; and no end behind what is short for something.
_END = re.compile(r"""(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)(["”’)*_]*)\s+(?=\S)""")
# What the reader is told beside the text: of a tag, these attributes.
_TOLD = re.compile(r"""(\s(?:title|aria-label|alt|placeholder)=)("[^"]*"|'[^']*')""")
# A part of HTML that no translator is to touch, as HTML says it: what a model or a person wrote.
_KEPT = re.compile(r"""<(\w+)[^<>]*\stranslate="no"[^<>]*>|<(pre|code|script|style)\b[^<>]*>""")
_LETTERS = re.compile(r"[^\W\d_]{2}")

Said = Callable[[str], str]


def has_words(text: str) -> bool:
    """Whether there is anything to translate: two letters beside each other."""
    return bool(_LETTERS.search(text))


def each_line(text: str, said: Said) -> str:
    """A text in which `said` has been put in place of each piece between lines and tags; markup and code stay."""
    parts, kept, code = [], 0, ""
    for number, part in enumerate(_BETWEEN.split(text)):
        if fence := _FENCE.match(part):
            code = "" if code and fence[0].startswith(code) else code or fence[0]
        if fence or code:
            parts.append(part)
        elif number % 2:
            kept = _depth(part, kept)
            parts.append(_TOLD.sub(lambda found: _attribute(found, said), part) if part.startswith("<") else part)
        elif kept or not has_words(part):
            parts.append(part)
        elif part.lstrip().startswith("|"):
            parts.append("|".join(_padded(cell, said) for cell in _CELL.split(part)))
        else:
            lead = _LEAD.match(part)
            at = lead.end() if lead else 0
            parts.append(part[:at] + _padded(part[at:], said))
    return "".join(parts)


def _depth(tag: str, kept: int) -> int:
    """How many tags deep we are in what is not to be touched."""
    if not tag.startswith("<"):
        return kept
    if kept:
        opens = not tag.startswith("</") and not tag.endswith("/>") and not re.match(r"<(br|img|hr|input)\b", tag)
        return kept + (1 if opens else -1 if tag.startswith("</") else 0)
    return 1 if _KEPT.match(tag) and not tag.endswith("/>") else 0


def _attribute(found: re.Match[str], said: Said) -> str:
    quote = found[2][0]
    return f"{found[1]}{quote}{_padded(found[2][1:-1], said).replace(quote, '&quot;')}{quote}"


def _padded(text: str, said: Said) -> str:
    """The same with the blanks around it left where they are."""
    inner = text.strip()
    if not has_words(inner):
        return text
    at = text.index(inner)
    return text[:at] + said(inner) + text[at + len(inner) :]


def sentences(text: str) -> list[str]:
    """A text cut behind each sentence; joined again they are the text."""
    ends = [found.end() for found in _END.finditer(text)]
    return [text[begin:end] for begin, end in zip([0, *ends], [*ends, len(text)], strict=True)]
