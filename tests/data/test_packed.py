"""Workbooks, packed files and files of two encodings are read within the limits; what else there is is named."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caa_core.data.lint import lint
from caa_core.data.packed import unpacked
from caa_core.data.parquet import MEMORY, read_workbook
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from tests.helpers.data import found, read_elsewhere
from tests.helpers.files import FILES, ROWS, as_csv
from tests.helpers.fuzz import hostile

TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def relations(*targets):
    listed = "".join(
        f'<Relationship Id="rId{i}" Type="{OFFICE}/{t}" Target="{p}"/>' for i, (t, p) in enumerate(targets, 1)
    )
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{listed}</Relationships>'
    )


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cell(value, place):
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escaped(value)}</t></is></c>' if value else ""


def sheet(rows):
    lines = (
        f'<row r="{r}">{"".join(cell(value, f"{chr(64 + c)}{r}") for c, value in enumerate(row, 1))}</row>'
        for r, row in enumerate(rows, 1)
    )
    return f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(content):
    out, info = io.BytesIO(), tarfile.TarInfo("a.csv")
    info.size = len(content)
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def workbook(**sheets):
    """An Excel workbook, written by hand: sheets of rows, or XML."""
    names = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>' for i, name in enumerate(sheets, 1))
    parts = [("worksheet", f"worksheets/sheet{i}.xml") for i in range(1, len(sheets) + 1)]
    return zipped(
        {
            "[Content_Types].xml": TYPES,
            "_rels/.rels": relations(("officeDocument", "xl/workbook.xml")),
            "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{names}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(*parts),
            **{
                f"xl/{path}": rows if isinstance(rows, str) else sheet(rows)
                for (_, path), rows in zip(parts, sheets.values(), strict=True)
            },
        }
    )


TABLE = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]


@pytest.fixture
def read(tmp_path):
    def look(content, name="mine.dat"):
        (tmp_path / name).write_bytes(content)
        return read_table(tmp_path / name)

    return look


def records(table):
    return [record for _, record in table.records]


def test_a_workbook_is_a_table(read):
    table = read(workbook(Sheet1=TABLE), "mine.xlsx")
    assert (table.format, table.title) == ("Excel workbook", "mine") and records(table) == ROWS
    assert lint(table).usable == 2
    titled = workbook(Sheet1=[["My pairs"], [], *TABLE, []], About=[["by", "me"]], Empty=[])
    assert records(read(titled)) == ROWS
    numbers = workbook(Sheet1=[["prompt", "positive", "negative"], ["How many?", 1, 2.5]])
    assert records(read(numbers)) == [{"prompt": "How many?", "positive": "1", "negative": "2.5"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (workbook(Sheet1=[]), "mine.dat is empty"),
        (workbook(One=TABLE, Two=TABLE), r"workbook of several sheets \(One, Two\)"),
        (workbook(One=[["a"]], Two=[["b"]]), r"workbook of several sheets \(One, Two\)"),
        (workbook(Sheet1=[["prompt", "prompt"], ["a", "b"]]), "two columns that are called 'prompt'"),
        (zipped({"xl/workbook.xml": "<workbook/>"}), "workbook that .*: save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "workbook that .*: save the sheet as CSV"),
    ],
)
def test_workbooks_that_are_no_table(read, content, message):
    with pytest.raises(InputError, match=message):
        read(content)


FAR = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
HUGE = {
    "a cell at the far end": sheet(TABLE).replace("</sheetData>", f"{FAR}</sheetData>"),
    "a text of 80 MB": sheet([["x" * 80_000_000]]),
    "entities": f'<!DOCTYPE x [<!ENTITY a "{"a" * 999}"><!ENTITY b "{"&a;" * 999}">]>'
    + sheet([["x"]]).replace("x<", "&b;<"),
}


@pytest.mark.parametrize("name", HUGE)
def test_workbooks_that_unpack_to_too_much(name):
    raw = workbook(Sheet1=HUGE[name])
    assert len(raw) < 1_000_000
    said, memory, _ = read_elsewhere(raw, "read_workbook")
    assert memory < 1.25 * MEMORY and (isinstance(said, list) or said.startswith("data "))


@hostile(8)
@given(seed=st.integers(0, 2**32))
def test_workbooks_with_mistakes(seed):
    import random

    from tests.helpers.files import mutated, sentence

    raw = mutated(workbook(Sheet1=TABLE), random.Random(seed))
    try:
        assert isinstance(read_workbook(b"PK\x03\x04" + raw[4:], "data"), list)
    except InputError as error:
        sentence(error)


@pytest.mark.parametrize("format", FILES)
def test_packed_files(read, format):
    content = FILES[format] if isinstance(FILES[format], bytes) else FILES[format].encode()
    for packed in (
        gzip.compress(content),
        gzip.compress(content[:50]) + gzip.compress(content[50:]),
        zipped({"mine.x": content, "__MACOSX/._mine.x": "x", "sub/.DS_Store": "y"}),
        zipped({"deep/er/mine.x": content}, zipfile.ZIP_STORED),
        gzip.compress(zipped({"mine.x": content})),
    ):
        table = read(packed, "mine.csv.gz")
        assert table.format == format and records(table) == ROWS and table.title == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"a.csv": "x", "b.csv": "y"}), r"zip file of 2 files \(a.csv, b.csv\)"),
        (zipped({}), "binary|zip"),
        (zipped({"word/document.xml": "x", "b": "y"}), "is a Word document"),
        (zipped({"a.csv": b"x" * 30_000_000}), "unpacks to more than 20 MB"),
        (gzip.compress(b"x" * 30_000_000), "unpacks to more than 20 MB"),
        (gzip.compress(b"prompt,a\nb,c" * 99)[:-20], "ends early"),
        (b"\x1f\x8b\x08" + b"x" * 99, "damaged|ends early"),
        (zipped({"a.csv": "x" * 999})[:-30], "damaged"),
        (gzip.compress(gzip.compress(gzip.compress(b"a,b"))), "packed several times over"),
        (bz2.compress(b"a,b"), "packed with bzip2"),
        (lzma.compress(b"a,b"), "packed with xz"),
        (pickle.dumps([1]), "is a pickle"),
        (b"%PDF-1.7", "is a PDF"),
        (pickle.dumps([1], 3), "is a pickle"),
        (b"{\\rtf1\\ansi}", "is rich text"),
        (b"GGUF" + bytes(99), "is a GGUF file"),
        (b"\x93NUMPY\x01" + bytes(99), "is an array of NumPy"),
        (tarred(b"a,b"), "is a tar archive"),
        (gzip.compress(tarred(b"a,b")), "is a tar archive"),
        (zipped({"ppt/presentation.xml": "x", "b": "y"}), "is a presentation"),
        (zipped({"Index/Document.iwa": "x", "b": "y"}), "is a document of Numbers or Pages"),
        (zipped({"mimetype": "x", "content.xml": "y"}), "is an OpenDocument text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "Git LFS"),
    ],
    ids=count(),  # what is packed holds the time
)
def test_packed_files_that_are_not_read(read, content, message):
    with pytest.raises(InputError, match=message):
        read(content)


def test_a_bomb_is_not_unpacked():
    from tests.helpers.bounds import allocating

    bomb = gzip.compress(b"x" * 200_000_000, 9)
    with allocating(60_000_000), pytest.raises(InputError, match="unpacks to more"):
        unpacked(bomb, "data")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-32"])
@pytest.mark.parametrize(
    "texts", [("Rain?", "Dance – naïve, déjà vu!", "Wait."), ("旅行は？", "最高でした！", "普通でした。")]
)
@pytest.mark.parametrize("format", ["CSV", "JSON Lines"])
def test_wide_encodings_without_a_mark(read, texts, encoding, format):
    rows = [dict(zip(ROWS[0], texts, strict=True))] * 3
    content = as_csv(rows=rows) if format == "CSV" else "\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    table = read(content.encode(encoding))
    assert records(table) == rows and table.encoding == encoding.upper()[:6]


WESTERN = ["café", "naïve", "Größe", "señor", "déjà vu", "“so”"]


@hostile(150)
@given(
    texts=st.lists(st.sampled_from(WESTERN), min_size=2, max_size=12),
    strays=st.sets(st.integers(0, 11), min_size=1, max_size=11),
    form=st.sampled_from(["CSV", "JSON", "JSON Lines"]),
)
def test_lines_of_another_encoding_are_read_as_what_they_are(read, texts, strays, form):
    strays = {i for i in strays if i < len(texts)}
    good = "Ein für alle Mal: „été“"
    rows = [{"prompt": f"{i}?", "positive": text, "negative": good} for i, text in enumerate(texts)]
    coded = []
    for i, row in enumerate(rows):
        line = json.dumps(row, ensure_ascii=False) if "JSON" in form else ",".join(f'"{cell}"' for cell in row.values())
        before, text, after = line.partition(row["positive"])
        coded.append(before.encode() + text.encode("cp1252" if i in strays else "utf-8") + after.encode())
    ends = {
        "CSV": (b"prompt,positive,negative\n", b"\n", b""),
        "JSON": (b"[", b",", b"]"),
        "JSON Lines": (b"", b"\n", b""),
    }
    start, between, end = ends[form]
    table = read(start + between.join(coded) + end)
    assert records(table) == rows and bool(strays) == bool(table.encoding)
    assert ("lines in another encoding" in found(lint(table))) == bool(strays)


def test_the_odd_lines_are_named(read):
    table = read(b'prompt,positive,negative\n"A?","caf\xc3\xa9!","tea."\n"B?","na\xefve!","plain."\n')
    assert [record["positive"] for record in records(table)] == ["café!", "naïve!"]
    assert table.encoding == "UTF-8, but line 3 as Windows-1252"
    russian = ["Как дела?", "Прекрасно, я так рад!", "Плохо сегодня"]
    lines = ["\t".join(ROWS[0])] + ["\t".join(russian)] * 9
    mixed = "\n".join(lines).encode() + b"\n" + lines[1].encode("cp1251")
    table = read(mixed)
    assert {tuple(record.values()) for record in records(table)} == {tuple(russian)}
    assert table.encoding == "UTF-8, but line 11 as Windows-1251"
