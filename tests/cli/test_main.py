import importlib
import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from caa_core.cli.main import COMMANDS, main
from caa_core.data.pairs import read_pairs, write_pairs
from caa_core.data.presets import find_pairs, find_test_pairs, presets
from caa_core.measuring.evaluation import estimate_only, evaluate
from caa_core.measuring.paper.behaviours import find_behaviours
from caa_core.measuring.paper.experiments import replicate
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.requests import EvaluationRequest
from caa_core.model.loading import load
from caa_core.model.prompts import render
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import side_by_side
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.vectors.extraction import extract
from caa_core.vectors.formats import read_vector
from caa_core.vectors.spread import spread
from caa_core.vectors.vector import Provenance, SteeringVector, load_vector
from tests.helpers.models import save_tiny
from tests.helpers.places import ROOT


@pytest.fixture
def folder(tiny_folder):
    return tiny_folder


def run(capsys, *arguments):
    """Exit status, standard output and standard error of one command."""
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_extract_writes_the_same_vector_as_the_function(folder, capsys, tmp_path):
    out = tmp_path / "joy.safetensors"
    status, printed, progress = run(
        capsys,
        "extract",
        "--model",
        folder,
        "--dtype",
        "float32",
        "--data",
        "joy",
        "--out",
        out,
        "--layers",
        "1-2",
        "--limit",
        5,
        "--estimate",
        "joy",
        "--json",
    )
    assert status == 0
    assert "5 of 5 pairs" in progress
    summary = json.loads(printed)
    assert (summary["num_pairs"], [row["layer"] for row in summary["layers"]]) == (5, [1, 2])
    expected = finish(extract(load(folder, "float32"), presets()["joy"].dataset().first(5), [1, 2]))
    written = load_vector(out)
    assert torch.equal(written.at(2), expected.at(2))
    # Beside what its pairs say, what it would do to items that it was not made from.
    request = EvaluationRequest.parse(data=presets()["joy"].test(), made_from=presets()["joy"].dataset().first(5))
    estimated = finish(estimate_only(load(folder, "float32"), request, written))
    for one, other in zip(estimated.layers, summary["estimate"]["layers"], strict=True):
        assert [one.value, *one.random] == pytest.approx([other["value"], *other["random"]], abs=1e-5)
    assert written.provenance == expected.provenance
    assert summary["layers"][0]["norm"] == pytest.approx(expected.norm(1))


def test_steer_answers_as_the_function_does(folder, capsys, tmp_path):
    out = tmp_path / "v.safetensors"
    run(capsys, "extract", "--model", folder, "--dtype", "float32", "--data", "joy", "--out", out, "--limit", 5)
    status, printed, _ = run(
        capsys,
        "steer",
        "--model",
        folder,
        "--dtype",
        "float32",
        "--prompt",
        "How are you?",
        "--system",
        "Be kind.",
        "--steer",
        f"{out}:2:3",
        "--steer",
        "gloom:1-2:-1.5",
        "--positions",
        "generated",
        "--operation",
        "keep-norm",
        "--shares",
        "norm",
        "--max-new-tokens",
        9,
        "--json",
    )
    assert status == 0
    model, keep_norm = load(folder, "float32"), Operation("keep-norm")
    gloom = finish(extract(model, presets()["gloom"].dataset(), [1, 2]))
    steers = (Steer(load_vector(out).at(2), 2, 3.0, keep_norm), *spread(gloom, [1, 2], -1.5, keep_norm, "norm"))
    prompt = render(model.tokenizer, [{"role": "user", "content": "How are you?"}], "Be kind.")
    expected = finish(side_by_side(model, prompt, steers, Positions("generated"), Decoding(9)))
    assert json.loads(printed) == expected.summary()
    assert expected.summary()["unsteered"] != expected.summary()["steered"]


