import json

from caa_core.cli.main import main
from caa_core.data.presets import presets
from caa_core.model.catalog import DEFAULT_MODEL


def test_open_questions_on_the_command_line(embedded, monkeypatch, tmp_path, capsys):
    """The embedded model, whose weights are read already: two questions, unsteered and with joy, read by held-out
    answers.
    """
    monkeypatch.setattr("caa_core.model.loading.load", lambda spec, *_: {DEFAULT_MODEL: embedded}[spec])
    out = tmp_path / "open.csv"
    asked = ["open", "--vector", "joy", "--multipliers=2", "--limit", "2", "--max-new-tokens", "16", "--json"]
    assert main([*asked, "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [level["multiplier"] for level in found["levels"]] == [0, 2] and found["settings"]["layer"] == 12
    assert [level["kl"] > 0 for level in found["levels"]] == [False, True]
    assert found["reading"]["aucs"]["A"]["value"] >= 0.8 and found["reading"]["trusted"]
    assert len(found["answers"]) == 4 == len(out.read_text().splitlines()) - 1
    reading = [level["reading"]["value"] for level in found["levels"]]
    assert reading[1] > reading[0], "joy is heard more where it is added"


def test_which_voice_written_answers_follow_on_the_command_line(tiny_folder, tmp_path, capsys):
    """A random model: two questions, answered unsteered, under either voice, and under both; read and reported."""
    data, questions, out = tmp_path / "two.json", tmp_path / "q.json", tmp_path / "contest.html"
    data.write_text(json.dumps(json.loads((presets()["joy"].folder / "contest.json").read_text())[:2]))
    asked = ["compete", "--model", tiny_folder, "--a", "joy:2:2", "--b", "gloom:2:2"]
    asked += ["--data", str(data), "--no-controls", "--written", "--questions", str(questions), "--json"]
    questions.write_text(json.dumps(["How was your day?"]))
    assert main([*asked, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "q.json is a list of texts" in said and '{"question": ...}' in said and "scored" not in said, (
        "nothing is measured before the questions are read"
    )
    questions.write_text(json.dumps([{"question": "How was your day?"}, {"question": "What is rain like?"}]))
    assert main([*asked, "--samples", "3", "--seed", "3", "--tokens", "<b>Who?</b>", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    read = told["token_by_token"]
    assert len(set(read["answers"].values())) == 4 and list(read["answers"]) == ["unsteered", "A", "B", "both"]
    assert "".join(read["tokens"]).split() == read["answers"]["both"].replace("\n", "⏎").split()
    assert [(track["name"], len(track["values"])) for track in read["tracks"]] == [
        (name, len(read["tokens"])) for name in ("joy", "gloom")
    ]
    found = told["written"]
    assert found["questions"] == 2 and found["samples"] == 3 and found["settings"]["seed"] == 3
    assert [voice["layer"] for voice in found["settings"]["heard_along"]] == [2, 2]
    assert list(found["arms"]) == ["unsteered", "A", "B", "both"]
    assert all(len(arm["answers"]) == 6 for arm in found["arms"].values())
    assert found["reading"]["trusted"] == (min(auc["value"] for auc in found["reading"]["aucs"].values()) >= 0.8)
    page = out.read_text()
    assert "Which voice written answers follow" in page and "What is rain like?" in page
    assert "Token by token" in page and "<b>Who?</b>" not in page


def test_bad_questions_are_said(tmp_path, capsys):
    file = tmp_path / "q.json"
    file.write_text(json.dumps([{"text": "Why?"}]))
    for asked, said in (
        (["--vector", "mine.safetensors"], "Give the layer"),
        (["--vector", "mine.safetensors", "--layer", "2"], "Give open questions"),
        (["--vector", "joy", "--questions", str(file)], "has the fields text"),
        (["--vector", "joy", "--multipliers=much"], "are not multipliers"),
        (["--vector", "joy", "--out", str(tmp_path / "a.txt")], "should end in"),
    ):
        assert main(["open", *asked]) == 2
        assert said in capsys.readouterr().err
