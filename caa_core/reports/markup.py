"""Text as HTML: coloured token by token, and tables. Everything that comes in is escaped.

Colours are laid under the text half transparent, so that the page's own letters stay readable on them in light and in
dark; blue against orange is told apart by every kind of colour vision.
"""

import html
from collections.abc import Sequence

from caa_core.data.text import PART, SIGNS, UNSEEN, visible
from caa_core.measuring.inspection import Alignment

# Red, green and blue of what is above zero, and below.
POSITIVE, NEGATIVE = (0, 114, 178), (230, 159, 0)

DARKEST = 0.6

TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.9;max-height:480px;overflow-y:auto"

# A tap shows the number where no mouse can hover.
STYLE = (
    "<style>.caa-tokens span:focus::after{content:' ' attr(title);font-size:smaller;font-weight:600}"
    ".caa-table.caa-table,.caa-table.caa-table tr{border:0!important;border-collapse:collapse;width:100%}"
    ".caa-table.caa-table :is(th,td){padding:2px 8px!important;text-align:left;vertical-align:top;"
    "border:0 solid var(--border-color-primary,rgba(136,136,136,0.4))!important;border-bottom-width:1px!important}"
    ".caa-table.caa-table .number{text-align:right;font-variant-numeric:tabular-nums}</style>"
)


def coloured(tokens: Sequence[str], values: Sequence[float], titles: Sequence[str], largest: float) -> str:
    """Tokens one behind the other, each on the colour of its value; blue above zero, orange below.

    Args:
        titles: what is shown of each token under the mouse, or where it is tapped, or come to by arrow keys.
        largest: the |value| of the strongest colour; larger ones look the same.
    """
    spans = [
        f'<span tabindex="{-1 if place else 0}" title="{escaped(title)}" style="background:{colour(value, largest)};'
        f'border-radius:3px;unicode-bidi:isolate">{visible(token)}</span>'
        for place, (token, value, title) in enumerate(zip(tokens, values, titles, strict=True))
    ]
    return f'{STYLE}<div class="caa-tokens" translate="no" style="{TEXT}">{"".join(spans)}</div>'


def colour(value: float, largest: float) -> str:
    """The CSS colour of a value, whose strength grows with |value| up to `largest`."""
    share = min(abs(value) / largest, 1) if largest else 0
    red, green, blue = POSITIVE if value > 0 else NEGATIVE
    return f"rgba({red},{green},{blue},{DARKEST * share:.3f})"


def aligned(found: Alignment) -> str:
    """A text coloured by its projection on a vector, and what the colours mean; the first token has no colour."""
    numbers = zip(found.projections, found.cosines, strict=True)
    titles = [f"{i}: projection {h:+.2f}, cosine {c:+.3f}" for i, (h, c) in enumerate(numbers)]
    text = coloured(found.tokens, [0.0, *found.projections[1:]], titles, found.largest)
    return scale(found.largest, f"projection h·v/‖v‖ at layer {found.layer}") + text


def scale(largest: float, unit: str) -> str:
    """What the colours of `coloured` stand for."""
    ends = [colour(end, 1) for end in (-1, 1)]
    middle = colour(0, 1)
    return (
        f'<div style="display:flex;gap:8px;align-items:center;flex-wrap:wrap"><span>{-largest:.3g}</span>'
        f'<span style="display:inline-block;width:120px;height:12px;border:1px solid rgba(136,136,136,0.5);'
        f'background:linear-gradient(to right,{ends[0]},{middle},{ends[1]})"></span>'
        f"<span>{largest:+.3g} {escaped(unit)}</span></div>"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """A table; texts are shown as code, numbers with four digits at the right."""
    first = rows[0] if rows else heads
    kinds = ["" if isinstance(cell, str) else ' class="number"' for cell in first]
    head = "".join(f"<th{kind}>{escaped(name)}</th>" for name, kind in zip(heads, kinds, strict=True))
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'{STYLE}<div tabindex="0" style="overflow-x:auto;contain:inline-size"><table class="caa-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def quoted(token: str) -> str:
    """A token by itself as plain text, with its spaces and line ends to be seen."""
    for sign, shown in SIGNS.items():
        token = token.replace(sign, shown[0])
    return UNSEEN.sub("\ufffd", token).replace(" ", "␣") or PART


def escaped(text: str) -> str:
    """Any text as HTML that shows it letter by letter."""
    return html.escape(UNSEEN.sub("\ufffd", text))


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f"<td><code>{escaped(value)}</code></td>"
    return f'<td class="number">{value:#.4g}</td>'
