"""The lesson as a notebook: it says what the lesson says, and its cells run, on the tiny model."""

import json

import pytest

from caa_core.app.panels.learn.lesson import built_in, lesson_of
from presets.build_notebook import INSTALL, NOTEBOOK, PARAMETERS, RUNS, badge, notebook, written

ADDRESS = "https://github.com/you/caa-studio"
# In place of what it is set to.
SMALL = 'MODEL, DTYPE = {model!r}, "float32"\nITEMS = 8\nNEW_TOKENS, THOUGHT_TOKENS = 12, 8'


def code(data):
    return ["".join(cell["source"]) for cell in data["cells"] if cell["cell_type"] == "code"]


def test_it_is_the_lesson_that_ships():
    assert NOTEBOOK.read_text(encoding="utf-8") == written(notebook())
    said = "".join("".join(cell["source"]) for cell in notebook()["cells"])
    for step in built_in().steps:
        texts = (step.title, step.text, step.question, step.conclude, step.beyond, *(one.text for one in step.choices))
        assert all(text in said for text in texts), step.title
    # A lesson that changes makes another one.
    data = json.loads(json.dumps(built_in().data).replace("How was your day?", "What is new?"))
    assert 'caa.inspect(model, "What is new?"' in "".join(code(notebook(lesson=lesson_of(data))))


def test_its_cells_run_and_say_what_came_out_of_each_step(tiny_folder, capsys):
    known, ran = {}, 0
    for cell in code(notebook()):
        if cell == PARAMETERS:
            cell = SMALL.format(model=tiny_folder)
        if cell.startswith("ready("):
            with pytest.raises(AssertionError, match="Predict first"):
                exec(cell, known)
            ran += 1
            known["predictions"][ran] = ran % 2
            capsys.readouterr()
            exec(cell, known)
            step, said = built_in().steps[ran - 1], capsys.readouterr().out
            assert f"You predicted: {step.choices[ran % 2].text}" in said
            came = said.partition("What came out: ")[2].splitlines()
            assert came[0] in step.how.outcomes.values() and came[1], said
        else:
            exec(cell, known)
    assert ran == 8 == len(RUNS)


def test_from_a_public_clone_it_is_installed_and_opened_in_colab():
    data = notebook(ADDRESS)
    opens = "https://colab.research.google.com/github/you/caa-studio/blob/main/docs/lesson.ipynb"
    assert badge(f"{ADDRESS}.git") == badge(ADDRESS) and f"({opens})" in "".join(data["cells"][0]["source"])
    assert code(data)[0] == INSTALL.format(source=f'"git+{ADDRESS}"')
    assert "colab" not in written(notebook()).replace("On Colab", "")
