"""A report as one HTML file that opens offline: what was found in words, figures and tables, settings, provenance.

Everything that comes in is escaped by the template, and by plotly in its figures, whose script lies in the file once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment
from plotly.offline import get_plotlyjs

from caa_core.errors import InputError

# A toolbar with "download as SVG", and the same letters on a light screen as on a dark one.
CONFIG = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"format": "svg"}}
PACKAGES = ("torch", "transformers", "nnsight")
TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 14px; }
th, td { padding: 4px 10px; border-bottom: 1px solid rgba(136,136,136,.4); text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
section { margin: 2.5rem 0; }
.said { white-space: pre-line; }
.paper { opacity: .7; }
</style>
<script>{{ script | safe }}</script>
</head>
<body>
<h1>{{ title }}</h1>
{% macro table(heads, rows) %}
<table>
{% if heads %}<tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>{% endif %}
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endmacro %}
{% for part in parts %}
<section>
<h2>{{ part.title }}</h2>
{% if part.paper %}<p class="paper">{{ part.paper }}</p>{% endif %}
{% if part.text %}<p class="said">{{ part.text }}</p>{% endif %}
{% if part.figure %}{{ drawn(part.figure) | safe }}{% endif %}
{% if part.rows %}{{ table(part.heads, part.rows) }}{% endif %}
{{ part.markup | safe }}
</section>
{% endfor %}
<section><h2>Settings</h2>{{ table((), settings.items()) }}</section>
<section><h2>Provenance</h2>{{ table((), provenance.items()) }}</section>
</body>
</html>
""")


@dataclass(frozen=True)
class Section:
    """A section. paper: which figure or table of a paper it is the counterpart of, where it is one. markup: HTML of
    `markup`, in which everything is escaped already.
    """

    title: str
    text: str = ""
    paper: str = ""
    figure: go.Figure | None = None
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    markup: str = ""


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on."""
    return {package: version(package) for package in PACKAGES}


def write_html(
    path: Path, title: str, parts: Sequence[Section], settings: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """Write a report.

    Raises:
        InputError: it cannot be written.
    """
    text = TEMPLATE.render(
        title=title,
        parts=parts,
        settings=_flat(settings),
        provenance=_flat(provenance),
        drawn=lambda figure: figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG),
        script=get_plotlyjs(),
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written: {error.strerror}.") from error


def _flat(fields: Mapping[str, Any]) -> dict[str, str]:
    """Settings as they are shown in a table."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        for name, value in fields.items()
    }