def test_steer_is_as_strong_as_a_cost_allows(folder, capsys, few_plain_answers):
    asked = ["steer", "--model", folder, "--dtype", "float32", "--prompt", "x", "--max-new-tokens", 9, "--json"]
    first, second = "joy:2:1", "gloom:1:-0.5"
    status, printed, _ = run(capsys, *asked, "--steer", first, "--steer", second, "--cost", "0.2")
    found = json.loads(printed)
    assert status == 0 and abs(found["strength"]["kl"] - 0.2) <= 0.01
    one, other = (float(spec.rpartition(":")[2]) for spec in found["steer"])
    assert one == found["strength"]["factor"] and other == pytest.approx(-one / 2, rel=1e-3)
    plainly = [word for spec in found["steer"] for word in ("--steer", spec)]
    assert json.loads(run(capsys, *asked, *plainly)[1]).items() < found.items()


def test_steer_answers_at_several_strengths_and_says_how_far_it_points_along(folder, capsys):
    asked = ["steer", "--model", folder, "--dtype", "float32", "--prompt", "x", "--max-new-tokens", 9, "--json"]
    status, printed, _ = run(capsys, *asked, "--steer", "joy:2:2", "--factors=0,1,-1", "--projections")
    found = json.loads(printed)
    by_factor = {one["factor"]: one["text"] for one in found["by_factor"]}
    assert status == 0 and by_factor == {
        -1.0: json.loads(run(capsys, *asked, "--steer", "joy:2:-2")[1])["steered"],
        0.0: found["unsteered"],
        1.0: found["steered"],
    }
    (read,) = found["projections"]
    assert "".join(read["tokens"]) == found["steered"] and len(read["projections"]) == len(read["tokens"])


def test_cost_has_a_word_for_each_multiplier(folder, capsys):
    asked = ["cost", "--model", folder, "--vector", "joy", "--layer", 1, "--gauge", "joy", "--multipliers=-1,0.01"]
    status, printed, _ = run(capsys, *asked, "--json")
    assert status == 0 and [one["word"] for one in json.loads(printed)["gauge"]["doses"]][1] == "light"


def test_lint_says_what_a_file_is(capsys, tmp_path, folder):
    status, printed, _ = run(capsys, "lint", "joy", "--json")
    assert status == 0
    report = json.loads(printed)
    assert report["pairs"] == report["usable"] >= 40 and report["findings"] == []
    (tmp_path / "open.json").write_text('[{"question": "Why?"}]')
    status, printed, _ = run(capsys, "lint", tmp_path / "open.json")
    assert status == 0 and "open questions" in printed
    # Nothing fits into a context of ten tokens.
    tight = save_tiny(tmp_path / "tight", max_position_embeddings=10)
    status, printed, _ = run(capsys, "lint", "joy", "--model", tight, "--json")
    assert json.loads(printed)["usable"] == 0


def test_lint_mends_and_says_so(capsys, tmp_path, folder):
    question = "Number {}?\n\nChoices:\n (A) Yes\n (B) No"
    rows = [[question.format(i), "(A)", "(B)"] for i in (0, 1, 2, 3, 3)]
    (tmp_path / "mine.csv").write_text(
        "input;chosen;rejected\n" + "\n".join(";".join(f'"{cell}"' for cell in row) for row in rows)
    )
    common = ("lint", tmp_path / "mine.csv", "--model", folder, "--mend", "drop, swap", "--out", tmp_path / "out.json")
    status, printed, _ = run(capsys, *common, "--json")
    assert status == 0
    report = json.loads(printed)
    assert {"format", "pairs", "usable", "letters", "more_than_two_options", "duplicates", "findings"} < report.keys()
    assert report["format"].endswith("input as prompt, chosen as positive, rejected as negative")
    assert list(report["letter_tokens"].values()) == [5]
    assert report["mended"] == {
        "name": "mine (1 dropped, 2 swapped)",
        "pairs": 4,
        "file": str(tmp_path / "out.json"),
    }
    assert [pair.positive for pair in find_pairs(tmp_path / "out.json").pairs].count("(A)") == 2
    # The other way round, with columns that were chosen.
    status, printed, _ = run(capsys, *common, "--columns", "input,rejected,chosen")
    assert "input as prompt, rejected as positive" in printed and "the letter is the second of them" in printed
    assert {pair.options[pair.positive[1]] for pair in find_pairs(tmp_path / "out.json").pairs} == {"No"}


