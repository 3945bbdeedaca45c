"""Recipes: how a vector was made, written, read, and followed."""

import json
from dataclasses import replace

import pytest
import torch

from caa_core.cli.main import main
from caa_core.data.pairs import write_pairs
from caa_core.data.presets import find_pairs
from caa_core.errors import InputError
from caa_core.vectors.formats import write_vector
from caa_core.vectors.recipe import Recipe
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector

PAPERS = Provenance("tiny", "f", 4, "pca", "last", "mine", "a" * 64, 5, pairs_sha256="b" * 64)


def vector(**papers):
    return SteeringVector("mine", {1: torch.ones(4), 2: torch.arange(4.0)}, {}, replace(PAPERS, **papers))


@pytest.fixture
def caa(capsys, tiny_folder):
    """Call it for the exit status of a command, and for what it says."""

    def caa(*arguments):
        status = main([*map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out if status == 0 else said.err

    return caa


def test_a_recipe_is_read_as_it_was_written(tmp_path):
    notes = write_vector(vector(), tmp_path / "mine.json")
    assert Recipe.read(tmp_path / "mine.json") == Recipe.of(vector()) and "`caa run`" in notes[0]
    assert json.loads((tmp_path / "mine.json").read_text())["format_version"] == 1


@pytest.mark.parametrize("papers", [{"operations": "2 * mine"}, {"method": ""}, {"pairs_sha256": ""}])
def test_what_does_not_say_how_it_was_made_has_no_recipe(papers):
    with pytest.raises(InputError, match=r"^mine .* so it has no recipe: give its file along\.$"):
        Recipe.of(vector(**papers))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("[" * 100_000, "is no recipe of a vector"),
        (" " * 300_000, "is no recipe of a vector"),
        ({"format": "else"}, "is no recipe of a vector"),
        ({"format_version": 2}, "has format version 2; 1 is read"),
        ({"pairs_sha256": "<b>"}, "with a field that is missing or cannot be read"),
        ({"norms": {"1": float("nan")}}, "with a field that is missing or cannot be read"),
        ({"norms": {}}, "with a field that is missing or cannot be read"),
        ({"norms": {"-1": 1.0}}, "with a field that is missing or cannot be read"),
        ({"num_pairs": float("inf")}, "with a field that is missing or cannot be read"),
        ({"method": ["pca"]}, "with a field that is missing or cannot be read"),
    ],
)
def test_a_file_that_is_no_recipe_is_said(tmp_path, changes, said):
    path = tmp_path / "mine.json"
    write_vector(vector(), path)
    path.write_text(changes if isinstance(changes, str) else json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=said):
        Recipe.read(path)


@pytest.mark.parametrize(
    "options", [[], ["--limit", 5], ["--limit", 5, "--seed", 3, "--method", "pca"], ["--letter-swap", "--read", "last"]]
)
def test_a_presets_vector_is_made_again_number_by_number(caa, tiny_folder, tmp_path, options):
    model = ["--model", tiny_folder, "--dtype", "float32"]
    data = "joy:ab" if "--letter-swap" in options else "joy"
    made, recipe, again = (tmp_path / name for name in ("mine.safetensors", "mine.json", "again.safetensors"))
    assert caa("extract", *model, "--data", data, "--layers", "1-2", "--out", made, *options)[0] == 0
    assert caa("convert", made, recipe)[0] == 0
    status, said = caa("run", recipe, *model, "--out", again)
    assert status == 0 and "It is the recipe's vector, number by number." in said
    assert load_vector(again).metadata() == load_vector(made).metadata()


def test_a_file_of_pairs_is_asked_for_and_known_again(caa, tiny_folder, tmp_path):
    model = ["--model", tiny_folder, "--dtype", "float32"]
    write_pairs(find_pairs("joy").first(6), tmp_path / "mine.json")
    write_pairs(find_pairs("gloom").first(6), tmp_path / "others.json")
    made, recipe, again = (tmp_path / name for name in ("mine.gguf", "recipe.json", "again.safetensors"))
    data, out = ["--data", tmp_path / "mine.json"], ["--out", again]
    assert caa("extract", *model, *data, "--layers", "2", "--limit", 4, "--out", made)[0] == 0
    assert caa("convert", made, recipe)[0] == 0
    assert caa("run", recipe, *model, *out) == (
        2,
        "The recipe's pairs (mine) are no preset's: give their file with --data.\n",
    )
    status, said = caa("run", recipe, *model, *out, "--data", tmp_path / "others.json")
    assert status == 2 and said.startswith("The 6 pairs of others are not those that the recipe's vector was made from")
    assert (
        caa("run", recipe, *out, *data)[1] == "The recipe's model, tiny, is none of the list: name it with --model.\n"
    )
    # The file says its numbers too, which another precision does not give to the last bit.
    status, said = caa("run", recipe, "--model", tiny_folder, "--dtype", "bfloat16", *out, *data)
    assert status == 0 and "Its norms are those of the recipe's vector" in said
    status, said = caa("run", recipe, *model, *out, *data)
    assert status == 0 and "It is the recipe's vector, number by number." in said
