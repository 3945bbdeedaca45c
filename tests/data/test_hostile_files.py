"""Whatever a file holds, reading it gives records, pairs, or one plain sentence: in time, and nothing else happens."""

import contextlib
import csv
import io
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caa_core.data.columns import PAPER_FIELDS, PROMPT_FIELDS, TEXT_FIELDS
from caa_core.data.encodings import LEGACY
from caa_core.data.lint import LintReport, lint
from caa_core.data.pairs import Dataset, pairs_from_rows, pairs_of, write_pairs
from caa_core.data.parquet import columns_of
from caa_core.data.repair import choose, mend
from caa_core.data.tables import SMALL, Table, read_table
from caa_core.errors import InputError
from tests.helpers.bounds import STEPS, allocating, bounded
from tests.helpers.files import GOOD, as_csv, as_parquet, mutated, sentence
from tests.helpers.fuzz import hostile


@pytest.fixture
def read(tmp_path):
    """Read a file in every way that there is. Returns the table, or the sentence that says why there is none."""
    folder = tmp_path / "only"
    folder.mkdir()

    def look(content, steps=STEPS):
        path = folder / "data.bin"
        path.write_bytes(content)
        with bounded(steps):
            return look_at(path, content)

    def look_at(path, content):
        try:
            table = read_table(path)
        except InputError as error:
            return sentence(error)
        finally:
            assert [file.name for file in folder.iterdir()] == ["data.bin"] and path.read_bytes() == content
        assert isinstance(table, Table) and table.records
        work(table, folder)
        assert [file.name for file in folder.iterdir()] == ["data.bin"]
        return table

    return look


def work(table, folder):
    """All that is done with a table comes to an end, and well."""
    try:
        dataset = pairs_of(table)
    except InputError as error:
        sentence(error)
    else:
        assert isinstance(dataset, Dataset) and len(dataset.pairs) == len(table.records) >= 2
        write_pairs(dataset, folder / "again.json")
        assert pairs_of(read_table(folder / "again.json")).pairs == dataset.pairs
        (folder / "again.json").unlink()
    try:
        report = lint(table)
        assert isinstance(report, LintReport)
        json.dumps(report.summary()).encode()
        mend(table, report, choose(report, ["drop", "swap", "truncate"]))
    except InputError as error:
        sentence(error)


def characters():
    """Texts of the kind that break things: controls, directions, surrogates, quotes, lines that are none."""
    odd = "\x00\x01\x0b\x0c\x1b\x7f\x85\xa0\u2028\u2029\u200b\u202e\u2066\ufeff\ufffd\U0001f600\ud800\udfff"
    odd += "\"',;\t\r\n\\()[]{}AB"
    return st.text(st.one_of(st.sampled_from(odd), st.characters()), max_size=40)


KNOWN = [*TEXT_FIELDS, *PROMPT_FIELDS, *PAPER_FIELDS, "chosen", "rejected", "pos", "input", "Prompt ", ""]
NAMES = st.one_of(st.sampled_from(KNOWN), characters())
ODD_ANSWERS = ["(A)", "(B)", "Yes", "no", "x", " ", "One?\n (A) a\n (B) b\n\n", "- list\n- more", "so long " * 9]
ANSWERS = st.sampled_from(ODD_ANSWERS)
VALUES = st.one_of(ANSWERS, characters(), st.none(), st.integers(), st.floats(), st.lists(st.integers(), max_size=2))
WRAPPED = json.dumps({"data": [{"prompt": "a", "positive": "b", "negative": "c"}] * 2}, indent=1).encode()
TEXTS = [*GOOD[:-1], WRAPPED]


@hostile(500)
@given(rows=st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=6), form=st.integers(0, 3))
def test_records_of_odd_fields(read, rows, form):
    dumped = [json.dumps(row, ensure_ascii=form == 0) for row in rows]
    listed = "[" + ",\r\n".join(dumped) + "]"
    text = [listed, "\n".join(dumped), f'{{"data": {listed}}}', "".join(dumped)]
    read(text[form].encode("utf-8", "surrogatepass"))


@hostile(400)
@given(
    rows=st.lists(st.lists(st.one_of(ANSWERS, characters()), max_size=5), max_size=6),
    names=st.lists(NAMES, min_size=1, max_size=5),
    dialect=st.sampled_from([",", ";", "\t"]),
    quoted=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", *LEGACY]),
)
def test_tables_of_odd_cells(read, rows, names, dialect, quoted, end, encoding):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=dialect, lineterminator=end).writerows([names, *rows])
    bare = end.join(dialect.join(row) for row in [names, *rows])
    read((out.getvalue() if quoted else bare).encode(encoding, "ignore"))


@hostile(500)
@given(content=st.sampled_from(TEXTS), seed=st.integers(0, 2**32))
def test_good_files_with_mistakes(read, content, seed):
    read(mutated(content, random.Random(seed)))


@hostile(300)
@given(content=st.one_of(st.binary(max_size=300), st.binary(max_size=80).map(lambda tail: b'[{"prompt": "' + tail)))
def test_random_bytes(read, content):
    read(content)


