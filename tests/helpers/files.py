"""The same records in every format, files with mistakes in them, and what is said of those."""

import csv
import io
import json

import pyarrow
import pyarrow.parquet

ROWS = [
    {"prompt": "How’s the café?\nSay it – twice", "positive": "Größe, “oui”!", "negative": "Naïve; señor."},
    {"prompt": "Sun?", "positive": "Ah, été!", "negative": "Hot."},
]


def as_csv(delimiter=",", end="\n", rows=ROWS):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().replace("\n", end)


def as_parquet(rows=ROWS, **settings):
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out, **settings)
    return out.getvalue()


FILES = {
    "JSON": json.dumps(ROWS),
    "JSON Lines": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "CSV": as_csv(),
    "TSV": as_csv("\t"),
    "Parquet": as_parquet(),
}
GOOD = [content if isinstance(content, bytes) else content.encode() for content in FILES.values()]


def mutated(content, draw):
    """A good file after some cuts, copies, exchanges and turned bits."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.choice([0, 1, 1, 2, 8, 50]))
        bits = draw.randbytes(end - start)
        new = draw.choice([b"", bits, draw.randbytes(1), content[start:end] * 3, b'"', b"\r", b"\xe9"])
        content = content[:start] + new + content[end:]
    return content


def sentence(error):
    said = str(error)
    assert said.endswith(".") and "\n" not in said and "/tmp" not in said and len(said) < 700, said
    said.encode()  # it can be shown
    return said
