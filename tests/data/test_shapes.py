"""JSON in the shapes that tools write: read where it is certain, and else named; parts are never put together."""

import json

import pytest

from caa_core.data.pairs import read_pairs
from caa_core.errors import InputError

NAMES = ["prompt", "positive", "negative"]
CELLS = [["One?", "Good!", "Bad."], ["Two?", "Glad!", "Sad."], ["Three?", "Yay!", "Nay."]]
ROWS = [dict(zip(NAMES, cells, strict=True)) for cells in CELLS]
COLUMNS = {name: [row[name] for row in ROWS] for name in NAMES}


def numbered(items):
    return {str(i): item for i, item in enumerate(items)}


SHAPES = {
    "records": ROWS,
    "columns": {name: numbered(column) for name, column in COLUMNS.items()},
    "columns of lists": COLUMNS,
    "columns and scores": {**COLUMNS, "score": [1, 2, 3], "about": "May"},
    "index": numbered(ROWS),
    "split": {"columns": NAMES, "index": [0, 1, 2], "data": CELLS},
    "table": {"schema": {"fields": [{"name": "prompt"}]}, "data": ROWS},
    "rows under names": [NAMES, *CELLS],
    "wrapped": {"data": ROWS},
    "wrapped twice": {"data": {"pairs": ROWS}},
    "wrapped columns": {"data": COLUMNS},
    "wrapped beside what tells of it": {"name": "mine", "tags": ["a", "b"], "about": {"by": "me"}, "pairs": ROWS},
    "wrapped in what tells of it": {"status": "ok", "result": {"items": ROWS}},
    "a part without its others": {"train": ROWS, "test": []},
    "rows of the hub's server": {
        "features": [{"name": "prompt"}],
        "rows": [{"row_idx": 0, "row": row} for row in ROWS],
    },
    "a list in a list each": [[row] for row in ROWS],
    "names in the plural": {f"{name}s": column for name, column in COLUMNS.items()},
    "between marks of code": f"```json\n{json.dumps(ROWS)}\n```",
}


@pytest.fixture
def write(tmp_path):
    def put(value, indent=None):
        path = tmp_path / "mine.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=indent))
        return path

    return put


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_the_same_pairs(write, shape, indent):
    pairs = read_pairs(write(SHAPES[shape], indent)).pairs
    assert [[pair.prompt, pair.positive, pair.negative] for pair in pairs] == CELLS


PARTS = "give the one you mean as a file of its own"
ALONE = "texts without prompts .*: give each pair a prompt"
REFUSED = [
    ({"train": ROWS, "test": ROWS[:1]}, f"has the parts train, test: {PARTS}"),
    ({"train": ROWS, "validation": ROWS, "about": "May"}, PARTS),
    ({"train": COLUMNS, "test": COLUMNS}, f"has the parts train, test: {PARTS}"),
    ({"data": {"train": ROWS, "test": ROWS}}, PARTS),
    ({"good": ["a", "b"], "bad": ["c", "d"]}, f"two lists of {ALONE}"),
    ({"positive": ["a", "b"], "negative": ["c", "d"]}, f"two lists of {ALONE}"),
    ({"names": ["a", "b"], "texts": [["c"], ["d"]], "more": ["e"]}, f"lists of {ALONE}"),
    (["a", "b"], "a list of texts without prompts: give each pair a prompt"),
    (CELLS, "rows without the names of their columns"),
    ("\n".join(map(json.dumps, CELLS)), "rows without the names of their columns"),
    ({**COLUMNS, "positive": ["a"]}, "columns of different lengths .prompt 3, positive 1, negative 3"),
    ("// made in May\n" + json.dumps(ROWS), "begins with a comment"),
    ("/* made\n** in May */ " + json.dumps(ROWS[0]), "begins with a comment"),
    ("# made in May\n\n# twice\n" + json.dumps(ROWS), "begins with a comment"),
    ("- prompt: One?\n  positive: Good!\n", "seems to be YAML"),
    ("# May\n---\n- 'prompt': One?\n", "seems to be YAML"),
    ("pairs:\n  - prompt: One?\n", "seems to be YAML"),
    ("prompt: One?\npositive: Good!\n---\n", "seems to be YAML"),
    ("title: mine\npairs:\n  -\n    prompt: One?\n", "seems to be YAML"),
    ("%YAML 1.2\n---\n- prompt: One?\n", "seems to be YAML"),
    ('[[pairs]]\nprompt = "One?"\n', "seems to be TOML"),
    ("<pairs>\n<pair>", "is a page"),
    ([{"positive": "Q: One?", "negative": "Q: Two?"}], "pairs of texts without prompts"),
    ("const pairs = 1;", "its one line is neither JSON nor the head of a table"),
    ("prompt^positive^negative\na^b^c\n", "No separator is known in its first line: commas"),
    ("<!DOCTYPE html>\n<html>", "is a page"),
    ('<?xml version="1.0"?>', "is a page"),
    ("How was the trip to the lake?,It was glorious!,It was so\na,b,c", "seems to be no header"),
    ("So glorious!\nAnd so it was!", "no header, .* texts without prompts makes no pairs: give each pair a prompt"),
    ("It was glorious, every minute!\nSo it was!", "seems to be no header"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_what_is_no_table_of_pairs_is_named(write, content, message):
    with pytest.raises(InputError, match=message):
        read_pairs(write(content))


def test_lines_of_comment_signs_take_no_time(write):
    """A regular expression that tried every way to cut them would not come to an end."""
    for content in ("#" * 50_000, "//" * 50_000, "#\n" * 50_000, "/*" * 50_000, "/" + "*" * 50_000, "---\n" * 50_000):
        with pytest.raises(InputError):
            read_pairs(write(content))
