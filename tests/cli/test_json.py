"""Every command's JSON is JSON: whatever was measured, and where the model's numbers are none."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from caa_core.cli.main import COMMANDS, main
from tests.helpers.models import save_tiny

PAIR = {"prompt": "What is rain?", "positive": "Joy, joy!", "negative": "Water."}
ONE = "What is rain?\n\nChoices:\n (A) Joy\n (B) Water"
QUESTION = {"question": ONE, "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}
OPEN = {"prompt": "How are you?"}
# What asks a hub that is not there.
ELSEWHERE = {"push", "pull"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, one whose every probability is NaN, a vector of it, and data of two pairs and of a single item."""
    place = tmp_path_factory.mktemp("json")
    broken = save_tiny(place / "broken")
    tensors = load_file(save_tiny(place / "sound") / "model.safetensors")
    tensors["lm_head.weight"].fill_(torch.nan)
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    for name, records in {
        "pairs": [PAIR, {**PAIR, "prompt": "What is snow?"}],
        "questions": [QUESTION] * 2,  # one prompt, twice: the fewest that is data
        "contest": [{"prompt": "What is rain?", "a": "Joy!", "b": "Water."}] * 2,
        "open": [OPEN],
    }.items():
        (place / f"{name}.json").write_text(json.dumps(records))
    extract = ["extract", "--model", place / "sound", "--data", place / "pairs.json", "--out", place / "v.safetensors"]
    assert main([str(word) for word in extract]) == 0
    assert main(["convert", str(place / "v.safetensors"), str(place / "recipe.json")]) == 0
    return place


# Of each command, what it is asked; {sound} is the model, and what stands in braces lies in its folder.
ASKED = {
    "models": "",
    "lint": "{pairs.json}",
    "extract": "--data {pairs.json} --out {made.safetensors}",
    "run": "{recipe.json} --data {pairs.json} --out {again.safetensors}",
    "compare": "--data joy --limit 4 --layers 1",
    "steer": "--prompt x --steer {v.safetensors}:1:1 --max-new-tokens 2",
    "gate": "--vector {v.safetensors} --data joy --layer 1",
    "evaluate": "--data {questions.json} --vector {v.safetensors} --layers 1 --multipliers=0,1",
    "behaviours": "joy:ab --limit 4 --items 2 --layers 1 --multipliers=-1,1 --control-seeds 2",
    "compete": "--data {contest.json} --a joy:1:1 --b gloom:2:-1 --surface --multipliers=0,1 --cot --prompts 1 "
    "--samples 1 --thought-tokens 2 --written --questions {open.json} --tokens x",
    "study": "--data joy --limit 4 --test {questions.json} --layer 1 --control-seeds 2 --positions all",
    "cost": "--vector {v.safetensors} --layer 1 --data {questions.json} --control-seeds 2",
    "open": "--vector {v.safetensors} --questions {open.json} --layer 1 --multipliers=0,1 --max-new-tokens 2",
    "convert": "{v.safetensors} {v.gguf}",
}


def strict(text):
    return json.loads(text, parse_constant=pytest.fail)


@pytest.fixture(autouse=True)
def kept_elsewhere(place, monkeypatch):
    monkeypatch.setenv("CAA_CACHE", str(place / "cache"))


def ask(capsys, place, command, model):
    words = ASKED[command].split()
    words = [str(place / word[1:].replace("}", "")) if word.startswith("{") else word for word in words]
    loads = [] if command in ("models", "lint", "convert") else ["--model", str(place / model), "--dtype", "float32"]
    out = place / f"{command}-{model}.json"
    writes = (
        []
        if command in ("models", "lint", "extract", "run", "steer", "gate", "convert", "compare", "cost")
        else ["--out", str(out)]
    )
    status = main([command, *words, *loads, *writes, "--json"])
    said = capsys.readouterr()
    if out.exists():
        strict(out.read_text())
    return status, said.out, said.err


def test_every_command_is_tried():
    assert set(ASKED) | ELSEWHERE == set(COMMANDS)


@pytest.mark.parametrize("command", ASKED)
def test_of_the_fewest_that_can_be_asked(capsys, place, command):
    status, printed, said = ask(capsys, place, command, "sound")
    assert status == 0 and strict(printed), said


@pytest.mark.parametrize("command", [command for command in ASKED if command not in ("models", "lint", "convert")])
def test_of_a_model_whose_numbers_are_none(capsys, place, command):
    """It is JSON, or a sentence that says what is wrong."""
    status, printed, said = ask(capsys, place, command, "broken")
    assert strict(printed) if status == 0 else (status == 2 and not printed and said.strip()), said


@pytest.mark.parametrize("command", ["extract", "evaluate", "compete", "study", "open"])
def test_of_nothing_there_is_a_sentence(capsys, place, command, monkeypatch):
    monkeypatch.setitem(ASKED, command, re.sub(r"\{\w+\.json\}", "{empty.json}", ASKED[command]))
    (place / "empty.json").write_text("[]")
    status, printed, said = ask(capsys, place, command, "sound")
    assert status == 2 and not printed and said.strip()
