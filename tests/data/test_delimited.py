"""CSV and TSV as people and programs write them: each cell is read, none is glued to another."""

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caa_core.data.lint import lint
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from tests.helpers.data import found
from tests.helpers.fuzz import hostile

NAMES = ["prompt", "positive", "negative"]
ROWS = [
    ["How was it, then?", "Glorious!", "Fine."],
    ["What now?", "Let us dance!", "We wait."],
    ["Late?", "Never!", "Yes."],
]


@pytest.fixture
def read(tmp_path):
    def look(content):
        (tmp_path / "data").write_text(content, newline="")
        return read_table(tmp_path / "data")

    return look


def cells(table):
    return [list(record.values()) for _, record in table.records]


def lines(rows, separator):
    return "\n".join(separator.join(row) for row in [NAMES, *rows])


QUOTES = st.lists(st.sampled_from(['"', "a", "b ", "!", "'", "\\", ",", ";"]), min_size=1, max_size=6).map("".join)


@hostile(300)
@given(rows=st.lists(st.lists(QUOTES, min_size=3, max_size=3), min_size=1, max_size=6))
def test_in_tsv_a_quotation_mark_is_a_character(read, rows):
    """Where every line has all its cells; one that a spreadsheet put between quotation marks is without them."""
    assume(not any(cell.startswith('"') and cell.endswith('"') for row in rows for cell in row))
    assume(all(any(cell.strip() for cell in row) for row in rows))
    table = read(lines(rows, "\t"))
    assert table.format == "TSV" and cells(table) == rows


@hostile(200)
@given(
    rows=st.lists(
        st.lists(st.text(st.sampled_from('ab"\t\n,; '), min_size=1, max_size=8), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    ),
    separator=st.sampled_from("\t;,|"),
)
def test_what_a_spreadsheet_writes_is_read(read, rows, separator):
    """With marks around each cell that needs them, and line ends and separators within."""
    assume(all(row[0].strip() for row in rows))
    assume(not any(separator in cell for row in rows for cell in row))
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows([NAMES, *rows])
    assert cells(read(out.getvalue())) == rows


@pytest.mark.parametrize("separator", ["\t", ";", "|", ","])
def test_a_mark_that_is_opened_and_closed_elsewhere_glues_nothing(read, separator):
    rows = [["One", '"Blue and mine!', "blue"], ["Two", 'high and mine!"', "grey"], ["Three", '"Glorious" it is', "so"]]
    for some in (rows, rows[:2], rows[2:]):
        assert cells(read(lines(some, separator))) == some


def test_cells_that_may_be_several_are_said(read):
    table = read('prompt,positive,negative\nOne,"Blue,blue\nTwo,""high"",grey"\nThree,a,b\nFour,c')
    assert found(lint(table))["cells that may be several"] == (1,)
    assert "cells that may be several" not in found(lint(read(lines(ROWS[1:], ","))))


def test_cells_without_a_name_above_them_are_said(read):
    table = read("prompt,positive,negative,\nOne,a,b,lost\nTwo,c,d,\nThree,e,f")
    assert found(lint(table))["cells without a name above them"] == (1,) and lint(table).usable == 3
    numbered = read(",prompt,positive,negative\n0,One,a,b\n1,Two,c,d")
    assert "cells without a name above them" not in found(lint(numbered))


BEFORE = ["sep={0}\n", '"sep={0}"\n', "SEP={0}\n\n", "# made in May, twice; so|there\n#\n", "#\nsep={0}\n", "\n\n"]
BEFORE += ["My pairs of May\n", "My pairs, my own; they are|here\n\n", "My pairs{0}{0}\n", "Pairs\nof May{0}{0}\n", "#"]


@pytest.mark.parametrize("separator", ["\t", ";", "|", ","])
@pytest.mark.parametrize("before", BEFORE)
def test_what_stands_before_the_header(read, before, separator):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows([NAMES, *ROWS])
    table = read(before.format(separator) + out.getvalue())
    assert cells(table) == ROWS and table.fields == NAMES and [number for number, _ in table.records] == [1, 2, 3]


@pytest.mark.parametrize("separator", ["\t", ";", "|", ","])
def test_marks_within_a_text_as_programs_write_them(read, separator):
    rows = [[f"One{separator} two", 'She said "yes"', 'A path C:\\new "or not"'], ["Two", '"', 'so "well"']]
    quoted = "\n".join(separator.join('"' + cell.replace('"', '\\"') + '"' for cell in row) for row in rows)
    table = read(separator.join(NAMES) + "\n" + quoted)
    assert cells(table) == rows


def quoted(row, mark, separator):
    return separator.join(f"{mark}{cell.replace(mark, 2 * mark)}{mark}" for cell in row)


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_other_ways_to_quote(read, separator):
    rows = [[f"It's one{separator} two", 'She said "yes"', "'"], *ROWS[1:]]
    assert cells(read("\n".join(quoted(row, "'", separator) for row in [NAMES, *rows]))) == rows
    spaced = "\n".join(quoted(row, '"', f"{separator} ") for row in rows)
    assert cells(read(f"{separator} ".join(NAMES) + "\n" + spaced)) == rows
    whole = [quoted(row, '"', separator) for row in rows]
    again = "\n".join(quoted([line], '"', separator) for line in [separator.join(NAMES), *whole])
    assert cells(read(again)) == rows
    formulas = "\n".join(separator.join(f'="{cell}"' for cell in row) for row in ROWS[1:])
    assert cells(read(separator.join(NAMES) + "\n" + formulas)) == ROWS[1:]


def test_files_that_were_put_one_behind_the_other(read):
    assert cells(read(lines(ROWS[1:], ",") + "\n\n" + lines(ROWS[1:], ","))) == ROWS[1:] * 2


def test_a_table_of_markdown(read):
    table = "\n".join("| " + " | ".join(row) + " |" for row in [NAMES, [":--", "---", "--:"], *ROWS])
    assert cells(read(table)) == ROWS
    assert cells(read("prompt,positive,negative\n--,---,----\na,b,c"))[0] == ["--", "---", "----"]


def test_lines_are_told_as_they_are_in_the_file(read):
    with pytest.raises(InputError, match="line 5: 4 cells, but the first line names 3 columns"):
        read("# one\nsep=;\nprompt;positive;negative\na;b;c\na;b;c;d\n")
    with pytest.raises(InputError, match=r'line 2: not valid CSV .*quotation mark within a text as ""'):
        read('prompt,positive\n"a \\"b\\" c",d\n"a \\"b" c\n')
