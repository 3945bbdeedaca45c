"""What of a part of the page is text in English: its labels, and what it shows where that is not somebody's own."""

import json
import re
from collections.abc import Mapping
from typing import Any

from caa_core.app.opening.languages.catalogue import Catalogue

# Properties that are text of the page whatever the part is; a text box's value is its writer's.
TEXTS = ("label", "info", "placeholder", "headers", "sample_labels")
# Kinds of parts whose value is text of the page.
SHOWN = frozenset({"markdown", "html", "button", "downloadbutton", "uploadbutton"})
SCRIPTS = ("js", "js_on_load")
# Columns of tables whose cells are words of the page.
_OF_THE_PAGE = frozenset({"written under", "voice"})
# In a figure, by plotly's names: texts, and lists of texts, of which words by themselves may be tokens.
_IN_FIGURE = frozenset({"text", "name", "hovertemplate", "title", "ticktext", "hovertext"})
# What a script says, between marks (see `said`).
_SAID = re.compile(r"/\*said\*/(.*?)/\*\*/", re.DOTALL)


def said(words: Any) -> str:
    """Words of the page within a script, as JSON: a text, a list of texts, or an object of texts by texts."""
    return f"/*said*/{json.dumps(words, ensure_ascii=False)}/**/"


def script(text: str, into: Catalogue) -> str:
    """A script whose words are said in another language."""

    def told(words: Any) -> Any:
        if isinstance(words, dict):
            return {told(name): told(one) for name, one in words.items()}
        return [told(one) for one in words] if isinstance(words, list) else into.text(words)

    return _SAID.sub(lambda found: json.dumps(told(json.loads(found[1])), ensure_ascii=False), text)


def properties(kind: str, given: Mapping[str, Any], into: Catalogue) -> dict[str, Any]:
    """Properties of a part of that kind, or an update of some, in another language."""
    changed = dict(given)
    for name in TEXTS:
        if changed.get(name):
            changed[name] = _each(changed[name], into)
    for name in SCRIPTS:
        if isinstance(changed.get(name), str):
            changed[name] = script(changed[name], into)
    if "choices" in changed:
        changed["choices"] = [_choice(one, into) for one in changed["choices"] or ()]
    if isinstance(changed.get("color_map"), dict):
        changed["color_map"] = {_word(name, into): colour for name, colour in changed["color_map"].items()}
    if "value" in changed:
        changed["value"] = value(kind, changed["value"], into)
    return changed


def value(kind: str, shown: Any, into: Catalogue) -> Any:
    """What a part of that kind shows, in another language, as far as it is the page's own text."""
    if isinstance(shown, str):
        return into.text(shown) if kind in SHOWN else shown
    if kind == "chatbot" and isinstance(shown, list):
        return [_message(one, into) for one in shown]
    if kind == "plot" and isinstance(shown, dict) and isinstance(shown.get("plot"), str):
        return {**shown, "plot": json.dumps(_figure(json.loads(shown["plot"]), into))}
    if kind == "highlightedtext" and isinstance(shown, list):
        name = "class_or_confidence"
        return [{**one, name: _word(one[name], into)} if isinstance(one.get(name), str) else one for one in shown]
    if kind == "dataframe" and isinstance(shown, dict) and "headers" in shown:
        heads = shown["headers"]
        ours = {at for at, head in enumerate(heads) if head in _OF_THE_PAGE}
        told = {**shown, "headers": _each(heads, into)}
        if ours:  # a table may be long
            told["data"] = [[_cell(c, into) if at in ours else c for at, c in enumerate(row)] for row in shown["data"]]
        return told
    return shown


def _cell(cell: Any, into: Catalogue) -> Any:
    return _word(cell, into) if isinstance(cell, str) else cell


def _each(texts: Any, into: Catalogue) -> Any:
    if isinstance(texts, str):
        return into.text(texts)
    return [_each(one, into) for one in texts] if isinstance(texts, list | tuple) else texts


def _choice(choice: Any, into: Catalogue) -> Any:
    """What is seen of a choice; what is chosen stays."""
    if isinstance(choice, list | tuple) and len(choice) == 2 and isinstance(choice[0], str):
        return (into.text(choice[0]), choice[1])
    return choice


def _word(text: str, into: Catalogue) -> str:
    return into.whole(text) or text


def _message(message: Any, into: Catalogue) -> Any:
    """A message's title, and what it was written with; what was written is somebody's own."""
    title = (message.get("metadata") or {}).get("title") if isinstance(message, dict) else None
    if not title:
        return message
    changed = {**message, "metadata": {**message["metadata"], "title": into.text(title)}}
    if message["metadata"].get("status") == "done":
        changed["content"] = _content(message["content"], into)
    return changed


def _content(content: Any, into: Catalogue) -> Any:
    if isinstance(content, list):
        return [_content(one, into) for one in content]
    if isinstance(content, dict) and isinstance(content.get("text"), str):
        return {**content, "text": into.text(content["text"])}
    return into.text(content) if isinstance(content, str) else content


def _figure(part: Any, into: Catalogue, name: str = "") -> Any:
    if isinstance(part, dict):
        return {key: _figure(one, into, key) for key, one in part.items()}
    if isinstance(part, list):
        return [_figure(one, into, name) if isinstance(one, dict | list) else _seen(name, one, into) for one in part]
    return into.text(part) if name in _IN_FIGURE and isinstance(part, str) else part


def _seen(name: str, one: Any, into: Catalogue) -> Any:
    """One of a list of texts in a figure."""
    return into.text(one) if name in _IN_FIGURE and isinstance(one, str) and " " in one.strip() else one
