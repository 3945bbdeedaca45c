"""What a visitor's page says in German, and what of it is English."""

import re

from pydantic import BaseModel

from caa_core.app.opening.languages.catalogue import catalogue
from caa_core.app.opening.languages.parts import properties
from caa_core.app.opening.languages.pieces import each_line
from tests.helpers.handlers import Handlers, sent

# Words that no German sentence has.
ENGLISH = re.compile(r"\b(the|of|and|is|are|not|with|which|what|how|your|their|this|that|from|every|each|or)\b", re.I)


class _Noted:
    """The catalogue, which notes each piece of text that it is asked for, in German."""

    def __init__(self):
        self.into, self.said = catalogue("de"), []

    def text(self, text: str) -> str:
        def note(piece: str) -> str:
            self.said.append(self.into.text(piece))
            return piece

        return each_line(text, note)

    def whole(self, text: str) -> str | None:
        self.said.append(self.into.whole(text) or text)
        return None


def in_german(page: Handlers) -> list[str]:
    """All texts of a page in German."""
    noted = _Noted()
    for part in page.blocks.blocks.values():
        if not getattr(part, "visible", True):  # such as the fields of endpoints
            continue
        shown = {**part.get_config(), **page.properties.get(part, {})}
        if part in page.held:
            held = sent(part, page.held[part])
            shown["value"] = held.model_dump() if isinstance(held, BaseModel) else held
        properties(part.get_block_name(), shown, noted)
    return noted.said
