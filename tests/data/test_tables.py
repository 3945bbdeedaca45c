import json

import pytest

from caa_core.data import parquet, tables
from caa_core.data.tables import read_table
from caa_core.errors import InputError
from caa_core.limits import ROWS as MOST
from tests.helpers.files import FILES, GOOD, ROWS, as_csv, as_parquet


@pytest.fixture
def read(tmp_path):
    def write_and_read(content, name="data"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(tmp_path / name)

    return write_and_read


@pytest.mark.parametrize("format", FILES)
def test_every_format_holds_the_same_records(read, format):
    table = read(FILES[format])
    assert table.format == table.kind == format
    assert [record for _, record in table.records] == ROWS
    assert [number for number, _ in table.records] == [1, 2]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("format", ["JSON", "JSON Lines", "CSV", "TSV"])
def test_line_ends_as_they_come(read, format, end):
    content = {"JSON": json.dumps(ROWS, indent=2), "CSV": as_csv(end=end), "TSV": as_csv("\t", end)}
    content = content.get(format, FILES[format]).replace("\r\n", "\n").replace("\r", "\n").replace("\n", end)
    table = read(end + content + end)
    assert table.format == format
    assert [record for _, record in table.records] == ROWS


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("cp1252", "Windows-1252"),
        ("mac_roman", "Mac Roman"),
    ],
)
@pytest.mark.parametrize("format", ["JSON Lines", "CSV", "TSV"])
def test_encodings_as_they_come(read, format, encoding, said):
    table = read(FILES[format].encode(encoding))
    assert table.encoding == said
    assert table.kind == (f"{format} (read as {said})" if said else format)
    assert [record for _, record in table.records] == ROWS


@pytest.mark.parametrize(
    ("encoding", "said", "texts"),
    [
        ("cp1251", "Windows-1251", ["Как дела?", "Прекрасно, я так рад!", "Плохо сегодня"]),
        ("koi8_r", "KOI8-R", ["Как дела?", "Прекрасно, я так рад!", "Плохо сегодня"]),
        ("cp1250", "Windows-1250", ["Jak się masz?", "Świetnie żyję wśród kwiatów!", "Źle"]),
        ("cp932", "Shift JIS", ["今日の調子はどうですか？", "とても元気です！", "あまり良くない。"]),
        ("gb18030", "GB 18030", ["你今天怎么样？", "我非常高兴！", "不太好。"]),
        ("cp949", "Korean Windows-949", ["오늘 기분이 어때요?", "아주 좋아요!", "별로예요."]),
    ],
)
def test_encodings_of_other_places(read, encoding, said, texts):
    row = dict(zip(ROWS[0], texts, strict=True))
    # The letters that tell the encoding stand far behind, in a file of a single line.
    plain = dict.fromkeys(row, "x" * 30_000)
    table = read(json.dumps([plain, row], ensure_ascii=False).encode(encoding))
    assert table.encoding == said
    assert table.records[1][1] == row


FEW_LETTERS = {
    "Où est l'été ?|À côté, très près, génial !|Ça va": "cp1252 mac_roman cp850",
    "Com'è andata in città?|È stato perché più bello!|No": "cp1252 mac_roman cp850",
    "Mitä kuuluu tänään?|Hyvää päivää!|Ei": "cp1252 mac_roman cp850",
    "Wie geht’s?|Großartig, wie schön!|Müde": "cp1252 mac_roman",
    "It’s fine|I’m great|don’t": "cp1252 mac_roman",
    "¿Cómo estás, señor?|¡Qué día!|Mañana": "cp1252 mac_roman cp850",
    "Hogy vagy, őszinte barátom?|Jól, köszönöm!|Rossz": "cp1250 iso8859_2",
    "Jak se máš, příteli?|Skvěle, kůň!|Špatně": "cp1250 cp852 iso8859_2",
    "Bugün nasılsın?|Çok iyiyim, güzel!|Kötüyüm": "cp1254",
    "Kaip šiandien sekasi?|Ačiū, džiaugiuosi!|Pavargęs": "cp1257",
    "Как дела?|Прекрасно, я рад!|Плохо": "cp1251 koi8_r cp866 iso8859_5 mac_cyrillic",
    "Як справи?|Чудово, я щасливий, її!|Погано, немає": "cp1251 koi8_u",
    "วันนี้เป็นอย่างไร|ดีมากเลยครับ|ไม่ค่อยดี": "cp874",
}


@pytest.mark.parametrize(("texts", "codec"), [(t, c) for t, codecs in FEW_LETTERS.items() for c in codecs.split()])
def test_a_few_letters_tell_an_encoding(read, texts, codec):
    """Two lines, as in a first try at a file of pairs."""
    row = dict(zip(ROWS[0], texts.split("|"), strict=True))
    assert [record for _, record in read(as_csv(rows=[row, row]).encode(codec)).records] == [row, row]


def test_a_separator_of_lines_within_a_text_is_no_end_of_a_line(read):
    lines = '{"prompt": "one\u2028two\x85three", "a": 1}\n\n{"prompt": "four"}'
    assert read(lines).records == [(1, {"prompt": "one\u2028two\x85three", "a": 1}), (3, {"prompt": "four"})]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "wrap", [lambda rows: {"data": rows}, lambda rows: {"version": 1, "pairs": rows, "about": {"by": "me"}}]
)
def test_an_object_that_wraps_one_list_is_that_list(read, wrap, indent):
    table = read(json.dumps(wrap(ROWS), indent=indent))
    assert table.format == "JSON" and [record for _, record in table.records] == ROWS