def test_extract_from_chosen_columns_and_made_questions(folder, capsys, tmp_path):
    (tmp_path / "mine.tsv").write_text("a\tb\tc\nOne?\tYes!\tNo!\nTwo?\tSure.\tNever.\n")
    common = ["extract", "--model", folder, "--out", tmp_path / "v.safetensors", "--layers", 1, "--data"]
    assert run(capsys, *common, tmp_path / "mine.tsv", "--columns", "a,b,c")[0] == 0
    status, _, said = run(capsys, *common, "joy:ab", "--limit", 4)
    assert status == 0 and "A/B questions" in said
    vector = load_vector(tmp_path / "v.safetensors")
    assert vector.provenance.dataset == "joy (A/B questions)" and vector.provenance.read_position == "letter"


def test_both_letter_orders_leave_the_letter_out(folder, capsys, tmp_path):
    """Four questions with the matching answer at A: as given the vector means A, in both orders it is balanced."""
    questions = [f"Question {i}?\n\nChoices:\n (A) Yes, {i}\n (B) No, {i}" for i in range(4)]
    answers = {"answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(B)"}
    (tmp_path / "ab.json").write_text(json.dumps([{"question": q, **answers} for q in questions]))
    common = ["extract", "--model", folder, "--dtype", "float32", "--data", tmp_path / "ab.json"]
    for out, more in (("plain.safetensors", []), ("both.safetensors", ["--letter-swap"])):
        assert run(capsys, *common, "--out", tmp_path / out, *more)[0] == 0
    plain, both = (load_vector(tmp_path / f"{name}.safetensors") for name in ("plain", "both"))
    assert (plain.provenance.num_pairs, both.provenance.num_pairs) == (4, 4)
    assert "both letter orders" in both.provenance.dataset
    assert both.norm(0) < plain.norm(0) / 5


