import json
import zipfile

import pytest

from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.paper.behaviours import (
    PAIRS_FILE,
    TEST_FILE,
    Behaviour,
    behaviours_of_files,
    check_behaviours,
    find_behaviours,
    find_instructions,
)
from tests.helpers.bounds import STEPS, bounded


def question(text, matching="(A)", other="(B)"):
    return {
        "question": f"{text}\n\nChoices:\n (A) Yes\n (B) No",
        "answer_matching_behavior": matching,
        "answer_not_matching_behavior": other,
    }


PAIRS = [
    question(f"{word}?", *letters) for word, letters in zip("abcd", [("(A)", "(B)"), ("(B)", "(A)")] * 2, strict=True)
]
TEST = [
    question(f"{word}?", *letters) for word, letters in zip("efgh", [("(B)", "(A)"), ("(A)", "(B)")] * 2, strict=True)
]


@pytest.fixture
def folder(tmp_path):
    """Two behaviours as the CAA repository lays them out."""
    for name in ("agreeing", "waiting"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / PAIRS_FILE).write_text(json.dumps(PAIRS))
        (tmp_path / "data" / name / TEST_FILE).write_text(json.dumps(TEST))
    return tmp_path / "data"


def test_a_folder_of_behaviours_and_one_of_them(folder):
    found = find_behaviours([str(folder)])
    assert [one.name for one in found] == ["agreeing", "waiting"]
    assert (len(found[0].pairs.pairs), len(found[0].test.pairs), found[0].instructions) == (4, 4, None)
    assert [one.name for one in find_behaviours([str(folder / "waiting")])] == ["waiting"]


def test_of_one_file_half_of_the_prompts_are_held_out(tmp_path):
    """With all pairs of a prompt on one side, wherever they stand, and as many of each answer on both."""
    path = tmp_path / "waiting.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (*PAIRS, PAIRS[0])))
    (found,) = find_behaviours([str(path)])
    assert (found.name, found.test.name) == ("waiting", "waiting (half of the prompts, held out)")
    sides = [{pair.prompt: pair.positive for pair in half.pairs} for half in (found.pairs, found.test)]
    assert len(found.pairs.pairs) + len(found.test.pairs) == 5 and not sides[0].keys() & sides[1].keys()
    assert [sorted(side.values()) for side in sides] == [["(A)", "(B)"]] * 2
    path.write_text((json.dumps(PAIRS[0]) + "\n") * 2)
    with pytest.raises(InputError, match=r"too few prompts \(1\) to hold out"):
        find_behaviours([str(path)])


def test_instructions_come_with_the_data_or_ship_with_the_project(folder):
    told = {"positive": "Agree.", "negative": "Disagree."}
    (folder / "agreeing" / "instructions.json").write_text(json.dumps(told))
    assert vars(find_behaviours([str(folder)])[0].instructions) == told
    (folder / "agreeing").rename(folder / "sycophancy")
    (folder / "sycophancy" / "instructions.json").unlink()
    assert find_behaviours([str(folder)])[0].instructions == find_instructions("sycophancy") is not None
    assert all(find_instructions(name) and find_instructions(f"{name}:ab") for name in presets())


@pytest.mark.parametrize("text", ["{", "[]", '{"positive": "x"}', '{"positive": "x", "negative": 3}', '"x"'])
def test_instructions_that_cannot_be_read_are_said(folder, text):
    (folder / "waiting" / "instructions.json").write_text(text)
    with pytest.raises(InputError, match=r"waiting/instructions\.json"):
        find_behaviours([str(folder)])


def test_presets_and_samples():
    (joy,) = find_behaviours(["joy:ab"])
    assert joy.pairs.is_lettered and joy.test.is_lettered
    few = joy.sample(5, 4, seed=1)
    assert (len(few.pairs.pairs), len(few.test.pairs)) == (5, 4)
    assert "5 drawn with seed 1" in few.pairs.name and "the first 4" in joy.sample(5, 4).test.kind


def test_what_has_no_common_scale_is_refused(folder):
    with pytest.raises(InputError, match="no common scale"):
        find_behaviours(["joy", "gloom:ab"])
    with pytest.raises(InputError, match="Two behaviours are called joy"):
        find_behaviours(["joy", "joy"])
    with pytest.raises(InputError, match="between 1 and"):
        check_behaviours([])