@hostile(300)
@given(
    first=st.sampled_from(TEXTS[:4]),
    encodings=st.lists(st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-7", *LEGACY]), min_size=2, max_size=4),
)
def test_encodings_in_a_mix(read, first, encodings):
    read(b"\n".join(first.decode().encode(encoding, "ignore") for encoding in encodings))


@hostile(300)
@given(rows=st.lists(st.lists(st.one_of(VALUES, ANSWERS), max_size=4), max_size=5))
def test_odd_rows_typed(rows):
    with bounded(STEPS):
        try:
            assert len(pairs_from_rows(rows, "typed").pairs) >= 2
        except InputError as error:
            sentence(error)


PACKED = [
    as_parquet(),
    as_parquet(compression="zstd", use_dictionary=False),
    as_parquet(version="1.0", data_page_version="2.0", row_group_size=1, write_statistics=False),
    as_parquet([{"prompt": "a", "turns": [{"role": "user"}], "score": 1.5, "positive": "b", "negative": None}] * 3),
]


@hostile(400)
@given(content=st.sampled_from(PACKED), seed=st.integers(0, 2**32), footer=st.booleans())
def test_parquet_with_mistakes(content, seed, footer):
    """What runs within the reader's own process, which here has no limits; most mistakes are put into the metadata."""
    draw = random.Random(seed)
    cut = len(content) - 8 - int.from_bytes(content[-8:-4], "little") if footer else 4
    broken = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        broken[draw.randrange(cut, len(content) - 8)] = draw.randrange(256)
    with bounded(STEPS):
        try:
            columns = columns_of(bytes(broken))
            assert len({len(column) for column in columns.values()}) == 1
        except InputError as error:
            sentence(error)


@hostile(8)
@given(content=st.sampled_from(PACKED), seed=st.integers(0, 2**32))
def test_parquet_with_mistakes_from_a_file(read, content, seed):
    read(b"PAR1" + mutated(content, random.Random(seed))[4:])


LONG = 19_000_000
# Made when they are asked for.
OUTRAGEOUS = {
    "lists a hundred thousand deep": lambda: b"[" * 100_000 + b"]" * 100_000,
    "objects as deep": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a record as deep": lambda: b'[{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    "a record just deep enough": lambda: b'[{"prompt": ' + b"[" * 900 + b"]" * 900 + b"}]",
    "a list just deep enough": lambda: b"[" * 900 + b"]" * 900,
    "a line of 19 MB": lambda: b'{"prompt": "' + b"x" * LONG + b'"}',
    "a text of 19 MB": lambda: b"x" * LONG,
    "commas": lambda: b"," * LONG,
    "quotes": lambda: b'"' * LONG,
    "new lines": lambda: b"\n" * LONG,
    "carriage returns": lambda: b"a" + b"\r" * LONG,
    "opened brackets": lambda: b"[{" * (LONG // 2),
    "empty lists": lambda: b"[" + b"[]," * (LONG // 3) + b"[]]",
    "empty objects": lambda: b"{}\n" * (LONG // 3),
    "columns without end": lambda: b"a,b,c\n" + b"1,2," * (LONG // 4),
    "a header without end": lambda: b",".join(b"%d" % i for i in range(2_000_000)),
    "letters without spaces": lambda: b"a,b\n" + b"\xe9" * LONG,
    "a late letter": lambda: b"a,b\n" + b"x" * LONG + b"\xe9",
    "UTF-16": lambda: b"\xff\xfe" + b"\x28\x20" * (LONG // 2),
    "control characters": lambda: b"\x1b" * LONG,
    "a long number": lambda: b'[{"prompt": ' + b"9" * LONG + b"}]",
    "long numbers": lambda: b"[" + b"9" * 4000 + (b"," + b"9" * 4000) * 4000 + b"]",
    "NaN": lambda: b'[{"prompt": NaN, "positive": Infinity, "negative": -Infinity}]',
    "half a character": lambda: b'[{"prompt": "\\ud800", "\\udfff": "x"}]',
    "no more than a byte order mark": lambda: b"\xef\xbb\xbf",
    "many texts of spaces": lambda: as_csv(
        rows=[{"prompt": " " * 90_000, "positive": "\t" * 90_000, "negative": "x"}] * 90
    ),
}


@pytest.mark.parametrize("name", OUTRAGEOUS)
def test_outrageous_files(read, name):
    content = OUTRAGEOUS[name]()
    read(content if isinstance(content, bytes) else content.encode(), 2 * STEPS)


def test_what_is_read_here_and_now_is_little_work(tmp_path):
    """No more than a file may take that is read in a process of its own; a tenth of it for the worst of these."""
    for name, made in OUTRAGEOUS.items():
        content = made()
        (tmp_path / name).write_bytes((content if isinstance(content, bytes) else content.encode())[:SMALL])
        with bounded(STEPS), contextlib.suppress(InputError):
            read_table(tmp_path / name)


@pytest.mark.parametrize("name", ["opened brackets", "empty lists", "empty objects"])
def test_lists_without_end_are_not_built(read, name):
    with allocating(5 * LONG):
        read(OUTRAGEOUS[name]())


def test_a_long_text_in_every_field(read):
    """As long as is taken; lists, options and letters are looked for in it."""
    for filling in (" (A) x\n", "\n", "- ", "1.", "(", "shut it ", "Yes ", " \n\t"):
        text = (filling * 90_000)[:90_000]
        rows = [{"prompt": f"{i}{text}", "positive": f"a{text}", "negative": f"b{text}c"} for i in range(3)]
        assert isinstance(read(json.dumps(rows).encode()), Table)
