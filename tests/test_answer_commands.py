import json

from caa_core.cli import main


def test_open_questions_on_the_command_line(tmp_path, capsys):
    """The embedded model: two questions, unsteered and with joy, read by held-out answers."""
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