def test_objects_over_several_lines(read):
    single = read(json.dumps(ROWS[0], indent=2))
    assert single.format == "JSON" and single.records == [(1, ROWS[0])]
    several = read("\n".join(json.dumps(row, indent=2) for row in ROWS))
    assert several.records == [(1, ROWS[0]), (6, ROWS[1])]


def test_fields_are_those_of_all_records(read):
    assert read('[{"a": 1}, {"b": 2, "a": 3}]').fields == ["a", "b"]


def test_csv_as_spreadsheets_write_it(read):
    table = read('\n"Prompt";positive;negative;\n"a ""b""";"c\r\nd"\n;;;\ne;f;g;\n')
    assert table.records == [
        (1, {"Prompt": 'a "b"', "positive": "c\nd"}),
        (2, {"Prompt": "e", "positive": "f", "negative": "g"}),
    ]


def test_parquet_gives_its_columns_of_text(read):
    rows = [{**row, "score": 1.5, "turns": [{"n": 1}]} for row in ROWS]
    assert [record for _, record in read(as_parquet(rows)).records] == ROWS
    rows = [{**row, "turns": [{"role": "user", "n": 1, "parts": ["a", "b"]}]} for row in ROWS]
    assert [record for _, record in read(as_parquet(rows)).records] == rows
    for settings in ({"compression": "zstd"}, {"use_dictionary": False}, {"row_group_size": 1}):
        assert [record for _, record in read(as_parquet(**settings)).records] == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [1, 2]}', "item 1: an object with fields was expected, not 1"),
        ('{"data": []}', "no pairs in it"),
        ('{"a": 1,\n "b": }', "line 1: not valid JSON .Expecting value at line 2"),
        ('{"a": 1}\n{"a": 2', "line 2: not valid JSON"),
        ('{"a": 1} {"a": 2}', "line 1: .*something follows the object"),
        ('{"a": 1}\n[2]', "item 2: an object with fields was expected"),
        ('{"a": ' + "[" * 100_000, "line 1: not valid JSON"),
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells, but the first line names 2 columns"),
        ('a,b\n1,"2\n1\n', "line 3: not valid CSV"),
        ("a,b,a\n1,2,3", "two columns that are called 'a'"),
        (",".join(f"c{i}" for i in range(2000)) + "\n1", "more than 1,000 columns"),
        ('""\n', "no pairs in it"),
        ("a\n" + "x\n" * (MOST.value + 1), "more than 100,000 records"),
        ("{}\n" * (MOST.value + 1), "more than 100,000 records"),
        ("[" + "{}," * MOST.value + "{}]", "more than 100,000 records"),
        ("a\n" + "y" * 200_000, "line 2: not valid CSV .field larger"),
        (b"\xff\xfea\x00b", "not text in an encoding that can be told"),
        (b"\xff\xfe\x00\x00a\x00\x00\x00", "no pairs in it"),
        (b"abc\x00defg", "is a binary file"),
        (b"\x89PNG" + bytes(range(256)) * 40, "is a binary file"),
        (bytes(range(1, 32)) * 9, "is a binary file"),
        (bytes(range(128, 256)) * 300, "not text in an encoding that can be told"),
        (b"\xff\xfe", "is empty"),
        (b"PAR1", "Parquet file that is broken"),
        (FILES["Parquet"][:-9] + b"xxxxxPAR1", "Parquet file that is broken"),
    ],
)
def test_what_is_no_table_gets_one_clear_sentence(read, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read(content)
    assert str(caught.value).startswith("data") and "\n" not in str(caught.value)


TALK = [{"role": "user", "content": "Hi \ud83d"}, {"role": "assistant", "content": "Hello"}]
TALKS = json.dumps([{"chosen": TALK, "rejected": [TALK[0], {"role": "assistant", "content": "No"}], "score": 1e400}])


@pytest.mark.parametrize("content", [*GOOD[:3], TALKS.encode(), "prompt;a\né;x\n".encode("latin-1")], ids=range(5))
def test_what_is_read_apart_is_the_same(tmp_path, monkeypatch, content):
    """In a process of its own, which large files get."""
    (tmp_path / "data").write_bytes(content)
    here = read_table(tmp_path / "data")
    monkeypatch.setattr(tables, "SMALL", 0)
    there = read_table(tmp_path / "data")
    assert there == here and json.dumps(there.records) == json.dumps(here.records)


def test_what_is_read_apart_has_limits_and_says_its_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SMALL", 0)
    (tmp_path / "bad.json").write_text('[{"prompt": "a"}, 5]')
    with pytest.raises(InputError, match=r"^bad\.json, item 2: an object with fields was expected"):
        read_table(tmp_path / "bad.json")
    (tmp_path / "wide.json").write_text(json.dumps([{f"f{i}": i for i in range(700_000)}]))
    with pytest.raises(InputError, match="more than 1,000 columns"):
        read_table(tmp_path / "wide.json")
    with pytest.raises(InputError, match="takes too long"):
        parquet.read_apart("tests.helpers.endless", b"", "takes too long")


def test_files_that_belong_together_are_bounded_together(tmp_path, monkeypatch):
    monkeypatch.setenv("CAA_MAX_FILE_MB", "1")
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path in paths:
        path.write_text(json.dumps([{"prompt": "x" * 800_000, "positive": "a", "negative": "b"}]))
    with pytest.raises(InputError, match="more than 2 MB together"):
        tables.read_tables(paths)
    assert [table.name for table in tables.read_tables(paths[:2])] == ["0.json", "1.json"]
