"""Text as people type and read it: unseen characters taken out, numbers as ranges, names for files."""

import html
import re
from collections.abc import Collection

MAX_NAME = 120

# Control characters, and those that turn the direction of the text around them: a name must not rewrite its line.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def spans(layers: Collection[int]) -> str:
    """Layers in words: "layers 0 to 29", "layer 12", "layers 10, 12 to 15"."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1][1:] = [layer]
        else:
            runs.append([layer])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
    return f"{'layer' if len(layers) == 1 else 'layers'} {text}"


def clean(text: str, limit: int = MAX_NAME) -> str:
    """A name from outside as it may be shown: no control or bidirectional characters, `limit` long at most."""
    return UNSEEN.sub("", text[:limit]).strip()


def file_name(text: str) -> str:
    """A name as a file may bear it on any system: letters, digits, dots, dashes."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:MAX_NAME]


def download_name(text: str, ending: str) -> str:
    """What a file of that name is called when it is downloaded."""
    return (re.sub(r"[^\w() -]", "_", text).strip()[:80] or "file") + ending


# What is not seen by itself; a line ends behind its sign.
SIGNS = {"\r\n": "⏎\n", "\n": "⏎\n", "\r": "⏎\n", "\t": "⇥\t"}

PART = "·"  # of a character that several tokens make up


def visible(token: str) -> str:
    """A token within its text, as HTML: line ends and tabs marked, and so are spaces that stand alone."""
    if not token:
        return PART
    if not token.strip(" "):
        return "␣" * len(token)
    parts = token.replace("\r\n", "\n").replace("\r", "\n")
    shown = "".join(SIGNS.get(letter, UNSEEN.sub("\ufffd", letter)) for letter in parts)
    return html.escape(shown)
