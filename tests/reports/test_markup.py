import re
from html.parser import HTMLParser

import pytest

from caa_core.data.text import visible
from caa_core.reports.markup import colour, coloured, quoted, scale, table

HOSTILE = ["<script>alert(1)</script>", '" onmouseover="x', "</span></div>", "&lt;", "a\u202eb", "\x00", "\ud800"]


class Read(HTMLParser):
    """What a browser makes of it: tags, attributes, and text outside of styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.style = [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append(dict(attributes))
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        self.text += "" if self.style else data


def test_every_token_has_its_own_number_and_colour():
    read = Read(coloured(["Hi", " you", "!"], [1.0, -2.0, 0.0], ["+1", "-2", "0"], 2.0))
    spans = [found for tag, found in zip(read.tags, read.attributes, strict=True) if tag == "span"]
    assert read.text == "Hi you!"
    assert [span["title"] for span in spans] == ["+1", "-2", "0"]
    assert [span["tabindex"] for span in spans] == ["0", "-1", "-1"]  # arrow keys go on from the first
    found = [re.search(r"background:rgba\((.*?)\)", span["style"])[1] for span in spans]
    assert found == ["0,114,178,0.300", "230,159,0,0.600", "230,159,0,0.000"]


def test_a_value_beyond_the_scale_has_the_strongest_colour():
    assert colour(9, 2) == colour(2, 2) and colour(5, 0).endswith("0.000)")


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_comes_in_is_shown_as_text(text):
    plain = {"style", "div", "span", "table", "thead", "tbody", "tr", "th", "td", "code"}
    for made in (coloured([text], [1.0], [text], 1.0), table([text, text], [[text, 1.0]]), scale(1.0, text)):
        read = Read(made)
        assert set(read.tags) <= plain and not any("onmouseover" in found for found in read.attributes)
        assert read.tags.count("div") == made.count("</div>")
        assert not re.search("[\x00\u202e\ud800]", made)
    shown = text.replace("\u202e", "\ufffd").replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert Read(coloured([text], [1.0], ["t"], 1.0)).text == shown
    assert not re.search("[\x00\u202e\ud800]", quoted(text))


@pytest.mark.parametrize(
    ("token", "within", "alone"),
    [
        (" a", " a", "␣a"),
        ("\n\n", "⏎\n⏎\n", "⏎⏎"),
        ("\r\n", "⏎\n", "⏎"),
        ("  ", "␣␣", "␣␣"),
        ("\tx", "⇥\tx", "⇥x"),
        ("", "·", "·"),
    ],
)
def test_what_is_not_seen_is_marked(token, within, alone):
    assert visible(token) == within and quoted(token) == alone


def test_numbers_stand_in_cells_of_their_own():
    made = table(["token", "probability"], [["x", 0.123456]])
    assert '<td class="number">0.1235</td>' in made and '<th class="number">probability</th>' in made
    assert Read(made).text == "tokenprobabilityx0.1235"
