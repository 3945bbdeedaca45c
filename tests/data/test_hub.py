import json

import pytest

from caa_core.data.hub import MAX_ROWS, find_hub_dataset, hub_table, read_hub_dataset
from caa_core.data.pairs import pairs_of
from caa_core.errors import InputError

CONFIGS = """---
configs:
- config_name: plain
  data_files: plain.jsonl
- config_name: large
  data_files: large.jsonl
---
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset as it lies on the hub, in a folder."""
    path = tmp_path_factory.mktemp("dataset")
    (path / "README.md").write_text(CONFIGS)
    for config, count in (("plain", 3), ("large", MAX_ROWS + 1)):
        rows = [
            {"question": f"{i}?", "chosen": "a", "rejected": "b", "n": i, "turns": [{"a": 1}]} for i in range(count)
        ]
        (path / f"{config}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_the_text_columns_of_a_dataset(folder):
    table = hub_table(folder, "owner/name", "plain", "train")
    assert table.name == "owner/name:plain@train"
    assert table.records[2] == (3, {"question": "2?", "chosen": "a", "rejected": "b"})
    dataset = pairs_of(table)
    assert dataset.kind.startswith("dataset of the hub with question as prompt, chosen as positive")
    assert (dataset.name, dataset.sha256) == (table.name, hub_table(folder, "x", "plain", "train").sha256)


def test_no_more_than_so_many_rows_are_taken_and_it_is_said(folder):
    table = hub_table(folder, "owner/name", "large", "train")
    assert len(table.records) == MAX_ROWS
    assert table.format == "dataset of the hub, its first 20,000 rows,"


@pytest.mark.parametrize(
    ("config", "split", "message"),
    [
        (None, "train", "choose one of the available configs: .'plain', 'large'."),
        ("other", "train", "choose one of the available: .'plain', 'large'."),
        ("plain", "test", "choose one of the available splits: .'train'."),
    ],
)
def test_what_there_is_instead_is_listed(folder, config, split, message):
    with pytest.raises(InputError, match=f"The dataset 'owner/name' cannot be read: {message}"):
        hub_table(folder, "owner/name", config, split)


def test_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(InputError, match="The dataset 'owner/name' cannot be read") as caught:
        hub_table(str(tmp_path), "owner/name", None, "train")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("words", ["", "a b", "../up", "/etc", "a/b/c", "a\n/b", "x" * 300])
def test_what_is_no_id(words):
    with pytest.raises(InputError, match="is no id of a dataset; give one such as owner/name"):
        find_hub_dataset(f"hub:{words}:config@split")


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch, waits):
    """At a port where nobody listens."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="The dataset 'owner/name' cannot be read: the hub cannot be reached"):
        find_hub_dataset("hub:owner/name")
    assert waits == []


def test_a_public_app_fetches_nothing(monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    with pytest.raises(InputError, match="fetches nothing that is typed"):
        read_hub_dataset("owner/name")


def test_other_data_are_not_of_the_hub():
    assert find_hub_dataset("hub.json") is None and find_hub_dataset("joy") is None
