import io

import pyarrow as pa
import pytest
from pyarrow.parquet import ParquetFile, write_table

from caa_core.data.parquet import MAX_UNPACKED, MEMORY, SECONDS, columns_of, read
from caa_core.errors import InputError
from tests.helpers.data import read_elsewhere


def packed(columns, **settings):
    out = io.BytesIO()
    write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), out, **settings)
    return out.getvalue()


def varint(number, length=0):
    """A number as Parquet's metadata write it, padded to so many bytes."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append(number & 127)
    digits += [0] * (length - len(digits))
    return bytes([digit | 128 for digit in digits[:-1]] + digits[-1:])


def belittled(raw):
    """The same file with metadata that claim that it unpacks to 100 bytes."""
    group = ParquetFile(pa.BufferReader(raw)).metadata.row_group(0)
    start = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    footer = raw[start:]
    for size in {group.total_byte_size, group.column(0).total_uncompressed_size}:
        true = varint(2 * size)
        assert true in footer
        footer = footer.replace(true, varint(200, len(true)))
    return raw[:start] + footer


def test_text_columns_and_missing_cells():
    raw = packed({"a": ["x", None], "n": [1, 2], "b": pa.array(["y", "y"]).dictionary_encode()})
    assert read(raw, "data") == [{"a": "x", "b": "y"}, {"a": None, "b": "y"}]


def test_numbers_that_answer_are_read():
    raw = packed({"question": ["x\n1. a\n2. b"], "answer_matching_behavior": [2], "not_matching": [1], "score": [7]})
    assert read(raw, "data") == [
        {"question": "x\n1. a\n2. b", "answer_matching_behavior": 2, "not_matching": 1},
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": ["x"] * 100_001}, "has 100,001 rows; at most 100,000 can be read"),
        ({f"c{i}": ["x"] * 1000 for i in range(2001)}, "2,001,000 cells"),
        ({"a": ["x" * (MAX_UNPACKED + 1)]}, "bytes when unpacked; at most 50,000,000"),
        ({"a": [1]}, "without a column of text"),
        (pa.Table.from_arrays([pa.array(["x"])] * 2, ["a", "a"]), "two columns of one name"),
    ],
)
def test_more_than_is_taken(columns, message):
    with pytest.raises(InputError, match=message):
        columns_of(packed(columns, compression="zstd"))


def test_metadata_that_lie_about_the_size_are_found_out():
    column = pa.array(["x" * (MAX_UNPACKED + 1)])
    raw = packed({"a": column}, compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False)
    raw = belittled(raw)
    assert len(raw) < 10_000 and ParquetFile(pa.BufferReader(raw)).metadata.row_group(0).total_byte_size == 100
    with pytest.raises(InputError, match=r"^data has [\d,]+ characters; at most 50,000,000"):
        read(raw, "data")


@pytest.mark.parametrize("store_schema", [True, False])
def test_a_text_that_is_stored_once_and_meant_often(store_schema):
    """Five gigabytes in half a megabyte: the memory of the reader's process ends before ours."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000), pa.array(["x" * 100_000]))
    raw = packed({"a": texts}, store_schema=store_schema)
    assert len(raw) < 500_000
    said, memory, seconds = read_elsewhere(raw)
    assert said.startswith("data is a Parquet file that")
    assert memory < 1.25 * MEMORY and seconds < SECONDS + 1
