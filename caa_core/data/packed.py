"""What a file is by its first bytes, and what is packed in it: gzip, a zip of one file, a workbook."""

import io
import re
import zipfile
import zlib
from pathlib import Path

from caa_core.errors import InputError
from caa_core.limits import FILE_MB

GZIP, ZIP, OLE = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# What is not read: by its beginning, what to say of it.
OTHERS = {
    b"BZh": "is packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ\x00": "is packed with xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "is packed with zstd; unpack it, or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive; unpack it",
    b"Rar!": "is a RAR archive; unpack it",
    b"\x80\x03": "is a pickle, which can carry code; save it as JSON",
    b"GGUF": "is a GGUF file, which holds numbers and no texts",
    b"\x93NUMPY": "is an array of NumPy, which holds numbers and no texts",
    b"{\\rtf": "is rich text (RTF); save what is in it as a table (CSV)",
    b"%PDF": "is a PDF; save what is in it as a table (CSV)",
    b"ARROW1": "is an Arrow file; save it as Parquet",
    b"SQLite format 3\x00": "is a database; export its table as CSV",
    b"\x80\x02": "is a pickle, which can carry code; save it as JSON",
    b"\x80\x04": "is a pickle, which can carry code; save it as JSON",
    b"\x80\x05": "is a pickle, which can carry code; save it as JSON",
    b"version https://git-lfs": "is only a pointer to a file in Git LFS; fetch it with 'git lfs pull'",
}
# Where a tar archive says that it is one.
TAR = slice(257, 262)
# What else is a zip: by the first part of a path in it.
DOCUMENTS = {
    "word": "a Word document",
    "ppt": "a presentation",
    "Index": "a document of Numbers or Pages",
    "content.xml": "an OpenDocument text",
}
ENTRY = b"PK\x01\x02"
MAX_ENTRIES = 1000
DEPTH = 2


def is_workbook(raw: bytes) -> bool:
    """Whether a file is an Excel or an OpenDocument workbook, as far as its parts' names say."""
    if raw.startswith(OLE):
        return True
    return raw.startswith(ZIP) and (b"xl/workbook." in raw or b"opendocument.spreadsheet" in raw[:200])


def count_entries(path: Path) -> int:
    """How many entries the directory of a zip has at most: each begins alike, which is known before it is opened."""
    found, last = 0, b""
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            found += (last + part).count(ENTRY)
            last = (last + part)[-len(ENTRY) + 1 :]
    return found


def may_hold_more(start: bytes) -> bool:
    """Whether a file that begins so may unpack to more than it has."""
    return start.startswith((GZIP, ZIP, OLE, b"PAR1"))


def unpacked(raw: bytes, name: str, depth: int = DEPTH) -> bytes:
    """The one file that is packed in another, or the file itself.

    Raises:
        InputError: it unpacks to too much, is damaged, holds several files, or is of a kind that is not read.
    """
    if other := next((said for start, said in OTHERS.items() if raw.startswith(start)), ""):
        raise InputError(f"{name} {other}.")
    if raw[TAR] == b"ustar":
        raise InputError(f"{name} is a tar archive; unpack it.")
    if is_workbook(raw) or not raw.startswith((GZIP, ZIP)):
        return raw
    if not depth:
        raise InputError(f"{name} is packed several times over; unpack it.")
    return unpacked(_gunzip(raw, name) if raw.startswith(GZIP) else _unzip(raw, name), name, depth - 1)


def _gunzip(raw: bytes, name: str) -> bytes:
    most, left = int(FILE_MB.value * 1e6), raw
    parts: list[bytes] = []
    try:
        while left.startswith(GZIP) and len(parts) < MAX_ENTRIES:
            unpack = zlib.decompressobj(wbits=31)
            parts.append(unpack.decompress(left, most + 1))
            most -= len(parts[-1])
            if most < 0:
                raise _too_much(name)
            if not unpack.eof:
                raise InputError(f"{name} is packed with gzip, and ends early: is it whole?")
            left = unpack.unused_data
    except zlib.error as error:
        raise InputError(f"{name} is packed with gzip, and damaged.") from error
    return b"".join(parts)


def _unzip(raw: bytes, name: str) -> bytes:
    # Every entry of the directory begins so, which bounds the work of opening the zip before it is opened.
    if raw.count(ENTRY) > MAX_ENTRIES:
        raise InputError(f"{name} is a zip file of more than {MAX_ENTRIES:,} files; give the one with the pairs.")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            infos = [info for info in archive.infolist() if not _is_beside(info)]
            first = {info.filename.split("/")[0] for info in infos}
            if kind := next((kind for part, kind in DOCUMENTS.items() if part in first), ""):
                raise InputError(f"{name} is {kind}; save what is in it as a table (CSV).")
            if len(infos) != 1:
                names = ", ".join(" ".join(info.filename.split())[:60] for info in infos[:5]) or "none"
                raise InputError(f"{name} is a zip file of {len(infos)} files ({names}); give the one with the pairs.")
            if infos[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or infos[0].flag_bits & 1:
                raise InputError(f"{name} is locked, or packed in a way that is not read; unpack it.")
            most = int(FILE_MB.value * 1e6)
            with archive.open(infos[0]) as file:
                content = file.read(most + 1)
            if len(content) > most:
                raise _too_much(name)
            return content
    except InputError:
        raise
    except Exception as error:  # whatever a broken file makes the library raise
        raise InputError(f"{name} is a zip file that is damaged.") from error


def _is_beside(info: zipfile.ZipInfo) -> bool:
    """Folders, and what systems put beside files."""
    return info.is_dir() or bool(re.match(r"__MACOSX/|(?:.*/)?(?:\.DS_Store|Thumbs\.db|desktop\.ini)$", info.filename))


def _too_much(name: str) -> InputError:
    return InputError(f"{name} unpacks to more than {FILE_MB.value} MB. Split it, or keep the pairs you need.")
