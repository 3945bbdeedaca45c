"""Which sentences there are in the code: read from its syntax, so that a catalogue can be held against them.

A sentence with values in it is a template, `Layer {layer} is not one of 0 to {last}.`; where a value is one of two
constants, there are two.
"""

import ast
import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from caa_core.app.opening.languages.pieces import each_line, has_words, sentences
from caa_core.data.presets import PRESETS

ROOT = Path(__file__).parents[4]
# Files all of whose text is translated: the page's own, and what the results of Steer, Compete and Learn say.
WHOLE = re.compile(
    r"^app\.py$|^caa_core/(progress|limits)\.py$|^caa_core/(contest|steering)/(?!self_report)|^caa_core/data/(lint|repair)\.py$|"
    r"^caa_core/app/(panels/|keys/|opening/(links|address|accessibility)|(sessions|studio|worker|library|holdings|made_from|"
    r"files|guards|traffic|forms)\.py)|^caa_core/reports/(contest|surface|thinking|tokens|vectors|written)\.py$|"
    r"^caa_core/metrics/(options|vector_requests|requests|grid|items|cross_fitting|estimates|stages|anti_steerability)\.py$|"
    r"^caa_core/measuring/(effect|requests|paper/request|costs/gauge)\.py$|"
    r"^caa_core/vectors/(vector|methods|spread|arithmetic)\.py$"
)
# Files whose errors only programs, the command line and notebooks are told.
FOR_PROGRAMS = re.compile(
    r"^caa_core/(__init__|__main__|api)\.py$|^caa_core/cli/|^caa_core/app/(programs|opening/languages)/"
)

# Not more ways to say one thing than this; beyond, what differs is a value.
MOST_WAYS = 12
# Calls whose arguments nobody reads on a page, and arguments of others that are none of the page's text.
_UNREAD = re.compile(
    r"^(re|log|logging|os|ast|shutil|signal|sys)\.|^(getattr|setattr|hasattr|Path|cast|TypeVar|find_spec|tell)$"
)
_UNREAD_METHODS = re.compile(
    r"\.(startswith|endswith|removeprefix|removesuffix|partition|split|encode|decode|open|write_text|get|register|"
    r"setdefault|pop|count)$"
)
_UNREAD_ARGUMENTS = re.compile(
    r"^(elem_id|elem_classes|js|js_on_load|css|storage_key|api_name|api_visibility|variant|size|encoding|metavar|help|"
    r"trigger_mode|show_progress|metadata|flag|off)$"
)
_SHOWN_ARGUMENTS = ("label", "info", "placeholder", "title", "unit")
# What is code, style or a name for programs.
_NO_WORDS = re.compile(
    r"=>|[;{]\s*\n|\{ [a-z-]+: |[a-z-]+:[^;{} ]+;[a-z-]+:|\bconst |"
    r"^\(\?|\\[wdbs]|^[\w.-]+[/_][\w./_-]*$|^https?://\S+$|:not\(|\w\(\.|-src |"
    r"^[A-Z][a-z]+([A-Z]\w*)+$|^[A-Z_0-9,-]+$|^[A-Z][a-z]+(-[A-Z][a-z]+)+$|[Aa]ttribute\(|^part\.|^rgba|^max\(|[\w-]+=\"|"
    r"^[\w/.-]*\{\w+\}[\w/.-]*$|\w:\{|\w\.\w+\(|\{\{$|text/html|^\.[a-z]|^caa-|^if \(|\?class=|:ab$|\w\(\{|^Allow$"
)
# A value in a text that is written later; not one of plotly's, which has its sign before it.
_LATER = re.compile(r"(?<![%{])\{(\w*)(?::[^{}]*)?\}(?!\})")
# Values before a sentence are sentences themselves.
_BEFORE = re.compile(r"^(?:\{\w+\}\s+)+(?=[A-Z][a-z]\S* \S|[DΔ] [=a-z])")
# Half of all syntax: names, and how they and operators are used.
_HOLD_NOTHING = (ast.Name, ast.expr_context, ast.operator, ast.cmpop)
Part = str | tuple[str]  # letters, or the name of a value
Way = list[Part]


def needed_and_known() -> tuple[set[str], set[str]]:
    """What a catalogue has to know, which is the texts of what is translated whole and all errors that a page can show;
    and all texts in the code and in what ships with it, whether or not they seem to be read by anybody.
    """
    needed, known = set[str](), set[str]()
    for file in _files():
        name, tree = str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8"))
        known |= templates(tree, all_of_them=True)
        if WHOLE.search(name):
            needed |= templates(tree)
        elif not FOR_PROGRAMS.search(name):
            needed |= {one for node in ast.walk(tree) if isinstance(node, ast.Raise) for one in templates(node)}
    shipped = {one for text in _data() for one in cut(text)}
    return needed | shipped, known | shipped


def _files() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / "caa_core").rglob("*.py"))]


def _data() -> Iterator[str]:
    """Texts of the presets' cards and of the lesson that ships."""
    for card in sorted(PRESETS.glob("*/card.json")):
        yield json.loads(card.read_text(encoding="utf-8"))["description"]
    lesson = json.loads((PRESETS / "lesson.json").read_text(encoding="utf-8"))
    for part in (lesson, *lesson["steps"]):
        yield from (text for name, text in part.items() if isinstance(text, str) and name not in ("format", "check"))
        yield from (*part.get("hints", ()), *(choice["text"] for choice in part.get("choices", ())))


def templates(tree: ast.AST, all_of_them: bool = False) -> set[str]:
    """Each sentence in some code as a template. all_of_them: also those that nobody seems to read."""
    return {template for text in _below(tree, False, all_of_them) for template in cut(text)}