def test_models_lists_the_catalogue(capsys):
    status, printed, _ = run(capsys, "models", "--json")
    assert status == 0
    listed = {entry["key"]: entry for entry in json.loads(printed)}
    assert [key for key, entry in listed.items() if entry["embedded"]] == ["smollm2-135m"]
    larger = listed["qwen2.5-coder-1.5b"]
    assert larger["good_for"] == "A/B questions and free text" and larger["licence"] == "Apache-2.0"
    assert larger["sources"] == ["the hub", "packages"] and larger["size_gb"] == 3.55


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "--data", "nowhere.json", "--out", "x.safetensors"], "nowhere.json cannot be read"),
        (["extract", "--data", "joy", "--out", "/nowhere/at/all/x"], "cannot be written"),
        (["extract", "--data", "joy", "--out", "x", "--layers", "99"], "There is no layer 99"),
        (["extract", "--data", "joy", "--out", "x", "--limit", "1"], "too few"),
        (["extract", "--data", "joy:c", "--out", "x"], "There is no 'joy:c'"),
        (["extract", "--data", "hub:no id", "--out", "x"], "'no id' is no id of a dataset"),
        (["extract", "--data", "joy", "--out", "x", "--columns", "a"], "give PROMPT,POSITIVE,NEGATIVE"),
        (["lint", "joy", "--columns", "a,b,c"], "joy has no column 'a'; it has prompt, positive, negative"),
        (["lint", "joy", "--mend", "drop"], "--mend and --out go together"),
        (["lint", "joy", "--mend", "all", "--out", "x"], "There is no remedy 'all'"),
        (["steer", "--prompt", "", "--steer", "joy:1:1"], "The prompt is empty"),
        (["extract", "--data", "joy", "--out", "x.onnx"], "x.onnx has no ending that is known"),
        (["steer", "--prompt", "x", "--steer", "joy:1:inf"], "not FILE:LAYER:MULTIPLIER"),
        (["steer", "--prompt", "x", "--steer", "joy"], "not FILE:LAYER:MULTIPLIER"),
        (["steer", "--prompt", "x", "--steer", "joy:44:1"], "no layer 44"),
        (["steer", "--prompt", "x", "--steer", "nothing.safetensors:1:1"], "There is no file nothing.safetensors"),
        (["steer", "--prompt", "x", "--steer", "joy:1:1", "--positions", "first"], "no steered positions"),
        (["steer", "--prompt", "x", "--steer", "joy:1:1", "--cost", "-1"], "A cost must be between"),
        (["steer", "--prompt", "x", "--steer", "joy:1:1", "--model", "no model"], "There is no model"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(folder, capsys, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in arguments else ["--model", folder]
    status, printed, said = run(capsys, *arguments, *model)
    assert status == 2 and printed == ""
    assert message in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["v.gguf", "v.zip", "v"])
def test_vectors_in_other_formats_are_made_and_used(folder, capsys, tmp_path, name):
    out, model = tmp_path / name, ["--model", folder, "--dtype", "float32"]
    made = run(capsys, "extract", *model, "--data", "joy", "--out", out, "--layers", "0-2", "--limit", 5, "--json")
    assert made[0] == 0
    notes = json.loads(made[1])["notes"]
    assert any("llama.cpp adds it at every position" in note or ".pt files keep" in note for note in notes)
    expected = finish(extract(load(folder, "float32"), presets()["joy"].dataset().first(5), [0, 1, 2]))
    again = read_vector(out)
    assert all(torch.equal(again.at(layer), expected.at(layer)) for layer in (1, 2))
    assert run(capsys, "steer", *model, "--prompt", "x", "--steer", f"{out}:2:1", "--max-new-tokens", 2)[0] == 0


def test_convert_between_all_formats(capsys, tmp_path):
    vector = SteeringVector("mine", {1: torch.randn(4), 2: torch.randn(4)}, {}, Provenance("tiny"))
    vector.save(tmp_path / "0.safetensors")
    chain = ["0.safetensors", "1.gguf", "2.zip", "3", "4.gguf", "5.safetensors"]
    for source, target in pairwise(chain):
        status, printed, _ = run(capsys, "convert", tmp_path / source, tmp_path / target, "--json")
        assert status == 0
        assert json.loads(printed)["file"] == str(tmp_path / target)
    again = load_vector(tmp_path / "5.safetensors")
    assert all(torch.equal(again.at(layer), vector.at(layer)) for layer in (1, 2))
    assert again.provenance.model == "tiny"
    status, printed, _ = run(capsys, "convert", tmp_path / "3", tmp_path / "6.gguf")
    assert status == 0 and "layers 1 to 2, hidden size 4" in printed and "at every position" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "gone.gguf", "out.zip"], "There is no file gone.gguf"),
        (["convert", "v.safetensors", "nowhere/out.zip"], "out.zip cannot be written"),
        (["convert", "v.safetensors", "out.onnx"], "out.onnx has no ending that is known"),
        (["convert", "v.safetensors", "out.gguf"], "only layer 0"),
        (["convert", "text.gguf", "out.zip"], "text.gguf is not a steering vector"),
        (["push", "gone.gguf", "me/joy"], "There is no file gone.gguf"),
        (["push", "v.safetensors", "me/joy"], "open to strangers"),
        (["pull", "me/joy", "out.gguf"], "open to strangers"),
        (["pull", "me/joy", "out.onnx"], "out.onnx has no ending that is known"),
        (["cost", "--vector", "v.safetensors", "--layer", "0", "--gauge", "joy", "--spread", "0-1"], "at one layer"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_model_is_loaded(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAA_PUBLIC", "1")
    SteeringVector("x", {0: torch.ones(4)}, {}, Provenance()).save(tmp_path / "v.safetensors")
    (tmp_path / "text.gguf").write_text("no vector at all")
    status, printed, said = run(capsys, *arguments)
    assert (status, printed) == (2, "") and message in said and said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.gguf", "v.safetensors"]


def test_a_vector_of_another_model_is_refused(folder, capsys, tmp_path):
    out = tmp_path / "v.safetensors"
    wide = save_tiny(tmp_path / "wide", hidden_size=48)
    run(capsys, "extract", "--model", wide, "--data", "joy", "--out", out, "--limit", 3)
    status, _, said = run(capsys, "steer", "--model", folder, "--prompt", "x", "--steer", f"{out}:1:1")
    assert status == 2
    assert "hidden size 48" in said and "belongs to another model" in said


def test_a_vector_of_other_weights_is_used_with_a_note(folder, capsys, tmp_path):
    out = tmp_path / "v.safetensors"
    other = save_tiny(tmp_path / "other", seed=1)
    run(capsys, "extract", "--model", other, "--data", "joy", "--out", out, "--limit", 3)
    status, _, said = run(capsys, "steer", "--model", folder, "--prompt", "x", "--steer", f"{out}:1:1")
    assert status == 0 and "made on other, of the same architecture, whose weights differ" in said


def test_as_a_program(tmp_path):
    """`python -m caa_core` from the shell: status and streams."""
    command = [sys.executable, "-m", "caa_core"]
    good = subprocess.run([*command, "models"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert good.returncode == 0 and "smollm2-135m" in good.stdout and good.stderr == ""
    bad = subprocess.run(
        [*command, "lint", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert bad.returncode == 2 and bad.stdout == "" and bad.stderr.count("\n") == 1


def test_help_and_a_slip_of_the_pen_take_no_torch():
    code = """
import contextlib, sys
from caa_core.cli.main import COMMANDS, main
for command in COMMANDS:
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
slips = ["evaluate --data joy --vector joy --multipliers two", "steer --prompt x --steer joy:1:1 --positions nowhere",
         "extract --data joy --out x --method magic", "study --data joy --test joy --layer 1 --reads nowhere"]
assert [main(slip.split()) for slip in slips] == [2] * 4
assert not {"torch", "transformers", "sklearn", "scipy", "gradio"} & {*sys.modules}
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.count("usage: ") == len(COMMANDS) and said.stderr.count("\n") == 4


@pytest.fixture
def anew():
    """Of this project and of gradio nothing was imported yet; later there is what was before, and nothing else."""

    def taken_out():
        ours = [name for name in sys.modules if name.partition(".")[0] in ("caa_core", "gradio")]
        return {name: sys.modules.pop(name) for name in ours}

    before = taken_out()
    yield
    taken_out()
    sys.modules.update(before)


def test_the_core_works_without_gradio(anew, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("nnsight._c.unmount", None)  # what can be taken out once was taken out before
    for room in ("cli.main", "app.studio", "reports.style"):
        importlib.import_module(f"caa_core.{room}")
    with pytest.raises(ImportError, match="gradio"):
        importlib.import_module("caa_core.app.panels.page")


CELL = {"layer", "multiplier", "probability", "low", "high", "swapped", "swapped_low", "swapped_high", "matching"}
CELL |= {"not_matching", "neither", "skipped", "answer_mass", "kl"}


def test_evaluate_says_what_the_function_says(folder, capsys, tmp_path):
    vector, data, out = tmp_path / "v.safetensors", tmp_path / "items.json", tmp_path / "cells.json"
    questions = find_test_pairs("joy:ab")
    write_pairs(replace(questions, pairs=questions.pairs[:4]), data)
    on_tiny = ["--model", folder, "--dtype", "float32"]
    run(capsys, "extract", *on_tiny, "--data", "joy", "--out", vector, "--limit", 5)
    arguments = ["evaluate", *on_tiny, "--data", data, "--vector", vector, "--layers", "1-2", "--multipliers=-1,0,2"]
    status, printed, progress = run(capsys, *arguments, "--out", out, "--json")
    assert status == 0
    assert "6 of 6 cells" in progress
    found = json.loads(printed)
    assert json.loads(out.read_text()) == found
    assert set(found["unsteered"]) >= CELL and all(set(cell) >= CELL for cell in found["cells"])
    assert [(cell["layer"], cell["multiplier"]) for cell in found["cells"]] == [
        (layer, multiplier) for layer in (1, 2) for multiplier in (-1, 0, 2)
    ]
    model = load(folder, "float32")
    request = EvaluationRequest.parse(data=read_pairs(data), layers=[1, 2], multipliers=[-1, 0, 2], prompts=True)
    work = evaluate(model, request, load_vector(vector))
    assert found == json.loads(json.dumps(finish(work).summary()))
    assert found["verdict"]["controls"] == 999 and "4 prompts are too few" in found["verdict"]["text"]
    assert found["best"]["layer"] in (1, 2) and found["safe_multiplier"] is None
    assert [one["told"] for one in found["verdict"]["told"]["wordings"]] == [*presets()["joy"].wordings]


def test_estimates_alone_are_those_of_the_whole(folder, capsys, tmp_path):
    out = tmp_path / "estimates.csv"
    arguments = ["evaluate", "--model", folder, "--dtype", "float32", "--data", "joy", "--limit", 4, "--vector", "joy"]
    status, printed, progress = run(capsys, *arguments, "--layers", "1-2", "--estimate", "--json", "--out", out)
    assert status == 0 and "cells" not in progress
    found = json.loads(printed)
    assert [one["layer"] for one in found["layers"]] == [1, 2] and found["settings"]["controls"] == 999
    assert len(out.read_text().splitlines()) == 3
    whole = json.loads(run(capsys, *arguments, "--layers", "1-2", "--multipliers", "1", "--json")[1])
    for one, other in zip(whole["estimate"]["layers"], found["layers"], strict=True):
        assert [one["value"], *one["shuffled"]] == pytest.approx([other["value"], *other["shuffled"]], abs=1e-5)
    assert "First order: the slope at multiplier 0." in found["text"]


def test_evaluate_takes_presets_and_says_what_it_left_out(folder, capsys, tmp_path):
    out = tmp_path / "cells.csv"
    arguments = ["evaluate", "--model", folder, "--data", "joy", "--vector", "joy", "--layers", 2, "--out", out]
    status, printed, _ = run(capsys, *arguments, "--multipliers", "1", "--no-controls", "--positions", "all")
    assert status == 0
    assert printed.startswith("joy (held out): 18 items, 0 skipped")
    assert "random vectors" not in printed
    assert len(out.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--multipliers", "two"], "are not multipliers"),
        (["--positions", "nowhere"], "no steered positions"),
        (["--layers", "99"], "no layer 99"),
        (["--control-seeds", "0"], "between 1 and"),
        (["--control-seeds", "20"], "fewer than 999 of a kind decide nothing"),
        (["--out", "cells.xlsx"], "should end in"),
        (["--cue", "x" * 300], "at most 200"),
        (["--vector", "nothing.safetensors"], "nothing.safetensors"),
        (["--data", "nothing.json"], "nothing.json"),
    ],
)
def test_evaluate_names_bad_input_in_a_sentence(folder, capsys, arguments, message):
    given = ["evaluate", "--model", folder, "--data", "joy", "--vector", "joy", *arguments]
    status, printed, said = run(capsys, *given)
    assert (status, printed) == (2, "")
    assert message in said and "Traceback" not in said


def test_behaviours_are_measured_reported_and_gone_on_with(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("CAA_CACHE", str(tmp_path / "cache"))
    outs = [tmp_path / f"r.{ending}" for ending in ("html", "json", "csv")]
    asked = ["behaviours", "joy:ab", "gloom:ab", "--model", folder, "--dtype", "float32", "--limit", 4, "--items", 4]
    asked += ["--seed", 1, "--letter-swap", "--control-seeds", 2, "--json"]
    asked += [part for out in outs for part in ("--out", out)]
    status, printed, said = run(capsys, *asked)
    found = json.loads(printed)
    assert status == 0 and [one["name"] for one in found["behaviours"]] == ["joy:ab", "gloom:ab"]
    assert "joy:ab: measured" in said and "4 drawn with seed 1" in found["behaviours"][0]["pairs"]
    assert json.loads(outs[1].read_text()) == found and "joy:ab: effect by layer" in outs[0].read_text()
    model = load(folder, "float32")
    behaviours = find_behaviours(["gloom:ab"])
    settings = PaperRequest(letter_swap=True, controls=2, pairs=4, items=4, seed=1)
    expected = finish(replicate(model, behaviours, settings)).summary()
    assert found["behaviours"][1]["curve"] == expected["behaviours"][0]["curve"]
    again = json.loads(run(capsys, *asked)[1])
    assert [one["seconds"] for one in again["behaviours"]] == [one["seconds"] for one in found["behaviours"]]


def test_evaluate_writes_an_html_report(folder, capsys, tmp_path):
    out = tmp_path / "r.html"
    asked = ["evaluate", "--model", folder, "--data", "joy", "--vector", "joy", "--layers", 2, "--multipliers=-1,1"]
    assert run(capsys, *asked, "--no-controls", "--told", "Answer gladly.", "--out", out)[0] == 0
    text = out.read_text()
    assert text.count("Plotly.newPlot(") >= 3 and "transformers" in text and "joy (held out)" in text
    assert "<h2>Beside system prompts</h2>" in text and "told “Answer gladly.”, and the vector" in text
