"""The public functions: what is exported, the examples in the docstrings, and how a long one is watched and stopped."""

import doctest
import math
import shutil
import subprocess
import sys

import pytest

import caa_core as caa
from caa_core import api
from caa_core.progress import Progress, finish
from tests.helpers.models import make_tiny
from tests.helpers.places import ROOT
from tests.helpers.sizes import FULL

pytestmark = pytest.mark.long

# Whose examples say something of the embedded model.
OF_WORDS = ("load", "extract", "steer")
LONG = ("extract", "compare", "steer", "gate", "inspect", "strength", "evaluate", "estimate", "compete", "think")


def test_every_name_that_is_exported_is_there():
    assert caa.__all__ == sorted(caa.__all__) and set(caa.__all__) < set(dir(caa))
    for name in caa.__all__:
        assert getattr(caa, name).__module__.startswith("caa_core.")
    with pytest.raises(AttributeError, match="no attribute 'vector_of_joy'"):
        caa.vector_of_joy  # noqa: B018


def test_torch_is_not_loaded_before_a_name_that_needs_it():
    code = "import sys; import caa_core as caa; dir(caa); caa.InputError; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_public_function_has_an_example():
    functions = [name for name in caa.__all__ if getattr(api, name, None) and not isinstance(getattr(caa, name), type)]
    assert set(LONG) < set(functions)
    assert [name for name in functions if ">>> " not in getattr(caa, name).__doc__] == []


def test_the_examples_are_true(embedded, tmp_path):
    """In float32, each function's lines in order: on the embedded model where they say something of it, else on a
    random one that is as deep.
    """
    deep = embedded if FULL else make_tiny("llama", num_hidden_layers=embedded.num_layers)
    known = {"caa": caa, "folder": tmp_path}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name in caa.__all__:
        if getattr(api, name, None) and name not in ("SteerableModel", "SteeringVector"):
            found = getattr(api, name)
            model = embedded if name in OF_WORDS else deep
            runner.run(doctest.DocTestParser().get_doctest(found.__doc__, {**known, "model": model}, name, None, 0))
    assert runner.summarize().failed == 0 and runner.summarize().attempted > len(LONG)


def test_a_long_function_is_watched_and_its_generator_does_the_same():
    model, seen = make_tiny("llama"), []
    pairs = caa.pairs("joy").first(3)
    vector = caa.extract(model, pairs, layers=[1, 2], progress=seen.append)
    assert seen and all(isinstance(event, Progress) for event in seen)
    again = finish(caa.extract.steps(model, pairs, layers=[1, 2]))
    assert (again.at(2) == vector.at(2)).all() and list(vector.layers) == [1, 2]
    work = caa.extract.steps(model, pairs)
    next(work)
    work.close()  # stopped between two steps


def test_vectors_are_given_as_such_by_file_and_by_name(tmp_path):
    model = make_tiny("llama")
    vector = caa.extract(model, caa.pairs("joy").first(3), layers=[2], name="mine")
    caa.write_vector(vector, tmp_path / "mine.safetensors")
    settings = {"max_new_tokens": 6, "positions": "all"}
    one = caa.steer(model, "Rain?", [(vector, 2, 3.0)], **settings)
    assert one == caa.steer(model, "Rain?", [(tmp_path / "mine.safetensors", 2, 3.0)], **settings)
    assert one.steered.ids != one.unsteered.ids
    with pytest.raises(caa.InputError, match="no layer 7"):
        caa.steer(model, "Rain?", [(vector, 7, 1.0)])
    # A gate is given so, too: always open, and always shut.
    gated = [
        caa.steer(model, "Rain?", [(vector, 2, 3.0)], gate=(vector, 2, way * math.inf), **settings) for way in (-1, 1)
    ]
    assert [found.steered for found in gated] == [one.steered, one.unsteered]


def test_it_is_installed_with_its_presets_and_a_command(tmp_path):
    """From a copy, since building writes beside the sources."""
    for name in ("caa_core", "presets"):
        shutil.copytree(ROOT / name, tmp_path / "from" / name)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / "from" / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", tmp_path / "to", tmp_path / "from"], check=True)
    command = [sys.executable, tmp_path / "to" / "bin" / "caa", "lint", "joy"]
    environment = {"PYTHONPATH": str(tmp_path / "to"), "PATH": ""}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert "43 pairs, 43 usable" in said
