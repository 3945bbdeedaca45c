"""A report's page: what was found at a glance, what there is, and then all of it; on a screen, a phone and paper."""

import re

from jinja2 import Environment

from caa_core.reports.page.scripts import NUMBERS, PAPER, TOKENS

# Characters of a paragraph, and rows of a table; what is longer is folded.
LONG, MANY = 160, 12
# Characters of a headline that is cut at its colon.
HEADLINE = 100
# A sentence ends here, unless it is but a word or two.
_END = re.compile(r"(?<=.{20}[.!?])\s+(?=\S)", re.DOTALL)

STYLE = """
:root { color-scheme: light dark; --line: rgba(136,136,136,.4); --with: #2585C2; --against: #E69F00; --none: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
body { overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .5rem; }
p { margin: .4rem 0; }
a { color: inherit; text-underline-offset: 3px; }
:focus-visible { outline: 2px solid var(--with); outline-offset: 2px; }
summary { cursor: pointer; width: fit-content; padding: 2px 0; }
nav { border-bottom: 1px solid var(--line); padding-bottom: .5rem; }
nav ol { columns: 2 18rem; margin: .3rem 0; padding-left: 2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
.cards { margin: 1.5rem 0; }
.card { border: 1px solid var(--line); border-left: 6px solid var(--none); border-radius: 6px; padding: .8rem 1rem; }
.card.with { border-left-color: var(--with); }
.card.against { border-left-color: var(--against); }
.card h2 { font-size: 1rem; font-weight: 400; }
.card p { font-size: 1.1rem; font-weight: 600; line-height: 1.35; }
.card dl { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; margin: .6rem 0 0; }
.card dt { font-size: 14px; }
.card dd { margin: 0; font-variant-numeric: tabular-nums; }
section { margin: 2.5rem 0; scroll-margin-top: 1rem; }
figure { margin: 1rem 0 0; }
figure.wide > div:first-child { overflow-x: auto; }
figure.wide > div:first-child > div { min-width: 640px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: .5rem 0; }
th, td { padding: 4px 10px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td { max-width: 34rem; min-width: 3rem; font-variant-numeric: tabular-nums; }
.words { white-space: pre-line; }
/* Letters of a figure are those of the page, light or dark; those on its colours are plotly's. */
.js-plotly-plot :is(.xtick, .ytick, .cbaxis) text { fill: currentColor !important; }
.js-plotly-plot :is([class$="title"], .legendtext, .annotation-text, .slider-label) { fill: currentColor !important; }
@media (max-width: 640px) { h1 { font-size: 1.4rem; } th, td { padding: 4px 8px; } td { max-width: 16rem; } }
@page { margin: 15mm; }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  * { print-color-adjust: exact; }
  figure, .card, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .table { overflow: visible; }
  table { font-size: 8pt; }
  td { overflow-wrap: anywhere; min-width: 0; }
  th { overflow-wrap: normal; }
  .modebar, details:not([open]) { display: none; }
}
"""

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}</title>
<style>{{ style | safe }}</style>
<script>{{ plotly | safe }}</script>
</head>
{% macro table(title, heads, rows) %}
<div class="table" tabindex="0" role="region" aria-label="{{ title }}, table">
<table>
{% if heads %}<tr>{% for head in heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr>{% endif %}
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
</div>
{% endmacro %}
{% macro prose(text) %}
{% set first, rest = parted(text) %}
{% if first %}<p class="words">{{ first }}</p>{% endif %}
{% if rest %}
<details class="prose"><summary>{{ "More" if first else "In words" }}</summary><p class="words">{{ rest }}</p></details>
{% endif %}
{% endmacro %}
{% set last = report.sections | length %}
<body>
<header>
<h1>{{ report.title }}</h1>
</header>
<nav aria-label="Contents">
<details{% if last <= many %} open{% endif %}>
<summary>Contents</summary>
<ol>
{% for section in report.sections %}<li><a href="#s{{ loop.index }}">{{ section.title }}</a></li>
{% endfor %}
<li><a href="#settings">Settings</a></li>
<li><a href="#provenance">Provenance</a></li>
</ol>
</details>
</nav>
<main>
{% if report.cards %}
<div class="cards">
{% for card in report.cards %}
<article class="card {{ card.tone }}">
<h2>{{ card.title }}</h2>
<p>{{ card.said }}</p>
<dl>{% for name, value in card.facts.items() %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
</article>
{% endfor %}
</div>
{% endif %}
{% for section in report.sections %}
<section id="s{{ loop.index }}">
<h2>{{ section.title }}</h2>
{% if section.text %}{{ prose(section.text) }}{% endif %}
{% if section.counterpart %}<p class="paper"><small>{{ section.counterpart }}</small></p>{% endif %}
{% if section.figure %}
<figure aria-label="{{ section.title }}"{% if is_wide(section.figure) %} class="wide"{% endif %}>
{{ drawn(section.figure) | safe }}
<details class="figure-numbers"><summary>Numbers of this figure</summary><div class="table"></div></details>
</figure>
{% endif %}
{% if section.rows | length > many %}
<details><summary>Table of {{ section.rows | length }} rows</summary>
{{ table(section.title, section.heads, section.rows) }}
</details>
{% elif section.rows %}
{{ table(section.title, section.heads, section.rows) }}
{% endif %}
{{ section.markup | safe }}
</section>
{% endfor %}
{% for name, fields in (("Settings", report.settings), ("Provenance", report.provenance)) %}
<section id="{{ name | lower }}">
<h2>{{ name }}</h2>
<details class="prose"><summary>{{ "With what it was made" if loop.first else "From what it was made" }}</summary>
{{ table(name, (), flat(fields)) }}
</details>
</section>
{% endfor %}
</main>
<script>{{ scripts | safe }}</script>
</body>
</html>
""")

# What does not depend on the report.
SAME = {"style": STYLE, "scripts": NUMBERS + TOKENS + PAPER, "many": MANY}


def parted(text: str) -> tuple[str, str]:
    """What is read of a text at once, and what is folded: all of a short one, of a long one its first sentence or
    line, unless that is long itself.
    """
    text = text.strip()
    if len(text) <= LONG and "\n" not in text:
        return text, ""
    line, _, more = text.partition("\n")
    first, *rest = _END.split(line, maxsplit=1)
    if len(first) > LONG:
        return "", text
    return first, "\n".join([*rest, more]).strip()


def headline(text: str) -> str:
    """What a text begins with: its first sentence, of a long one what stands before the colon."""
    first = _END.split(text.strip().partition("\n")[0], maxsplit=1)[0]
    said, colon, _ = first.partition(": ")
    return f"{said}." if colon and len(first) > HEADLINE and len(said) > 20 else first