def cut(text: str) -> list[str]:
    """The sentences of a text, or of a template, as they are looked for in a catalogue."""
    found: list[str] = []

    def note(piece: str) -> str:
        whole = (_BEFORE.sub("", one.strip()) for one in sentences(piece))
        found.extend(one for one in whole if has_words(_literal(one)))
        return piece

    each_line(text, note)
    return found


def _literal(template: str) -> str:
    return re.sub(r"%\{\{[^{}]*\}\}|\{\w*\}", "", template)


def _below(node: ast.AST, is_shown: bool, all_of_them: bool) -> Iterator[str]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # what explains the code
    if isinstance(node, ast.expr) and (ways := _ways(node)) is not None:
        texts = map(_template, ways)
        yield from (text for text in texts if all_of_them or _is_read(text, is_shown))
        for value in _values(node):
            yield from _below(value, False, all_of_them)
        return
    words = isinstance(node, ast.Dict) and _explains(node)
    for name, child in ast.iter_fields(node):
        for one in child if isinstance(child, list) else [child]:
            if not isinstance(one, ast.AST) or isinstance(one, _HOLD_NOTHING):
                continue
            if isinstance(one, ast.keyword):
                if all_of_them or not _UNREAD_ARGUMENTS.search(one.arg or ""):
                    yield from _below(one.value, one.arg in _SHOWN_ARGUMENTS, all_of_them)
            elif all_of_them or not _is_skipped(node, name):
                yield from _below(one, words and name == "keys", all_of_them)


def _explains(node: ast.Dict) -> bool:
    """Whether it says something in a sentence of each of its keys."""
    values = [value.value for value in node.values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    return len(values) == len(node.values) > 2 and all(value.endswith(".") and " " in value for value in values)


def _is_skipped(node: ast.AST, name: str) -> bool:
    if name in ("annotation", "returns", "decorator_list", "slice"):
        return True
    if isinstance(node, ast.Call) and name in ("args", "keywords"):
        called = ast.unparse(node.func)
        return bool(_UNREAD.search(called) or _UNREAD_METHODS.search(called))
    return isinstance(node, ast.Compare)


def _ways(node: ast.expr) -> list[Way] | None:
    """The ways in which an expression can read; None where it is no text."""
    if isinstance(node, ast.Constant):
        return [[node.value]] if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = [_part(value) for value in node.values]
        while _count(parts) > MOST_WAYS:
            longest = max(range(len(parts)), key=lambda i: len(parts[i]))
            value = node.values[longest]
            parts[longest] = [[(_name(value.value) if isinstance(value, ast.FormattedValue) else "value",)]]
        return [[part for way in ways for part in way] for ways in product(*parts)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _ways(node.left), _ways(node.right)
        if left is None and right is None:
            return None
        left, right = left or [[(_name(node.left),)]], right or [[(_name(node.right),)]]
        return [[*a, *b] for a, b in product(left, right)]
    return None


def _count(parts: list[list[Way]]) -> int:
    count = 1
    for ways in parts:
        count *= len(ways)
    return count


def _part(value: ast.expr) -> list[Way]:
    if isinstance(value, ast.Constant):
        return [[str(value.value)]]
    assert isinstance(value, ast.FormattedValue)
    return _choices(value.value) or [[(_name(value.value),)]]


def _choices(node: ast.expr) -> list[Way]:
    """The constants that a condition chooses among; none where it is no such condition."""
    if not isinstance(node, ast.IfExp):
        return []
    found: list[Way] = []
    for branch in (node.body, node.orelse):
        ways = _choices(branch) or _ways(branch)
        if not ways:
            return []
        found += ways
    return found


def _values(node: ast.expr) -> Iterator[ast.expr]:
    """Expressions within a text that are not letters of it."""
    if isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _values(part.value) if _choices(part.value) else [part.value]
    elif isinstance(node, ast.IfExp):
        yield from (*_values(node.body), *_values(node.orelse))
    elif isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield from _values(side) if _ways(side) else [side]


def _name(node: ast.expr) -> str:
    """What a value is called in a template."""
    match node:
        case ast.Name():
            return node.id.strip("_")
        case ast.Attribute():
            return node.attr.strip("_")
        case ast.Call(
            func=ast.Name(id="len" | "plain" | "visible" | "quoted" | "whole" | "str" | "_text" | "repr" as called),
            args=[first, *_],
        ):
            return f"{called}_{_name(first)}" if called == "len" else _name(first)
        case ast.Call(func=func):
            return _name(func)
        case ast.Subscript(value=value):
            return _name(value)
        case ast.BinOp(left=left):
            return _name(left)
        case ast.BoolOp(values=[first, *_]):
            return _name(first)
    return "value"


def _template(way: Way) -> str:
    names: dict[str, int] = {}

    def value(name: str) -> str:
        names[name] = names.get(name, 0) + 1
        return "{" + name + (str(names[name]) if names[name] > 1 else "") + "}"

    def letters(text: str) -> str:
        parts = _LATER.split(text)
        fixed = [part.replace("{", "{{").replace("}", "}}") for part in parts[::2]]
        later = [value(name or "value") for name in parts[1::2]]
        return "".join(one for both in zip(fixed, [*later, ""], strict=True) for one in both)

    return "".join(letters(part) if isinstance(part, str) else value(part[0]) for part in way)


def _is_read(text: str, is_shown: bool) -> bool:
    literal = _literal(text).strip()
    if not has_words(literal) or _NO_WORDS.search(text):
        return False
    return is_shown or " " in literal or ("{" in text and len(literal) > 2) or bool(re.match(r"[A-Z][a-z]", literal))
