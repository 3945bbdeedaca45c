"""Make docs/lesson.ipynb out of the lesson that ships: the same eight steps in a program.

    python -m presets.build_notebook [ADDRESS]

ADDRESS is that of a public clone, such as https://github.com/you/caa-studio: from there the notebook installs the
package, and its badge opens it in Colab. Texts and settings are those of presets/lesson.json; what a step runs stands
here.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from caa_core.app.panels.learn.lesson import RECOMMENDED, Lesson, Step, built_in
from caa_core.data.presets import PRESETS

NOTEBOOK = PRESETS.parent / "docs" / "lesson.ipynb"
HUB = "https://github.com/"
BESIDE = ".."
INSTALL = """# On Colab, or wherever the package is not there yet.
import importlib.util
import subprocess
import sys

SOURCE = {source}
if not importlib.util.find_spec("caa_core"):
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", SOURCE], check=True)"""
# The cell that a test, or somebody in a hurry, replaces.
PARAMETERS = """MODEL, DTYPE = "smollm2-135m", ""
ITEMS = None  # of the held-out ones: how many, None for all
NEW_TOKENS, THOUGHT_TOKENS = 80, 32"""
BEGIN = '''import caa_core as caa
from caa_core.app.panels.learn.lesson import built_in

model, lesson = caa.load(MODEL, dtype=DTYPE), built_in()
predictions = {}


def at(name):
    """The layer and the multiplier that are recommended for a preset on this model."""
    preset = caa.presets()[name]
    return (preset.layer, preset.multiplier) if preset.model == model.name else (model.num_layers * 2 // 5, 1.0)


def ready(step):
    """Predict first: nothing is run before."""
    assert predictions.get(step) is not None, "Predict first: write the number of your choice in the cell above."


def told(step, run):
    """What was predicted beside what came out, read as the page reads it."""
    asked = lesson.steps[step - 1]
    found = asked.how.reading(run)
    print("You predicted:", asked.choices[predictions[step]].text)
    print("What came out:", asked.how.outcomes.get(found.outcome, "nothing that can be told"))
    print(found.said)'''
RUNS = {
    "lens": """views = caa.inspect(model, {text}, ({vector}, *at({vector})))
for layer, token in enumerate(views.lens.tokens[0]):
    print(layer, repr(token))
run = views.summary()""",
    "one-pair": """compared = caa.compare(model, "joy")
run = compared.pack()""",
    "mean-or-one": """run = compared.pack()""",
    "answers": """answers = caa.steer(model, {question}, [({vector}, *at({vector}))], max_new_tokens=NEW_TOKENS)
print("UNSTEERED:", answers.unsteered.text)
print("STEERED:", answers.steered.text)
run = {{"exchanges": [{{"answers": [answers.unsteered.text, answers.steered.text]}}]}}""",
    "price": """items = caa.test_pairs({preset}).first(ITEMS)
measured = caa.evaluate(model, {vector}, items, layers={layers}, multipliers={multipliers})
run = {{"found": measured.summary()}}""",
    "verdict": """items = caa.test_pairs({preset} + ":ab").first(ITEMS)
measured = caa.evaluate(model, {vector}, items, layers=[at({vector})[0]], multipliers={multipliers})
run = {{"found": measured.summary()}}""",
    "contest": """layer = at({vector_a})[0]
voices = ({vector_a}, layer, {multiplier_a}), ({vector_b}, layer, {multiplier_b})
run = caa.compete(model, *voices, caa.contest_pairs({contest}).first(ITEMS))
print(run["verdict"])""",
    "thinking": """layer = at({vector_a})[0]
voices = ({vector_a}, layer, {multiplier_a}), ({vector_b}, layer, {multiplier_b})
run = caa.think(model, *voices, {contest}, prompts={prompts}, thoughts={thoughts}, tokens=THOUGHT_TOKENS)""",
}


def notebook(address: str = "", lesson: Lesson | None = None) -> dict[str, Any]:
    """The notebook as plain data. address: of a public clone; without one it lies beside the package."""
    lesson = lesson or built_in()
    cells = [*_begin(lesson, address)]
    for number, step in enumerate(lesson.steps, 1):
        cells += _step(number, step)
    return {
        "cells": [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def badge(address: str) -> str:
    """What opens the notebook of a public clone in Colab, as Markdown."""
    place = address.removeprefix(HUB).removesuffix(".git").strip("/")
    opens = f"https://colab.research.google.com/github/{place}/blob/main/docs/{NOTEBOOK.name}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({opens})"


def written(data: Mapping[str, Any]) -> str:
    """As it stands in its file."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _begin(lesson: Lesson, address: str) -> Iterator[dict[str, Any]]:
    head = [f"# {lesson.title}", lesson.about]
    yield _text("\n\n".join([*([badge(address)] if address else []), *head]))
    yield _code(INSTALL.format(source=f'"git+{address}"' if address else f'"{BESIDE}"  # this notebook lies in docs'))
    yield {**_code(PARAMETERS), "metadata": {"tags": ["parameters"]}}
    yield _code(BEGIN)


def _step(number: int, step: Step) -> Iterator[dict[str, Any]]:
    choices = "\n".join(f"- {choice}: {one.text}" for choice, one in enumerate(step.choices))
    hint = f"<details><summary>Hint</summary>\n\n{step.hints[0]}\n\n</details>"
    yield _text(f"## {number}. {step.title}\n\n{step.text}\n\n**{step.question}**\n\n{choices}\n\n{hint}")
    numbers = ", ".join(map(str, range(len(step.choices) - 1)))
    yield _code(f"predictions[{number}] = None  # your prediction: {numbers} or {len(step.choices) - 1}")
    settings = {name: _literal(value) for name, value in step.settings.items()}
    yield _code(f"ready({number})\n{RUNS[step.check].format_map(settings)}\ntold({number}, run)")
    yield _text(f"**You may conclude:** {step.conclude}\n\n**You may not:** {step.beyond}")


def _literal(value: Any) -> str:
    """A setting as code; layers and multipliers that are recommended are found where it runs."""
    return json.dumps(value, ensure_ascii=False) if value != RECOMMENDED else "None"


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines}


if __name__ == "__main__":
    NOTEBOOK.write_text(written(notebook("".join(sys.argv[1:2]))), encoding="utf-8")