def test_what_is_missing_is_said(folder, tmp_path):
    with pytest.raises(InputError, match="neither a preset, nor a file of pairs, nor a folder"):
        find_behaviours([str(tmp_path / "nothing")])
    (folder / "waiting" / TEST_FILE).unlink()
    with pytest.raises(InputError, match="waiting has no test_dataset_ab"):
        find_behaviours([str(folder)])


def test_uploaded_files_go_by_their_names(tmp_path):
    for name, rows in (("kind.json", PAIRS), ("kind_test.json", TEST), ("alone.json", PAIRS)):
        (tmp_path / name).write_text(json.dumps(rows))
    (found,) = behaviours_of_files([tmp_path / "kind_test.json", tmp_path / "kind.json"])
    assert (found.name, found.test.pairs[0].prompt) == ("kind", TEST[0]["question"])
    with pytest.raises(InputError, match=r"add alone_test\.json"):
        behaviours_of_files([tmp_path / "alone.json"])


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in entries.items():
            packed.writestr(name, text)
    return path


def test_a_zip_of_folders(tmp_path):
    files = {PAIRS_FILE: json.dumps(PAIRS), TEST_FILE: json.dumps(TEST), "readme.md": "x"}
    entries = {f"CAA/datasets/kind/{name}": text for name, text in files.items()}
    (found,) = behaviours_of_files([zipped(tmp_path / "b.zip", entries)])
    assert isinstance(found, Behaviour) and found.name == "kind"


@pytest.mark.parametrize(
    "entries",
    [{}, {"readme.md": "x"}, {f"../{PAIRS_FILE}": "[]"}, {f"a/../../{PAIRS_FILE}": "[]"}, {f"kind/{TEST_FILE}": "[]"}],
)
def test_a_zip_that_holds_no_behaviour(tmp_path, entries):
    with pytest.raises(InputError, match="holds no folder"):
        behaviours_of_files([zipped(tmp_path / "b.zip", entries)])
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]


def test_a_zip_and_files_are_bounded_in_all(tmp_path, monkeypatch):
    """However well what they hold is packed."""
    monkeypatch.setattr("caa_core.measuring.paper.behaviours.MOST_UNPACKED", 50_000)
    entries = {f"{name}/{file}": " " * 9_000 for name in "abc" for file in (PAIRS_FILE, TEST_FILE)}
    with pytest.raises(InputError, match=r"with c/test_dataset_ab\.json it is more"):
        behaviours_of_files([zipped(tmp_path / "b.zip", entries)])
    with pytest.raises(InputError, match="These are 61 files; 60 can be taken at most"):
        behaviours_of_files([tmp_path / f"{number}.json" for number in range(61)])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({f"{n}": "" for n in range(30_000)}, "more than 20,000 files"),
        ({f"{n}/a/{PAIRS_FILE}": "" for n in range(15_000)}, "30 behaviours at most"),
        (
            {
                f"a/{PAIRS_FILE}": json.dumps(PAIRS),
                f"a/{TEST_FILE}": json.dumps(TEST),
                "a/instructions.json": "[[]," * 1_000_000,
            },
            "too long",
        ),
    ],
    ids=["files", "behaviours", "instructions"],
)
def test_a_zip_of_much_is_little_work(tmp_path, entries, message):
    path = zipped(tmp_path / "b.zip", entries)
    with bounded(STEPS / 2), pytest.raises(InputError, match=message):
        behaviours_of_files([path])


def test_no_zip_at_all(tmp_path):
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04" + b"\0" * 90)
    with pytest.raises(InputError, match="not a zip file"):
        behaviours_of_files([tmp_path / "b.zip"])


def test_three_wordings_ask_for_each_behaviour_that_is_known(folder):
    joy, questions = find_behaviours(["joy"])[0], find_behaviours(["joy:ab"])[0]
    assert joy.wordings == questions.wordings == presets()["joy"].wordings
    (folder / "sycophancy").mkdir(exist_ok=True)
    for name in ("generate_dataset.json", "test_dataset_ab.json"):
        (folder / "sycophancy" / name).write_bytes((folder / "agreeing" / name).read_bytes())
    found = {one.name: one.wordings for one in find_behaviours([str(folder)])}
    assert len(set(found["sycophancy"])) == 3 and found["sycophancy"][0] == find_instructions("sycophancy").positive
    assert found["agreeing"] == ()
    told = {"positive": "Agree.", "negative": "Disagree."}
    (folder / "sycophancy" / "instructions.json").write_text(json.dumps(told))
    assert {one.name: one.wordings for one in find_behaviours([str(folder)])}["sycophancy"] == ("Agree.",)
